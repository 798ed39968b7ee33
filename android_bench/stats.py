"""Statistics of latency and accuracy: medians, ratios and proportions, each with an interval or `None`.

Average precisions, of clips with several labels, stand in `android_bench.precision`.

Pure functions of numbers. `None` is *unclear*: too few or unusable numbers never turn into an answer.
`android_bench.summary` calls them on the records of a session; docs/measuring.md says how to read the results.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from android_bench import pairs
from android_bench.errors import RecordError

CONFIDENCE = 0.95
POWER = 0.90
# With fewer pairs no 95 % interval exists: 2 · 2**-5 > 0.05.
MIN_PAIRS = 6

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """A ratio of two latencies from interleaved pairs.

    Attributes:
        estimate: candidate over baseline (Hodges–Lehmann on logarithms).
        interval: 95 % interval; None below `MIN_PAIRS` pairs.
        pairs: number of pairs.
        detectable: the smallest relative change that so many pairs would see nine times in ten; None when unclear.
    """

    estimate: float
    interval: Interval | None
    pairs: int
    detectable: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedAccuracy:
    """The accuracies of two models on the same clips.

    Attributes:
        difference: candidate minus baseline, in [-1, 1].
        interval: Tango's 95 % score interval.
        p_value: exact two-sided McNemar.
        gained: clips that only the candidate has right.
        lost: clips that only the baseline has right.
        clips: clips in all.
        detectable: the smallest true difference that would be seen nine times in ten.
    """

    difference: float
    interval: Interval
    p_value: float
    gained: int
    lost: int
    clips: int
    detectable: float


def median(values: Sequence[float]) -> float:
    """The median of `values`, in their unit.

    Raises:
        RecordError: there are none, or one is not finite.
    """
    return float(np.median(_finite(values)))


def percentile(values: Sequence[float], percent: float) -> float:
    """The percentile of `values` (linear between neighbours), in their unit; `percent` in [0, 100].

    Raises:
        RecordError: there are none, or one is not finite.
    """
    return float(np.percentile(_finite(values), percent))


def deviation(values: Sequence[float]) -> float:
    """The sample standard deviation of `values`, in their unit; 0 for a single one."""
    numbers = _finite(values)
    return float(np.std(numbers, ddof=1)) if len(numbers) > 1 else 0.0


def median_interval(values: Sequence[float]) -> Interval | None:
    """A distribution-free 95 % interval of the median, from order statistics; None when there are too few values.

    The values must be independent: medians of blocks, not the samples inside one block.

    Source: Conover, Practical Nonparametric Statistics, 3rd edition, section 3.2.
    """
    ordered = np.sort(_finite(values))
    count = len(ordered)
    # The interval from the k-th smallest to the k-th largest misses with probability 2 P(Binomial(n, ½) < k).
    rank = int(stats.binom.ppf((1 - CONFIDENCE) / 2, count, 0.5))
    if rank < 1:
        return None
    return float(ordered[rank - 1]), float(ordered[count - rank])


def latency_ratio(candidate: Sequence[float], baseline: Sequence[float]) -> Ratio:
    """The ratio candidate / baseline of paired block medians (same unit, element i measured back to back).

    The interval inverts the signed-rank test on ln(candidate_i / baseline_i): it runs between order statistics of
    the Walsh averages, with exact quantiles of the null distribution.

    Raises:
        RecordError: the counts differ, there are none, or a value is not a positive number.

    Source: Hodges and Lehmann 1963; Lehmann, Nonparametrics, section 4.3.
    """
    if len(candidate) != len(baseline):
        raise RecordError(f"{len(candidate)} blocks of one model and {len(baseline)} of the other are no pairs")
    above, below = _finite(candidate), _finite(baseline)
    if (above <= 0).any() or (below <= 0).any():
        raise RecordError("a latency is not positive; expected positive block medians")
    logs = np.log(above / below)
    walsh = pairs.walsh_averages(logs)
    ends = pairs.interval(walsh, len(logs), CONFIDENCE)
    return Ratio(
        estimate=float(math.exp(pairs.estimate(walsh))),
        interval=(float(math.exp(ends[0])), float(math.exp(ends[1]))) if ends else None,
        pairs=len(logs),
        detectable=_detectable(logs),
    )


def wilson(correct: int, total: int) -> Interval:
    """Wilson's 95 % score interval of the proportion correct / total, without continuity correction.

    Raises:
        RecordError: not 0 <= correct <= total, or total is 0.

    Source: Wilson 1927.
    """
    if not 0 <= correct <= total or total == 0:
        raise RecordError(f"{correct} correct of {total}; expected 0 <= correct <= total and total > 0")
    found = stats.binomtest(correct, total).proportion_ci(CONFIDENCE, method="wilson")
    return float(found.low), float(found.high)


def paired_accuracy(candidate: Sequence[bool], baseline: Sequence[bool]) -> PairedAccuracy:
    """The difference of two accuracies on the same clips; element i of both is the same clip.

    Raises:
        RecordError: the counts differ or there are no clips.
    """
    if len(candidate) != len(baseline) or len(candidate) == 0:
        raise RecordError(f"{len(candidate)} and {len(baseline)} clips; expected the same clips, at least one")
    new, old = np.asarray(candidate, bool), np.asarray(baseline, bool)
    gained, lost, clips = int((new & ~old).sum()), int((old & ~new).sum()), len(new)
    discordant = gained + lost
    p_value = float(stats.binomtest(gained, discordant).pvalue) if discordant else 1.0
    # With no discordant clip at all their share may still be 3 in n (the rule of three).
    share = max(discordant, 3) / clips
    quantiles = stats.norm.ppf((1 + CONFIDENCE) / 2) + stats.norm.ppf(POWER)
    return PairedAccuracy(
        difference=(gained - lost) / clips,
        interval=tango(gained, lost, clips),
        p_value=p_value,
        gained=gained,
        lost=lost,
        clips=clips,
        detectable=float(min(1.0, quantiles * math.sqrt(share / clips))),
    )


def tango(gained: int, lost: int, clips: int) -> Interval:
    """Tango's 95 % score interval of the difference (gained - lost) / clips of two paired proportions.

    Raises:
        RecordError: the counts cannot be.

    Source: Tango 1998, Statistics in Medicine 17:891–908; the restricted maximum of q21 as in its appendix.
    """
    if min(gained, lost) < 0 or clips < 1 or gained + lost > clips:
        raise RecordError(f"{gained} gained and {lost} lost of {clips} clips cannot be")
    z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    estimate = (gained - lost) / clips

    def excess(delta: float, sign: float) -> float:
        # The score statistic at delta meets sign · z where this is zero; multiplied out, so that it is finite.
        b = -gained - lost + (2 * clips - gained + lost) * delta
        c = -lost * delta * (1 - delta)
        q21 = (math.sqrt(max(b * b - 8 * clips * c, 0.0)) - b) / (4 * clips)
        variance = clips * (2 * q21 + delta * (1 - delta))
        return gained - lost - clips * delta - sign * z * math.sqrt(max(variance, 0.0))

    # One step off the estimate, where a variance of zero would be a root of its own.
    step = 1e-12
    low = -1.0 if estimate == -1 else optimize.brentq(excess, -1.0, estimate - step, args=(1.0,))
    high = 1.0 if estimate == 1 else optimize.brentq(excess, estimate + step, 1.0, args=(-1.0,))
    return float(low), float(high)


def _detectable(logs: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float | None:
    """The relative change that as many pairs as noisy as these would see nine times in ten; None when unclear."""
    count = len(logs)
    if count < MIN_PAIRS:
        return None
    quantiles = stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) + stats.t.ppf(POWER, count - 1)
    # 3/π: the efficiency of the signed-rank test against the t-test on normal noise.
    error = float(np.std(logs, ddof=1)) / math.sqrt(count * 3 / math.pi)
    if error == 0:
        return None  # a clock too coarse to show any noise says nothing about what it would miss
    return float(math.expm1(quantiles * error))


def _finite(values: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    numbers = np.asarray(values, np.float64)
    if numbers.ndim != 1 or len(numbers) == 0:
        raise RecordError("no values; expected at least one")
    if not np.isfinite(numbers).all():
        raise RecordError("a value is not a finite number")
    return numbers
