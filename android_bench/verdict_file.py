"""Verdicts on disk, `tkd.compare/1`: one JSON a gate, with a hash over all of it, so that an edit is found.

`android_bench.cli_compare` writes it; whatever renders a verdict reads it. docs/formats.md describes every field.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from android_bench.errors import RecordError
from android_bench.records import Failure, Rejection
from android_bench.stats import Interval
from android_bench.verdict import (
    BlockEntry,
    DeviceEntry,
    Gate,
    GateSettings,
    Judgement,
    LatencyEvidence,
    Look,
    MetricVerdict,
    ModelEntry,
    SelfTestEntry,
    SessionEntry,
)
from converters.files import write_text

FORMAT = "tkd.compare/1"
_HASH = "content_sha256"


def gate_to_json(gate: Gate) -> dict[str, Any]:
    """The gate as plain JSON values; `verdict` and `exit_code` stand beside what they follow from."""
    record = asdict(gate)
    for judgement, found in zip(record["judgements"], gate.judgements, strict=True):
        judgement["name"] = found.name
    document = {"format": FORMAT, "verdict": gate.verdict, "exit_code": int(gate.exit_code), **record}
    document = json.loads(json.dumps(document, allow_nan=False))
    return {**document, _HASH: _content_sha256(document)}


def gate_from_json(document: Mapping[str, Any], source: str) -> Gate:
    """The gate in a document; `source` is its name for errors.

    Raises:
        RecordError: it is of another format or version, damaged, or was edited.
    """
    seen = document.get("format") if isinstance(document, Mapping) else None
    if seen != FORMAT:
        newer = isinstance(seen, str) and seen.startswith("tkd.compare/")
        advice = "; update this toolkit" if newer else ""
        raise RecordError(f"{source} has format {seen!r}, expected '{FORMAT}'{advice}")
    content = {key: value for key, value in document.items() if key != _HASH}
    if document.get(_HASH) != _content_sha256(content):
        raise RecordError(f"{source} was edited after it was written (its {_HASH} does not fit); compare again")
    try:
        return Gate(
            settings=GateSettings(**document["settings"]),
            judgements=tuple(_judgement(item) for item in document["judgements"]),
            started_utc=document["started_utc"],
            finished_utc=document["finished_utc"],
            interrupted=document["interrupted"],
            tool=document["tool"],
        )
    except (KeyError, TypeError, AttributeError) as cause:
        raise RecordError(f"{source} is damaged ({cause!r})") from cause


def write_gate(path: Path, gate: Gate) -> None:
    """Writes the gate's JSON to `path`, whole or not at all."""
    write_text(path, json.dumps(gate_to_json(gate), allow_nan=False, ensure_ascii=False) + "\n")


def read_gate(path: Path) -> Gate:
    """The gate written at `path`.

    Raises:
        RecordError: it is missing, damaged, edited, or of another version.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as cause:
        raise RecordError(f"no verdict at {path} ({cause.strerror}); tkd-bench compare writes one") from cause
    except ValueError as cause:
        raise RecordError(f"{path} is damaged (not JSON: {cause})") from cause
    return gate_from_json(document, str(path))


def content_sha256(path: Path) -> str:
    """What names the document at `path`, after its content was found to be unaltered.

    Raises:
        RecordError: it is missing, damaged, edited, or of another version.
    """
    read_gate(path)
    return str(json.loads(path.read_text(encoding="utf-8"))[_HASH])


def _content_sha256(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, allow_nan=False, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _judgement(record: Mapping[str, Any]) -> Judgement:
    latency, failure, self_test = record["latency"], record["failure"], record["self_test"]
    device = record["device"]
    return Judgement(
        baseline=ModelEntry(**record["baseline"]),
        candidate=ModelEntry(**record["candidate"]),
        device=DeviceEntry(**{**device, "concerns": tuple(device["concerns"])}),
        metrics=tuple(MetricVerdict(**{**item, "interval": _interval(item["interval"])}) for item in record["metrics"]),
        verdict=record["verdict"],
        reasons=tuple(record["reasons"]),
        notes=tuple(record["notes"]),
        latency=_latency(latency) if latency else None,
        failure=Failure(**failure) if failure else None,
        self_test=SelfTestEntry(**self_test) if self_test else None,
    )


def _latency(record: Mapping[str, Any]) -> LatencyEvidence:
    confirmation, session = record["confirmation"], record["confirmation_session"]
    return LatencyEvidence(
        **{
            **record,
            "looks": tuple(_look(item) for item in record["looks"]),
            "bootstrap": _interval(record["bootstrap"]),
            "sessions": tuple(_session(item) for item in record["sessions"]),
            "confirmation": _look(confirmation) if confirmation else None,
            "confirmation_session": _session(session) if session else None,
        }
    )


def _look(record: Mapping[str, Any]) -> Look:
    return Look(**{**record, "interval": _interval(record["interval"])})


def _session(record: Mapping[str, Any]) -> SessionEntry:
    blocks = (BlockEntry(**{**item, "percentiles_ns": tuple(item["percentiles_ns"])}) for item in record["blocks"])
    rejected = (Rejection(**{**item, "reasons": tuple(item["reasons"])}) for item in record["rejected"])
    return SessionEntry(**{**record, "blocks": tuple(blocks), "rejected": tuple(rejected)})


def _interval(pair: list[float] | None) -> Interval | None:
    return (float(pair[0]), float(pair[1])) if pair else None
