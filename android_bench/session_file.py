"""Sessions on disk: one JSON per session and an append-only journal of blocks, both `tkd.bench/1`.

`android_bench.measure` writes the journal as blocks end, so that a crash or Ctrl-C keeps them;
`android_bench.cli` writes the session at the end. docs/formats.md describes every field.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from android_bench.errors import RecordError
from android_bench.records import (
    Block,
    DeviceContext,
    DeviceState,
    Failure,
    Measurement,
    Memory,
    Model,
    Predictions,
    Rejection,
    RunPlan,
    Session,
    SeveralPredictions,
    StageScore,
)
from android_bench.summary import Summary, comparisons, summarize
from converters.files import write_text

FORMAT = "tkd.bench/1"


def session_to_json(session: Session) -> dict[str, Any]:
    """The session as plain JSON values: every raw sample, and beside them the metrics computed from them."""
    record = asdict(session)
    context = session.context
    record["measurements"] = [
        asdict(measurement) | metrics_of(summarize(measurement, session.plan.statistic))
        for measurement in session.measurements
    ]
    record["comparisons"] = [asdict(comparison) for comparison in comparisons(session)]
    record["context"] = asdict(context) | {
        # The names of androidx.benchmark, for tools that read its files.
        "build": {
            "brand": None,
            "device": session.device,
            "model": context.model,
            "fingerprint": context.fingerprint,
            "version": {"sdk": context.sdk if isinstance(context.sdk, int) else None},
        },
        "cpuCoreCount": context.cpu_count,
        "cpuLocked": context.clocks_locked if isinstance(context.clocks_locked, bool) else None,
        "cpuMaxFreqHz": context.max_frequency_khz * 1000 if isinstance(context.max_frequency_khz, int) else None,
        "memTotalBytes": context.memory_total_kb * 1024 if isinstance(context.memory_total_kb, int) else None,
    }
    return {"format": FORMAT, "name": session.name, "samples_sha256": samples_sha256(session), **record}


def samples_sha256(session: Session) -> str:
    """A hash over what was measured of each model, so that an edit is found: samples, their order, and answers."""
    digest = hashlib.sha256()
    for measurement in session.measurements:
        model, predictions = measurement.model, measurement.predictions
        digest.update(f"{model.name} {model.sha256} {model.size_bytes}\n".encode())
        for block in measurement.blocks:
            digest.update(f"{block.index} {block.order} {len(block.samples_ns)}\n".encode())
            digest.update(np.asarray(block.samples_ns, "<i8").tobytes())
        if predictions:
            digest.update(json.dumps(asdict(predictions), sort_keys=True).encode())
    return digest.hexdigest()


def metrics_of(summary: Summary) -> dict[str, Any]:
    """The metrics of one model under the field names of LiteRT's benchmark proto; what is not known is null."""
    return {
        "latency_metrics": None if summary.latency is None else asdict(summary.latency),
        "memory_metrics": None if summary.memory is None else asdict(summary.memory),
        "misc_metrics": {
            "model_size_mb": summary.size_bytes / 1e6,
            "num_runs": summary.runs,
            "num_warmup_runs": summary.warmup_runs,
        },
        "accuracy": None if summary.accuracy is None else asdict(summary.accuracy),
        "precision": None if summary.precision is None else asdict(summary.precision),
    }


def write_session(path: Path, session: Session) -> None:
    """Writes the session's JSON to `path`, whole or not at all."""
    write_text(path, json.dumps(session_to_json(session), allow_nan=False, ensure_ascii=False) + "\n")


