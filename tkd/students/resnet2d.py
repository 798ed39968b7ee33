"""2D-ResNet8: TC-ResNet8's layout with 3x3 convolutions over time and frequency, as its authors compare it.

Source: Choi et al. 2019, arXiv 1904.03814, section 3.3 and table 1.
"""

from __future__ import annotations

import itertools

import torch.nn.functional as F
from torch import Tensor, nn

from tkd.students.student import Student
from tkd.students.tensorflow_layers import TF_EPSILON, SameConv2d, initialise_glorot

_BN_MOMENTUM = 0.003  # the paper's decay .997, in PyTorch's convention
_STEM = 16
_BLOCKS = (24, 32, 48)


class _ConvNorm(nn.Sequential):
    def __init__(self, channels_in: int, channels_out: int, kernel_size: int, stride: int) -> None:
        super().__init__(
            SameConv2d(channels_in, channels_out, kernel_size, stride=stride, bias=False),
            nn.BatchNorm2d(channels_out, eps=TF_EPSILON, momentum=_BN_MOMENTUM),
        )


class _ResidualBlock(nn.Module):
    """Two 3x3 convolutions, the first with stride 2, beside a 1x1 convolution with stride 2."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.first = _ConvNorm(channels_in, channels_out, 3, 2)
        self.second = _ConvNorm(channels_out, channels_out, 3, 1)
        self.shortcut = _ConvNorm(channels_in, channels_out, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(F.relu(self.first(x))) + F.relu(self.shortcut(x)))


class ResNet2d8(Student):
    """2D-ResNet8; the head pools over time and has no bias.

    Args:
        channels_in: channels of a feature frame (40 MFCC in the paper), here an axis that is convolved over.
        classes: number of labels.
        pool: side and stride of the average pooling after the first convolution; 1 pools nothing.
    """

    def __init__(self, channels_in: int, classes: int, *, pool: int) -> None:
        super().__init__()
        stem = _stem_channels(channels_in)
        self.stem = _ConvNorm(1, stem, 3, 1)
        self.pool = nn.AvgPool2d(pool) if pool > 1 else nn.Identity()
        self.blocks = nn.Sequential(
            *(_ResidualBlock(before, channels) for before, channels in itertools.pairwise((stem, *_BLOCKS)))
        )
        self.context_channels = _BLOCKS[-1]
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Linear(_BLOCKS[-1], classes, bias=False)
        initialise_glorot(self)

    def contexts(self, features: Tensor) -> Tensor:
        """The map before global average pooling, averaged over frequency; time is an eighth of the stem's."""
        maps: Tensor = self.blocks(self.pool(F.relu(self.stem(features[:, None]))))
        return maps.mean(dim=3).transpose(1, 2)

    def head(self, contexts: Tensor) -> Tensor:
        """Logits of the contexts' mean over time."""
        logits: Tensor = self.classifier(self.dropout(contexts.mean(dim=1)))
        return logits


def _stem_channels(channels_in: int) -> int:
    """Channels of the stem that give the network the parameters of a TC-ResNet8; the published code's formula.

    >>> _stem_channels(40)
    23
    """
    first, second = _STEM, _BLOCKS[0]
    return (3 * channels_in * first + 10 * first * second) // (9 + 10 * second)
