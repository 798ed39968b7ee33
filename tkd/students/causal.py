"""Layers that see the past alone, and keep what the next hop of a stream needs of it.

The same layers run both ways. Over a whole clip there are zeros before its first step; in a stream there is what
the hops before left over:

    whole clip   0 0 │ x₀ x₁ x₂ x₃ x₄ x₅          hop   x₀ x₁ │ x₂ x₃     carried over: the last steps of this hop
                 ────┴──── convolution                  ──────┴── convolution

Used by the causal families of `tkd.students`; `tkd.students.streaming` makes the stream.
Source: Rybakov et al. 2020, "Streaming Keyword Spotting on Mobile Devices", arXiv 2005.06720, section 3.
Tested in `tests/tkd/students/test_streaming.py`.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tkd.students.tensorflow_layers import SameConv2d, same_padding


class Carried(nn.Module):
    """What a layer takes over from hop to hop; it has no parameters, and over a whole clip it keeps nothing.

    Attributes:
        is_streaming: whether the layer that has this runs in a stream.
        state: what the next hop needs, see `_channels_last`, or the state of a recurrence, (batch, units); None before
            the first hop, where it counts as zeros.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_streaming = False
        self.state: Tensor | None = None

    def join(self, x: Tensor, length: int, axis: int, *, pads: bool = True) -> Tensor:
        """`x` behind the `length` steps before it along `axis`; the last `length` of all are kept for the next hop.

        Args:
            x: shape (batch, channels, …).
            length: steps, 0 or more.
            axis: of time, 2 or more.
            pads: whether zeros stand before a whole clip; False leaves it as it is.
        """
        if length == 0:
            return x
        if not self.is_streaming:
            return F.pad(x, _before(x, axis, length)) if pads else x
        zeros = x.new_zeros([length if place == axis else size for place, size in enumerate(x.shape)])
        joined = torch.cat([zeros if self.state is None else _channels_second(self.state, x.ndim), x], dim=axis)
        # Of a hop that is long enough, the past is no part of what is kept.
        source = x if x.shape[axis] >= length else joined
        self.state = _channels_last(source.narrow(axis, source.shape[axis] - length, length))
        return joined

    def taken(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """The state of a recurrence, zeros of `shape` before the first hop."""
        return like.new_zeros(shape) if self.state is None else self.state


class CausalConv1d(nn.Conv1d):
    """A convolution over time that sees no step after the one it answers for.

    Shapes: (batch, in_channels, time) to (batch, out_channels, time // stride). With a stride, one step comes out
    when the last of its steps has come in; steps that do not fill a stride are dropped.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.before = Carried()

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the parent's name
        """The convolution of `input`; see the class for shapes."""
        whole = _whole_strides(input, 2, self.stride[0])
        return super().forward(
            self.before.join(whole, reach(self.kernel_size[0], self.stride[0], self.dilation[0]), axis=2)
        )


class CausalConv2d(nn.Conv2d):
    """A convolution over frequency and time, causal over time.

    Shapes: (batch, in_channels, frequency, time) to (batch, out_channels, frequency', time).
    Frequency is padded as `padding` says, which has to be 0 for time.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        assert self.stride[1] == 1, "a stride over time"
        assert self.padding[1] == 0, "time is padded by the past"
        self.before = Carried()

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the parent's name
        """The convolution of `input`; see the class for shapes."""
        return super().forward(self.before.join(input, reach(self.kernel_size[1], 1, self.dilation[1]), axis=3))


class CausalSameConv2d(SameConv2d):
    """A convolution over time and frequency, causal over time and with SAME padding over frequency.

    Shapes: (batch, in_channels, time, frequency) to
    (batch, out_channels, time // stride of time, ceil(frequency / stride of frequency)).
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.before = Carried()

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the parent's name
        """The convolution of `input`; see the class for shapes."""
        whole = _whole_strides(input, 2, self.stride[0])
        joined = self.before.join(whole, reach(self.kernel_size[0], self.stride[0], self.dilation[0]), axis=2)
        frequency = same_padding(joined.shape[3], self.kernel_size[1], self.stride[1], self.dilation[1])
        padded = F.pad(joined, frequency) if any(frequency) else joined
        return nn.Conv2d.forward(self, padded)


def reach(kernel_size: int, stride: int, dilation: int) -> int:
    """Steps before its first one that a causal convolution needs to answer for whole strides.

    >>> reach(9, 1, 1), reach(9, 2, 1), reach(1, 2, 1)
    (8, 7, 0)
    """
    return max(0, dilation * (kernel_size - 1) - (stride - 1))


def _whole_strides(x: Tensor, axis: int, stride: int) -> Tensor:
    rest = x.shape[axis] % stride
    return x.narrow(axis, 0, x.shape[axis] - rest) if rest else x


def _channels_last(x: Tensor) -> Tensor:
    """A map as a phone's convolution has it: (batch, height, width, channels); a sequence is a map of height 1.

    An exported state is then joined to the map that the convolution reads as it is, without a change of shape.
    """
    return (x[:, :, None] if x.ndim == 3 else x).movedim(1, 3)


def _channels_second(state: Tensor, rank: int) -> Tensor:
    """The inverse of `_channels_last` for a map of this rank."""
    x = state.movedim(3, 1)
    return x.squeeze(2) if rank == 3 else x


def _before(x: Tensor, axis: int, length: int) -> list[int]:
    """The argument of `F.pad` for `length` zeros before `x` along `axis`."""
    return [0, 0] * (x.ndim - 1 - axis) + [length, 0]
