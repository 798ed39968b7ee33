"""The two things a run optimises: a teacher on labels, a student on labels and on its teacher's attention.

Before this: `tkd.teacher`, `tkd.students`, `tkd.distill`. After this: `tkd.train.fit`.
Tested in `tests/tkd/train/test_objectives.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from tkd.distill import DistillConfig, QueryAttention, attention_divergence, combine, logit_divergence
from tkd.errors import SettingsError
from tkd.evaluate import Metric, metric_of, predict, value_of
from tkd.students import AttentiveStudent, Student
from tkd.teacher import Teacher
from tkd.train.batches import Batch
from tkd.train.fit import Objective
from tkd.train.lesson import Lesson

_SMALLEST = 1e-12  # of an attention whose logarithm is taken


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


def on_pcm(network: nn.Module) -> nn.Module:
    """A network of waveforms in [-1, 1] that takes them as int16, so that a split need not be in memory as a whole."""
    return nn.Sequential(_FromPcm(), network)


class _FromPcm(nn.Module):
    def forward(self, waveforms: Tensor) -> Tensor:
        return waveforms.float() / 32768.0


def student_query(student: Student, config: DistillConfig) -> QueryAttention | None:
    """The query that reads a student's attention from its contexts; None for one whose own attention is matched.

    Raises:
        SettingsError: the settings ask for the student's own attention, and it has none.
    """
    is_attentive = isinstance(student, AttentiveStudent)
    if config.student_attention == "own" and not is_attentive:
        raise SettingsError(
            "distill.student_attention: 'own' is for students that attend by themselves (att-rnn, mhatt-rnn); "
            "take 'query' or 'auto'"
        )
    if config.student_attention == "query" or not is_attentive:
        return QueryAttention(student.context_channels, config.temperature)
    return None


def log_student_attention(student: Student, query: QueryAttention | None, contexts: Tensor) -> Tensor:
    """Ln a_S, shape (batch, time), by the query, or without one by the student itself.

    Args:
        student: whose contexts they are.
        query: see `student_query`.
        contexts: shape (batch, time, context_channels).
    """
    if query is not None:
        log_attention: Tensor = query(contexts)
        return log_attention
    assert isinstance(student, AttentiveStudent), "a student without attention and without a query"
    return student.own_attention(contexts).clamp_min(_SMALLEST).log()


class TeacherObjective(Objective):
    """Classification loss of the classifier on c₁.

    Args:
        teacher: takes waveforms.
        validation: int16 waveforms and labels.
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
        return self._validation.value(on_pcm(self.module))


class StudentObjective(Objective):
    """L_cls and, with a lesson, L_KD; the query is part of what is optimised, not of the student.

    Args:
        student: takes features.
        validation: features and labels.
        label_smoothing: see `FitConfig`.
        lesson: what leads it; None trains without.
        weight: λ.
        config: the form of the loss.

    Raises:
        SettingsError: the settings ask for the student's own attention, and it has none.
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
        self._query = student_query(student, config)
        self.module = nn.ModuleDict({"student": student})
        if self._query is not None and self._lesson is not None and self._lesson.attention is not None:
            self.module["query"] = self._query

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """`loss`; with a lesson also its parts: `classification`, `attention_kl_nats`, `logit_kl_nats`."""
        contexts = self.student.contexts(batch.inputs)
        logits = self.student.head(contexts)
        classification = classification_loss(logits, batch.labels, self._smoothing)
        if self._lesson is None:
            return {"loss": classification}
        parts = {"classification": classification.detach()}
        from_logits = self._logit_divergence(batch, logits)
        if from_logits is not None:
            parts["logit_kl_nats"] = from_logits.detach()
        if self._lesson.attention is None:
            assert from_logits is not None, "a lesson of nothing"
            return {"loss": combine(classification, from_logits, self._weight, self._config.combination), **parts}
        teacher = self._lesson.rows(batch, contexts.shape[1]).to(contexts.device)
        divergence = attention_divergence(teacher, self._log_attention(contexts.float()), self._config.direction)
        total = combine(classification, divergence, self._weight, self._config.combination)
        if from_logits is not None:
            total = total + self._config.logit_weight * from_logits
        return {"loss": total, **parts, "attention_kl_nats": divergence.detach()}

    def _log_attention(self, contexts: Tensor) -> Tensor:
        return log_student_attention(self.student, self._query, contexts)

    def _logit_divergence(self, batch: Batch, logits: Tensor) -> Tensor | None:
        if self._lesson is None or self._lesson.logits is None:
            return None
        return logit_divergence(
            self._lesson.logits[batch.index].to(logits.device),
            logits.float(),
            self._config.logit_temperature,
            is_multi_label=batch.labels.ndim == 2,
        )

    def validate(self) -> float:
        """The student on the validation split, by the metric, in [0, 1]; the query takes no part in it."""
        return self._validation.value(self.student)

    def student_state(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The student's own weights out of the module's: the query stays behind."""
        prefix = "student."
        return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
