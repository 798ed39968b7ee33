"""A conversion told in Markdown, for people, and as a document of plain values, for programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from converters.parity import ParityReport
from converters.pipeline import Conversion, TfliteFile
from converters.quant_report import QuantReport

FEW_CLIPS = 100
_LAYERS_SHOWN = 10


def render_report(conversion: Conversion, *, title: str) -> str:
    """The conversion as Markdown: files, operators, parity, the int8 proof and the time it took.

    Args:
        conversion: of `converters.pipeline.convert`.
        title: the first heading, for example the student's name.
    """
    files = [file for file in (conversion.float32, conversion.int8) if file is not None]
    parts = [f"# {title}", _files(files), _parity(conversion.parity)]
    if conversion.quantization is not None:
        parts.append(_quantization(conversion.quantization))
    seconds = [(name, f"{value:.3f}") for name, value in conversion.seconds.items()]
    parts.append("## Time\n\n" + _table(("step", "seconds"), seconds))
    return "\n\n".join(parts) + "\n"


def report_document(conversion: Conversion) -> dict[str, Any]:
    """The same facts as JSON values; what is infinite or undefined is None."""
    document: dict[str, Any] = {
        "format": "tkd.conversion/1",
        "onnx": {"bytes": len(conversion.onnx)},
        "float32": _file_document(conversion.float32),
        "int8": None if conversion.int8 is None else _file_document(conversion.int8),
        "parity": asdict(conversion.parity),
        "quantization": None if conversion.quantization is None else asdict(conversion.quantization),
        "seconds": dict(conversion.seconds),
    }
    plain = _plain(document)
    assert isinstance(plain, dict)
    return plain


def _files(files: Sequence[TfliteFile]) -> str:
    rows = [
        (
            file.precision,
            f"{len(file.content):,}",
            str(sum(file.operators.values())),
            f"{file.input.name} {list(file.input.shape)} {file.input.dtype}",
            f"{file.output.name} {list(file.output.shape)} {file.output.dtype}",
            " ".join(f"{code}×{count}" for code, count in file.operators.items()),
        )
        for file in files
    ]
    return "## Files\n\n" + _table(("precision", "bytes", "operators", "input", "output", "of which"), rows)


def _parity(parity: ParityReport) -> str:
    rows = [
        (
            each.stage,
            str(each.examples),
            f"{each.max_abs_error:.2g}",
            f"{each.relative_error:.2g}",
            _decibels(each.sqnr_db),
            f"{each.top1_agreement:.1%}",
        )
        for each in parity.stages
    ]
    header = ("stage", "inputs", "max abs error", "relative", "SQNR dB", "same winner")
    return f"## Parity\n\nOver {parity.inputs}.\n\n" + _table(header, rows)


def _quantization(report: QuantReport) -> str:
    shares = (
        f"{report.int8_operators:.0%} of the operators, {report.int8_macs:.0%} of the multiply-accumulates and "
        f"{report.int8_weight_bytes:.0%} of the weight bytes are int8.\n"
        f"Calibrated on {report.calibration_clips} clips, ranges by {report.method}, weights rounded {report.rounding}."
    )
    if report.calibration_clips < FEW_CLIPS:
        shares += f"\nThat is few: {FEW_CLIPS} clips or more give steadier ranges."
    kinds = [(row.operator, row.precision, str(row.count), f"{row.macs:,}") for row in report.operators]
    layers = [(each.tensor, each.operator, _decibels(each.sqnr_db)) for each in report.layers[:_LAYERS_SHOWN]]
    return "\n\n".join(
        (
            "## int8",
            shares,
            _table(("operator", "precision", "count", "MACs"), kinds),
            "The layers that lose most, each with everything before it in int8 too:",
            _table(("tensor", "made by", "SQNR dB"), layers),
        )
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _decibels(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else "exact" if value > 0 else "no signal"


def _file_document(file: TfliteFile) -> dict[str, Any]:
    return {
        "bytes": len(file.content),
        "input": file.input.to_json(),
        "output": file.output.to_json(),
        "operators": dict(file.operators),
        "op_versions": dict(file.op_versions),
    }


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
