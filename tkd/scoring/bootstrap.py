"""Intervals of accuracies whose clips are not independent, and paired comparisons of two models.

Clips of one speaker succeed or fail together, so whole speakers are drawn, not clips.
Pure functions of numbers; `tkd.scoring.summary` calls them. Tested in `tests/tkd/scoring/test_bootstrap.py`.

Source: Davison and Hinkley 1997, Bootstrap Methods and their Application, sections 3.8 (hierarchical data) and 5.3
(percentile intervals).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
RESAMPLES = 2_000
SEED = 20_211_027
_NUMBERS_AT_ONCE = 2_000_000

Interval = tuple[float, float]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two models on the same clips.

    Attributes:
        difference: accuracy of the candidate minus that of the baseline, in [-1, 1].
        interval: paired 95 % bootstrap interval by speaker; None when the draws say nothing (see `interval_by_group`).
        p_value: of the exact two-sided McNemar test, which takes clips as independent.
        gained: clips that only the candidate has right.
        lost: clips that only the baseline has right.
    """

    difference: float
    interval: Interval | None
    p_value: float
    gained: int
    lost: int


def interval_by_group(
    values: NDArray[np.float64] | Bools, groups: Sequence[str], resamples: int = RESAMPLES, seed: int = SEED
) -> Interval | None:
    """A 95 % percentile interval of the mean of `values` when whole groups are drawn with replacement.

    Args:
        values: one number a clip, shape (clips,); a mean of booleans is an accuracy.
        groups: the speaker of each clip; a clip that nobody speaks is a group of its own.
        resamples: draws.
        seed: of the draws; the same arguments give the same interval.

    Returns:
        (low, high) in the unit of `values`, or None with fewer than two groups or when all draws are equal: resampling
        equal values shows no spread, which is no proof that there is none.

    Raises:
        ValueError: no values, unequal lengths, or a value that is not finite.
    """
    numbers = np.asarray(values, np.float64)
    if len(numbers) == 0 or len(numbers) != len(groups) or not np.isfinite(numbers).all():
        raise ValueError(f"expected finite values and a group for each, saw {len(numbers)} and {len(groups)}")
    _, members = np.unique(np.asarray(groups), return_inverse=True)
    clips = np.bincount(members).astype(np.float64)
    if len(clips) < 2:
        return None
    sums = np.bincount(members, weights=numbers)
    means = np.concatenate([(draw @ sums) / (draw @ clips) for draw in _draws(len(clips), resamples, seed)])
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return None if means.min() == means.max() else (float(low), float(high))


def compare(candidate: Bools, baseline: Bools, groups: Sequence[str]) -> Comparison:
    """The candidate against the baseline; element i of both, and of `groups`, is the same clip.

    Raises:
        ValueError: no clips, or unequal lengths.
    """
    from scipy.stats import binomtest

    if not len(candidate) == len(baseline) == len(groups) > 0:
        raise ValueError(f"expected the same clips, saw {len(candidate)}, {len(baseline)} and {len(groups)}")
    gained, lost = int((candidate & ~baseline).sum()), int((baseline & ~candidate).sum())
    return Comparison(
        difference=(gained - lost) / len(candidate),
        interval=interval_by_group(candidate.astype(np.float64) - baseline, groups),
        p_value=float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0,
        gained=gained,
        lost=lost,
    )


def _draws(groups: int, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each group is drawn, shape (draws, groups), in pieces that fit into memory."""
    rng = np.random.default_rng(seed)
    at_once = max(1, _NUMBERS_AT_ONCE // groups)
    for first in range(0, resamples, at_once):
        count = min(at_once, resamples - first)
        yield rng.multinomial(groups, np.full(groups, 1 / groups), size=count).astype(np.float64)
