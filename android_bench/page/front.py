"""Accuracy against cost: the Pareto front of the models of one device, with intervals, and the same in a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

from android_bench.page.axes import (
    NARROW,
    WIDE,
    Chart,
    Label,
    Line,
    Scale,
    drawing,
    frame,
    label_mark,
    line,
    linear_scale,
    log_scale,
    place,
    share,
)
from android_bench.page.markup import Markup, join, table, tag
from android_bench.page.points import Costs, Point, front
from android_bench.report import byte_words
from android_bench.stats import Interval

_HEIGHT_PX = 300
# The mark of a precision, drawn around (0, 0).
SHAPES = {
    "float32": "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0Z",
    "float16": "M0-6.5L6.5 0L0 6.5L-6.5 0Z",
    "dynamic": "M0-6L6 5H-6Z",
    "int8": "M-4.8-4.8H4.8V4.8H-4.8Z",
}
_OTHER_SHAPE = "M-6-2H-2V-6H2V-2H6V2H2V6H-2V2H-6Z"
HUES = 8


def hues(models: Iterable[tuple[str, str, str]]) -> dict[str, int]:
    """A colour's number for each model by its name; models are (name, student, precision).

    A student has one colour, and its precisions have shapes. Where two models would look alike, as the two sides of a
    comparison do, each of them has a colour of its own.
    """
    known = list(dict.fromkeys(models))
    looks = Counter((student, precision) for _, student, precision in known)
    alike = {name for name, student, precision in known if looks[student, precision] > 1}
    keys = {name: name if name in alike else student for name, student, _ in known}
    numbers = {key: at % HUES for at, key in enumerate(dict.fromkeys(keys.values()))}
    return {name: numbers[key] for name, key in keys.items()}


def mark(x: float, y: float, precision: str, hue: int, title: str) -> Markup:
    """The mark of a model at a place, in shares."""
    path = tag("path", d=SHAPES.get(precision, _OTHER_SHAPE), class_=f"mark hue{hue}")
    return tag("svg", tag("title", title), path, x=share(x), y=share(1 - y), class_="at")


def swatch(precision: str, hue: int) -> Markup:
    """The same mark in a line of text."""
    return tag(
        "svg",
        tag("path", d=SHAPES.get(precision, _OTHER_SHAPE), class_=f"mark hue{hue}"),
        viewBox="-8 -8 16 16",
        width=14,
        height=14,
        class_="swatch",
        aria_hidden="true",
    )


def front_figure(name: str, device: str, costs: Costs, colours: dict[str, int]) -> Markup:
    """The chart and the table that says the same in numbers.

    Args:
        name: unique on the page.
        device: for the title.
        costs: at least one model.
        colours: of each model by its name, as `hues` gives them.
    """
    scored = [point for point in costs.models if point.score]
    best = front(scored)
    chosen = {point.name for point in best}
    told = ", ".join(f"{one.name} ({costs.words(one.cost)}, {_percent(one.height)})" for one in best)
    summary = f"On the front, the cheapest first: {told}."
    title = f"{costs.metric[:1].upper()}{costs.metric[1:]}" if costs.metric.islower() else costs.metric
    title = f"{title} against {costs.word}"
    chart = Chart(name=name, title=f"{title}, {device}", summary=summary, height_px=_HEIGHT_PX)
    keys = {point.name: str(at) for at, point in enumerate(costs.models, start=1)}
    mixed = (
        "These models were scored on different clips: what separates them may be the clips."
        if costs.packs > 1
        else None
    )
    head = ("", "model", costs.word, "95 % interval", costs.metric, "95 % interval", "size", "front")
    how = "Up and to the left is better. The line joins the models that no other one beats; bars are 95 % intervals."
    return tag(
        "figure",
        tag("figcaption", tag("h3", title), tag("p", how)),
        tag("p", mixed, class_="loud") if mixed else None,
        _drawn(chart, costs, scored, colours, keys) if scored else None,
        table(
            head,
            [_row(point, costs, keys[point.name], colours, chosen) for point in costs.models],
            f"{title} on {device}",
            "named",
        ),
    )


def _drawn(
    chart: Chart, costs: Costs, scored: Sequence[Point], colours: dict[str, int], keys: dict[str, str]
) -> Markup:
    x = log_scale([value for point in scored for value in (point.cost, *(point.cost_interval or ()))])
    heights = [value for one in scored if one.score for value in (one.height, *(one.score.interval or ()))]
    y = linear_scale(heights, least=0.02)
    y = Scale(low=max(0.0, y.low), high=min(1.0 + 0.04 * (y.high - y.low), y.high))
    parts = [frame(x, y, costs.tick, lambda at: f"{100 * at:.{_decimals(y)}f} %", costs.title)]
    for point in scored:
        parts += _bars(point, x, y, colours[point.name])
    steps: list[Line] = []
    for here, after in pairwise(front(scored)):
        steps += [
            (x(here.cost), y(here.height), x(after.cost), y(here.height)),
            (x(after.cost), y(here.height), x(after.cost), y(after.height)),
        ]
    parts += [line(*step, "front") for step in steps]
    places = [(x(one.cost), y(one.height)) for one in scored]
    called = [(*where, one.name, keys[one.name]) for where, one in zip(places, scored, strict=True)]
    names = [Label(x=at, y=up, text=name, short=key) for at, up, name, key in called]
    numbers = [Label(x=at, y=up, text=key) for at, up, _, key in called]
    wide, narrow = place(names, chart.height_px, WIDE, steps), place(numbers, chart.height_px, NARROW, steps)
    for at, point in enumerate(scored):
        parts.append(mark(*places[at], point.precision, colours[point.name], _title(point, costs)))
        parts += [label_mark(names[at], wide[at], "wide"), label_mark(names[at], narrow[at], "narrow")]
    return drawing(chart, *parts)


def _bars(point: Point, x: Scale, y: Scale, hue: int) -> list[Markup]:
    bars = []
    if point.cost_interval:
        low, high = point.cost_interval
        bars.append(line(x(low), y(point.height), x(high), y(point.height), f"bar hue{hue}"))
    if point.score and point.score.interval:
        low, high = point.score.interval
        bars.append(line(x(point.cost), y(low), x(point.cost), y(high), f"bar hue{hue}"))
    return bars


def _row(point: Point, costs: Costs, key: str, colours: dict[str, int], chosen: set[str]) -> tuple[Markup | str, ...]:
    star = " *" if point.synthetic else ""
    interval = point.cost_interval
    spread = "exact" if not costs.is_time else "unclear"
    return (
        key,
        join([swatch(point.precision, colours[point.name]), " ", point.name]),
        costs.words(point.cost),
        f"{costs.words(interval[0])} – {costs.words(interval[1])}" if interval else spread,
        f"{_percent(point.height)}{star}" if point.score else "–",
        _percents(point.score.interval) if point.score else "–",
        byte_words(point.size_bytes),
        "yes" if point.name in chosen else "",
    )


def _title(point: Point, costs: Costs) -> str:
    clips = point.score.clips if point.score else 0
    synthetic = ", SYNTHETIC clips" if point.synthetic else ""
    return f"{point.name}: {costs.words(point.cost)}, {_percent(point.height)} of {clips}{synthetic}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _percents(interval: Interval | None) -> str:
    return f"{100 * interval[0]:.1f} – {100 * interval[1]:.1f} %" if interval else "unclear"


def _decimals(scale: Scale) -> int:
    return 0 if scale.high - scale.low > 0.04 else 1
