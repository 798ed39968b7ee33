"""Every timed inference of a session as one distribution per model, and the drift of its blocks over the session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from android_bench.page.axes import Chart, Scale, drawing, frame, line, linear_scale, log_scale, share
from android_bench.page.front import mark, short_duration, swatch
from android_bench.page.markup import Markup, join, table, tag
from android_bench.records import Block, Measurement, Session, Statistic
from android_bench.report import duration
from android_bench.stats import median, median_interval, percentile

_BINS = 120
_ROW_PX = 46
_DRIFT_PX = 220
_MANY_BLOCKS = 40
_MS_PER_NS = 1e-6
# The tails beyond these are told in words: one sample of a second would leave a line of the rest.
_LOW_PERCENT, _HIGH_PERCENT = 0.5, 99.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The samples of one model, in milliseconds.

    Attributes:
        name: the model's name.
        heights: of the bins of a scale, the highest 1.
        below: samples left of the scale.
        above: samples right of it.
        count: all samples.
        value: the median of the blocks' values.
        interval: its 95 % interval; None when there are too few blocks.
        highest: the largest sample.
    """

    name: str
    heights: tuple[float, ...]
    below: int
    above: int
    count: int
    value: float
    interval: tuple[float, float] | None
    highest: float


def spreads(session: Session) -> tuple[Scale, list[Spread]]:
    """A scale that all models share, and each one's distribution on it; for models with blocks, at least one."""
    pooled = {one.model.name: _pooled(one) for one in session.measurements if one.blocks}
    edges = [percentile(list(each), at) for each in pooled.values() for at in (_LOW_PERCENT, _HIGH_PERCENT)]
    scale = log_scale(edges, room=0.03)
    bins = np.geomspace(scale.low, scale.high, _BINS + 1)
    found = []
    for one in session.measurements:
        if not one.blocks:
            continue
        samples = pooled[one.model.name]
        counts, _ = np.histogram(samples, bins)
        values = [block.value_ns(session.plan.statistic) * _MS_PER_NS for block in one.blocks]
        found.append(
            Spread(
                name=one.model.name,
                heights=tuple(float(count) for count in counts / max(1, counts.max())),
                below=int((samples < scale.low).sum()),
                above=int((samples > scale.high).sum()),
                count=len(samples),
                value=median(values),
                interval=median_interval(values),
                highest=float(samples.max()),
            )
        )
    return scale, found


def samples_figure(name: str, session: Session, colours: dict[str, int]) -> Markup:
    """A row a model: its samples, the median of its blocks, and the interval of that.

    Args:
        name: unique on the page.
        session: with at least one block.
        colours: of `front.hues`.
    """
    scale, found = spreads(session)
    students = {one.model.name: one.model.student for one in session.measurements}
    precisions = {one.model.name: one.model.precision for one in session.measurements}
    rows = []
    for at, spread in enumerate(found):
        hue = colours[students[spread.name]]
        last = at == len(found) - 1
        chart = Chart(
            name=f"{name}-{at}",
            title=f"Samples of {spread.name}",
            summary=f"{spread.count:,} timed inferences, {_value_words(spread)}.",
            height_px=_ROW_PX,
            is_bare=not last,
        )
        head = join([swatch(precisions[spread.name], hue), " ", tag("b", spread.name), " ", _note(spread)])
        rows.append(tag("div", tag("p", head, class_="rowhead"), _row(chart, scale, spread, hue, last), class_="row"))
    statistic = session.plan.statistic
    return tag(
        "figure",
        tag(
            "figcaption",
            tag("h3", "Timed inferences"),
            tag("p", f"Every sample of every block, on one scale of ratios; each row has its own height. The line is "
                f"the median of the blocks' {statistic}s, the bar its 95 % interval."),
        ),
        rows,
    )  # fmt: skip


