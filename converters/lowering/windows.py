"""Lowering of the operators that slide a window over time or an image: Conv, AveragePool, MaxPool, Pad."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from converters.graph import Node
from converters.lowering.builder import Builder
from converters.lowering.layout import CHANNELS_LAST, FLIPPED, Layout, shape_in
from converters.lowering.order import in_order
from converters.lowering.padding import Window, window_of
from converters.lowering.records import Array
from converters.lowering.shapes import lower_global_average_pool
from converters.lowering.strided import stride_as_channels


def lower_conv(builder: Builder, node: Node) -> None:
    """Conv over one or two spatial axes, as CONV_2D, or DEPTHWISE_CONV_2D where every channel is its own group."""
    data, weights = node.inputs[:2]
    layout = _channels_last(builder, node)
    kernel = builder.constant_value(weights)
    if kernel is None:
        raise builder.unsupported(node, "its weights are computed, not constant")
    bias = builder.constant_value(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else np.zeros(len(kernel))
    if bias is None:
        raise builder.unsupported(node, "its bias is computed, not constant")
    shape = builder.shape(data)
    groups = node.attributes.get("group", 1)
    if kernel.shape[1] * groups != shape[1] or len(kernel) % groups or kernel.ndim != len(shape):
        raise builder.unsupported(node, f"weights of shape {list(kernel.shape)} in {groups} groups do not fit")
    window = window_of(node, kernel.shape[2:], shape[2:])
    if kernel.ndim == 3:
        kernel = kernel[:, :, None, :]
    flips = _is_flipped(layout)
    if flips:
        kernel = kernel.swapaxes(2, 3)
    is_depthwise = groups == shape[1] and kernel.shape[1] == 1 and shape[1] > 1
    folded = stride_as_channels(builder, node, layout, kernel, window)
    if folded is not None:
        source, rule, kernel, window = folded
    else:
        source, rule = _padded(builder, node, layout, window)
    options: dict[str, Any] = {
        "padding": rule, **_strides(window, flips), **_dilations(window, flips), **_NOTHING_FUSED,
    }  # fmt: skip
    if is_depthwise:
        kernel = kernel.transpose(1, 2, 3, 0)
        options["depthMultiplier"] = kernel.shape[3] // shape[1]
    else:
        order = None if folded is not None else builder.order(data)
        kernel = in_order(order, kernel.transpose(0, 2, 3, 1), 3)
    inputs = (source, builder.constant(weights, kernel), builder.constant(f"{node.outputs[0]}/bias", bias.astype("f4")))
    builder.emit("DEPTHWISE_CONV_2D" if is_depthwise else "CONV_2D", inputs, node.outputs[0], layout, options)


def lower_average_pool(builder: Builder, node: Node) -> None:
    """AveragePool; zeros that count in the mean are written out by PAD, those that do not are TFLite's own SAME.

    A window over the whole map is a mean, whose int8 form may choose its own scale.
    """
    layout = _channels_last(builder, node)
    window = _pool_window(builder, node)
    lengths = builder.shape(node.inputs[0])[2:]
    if window.kernel == lengths and not window.is_padded:
        lower_global_average_pool(builder, node)
        return
    if not window.is_padded or node.attributes.get("count_include_pad", 0):
        source, rule = _padded(builder, node, layout, window, may_be_same=False)
    elif window.is_same(lengths):
        source, rule = builder.read(node.inputs[0], layout), "SAME"
    else:
        raise builder.unsupported(node, f"zeros {window.before}/{window.after} that the mean leaves out")
    builder.emit(
        "AVERAGE_POOL_2D", (source,), node.outputs[0], layout, _pool_options(window, rule, _is_flipped(layout))
    )


def lower_max_pool(builder: Builder, node: Node) -> None:
    """MaxPool; its padding never wins, so only TFLite's VALID and SAME have a form."""
    if len(node.outputs) > 1:
        raise builder.unsupported(node, "it also returns indices")
    layout = _channels_last(builder, node)
    window = _pool_window(builder, node)
    lengths = builder.shape(node.inputs[0])[2:]
    if window.is_padded and not window.is_same(lengths):
        raise builder.unsupported(node, f"padding {window.before}/{window.after} is neither VALID nor SAME")
    source = builder.read(node.inputs[0], layout)
    rule = "SAME" if window.is_padded else "VALID"
    builder.emit("MAX_POOL_2D", (source,), node.outputs[0], layout, _pool_options(window, rule, _is_flipped(layout)))


def lower_pad(builder: Builder, node: Node) -> None:
    """Pad with zeros, in whatever layout the value has."""
    pads = pad_amounts(builder, node)
    layout = builder.layout(node.inputs[0])
    if any(sum(pair) and axis not in layout for axis, pair in enumerate(pads)):
        layout = tuple(range(len(pads)))
    amounts = np.array([(0, 0) if axis is None else pads[axis] for axis in layout], dtype=np.int32)
    inputs = (builder.read(node.inputs[0], layout), builder.constant("paddings", amounts))
    builder.emit("PAD", inputs, node.outputs[0], layout)


