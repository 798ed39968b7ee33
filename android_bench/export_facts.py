"""What a bundle says of its own making: operators, how much of them is int8, and what each layer costs and loses.

`tkd-export` writes it into the bundle; `android_bench.page.layers` shows it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from android_bench.errors import RecordError
from converters.bundle import read_bundle


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One operator of an int8 file.

    Attributes:
        tensor: its output's name.
        operator: TFLite's name.
        sqnr_db: signal to quantization noise of the output, everything before it in int8 too; None where it has none.
        alone_us: the operator in a file of its own on the exporting computer; None where it was not timed.
    """

    tensor: str
    operator: str
    sqnr_db: float | None
    alone_us: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What a bundle says of its own making.

    Attributes:
        name: the bundle's.
        precision: float32, float16, dynamic or int8.
        by_type: operators by TFLite's name.
        int8_share: shares of operators, macs and weight_bytes, 0–1.
        layers: as the report has them, the worst first; empty unless int8.
        clips: that the layers were compared on.
    """

    name: str
    precision: str
    by_type: Mapping[str, int]
    int8_share: Mapping[str, float]
    layers: tuple[Layer, ...]
    clips: int


def export_of(document: Mapping[str, Any], report: Mapping[str, Any]) -> Export:
    """The export in a bundle's model.json and report.json.

    Raises:
        RecordError: the report is damaged.
    """
    try:
        quantization = report.get("quantization") or {}
        is_int8 = document["precision"] == "int8"
        return Export(
            name=document["name"],
            precision=document["precision"],
            by_type={str(key): int(count) for key, count in (document["ops"].get("by_type") or {}).items()},
            int8_share={
                str(key): float(value)
                for key, value in (document["ops"].get("int8_share") or {}).items()
                if isinstance(value, float | int) and not isinstance(value, bool)
            },
            layers=tuple(_layer(item) for item in quantization.get("layers", ())) if is_int8 else (),
            clips=int(quantization.get("calibration_clips") or 0),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as cause:
        raise RecordError(f"the report of bundle {document.get('name')} is damaged ({cause!r})") from cause


def read_export(folder: Path) -> Export:
    """What the bundle in `folder` says, its hashes checked.

    Raises:
        BundleError: it is missing, altered or damaged.
        RecordError: its report is damaged.
    """
    bundle = read_bundle(folder)
    try:
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except ValueError as cause:
        raise RecordError(f"{folder / 'report.json'} is damaged (not JSON: {cause}); export the model again") from cause
    if not isinstance(report, dict):
        raise RecordError(f"{folder / 'report.json'} is damaged (no object); export the model again")
    return export_of(bundle.document, report)


def _layer(record: Mapping[str, Any]) -> Layer:
    sqnr, alone = record.get("sqnr_db"), record.get("alone_us")
    return Layer(
        tensor=str(record["tensor"]),
        operator=str(record["operator"]),
        sqnr_db=None if sqnr is None else float(sqnr),
        alone_us=None if alone is None else float(alone),
    )
