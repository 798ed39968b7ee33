"""docs/results-phones.md from the lines of `benchmarks.phone_results`; nothing is measured here.

Tested in `tests/benchmarks/test_phone_tables.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from scipy.stats import spearmanr

from converters.files import write_text
from tkd.students import STUDENTS

FORMAT = "tkd.phone_results/1"
PHONES = ("virtual-pixel1", "virtual-mi5")
PRECISIONS = ("float32", "int8")
# Choi et al. 2019, arXiv 1904.03814, table 1: TFLite of TensorFlow 1.13, float, one little core of a Pixel 1, one
# thread, the mean of 50 runs, front end excluded.
PUBLISHED_PIXEL1_MS: Mapping[str, float] = {
    "tcresnet8": 1.1,
    "tcresnet8-1.5": 2.8,
    "tcresnet14": 2.5,
    "tcresnet14-1.5": 5.7,
    "2d-resnet8": 10.1,
    "2d-resnet8-pool": 3.5,
    "ds-cnn-s": 1.6,
    "ds-cnn-m": 5.2,
    "ds-cnn-l": 16.8,
    "cnn-1": 32.0,
    "cnn-2": 1.2,
    "res8-narrow": 47.0,
    "res8": 174.0,
    "res15-narrow": 107.0,
    "res15": 424.0,
}
_LARGE, _SMALL = "res15", "tcresnet8"
_FEWEST_PAIRS = 5
Line = Mapping[str, Any]


@dataclass(slots=True)
class Row:
    """What is known of one student: the last line of each kind, by precision."""

    student: str
    instructions: dict[str, Line] = field(default_factory=dict)
    latency: dict[str, Line] = field(default_factory=dict)

    def count(self, precision: str, phone: str = PHONES[0]) -> int | None:
        """Instructions of one inference."""
        line = self.instructions.get(precision)
        return None if line is None else int(line["phones"][phone]["instructions"]["inference"])

    def us(self, precision: str) -> float | None:
        """Median time of one inference on this computer, in microseconds."""
        line = self.latency.get(precision)
        return None if line is None else float(line["median_us"])


def read_lines(path: Path) -> list[Line]:
    """The lines of a results file; none where there is no file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def rows_of(lines: Sequence[Line]) -> list[Row]:
    """One row for each student of the table, in its order; later lines take the place of earlier ones."""
    rows = {name: Row(name) for name in STUDENTS}
    for line in lines:
        if line["format"] == FORMAT and line["student"] in rows:
            kind: dict[str, Line] = getattr(rows[line["student"]], line["kind"])
            kind[line["precision"]] = line
    return list(rows.values())


def write_page(lines: Sequence[Line], path: Path) -> None:
    """Writes the page, whole or not at all."""
    rows = rows_of(lines)
    parts = [_HEAD, *_emulated(rows), "", *_times(rows), "", *_large_and_small(rows), "", *_conditions(lines)]
    write_text(path, "\n".join(parts).rstrip() + "\n")


_HEAD = """\
# Results on phones

Instructions of one inference of every student, counted on virtual phones: *emulated, exact, instructions and not latency*.
Beside them the time on an x86-64 computer, and milliseconds that others published for a Pixel 1.
No number on this page was measured on a phone by us.

`python -m benchmarks.phone_results` makes the lines that this page is written from (`benchmarks/phones.jsonl`); what the numbers mean is in [measuring](measuring.md#instructions-under-emulation).
"""  # noqa: E501


