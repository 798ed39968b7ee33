"""From pairs of blocks to a verdict on latency: looks, what each decides, confirmation, and what could have been seen.

    15 pairs ── 99 % interval ── decided? ──yes──► REGRESSION? ──► 15 pairs in a fresh session: above 1.00?
                                    └─no── 15 more ── 96 % interval

Both looks together miss the true ratio in at most 1 % + 4 % of comparisons, whatever the stopping rule: the alpha
is spent by Bonferroni's inequality. docs/verdicts.md explains the rule, `benchmarks/gate_power.py` simulates it.
Pure functions of numbers, after `android_bench.pairs`; `android_bench.compare` calls them on records.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from android_bench import pairs
from android_bench.errors import RecordError
from android_bench.stats import CONFIDENCE, POWER, Interval
from android_bench.verdict import VERDICTS, Look, Verdict

Floats = NDArray[np.float64]

# Of the first and the second look; their misses add up to those of one look of 95 %.
FIRST_CONFIDENCE, SECOND_CONFIDENCE = 0.99, 0.96
# Blocks may be rejected by the device's gates; with more than this share the rest stands for its best moments.
MOST_REJECTED = 0.25
TWO_PERCENT = 0.02
_RESAMPLES, _SEED = 2000, 20_211_027


def log_ratios(candidate: Sequence[float], baseline: Sequence[float]) -> Floats:
    """ln(candidate_i / baseline_i), shape (pairs,).

    Raises:
        RecordError: the counts differ, there are none, or a value is not a positive finite number.
    """
    new, old = np.asarray(candidate, np.float64), np.asarray(baseline, np.float64)
    if new.shape != old.shape or new.ndim != 1 or len(new) == 0:
        raise RecordError(f"{new.size} blocks of one model and {old.size} of the other are no pairs")
    if not (np.isfinite(new).all() and np.isfinite(old).all() and (new > 0).all() and (old > 0).all()):
        raise RecordError("a block's value is not a positive number; expected finite times above 0")
    return np.asarray(np.log(new / old))


def look_at(logs: Floats, confidence: float, max_slowdown: float) -> Look:
    """What so many pairs say at this confidence."""
    count = len(logs)
    walsh = pairs.walsh_averages(logs)
    ends = pairs.interval(walsh, count, confidence)
    found: Interval | None = (float(math.exp(ends[0])), float(math.exp(ends[1]))) if ends else None
    return Look(
        pairs=count,
        confidence=confidence,
        ratio=float(math.exp(pairs.estimate(walsh))),
        interval=found,
        p_slower=float(pairs.p_above(walsh, count, math.log1p(max_slowdown))) if found else None,
    )


def decide(low: Any, high: Any, max_slowdown: float) -> NDArray[np.str_]:
    """The verdicts, shape (…), of intervals of the ratio with these ends, each a number or of shape (…).

    An interval without width is no interval: the clock was too coarse to show any noise, so nothing can be told.
    """
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    told = low < high  # also false for NaN
    slower, faster, passes = low > 1 + max_slowdown, high < 1 - max_slowdown, high < 1 + max_slowdown
    return np.select(
        [~told, slower, faster, passes], ["INCONCLUSIVE", "REGRESSION", "IMPROVED", "PASS"], "INCONCLUSIVE"
    )


def verdict_of(look: Look, max_slowdown: float) -> Verdict:
    """The verdict of one look on its own; INCONCLUSIVE without an interval."""
    if look.interval is None:
        return "INCONCLUSIVE"
    found = str(decide(*look.interval, max_slowdown))
    return next(verdict for verdict in VERDICTS if verdict == found)


def confirms(look: Look) -> bool:
    """Whether a look at a fresh session confirms a regression: its interval lies above 1.

    Against the allowance again it would cost a third of the power.
    """
    return look.interval is not None and 1.0 < look.interval[0] < look.interval[1]


def standard_error(look: Look) -> float | None:
    """Of ln(ratio), from the width of the interval (Lehmann); None when unclear."""
    if look.interval is None or look.interval[0] >= look.interval[1]:
        return None
    width = math.log(look.interval[1] / look.interval[0])
    return width / (2 * float(stats.norm.ppf((1 + look.confidence) / 2)))


def detectable(look: Look, max_slowdown: float) -> float | None:
    """The slowdown that as many pairs as noisy as these call a REGRESSION nine times in ten; None when unclear."""
    error = standard_error(look)
    if error is None:
        return None
    quantiles = float(stats.norm.ppf((1 + look.confidence) / 2) + stats.norm.ppf(POWER))
    return (1 + max_slowdown) * math.exp(quantiles * error) - 1


def pairs_for(change: float, look: Look) -> int | None:
    """How many pairs as noisy as these tell `change` (0.02 is 2 %) from none nine times in ten; None when unclear.

    Two pairs are added for the spread having to be estimated (Guenther 1981, The American Statistician 35:243–244).
    """
    error = standard_error(look)
    if error is None:
        return None
    quantiles = float(stats.norm.ppf((1 + CONFIDENCE) / 2) + stats.norm.ppf(POWER))
    needed = look.pairs * (quantiles * error / math.log1p(change)) ** 2
    return max(pairs.least_pairs(CONFIDENCE), math.ceil(needed) + 2)


def bootstrap(logs: Floats) -> Interval | None:
    """A seeded 95 % percentile bootstrap of the ratio, for readers who expect one; None below 6 pairs."""
    count = len(logs)
    if count < pairs.least_pairs(CONFIDENCE):
        return None
    drawn = np.random.default_rng(_SEED).integers(count, size=(_RESAMPLES, count))
    ratios = np.exp(pairs.estimate(pairs.walsh_averages(logs[drawn])))
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(ratios, (tail, 100 - tail))
    return float(low), float(high)


def p_of_looks(looks: Sequence[Look]) -> float | None:
    """One p-value of REGRESSION over the looks, for Holm: each look's p over its share of the alpha.

    With one look and two it is at most α with a chance of at most α, whatever made the second one happen.
    None where no look has one.
    """
    spent = [(look.p_slower, (1 - look.confidence) / (1 - CONFIDENCE)) for look in looks]
    told = [p / share for p, share in spent if p is not None]
    return min(1.0, *told) if told else None


def holm(p_values: Sequence[float], level: float = (1 - CONFIDENCE) / 2) -> list[bool]:
    """Which hypotheses fall when all are tested at once at a one-sided `level`.

    Source: Holm 1979, Scandinavian Journal of Statistics 6:65–70.

    >>> holm([0.001, 0.04, 0.012])
    [True, False, True]
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    fallen = [False] * len(p_values)
    for step, index in enumerate(order):
        if p_values[index] > level / (len(p_values) - step):
            break
        fallen[index] = True
    return fallen
