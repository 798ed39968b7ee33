"""TC-ResNet: temporal convolutions over MFCC, the coefficients as channels.

Source: Choi et al. 2019, "Temporal Convolution for Real-time Keyword Spotting on Mobile Devices",
arXiv 1904.03814, figure 2 and section 2.2; and the larger form with biases of Rybakov et al. 2020,
"Streaming Keyword Spotting on Mobile Devices", arXiv 2005.06720.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tkd.students.causal import CausalConv1d
from tkd.students.student import StreamRule, Student
from tkd.students.tensorflow_layers import TF_EPSILON, SameConv1d, initialise_glorot

_BN_MOMENTUM = 0.003  # the paper's decay .997, in PyTorch's convention


class _ConvNorm(nn.Sequential):
    def __init__(self, channels_in: int, channels_out: int, kernel_size: int, stride: int, plan: TcResNetPlan) -> None:
        convolution = CausalConv1d if plan.is_causal else SameConv1d
        super().__init__(
            convolution(channels_in, channels_out, kernel_size, stride=stride, bias=plan.has_bias),
            nn.BatchNorm1d(channels_out, eps=TF_EPSILON, momentum=_BN_MOMENTUM),
        )


class _ResidualBlock(nn.Module):
    """Two 9-tap convolutions beside a shortcut.

    x ──conv 9 /stride─BN─ReLU──conv 9─BN──┐
    └───[conv 1 /stride─BN─ReLU]───────────+──ReLU──►      the bracket only where the stride is 2
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int, plan: TcResNetPlan) -> None:
        super().__init__()
        self.first = _ConvNorm(channels_in, channels_out, 9, stride, plan)
        self.second = _ConvNorm(channels_out, channels_out, 9, 1, plan)
        changes_shape = stride != 1 or channels_in != channels_out
        self.shortcut = _ConvNorm(channels_in, channels_out, 1, stride, plan) if changes_shape else None

    def forward(self, x: Tensor) -> Tensor:
        skip = x if self.shortcut is None else F.relu(self.shortcut(x))
        return F.relu(self.second(F.relu(self.first(x))) + skip)


@dataclass(frozen=True, slots=True, kw_only=True)
class TcResNetPlan:
    """What tells one TC-ResNet from another.

    Attributes:
        stem: channels of the first, 3-tap convolution.
        blocks: channels of each residual block; the stride is 2 where they change and 1 where they stay.
        dropout: share of pooled values dropped in training.
        has_bias: whether convolutions and classifier have biases.
        is_causal: whether convolutions see past frames alone, so that the network can stream; the papers' do not.
    """

    stem: int
    blocks: tuple[int, ...]
    dropout: float = 0.5
    has_bias: bool = False
    is_causal: bool = False


class TcResNet(Student):
    """TC-ResNet of any plan; the head pools over time.

    Args:
        channels_in: channels of a feature frame (40 MFCC in the papers).
        classes: number of labels.
        plan: the network's shape.
    """

    def __init__(self, channels_in: int, classes: int, plan: TcResNetPlan) -> None:
        super().__init__()
        self.plan = plan
        self.stem = _ConvNorm(channels_in, plan.stem, 3, 1, plan)
        self.blocks = nn.Sequential(
            *(
                _ResidualBlock(before, channels, 1 if channels == before else 2, plan)
                for before, channels in itertools.pairwise((plan.stem, *plan.blocks))
            )
        )
        self.context_channels = plan.blocks[-1]
        self.dropout = nn.Dropout(plan.dropout)
        self.classifier = nn.Linear(plan.blocks[-1], classes, bias=plan.has_bias)
        initialise_glorot(self)

    def contexts(self, features: Tensor) -> Tensor:
        """The map before global average pooling.

        Time is halved by each block of stride 2, rounding up, or down in a causal network.
        """
        maps: Tensor = self.blocks(F.relu(self.stem(features.transpose(1, 2))))
        return maps.transpose(1, 2)

    def absorb_input_scale(self, scale: Tensor) -> bool:
        """Multiplies the first convolution's weights: zeros of its padding stay zeros."""
        with torch.no_grad():
            self.stem[0].weight.mul_(scale[None, :, None])  # type: ignore[operator]
        return True

    def stream_rule(self) -> StreamRule | None:
        """Each change of channels is a stride of two frames."""
        strides = sum(after != before for before, after in itertools.pairwise((self.plan.stem, *self.plan.blocks)))
        return StreamRule(frames_per_context=2**strides, pools=True) if self.plan.is_causal else None

    def head(self, contexts: Tensor) -> Tensor:
        """Logits of the contexts' mean over time."""
        logits: Tensor = self.classifier(self.dropout(contexts.mean(dim=1)))
        return logits
