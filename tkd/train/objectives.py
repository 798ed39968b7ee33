"""The two things a run optimises: a teacher on labels, a student on labels and on its teacher's attention.

Before this: `tkd.teacher`, `tkd.students`, `tkd.distill`. After this: `tkd.train.fit`.
Tested in `tests/tkd/train/test_objectives.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from tkd.attention import interpolate, shift_frames
from tkd.distill import DistillConfig, QueryAttention, attention_divergence, combine
from tkd.evaluate import Metric, metric_of, predict, value_of
from tkd.students import Student
from tkd.teacher import Teacher
from tkd.train.batches import Batch
from tkd.train.fit import Objective


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A split that is only looked at.

    Attributes:
        inputs: prepared clips, shape (clips, …).
        labels: shape (clips,), or for several labels a clip zeros and ones of shape (clips, classes).
    """

    inputs: Tensor
    labels: Tensor

    @property
    def metric(self) -> Metric:
        """By what the labels are scored."""
        return metric_of(self.labels)

    def value(self, network: nn.Module) -> float:
        """How good `network` is by the metric, in [0, 1]."""
        return value_of(predict(network, self.inputs), self.labels.numpy())


def classification_loss(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """L_cls: cross-entropy, or for several labels a clip binary cross-entropy, averaged over clips and classes.

    Args:
        logits: shape (batch, classes).
        labels: class indices of shape (batch,), or zeros and ones of shape (batch, classes).
        smoothing: probability spread over the wrong classes; with several labels each target moves towards ½ by it.

    Source: Fonseca et al. 2022, arXiv 2010.00475, section V, for the binary form.
    """
    if metric_of(labels) == "accuracy":
        return F.cross_entropy(logits, labels, label_smoothing=smoothing)
    return F.binary_cross_entropy_with_logits(logits, labels * (1.0 - smoothing) + 0.5 * smoothing)


class TeacherObjective(Objective):
    """Classification loss of the classifier on c₁.

    Args:
        teacher: takes waveforms.
        validation: waveforms and labels.
        label_smoothing: see `FitConfig`.
    """

    def __init__(self, teacher: Teacher, validation: Held, label_smoothing: float) -> None:
        self.module = teacher
        self.metric = validation.metric
        self._validation = validation
        self._smoothing = label_smoothing

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """`loss`: in nats."""
        return {"loss": classification_loss(self.module(batch.inputs), batch.labels, self._smoothing)}

    def validate(self) -> float:
        """The teacher on the validation split, by the metric, in [0, 1]."""
        return self._validation.value(self.module)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What a teacher has to say about the training split.

    Attributes:
        attention: shape (clips, frames), rows summing to 1.
        samples: length of a clip, which the frames divide evenly.
    """

    attention: Tensor
    samples: int

    def rows(self, batch: Batch, time: int) -> Tensor:
        """a_T for a batch at the student's resolution, moved as augmentation moved the clips; (batch, time)."""
        frames = batch.shift_samples * (self.attention.shape[1] / self.samples)
        return interpolate(shift_frames(self.attention[batch.index], frames), time)


class StudentObjective(Objective):
    """L_cls and, with a lesson, L_KD; the query is part of what is optimised, not of the student.

    Args:
        student: takes features.
        validation: features and labels.
        label_smoothing: see `FitConfig`.
        lesson: the teacher's attention; None trains without a teacher.
        weight: λ.
        config: the form of the loss.
    """

    def __init__(
        self,
        student: Student,
        validation: Held,
        label_smoothing: float,
        lesson: Lesson | None,
        weight: float,
        config: DistillConfig,
    ) -> None:
        self.student = student
        self.metric = validation.metric
        self._validation = validation
        self._smoothing = label_smoothing
        self._lesson = lesson if weight > 0 else None
        self._weight = weight
        self._config = config
        self._query = QueryAttention(student.context_channels, config.temperature)
        self.module = nn.ModuleDict(
            {"student": student, "query": self._query} if self._lesson else {"student": student}
        )

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """`loss`; with a lesson also its parts, `classification` and `attention_kl_nats`."""
        contexts = self.student.contexts(batch.inputs)
        classification = classification_loss(self.student.head(contexts), batch.labels, self._smoothing)
        if self._lesson is None:
            return {"loss": classification}
        teacher = self._lesson.rows(batch, contexts.shape[1]).to(contexts.device)
        divergence = attention_divergence(teacher, self._query(contexts.float()), self._config.direction)
        total = combine(classification, divergence, self._weight, self._config.combination)
        return {"loss": total, "classification": classification.detach(), "attention_kl_nats": divergence.detach()}

    def validate(self) -> float:
        """The student on the validation split, by the metric, in [0, 1]; the query takes no part in it."""
        return self._validation.value(self.student)

    def student_state(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The student's own weights out of the module's: the query stays behind."""
        prefix = "student."
        return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