def read_session(path: Path) -> Session:
    """The session written at `path`; its metrics are computed anew from the samples when they are asked for.

    Raises:
        RecordError: it is missing, damaged, or of another version.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as cause:
        raise RecordError(f"no session at {path}; tkd-bench writes one") from cause
    except ValueError as cause:
        raise RecordError(f"{path} is damaged (not JSON: {cause})") from cause
    _check_format(record, path)
    try:
        session = _session(record)
    except (KeyError, TypeError, AttributeError) as cause:
        raise RecordError(f"{path} is damaged ({cause!r})") from cause
    # Sessions of the first version have no hash.
    if record.get("samples_sha256", samples_sha256(session)) != samples_sha256(session):
        raise RecordError(f"{path} was edited after it was measured (samples_sha256 does not fit); measure again")
    return session


def append_block(path: Path, block: Block) -> None:
    """Adds one line with the block to the journal at `path`."""
    # Not `asdict`, which copies each of a small model's hundred thousand samples.
    _append(path, "block", {name: getattr(block, name) for name in Block.__dataclass_fields__})


def append_rejection(path: Path, rejection: Rejection) -> None:
    """Adds one line with a round that was not measured to the journal at `path`."""
    _append(path, "rejected", asdict(rejection))


def _append(path: Path, kind: str, fields: Mapping[str, Any]) -> None:
    line = json.dumps({"format": FORMAT, "record": kind, **fields}, allow_nan=False, ensure_ascii=False)
    with path.open("a", encoding="utf-8") as journal:
        journal.write(line + "\n")
        journal.flush()
        os.fsync(journal.fileno())


def read_blocks(path: Path) -> list[Block]:
    """The blocks in the journal at `path`; a last line cut off in the middle is left out, as are rejected rounds.

    Raises:
        RecordError: a complete line is no block.
    """
    blocks = []
    # What follows the last line break was cut off while it was written.
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n")[:-1], start=1):
        try:
            record = json.loads(line)
            _check_format(record, path)
            if record["record"] == "block":
                blocks.append(_block({key: value for key, value in record.items() if key not in ("format", "record")}))
        except (ValueError, TypeError, KeyError) as cause:
            raise RecordError(f"{path}, line {number}, is no block ({cause!r})") from cause
    return blocks


def _check_format(record: object, path: Path) -> None:
    seen = record.get("format") if isinstance(record, dict) else None
    if seen != FORMAT:
        newer = isinstance(seen, str) and seen.startswith("tkd.bench/")
        advice = "; update this toolkit" if newer else ""
        raise RecordError(f"{path} has format {seen!r}, expected '{FORMAT}'{advice}")


def _session(record: Mapping[str, Any]) -> Session:
    names = DeviceContext.__dataclass_fields__
    return Session(
        device=record["device"],
        context=DeviceContext(**{name: value for name, value in record["context"].items() if name in names}),
        plan=RunPlan(**record["plan"]),
        runner=record["runner"],
        started_utc=record["started_utc"],
        finished_utc=record["finished_utc"],
        before=DeviceState(**record["before"]),
        after=DeviceState(**record["after"]),
        measurements=tuple(_measurement(item) for item in record["measurements"]),
        concerns=tuple(record["concerns"]),
        interrupted=record["interrupted"],
        tool=record["tool"],
        rejected=tuple(Rejection(**{**item, "reasons": tuple(item["reasons"])}) for item in record.get("rejected", ())),
        dirty=tuple(record.get("dirty", ())),
    )


def _measurement(record: Mapping[str, Any]) -> Measurement:
    return Measurement(
        model=Model(**{**record["model"], "stages": tuple(_stages(record["model"].get("stages", ())))}),
        blocks=tuple(_block(item) for item in record["blocks"]),
        memory=Memory(**record["memory"]) if record["memory"] else None,
        predictions=predictions_from_json(record["predictions"]) if record["predictions"] else None,
        failure=Failure(**record["failure"]) if record["failure"] else None,
        notes=tuple(record["notes"]),
    )


def _stages(records: Sequence[Mapping[str, Any]]) -> Iterator[StageScore]:
    for record in records:
        interval = record["interval"]
        yield StageScore(**{**record, "interval": tuple(interval) if interval else None})


def predictions_from_json(record: Mapping[str, Any]) -> Predictions | SeveralPredictions:
    """The answers in a record of a session or of counts; a KeyError or TypeError where it is none."""
    if "outputs" not in record:
        return Predictions(**{key: tuple(row) for key, row in record.items()})
    return SeveralPredictions(
        ids=tuple(record["ids"]),
        labels=tuple(record["labels"]),
        outputs=tuple(None if row is None else tuple(row) for row in record["outputs"]),
        expected=tuple(tuple(row) for row in record["expected"]),
    )


def _block(record: Mapping[str, Any]) -> Block:
    return Block(**{**record, "samples_ns": tuple(record["samples_ns"])})
