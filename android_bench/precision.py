"""Average precision of clips with several labels each: values and intervals, from raw outputs.

Pure functions of numbers; `android_bench.summary` calls them. Their equality with scikit-learn's
`average_precision_score` is tested in `tests/android_bench/test_precision.py`: a bench machine needs no framework.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from android_bench.errors import RecordError
from android_bench.records import SeveralPredictions
from android_bench.stats import CONFIDENCE, Interval

RESAMPLES = 500
SEED = 20_211_027
# Numbers of a matrix of draws; more would cost memory and no time.
_AT_ONCE = 2_000_000

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """Mean average precision on the evaluation pack.

    Attributes:
        value: the mean over the classes that some clip has, in [0, 1].
        interval: 95 %, by bootstrap of clips, less its bias; None when the draws show no spread.
        total: clips.
        classes: classes that some clip has.
        left_out: classes that no clip has.
        per_class: average precision by label, None where no clip has it.
    """

    value: float
    interval: Interval | None
    total: int
    classes: int
    left_out: int
    per_class: dict[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedPrecision:
    """Two models on the same clips: candidate minus baseline in [-1, 1], its paired 95 % interval, and the clips."""

    difference: float
    interval: Interval | None
    clips: int


def average_precision(scores: Floats, truth: Bools) -> float:
    """Σ (recall_n - recall_{n-1}) · precision_n over the thresholds, equal scores passing together.

    Args:
        scores: finite, shape (clips,).
        truth: which clip has the class, shape (clips,).

    Raises:
        RecordError: no clip has it, or the shapes differ.

    Source: Zhu 2004, Recall, Precision and Average Precision; as scikit-learn's average_precision_score.
    """
    if scores.shape != truth.shape or scores.ndim != 1 or not truth.any():
        raise RecordError(f"scores {scores.shape} and truth {truth.shape} with {int(truth.sum())} clips of the class")
    return float(_weighted(np.ones((1, len(scores))), scores, truth)[0])


def mean_precision(predictions: SeveralPredictions) -> Precision:
    """The value, its interval, and every class."""
    scores, truth = _matrices(predictions)
    present = np.asarray(truth.any(axis=0))
    each = [average_precision(scores[:, c], truth[:, c]) if present[c] else None for c in range(len(present))]
    value = float(np.mean([one for one in each if one is not None]))
    return Precision(
        value=value,
        interval=_interval(value, _draws(scores[:, present], truth[:, present]), lowest=0.0),
        total=len(scores),
        classes=int(present.sum()),
        left_out=int((~present).sum()),
        per_class=dict(zip(predictions.labels, each, strict=True)),
    )


def paired_precision(candidate: SeveralPredictions, baseline: SeveralPredictions) -> PairedPrecision:
    """The difference on the same clips, drawn alike for both.

    Raises:
        RecordError: the clips or their labels differ.
    """
    if (candidate.ids, candidate.labels, candidate.expected) != (baseline.ids, baseline.labels, baseline.expected):
        raise RecordError("the two evaluation packs hold different clips")
    (new, truth), (old, _) = _matrices(candidate), _matrices(baseline)
    present = np.asarray(truth.any(axis=0))
    new, old, truth = new[:, present], old[:, present], truth[:, present]
    values = [float(np.mean([average_precision(s[:, c], truth[:, c]) for c in range(s.shape[1])])) for s in (new, old)]
    difference = values[0] - values[1]
    drawn = _draws(new, truth) - _draws(old, truth)
    return PairedPrecision(
        difference=difference, interval=_interval(difference, drawn, lowest=-1.0), clips=len(candidate.ids)
    )


def _matrices(predictions: SeveralPredictions) -> tuple[Floats, Bools]:
    """Scores and truth, both of shape (clips, classes); an undefined answer ranks last in every class."""
    classes = len(predictions.labels)
    finite = [row for row in predictions.outputs if row is not None]
    below = min((min(row) for row in finite), default=0.0) - 1.0
    scores = np.array([row if row is not None else (below,) * classes for row in predictions.outputs], np.float64)
    truth = np.zeros(scores.shape, np.bool_)
    for row, labels in enumerate(predictions.expected):
        truth[row, list(labels)] = True
    return scores, truth


def _draws(scores: Floats, truth: Bools) -> Floats:
    """Mean average precision of draws of clips with replacement, shape (RESAMPLES,)."""
    clips = len(scores)
    rng = np.random.default_rng(SEED)
    parts: list[Floats] = []
    at_once = max(1, _AT_ONCE // clips)
    for first in range(0, RESAMPLES, at_once):
        count = min(at_once, RESAMPLES - first)
        weights = rng.multinomial(clips, np.full(clips, 1 / clips), size=count).astype(np.float64)
        each = np.stack([_weighted(weights, scores[:, c], truth[:, c]) for c in range(truth.shape[1])])
        held = np.isfinite(each)
        parts.append(np.where(held, each, 0.0).sum(axis=0) / np.maximum(held.sum(axis=0), 1))
    return np.concatenate(parts)


def _interval(estimate: float, draws: Floats, lowest: float) -> Interval | None:
    """The normal interval around the estimate less the draws' bias, within [`lowest`, 1].

    Precision of few clips is too high, and that of a draw, which holds some twice, is higher still.
    Source: Davison and Hinkley 1997, Bootstrap Methods and their Application, section 5.2.
    """
    if np.ptp(draws) < 1e-12:
        return None
    centre = 2 * estimate - float(draws.mean())
    reach = float(norm.ppf((1 + CONFIDENCE) / 2) * draws.std(ddof=1))
    return max(lowest, centre - reach), min(1.0, centre + reach)


def _weighted(weights: NDArray[Any], scores: Floats, truth: Bools) -> Floats:
    """Average precision under weights of shape (draws, clips), shape (draws,); NaN where a draw has no clip of it."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    ranked = weights[:, order]
    hits = np.cumsum(ranked * truth[order], axis=1)[:, ends]
    answers = np.cumsum(ranked, axis=1)[:, ends]
    precision = np.divide(hits, answers, out=np.zeros_like(hits), where=answers > 0)
    summed = (np.diff(hits, axis=1, prepend=0.0) * precision).sum(axis=1)
    total = hits[:, -1]
    return np.asarray(np.divide(summed, total, out=np.full(len(total), np.nan), where=total > 0))