def pad_amounts(builder: Builder, node: Node) -> list[tuple[int, int]]:
    """(before, after) of each axis of a Pad node."""
    amounts = builder.constant_value(node.inputs[1])
    if amounts is None:
        raise builder.unsupported(node, "its amounts are computed, not constant")
    if node.attributes.get("mode", "constant") != "constant":
        raise builder.unsupported(node, f"mode '{node.attributes['mode']}'; only zeros can be padded")
    fill = builder.constant_value(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else np.zeros(())
    if fill is None or fill.item() != 0:
        raise builder.unsupported(node, "it pads with something other than zero")
    if amounts.min(initial=0) < 0:
        raise builder.unsupported(node, "it crops (a negative amount)")
    rank = len(builder.shape(node.inputs[0]))
    axes = builder.constant_value(node.inputs[3]) if len(node.inputs) > 3 and node.inputs[3] else np.arange(rank)
    if axes is None:
        raise builder.unsupported(node, "its axes are computed, not constant")
    pads = [(0, 0)] * rank
    for index, axis in enumerate(axes):
        pads[int(axis) % rank] = (int(amounts[index]), int(amounts[index + len(axes)]))
    return pads


_NOTHING_FUSED = {"fusedActivationFunction": "NONE"}


def _channels_last(builder: Builder, node: Node) -> Layout:
    rank = len(builder.shape(node.inputs[0]))
    if rank not in CHANNELS_LAST:
        raise builder.unsupported(node, f"{rank - 2} spatial axes; 1 and 2 are supported")
    usual, flipped = CHANNELS_LAST[rank], FLIPPED.get(rank)
    if flipped is None or builder.rows_first or builder.layout(node.inputs[0]) == usual:
        return usual
    is_free = builder.lies_in(node.inputs[0], flipped) and not builder.lies_in(node.inputs[0], usual)
    return flipped if is_free or builder.layout(node.inputs[0]) == flipped else usual


def _is_flipped(layout: Layout) -> bool:
    return layout in FLIPPED.values()


def _padded(
    builder: Builder, node: Node, layout: Layout, window: Window, *, may_be_same: bool = True
) -> tuple[str, str]:
    """The tensor to slide over, with zeros written around it where no rule of TFLite gives them, and the rule."""
    source = builder.read(node.inputs[0], layout)
    if not window.is_padded:
        return source, "VALID"
    shape = builder.shape(node.inputs[0])
    if may_be_same and window.is_same(shape[2:]):
        return source, "SAME"
    pads = [(0, 0), (0, 0), *zip(window.before, window.after, strict=True)]
    amounts = np.array([(0, 0) if axis is None else pads[axis] for axis in layout], dtype=np.int32)
    padded = np.array(shape_in(layout, shape)) + amounts.sum(axis=1)
    name = f"{node.outputs[0]}/padded"
    return builder.emit_extra("PAD", (source, builder.constant("paddings", amounts)), name, padded.tolist()), "VALID"


def _pool_window(builder: Builder, node: Node) -> Window:
    shape = builder.shape(node.inputs[0])
    window = window_of(node, node.attributes["kernel_shape"], shape[2:])
    if any(dilation > 1 for dilation in window.dilations):
        raise builder.unsupported(node, f"dilations {window.dilations}")
    reach = _output_lengths(shape[2:], window)
    if reach != builder.shape(node.outputs[0])[2:]:
        raise builder.unsupported(node, "ceil_mode lets the last window run over the edge")
    return window


def _output_lengths(lengths: Sequence[int], window: Window) -> tuple[int, ...]:
    padded = np.array(lengths) + np.array(window.before) + np.array(window.after)
    steps: Array = (padded - np.array(window.kernel)) // np.array(window.strides) + 1
    return tuple(steps.tolist())


def _pool_options(window: Window, rule: str, flips: bool) -> dict[str, Any]:
    height, width = _two(window.kernel, flips)
    return {"padding": rule, "filterHeight": height, "filterWidth": width, **_strides(window, flips), **_NOTHING_FUSED}


def _strides(window: Window, flips: bool) -> dict[str, int]:
    height, width = _two(window.strides, flips)
    return {"strideH": height, "strideW": width}


def _dilations(window: Window, flips: bool) -> dict[str, int]:
    height, width = _two(window.dilations, flips)
    return {"dilationHFactor": height, "dilationWFactor": width}


def _two(values: tuple[int, ...], flips: bool) -> tuple[int, int]:
    """(height, width) in TFLite of one or two values in ONNX's order."""
    if len(values) == 1:
        return 1, values[0]
    return (values[1], values[0]) if flips else (values[0], values[1])
