"""Sessions of virtual phones as `tkd-bench` left them on disk, `tkd.instructions/1`.

`android_bench.virtual_session` writes them; `android_bench.evidence` reads them here, without a phone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from android_bench.errors import RecordError
from android_bench.records import Failure, Instructions, Predictions, SeveralPredictions
from android_bench.session_file import predictions_from_json

FORMAT = "tkd.instructions/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedModel:
    """One model of such a session; what was not reached is None.

    Attributes:
        name: the bundle's name.
        student: the student's name.
        precision: float32, float16, dynamic or int8.
        sha256: of model.tflite.
        size_bytes: of model.tflite.
        synthetic: whether the data behind its accuracy is synthetic.
        instructions: exact counts, no measure of time.
        counted_by: all of which must be equal in two counts that are compared.
        predictions: what the device answered for the evaluation pack.
        failure: why it could not be counted to the end.
    """

    name: str
    student: str
    precision: str
    sha256: str
    size_bytes: int
    synthetic: bool
    instructions: Instructions | None
    counted_by: Mapping[str, Any]
    predictions: Predictions | SeveralPredictions | None
    failure: Failure | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedSession:
    """One call of the bench on a virtual phone, as the file tells it."""

    device: str
    model: str
    fingerprint: str
    started_utc: str
    interrupted: bool
    concerns: tuple[str, ...]
    models: tuple[CountedModel, ...]


def counted_session(record: Mapping[str, Any], path: Path) -> CountedSession:
    """The session in a document of this format.

    Raises:
        RecordError: it is damaged.
    """
    try:
        return CountedSession(
            device=record["device"],
            model=record["context"]["model"],
            fingerprint=record["context"]["fingerprint"],
            started_utc=record["started_utc"],
            interrupted=record["interrupted"],
            concerns=tuple(record["concerns"]),
            models=tuple(_model(item) for item in record["measurements"]),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as cause:
        raise RecordError(f"{path} is damaged ({cause!r})") from cause


def read_counts(path: Path) -> CountedSession:
    """The session at `path`.

    Raises:
        RecordError: it is missing, damaged, or of another format or version.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as cause:
        raise RecordError(f"no session at {path}; tkd-bench --device virtual-pixel1 writes one") from cause
    except ValueError as cause:
        raise RecordError(f"{path} is damaged (not JSON: {cause})") from cause
    seen = record.get("format") if isinstance(record, dict) else None
    if seen != FORMAT:
        raise RecordError(f"{path} has format {seen!r}, expected '{FORMAT}'")
    return counted_session(record, path)


def _model(record: Mapping[str, Any]) -> CountedModel:
    counts = record["instructions"]
    name = record["model"]
    # Files of earlier versions have the name only, which ends in the precision.
    student, _, precision = name.rpartition("-")
    return CountedModel(
        name=name,
        student=record.get("student", student or name),
        precision=record.get("precision", precision),
        sha256=record["sha256"],
        size_bytes=int(record["size_bytes"]),
        synthetic=bool(record["synthetic"]),
        instructions=Instructions(**{key: value for key, value in counts.items() if key != "counted_by"})
        if counts
        else None,
        counted_by=dict(counts["counted_by"]) if counts else {},
        predictions=predictions_from_json(record["predictions"]) if record["predictions"] else None,
        failure=Failure(**record["failure"]) if record["failure"] else None,
    )
