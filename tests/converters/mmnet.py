"""An encoder and decoder for images, with dilated depthwise convolutions, ReLU6, bilinear enlargement and skips.

After MMNet (Seo et al. 2019, arXiv 1904.03816), at width 1.0 and without its auxiliary head: 190,490 parameters.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PARAMETERS = 190_490


def conv(channels_in: int, channels: int, kernel: int = 1, *, stride: int = 1, dilation: int = 1, depthwise=False):
    """A convolution with batch normalisation and ReLU6."""
    groups = channels_in if depthwise else 1
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, kernel, stride, padding, dilation, groups, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU6(),
    )


class Block(nn.Module):
    """Branches of one dilation each, joined and brought down to few channels without an activation."""

    def __init__(self, channels_in: int, expanded: int, channels: int, rates: tuple[int, ...], stride: int = 1) -> None:
        super().__init__()
        self.branches = nn.ModuleList()
        for rate in rates:
            layers = [conv(channels_in, expanded)]
            if stride == 2:
                layers.append(conv(expanded, expanded, 3, stride=2, depthwise=True))
            layers.append(conv(expanded, expanded, 3, dilation=rate, depthwise=True))
            self.branches.append(nn.Sequential(*layers))
        self.joined = nn.Sequential(nn.Conv2d(expanded * len(rates), channels, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.joined(torch.cat([branch(x) for branch in self.branches], dim=1))


class MmNet(nn.Module):
    """Shapes: (1, 3, side, side) to (1, 2, side, side), the sides multiples of 16."""

    def __init__(self) -> None:
        super().__init__()
        few, some, many = (1, 2), (1, 2, 4), (1, 2, 4, 8)
        self.first = conv(3, 32, 3, stride=2)
        self.quarter = Block(32, 16, 16, many, 2)
        self.quarter_rest = nn.Sequential(Block(16, 16, 24, many), Block(24, 24, 24, many), Block(24, 24, 24, many))
        self.eighth = Block(24, 32, 40, some, 2)
        self.eighth_rest = nn.Sequential(*(Block(40, 64, 40, some) for _ in range(3)))
        self.sixteenth = nn.Sequential(Block(40, 80, 80, few, 2), Block(80, 120, 80, few), nn.ReLU6())
        self.up_eighth, self.skip_eighth = conv(80, 64), self._skip(40, 64)
        self.up_quarter, self.skip_quarter = conv(128, 40), self._skip(16, 40)
        self.decoder = nn.Sequential(Block(80, 40, 40, some), Block(40, 40, 40, some), conv(40, 16))
        self.classifier = nn.Conv2d(16, 2, 1)

    @staticmethod
    def _skip(channels_in: int, channels: int) -> nn.Module:
        return nn.Sequential(conv(channels_in, channels_in, 3, depthwise=True), conv(channels_in, channels))

    def forward(self, image: Tensor) -> Tensor:
        quarter = self.quarter(self.first(image))
        eighth = self.eighth(self.quarter_rest(quarter))
        deep = self.sixteenth(self.eighth_rest(eighth))
        x = torch.cat([enlarged(self.up_eighth(deep)), self.skip_eighth(eighth)], dim=1)
        x = torch.cat([enlarged(self.up_quarter(x)), self.skip_quarter(quarter)], dim=1)
        return torch.softmax(self.classifier(enlarged(enlarged(self.decoder(x)))), dim=1)


def enlarged(x: Tensor) -> Tensor:
    """Twice as high and wide, bilinear."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
