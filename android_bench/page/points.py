"""What the charts of accuracy against cost show: a point a model, and which of them no other one beats.

A model is on the front when none is at least as good in both and better in one.
Time and instructions are never in one chart, neither are two devices, nor two ways of scoring.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from android_bench import stats
from android_bench.counts_file import CountedModel, CountedSession
from android_bench.precision import mean_precision
from android_bench.records import Measurement, Predictions, Session, SeveralPredictions
from android_bench.report import duration
from android_bench.stats import Interval
from android_bench.summary import summarize


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a model scored on the device.

    Attributes:
        metric: accuracy or mAP.
        value: 0–1.
        interval: 95 %, None where there is none.
        clips: what it is from.
        pack: a hash of the clips and their labels; scores on different ones say little about each other.
    """

    metric: str
    value: float
    interval: Interval | None
    clips: int
    pack: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One model in a chart.

    Attributes:
        name: the bundle's name.
        student: the student's name.
        precision: precisions have shapes.
        cost: milliseconds or instructions of one inference.
        cost_interval: 95 %, None where there is none.
        score: None when it was not scored.
        size_bytes: of model.tflite.
        synthetic: whether the clips are synthetic.
    """

    name: str
    student: str
    precision: str
    cost: float
    cost_interval: Interval | None
    score: Score | None
    size_bytes: int
    synthetic: bool

    @property
    def height(self) -> float:
        """The score's value; there is one."""
        assert self.score is not None
        return self.score.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What the horizontal axis is.

    Attributes:
        is_time: latency; otherwise instructions, which are none.
        title: of the axis.
        models: the models that have it.
        metric: of the vertical axis: accuracy or mAP.
    """

    is_time: bool
    title: str
    models: tuple[Point, ...]
    metric: str = "accuracy"

    @property
    def word(self) -> str:
        """What is paid: latency or instructions."""
        return "latency" if self.is_time else "instructions"

    @property
    def packs(self) -> int:
        """How many different sets of clips the scores are from."""
        return len({point.score.pack for point in self.models if point.score})

    def words(self, value: float) -> str:
        """A cost with its unit, or as a whole number."""
        return duration(value) if self.is_time else f"{value:,.0f}"

    def tick(self, value: float) -> str:
        """A cost beside an axis."""
        return short_duration(value) if self.is_time else _thousands(value)


def costs_of_session(session: Session) -> Costs:
    """The latencies of a session; of an emulated device there are none, since its times mean nothing."""
    found = () if session.context.emulated else (_of_measurement(one, session) for one in session.measurements)
    title = f"{session.plan.statistic} latency of one inference"
    return Costs(is_time=True, title=title, models=tuple(point for point in found if point))


def costs_of_counts(session: CountedSession) -> Costs:
    """The instructions of a session on a virtual phone."""
    models = tuple(_of_count(one) for one in session.models if one.instructions)
    return Costs(is_time=False, title="instructions of one inference (emulated, not latency)", models=models)


def by_metric(costs: Costs) -> list[Costs]:
    """The same for each way of scoring; models without a score stand with the first."""
    metrics = list(dict.fromkeys(point.score.metric for point in costs.models if point.score)) or ["accuracy"]
    return [
        replace(
            costs,
            metric=metric,
            models=tuple(
                point for point in costs.models if (point.score.metric if point.score else metrics[0]) == metric
            ),
        )
        for metric in metrics
    ]


def front(points: Iterable[Point]) -> list[Point]:
    """The scored models that no other one beats, the cheapest first."""
    ordered = sorted((point for point in points if point.score), key=lambda one: (one.cost, -one.height))
    kept: list[Point] = []
    for point in ordered:
        if not kept or point.height > kept[-1].height:
            kept.append(point)
    return kept


def short_duration(ms: float) -> str:
    """Milliseconds beside an axis: no digits that say nothing.

    >>> short_duration(0.02), short_duration(1.5)
    ('20 µs', '1.5 ms')
    """
    scale, unit = (1e6, "ns") if ms < 1e-3 else (1e3, "µs") if ms < 1 else (1.0, "ms") if ms < 1000 else (1e-3, "s")
    return f"{ms * scale:.3g} {unit}"


def _of_measurement(measurement: Measurement, session: Session) -> Point | None:
    latency = summarize(measurement, session.plan.statistic).latency
    if latency is None:
        return None
    model = measurement.model
    return Point(
        name=model.name,
        student=model.student,
        precision=model.precision,
        cost=latency.value_ms,
        cost_interval=latency.value_interval_ms,
        score=_score_of(measurement.predictions),
        size_bytes=model.size_bytes,
        synthetic=model.synthetic,
    )


def _of_count(one: CountedModel) -> Point:
    assert one.instructions is not None
    return Point(
        name=one.name,
        student=one.student,
        precision=one.precision,
        cost=float(one.instructions.inference),
        cost_interval=None,
        score=_score_of(one.predictions),
        size_bytes=one.size_bytes,
        synthetic=one.synthetic,
    )


def _score_of(predictions: Predictions | SeveralPredictions | None) -> Score | None:
    if predictions is None:
        return None
    pack = hashlib.sha256(repr((predictions.ids, predictions.expected)).encode()).hexdigest()
    if isinstance(predictions, SeveralPredictions):
        found = mean_precision(predictions)
        return Score(metric="mAP", value=found.value, interval=found.interval, clips=found.total, pack=pack)
    right = predictions.right
    interval = stats.wilson(sum(right), len(right))
    return Score(metric="accuracy", value=sum(right) / len(right), interval=interval, clips=len(right), pack=pack)


def _thousands(value: float) -> str:
    scale, unit = (1e6, " M") if value >= 1e6 else (1e3, " k") if value >= 1e3 else (1.0, "")
    return f"{value / scale:.3g}{unit}"
