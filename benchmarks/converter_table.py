"""The Markdown page of `benchmarks.converters`: rows as tables, ratios with their intervals, failures with reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from android_bench.stats import Ratio, latency_ratio

ROUTES = ("ours", "onnx-tf", "onnx2tf", "litert-torch")
Rows = Mapping[tuple[str, str], Mapping[str, Any]]


def table(rows: Rows, latencies: Rows, header: Mapping[str, Any]) -> str:
    """The page.

    Args:
        rows: by student and route.
        latencies: rounds by student and precision.
        header: machine, versions, first and last day of the measurements.
    """
    students = list(dict.fromkeys(name for name, _ in rows))
    parts = [
        _head(header),
        "## Latency",
        LATENCY_NOTE,
        _latency(students, latencies),
        "## int8 fidelity",
        "SQNR of the int8 file's logits in dB, against PyTorch, on 240 clips that calibration has not seen.",
        _grid(students, rows, "int8", lambda each: f"{each['sqnr_db']:.1f}"),
        "## Parity",
        "Largest difference of any logit of the float32 file to PyTorch, on the same clips.",
        _grid(students, rows, "float32", lambda each: f"{each['max_error']:.0e}"),
        "## Seconds",
        "Processor time from PyTorch to the float32 file / to both files, 256 calibration clips, without imports.",
        _seconds(students, rows),
        "## Files",
        "KiB · operators (TRANSPOSE among them), float32 / int8.",
        _files(students, rows),
        "## What was refused",
        _refusals(rows),
    ]
    return "\n\n".join(parts) + "\n"


LATENCY_NOTE = """\
Ours ÷ peer, in time: below 1, our file is the faster one.
Every file of a network in turns in one process, there and back, loaded anew every ten rounds.
In brackets: 95 % interval of the paired rounds (Hodges–Lehmann, signed ranks).
An instruction set of its own: these ratios hold for x86-64, and say nothing about a phone."""


def _head(header: Mapping[str, Any]) -> str:
    peers = ", ".join(f"{name} {found}" for name, found in sorted(header["peers"].items()) if name != "ai-edge-litert")
    return "\n".join(
        (
            "# Converters, side by side",
            "",
            "Made by `python -m benchmarks.converters`, which installs the peers, converts every student by every "
            "route and times the files in turns.",
            f"Machine: {header['machine']}; Python {header['python']}; torch {header['torch']}; {peers}.",
            f"Every file runs on {header['runtime']} with XNNPACK, one thread; {header['date']}.",
            "Features are of SYNTHETIC speech. Networks marked * have the packaged starter's weights; the others "
            "are not trained, and their SQNR says less.",
            "int8: ours as `--int8` gives it, onnx-tf and onnx2tf by TensorFlow's converter, litert-torch by PT2E "
            "with float input and output, or by ai-edge-quantizer where PT2E fails (TC-ResNet8).",
            "A dash was refused, for the reasons at the end; an empty cell was not run.",
        )
    )


def _latency(students: Sequence[str], latencies: Rows) -> str:
    lines = []
    for student in students:
        for precision in ("float32", "int8"):
            row = latencies.get((student, precision))
            if row is None:
                continue
            us = row["us"]
            ratios = {route: latency_ratio(us["ours"], us[route]) for route in ROUTES[1:] if route in us}
            fastest = max(ratios.values(), key=lambda each: each.estimate, default=None)
            cells = [_ratio(ratios.get(route)) for route in ROUTES[1:]]
            lines.append([student, precision, f"{median(us['ours']):.1f}", *cells, _verdict(fastest)])
    return _markdown(("network", "file", "ours, µs", *ROUTES[1:], "against the fastest"), lines)


def _ratio(ratio: Ratio | None) -> str:
    if ratio is None:
        return "–"
    low, high = ratio.interval or (float("nan"), float("nan"))
    return f"{ratio.estimate:.2f} [{low:.2f}, {high:.2f}]"


def _verdict(ratio: Ratio | None) -> str:
    if ratio is None:
        return "no peer has a file"
    low, high = ratio.interval or (0.0, float("inf"))
    if high < 1:
        return "faster"
    return "as fast" if high <= 1.02 else "slower" if low > 1 else "unclear"


def _grid(students: Sequence[str], rows: Rows, precision: str, cell: Any) -> str:
    lines = []
    for student in students:
        found = [rows.get((student, route), {}).get("files", {}).get(precision) for route in ROUTES]
        lines.append([_named(student, rows), *("" if f is None else cell(f) if "bytes" in f else "–" for f in found)])
    return _markdown(("network", *ROUTES), lines)


def _seconds(students: Sequence[str], rows: Rows) -> str:
    lines = []
    for student in students:
        cells = []
        for route in ROUTES:
            row = rows.get((student, route))
            if row is None or "bytes" not in row["files"]["float32"]:
                cells.append("" if row is None else "–")
                continue
            both = row["seconds"]["with int8"] if "bytes" in row["files"]["int8"] else None
            cells.append(f"{row['seconds']['float32']:.2f} / {'–' if both is None else f'{both:.2f}'}")
        lines.append([_named(student, rows), *cells])
    return _markdown(("network", *ROUTES), lines)


def _files(students: Sequence[str], rows: Rows) -> str:
    lines = []
    for student in students:
        cells = []
        for route in ROUTES:
            files = rows.get((student, route), {}).get("files", {})
            cells.append(" / ".join(_file(files[each]) for each in ("float32", "int8")) if files else "")
        lines.append([_named(student, rows), *cells])
    return _markdown(("network", *ROUTES), lines)


def _file(file: Mapping[str, Any]) -> str:
    if "bytes" not in file:
        return "–"
    return f"{file['bytes'] / 1024:.0f} · {file['operators']} ({file['transposes']})"


def _refusals(rows: Rows) -> str:
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for (student, route), row in rows.items():
        for precision, file in row["files"].items():
            if "refused" in file:
                reasons.setdefault((route, precision, file["refused"]), []).append(student)
    if not reasons:
        return "Nothing."
    lines = [[route, kind, ", ".join(names), f"`{_plain(why)}`"] for (route, kind, why), names in reasons.items()]
    return _markdown(("route", "file", "networks", "reason"), lines)


def _plain(text: str) -> str:
    return text.replace("|", "/").replace("`", "'").replace("\n", " ")


def _named(student: str, rows: Rows) -> str:
    is_trained = any(row["is_trained"] for (name, _), row in rows.items() if name == student)
    return f"{student}*" if is_trained else student


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
