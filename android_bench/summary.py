"""What a session's samples amount to: metrics of each model, and the comparison with its float32 twin.

`android_bench.session_file` and `android_bench.report` show these; nothing here is measured or printed.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from android_bench import stats
from android_bench.precision import PairedPrecision, Precision, mean_precision, paired_precision
from android_bench.records import Measurement, Memory, Predictions, Session, SeveralPredictions, Statistic
from android_bench.stats import Interval, PairedAccuracy, Ratio

_MS_PER_NS = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyMetrics:
    """Milliseconds; names and meaning as in LiteRT's benchmark proto where it has them.

    The `median_ms` and its interval are those of the blocks' medians; avg, min, max, stddev, p5 and p95 pool every
    timed sample; init and first inference are medians over blocks, as each process has one of them.
    What tables show is `value_ms`: the median of the blocks' medians, or of their means where the plan says so.
    """

    value_ms: float
    value_interval_ms: Interval | None

    avg_ms: float
    min_ms: float
    max_ms: float
    stddev_ms: float
    median_ms: float
    median_interval_ms: Interval | None
    p5_ms: float
    p95_ms: float
    init_ms: float
    first_inference_ms: float
    average_warm_up_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryMetrics:
    """Footprints in kB (1,024 bytes) over the loaded engine; `peak_mem_mb` (1e6 bytes) is the whole process's."""

    init_footprint_kb: int
    overall_footprint_kb: int
    model_peak_kb: int | None
    peak_mem_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Top-1 on the evaluation pack: right answers, clips, and Wilson's 95 % interval of their ratio."""

    correct: int
    total: int
    interval: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One model's metrics; a part that was not measured is None."""

    name: str
    size_bytes: int
    blocks: int
    runs: int
    warmup_runs: int
    latency: LatencyMetrics | None
    memory: MemoryMetrics | None
    accuracy: Accuracy | None
    precision: Precision | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A model against its student's float32 model, block by block and clip by clip; unclear parts are None.

    Attributes:
        candidate: the model's name.
        baseline: the float32 model's name.
        latency: ratio of the paired blocks' medians.
        accuracy: difference on the same clips.
        precision: difference of mean average precision on the same clips, where clips have several labels.
        notes: why a part is unclear.
    """

    candidate: str
    baseline: str
    latency: Ratio | None
    accuracy: PairedAccuracy | None
    precision: PairedPrecision | None = None
    notes: tuple[str, ...] = ()


def summarize(measurement: Measurement, statistic: Statistic = "median") -> Summary:
    """The metrics of one model; `statistic` says what a block counts as."""
    blocks, predictions = measurement.blocks, measurement.predictions
    return Summary(
        name=measurement.model.name,
        size_bytes=measurement.model.size_bytes,
        blocks=len(blocks),
        runs=sum(len(block.samples_ns) for block in blocks),
        warmup_runs=sum(block.warmup_runs for block in blocks),
        latency=_latency(measurement, statistic) if blocks else None,
        memory=_memory(measurement.memory) if measurement.memory else None,
        accuracy=_accuracy(predictions) if isinstance(predictions, Predictions) else None,
        precision=mean_precision(predictions) if isinstance(predictions, SeveralPredictions) else None,
    )


def comparisons(session: Session) -> list[Comparison]:
    """Each model against the float32 model of the same student, where both were measured."""
    floats = {
        measurement.model.student: measurement
        for measurement in reversed(session.measurements)
        if measurement.model.precision == "float32"
    }
    return [
        compare(measurement, floats[measurement.model.student], session.plan.statistic)
        for measurement in session.measurements
        if measurement.model.precision != "float32" and measurement.model.student in floats
    ]


def compare(candidate: Measurement, baseline: Measurement, statistic: Statistic = "median") -> Comparison:
    """The candidate against the baseline of the same session: paired blocks and paired clips."""
    notes = []
    old = {block.index: block.value_ns(statistic) for block in baseline.blocks}
    new = {block.index: block.value_ns(statistic) for block in candidate.blocks}
    shared = sorted(old.keys() & new.keys())
    ratio = stats.latency_ratio([new[i] for i in shared], [old[i] for i in shared]) if shared else None
    if ratio is None or ratio.interval is None:
        notes.append(f"latency: {len(shared)} pairs of blocks, a 95 % interval needs {stats.MIN_PAIRS}")
    if candidate.model.parents != baseline.model.parents:
        notes.append("the two models were made from different parents")
    accuracy, precision = None, None
    answers, others = candidate.predictions, baseline.predictions
    if answers and others:
        if (answers.ids, answers.expected) != (others.ids, others.expected):
            notes.append("accuracy: the two evaluation packs hold different clips")
        elif isinstance(answers, Predictions) and isinstance(others, Predictions):
            accuracy = stats.paired_accuracy(answers.right, others.right)
        elif isinstance(answers, SeveralPredictions) and isinstance(others, SeveralPredictions):
            precision = paired_precision(answers, others)
    return Comparison(
        candidate=candidate.model.name,
        baseline=baseline.model.name,
        latency=ratio,
        accuracy=accuracy,
        precision=precision,
        notes=tuple(notes),
    )


def _latency(measurement: Measurement, statistic: Statistic) -> LatencyMetrics:
    blocks = measurement.blocks
    pooled = [sample * _MS_PER_NS for block in blocks for sample in block.samples_ns]
    medians = [block.median_ns * _MS_PER_NS for block in blocks]
    values = [block.value_ns(statistic) * _MS_PER_NS for block in blocks]
    warmup_runs = sum(block.warmup_runs for block in blocks)
    return LatencyMetrics(
        value_ms=stats.median(values),
        value_interval_ms=stats.median_interval(values),
        avg_ms=fmean(pooled),
        min_ms=min(pooled),
        max_ms=max(pooled),
        stddev_ms=stats.deviation(pooled),
        median_ms=stats.median(medians),
        median_interval_ms=stats.median_interval(medians),
        p5_ms=stats.percentile(pooled, 5),
        p95_ms=stats.percentile(pooled, 95),
        init_ms=stats.median([block.init_ns * _MS_PER_NS for block in blocks]),
        first_inference_ms=stats.median([block.first_ns * _MS_PER_NS for block in blocks]),
        average_warm_up_ms=sum(block.warmup_ns for block in blocks) * _MS_PER_NS / max(1, warmup_runs),
    )


def _memory(memory: Memory) -> MemoryMetrics:
    return MemoryMetrics(
        init_footprint_kb=memory.init_kb - memory.start_kb,
        overall_footprint_kb=memory.overall_kb - memory.start_kb,
        model_peak_kb=memory.model_kb,
        peak_mem_mb=memory.peak_kb * 1024 / 1e6,
    )


def _accuracy(predictions: Predictions) -> Accuracy:
    correct, total = sum(predictions.right), len(predictions.right)
    return Accuracy(correct=correct, total=total, interval=stats.wilson(correct, total))
