"""Intervals of accuracies and of average precisions whose clips are not independent; paired comparisons of two models.

Clips of one speaker succeed or fail together, so whole speakers are drawn, not clips.
Pure functions of numbers; `tkd.scoring.summary` calls them. Tested in `tests/tkd/scoring/test_bootstrap.py`.

Source: Davison and Hinkley 1997, Bootstrap Methods and their Application, sections 3.8 (hierarchical data), 5.2
(normal intervals) and 5.3 (percentile intervals).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
RESAMPLES = 2_000
PRECISION_RESAMPLES = 500  # a mean and a standard deviation want fewer draws than quantiles do
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


def precision_draws(
    scores: NDArray[np.float64],
    truth: Bools,
    groups: Sequence[str],
    resamples: int = PRECISION_RESAMPLES,
    seed: int = SEED,
) -> NDArray[np.float64]:
    """Mean average precision of draws of whole groups of clips with replacement, shape (resamples,), in [0, 1].

    A clip that is drawn twice counts twice. A class of which a draw holds no clip is left out of that draw's mean.
    The same groups and seed give the same draws, so that the draws of two models are pairs.

    Args:
        scores: finite, shape (clips, classes).
        truth: which clip has which class, shape (clips, classes); each class has a clip.
        groups: the speaker of each clip, or a name of its own.
        resamples: draws.
        seed: of the draws.
    """
    _, members = np.unique(np.asarray(groups), return_inverse=True)
    parts = []
    for draw in _draws(int(members.max()) + 1, resamples, seed):
        weights = draw[:, members]
        each = np.stack([_weighted(weights, scores[:, c], truth[:, c]) for c in range(truth.shape[1])])
        held = np.isfinite(each)
        parts.append(np.where(held, each, 0.0).sum(axis=0) / np.maximum(held.sum(axis=0), 1))
    return np.concatenate(parts)


def corrected_interval(estimate: float, draws: NDArray[np.float64], lowest: float = 0.0) -> Interval | None:
    """The 95 % normal interval around the estimate less the bias that the draws show, within [`lowest`, 1].

    Average precision of few clips is too high, and that of a draw, which holds some clips twice, is higher still, so
    that a percentile interval lies above the truth. None when all draws are equal (see `interval_by_group`).
    """
    from scipy.stats import norm

    if np.ptp(draws) < 1e-12:
        return None
    centre = 2 * estimate - float(draws.mean())
    reach = float(norm.ppf((1 + CONFIDENCE) / 2) * draws.std(ddof=1))
    return max(lowest, centre - reach), min(1.0, centre + reach)


def _weighted(weights: NDArray[np.float64], scores: NDArray[np.float64], truth: Bools) -> NDArray[np.float64]:
    """Average precision of one class under weights of shape (draws, clips), shape (draws,); NaN without a clip of it.

    Equal scores pass a threshold together, as in scikit-learn's average_precision_score.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    ranked = weights[:, order]
    hits = np.cumsum(ranked * truth[order], axis=1)[:, ends]
    answers = np.cumsum(ranked, axis=1)[:, ends]
    precision = np.divide(hits, answers, out=np.zeros_like(hits), where=answers > 0)
    total = hits[:, -1]
    summed = (np.diff(hits, axis=1, prepend=0.0) * precision).sum(axis=1)
    return np.asarray(np.divide(summed, total, out=np.full(len(total), np.nan), where=total > 0))


def _draws(groups: int, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each group is drawn, shape (draws, groups), in pieces that fit into memory."""
    rng = np.random.default_rng(seed)
    at_once = max(1, _NUMBERS_AT_ONCE // groups)
    for first in range(0, resamples, at_once):
        count = min(at_once, resamples - first)
        yield rng.multinomial(groups, np.full(groups, 1 / groups), size=count).astype(np.float64)
