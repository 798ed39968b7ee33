"""TC-ResNet: temporal convolutions over MFCC, the coefficients as channels.

Source: Choi et al. 2019, "Temporal Convolution for Real-time Keyword Spotting on Mobile Devices",
arXiv 1904.03814, figure 2 and section 2.2.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tkd.students.student import Student

_BN_MOMENTUM = 0.003  # the paper's decay .997, in PyTorch's convention
_BN_EPSILON = 1e-3  # TensorFlow slim's default, which the published code leaves as it is


class SameConv1d(nn.Conv1d):
    """A convolution over time with TensorFlow's SAME padding, which is asymmetric where a stride meets an even rest.

    Shapes: (batch, in_channels, time) to (batch, out_channels, ceil(time / stride)).
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the parent's name
        """The convolution of `input`; see the class for shapes."""
        before, after = same_padding(input.shape[-1], self.kernel_size[0], self.stride[0])
        return super().forward(F.pad(input, (before, after)) if before or after else input)


def same_padding(time: int, kernel_size: int, stride: int) -> tuple[int, int]:
    """Zeros before and after a sequence of `time` steps so that ceil(time / stride) steps come out.

    >>> same_padding(98, 9, 2), same_padding(49, 9, 2)
    ((3, 4), (4, 4))
    """
    total = max((-(-time // stride) - 1) * stride + kernel_size - time, 0)
    return total // 2, total - total // 2


class _ConvNorm(nn.Sequential):
    def __init__(self, channels_in: int, channels_out: int, kernel_size: int, stride: int) -> None:
        super().__init__(
            SameConv1d(channels_in, channels_out, kernel_size, stride=stride, bias=False),
            nn.BatchNorm1d(channels_out, eps=_BN_EPSILON, momentum=_BN_MOMENTUM),
        )


class _ResidualBlock(nn.Module):
    """Two 9-tap convolutions beside a shortcut.

    x ──conv 9 /stride─BN─ReLU──conv 9─BN──┐
    └───[conv 1 /stride─BN─ReLU]───────────+──ReLU──►      the bracket only where the stride is 2
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.first = _ConvNorm(channels_in, channels_out, 9, stride)
        self.second = _ConvNorm(channels_out, channels_out, 9, 1)
        changes_shape = stride != 1 or channels_in != channels_out
        self.shortcut = _ConvNorm(channels_in, channels_out, 1, stride) if changes_shape else None

    def forward(self, x: Tensor) -> Tensor:
        skip = x if self.shortcut is None else F.relu(self.shortcut(x))
        return F.relu(self.second(F.relu(self.first(x))) + skip)


class TcResNet(Student):
    """TC-ResNet with any list of residual blocks; the head pools over time and has no bias.

    Args:
        channels_in: channels of a feature frame (40 MFCC in the paper).
        classes: number of labels.
        stem: channels of the first, 3-tap convolution.
        blocks: (channels, stride) of each residual block.
        dropout: share of pooled values dropped in training.
    """

    def __init__(
        self, channels_in: int, classes: int, *, stem: int, blocks: Sequence[tuple[int, int]], dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.stem = _ConvNorm(channels_in, stem, 3, 1)
        widths = [stem, *(channels for channels, _ in blocks)]
        self.blocks = nn.Sequential(
            *(
                _ResidualBlock(before, channels, stride)
                for before, (channels, stride) in zip(widths, blocks, strict=False)
            )
        )
        self.context_channels = widths[-1]
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(widths[-1], classes, bias=False)
        _initialise(self)

    def contexts(self, features: Tensor) -> Tensor:
        """The map before global average pooling; time is an eighth of the frames, rounded up."""
        maps: Tensor = self.blocks(F.relu(self.stem(features.transpose(1, 2))))
        return maps.transpose(1, 2)

    def absorb_input_scale(self, scale: Tensor) -> bool:
        """Multiplies the first convolution's weights: zeros of its padding stay zeros."""
        with torch.no_grad():
            self.stem[0].weight.mul_(scale[None, :, None])  # type: ignore[operator]
        return True

    def head(self, contexts: Tensor) -> Tensor:
        """Logits of the contexts' mean over time."""
        logits: Tensor = self.classifier(self.dropout(contexts.mean(dim=1)))
        return logits


def tcresnet8(channels_in: int, classes: int) -> TcResNet:
    """TC-ResNet8 with width multiplier 1: 16 channels, then 24, 32 and 48, each block with stride 2."""
    return TcResNet(channels_in, classes, stem=16, blocks=((24, 2), (32, 2), (48, 2)))


def _initialise(network: nn.Module) -> None:
    """Xavier initialisation of all weights, as in the paper's code."""
    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