def _emulated(rows: Sequence[Row]) -> list[str]:
    counted = [row for row in rows if row.instructions]
    missing = [row.student for row in rows if len(row.instructions) < len(PRECISIONS)]
    same = all(
        row.count(precision, PHONES[0]) == row.count(precision, PHONES[1])
        for row in counted
        for precision in row.instructions
    )
    shown = PHONES[:1] if same else PHONES
    columns = [f"{precision}, {phone}" if len(shown) > 1 else precision for precision in PRECISIONS for phone in shown]
    lines = ["## Instructions of one inference", ""]
    if same:
        lines += [f"Both phones count the same for every file: {' and '.join(PHONES)}, each counted by itself.", ""]
    table = [("student", "MACs", *columns, "int8 / float32", "MACs in int8", "float32 instructions a MAC", "weights")]
    for row in counted:
        counts = [_whole(row.count(precision, phone)) for precision in PRECISIONS for phone in shown]
        macs = STUDENTS[row.student].macs_of_one_second
        int8 = row.instructions.get("int8")
        table.append(
            (
                f"`{row.student}`",
                f"{macs:,}",
                *counts,
                _ratio(row.count("int8"), row.count("float32"), 2),
                "–" if int8 is None else f"{100 * int8['int8_macs']:.0f} %",
                _ratio(row.count("float32"), macs, 2),
                next(iter(row.instructions.values()))["weights"],
            )
        )
    lines += _table(table)
    if missing:
        lines += ["", f"Not counted yet: {', '.join(missing)}."]
    return [
        *lines,
        "",
        "One second of sound at each student's published front end, which is not in the file; 12 classes, one thread, XNNPACK.",  # noqa: E501
        "*starter*: the packaged checkpoints, trained on SYNTHETIC speech. "
        "*fresh*: untrained weights, with the moving statistics of the calibration clips.",
        "What a file does is decided by its operators and shapes, not by its weights; only which operators of an int8 file stay float is chosen by their error.",  # noqa: E501
        "That choice was made for the starters; *fresh* files are int8 throughout but for a recurrence, which is float always.",  # noqa: E501
    ]


def _times(rows: Sequence[Row]) -> list[str]:
    table = [
        ("student", "x86-64, float32, µs", "x86-64, int8, µs", "int8 / float32", "Pixel 1, published, ms", "ns a count")
    ]
    for row in rows:
        published = PUBLISHED_PIXEL1_MS.get(row.student)
        if not row.latency and published is None:
            continue
        count = row.count("float32")
        table.append(
            (
                f"`{row.student}`",
                *(_time(row.latency.get(precision)) for precision in PRECISIONS),
                _against(row.latency.get("int8")),
                "–" if published is None else f"{published:g}",
                "–" if published is None or count is None else f"{1e6 * published / count:.2f}",
            )
        )
    return [
        "## Beside times",
        "",
        *_table(table),
        "",
        "x86-64: the processor time of one thread on a computer that did other work beside it, float32 and int8 in 21 turns; the median of the turns with its 95 % interval, and the ratio of the pairs with its own.",  # noqa: E501
        "Published: Choi et al. 2019 (arXiv 1904.03814), table 1. Measured by others with TensorFlow 1.13's float kernels on one little core of a real Pixel 1; another engine, another year.",  # noqa: E501
        "*ns a count* divides the published time by our float32 count of instructions: "
        "where it is large, the engine of 2019 or the memory did worse than today's instructions tell.",
        *_agreement(rows),
    ]


def _agreement(rows: Sequence[Row]) -> list[str]:
    """How well the counts go with the published times, in a sentence; none where there are too few."""
    known = [
        (PUBLISHED_PIXEL1_MS[row.student], count)
        for row in rows
        if row.student in PUBLISHED_PIXEL1_MS and (count := row.count("float32")) is not None
    ]
    if len(known) < _FEWEST_PAIRS:
        return []
    times, counts = zip(*known, strict=True)
    each = sorted(1e6 * time / count for time, count in known)
    rank = float(spearmanr(times, counts).statistic)
    return [
        f"Over these {len(known)} networks a count stands for {median(each):.2f} ns "
        f"({each[0]:.2f} to {each[-1]:.2f}); Spearman's rank correlation of counts and published times is {rank:.3f}.",
    ]


