"""How the axes of an ONNX value lie in the TFLite tensor that holds it.

PyTorch puts channels before time, TFLite puts them last. Instead of transposing, each value remembers its layout:
one entry for each TFLite axis, naming the ONNX axis that lies there, or None for an axis of length one that
ONNX does not have. An ONNX axis of length one may be missing.

    value                ONNX shape       layout            TFLite shape
    features             (1, 98, 40)      (0, 1, 2)         [1, 98, 40]
    after Transpose      (1, 40, 98)      (0, 2, 1)         [1, 98, 40]       no operator: the entries change
    read by a 1-D conv   (1, 40, 98)      (0, None, 2, 1)   [1, 1, 98, 40]    RESHAPE: no byte moves
    an image             (1, 3, 8, 8)     (0, 2, 3, 1)      [1, 8, 8, 3]

Only when the axes longer than one come in another order must bytes move, and a TRANSPOSE is emitted.
"""

from __future__ import annotations

from collections.abc import Sequence

Layout = tuple[int | None, ...]

CHANNELS_LAST: dict[int, Layout] = {3: (0, None, 2, 1), 4: (0, 2, 3, 1)}
"""What convolutions and pools read and write, by the rank of the ONNX value: [batch, height, width, channels]."""

FLIPPED: dict[int, Layout] = {4: (0, 3, 2, 1)}
"""The same with height and width exchanged, for a value that lies so already; kernels and strides turn with it."""


def natural(rank: int) -> Layout:
    """The layout in which both shapes are the same."""
    return tuple(range(rank))


def shape_in(layout: Layout, shape: Sequence[int]) -> tuple[int, ...]:
    """The TFLite shape of a value of ONNX shape `shape`.

    >>> shape_in((0, None, 2, 1), (1, 40, 98))
    (1, 1, 98, 40)
    """
    return tuple(1 if axis is None else shape[axis] for axis in layout)


def moving_axes(layout: Layout, shape: Sequence[int]) -> tuple[int, ...]:
    """The ONNX axes longer than one, in TFLite order: two layouts that agree in them hold the same bytes."""
    return tuple(axis for axis in layout if axis is not None and shape[axis] > 1)


def holds(layout: Layout, shape: Sequence[int]) -> bool:
    """Whether every axis longer than one has its place."""
    return set(moving_axes(layout, shape)) == {axis for axis, length in enumerate(shape) if length > 1}


def transposed(layout: Layout, permutation: Sequence[int]) -> Layout:
    """The layout of the value after ONNX's Transpose, in the same TFLite tensor.

    >>> transposed((0, 1, 2), (0, 2, 1))
    (0, 2, 1)
    """
    return tuple(None if axis is None else list(permutation).index(axis) for axis in layout)


def without_axes(layout: Layout, axes: Sequence[int]) -> Layout:
    """The layout after ONNX axes of length one are squeezed away; their places stay, as None.

    >>> without_axes((0, 2, 3, 1), (2,))
    (0, None, 2, 1)
    """
    return tuple(None if axis is None or axis in axes else axis - sum(gone < axis for gone in axes) for axis in layout)


def with_axes(layout: Layout, axes: Sequence[int], rank: int) -> Layout:
    """The layout after ONNX axes of length one are inserted at `axes` (positions in the result, of rank `rank`).

    >>> with_axes((0, 1), (1,), 3)
    (0, 2)
    """
    kept = [position for position in range(rank) if position not in axes]
    return tuple(None if axis is None else kept[axis] for axis in layout)


def aligned(layout: Layout, rank: int, smaller_rank: int) -> Layout:
    """The layout that an operand of `smaller_rank` needs to broadcast against a value of `rank` that has `layout`.

    ONNX aligns shapes at their last axes.

    >>> aligned((0, None, 2, 1), 3, 2)
    (None, None, 1, 0)
    """
    missing = rank - smaller_rank
    return tuple(None if axis is None or axis < missing else axis - missing for axis in layout)
