"""Accuracy against cost: the Pareto front of the models of one device, with intervals.

A model is on the front when none is at least as good in both and better in one.
Time and instructions are never in one chart, and neither are two devices.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from android_bench import stats
from android_bench.counts_file import CountedModel, CountedSession
from android_bench.page.axes import (
    NARROW,
    WIDE,
    Chart,
    Label,
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
from android_bench.precision import mean_precision
from android_bench.records import Measurement, Predictions, Session, SeveralPredictions
from android_bench.report import byte_words, duration
from android_bench.stats import Interval
from android_bench.summary import summarize

_HEIGHT_PX = 300
# The mark of a precision, drawn around (0, 0).
SHAPES = {
    "float32": "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0Z",
    "float16": "M0-6.5L6.5 0L0 6.5L-6.5 0Z",
    "dynamic": "M0-6L6 5H-6Z",
    "int8": "M-4.8-4.8H4.8V4.8H-4.8Z",
}
_OTHER_SHAPE = "M-5-5L5 5M-5 5L5-5"
HUES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One model in a chart.

    Attributes:
        name: the bundle's name.
        student: the student's name; students have colours.
        precision: precisions have shapes.
        cost: milliseconds or instructions of one inference.
        cost_interval: 95 %, None where there is none.
        score: accuracy or mean average precision on the device, 0–1; None when it was not scored.
        score_interval: 95 %, None where there is none.
        clips: what the score is from.
        size_bytes: of model.tflite.
        synthetic: whether the clips are synthetic.
    """

    name: str
    student: str
    precision: str
    cost: float
    cost_interval: Interval | None
    score: float | None
    score_interval: Interval | None
    clips: int
    size_bytes: int
    synthetic: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What the horizontal axis is.

    Attributes:
        is_time: latency; otherwise instructions, which are none.
        title: of the axis.
        models: the models that have it.
    """

    is_time: bool
    title: str
    models: tuple[Point, ...]

    def words(self, value: float) -> str:
        """A cost with its unit, or as a whole number."""
        return duration(value) if self.is_time else f"{value:,.0f}"

    def tick(self, value: float) -> str:
        """A cost beside an axis."""
        return short_duration(value) if self.is_time else _thousands(value)


def costs_of_session(session: Session) -> Costs:
    """The latencies of a session; of an emulated device there are none, since its times mean nothing."""
    models = () if session.context.emulated else tuple(_of_measurements(session))
    return Costs(is_time=True, title=f"{session.plan.statistic} latency of one inference", models=models)


def costs_of_counts(session: CountedSession) -> Costs:
    """The instructions of a session on a virtual phone."""
    models = tuple(_of_count(one) for one in session.models if one.instructions)
    return Costs(is_time=False, title="instructions of one inference (emulated, not latency)", models=models)


def front(points: Iterable[Point]) -> list[Point]:
    """The scored models that no other one beats, the cheapest first."""
    ordered = sorted((point for point in points if point.score is not None), key=lambda one: (one.cost, -_score(one)))
    kept: list[Point] = []
    for point in ordered:
        if not kept or _score(point) > _score(kept[-1]):
            kept.append(point)
    return kept


def hues(students: Iterable[str]) -> dict[str, int]:
    """A colour's number for each student, in the order of first appearance."""
    return {student: at % HUES for at, student in enumerate(dict.fromkeys(students))}


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
        colours: of `hues`.
    """
    scored = [point for point in costs.models if point.score is not None]
    chosen = {point.name for point in front(costs.models)}
    word = "latency" if costs.is_time else "instructions"
    best = ", ".join(f"{one.name} ({costs.words(one.cost)}, {_percent(_score(one))})" for one in front(scored))
    summary = f"On the front, the cheapest first: {best}." if best else "No model was scored."
    chart = Chart(name=name, title=f"Accuracy against {word}, {device}", summary=summary, height_px=_HEIGHT_PX)
    keys = {point.name: str(at) for at, point in enumerate(costs.models, start=1)}
    drawn = _drawn(chart, costs, scored, colours, keys) if scored else None
    return tag(
        "figure",
        tag(
            "figcaption",
            tag("h3", f"Accuracy against {word}"),
            tag("p", "Up and to the left is better. The line joins the models that no other one beats; bars are 95 % "
                "intervals."),
        ),
        drawn,
        table(
            ("", "model", word, "95 % interval", "accuracy", "95 % interval", "size", "front"),
            [_row(point, costs, keys[point.name], colours, chosen) for point in costs.models],
            f"Accuracy and {word} on {device}",
            "named",
        ),
    )  # fmt: skip


def _drawn(
    chart: Chart, costs: Costs, scored: Sequence[Point], colours: dict[str, int], keys: dict[str, str]
) -> Markup:
    x = log_scale([value for point in scored for value in (point.cost, *(point.cost_interval or ()))])
    scores = [value for point in scored for value in (_score(point), *(point.score_interval or ()))]
    y = linear_scale(scores, least=0.02)
    y = Scale(low=max(0.0, y.low), high=min(1.0 + 0.04 * (y.high - y.low), y.high))
    parts = [frame(x, y, costs.tick, lambda at: f"{100 * at:.{_decimals(y)}f} %", costs.title)]
    for point in scored:
        parts += _bars(point, x, y, colours[point.student])
    steps = front(scored)
    for here, after in pairwise(steps):
        parts += [
            line(x(here.cost), y(_score(here)), x(after.cost), y(_score(here)), "front"),
            line(x(after.cost), y(_score(here)), x(after.cost), y(_score(after)), "front"),
        ]
    places = [(x(one.cost), y(_score(one))) for one in scored]
    called = [(*where, one.name, keys[one.name]) for where, one in zip(places, scored, strict=True)]
    names = [Label(x=at, y=up, text=name, short=key) for at, up, name, key in called]
    numbers = [Label(x=at, y=up, text=key) for at, up, _, key in called]
    wide, narrow = place(names, chart.height_px, WIDE), place(numbers, chart.height_px, NARROW)
    for at, point in enumerate(scored):
        parts.append(mark(*places[at], point.precision, colours[point.student], _title(point, costs)))
        parts += [label_mark(names[at], wide[at], "wide"), label_mark(names[at], narrow[at], "narrow")]
    return drawing(chart, *parts)


def _bars(point: Point, x: Scale, y: Scale, hue: int) -> list[Markup]:
    bars = []
    if point.cost_interval:
        low, high = point.cost_interval
        bars.append(line(x(low), y(_score(point)), x(high), y(_score(point)), f"bar hue{hue}"))
    if point.score_interval:
        low, high = point.score_interval
        bars.append(line(x(point.cost), y(low), x(point.cost), y(high), f"bar hue{hue}"))
    return bars


def _row(point: Point, costs: Costs, key: str, colours: dict[str, int], chosen: set[str]) -> tuple[Markup | str, ...]:
    star = " *" if point.synthetic else ""
    interval = point.cost_interval
    spread = "exact" if not costs.is_time else "unclear"
    scored = point.score is not None
    return (
        key,
        join([swatch(point.precision, colours[point.student]), " ", point.name]),
        costs.words(point.cost),
        f"{costs.words(interval[0])} – {costs.words(interval[1])}" if interval else spread,
        f"{_percent(_score(point))}{star}" if scored else "–",
        _percents(point.score_interval) if scored else "–",
        byte_words(point.size_bytes),
        "yes" if point.name in chosen else "",
    )


def _title(point: Point, costs: Costs) -> str:
    synthetic = ", SYNTHETIC clips" if point.synthetic else ""
    return f"{point.name}: {costs.words(point.cost)}, {_percent(_score(point))} of {point.clips}{synthetic}"


def _of_measurements(session: Session) -> Iterable[Point]:
    for measurement in session.measurements:
        latency = summarize_latency(measurement, session)
        if latency is None:
            continue
        model = measurement.model
        score, interval, clips = score_of(measurement.predictions)
        yield Point(
            name=model.name,
            student=model.student,
            precision=model.precision,
            cost=latency[0],
            cost_interval=latency[1],
            score=score,
            score_interval=interval,
            clips=clips,
            size_bytes=model.size_bytes,
            synthetic=model.synthetic,
        )


def summarize_latency(measurement: Measurement, session: Session) -> tuple[float, Interval | None] | None:
    """The model's latency in milliseconds and its interval; None when it has none."""
    latency = summarize(measurement, session.plan.statistic).latency
    return (latency.value_ms, latency.value_interval_ms) if latency else None


