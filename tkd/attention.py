"""The temporal knowledge in a transformer's attention, as one distribution over time.

Equations of temporal knowledge distillation (Choi et al. 2022, arXiv 2110.14131) and of attention rollout
(Abnar and Zuidema 2020, arXiv 2005.00928). What the papers leave open is marked "ours".
Before this: `tkd.teacher` gives attention maps. After this: `tkd.distill` compares distributions.
Tested in `tests/tkd/test_attention.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_EPSILON = 1e-6  # keeps every frame reachable, so that no vector is ever empty and no logarithm infinite (ours)


def rollout_first_row(maps: Sequence[Tensor]) -> Tensor:
    """How much each frame flows into the first context vector c₁ through all layers.

    Rollout (arXiv 2005.00928, eq. 1): Ŵ_l = ½·mean_heads(W_l) + ½·I and R = Ŵ_L ··· Ŵ_1.
    Only R's first row is needed, and e₁ᵀ·Ŵ_L ··· Ŵ_1 taken from the left costs one vector a layer.

    Args:
        maps: attention of each layer, first layer first, shape (batch, heads, frames, frames); rows sum to 1.

    Returns:
        Shape (batch, frames), non-negative, each row summing to 1.
    """
    batch, _, frames, _ = maps[0].shape
    row = maps[0].new_zeros(batch, frames)
    row[:, 0] = 1.0
    for layer in reversed(maps):
        row = 0.5 * row + 0.5 * torch.einsum("bi,bij->bj", row, layer.mean(dim=1))
    return row


def layer_first_row(maps: Sequence[Tensor], layer: int) -> Tensor:
    """How much c₁ takes from each frame in one layer, heads averaged; what the identity terms of rollout blur (ours).

    Args:
        maps: as in `rollout_first_row`.
        layer: which; -1 is the last.

    Returns:
        Shape (batch, frames), non-negative, each row summing to 1.
    """
    return maps[layer].mean(dim=1)[:, 0]


def interpolate(attention: Tensor, time: int) -> Tensor:
    """A distribution over `frames` steps resampled to `time` steps and normalised again.

    Linear interpolation is the paper's. A short student can have fewer steps than a peak is wide, and sampling
    would step over it, so shrinking first averages over each step's share of the axis (ours).

    Args:
        attention: shape (batch, frames), non-negative.
        time: steps of the student.

    Returns:
        Shape (batch, time), each row summing to 1, every entry above 0.
    """
    rows = attention[:, None, :]
    if time < attention.shape[1]:
        resampled = F.interpolate(rows, size=time, mode="area")
    else:
        resampled = F.interpolate(rows, size=time, mode="linear", align_corners=False)
    return normalise(resampled[:, 0, :])


def shift_frames(attention: Tensor, frames: Tensor) -> Tensor:
    """Distributions moved later by a fractional number of frames, as the clips under them were.

    Args:
        attention: shape (batch, frames).
        frames: how far each moves, shape (batch,); negative moves earlier.

    Returns:
        Shape (batch, frames), normalised; what moves out is lost, what moves in has the floor only.
    """
    length = attention.shape[1]
    source = torch.arange(length, dtype=attention.dtype)[None, :] - frames[:, None].to(attention.dtype)
    below = source.floor()
    share = source - below
    left, right = below.long(), below.long() + 1

    def at(index: Tensor) -> Tensor:
        inside = (index >= 0) & (index < length)
        return attention.gather(1, index.clamp(0, length - 1)) * inside

    return normalise((1 - share) * at(left) + share * at(right))


def normalise(attention: Tensor) -> Tensor:
    """Rows that sum to 1, with a floor of 1e-6 of their mass under every entry; shape (batch, frames) kept.

    >>> normalise(torch.zeros(1, 4))
    tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """
    floored = attention.clamp_min(0.0) + _EPSILON
    return floored / floored.sum(dim=1, keepdim=True)
