"""Whether a teacher knows where to look, asked before it teaches.

A student can only learn the place of the answer from a teacher that has it: attention that is flat, or that rests on
the wrong part of the clip, makes a student worse at the cost of a whole training.
The bounds are ours; a trained teacher is far above them and an untrained one below.
Before this: `tkd.train.attention_cache`. After this: `tkd.train.teaching` refuses.
Tested in `tests/tkd/train/test_inspection.py`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tkd.attention import normalise

_LEAST_FOCUS = 0.1
_LEAST_PEAKS_INSIDE = 0.5
_LEAST_SHARPNESS_NATS = 0.02
_LEAST_TIMES_CHANCE = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What a teacher's attention does on the validation split.

    Attributes:
        clips: number of clips that were looked at: those with a known keyword, where there are any.
        metric: what `value` is.
        value: the teacher's score, in [0, 1].
        chance: the score of a guess.
        sharpness_nats: mean KL of the attention, the first frame left out, from the uniform one; 0 looks everywhere
            alike.
        mass_inside: mean share of the attention inside the keyword; None where no interval is known.
        share_of_time: mean share of the clip that the keyword takes; None likewise.
        peak_inside: share of clips whose largest weight is inside the keyword, or in the frame that its edge cuts;
            None likewise.
    """

    clips: int
    metric: str
    value: float
    chance: float
    sharpness_nats: float
    mass_inside: float | None = None
    share_of_time: float | None = None
    peak_inside: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values by field, for `run.json`."""
        return asdict(self)

    def sentence(self) -> str:
        """What was seen, in words."""
        scored = f"{self.metric.replace('_', ' ')} {100 * self.value:.1f} % (chance {100 * self.chance:.1f} %)"
        if self.mass_inside is None or self.share_of_time is None or self.peak_inside is None:
            return f"{scored}, attention {self.sharpness_nats:.2f} nats from uniform"
        return (
            f"{scored}, {100 * self.mass_inside:.0f} % of its attention inside the keyword, which takes "
            f"{100 * self.share_of_time:.0f} % of the time, peak inside in {100 * self.peak_inside:.0f} % of clips"
        )

    def objection(self) -> str:
        """Why this teacher should not teach; empty for one that should."""
        least = min(_LEAST_TIMES_CHANCE * self.chance, (1.0 + self.chance) / 2)
        if self.value < least:
            return f"it classifies little better than chance: expected at least {least:.1%}"
        if self.mass_inside is None or self.share_of_time is None or self.peak_inside is None:
            if self.sharpness_nats < _LEAST_SHARPNESS_NATS:
                return f"it looks everywhere alike: expected at least {_LEAST_SHARPNESS_NATS:g} nats from uniform"
            return ""
        focus = (self.mass_inside - self.share_of_time) / (1.0 - self.share_of_time)
        if focus < _LEAST_FOCUS:
            return f"it hardly looks at the keyword: expected {_LEAST_FOCUS:.0%} of the attention beyond its fair share"
        if self.peak_inside < _LEAST_PEAKS_INSIDE:
            return (
                f"it seldom looks at the keyword most: expected its peak inside in {_LEAST_PEAKS_INSIDE:.0%} of clips"
            )
        return ""


def inspect(
    attention: Tensor, labels: Tensor, intervals_s: Tensor | None, seconds: float, metric: str, value: float
) -> Inspection:
    """What a teacher's attention does on a split.

    Args:
        attention: shape (clips, frames), rows summing to 1.
        labels: class indices of shape (clips,), or zeros and ones of shape (clips, classes).
        intervals_s: as in `ClipStore`.
        seconds: length of a clip.
        metric: what the teacher was scored by.
        value: its score, in [0, 1].
    """
    chance = float(labels.float().mean() if labels.ndim == 2 else torch.bincount(labels).max() / len(labels))
    # The identity terms of rollout leave weight on frame 0 whatever the teacher has learnt.
    later = normalise(attention[:, 1:]) if attention.shape[1] > 2 else attention
    sharpness = (later * (later * later.shape[1]).log()).sum(dim=1).mean().item()
    found = Inspection(clips=len(attention), metric=metric, value=value, chance=chance, sharpness_nats=sharpness)
    inside = look(attention, intervals_s, seconds)
    if inside is None:
        return found
    return replace(
        found,
        clips=inside.clips,
        mass_inside=inside.mass_inside,
        share_of_time=inside.share_of_time,
        peak_inside=inside.peak_inside,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How attention and keywords meet.

    Attributes:
        clips: number of clips with a keyword whose place is known.
        mass_inside: mean share of the attention inside the keyword.
        share_of_time: mean share of the clip that the keyword takes.
        peak_inside: share of clips whose largest weight is in a frame that the keyword touches.
    """

    clips: int
    mass_inside: float
    share_of_time: float
    peak_inside: float


def look(attention: Tensor, intervals_s: Tensor | None, seconds: float) -> Look | None:
    """How attention of shape (clips, frames) and keywords meet; None where no keyword's place is known.

    Args:
        attention: rows summing to 1.
        intervals_s: as in `ClipStore`. A keyword that takes the whole clip says nothing and is left out.
        seconds: length of a clip.
    """
    if intervals_s is None:
        return None
    lengths = intervals_s[:, 1] - intervals_s[:, 0]
    known = lengths < 0.95 * seconds  # NaN compares as false
    if not known.any():
        return None
    inside = _coverage(intervals_s[known], seconds, attention.shape[1])
    looked = attention[known]
    peaks = inside.gather(1, looked.argmax(dim=1, keepdim=True))
    return Look(
        clips=int(known.sum()),
        mass_inside=(looked * inside).sum(dim=1).mean().item(),
        share_of_time=(lengths[known] / seconds).mean().item(),
        peak_inside=(peaks > 0).double().mean().item(),
    )


def _coverage(intervals_s: Tensor, seconds: float, frames: int) -> Tensor:
    """How much of each frame the keyword covers, in [0, 1]; shape (clips, frames)."""
    edges = torch.linspace(0, seconds, frames + 1, dtype=torch.float64)
    covered = torch.minimum(intervals_s[:, 1:], edges[None, 1:]) - torch.maximum(intervals_s[:, :1], edges[None, :-1])
    return (covered.clamp_min(0.0) * frames / seconds).float()
