"""Temporal knowledge distillation: a student learns where in time its teacher looks.

Source: Choi et al. 2022, "Temporal Knowledge Distillation for On-device Audio Classification",
arXiv 2110.14131. Published: the student's attention from a learned query that is dropped at inference, KL
divergence, a weighted combination with λ in {0, .1, .25, .5}. Not published, so options here: the direction of
the divergence, the temperature, the form of the combination, and what a student with an attention of its own matches.
Ours altogether: the controls, and the distillation of logits (Hinton et al. 2015, arXiv 1503.02531) as a rival.
Before this: `tkd.attention`. After this: `tkd.train.lesson` says what is matched, `tkd.train.objectives` matches it.
Tested in `tests/tkd/test_distill.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tkd.errors import SettingsError

Guide = Literal["teacher", "uniform", "shuffled", "span", "logits"]
"""What a student is led by.

    teacher    the teacher's attention: temporal knowledge distillation
    uniform    the same weight on every moment: does any second loss help?
    shuffled   the teacher's attention of another clip: does the shape of attention help without its place?
    span       the true interval of the keyword: what would a perfect teacher of time give?
    logits     the teacher's logits: classical distillation, the rival
"""

GUIDES: tuple[Guide, ...] = get_args(Guide)


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillConfig:
    """The loss of temporal distillation, and what it is compared with.

    Attributes:
        lambdas: the weights λ to train with, one student each; the best on validation is kept. λ = 0 is a student
            without a teacher.
        guide: what those students are led by.
        controls: other guides; each trains one more student for every λ above 0. They are reported beside the
            others and never chosen.
        direction: `teacher-student` is KL(a_T ‖ a_S), the usual reading (ours); `student-teacher` the other way.
        combination: `convex` is (1-λ)·L_cls + λ·L_KD (ours); `additive` is L_cls + λ·L_KD.
        temperature: divides the scores of the student's query before softmax; 1 leaves them (ours).
        student_attention: `own` matches the attention that a student has by itself (Att-RNN, MHAtt-RNN), `query` that
            of a learned query; `auto` is the own one where there is one (ours).
        aggregation: the teacher's layers as one distribution: `rollout` through all of them, or one `layer` as it is.
        layer: which, for `layer`; -1 is the last.
        logit_weight: of the distillation of logits, added to the loss of every student led by attention; 0 leaves it
            out.
        logit_temperature: divides teacher's and student's logits in it.
        accept_any_teacher: lets a teacher teach that does not know where to look; see `tkd.train.inspection`.

    Raises:
        SettingsError: a value is out of its range, or a control is the guide itself.
    """

    lambdas: tuple[float, ...] = (0.0, 0.25)
    guide: Guide = "teacher"
    controls: tuple[Guide, ...] = ()
    direction: Literal["teacher-student", "student-teacher"] = "teacher-student"
    combination: Literal["convex", "additive"] = "convex"
    temperature: float = 1.0
    student_attention: Literal["auto", "own", "query"] = "auto"
    aggregation: Literal["rollout", "layer"] = "rollout"
    layer: int = -1
    logit_weight: float = 0.0
    logit_temperature: float = 2.0
    accept_any_teacher: bool = False

    def __post_init__(self) -> None:
        if not self.lambdas or not all(0.0 <= weight <= 1.0 for weight in self.lambdas):
            raise SettingsError(f"distill.lambdas: expected weights in [0, 1], saw {list(self.lambdas)}")
        if len({f"{weight:g}" for weight in self.lambdas}) < len(self.lambdas):
            raise SettingsError(f"distill.lambdas: expected each once, to six digits, saw {list(self.lambdas)}")
        for name in ("temperature", "logit_temperature"):
            if not getattr(self, name) > 0:
                raise SettingsError(f"distill.{name}: expected more than 0, saw {getattr(self, name)}")
        if not self.logit_weight >= 0:
            raise SettingsError(f"distill.logit_weight: expected 0 or more, saw {self.logit_weight}")
        self._check_controls()

    def _check_controls(self) -> None:
        for control in self.controls:
            if control == self.guide:
                raise SettingsError(f"distill.controls: {control} is the guide already; leave it out")
            if self.controls.count(control) > 1:
                raise SettingsError(f"distill.controls: {control} is there twice; leave one out")
        if self.controls and not self.positive_lambdas:
            raise SettingsError("distill.controls: they need a λ above 0; add one to distill.lambdas")

    @property
    def positive_lambdas(self) -> tuple[float, ...]:
        """The weights of students that are led at all."""
        return tuple(weight for weight in self.lambdas if weight > 0)

    @property
    def guides(self) -> tuple[Guide, ...]:
        """Everything that leads a student of the run, the guide first; empty where none is led."""
        return (self.guide, *self.controls) if self.positive_lambdas else ()

    @property
    def needs_teacher(self) -> bool:
        """Whether a guide comes from a teacher."""
        taught = {"teacher", "shuffled", "logits"}
        return bool(taught & set(self.guides)) or (self.logit_weight > 0 and bool(self.guides))


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


def logit_divergence(teacher: Tensor, student: Tensor, temperature: float, *, is_multi_label: bool) -> Tensor:
    """T²·KL(softmax(z_T/T) ‖ softmax(z_S/T)), in nats; for several labels a clip of each class, averaged; a scalar.

    Args:
        teacher: z_T, shape (batch, classes).
        student: z_S, shape (batch, classes).
        temperature: T.
        is_multi_label: each class is a yes or no of its own.

    Source: Hinton et al. 2015, arXiv 1503.02531, section 2: T² keeps the gradient's size.
    """
    if not is_multi_label:
        divergence = F.kl_div(
            F.log_softmax(student / temperature, dim=1),
            F.log_softmax(teacher / temperature, dim=1),
            reduction="batchmean",
            log_target=True,
        )
        return temperature**2 * divergence
    target = torch.sigmoid(teacher / temperature)
    entropy = F.binary_cross_entropy(target, target)
    return temperature**2 * (F.binary_cross_entropy_with_logits(student / temperature, target) - entropy)


def combine(classification: Tensor, divergence: Tensor, weight: float, combination: str) -> Tensor:
    """The total loss of one student: L_cls and L_KD weighted by λ; a scalar.

    >>> combine(torch.tensor(2.0), torch.tensor(1.0), 0.25, "convex")
    tensor(1.7500)
    """
    if combination == "convex":
        return (1.0 - weight) * classification + weight * divergence
    return classification + weight * divergence
