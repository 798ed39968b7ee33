"""The rows of a verdict but for latency's: accuracy with its interval, and exact metrics with none.

After `android_bench.stats` and `android_bench.precision`; `android_bench.compare` puts the rows together.
To add an exact metric, add a row to `EXACT`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from android_bench import stats
from android_bench.errors import RecordError
from android_bench.precision import mean_precision, paired_precision
from android_bench.records import Predictions, SeveralPredictions
from android_bench.stats import Interval
from android_bench.verdict import GateSettings, MetricName, MetricVerdict, Verdict

ALLOWANCE = 0.005

Answers = Predictions | SeveralPredictions


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactMetric:
    """A metric without noise: its unit, whether changes are relative, where worse is, and how a bundle tells it."""

    unit: str
    relative: bool
    worse: int
    of_bundle: Callable[[Mapping[str, Any]], float | None] | None = None


def _operators(ops: Mapping[str, Any]) -> float | None:
    by_type = ops.get("by_type")
    return float(sum(by_type.values())) if by_type else None


def _macs(ops: Mapping[str, Any]) -> float | None:
    macs = ops.get("macs")
    return float(macs) if macs else None


def _int8_share(ops: Mapping[str, Any]) -> float | None:
    share = ops.get("int8_share", {}).get("macs")
    return None if share is None else float(share)


# Of what `ops` in a bundle's document says; size and instructions come from elsewhere.
EXACT: Mapping[MetricName, ExactMetric] = {
    "instructions": ExactMetric(unit="instructions", relative=True, worse=1),
    "size": ExactMetric(unit="bytes", relative=True, worse=1),
    "operators": ExactMetric(unit="operators", relative=True, worse=1, of_bundle=_operators),
    "macs": ExactMetric(unit="MACs", relative=True, worse=1, of_bundle=_macs),
    "int8_share": ExactMetric(unit="share", relative=False, worse=-1, of_bundle=_int8_share),
}
# What another precision changes by its nature.
_BY_PRECISION: tuple[MetricName, ...] = ("size", "operators", "int8_share")


def exact_facts(ops: Mapping[str, Any], size_bytes: int) -> dict[MetricName, float]:
    """What is known of a model without running it, by metric."""
    facts: dict[MetricName, float] = {"size": float(size_bytes)}
    for name, metric in EXACT.items():
        value = metric.of_bundle(ops) if metric.of_bundle else None
        if value is not None:
            facts[name] = value
    return facts


def exact_row(
    name: MetricName, baseline: float, candidate: float, settings: GateSettings, *, same_precision: bool = True
) -> MetricVerdict:
    """Two exact numbers and the allowance between them; nothing is estimated."""
    metric = EXACT[name]
    allowance = settings.allowances.get(name, ALLOWANCE)
    free = allowance is None or (name in _BY_PRECISION and not same_precision)
    change = candidate / baseline - 1 if metric.relative and baseline else candidate - baseline
    beyond = metric.worse * change - (allowance or 0.0)
    verdict: Verdict = "PASS"
    if not free and beyond > 1e-12:
        verdict = "REGRESSION"
    elif metric.worse * change < -(ALLOWANCE if allowance is None else allowance):
        verdict = "IMPROVED"
    why = "is let be: any change passes" if allowance is None else "is let be: the precisions differ"
    allowed = f"allowed is {_change(metric, allowance or 0.0)}"
    return MetricVerdict(
        name=name,
        unit=metric.unit,
        relative=metric.relative,
        worse=metric.worse,
        baseline=baseline,
        candidate=candidate,
        change=change,
        interval=None,
        allowance=allowance or 0.0,
        detectable=None,
        exact=True,
        verdict=verdict,
        note=f"{_change(metric, change, sign=True)}, exact; {why if free else allowed}",
    )


def accuracy_row(candidate: Answers, baseline: Answers, settings: GateSettings, *, same_file: bool) -> MetricVerdict:
    """The candidate's accuracy against the baseline's on the same clips and device: fails, passes, or cannot be told.

    Top-1 with Tango's interval; mean average precision with a paired bootstrap's where clips have several labels.
    Two copies of one file that answer alike differ by exactly nothing.

    Raises:
        RecordError: the two answered different clips, or clips of different kinds.
    """
    if (candidate.ids, candidate.expected) != (baseline.ids, baseline.expected):
        raise RecordError("the two evaluation packs hold different clips")
    if isinstance(candidate, Predictions) and isinstance(baseline, Predictions):
        paired = stats.paired_accuracy(candidate.right, baseline.right)
        values = sum(baseline.right) / paired.clips, sum(candidate.right) / paired.clips
        same = same_file and candidate.predicted == baseline.predicted
        name: MetricName = "accuracy"
        change, clips = paired.difference, paired.clips
        interval: Interval | None = paired.interval
        detectable: float | None = paired.detectable
    elif isinstance(candidate, SeveralPredictions) and isinstance(baseline, SeveralPredictions):
        several = paired_precision(candidate, baseline)
        values = mean_precision(baseline).value, mean_precision(candidate).value
        same = same_file and candidate.outputs == baseline.outputs
        name, change, interval, clips = "mean_average_precision", several.difference, several.interval, several.clips
        # From the interval's own width: half of it is 1.96 standard errors.
        detectable = None if interval is None else (interval[1] - interval[0]) / 2 * (1.96 + 1.28) / 1.96
    else:
        raise RecordError("one model answered clips with several labels, the other did not")
    verdict = _of_interval(None if same else interval, same=same, drop=settings.max_accuracy_drop)
    return MetricVerdict(
        name=name,
        unit="share",
        relative=False,
        worse=-1,
        baseline=values[0],
        candidate=values[1],
        change=change,
        interval=None if same else interval,
        allowance=settings.max_accuracy_drop,
        detectable=None if same or detectable is None else settings.max_accuracy_drop + detectable,
        exact=same,
        verdict=verdict,
        note=_accuracy_note(verdict, same, clips, settings.max_accuracy_drop, detectable),
    )


def _of_interval(interval: Interval | None, *, same: bool, drop: float) -> Verdict:
    if same:
        return "PASS"
    if interval is None:
        return "INCONCLUSIVE"
    if interval[1] < -drop:
        return "REGRESSION"
    if interval[0] > drop:
        return "IMPROVED"
    return "PASS" if interval[0] > -drop else "INCONCLUSIVE"


def _accuracy_note(verdict: Verdict, same: bool, clips: int, drop: float, detectable: float | None) -> str:
    allowed = f"{100 * drop:g} points"
    if same:
        return f"one file and one answer to each of {clips} clips"
    if verdict == "REGRESSION":
        return f"the whole interval is a drop of more than the allowed {allowed}, on {clips} clips"
    if verdict in ("PASS", "IMPROVED"):
        return f"no drop of more than the allowed {allowed}, on {clips} clips"
    if detectable is None:
        return f"{clips} clips show no spread: a drop of {allowed} cannot be told"
    seen = f"a drop of {100 * (drop + detectable):.1f} points would be seen nine times in ten"
    return f"{clips} clips cannot tell a drop of {allowed}; {seen}"


def _change(metric: ExactMetric, change: float, *, sign: bool = False) -> str:
    amount = f"{100 * change:+.2f}" if sign else f"{100 * change:g}"
    return f"{amount} {'%' if metric.relative else 'points'}"
