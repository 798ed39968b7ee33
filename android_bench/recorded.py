"""`tkd-bench compare A.json B.json`: two results that were recorded earlier, where they can be compared at all.

    two `tkd.instructions/1`   exact counts, compared exactly
    two `tkd.bench/1`          times of two sessions (`android_bench.between_sessions`)

After `android_bench.compare` and `android_bench.comparable`; reaches no device.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from android_bench import judge, stats
from android_bench.between_sessions import DRIFT, anchor, anchored_look, unanchored_look
from android_bench.comparable import device_entry, differences, facts_of
from android_bench.compare import (
    Side,
    exact_rows,
    judgement,
    latency_note,
    latency_row,
    not_comparable,
    session_entry,
)
from android_bench.counted import counted_device, judge_counts
from android_bench.errors import RecordError
from android_bench.metrics import accuracy_row, exact_facts
from android_bench.records import Measurement, Session
from android_bench.session_file import FORMAT as SESSION_FORMAT
from android_bench.session_file import read_session
from android_bench.verdict import Arm, DeviceEntry, GateSettings, Judgement, LatencyEvidence, MetricVerdict, ModelEntry

COUNTS_FORMAT = "tkd.instructions/1"
Files = tuple[Path, Path]


def compare_files(files: Files, settings: GateSettings) -> tuple[Judgement, ...]:
    """A judgement for each model that both files hold, the baseline's first, or for the only ones that they hold.

    Raises:
        RecordError: a file is missing, damaged, edited, of another format, or they hold no such models.
    """
    documents = [_document(path) for path in files]
    formats = [_format(document, path) for document, path in zip(documents, files, strict=True)]
    if formats == [SESSION_FORMAT, SESSION_FORMAT]:
        return _sessions(files, settings)
    if formats == [COUNTS_FORMAT, COUNTS_FORMAT]:
        try:
            return _counts(documents, files, settings)
        except (KeyError, TypeError, AttributeError) as cause:
            raise RecordError(f"{files[0]} or {files[1]} is damaged ({cause!r})") from cause
    raise RecordError(f"{files[0]} is {formats[0]} and {files[1]} is {formats[1]}; expected two files of one kind")


def _document(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as cause:
        raise RecordError(f"cannot read {path} ({cause.strerror}); tkd-bench writes session.json") from cause
    except ValueError as cause:
        raise RecordError(f"{path} is damaged (not JSON: {cause})") from cause
    return document if isinstance(document, dict) else {}


def _format(document: Mapping[str, Any], path: Path) -> str:
    seen = document.get("format")
    if seen not in (SESSION_FORMAT, COUNTS_FORMAT):
        newer = isinstance(seen, str) and seen.startswith(("tkd.bench/", "tkd.instructions/"))
        advice = "; update this toolkit" if newer else ""
        raise RecordError(f"{path} has format {seen!r}, expected '{SESSION_FORMAT}' or '{COUNTS_FORMAT}'{advice}")
    return str(seen)


def _matched(names: Sequence[Sequence[str]], files: Files) -> list[tuple[str, str]]:
    """The names that are compared: equal ones, or the only ones."""
    old, new = names
    if len(old) == len(new) == 1:
        return [(old[0], new[0])]
    shared = [name for name in old if name in new]
    if not shared:
        held = [", ".join(each) or "no model" for each in names]
        raise RecordError(
            f"{files[0]} holds {held[0]} and {files[1]} {held[1]}; expected models of one name, or one model in each"
        )
    return [(name, name) for name in shared]


def _sessions(files: Files, settings: GateSettings) -> tuple[Judgement, ...]:
    sessions = [read_session(path) for path in files]
    found = differences(*map(facts_of, sessions))
    made = []
    for names in _matched([[each.model.name for each in session.measurements] for session in sessions], files):
        arms = [
            next(each for each in session.measurements if each.model.name == name)
            for session, name in zip(sessions, names, strict=True)
        ]
        sides = [_side(arm, path) for arm, path in zip(arms, files, strict=True)]
        device = device_entry(sessions[1])
        if found:
            made.append(not_comparable(sides[0], sides[1], device, found))
        else:
            made.append(_judged(sessions, arms, sides, device, settings))
    return tuple(made)


def _judged(
    sessions: Sequence[Session],
    arms: Sequence[Measurement],
    sides: Sequence[Side],
    device: DeviceEntry,
    settings: GateSettings,
) -> Judgement:
    notes: list[str] = []
    rows: list[MetricVerdict] = []
    evidence = None
    if all(arm.blocks for arm in arms):
        row, evidence = _latency(sessions, arms, sides, settings, notes)
        rows.append(row)
    old, new = arms
    if old.predictions and new.predictions:
        try:
            same = old.model.sha256 == new.model.sha256
            rows.append(accuracy_row(new.predictions, old.predictions, settings, same_file=same))
        except RecordError as error:
            notes.append(f"accuracy was not compared: {error}")
    rows += exact_rows(sides[0], sides[1], settings)
    failure = next((arm.failure for arm in arms if arm.failure), None)
    return judgement(sides[0], sides[1], device, rows, failure=failure, latency=evidence, notes=notes)


def _latency(
    sessions: Sequence[Session],
    arms: Sequence[Measurement],
    sides: Sequence[Side],
    settings: GateSettings,
    notes: list[str],
) -> tuple[MetricVerdict, LatencyEvidence]:
    statistic = sessions[0].plan.statistic
    values = [[block.value_ns(statistic) for block in arm.blocks] for arm in arms]
    shared = anchor(sessions, arms)
    design: Literal["anchored", "two sessions"] = "anchored" if shared else "two sessions"
    if shared:
        look = anchored_look(sessions, arms, shared, settings.max_slowdown)
        name = next(each.model.name for each in sessions[0].measurements if each.model.sha256 == shared)
        notes.append(f"two sessions, anchored by {name}, which was measured in both")
    else:
        look = unanchored_look(values[0], values[1], settings.max_slowdown)
        notes.append(
            f"two sessions with nothing in common: the interval is wider by an assumed {100 * DRIFT:g} % to both "
            "sides; measure both models in one session: tkd-bench compare --baseline … --candidate …"
        )
    verdict = judge.verdict_of(look, settings.max_slowdown)
    if any(session.many_rejected for session in sessions):
        verdict = "INCONCLUSIVE"
        notes.append("over a quarter of a session's rounds were rejected by the device's gates")
    what = "pairs in each session" if shared else "blocks of each"
    note = latency_note(look, settings.max_slowdown, verdict, what=what)
    middle = [stats.median(each) for each in values]
    roles: tuple[Arm, Arm] = ("baseline", "candidate")
    entries = tuple(
        session_entry(session, side.model.source, {arm.model.name: role})
        for session, side, arm, role in zip(sessions, sides, arms, roles, strict=True)
    )
    return latency_row(look, middle[0], middle[1], settings, verdict, note), LatencyEvidence(
        statistic=statistic,
        design=design,
        looks=(look,),
        bootstrap=None,
        slower_us=middle[0] * (look.ratio - 1) / 1e3,
        pairs_for_two_percent=None,
        sessions=entries,
    )


def _side(arm: Measurement, path: Path) -> Side:
    model = arm.model
    return Side(
        model=ModelEntry(
            name=model.name,
            student=model.student,
            precision=model.precision,
            sha256=model.sha256,
            size_bytes=model.size_bytes,
            synthetic=model.synthetic,
            source=str(path),
        ),
        facts=exact_facts({}, model.size_bytes),
    )


def _counts(documents: Sequence[Mapping[str, Any]], files: Files, settings: GateSettings) -> tuple[Judgement, ...]:
    rows_of = [{each["model"]: each for each in document["measurements"]} for document in documents]
    made = []
    for names in _matched([list(rows) for rows in rows_of], files):
        old, new = (rows[name] for rows, name in zip(rows_of, names, strict=True))
        sides = [_counted_side(each, path) for each, path in zip((old, new), files, strict=True)]
        made.append(judge_counts(sides[0], sides[1], counted_device(documents[1], new), (old, new), settings))
    return tuple(made)


def _counted_side(record: Mapping[str, Any], path: Path) -> Side:
    student, _, precision = str(record["model"]).rpartition("-")
    model = ModelEntry(
        name=record["model"],
        student=student,
        precision=precision,
        sha256=record["sha256"],
        size_bytes=record["size_bytes"],
        synthetic=record["synthetic"],
        source=str(path),
    )
    return Side(model=model, facts=exact_facts({}, model.size_bytes))
