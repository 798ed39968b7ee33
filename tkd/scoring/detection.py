"""A classifier as a detector of each class: ROC, area, false-reject rate at a false-alarm rate, average precision.

Every pair of a clip and a class is one decision: the class is accepted when its score reaches the threshold.
Decisions are pooled over classes (micro-average), then swept by one threshold:

    false-alarm rate  = accepted pairs of a clip and a class that it does not have / all such pairs
    false-reject rate = rejected pairs of a clip and a class that it has           / all such pairs

The curve has false alarms on x and false rejects on y, so that *less area is better*: 0 is perfect, 0.5 is chance.
Pure functions of numbers; `tkd.scoring.summary` calls them. Tested in `tests/tkd/scoring/test_detection.py`.

Source: Choi et al. 2019, arXiv 1904.03814 (micro-average over classes, vertical average over runs);
Fawcett 2006, An introduction to ROC analysis, section 8.1 (vertical averaging).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Roc:
    """A curve from the strictest threshold (accept nothing) to the laxest (accept everything).

    Attributes:
        false_alarm: shape (points,), from 0 to 1, never falling.
        false_reject: shape (points,), from 1 to 0, never rising.
    """

    false_alarm: Floats
    false_reject: Floats

    @property
    def area(self) -> float:
        """Area under the curve by trapezoids, in [0, 1]; lower is better."""
        heights = (self.false_reject[1:] + self.false_reject[:-1]) / 2
        return float(np.diff(self.false_alarm) @ heights)

    def false_reject_at(self, false_alarm_rates: Floats) -> Floats:
        """The lowest false-reject rate of a threshold that keeps false alarms at or below each rate in [0, 1].

        Only thresholds that exist count: nothing is interpolated. Shape as given.
        """
        allowed = np.searchsorted(self.false_alarm, false_alarm_rates, side="right")
        return np.asarray(self.false_reject[allowed - 1])


def one_hot(labels: NDArray[np.int64], classes: int) -> NDArray[np.bool_]:
    """Class indices of shape (clips,) as truth values of shape (clips, classes)."""
    return np.asarray(labels[:, None] == np.arange(classes), np.bool_)


def log_posteriors(logits: NDArray[np.float32]) -> Floats:
    """The logarithm of the softmax of logits of shape (clips, classes); orders like the softmax, without ties at 1.

    A row with a NaN or an infinity becomes NaN.
    """
    wide = np.where(np.isfinite(logits).all(axis=1, keepdims=True), logits.astype(np.float64), np.nan)
    shifted = wide - wide.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def roc(scores: Floats, truth: NDArray[np.bool_]) -> Roc:
    """The pooled curve of scores against truth, both of shape (clips, classes).

    A row with a NaN accepts nothing until everything is accepted: an undefined answer is not an answer.

    Raises:
        ValueError: the shapes differ, or there is no pair that is true, or none that is false.
    """
    if scores.shape != truth.shape or not truth.any() or truth.all():
        raise ValueError(f"expected scores like the truth, which has both kinds; saw {scores.shape} and {truth.shape}")
    ranked = ranked_last(scores).ravel()
    order = np.argsort(-ranked, kind="stable")
    accepted = truth.ravel()[order]
    # One point a threshold: equal scores are accepted together.
    ends = np.append(np.flatnonzero(np.diff(ranked[order])), len(order) - 1)
    hits, alarms = np.cumsum(accepted)[ends], np.cumsum(~accepted)[ends]
    return Roc(
        false_alarm=np.concatenate([[0.0], alarms / alarms[-1]]),
        false_reject=np.concatenate([[1.0], 1 - hits / hits[-1]]),
    )


def vertical_average(curves: Sequence[Roc], false_alarm: Floats) -> Roc:
    """The mean false-reject rate of several runs at each of the given false-alarm rates (ascending, in [0, 1]).

    It is for drawing: the area under the average of the whole curves is the mean of their areas.

    Raises:
        ValueError: there are no curves.
    """
    if not curves:
        raise ValueError("expected at least one curve, saw none")
    rejects = np.stack([curve.false_reject_at(false_alarm) for curve in curves])
    return Roc(false_alarm=false_alarm, false_reject=rejects.mean(axis=0))


def mean_average_precision(scores: NDArray[np.floating[Any]], truth: NDArray[np.bool_]) -> tuple[float, int]:
    """Macro average of scikit-learn's average precision, and over how many classes.

    Args:
        scores: logits or probabilities, shape (clips, classes); a row with a NaN ranks last in every class.
        truth: multi-hot labels, shape (clips, classes); classes that no clip has are left out.

    Raises:
        ValueError: the shapes differ or no clip has any class.
    """
    from sklearn.metrics import average_precision_score

    present = np.asarray(truth.any(axis=0))
    if scores.shape != truth.shape or not present.any():
        raise ValueError(f"expected scores like the truth and a label at least, saw {scores.shape} and {truth.shape}")
    ranked = ranked_last(scores)
    return float(average_precision_score(truth[:, present], ranked[:, present], average="macro")), int(present.sum())


def ranked_last(scores: NDArray[np.floating[Any]]) -> Floats:
    """Scores with undefined rows (a NaN or +∞ somewhere) below all others."""
    wide = np.asarray(scores, np.float64)
    defined = np.asarray(np.isfinite(wide).all(axis=1))
    below = wide[defined].min() - 1 if defined.any() else 0.0
    return np.where(defined[:, None], wide, below)
