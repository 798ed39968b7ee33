"""Scores of a classifier, the same code for every stage: torch, ONNX, TFLite.

Before this: logits from anywhere. After this: checkpoints, bundles and reports carry the scores.
Tested in `tests/tkd/test_evaluate.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from tkd.scoring.detection import mean_average_precision

Metric = Literal["accuracy", "mean_average_precision"]

SHORT_NAMES: dict[str, str] = {"accuracy": "accuracy", "mean_average_precision": "mAP"}
"""What tables call a metric."""

_BATCH = 256
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Top-1 accuracy on one set of clips.

    Attributes:
        correct: clips whose largest logit is at the label.
        total: clips.
        low: lower end of the 95 % Wilson interval of the accuracy, in [0, 1]. Clips of one speaker are not
            independent, so that the true interval is wider.
        high: its upper end.
        per_class: (correct, total) by label.
    """

    correct: int
    total: int
    low: float
    high: float
    per_class: dict[str, tuple[int, int]]

    @property
    def accuracy(self) -> float:
        """Share of correct clips, in [0, 1]."""
        return self.correct / self.total

    @property
    def metric(self) -> Metric:
        """What `value` is."""
        return "accuracy"

    @property
    def value(self) -> float:
        """The accuracy, in [0, 1]."""
        return self.accuracy

    def to_dict(self) -> dict[str, Any]:
        """For JSON: counts, accuracy and interval."""
        return {
            "metric": self.metric,
            "correct": self.correct,
            "total": self.total,
            "accuracy": round(self.accuracy, 6),
            "interval_95": [round(self.low, 6), round(self.high, 6)],
            "per_class": {label: list(counts) for label, counts in self.per_class.items()},
        }

    def __str__(self) -> str:
        return f"{100 * self.accuracy:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiLabelScores:
    """Mean average precision on one set of clips with several labels each.

    Attributes:
        value: macro average of scikit-learn's average precision over the classes that some clip has, in [0, 1].
        total: clips.
        per_class: average precision by label, in [0, 1]; None where no clip has the label.
    """

    value: float
    total: int
    per_class: dict[str, float | None]

    @property
    def metric(self) -> Metric:
        """What `value` is."""
        return "mean_average_precision"

    @property
    def left_out(self) -> int:
        """Classes that no clip has, over which nothing is averaged."""
        return sum(value is None for value in self.per_class.values())

    def to_dict(self) -> dict[str, Any]:
        """For JSON. The interval is null: there is no closed form of it, and none is made up."""
        return {
            "metric": self.metric,
            "mean_average_precision": round(self.value, 6),
            "interval_95": None,
            "total": self.total,
            "classes": len(self.per_class) - self.left_out,
            "classes_left_out": self.left_out,
            "per_class": {label: None if ap is None else round(ap, 6) for label, ap in self.per_class.items()},
        }

    def __str__(self) -> str:
        return f"mAP {100 * self.value:.1f} %"


def metric_of(labels: np.ndarray | Tensor) -> Metric:
    """What labels are scored by: (clips,) by accuracy, (clips, classes) by mean average precision."""
    return "accuracy" if labels.ndim == 1 else "mean_average_precision"


def value_of(logits: np.ndarray, labels: np.ndarray) -> float:
    """The metric of `labels` alone, in [0, 1], without what `score` adds to it."""
    if metric_of(labels) == "accuracy":
        return float((logits.argmax(axis=1) == labels).mean())
    return mean_average_precision(logits, labels > 0)[0]


def score_any(logits: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> Scores | MultiLabelScores:
    """`score` for labels of shape (clips,), `score_several` for zeros and ones of shape (clips, classes)."""
    return score(logits, labels, names) if metric_of(labels) == "accuracy" else score_several(logits, labels, names)


def score_several(logits: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> MultiLabelScores:
    """Mean average precision of logits against zeros and ones, both of shape (clips, classes).

    A row with a NaN ranks last in every class: an undefined answer is not an answer.

    Raises:
        ValueError: unequal shapes, or no clip has any label.
    """
    truth = labels > 0
    value, _ = mean_average_precision(logits, truth)
    defined = np.isfinite(logits).all(axis=1, keepdims=True)
    ranked = np.where(defined, logits, logits[defined[:, 0]].min(initial=0.0) - 1.0)
    per_class = {
        name: mean_average_precision(ranked[:, [place]], truth[:, [place]])[0] if truth[:, place].any() else None
        for place, name in enumerate(names)
    }
    return MultiLabelScores(value=value, total=len(logits), per_class=per_class)


def score(logits: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> Scores:
    """Top-1 accuracy of logits of shape (clips, classes) against integer labels of shape (clips,).

    A row with a NaN counts as wrong: an undefined answer is not an answer.

    Raises:
        ValueError: no clips, or unequal lengths.
    """
    from scipy.stats import binomtest

    if len(logits) != len(labels) or len(labels) == 0:
        raise ValueError(f"expected as many logits as labels and at least one, saw {len(logits)} and {len(labels)}")
    right = (logits.argmax(axis=1) == labels) & np.isfinite(logits).all(axis=1)
    interval = binomtest(int(right.sum()), len(right)).proportion_ci(_CONFIDENCE, method="wilson")
    per_class = {
        name: (int(right[labels == index].sum()), int((labels == index).sum())) for index, name in enumerate(names)
    }
    return Scores(
        correct=int(right.sum()),
        total=len(right),
        low=float(interval.low),
        high=float(interval.high),
        per_class=per_class,
    )


def predict(network: nn.Module, inputs: Tensor, batch_size: int = _BATCH) -> np.ndarray:
    """Logits, shape (clips, classes) float32, of `network` over inputs of shape (clips, …), without gradients."""
    was_training = network.training
    network.eval()
    try:
        first = next(network.parameters(), None)
        device = inputs.device if first is None else first.device
        with torch.inference_mode():
            batches = [network(part.to(device)).float().cpu().numpy() for part in torch.split(inputs, batch_size)]
    finally:
        network.train(was_training)
    return np.concatenate(batches)
