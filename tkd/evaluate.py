"""Scores of a classifier, the same code for every stage: torch, ONNX, TFLite.

Before this: logits from anywhere. After this: checkpoints, bundles and reports carry the scores.
Tested in `tests/tkd/test_evaluate.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

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

    def to_dict(self) -> dict[str, Any]:
        """For JSON: counts, accuracy and interval."""
        return {
            "correct": self.correct,
            "total": self.total,
            "accuracy": round(self.accuracy, 6),
            "interval_95": [round(self.low, 6), round(self.high, 6)],
            "per_class": {label: list(counts) for label, counts in self.per_class.items()},
        }

    def __str__(self) -> str:
        return f"{100 * self.accuracy:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"


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
        with torch.inference_mode():
            batches = [network(part).float().cpu().numpy() for part in torch.split(inputs, batch_size)]
    finally:
        network.train(was_training)
    return np.concatenate(batches)
