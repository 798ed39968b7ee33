"""Zeros around a window operator: ONNX counts them, TFLite names a rule.

TFLite's SAME gives ceil(length / stride) steps and puts the odd zero at the end.
With 98 frames, 9 taps and stride 2 that is 3 zeros before and 4 after:

    zeros          frames                                        zeros
    0 0 0 │ x0 x1 x2 x3 x4 x5 …                x94 x95 x96 x97 │ 0 0 0 0
    └──────── first window ────────┘        └──── last window ────────┘

ONNX's padding becomes VALID when it is all zeros, SAME where it equals this formula, else a PAD operator in front.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from converters.graph import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The window of a convolution or a pool, one entry for each spatial axis.

    Attributes:
        kernel: taps.
        strides: steps.
        dilations: distance between taps.
        before: zeros before the first element.
        after: zeros after the last one.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def is_padded(self) -> bool:
        """Whether there is any zero around."""
        return any(self.before) or any(self.after)

    def is_same(self, lengths: Sequence[int]) -> bool:
        """Whether the zeros are those of TFLite's SAME for an input of `lengths`."""
        return all(
            (before, after) == same_padding(length, kernel, stride, dilation)
            for length, kernel, stride, dilation, before, after in zip(
                lengths, self.kernel, self.strides, self.dilations, self.before, self.after, strict=True
            )
        )


def window_of(node: Node, kernel: Sequence[int], lengths: Sequence[int]) -> Window:
    """The window of an ONNX Conv or pool node over spatial axes of `lengths`."""
    rank = len(kernel)
    strides = tuple(node.attributes.get("strides", [1] * rank))
    dilations = tuple(node.attributes.get("dilations", [1] * rank))
    rule = node.attributes.get("auto_pad", "NOTSET")
    if rule in ("SAME_UPPER", "SAME_LOWER"):
        pairs = [same_padding(*each) for each in zip(lengths, kernel, strides, dilations, strict=True)]
        before, after = zip(*pairs, strict=True)
        if rule == "SAME_LOWER":
            before, after = after, before
    else:
        pads = tuple(node.attributes.get("pads", [0] * (2 * rank)))
        before, after = pads[:rank], pads[rank:]
    return Window(kernel=tuple(kernel), strides=strides, dilations=dilations, before=before, after=after)


def same_padding(length: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Zeros before and after, as TFLite's SAME has them.

    >>> same_padding(98, 9, 2)
    (3, 4)
    """
    reach = (kernel - 1) * dilation + 1
    total = max((-(-length // stride) - 1) * stride + reach - length, 0)
    return total // 2, total - total // 2


def tap_extension(
    length: int, outputs: int, kernel: int, stride: int, dilation: int, before: int
) -> tuple[int, int] | None:
    """Taps of zeros to put at either end of a kernel so that SAME begins where `before` zeros do; None where none do.

    >>> tap_extension(length=20, outputs=10, kernel=3, stride=2, dilation=1, before=1)
    (0, 1)
    """
    if outputs != -(-length // stride):
        return None
    for extra in range(kernel + 1):
        for front in range(extra + 1):
            if same_padding(length, kernel + extra, stride, dilation)[0] == before + front * dilation:
                return front, extra - front
    return None
