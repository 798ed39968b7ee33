"""A stride over a map of one channel, written as channels: what a strided window skips lies beside it.

Engines multiply channels four or eight at a time, and a map with one channel leaves the rest of them idle. Where the
strided axis is innermost in memory, the same bytes read as half as many places of two channels each:

    x0 x1 x2 x3 x4 x5 …   5 taps, stride 2, 2 zeros before        (x0 x1) (x2 x3) (x4 x5) …   3 taps of 2 channels
    w0 w1 w2 w3 w4                                                 (w0 w1) (w2 w3) (w4  0)

The stem of BC-ResNet takes 0.7 of its time so in int8, whose kernels are wider. In float, zeros that fill the last
pair can cost more than pairs bring: there it is done where it adds few products.
Before this: `converters.lowering.windows`. Tested in `tests/converters/test_strided.py`.
"""

from __future__ import annotations

import numpy as np

from converters.graph import Graph, Node
from converters.lowering.builder import Builder
from converters.lowering.layout import Layout
from converters.lowering.padding import Window
from converters.lowering.records import Array

_MOST_CHANNELS = 4
# In float: with a fifth more products in the stem, BC-ResNet loses 3 % of its latency on x86-64 and gains 4 to 9 % of
# its instructions on arm64; with half as many more DS-CNN loses 5 % and gains 0.5 %.
_MOST_PRODUCTS = 1.25
Folded = tuple[str, str, Array, Window]


def stride_as_channels(builder: Builder, node: Node, layout: Layout, kernel: Array, window: Window) -> Folded | None:
    """The tensor to slide over, TFLite's rule of padding, the kernel and the window; None where it does not fit.

    Args:
        builder: the model in the making.
        node: a Conv over two axes.
        layout: of its output, and of its input as it would be read.
        kernel: shape (outputs, channels of a group, height, width), turned as the layout is.
        window: in ONNX's order of axes.
    """
    data = node.inputs[0]
    shape = builder.shape(data)
    if builder.choices.strides == "single" or len(shape) != 4 or shape[1] != 1 or data in builder.graph.constants:
        return None
    lying = [axis for axis in builder.layout(data) if axis is not None and shape[axis] > 1]
    if len(lying) != 2:
        return None
    axis = lying[1]
    place, stride = axis - 2, window.strides[axis - 2]
    if not 1 < stride <= _MOST_CHANNELS or shape[axis] % stride or window.dilations[place] != 1:
        return None
    groups = shape[axis] // stride
    outputs = builder.shape(node.outputs[0])[axis]
    first = -(-window.before[place] // stride)
    last = (window.kernel[place] - 1 - window.before[place]) // stride
    taps, after = first + last + 1, outputs + last - groups
    if last < 0 or after < 0:
        return None
    if builder.choices.strides == "fitting" and taps * stride > _MOST_PRODUCTS * window.kernel[place]:
        return None
    folded = Window(
        kernel=_with(window.kernel, place, taps),
        strides=_with(window.strides, place, 1),
        dilations=window.dilations,
        before=_with(window.before, place, first),
        after=_with(window.after, place, after),
    )
    lengths = _with(shape[2:], place, groups)
    if folded.is_padded and not folded.is_same(lengths):
        return None
    tensor = _paired(builder, node, layout, axis, stride)
    kernel_axis = layout.index(axis) + 1
    spread = _spread(kernel, kernel_axis, first * stride - window.before[place], taps * stride)
    split = spread.reshape(*spread.shape[:kernel_axis], taps, stride, *spread.shape[kernel_axis + 1 :])
    turned = np.moveaxis(split, kernel_axis + 1, 1)[:, :, 0]
    return tensor, "SAME" if folded.is_padded else "VALID", turned, folded


def may_pair(graph: Graph) -> bool:
    """Whether a network has a convolution that a stride over one channel lets be written in more than one way."""
    return any(
        node.op == "Conv" and graph.shapes[node.inputs[0]][1] == 1 and max(node.attributes.get("strides", [1])) > 1
        for node in graph.nodes
    )


def _with(values: tuple[int, ...], place: int, value: int) -> tuple[int, ...]:
    return (*values[:place], value, *values[place + 1 :])


def _spread(kernel: Array, axis: int, before: int, length: int) -> Array:
    """The kernel with zeros around along one axis."""
    zeros = [(0, 0)] * kernel.ndim
    zeros[axis] = (before, length - before - kernel.shape[axis])
    return np.pad(kernel, zeros)


def _paired(builder: Builder, node: Node, layout: Layout, axis: int, stride: int) -> str:
    """The map with `stride` neighbours along its innermost axis as channels, in `layout`."""
    data = node.inputs[0]
    shape = builder.shape(data)
    other = 5 - axis
    pairs = (1, shape[other], shape[axis] // stride, stride)
    source = builder.unshaped(builder.read(data, builder.layout(data)))
    wanted = builder.constant(f"{node.outputs[0]}/paired_shape", np.array(pairs, np.int32))
    options = {"newShape": list(pairs)}
    tensor = builder.emit_extra("RESHAPE", (source, wanted), f"{node.outputs[0]}/paired", pairs, options)
    if layout.index(axis) == 2:
        return tensor
    swapped = builder.constant("permutation", np.array([0, 2, 1, 3], np.int32))
    turned = (1, pairs[2], pairs[1], stride)
    return builder.emit_extra("TRANSPOSE", (tensor, swapped), f"{node.outputs[0]}/paired_transposed", turned)
