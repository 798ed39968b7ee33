"""docs/results-streaming.md from the lines of `benchmarks.streaming`; nothing is measured here.

Tested in `tests/benchmarks/test_streaming_tables.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from converters.files import write_text
from tkd.students import STUDENTS

FORMAT = "tkd.streaming/1"
LINES = Path("benchmarks/streaming.jsonl")
PAGE = Path("docs/results-streaming.md")
PHONE = "virtual-pixel1"
PRECISIONS = ("float32", "int8")
AIM = 0.7
"""Of what the multiply-accumulates promise, in instructions."""

Line = Mapping[str, Any]

_HEAD = (
    "# Results of streams",
    "",
    "What a second of audio costs when a network is run on the whole window at each hop, "
    "and when it is a stream that carries its states on.",
    "Audio goes in: the front end is in every file, in float32. "
    "Both are run at the smallest hop that the network's strides allow, so as often a second.",
    "",
    "- *MACs*: how many times fewer multiply-accumulates a hop has than the window, front end included: "
    "what streaming promises.",
    f"- *instructions*: how many times fewer it takes, on `{PHONE}`: *emulated, exact, instructions and not latency*.",
    f"- *kept*: the second over the first. {AIM} was aimed at: kernels fill their registers less with one frame than "
    "with a hundred, and each operator costs something however little it is given.",
    "- *time*: how many times less processor time, on an x86-64 computer, one thread, window and hop in turns, "
    "with a 95 % interval. Copies of states are not in it.",
    "",
    "`python -m benchmarks.streaming` makes the lines that this page is written from (`benchmarks/streaming.jsonl`). "
    "Weights are of starters, or fresh with the moving statistics of the calibration clips.",
    "",
)


def read_lines(path: Path) -> list[Line]:
    """The lines so far; of a student that was measured again the last one counts.

    Raises:
        SystemExit: a line is of another format.
    """
    if not path.exists():
        return []
    lines = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines() if text]
    unknown = [line["format"] for line in lines if line["format"] != FORMAT]
    if unknown:
        raise SystemExit(f"{path} has lines of format {unknown[0]!r}, expected {FORMAT!r}")
    return list({(line["kind"], line["student"]): line for line in lines}.values())


def write_page(lines: Sequence[Line], path: Path) -> None:
    """Writes the page."""
    places = {name: place for place, name in enumerate(STUDENTS)}
    lines = sorted(lines, key=lambda line: places.get(line["student"], len(places)))
    counted = {line["student"]: line["precisions"] for line in lines if line["kind"] == "instructions"}
    timed = {line["student"]: line["precisions"] for line in lines if line["kind"] == "latency"}
    parts = ["\n".join(_HEAD)]
    for precision in PRECISIONS:
        parts.append(f"## {precision}\n\n" + "\n".join(_table(counted, timed, precision)) + "\n")
    write_text(path, "\n".join(parts))


def _table(counted: Mapping[str, Any], timed: Mapping[str, Any], precision: str) -> list[str]:
    rows = [
        "| student | hop | instructions a second of audio: window | stream | MACs | instructions | kept | time |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    kept = []
    for name, precisions in counted.items():
        found = precisions[precision]
        hops_a_second = 1000 / found["hop_ms"]
        promised = found["macs"]["whole"] / found["macs"]["hop"]
        reached = found["whole"] / found["hop"]
        kept.append(reached / promised)
        rows.append(
            f"| `{name}` | {found['hop_ms']:g} ms | {found['whole'] * hops_a_second / 1e6:,.1f} M "
            f"| {found['hop'] * hops_a_second / 1e6:,.2f} M | {promised:.1f} × | {reached:.1f} × "
            f"| {reached / promised:.2f} | {_time(timed.get(name), precision)} |"
        )
    if kept:
        reaching = sum(each >= AIM for each in kept)
        rows += ["", f"{reaching} of {len(kept)} keep {AIM} or more."]
    return rows


def _time(precisions: Mapping[str, Any] | None, precision: str) -> str:
    if precisions is None:
        return "–"
    ratio = precisions[precision]["ratio"]
    interval = ratio["interval"]
    ends = "" if interval is None else f" [{interval[0]:.1f}, {interval[1]:.1f}]"
    return f"{ratio['estimate']:.1f} ×{ends}"