def _large_and_small(rows: Sequence[Row]) -> list[str]:
    by_name = {row.student: row for row in rows}
    large, small = by_name[_LARGE], by_name[_SMALL]
    macs = [STUDENTS[each.student].macs_of_one_second for each in (large, small)]
    published = [PUBLISHED_PIXEL1_MS[each.student] for each in (large, small)]
    table = [
        ("measure", "Res15", "TC-ResNet8", "ratio"),
        ("Pixel 1, published, ms", f"{published[0]:g}", f"{published[1]:g}", f"{published[0] / published[1]:.0f} ×"),
        ("multiply-accumulates", f"{macs[0]:,}", f"{macs[1]:,}", f"{macs[0] / macs[1]:.0f} ×"),
    ]
    for precision in PRECISIONS:
        counts = (large.count(precision), small.count(precision))
        cells = (_whole(counts[0]), _whole(counts[1]), f"{_ratio(*counts, 0)} ×")
        table.append((f"instructions, {precision}, emulated", *cells))
    for precision in PRECISIONS:
        times = (large.us(precision), small.us(precision))
        cells = (*("–" if time is None else f"{time:,.0f}" for time in times), f"{_ratio(*times, 0)} ×")
        table.append((f"x86-64, {precision}, µs", *cells))
    return [
        "## How far Res15 is from TC-ResNet8",
        "",
        "The paper of TC-ResNet puts Res15 at 385 times its smallest network's time. The same two networks here:",
        "",
        *_table(table),
        *_gap(large, small),
    ]


def _gap(large: Row, small: Row) -> list[str]:
    """The published ratio beside ours, in a sentence; none where one of the two was not counted."""
    counts = large.count("float32"), small.count("float32")
    if None in counts:
        return []
    published = [PUBLISHED_PIXEL1_MS[each.student] for each in (large, small)]
    each = [1e6 * time / count for time, count in zip(published, counts, strict=True) if count]
    return [
        "",
        f"Ours are the instructions: {_ratio(*counts, 0)} × in float32. Theirs is the time: "
        f"{published[0] / published[1]:.0f} ×, which is {each[0]:.2f} ns for each of our counts with Res15 and "
        f"{each[1]:.2f} ns with TC-ResNet8.",
    ]


def _conditions(lines: Sequence[Line]) -> list[str]:
    counted = [line for line in lines if line["kind"] == "instructions"]
    timed = [line for line in lines if line["kind"] == "latency"]
    found = ["## Counted and timed by", ""]
    for phone in PHONES:
        for by in _distinct([line["phones"][phone]["by"] for line in counted]):
            found.append(
                f"- {phone}: {by['emulator']}, `-cpu {by['emulated_cpu']}`, engine {by['engine_sha256'][:12]}, "
                f"runner {by['runner_sha256'][:12]}, processor {by['processor_sha256'][:12]}, {by['delegate']}, "
                f"{by['threads']} thread"
            )
    for host in dict.fromkeys(line["host"] for line in timed):
        loads = [line["load_1min"] for line in timed if line["host"] == host]
        found.append(f"- x86-64: {host}; load of the last minute {min(loads):g} to {max(loads):g}")
    dates = sorted(line["utc"][:10] for line in lines)
    return [*found, f"- between {dates[0]} and {dates[-1]}"] if dates else found


def _distinct(values: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return list({json.dumps(value, sort_keys=True): value for value in values}.values())


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    head, *body = ("| " + " | ".join(row) + " |" for row in rows)
    return [head, "|---|" + "---:|" * (len(rows[0]) - 1), *body]


def _whole(count: int | None) -> str:
    return "–" if count is None else f"{count:,}"


def _ratio(above: float | None, below: float | None, digits: int) -> str:
    return "–" if above is None or below is None else f"{above / below:,.{digits}f}"


def _time(line: Line | None) -> str:
    if line is None:
        return "–"
    ends = line["interval_us"]
    interval = "" if ends is None else f" [{ends[0]:,.1f}, {ends[1]:,.1f}]"
    return f"{line['median_us']:,.1f}{interval}"


def _against(line: Line | None) -> str:
    ratio = None if line is None else line["against_float32"]
    if ratio is None or ratio["interval"] is None:
        return "–"
    return f"{ratio['estimate']:.2f} [{ratio['interval'][0]:.2f}, {ratio['interval'][1]:.2f}]"
