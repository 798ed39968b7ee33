"""Scales, ticks and labels of a chart whose width is known to the browser only.

Positions are shares of the drawing area: 0 is left or bottom, 1 is right or top.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from android_bench.page.markup import Markup, join, tag

# What a browser may make of the drawing area, in pixels; labels must have room at all of them.
NARROW = range(180, 601, 20)
WIDE = range(560, 1121, 20)
_CHARACTER_PX = 6.9  # of the labels' 11 px type, rather too much than too little
_LINE_PX = 14.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """From numbers to shares of the drawing area.

    Attributes:
        low: the number at 0.
        high: the number at 1; above `low`.
        is_log: whether equal steps are equal ratios; then `low` is positive.
    """

    low: float
    high: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        """The share of the way; numbers outside are put on the edge."""
        low, high, at = (math.log(each) if self.is_log else each for each in (self.low, self.high, self._inside(value)))
        return (at - low) / (high - low)

    def _inside(self, value: float) -> float:
        return min(max(value, self.low), self.high)

    def ticks(self, most: int = 6) -> list[float]:
        """At most `most` round numbers inside."""
        return _log_ticks(self.low, self.high, most) if self.is_log else _linear_ticks(self.low, self.high, most)


def log_scale(values: Iterable[float], room: float = 0.12) -> Scale:
    """A scale of ratios around positive `values`, with `room` (a share of the whole) at both ends."""
    numbers = list(values)
    low, high = math.log(min(numbers)), math.log(max(numbers))
    if high - low < math.log(1.6):
        low, high = (low + high) / 2 - math.log(1.6) / 2, (low + high) / 2 + math.log(1.6) / 2
    reach = (high - low) * room / (1 - 2 * room)
    return Scale(low=math.exp(low - reach), high=math.exp(high + reach), is_log=True)


def linear_scale(values: Iterable[float], room: float = 0.1, least: float = 0.0) -> Scale:
    """A scale around `values` that spans at least `least`, with `room` (a share of the whole) at both ends."""
    numbers = list(values)
    low, high = min(numbers), max(numbers)
    if high - low < max(least, 1e-12):
        middle, half = (low + high) / 2, max(least, 1e-12) / 2
        low, high = middle - half, middle + half
    reach = (high - low) * room / (1 - 2 * room)
    return Scale(low=low - reach, high=high + reach)


def share(value: float) -> str:
    """A share as SVG wants it."""
    return f"{100 * value:.2f}%"


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A line between two places; y grows upwards."""
    return tag("line", x1=share(x1), y1=share(1 - y1), x2=share(x2), y2=share(1 - y2), class_=class_)


def words(x: float, y: float, text: str, class_: str, dx: float = 0, dy: float = 0) -> Markup:
    """Text at a place, moved by pixels (right and down)."""
    return tag("text", text, x=share(x), y=share(1 - y), dx=dx or None, dy=dy or None, class_=class_)


def frame(
    x: Scale, y: Scale | None, x_text: Callable[[float], str], y_text: Callable[[float], str], title: str = ""
) -> Markup:
    """Grid lines and numbers of both axes; `y` None draws none there. `title` names the x axis."""
    parts = [line(0, 0, 1, 0, "axis")]
    for at in x.ticks():
        parts += [line(x(at), 0, x(at), 1, "grid"), words(x(at), 0, x_text(at), "tick middle", dy=16)]
    for at in y.ticks(5) if y else ():
        assert y is not None
        parts += [line(0, y(at), 1, y(at), "grid"), words(0, y(at), y_text(at), "tick end", dx=-6, dy=4)]
    if title:
        parts.append(words(1, 0, title, "tick end", dy=32))
    return tag("g", parts, aria_hidden="true")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """What a drawing is called and how high it is.

    Attributes:
        name: unique on the page; letters, digits and hyphens.
        title: what it shows, for those who cannot see it.
        summary: what can be seen in it, in a sentence or two.
        height_px: of the drawing area.
        is_bare: without room for numbers beside and below it.
    """

    name: str
    title: str
    summary: str
    height_px: int
    is_bare: bool = False


