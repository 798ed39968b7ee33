"""Hodges–Lehmann estimates from pairs: intervals and p-values that invert the signed-rank test.

Everything works on the last axis, so that `benchmarks/gate_power.py` simulates with the very code that judges.
`android_bench.stats` and `android_bench.judge` call it. An element of `logs` is ln(candidate / baseline) of one pair.

For n pairs there are N = n (n + 1) / 2 Walsh averages (d_i + d_j) / 2 with i <= j. Without ties the signed-rank
statistic W+ of d − θ is the number of averages above θ, so that the interval runs between two of their order
statistics and a p-value is a tail of W+'s null distribution. Averages equal to θ count against the finding: with
ties both err towards no finding.

Source: Hodges and Lehmann 1963; Lehmann, Nonparametrics, section 4.3.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
# Above so many pairs the exact null distribution is left to the normal one; they agree to four digits long before.
_EXACT_UP_TO = 200


def walsh_averages(logs: Floats) -> Floats:
    """(d_i + d_j) / 2 for i <= j, rising; shape (…, n (n + 1) / 2) for `logs` of shape (…, n)."""
    rows, columns = np.triu_indices(logs.shape[-1])
    return np.sort((logs[..., rows] + logs[..., columns]) / 2, axis=-1)


def estimate(walsh: Floats) -> Floats:
    """The Hodges–Lehmann estimate, shape (…), of sorted Walsh averages of shape (…, N)."""
    count = walsh.shape[-1]
    return np.asarray((walsh[..., (count - 1) // 2] + walsh[..., count // 2]) / 2)


def interval(walsh: Floats, pairs: int, confidence: float) -> tuple[Floats, Floats] | None:
    """Its ends, each of shape (…); None where so few pairs have no interval of this confidence."""
    skipped = skipped_averages(pairs, confidence)
    return None if skipped < 0 else (walsh[..., skipped], walsh[..., walsh.shape[-1] - 1 - skipped])


def p_above(walsh: Floats, pairs: int, bound: float) -> Floats:
    """One-sided p-values, shape (…), of the hypothesis that the true shift is at most `bound`."""
    above = (walsh > bound).sum(axis=-1)
    return np.asarray(_upper_tails(pairs)[above])


@cache
def skipped_averages(pairs: int, confidence: float) -> int:
    """How many Walsh averages to skip at each end: the largest k with 2 P(W+ <= k) <= 1 − confidence, or −1."""
    tails = np.cumsum(_null_distribution(pairs))
    # A hair above, so that a probability that is exactly the level is not lost to rounding.
    return int(np.searchsorted(tails, (1 - confidence) / 2 * (1 + 1e-12), side="right")) - 1


def least_pairs(confidence: float) -> int:
    """The fewest pairs that have an interval of this confidence: 6 for 95 %, 8 for 99 %."""
    return next(pairs for pairs in range(1, 100) if skipped_averages(pairs, confidence) >= 0)


@cache
def _upper_tails(pairs: int) -> NDArray[Any]:
    """P(W+ >= w) for each w from 0 to N."""
    return np.cumsum(_null_distribution(pairs)[::-1])[::-1].clip(0.0, 1.0)


@cache
def _null_distribution(pairs: int) -> Floats:
    """P(W+ = w) for each w from 0 to N, all 2**pairs sign patterns being equally likely."""
    total = pairs * (pairs + 1) // 2
    if pairs > _EXACT_UP_TO:
        spread = np.sqrt(pairs * (pairs + 1) * (2 * pairs + 1) / 24)
        edges = stats.norm.cdf((np.arange(total + 2) - 0.5 - total / 2) / spread)
        return np.diff(edges)
    chances = np.zeros(total + 1)
    chances[0] = 1.0
    for rank in range(1, pairs + 1):
        chances[rank:] = (chances[rank:] + chances[:-rank]) / 2
        chances[:rank] /= 2
    return chances
