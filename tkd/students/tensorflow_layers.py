"""What networks published in TensorFlow have that PyTorch lacks: SAME padding, and Glorot's initial weights.

Used by the families of `tkd.students`. Tested in `tests/tkd/students/test_layers.py`.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

TF_EPSILON = 1e-3
"""Batch normalisation's ε in Keras and slim, whose published codes leave it as it is; PyTorch has 1e-5."""


def same_padding(time: int, kernel_size: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Zeros before and after a sequence of `time` steps so that ceil(time / stride) steps come out.

    >>> same_padding(98, 9, 2), same_padding(49, 9, 2)
    ((3, 4), (4, 4))
    """
    reach = dilation * (kernel_size - 1) + 1
    total = max((-(-time // stride) - 1) * stride + reach - time, 0)
    return total // 2, total - total // 2


class SameConv1d(nn.Conv1d):
    """A convolution over time with TensorFlow's SAME padding, which is asymmetric where a stride meets an even rest.

    Shapes: (batch, in_channels, time) to (batch, out_channels, ceil(time / stride)).
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the parent's name
        """The convolution of `input`; see the class for shapes."""
        before, after = same_padding(input.shape[-1], self.kernel_size[0], self.stride[0], self.dilation[0])
        return super().forward(F.pad(input, (before, after)) if before or after else input)


class SameConv2d(nn.Conv2d):
    """A convolution over time and frequency with TensorFlow's SAME padding.

    Shapes: (batch, in_channels, time, frequency) to
    (batch, out_channels, ceil(time / stride of time), ceil(frequency / stride of frequency)).
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the parent's name
        """The convolution of `input`; see the class for shapes."""
        time, frequency = (
            same_padding(input.shape[2 + axis], self.kernel_size[axis], self.stride[axis], self.dilation[axis])
            for axis in (0, 1)
        )
        padding = (*frequency, *time)
        return super().forward(F.pad(input, padding) if any(padding) else input)


def initialise_glorot(network: nn.Module) -> None:
    """Gives every convolution and matrix of `network` Glorot's uniform weights, and zero biases.

    Source: Glorot and Bengio 2010; the default of Keras and of slim (there called Xavier).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
