"""Lowering of operators that work on each element: arithmetic and activations."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from converters.graph import Node
from converters.lowering.builder import Builder
from converters.lowering.layout import Layout, aligned, holds, natural, shape_in
from converters.lowering.rewrite import normalization_factors

Lowering = Callable[[Builder, Node], None]

_NOTHING_FUSED = {"fusedActivationFunction": "NONE"}


def arithmetic(code: str) -> Lowering:
    """The lowering of Add, Sub and Mul, which broadcast as ONNX says."""

    def lower(builder: Builder, node: Node) -> None:
        layout = _shared_layout(builder, node)
        rank = len(builder.shape(node.outputs[0]))
        inputs = [builder.read(name, aligned(layout, rank, len(builder.shape(name)))) for name in node.inputs]
        if builder.choices.bands == "whole" and builder.rows_first:
            inputs = [_written_out(builder, node, name, layout) for name in inputs]
        builder.emit(code, inputs, node.outputs[0], layout, _NOTHING_FUSED)

    return lower


def lower_div(builder: Builder, node: Node) -> None:
    """Div by a constant, as MUL by its reciprocal."""
    divisor = builder.constant_value(node.inputs[1])
    if divisor is None or not np.all(divisor):
        raise builder.unsupported(node, "only division by a constant without zeros has an int8 form")
    layout = builder.layout(node.inputs[0])
    rank = len(builder.shape(node.outputs[0]))
    if len(builder.shape(node.inputs[0])) != rank or not holds(layout, builder.shape(node.outputs[0])):
        layout = natural(rank)
    own = aligned(layout, rank, divisor.ndim)
    placed = np.reciprocal(divisor.astype(np.float32))
    order = [axis for axis in own if axis is not None]
    placed = placed.transpose([*order, *(axis for axis in range(divisor.ndim) if axis not in order)])
    shape = tuple(1 if axis is None else divisor.shape[axis] for axis in own)
    left = builder.read(node.inputs[0], aligned(layout, rank, len(builder.shape(node.inputs[0]))))
    right = builder.constant(f"{node.outputs[0]}/reciprocal", placed.reshape(shape))
    builder.emit("MUL", (left, right), node.outputs[0], layout, _NOTHING_FUSED)


def activation(code: str) -> Lowering:
    """The lowering of an activation that TFLite has under the name `code`."""

    def lower(builder: Builder, node: Node) -> None:
        layout = builder.layout(node.inputs[0])
        builder.emit(code, (builder.read(node.inputs[0], layout),), node.outputs[0], layout)

    return lower


def lower_leaky_relu(builder: Builder, node: Node) -> None:
    """LeakyRelu with its slope."""
    layout = builder.layout(node.inputs[0])
    source = builder.read(node.inputs[0], layout)
    builder.emit("LEAKY_RELU", (source,), node.outputs[0], layout, {"alpha": node.attributes.get("alpha", 0.01)})


def lower_hard_sigmoid(builder: Builder, node: Node) -> None:
    """PyTorch's Hardsigmoid, relu6(x + 3) / 6, as ADD with a fused RELU6 and MUL."""
    if (
        not math.isclose(node.attributes.get("alpha", 0.2), 1 / 6, rel_tol=1e-5)
        or node.attributes.get("beta", 0.5) != 0.5
    ):
        raise builder.unsupported(node, "only alpha 1/6 and beta 1/2 are supported, as PyTorch has them")
    layout = builder.layout(node.inputs[0])
    source = builder.read(node.inputs[0], layout)
    three = builder.constant("three", np.array([3.0], dtype=np.float32))
    sixth = builder.constant("sixth", np.array([1 / 6], dtype=np.float32))
    shape = [1 if axis is None else builder.shape(node.inputs[0])[axis] for axis in layout]
    clipped = builder.emit_extra(
        "ADD", (source, three), f"{node.outputs[0]}/clipped", shape, {"fusedActivationFunction": "RELU6"}
    )
    builder.emit("MUL", (clipped, sixth), node.outputs[0], layout, _NOTHING_FUSED)


