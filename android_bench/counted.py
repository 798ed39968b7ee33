"""Two models' instructions on a virtual phone, compared exactly: from records of `tkd.instructions/1` to a judgement.

After `android_bench.compare`; reaches no device. `android_bench.compare_session` counts, `android_bench.recorded`
reads what was counted earlier.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from android_bench.comparable import differences
from android_bench.compare import Side, exact_rows, judgement, not_comparable
from android_bench.errors import RecordError
from android_bench.metrics import accuracy_row, exact_row
from android_bench.records import Failure
from android_bench.session_file import predictions_from_json
from android_bench.verdict import DeviceEntry, GateSettings, Judgement

Record = Mapping[str, Any]


def judge_counts(
    baseline: Side, candidate: Side, device: DeviceEntry, records: tuple[Record, Record], settings: GateSettings
) -> Judgement:
    """What two entries of `measurements`, the baseline's first, say: exact, so one instruction more is one more.

    Raises:
        KeyError, TypeError: an entry is damaged.
    """
    old, new = records
    failure = old["failure"] or new["failure"]
    if failure:
        return judgement(baseline, candidate, device, [], failure=Failure(**failure))
    if not (old["instructions"] and new["instructions"]):
        return judgement(baseline, candidate, device, [])
    found = differences(old["instructions"]["counted_by"], new["instructions"]["counted_by"])
    if found:
        return not_comparable(baseline, candidate, device, found)
    counts = [float(each["instructions"]["inference"]) for each in records]
    rows, notes = [exact_row("instructions", counts[0], counts[1], settings)], []
    if old["predictions"] and new["predictions"]:
        answers = [predictions_from_json(each["predictions"]) for each in (new, old)]
        try:
            rows.append(accuracy_row(answers[0], answers[1], settings, same_file=old["sha256"] == new["sha256"]))
        except RecordError as error:
            notes.append(f"accuracy was not compared: {error}")
    rows += exact_rows(baseline, candidate, settings)
    return judgement(baseline, candidate, device, rows, notes=notes)


def counted_device(document: Record, record: Record) -> DeviceEntry:
    """The virtual phone behind a document, with what the entry `record` was counted by."""
    context, counted = document["context"], record["instructions"]
    return DeviceEntry(
        name=document["device"],
        title=f"{document['device']} ({document['title']})",
        kind="virtual",
        model=context["model"],
        fingerprint=context["fingerprint"],
        serial="",
        stands_for=context["stands_for"],
        facts=counted["counted_by"] if counted else {},
        concerns=tuple(document["concerns"]),
    )
