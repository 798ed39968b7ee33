"""Temporal knowledge distillation: a student learns where in time its teacher looks.

Source: Choi et al. 2022, "Temporal Knowledge Distillation for On-device Audio Classification",
arXiv 2110.14131. Published: the student's attention from a learned query that is dropped at inference, KL
divergence, a weighted combination with λ in {0, .1, .25, .5}. Not published, so options here: the direction of
the divergence, the temperature and the form of the combination.
Before this: `tkd.attention`. After this: `tkd.train`.
Tested in `tests/tkd/test_distill.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tkd.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillConfig:
    """The loss of temporal distillation.

    Attributes:
        lambdas: the weights λ to train with, one student each; the best on validation is kept. λ = 0 is a student
            without a teacher.
        direction: `teacher-student` is KL(a_T ‖ a_S), the usual reading (ours); `student-teacher` the other way.
        combination: `convex` is (1-λ)·L_cls + λ·L_KD (ours); `additive` is L_cls + λ·L_KD.
        temperature: divides the scores of the student's query before softmax; 1 leaves them (ours).
    """

    lambdas: tuple[float, ...] = (0.0, 0.25)
    direction: Literal["teacher-student", "student-teacher"] = "teacher-student"
    combination: Literal["convex", "additive"] = "convex"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not self.lambdas or not all(0.0 <= weight <= 1.0 for weight in self.lambdas):
            raise SettingsError(f"distill.lambdas: expected weights in [0, 1], saw {list(self.lambdas)}")
        if self.temperature <= 0:
            raise SettingsError(f"distill.temperature: expected more than 0, saw {self.temperature}")


class QueryAttention(nn.Module):
    """The learned query q that turns a student's contexts into attention: a_S = softmax_t(q·c′_t / temperature).

    It exists in training only and belongs to no checkpoint that is exported.

    Args:
        context_channels: length of a context vector.
        temperature: see `DistillConfig`.
    """

    def __init__(self, context_channels: int, temperature: float) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(context_channels))
        self.temperature = temperature

    def forward(self, contexts: Tensor) -> Tensor:
        """Log-attention, shape (batch, time), of contexts of shape (batch, time, context_channels)."""
        return F.log_softmax(contexts @ self.query / self.temperature, dim=1)


def attention_divergence(teacher: Tensor, log_student: Tensor, direction: str) -> Tensor:
    """L_KD: the mean divergence between two distributions over time, in nats; a scalar.

    Args:
        teacher: a_T, shape (batch, time), rows summing to 1, every entry above 0.
        log_student: ln a_S, shape (batch, time).
        direction: see `DistillConfig`.
    """
    if direction == "teacher-student":
        return F.kl_div(log_student, teacher, reduction="batchmean")
    return F.kl_div(teacher.log(), log_student, reduction="batchmean", log_target=True)


def combine(classification: Tensor, divergence: Tensor, weight: float, combination: str) -> Tensor:
    """The total loss of one student: L_cls and L_KD weighted by λ; a scalar.

    >>> combine(torch.tensor(2.0), torch.tensor(1.0), 0.25, "convex")
    tensor(1.7500)
    """
    if combination == "convex":
        return (1.0 - weight) * classification + weight * divergence
    return classification + weight * divergence