def drawing(chart: Chart, *parts: Markup) -> Markup:
    """The SVG, with room around it for the numbers of its axes."""
    title_id, summary_id = f"{chart.name}-title", f"{chart.name}-summary"
    svg = tag(
        "svg",
        tag("title", chart.title, id=title_id),
        tag("desc", chart.summary, id=summary_id),
        parts,
        role="img",
        width="100%",
        height=chart.height_px,
        aria_labelledby=f"{title_id} {summary_id}",
    )
    return tag("div", svg, class_="plot bare" if chart.is_bare else "plot")


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A text beside a mark, at (x, y) in shares; `short` takes its place where it has no room."""

    x: float
    y: float
    text: str
    short: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Where a label goes, in pixels from its mark, and which of its texts."""

    dx: float
    dy: float
    anchor: str
    text: str


# (dx, dy, anchor) in pixels, best first: right, left, above, below, then the corners.
_OFFSETS = (
    (9, 4, "start"),
    (-9, 4, "end"),
    (0, -10, "middle"),
    (0, 19, "middle"),
    (8, -8, "start"),
    (8, 17, "start"),
    (-8, -8, "end"),
    (-8, 17, "end"),
)
_Box = tuple[float, float, float, float]


def place(labels: Sequence[Label], height_px: float, widths: Sequence[int]) -> list[Placed | None]:
    """For each label a place where it meets no other, no mark and no edge at any of the widths.

    A label for which there is none gets None: it is left out of the drawing.
    """
    marks = [[_around(label, width, height_px) for label in labels] for width in widths]
    taken: list[list[_Box]] = [[] for _ in widths]
    found: list[Placed | None] = []
    for number, label in enumerate(labels):
        chosen = None
        for text, (dx, dy, anchor) in itertools.product(filter(None, (label.text, label.short)), _OFFSETS):
            tried = Placed(dx=dx, dy=dy, anchor=anchor, text=text)
            boxes = [_box(label, tried, width, height_px) for width in widths]
            if all(
                _is_inside(box, width, height_px)
                and not any(_meet(box, other) for other in taken[at])
                and not any(_meet(box, mark) for n, mark in enumerate(marks[at]) if n != number)
                for at, (box, width) in enumerate(zip(boxes, widths, strict=True))
            ):
                chosen = tried
                for at, box in enumerate(boxes):
                    taken[at].append(box)
                break
        found.append(chosen)
    return found


def label_mark(label: Label, where: Placed | None, class_: str) -> Markup:
    """The label at its place, or nothing."""
    if where is None:
        return join(())
    return words(label.x, label.y, where.text, f"label {where.anchor} {class_}", dx=where.dx, dy=where.dy)


def _around(label: Label, width: int, height_px: float) -> _Box:
    x, y = label.x * width, (1 - label.y) * height_px
    return x - 6, y - 6, x + 6, y + 6


def _box(label: Label, where: Placed, width: int, height_px: float) -> _Box:
    long = _CHARACTER_PX * len(where.text)
    left = label.x * width + where.dx - {"start": 0, "middle": long / 2, "end": long}[where.anchor]
    base = (1 - label.y) * height_px + where.dy
    return left, base - _LINE_PX + 3, left + long, base + 3


def _is_inside(box: _Box, width: int, height_px: float) -> bool:
    return box[0] >= 0 and box[1] >= -6 and box[2] <= width + 8 and box[3] <= height_px


def _meet(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _linear_ticks(low: float, high: float, most: int) -> list[float]:
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    return [step * at for at in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    for steps in ((1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 3, 5, 7), (1, 2, 5), (1,)):
        found = [
            step * 10.0**power
            for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            for step in steps
            if low <= step * 10.0**power <= high
        ]
        if len(found) <= most:
            return found
    return found[:: math.ceil(len(found) / most)]
