"""Where a student looks, asked of any student in the same way, distilled or not.

A student without a teacher has no query, and a distilled one has lost it: so that both can be compared, a query is
fitted to the contexts of each finished student, whose weights stay as they are, on a few hundred training clips.
What it cannot reach is not in the contexts. A student with attention of its own is asked for that.
Ours: the paper (arXiv 2110.14131) shows attention of distilled students and does not say how that of others is read.
Before this: a trained student. After this: `run.json` has the numbers, `tkd.train.pictures` draws.
Tested in `tests/tkd/train/test_probing.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tkd.attention import interpolate
from tkd.distill import DistillConfig, QueryAttention, attention_divergence
from tkd.students import Student
from tkd.train.inspection import look
from tkd.train.objectives import log_student_attention, student_query

_ITERATIONS = 40
_BATCH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Clips and what their teacher looks at.

    Attributes:
        features: shape (clips, frames, channels).
        attention: the teacher's, shape (clips, teacher frames), rows summing to 1.
    """

    features: Tensor
    attention: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Where a student looks in held-out clips.

    Attributes:
        attention: shape (clips, time), rows summing to 1.
        kl_nats: mean KL(a_T ‖ a_S).
        mass_inside: mean share of its attention inside the keyword; None where no interval is known.
        peak_inside: share of clips whose largest weight is inside the keyword; None likewise.
    """

    attention: Tensor
    kl_nats: float
    mass_inside: float | None
    peak_inside: float | None

    def to_dict(self) -> dict[str, Any]:
        """The numbers, for a checkpoint's scores."""
        return {"kl_nats": self.kl_nats, "mass_inside": self.mass_inside, "peak_inside": self.peak_inside}


def probe(
    student: Student,
    fitted_on: Seen,
    held: Seen,
    intervals_s: Tensor | None,
    seconds: float,
    config: DistillConfig,
) -> Probe:
    """Where a student looks in held-out clips.

    Args:
        student: trained; its weights are not changed.
        fitted_on: training clips, for the query; not used where the student's own attention is asked for.
        held: the clips that are looked at.
        intervals_s: of the held clips, as in `ClipStore`.
        seconds: length of a clip.
        config: says which attention of the student is meant.
    """
    was_training = student.training
    student.eval()
    try:
        query = student_query(student, config)
        if query is not None:
            _fit(
                query.to(next(student.parameters()).device), _contexts(student, fitted_on.features), fitted_on.attention
            )
        with torch.no_grad():
            log_attention = log_student_attention(student, query, _contexts(student, held.features)).cpu()
    finally:
        student.train(was_training)
    teacher = interpolate(held.attention, log_attention.shape[1])
    found = look(log_attention.exp(), intervals_s, seconds)
    return Probe(
        attention=log_attention.exp(),
        kl_nats=attention_divergence(teacher, log_attention, "teacher-student").item(),
        mass_inside=found.mass_inside if found else None,
        peak_inside=found.peak_inside if found else None,
    )


def _contexts(student: Student, features: Tensor) -> Tensor:
    device = next(student.parameters()).device
    with torch.no_grad():
        parts = (features[first : first + _BATCH].to(device) for first in range(0, len(features), _BATCH))
        return torch.cat([student.contexts(part).float() for part in parts])


def _fit(query: QueryAttention, contexts: Tensor, attention: Tensor) -> None:
    """The best query for these contexts: KL of a softmax of a linear score is convex in the query."""
    target = interpolate(attention, contexts.shape[1]).to(contexts.device)
    optimiser = torch.optim.LBFGS(query.parameters(), max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = attention_divergence(target, query(contexts), "teacher-student")
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
