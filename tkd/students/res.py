"""Res8 and Res15: the residual baselines of TC-ResNet's table.

Source: Tang and Lin 2018, "Deep Residual Learning for Small-Footprint Keyword Spotting", arXiv 1710.10361, figure 1,
in the form of TC-ResNet's published code (arXiv 1904.03814), whose latencies they stand beside.
That form pools with stride 1, Tang and Lin's with the pool's own size; hence 795 M operations in one paper's table
for Res8 and 30 M multiplications in the other's.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tkd.students.student import Student
from tkd.students.tensorflow_layers import TF_EPSILON, SameConv2d, initialise_glorot

_BN_MOMENTUM = 0.003  # the published code's decay .997, in PyTorch's convention
_LAYERS_PER_DILATION = 3


class Res(Student):
    """A stack of 3x3 convolutions with a shortcut around every two; the head pools and has no bias.

    x ─conv─ReLU─[pool]──┬─conv─ReLU─BN─conv─ReLU─┬─+─BN─► … ─[conv─ReLU─BN]─► mean ─► logits
                         └────────────────────────┘

    Args:
        channels_in: channels of a feature frame, here an axis that is convolved over.
        classes: number of labels.
        channels: of every layer.
        layers: convolutions after the first; an odd last one stands outside any shortcut.
        pool: (time, frequency) of the average pooling after the first convolution, stride 1; (1, 1) pools nothing.
        is_dilated: whether layer i has the dilation 2^⌊i/3⌋.
    """

    def __init__(
        self, channels_in: int, classes: int, *, channels: int, layers: int, pool: tuple[int, int], is_dilated: bool
    ) -> None:
        super().__init__()
        del channels_in  # a convolution over frequency fits any number of them
        self.stem = SameConv2d(1, channels, 3, bias=False)
        self.pool = nn.Identity() if pool == (1, 1) else nn.AvgPool2d(pool, stride=1)
        self.convolutions = nn.ModuleList(
            SameConv2d(
                channels, channels, 3, dilation=2 ** (index // _LAYERS_PER_DILATION) if is_dilated else 1, bias=False
            )
            for index in range(layers)
        )
        self.norms = nn.ModuleList(
            nn.BatchNorm2d(channels, eps=TF_EPSILON, momentum=_BN_MOMENTUM, affine=False) for _ in range(layers)
        )
        self.context_channels = channels
        self.classifier = nn.Linear(channels, classes, bias=False)
        initialise_glorot(self)

    def contexts(self, features: Tensor) -> Tensor:
        """The map before global average pooling, averaged over frequency."""
        maps: Tensor = self.pool(F.relu(self.stem(features[:, None])))
        shortcut = maps
        for index, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            maps = F.relu(convolution(maps))
            is_second = index % 2 == 1
            maps = norm(maps + shortcut if is_second else maps)
            shortcut = maps if is_second else shortcut
        return maps.mean(dim=3).transpose(1, 2)

    def head(self, contexts: Tensor) -> Tensor:
        """Logits of the contexts' mean over time."""
        logits: Tensor = self.classifier(contexts.mean(dim=1))
        return logits
