"""Verdicts over time: each candidate's ratio to the reference it was compared with, by device and model."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise

from android_bench.history import HistoryRow
from android_bench.page.axes import Chart, Scale, drawing, frame, line, linear_scale, share, words
from android_bench.page.markup import Markup, join, table, tag
from android_bench.page.verdicts import verdict_word

_HEIGHT_PX = 190
_SHOWN = 60
_SHAPES = {
    "PASS": "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0Z",
    "IMPROVED": "M0 5.5L5.5-4.5H-5.5Z",
    "REGRESSION": "M0-6L6 5H-6Z",
    "INCONCLUSIVE": "M0-6L6 0L0 6L-6 0Z",
}


def trend_section(rows: Sequence[HistoryRow]) -> Markup:
    """A figure for each model on each device, in the order of first appearance."""
    keys = dict.fromkeys((row.device, row.candidate) for row in rows)
    figures = [
        _figure(f"trend-{at}", [row for row in rows if (row.device, row.candidate) == key])
        for at, key in enumerate(keys)
    ]
    legend = [
        tag("li", tag("svg", tag("path", d=shape, class_=f"verdict-mark {name}"), viewBox="-8 -8 16 16", width=14,
            height=14, class_="swatch", aria_hidden="true"), f" {name}")
        for name, shape in _SHAPES.items()
    ]  # fmt: skip
    return join([
        tag("p", "Each point is one comparison with the reference that its group names, in one session. Groups with "
            "different references are not joined: their ratios are to different things.", class_="soft"),
        tag("ul", legend, class_="legend"),
        *figures,
    ])  # fmt: skip


def _figure(name: str, rows: Sequence[HistoryRow]) -> Markup:
    first, shown = rows[0], [row for row in rows if row.ratio is not None][-_SHOWN:]
    word = "instructions (emulated, not latency)" if first.kind == "virtual" else "latency"
    title = f"{first.candidate} on {first.device}: {word}"
    left = len(rows) - len(shown)
    told = f"{left} of {len(rows)} verdicts have no ratio or are older than the {_SHOWN} shown." if left else ""
    return tag(
        "figure",
        tag("figcaption", tag("h3", title), tag("p", told) if told else None),
        _drawn(name, title, shown) if shown else None,
        tag("details", tag("summary", "The same in numbers"), _table(title, rows)),
    )


def _drawn(name: str, title: str, rows: Sequence[HistoryRow]) -> Markup:
    values = [value for row in rows for value in (row.ratio, *(row.interval or ())) if value is not None]
    limits = [1 + row.allowance for row in rows if row.allowance is not None]
    x = Scale(low=-0.6, high=max(len(rows) - 0.4, 0.6))
    y = linear_scale([1.0, *values, *limits], room=0.1, least=0.02)
    parts = [frame(x, y, lambda at: _when(rows, at), lambda at: f"{at:.{_decimals(y)}f} ×")]
    parts.append(line(0, y(1), 1, y(1), "zero"))
    for _, group in groupby(enumerate(rows), key=lambda pair: (pair[1].baseline_sha256, pair[1].allowance)):
        members = list(group)
        start, end = x(members[0][0] - 0.5), x(members[-1][0] + 0.5)
        row = members[0][1]
        if row.allowance is not None:
            parts.append(line(start, y(1 + row.allowance), end, y(1 + row.allowance), "allowed"))
        if members[0][0]:
            parts.append(line(start, 0, start, 1, "axis"))
    for group_sha, group in groupby(enumerate(rows), key=lambda pair: pair[1].baseline_sha256):
        members = list(group)
        parts.append(words(x(members[0][0] - 0.45), 1, f"to {group_sha[:8]}", "label start", dy=10))
        for (at, row), (then, after) in pairwise(members):
            assert row.ratio is not None
            assert after.ratio is not None
            parts.append(line(x(at), y(row.ratio), x(then), y(after.ratio), "whisker"))
    parts += [_point(x(at), y, row) for at, row in enumerate(rows)]
    last = rows[-1]
    assert last.ratio is not None
    summary = f"{len(rows)} comparisons; the last is {last.verdict} at {last.ratio:.3f} times the reference."
    return drawing(Chart(name=name, title=title, summary=summary, height_px=_HEIGHT_PX), *parts)


def _point(x: float, y: Scale, row: HistoryRow) -> Markup:
    assert row.ratio is not None
    bars = [line(x, y(row.interval[0]), x, y(row.interval[1]), "whisker")] if row.interval else []
    title = f"{row.finished_utc} {row.commit[:12]}: {row.verdict}, {row.ratio:.4f} ×"
    path = tag("path", d=_SHAPES.get(row.verdict, "M-5-5L5 5M-5 5L5-5"), class_=f"verdict-mark {row.verdict}")
    at = tag("svg", tag("title", title), path, x=share(x), y=share(1 - y(row.ratio)), class_="at")
    return join([*bars, at])


def _table(title: str, rows: Sequence[HistoryRow]) -> Markup:
    body = [
        (
            row.finished_utc,
            tag("code", row.commit[:12] or "–"),
            "–" if row.ratio is None else f"{row.ratio:.4f} ×",
            f"{row.interval[0]:.4f} – {row.interval[1]:.4f}" if row.interval else "–",
            tag("code", row.baseline_sha256[:12]),
            verdict_word(row.verdict),
        )
        for row in reversed(rows)
    ]
    return table(("finished", "commit", "ratio", "interval", "reference", "verdict"), body, title)


def _when(rows: Sequence[HistoryRow], at: float) -> str:
    number = round(at)
    return rows[number].finished_utc[5:10] if abs(at - number) < 1e-9 and 0 <= number < len(rows) else ""


def _decimals(scale: Scale) -> int:
    return 2 if scale.high - scale.low >= 0.05 else 3