def score_of(predictions: Predictions | SeveralPredictions | None) -> tuple[float | None, Interval | None, int]:
    """Accuracy or mean average precision with its interval, and the number of clips."""
    if predictions is None:
        return None, None, 0
    if isinstance(predictions, SeveralPredictions):
        found = mean_precision(predictions)
        return found.value, found.interval, found.total
    right = predictions.right
    return sum(right) / len(right), stats.wilson(sum(right), len(right)), len(right)


def _of_count(one: CountedModel) -> Point:
    assert one.instructions is not None
    score, interval, clips = score_of(one.predictions)
    return Point(
        name=one.name,
        student=one.student,
        precision=one.precision,
        cost=float(one.instructions.inference),
        cost_interval=None,
        score=score,
        score_interval=interval,
        clips=clips,
        size_bytes=one.size_bytes,
        synthetic=one.synthetic,
    )


def short_duration(ms: float) -> str:
    """Milliseconds beside an axis: no digits that say nothing.

    >>> short_duration(0.02), short_duration(1.5)
    ('20 µs', '1.5 ms')
    """
    scale, unit = (1e6, "ns") if ms < 1e-3 else (1e3, "µs") if ms < 1 else (1.0, "ms") if ms < 1000 else (1e-3, "s")
    return f"{ms * scale:.3g} {unit}"


def _thousands(value: float) -> str:
    scale, unit = (1e6, " M") if value >= 1e6 else (1e3, " k") if value >= 1e3 else (1.0, "")
    return f"{value / scale:.3g}{unit}"


def _score(point: Point) -> float:
    assert point.score is not None
    return point.score


def _percent(share_: float) -> str:
    return f"{100 * share_:.1f} %"


def _percents(interval: Interval | None) -> str:
    return f"{100 * interval[0]:.1f} – {100 * interval[1]:.1f} %" if interval else "unclear"


def _decimals(scale: Scale) -> int:
    return 0 if scale.high - scale.low > 0.04 else 1
