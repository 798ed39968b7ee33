"""A conversion told in Markdown, for people, and as a document of plain values, for programs."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from converters.advice import Advice
from converters.latency import Ratio
from converters.mixture import Mixture
from converters.parity import ParityReport
from converters.quant_report import QuantReport, Shares
from converters.request import Conversion, TfliteFile
from converters.runtimes import DEFAULT_RUNTIME
from converters.tune import Tuning

FEW_CLIPS = 100
_LAYERS_SHOWN = 10


def render_report(conversion: Conversion, *, title: str) -> str:
    """The conversion as Markdown: files, operators, parity, the int8 proof and the time it took.

    Args:
        conversion: of `converters.pipeline.convert`.
        title: the first heading, for example the student's name.
    """
    parts = [f"# {title}", *_made_by(conversion), _files(list(conversion.files.values()), conversion.latency)]
    parts.append(_parity(conversion.parity))
    if conversion.quantization is not None and conversion.mixture is not None:
        parts.append(_quantization(conversion.quantization, conversion.mixture))
    if conversion.advice is not None:
        parts.append(_advice(conversion.advice))
    if conversion.tuning is not None:
        parts.append(_tuning(conversion.tuning))
    seconds = [(name, f"{value:.3f}") for name, value in conversion.seconds.items()]
    parts.append("## Time\n\n" + _table(("step", "seconds"), seconds))
    return "\n\n".join(parts) + "\n"


def report_document(conversion: Conversion) -> dict[str, Any]:
    """The same facts as JSON values; what is infinite or undefined is None."""
    document: dict[str, Any] = {
        "format": "tkd.conversion/1",
        "onnx": {"bytes": len(conversion.onnx), "sha256": hashlib.sha256(conversion.onnx).hexdigest()},
        "files": {precision: _file_document(file) for precision, file in conversion.files.items()},
        "parity": asdict(conversion.parity),
        "advice": None if conversion.advice is None else asdict(conversion.advice),
        "tuning": None if conversion.tuning is None else asdict(conversion.tuning),
        "latency_to_float32_on_this_computer": {name: asdict(ratio) for name, ratio in conversion.latency.items()},
        "quantization": None if conversion.quantization is None else asdict(conversion.quantization),
        "mixture": None if conversion.mixture is None else mixture_document(conversion.mixture),
        "seconds": dict(conversion.seconds),
        "backend": {"name": conversion.backend, "tools": dict(conversion.tools)},
        "runtime": conversion.runtime,
    }
    plain = _plain(document)
    assert isinstance(plain, dict)
    return plain


def _made_by(conversion: Conversion) -> list[str]:
    """Who made the files and what ran them, where that is not as usual."""
    lines = []
    if conversion.backend != "direct":
        tools = ", ".join(f"{name} {version}" for name, version in conversion.tools.items())
        lines.append(f"Made by the backend {conversion.backend} ({tools}).")
    if conversion.runtime != DEFAULT_RUNTIME:
        lines.append(f"Parity and latency are those of the runtime {conversion.runtime}.")
    return ["\n".join(lines)] if lines else []


def _files(files: Sequence[TfliteFile], latency: Mapping[str, Ratio]) -> str:
    rows = [
        (
            file.precision,
            f"{len(file.content):,}",
            str(sum(file.operators.values())),
            f"{file.input.name} {list(file.input.shape)} {file.input.dtype}",
            f"{file.output.name} {list(file.output.shape)} {file.output.dtype}",
            " ".join(f"{code}×{count}" for code, count in file.operators.items()),
            _ratio(latency.get(file.precision)),
        )
        for file in files
    ]
    header = ("precision", "bytes", "operators", "input", "output", "of which", "latency to float32")
    return "## Files\n\nLatency on this computer, one thread, in turns with float32.\n\n" + _table(header, rows)


def _ratio(latency: Ratio | None) -> str:
    return "" if latency is None else f"× {latency} ({latency.low:.2f} – {latency.high:.2f})"


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


def mixture_document(mixture: Mixture) -> dict[str, Any]:
    """What is not int8 and why, as JSON values."""
    return {
        "not_int8": dict(mixture.plan),
        "choices": [asdict(choice) for choice in mixture.choices],
        "uniform_sqnr_db": mixture.uniform_sqnr_db,
    }


def mixture_sentence(mixture: Mixture) -> str:
    """What is not int8 and why, in one line."""
    if not mixture.choices:
        return "every operator is int8"
    return "in float: " + "; ".join(
        f"{each.family} ({each.operators} operators: {each.reason}"
        + ("" if each.sqnr_db is None else f"; the file then has {each.sqnr_db:.0f} dB")
        + ")"
        for each in mixture.choices
    )


def _quantization(report: QuantReport, mixture: Mixture) -> str:
    shares = (
        f"{report.shares.operators:.0%} of the operators, {report.shares.macs:.0%} of the multiply-accumulates and "
        f"{report.shares.weight_bytes:.0%} of the weight bytes are int8.\n"
        f"In the int8 file, {mixture_sentence(mixture)}.\n"
        f"Calibrated on {report.calibration_clips} clips, ranges by {report.method}, weights rounded {report.rounding}."
    )
    if report.calibration_clips < FEW_CLIPS:
        shares += f"\nThat is few: {FEW_CLIPS} clips or more give steadier ranges."
    kinds = [(row.operator, row.precision, str(row.count), f"{row.macs:,}") for row in report.operators]
    layers = [
        (each.tensor, each.operator, _decibels(each.sqnr_db), "" if each.alone_us is None else f"{each.alone_us:.1f}")
        for each in report.layers[:_LAYERS_SHOWN]
    ]
    return "\n\n".join(
        (
            "## int8",
            shares,
            _table(("operator", "precision", "count", "MACs"), kinds),
            "The layers that lose most, each with everything before it in int8 too:",
            _table(("tensor", "made by", "SQNR dB", "alone, µs"), layers),
            "Alone: the operator in a file of its own on this computer, without the cost of an empty file. "
            "In the whole file neighbours can be merged.",
        )
    )


def shares_document(shares: Shares) -> dict[str, float]:
    """How much of a file is int8, as JSON values."""
    return {"operators": shares.operators, "macs": shares.macs, "weight_bytes": shares.weight_bytes}


def _advice(advice: Advice) -> str:
    rows = [(" and ".join(each.operators), f"{each.gain_db:+.1f}") for each in advice.trials[:_LAYERS_SHOWN]]
    return "\n\n".join(
        (
            "## Advice",
            f"{advice.sentence()}",
            f"Operators put into float; on calibration clips the file as it is has {advice.sqnr_db:.1f} dB:",
            _table(("in float", "gain dB"), rows),
        )
    )


def tuning_rows(tuning: Tuning) -> list[tuple[str, ...]]:
    """What was tried, as rows of a table: choice, beside what, kB, ratio to the file as it was, outcome."""
    return [
        (
            each.choice,
            each.beside,
            f"{each.size_bytes / 1e3:.0f}" if each.size_bytes else "",
            "" if each.ratio is None else f"{each.ratio.ratio:.3f} ({each.ratio.low:.3f} – {each.ratio.high:.3f})",
            each.outcome,
        )
        for each in tuning.trials
    ]


TUNING_HEADER = ("choice", "beside", "kB", "ratio (quartiles)", "outcome")


def _tuning(tuning: Tuning) -> str:
    return f"## Tuning\n\n{tuning.sentence()}.\n\n" + _table(TUNING_HEADER, tuning_rows(tuning))


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
        "int8_share": shares_document(file.shares),
    }


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
