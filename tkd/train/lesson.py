"""What a student is led by, clip by clip: the teacher's attention, or a control in its place.

    teacher, shuffled, logits ◄── Knowledge (tkd.train.attention_cache)
    span                      ◄── the keyword's interval of each clip
    uniform                   ◄── nothing

Before this: `tkd.train.teaching`. After this: `tkd.train.objectives` compares a student with it.
Tested in `tests/tkd/train/test_lesson.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tkd.attention import interpolate, normalise, shift_frames
from tkd.distill import Guide
from tkd.errors import SettingsError
from tkd.train.batches import Batch, ClipStore, mix_seeds

_SPAN_FRAME_MS = 10  # resolution of a true interval, finer than any student's


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """All that a teacher has to say about a split.

    Attributes:
        attention: shape (clips, frames), rows summing to 1.
        logits: shape (clips, classes).
    """

    attention: Tensor
    logits: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What one student learns about the training split beside its labels.

    Attributes:
        attention: where to look, shape (clips, frames), rows summing to 1; None where only logits lead.
        logits: the teacher's, shape (clips, classes); None where they take no part.
        samples: length of a clip, which the frames divide evenly.
    """

    attention: Tensor | None
    logits: Tensor | None
    samples: int

    def rows(self, batch: Batch, time: int) -> Tensor:
        """a_T for a batch at the student's resolution, moved as augmentation moved the clips; (batch, time)."""
        assert self.attention is not None, "a lesson without attention was asked for it"
        frames = batch.shift_samples * (self.attention.shape[1] / self.samples)
        return interpolate(shift_frames(self.attention[batch.index], frames), time)


def make_lesson(guide: Guide, knowledge: Knowledge | None, store: ClipStore, seed: int, *, adds_logits: bool) -> Lesson:
    """The lesson of one guide.

    Args:
        guide: what leads.
        knowledge: the teacher's; None in a run without one.
        store: the training split.
        seed: of the shuffle.
        adds_logits: whether the teacher's logits take part beside attention.

    Raises:
        SettingsError: `span` is asked for, and nobody knows where the keywords of this data set are.
    """
    logits = knowledge.logits if knowledge is not None and (adds_logits or guide == "logits") else None
    return Lesson(attention=_attention(guide, knowledge, store, seed), logits=logits, samples=store.waveforms.shape[1])


def span_attention(intervals_s: Tensor, samples: int, sample_rate_hz: int) -> Tensor:
    """The same weight on every moment of a keyword and none elsewhere; uniform for a clip without one.

    Args:
        intervals_s: start and end of the keyword, seconds, shape (clips, 2); NaN where there is none.
        samples: length of a clip.
        sample_rate_hz: of the clips.

    Returns:
        Shape (clips, frames of 10 ms), rows summing to 1; a frame that is covered in part counts in part.
    """
    frames = max(1, round(1000 * samples / sample_rate_hz / _SPAN_FRAME_MS))
    edges = torch.arange(frames + 1, dtype=torch.float64) * (samples / sample_rate_hz / frames)
    start, end = intervals_s[:, :1], intervals_s[:, 1:]
    covered = (torch.minimum(end, edges[None, 1:]) - torch.maximum(start, edges[None, :-1])).clamp_min(0.0)
    covered = torch.where(torch.isnan(start), torch.ones_like(covered), covered)
    return normalise((covered / covered.sum(dim=1, keepdim=True).clamp_min(1e-12)).float())


def _attention(guide: Guide, knowledge: Knowledge | None, store: ClipStore, seed: int) -> Tensor | None:
    match guide:
        case "logits":
            return None
        case "uniform":
            return torch.ones(len(store), 1)
        case "span":
            if store.intervals_s is None:
                raise SettingsError(
                    "the guide 'span' wants the true interval of each keyword, and this data set has none; "
                    "tkd-data noisy makes one that has (intervals.csv)"
                )
            return span_attention(store.intervals_s, store.waveforms.shape[1], store.sample_rate_hz)
        case "teacher" | "shuffled":
            assert knowledge is not None, f"the guide {guide} needs a teacher, and the settings say so"
            if guide == "teacher":
                return knowledge.attention
            return knowledge.attention[_derangement(len(store), seed)]


def _derangement(clips: int, seed: int) -> Tensor:
    """A permutation in which no clip keeps its place (unless it is alone), shape (clips,)."""
    order = torch.randperm(clips, generator=torch.Generator().manual_seed(mix_seeds(seed, 30)))
    return order[(torch.argsort(order) + 1) % clips]  # each clip takes the one that follows it in a random circle