def _row(chart: Chart, scale: Scale, spread: Spread, hue: int, last: bool) -> Markup:
    width = share(1 / len(spread.heights))
    columns = [
        tag(
            "rect",
            x=share(at / len(spread.heights)),
            y=share(1 - 0.82 * height),
            width=width,
            height=share(0.82 * height),
            class_=f"column hue{hue}",
        )
        for at, height in enumerate(spread.heights)
        if height > 0
    ]
    place = scale(spread.value)
    parts = [tag("g", columns, aria_hidden="true"), line(place, 0, place, 1, "value")]
    if spread.interval:
        low, high = (scale(each) for each in spread.interval)
        parts.append(line(low, 0.96, high, 0.96, "interval"))
    axis = frame(scale, None, short_duration, short_duration, "one inference" if last else "")
    return drawing(chart, axis if last else line(0, 0, 1, 0, "axis"), *parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A block in the session: its place among all blocks, and its value over the model's median, less 1."""

    order: int
    change: float


def drift(blocks: Sequence[Block], statistic: Statistic) -> list[Step]:
    """The blocks of one model in the order in which they were measured; at least one."""
    values = [block.value_ns(statistic) for block in blocks]
    middle = median(values)
    steps = [Step(order=block.order, change=value / middle - 1) for block, value in zip(blocks, values, strict=True)]
    return sorted(steps, key=lambda step: step.order)


def drift_figure(name: str, session: Session, colours: dict[str, int]) -> Markup:
    """The blocks of every model over the session, each against its model's median.

    Args:
        name: unique on the page.
        session: with at least one block.
        colours: of `front.hues`.
    """
    models = [(one, drift(one.blocks, session.plan.statistic)) for one in session.measurements if one.blocks]
    changes = [step.change for _, steps in models for step in steps]
    last = max(step.order for _, steps in models for step in steps)
    x = Scale(low=-0.6, high=last + 0.6)
    reach = max(0.02, *(abs(change) for change in changes))
    y = linear_scale([-reach, reach], room=0.08)
    parts = [
        frame(x, y, _whole, _tick, "block, in the order measured"),
        line(0, y(0), 1, y(0), "zero"),
    ]
    for one, steps in models:
        hue = colours[one.model.student]
        for here, after in pairwise(steps):
            ends = (x(here.order), y(here.change), x(after.order), y(after.change))
            parts.append(line(*ends, f"thread hue{hue}"))
        small = "small" if last >= _MANY_BLOCKS else None
        marks = []
        for step in steps:
            title = f"{one.model.name}, block {step.order + 1}: {_signed(step.change)}"
            marks.append(mark(x(step.order), y(step.change), one.model.precision, hue, title))
        parts.append(tag("g", marks, class_=small))
    widest = max(models, key=lambda pair: max(abs(step.change) for step in pair[1]))[0].model.name
    chart = Chart(
        name=name,
        title="Drift of the blocks over the session",
        summary=f"The largest departure from a model's own median is {_signed_reach(changes)}, of {widest}.",
        height_px=_DRIFT_PX,
    )
    rejected = [
        tag("p", f"Round {each.index + 1} was not measured: {'; '.join(each.reasons)}.", class_="loud")
        for each in session.rejected
    ]
    return tag(
        "figure",
        tag(
            "figcaption",
            tag("h3", "Drift over the session"),
            tag("p", "Each block against the median of its own model. Threads that rise and fall together are the "
                "device; one that goes its own way is the model."),
        ),
        drawing(chart, *parts),
        legend(session.measurements, colours),
        rejected,
        tag("details", tag("summary", "The same in numbers"), _drift_table(models)),
    )  # fmt: skip


def legend(measurements: Sequence[Measurement], colours: dict[str, int]) -> Markup:
    """Which mark is which model."""
    items = [
        tag("li", swatch(one.model.precision, colours[one.model.student]), " ", one.model.name) for one in measurements
    ]
    return tag("ul", items, class_="legend")


def _drift_table(models: Sequence[tuple[Measurement, list[Step]]]) -> Markup:
    body = [
        (one.model.name, " ".join(_signed(step.change) for step in steps))
        for one, steps in models
    ]  # fmt: skip
    return table(("model", "blocks in order, against the model's median"), body, "Drift of the blocks")


def _pooled(measurement: Measurement) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.concatenate([np.asarray(block.samples_ns, np.float64) for block in measurement.blocks]) * _MS_PER_NS


def _note(spread: Spread) -> Markup:
    outside = spread.below + spread.above
    told = f"{spread.count:,} samples, {_value_words(spread)}"
    if outside:
        told += f"; {outside:,} outside the drawing, the largest {duration(spread.highest)}"
    return tag("span", told, class_="note")


def _value_words(spread: Spread) -> str:
    interval = "interval unclear"
    if spread.interval:
        interval = f"{duration(spread.interval[0])} – {duration(spread.interval[1])}"
    return f"{duration(spread.value)} ({interval})"


def _whole(value: float) -> str:
    return f"{value + 1:.0f}" if value >= 0 else ""


def _signed(change: float) -> str:
    return f"{100 * change:+.1f} %".replace("-", "−")


def _tick(change: float) -> str:
    return f"{100 * change:+.3g} %".replace("-", "−") if abs(change) > 1e-9 else "0 %"


def _signed_reach(changes: Sequence[float]) -> str:
    return _signed(max(changes, key=abs))