def lower_clip(builder: Builder, node: Node) -> None:
    """Clip: RELU and RELU6 where its bounds are theirs, else MAXIMUM and MINIMUM with constants."""
    low, high = (_bound(builder, node, index, default) for index, default in ((1, -math.inf), (2, math.inf)))
    layout = builder.layout(node.inputs[0])
    source = builder.read(node.inputs[0], layout)
    named = {(0.0, 6.0): "RELU6", (0.0, math.inf): "RELU"}.get((low, high))
    if named:
        builder.emit(named, (source,), node.outputs[0], layout)
        return
    shape = [1 if axis is None else builder.shape(node.inputs[0])[axis] for axis in layout]
    steps = [(code, bound) for code, bound in (("MAXIMUM", low), ("MINIMUM", high)) if math.isfinite(bound)]
    if not steps:
        raise builder.unsupported(node, "it has no finite bound")
    for code, bound in steps[:-1]:
        limit = builder.constant(f"{node.outputs[0]}/low", np.array([bound], dtype=np.float32))
        source = builder.emit_extra(code, (source, limit), f"{node.outputs[0]}/raised", shape)
    code, bound = steps[-1]
    limit = builder.constant(f"{node.outputs[0]}/bound", np.array([bound], dtype=np.float32))
    builder.emit(code, (source, limit), node.outputs[0], layout)


def lower_softmax(builder: Builder, node: Node) -> None:
    """Softmax over one axis, which TFLite wants last."""
    rank = len(builder.shape(node.inputs[0]))
    axis = node.attributes.get("axis", -1) % rank
    layout = builder.layout(node.inputs[0])
    if layout[-1] != axis:
        layout = (*(other for other in range(rank) if other != axis), axis)
    builder.emit("SOFTMAX", (builder.read(node.inputs[0], layout),), node.outputs[0], layout, {"beta": 1.0})


def lower_batch_normalization(builder: Builder, node: Node) -> None:
    """A normalisation that no convolution precedes: MUL and ADD with a constant for each channel."""
    scale, shift = normalization_factors(builder.graph.constants, node)
    layout = builder.layout(node.inputs[0])
    shape = builder.shape(node.inputs[0])
    if 1 not in layout:
        layout = natural(len(shape))
    per_channel = tuple(shape[1] if axis == 1 else 1 for axis in layout)
    source = builder.read(node.inputs[0], layout)
    factor = builder.constant(f"{node.outputs[0]}/scale", scale.reshape(per_channel))
    term = builder.constant(f"{node.outputs[0]}/shift", shift.reshape(per_channel))
    lite_shape = [1 if axis is None else shape[axis] for axis in layout]
    scaled = builder.emit_extra("MUL", (source, factor), f"{node.outputs[0]}/scaled", lite_shape, _NOTHING_FUSED)
    builder.emit("ADD", (scaled, term), node.outputs[0], layout, _NOTHING_FUSED)


def _shared_layout(builder: Builder, node: Node) -> Layout:
    """The layout of the first operand that has the output's rank and a place for each of its axes."""
    shape = builder.shape(node.outputs[0])
    for name in node.inputs:
        if builder.constant_value(name) is None and len(builder.shape(name)) == len(shape):
            layout = builder.layout(name)
            if holds(layout, shape):
                return layout
    return natural(len(shape))


def _written_out(builder: Builder, node: Node, tensor: str, layout: Layout) -> str:
    """A constant map at every place of the output; other tensors, and one value for all, as they are."""
    data = builder.tensor_data(tensor)
    if data is None or sum(length > 1 for length in data.shape) < 2:
        return tensor
    whole = np.broadcast_to(data, shape_in(layout, builder.shape(node.outputs[0])))
    return builder.constant(f"{node.outputs[0]}/whole", np.ascontiguousarray(whole))


def _bound(builder: Builder, node: Node, index: int, default: float) -> float:
    if len(node.inputs) <= index or not node.inputs[index]:
        return default
    bound = builder.constant_value(node.inputs[index])
    if bound is None:
        raise builder.unsupported(node, "a bound is computed, not constant")
    return float(bound.item())
