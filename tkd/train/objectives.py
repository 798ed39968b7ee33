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
from tkd.evaluate import predict
from tkd.students import Student
from tkd.teacher import Teacher
from tkd.train.batches import Batch
from tkd.train.fit import Objective


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A split that is only looked at.

    Attributes:
        inputs: prepared clips, shape (clips, …).
        labels: shape (clips,).
    """

    inputs: Tensor
    labels: Tensor

    def accuracy(self, network: nn.Module) -> float:
        """Share of clips that `network` labels correctly, in [0, 1]."""
        return float((predict(network, self.inputs).argmax(axis=1) == self.labels.numpy()).mean())


class TeacherObjective(Objective):
    """Cross-entropy of the classifier on c₁.

    Args:
        teacher: takes waveforms.
        validation: waveforms and labels.
        label_smoothing: see `FitConfig`.
    """

    def __init__(self, teacher: Teacher, validation: Held, label_smoothing: float) -> None:
        self.module = teacher
        self._validation = validation
        self._smoothing = label_smoothing

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """`loss`: cross-entropy in nats."""
        return {"loss": F.cross_entropy(self.module(batch.inputs), batch.labels, label_smoothing=self._smoothing)}

    def validate(self) -> float:
        """The teacher's accuracy on the validation split, in [0, 1]."""
        return self._validation.accuracy(self.module)


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
        classification = F.cross_entropy(self.student.head(contexts), batch.labels, label_smoothing=self._smoothing)
        if self._lesson is None:
            return {"loss": classification}
        teacher = self._lesson.rows(batch, contexts.shape[1])
        divergence = attention_divergence(teacher, self._query(contexts.float()), self._config.direction)
        total = combine(classification, divergence, self._weight, self._config.combination)
        return {"loss": total, "classification": classification.detach(), "attention_kl_nats": divergence.detach()}

    def validate(self) -> float:
        """The student's accuracy on the validation split, in [0, 1]; the query takes no part in it."""
        return self._validation.accuracy(self.student)

    def student_state(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The student's own weights out of the module's: the query stays behind."""
        prefix = "student."
        return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
