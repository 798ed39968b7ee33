"""Lowering of operators that move no numbers or reduce whole axes: reshapes, Transpose, Concat, means."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from converters.graph import Node
from converters.lowering.builder import Builder
from converters.lowering.layout import Layout, holds, natural, transposed, with_axes, without_axes
from converters.lowering.order import can_absorb
from converters.lowering.records import Array


def lower_transpose(builder: Builder, node: Node) -> None:
    """Transpose: only the layout changes; bytes move when a later operator insists."""
    rank = len(builder.shape(node.inputs[0]))
    permutation = node.attributes.get("perm", list(reversed(range(rank))))
    if sorted(permutation) != list(range(rank)):
        raise builder.unsupported(node, f"perm {list(permutation)} is no order of {rank} axes")
    layout = transposed(builder.layout(node.inputs[0]), permutation)
    builder.same_tensor(node.outputs[0], node.inputs[0], layout)


def lower_squeeze(builder: Builder, node: Node) -> None:
    """Squeeze: only the layout changes."""
    shape = builder.shape(node.inputs[0])
    axes = _axes(builder, node, len(shape)) or [axis for axis, length in enumerate(shape) if length == 1]
    builder.same_tensor(node.outputs[0], node.inputs[0], without_axes(builder.layout(node.inputs[0]), axes))


def lower_unsqueeze(builder: Builder, node: Node) -> None:
    """Unsqueeze: only the layout changes."""
    rank = len(builder.shape(node.outputs[0]))
    axes = _axes(builder, node, rank)
    builder.same_tensor(node.outputs[0], node.inputs[0], with_axes(builder.layout(node.inputs[0]), axes, rank))


def lower_reshape(builder: Builder, node: Node) -> None:
    """Reshape and Flatten: the bytes in ONNX's order, under another shape.

    Where only axes of length one come or go, the layout changes and nothing is emitted.
    Where weights alone read a flattened map, it keeps TFLite's order and the weights are permuted instead.
    """
    source, output = node.inputs[0], node.outputs[0]
    before, after = builder.shape(source), builder.shape(output)
    if np.prod(before, dtype=np.int64) != np.prod(after, dtype=np.int64):
        raise builder.unsupported(node, f"{list(after)} has another number of elements")
    kept = [axis for axis, length in enumerate(before) if length > 1]
    placed = [axis for axis, length in enumerate(after) if length > 1]
    if [before[axis] for axis in kept] == [after[axis] for axis in placed]:
        renamed = dict(zip(kept, placed, strict=True))
        layout = tuple(None if axis is None else renamed.get(axis) for axis in builder.layout(source))
        builder.same_tensor(output, source, layout)
        return
    layout = builder.layout(source)
    merged = _merged_axis(before, after)
    order = natural(len(before))
    if merged is not None and _leads(layout, merged) and can_absorb(builder, output, merged):
        order = layout
        builder.set_order(output, _order_within(before, merged, layout))
    tensor = builder.unshaped(builder.read(source, order))
    shape = builder.constant("shape", np.array(after, dtype=np.int32))
    builder.emit("RESHAPE", (tensor, shape), output, natural(len(after)), {"newShape": list(after)})


def _merged_axis(before: Sequence[int], after: Sequence[int]) -> int | None:
    """The last axis of a reshape that leaves the axes before it and joins all others into it; None for another one."""
    last = len(after) - 1
    joins = last >= 1 and len(before) > len(after) and tuple(before[:last]) == tuple(after[:last])
    return last if joins and int(np.prod(before[last:])) == after[last] else None


def _leads(layout: Layout, count: int) -> bool:
    """Whether the first `count` ONNX axes are the first of the layout, in their order."""
    return layout[:count] == natural(count)


def _order_within(shape: Sequence[int], first: int, layout: Layout) -> Array:
    """ONNX's position of each element of the axes from `first` on, joined in the order of the layout."""
    axes = [axis - first for axis in layout[first:] if axis is not None]
    missing = [axis for axis in range(len(shape) - first) if axis not in axes]
    return np.arange(np.prod(shape[first:])).reshape(shape[first:]).transpose([*axes, *missing]).reshape(-1)


def lower_concat(builder: Builder, node: Node) -> None:
    """Concat along one axis, in the layout of the first computed operand."""
    shape = builder.shape(node.outputs[0])
    axis = node.attributes["axis"] % len(shape)
    if len(node.inputs) == 1:
        builder.same_tensor(node.outputs[0], node.inputs[0], builder.layout(node.inputs[0]))
        return
    layouts = [builder.layout(name) for name in node.inputs if builder.constant_value(name) is None]
    fitting = (_joining(layout, axis, shape) for layout in layouts)
    layout = next((each for each in fitting if each is not None), natural(len(shape)))
    inputs = [builder.read(name, layout) for name in node.inputs]
    options = {"axis": layout.index(axis), "fusedActivationFunction": "NONE"}
    builder.emit("CONCATENATION", inputs, node.outputs[0], layout, options)


def _joining(layout: Layout, axis: int, shape: Sequence[int]) -> Layout | None:
    """The layout in which values that lie in `layout` are joined along `axis`; None where that moves bytes.

    An axis that has no place, because it has length one in every part, takes the first place of length one.
    """
    if axis not in layout:
        free = [place for place, each in enumerate(layout) if each is None or shape[each] == 1]
        layout = tuple(axis if free and place == free[0] else each for place, each in enumerate(layout))
    return layout if holds(layout, shape) and axis in layout else None


def lower_reduce_mean(builder: Builder, node: Node) -> None:
    """ReduceMean over any axes."""
    shape = builder.shape(node.inputs[0])
    axes = _axes(builder, node, len(shape)) or list(range(len(shape)))
    _mean(builder, node, axes, keeps=bool(node.attributes.get("keepdims", 1)))


def lower_global_average_pool(builder: Builder, node: Node) -> None:
    """GlobalAveragePool: the mean over all spatial axes, which stay with length one."""
    _mean(builder, node, list(range(2, len(builder.shape(node.inputs[0])))), keeps=True)


def _mean(builder: Builder, node: Node, axes: Sequence[int], *, keeps: bool) -> None:
    """MEAN over ONNX `axes`; together with TFLite axes that ONNX does not have, where the reduced places vanish."""
    source = node.inputs[0]
    layout = builder.layout(source)
    if keeps and all(axis in layout for axis in axes):
        places = builder.constant("axes", np.array([layout.index(axis) for axis in axes], dtype=np.int32))
        builder.emit("MEAN", (builder.read(source, layout), places), node.outputs[0], layout, {"keepDims": True})
        return
    reduced = [place for place, axis in enumerate(layout) if axis is None or axis in axes]
    left = tuple(axis for place, axis in enumerate(layout) if place not in reduced and axis is not None)
    names = left if keeps else tuple(axis - sum(other < axis for other in axes) for axis in left)
    places = builder.constant("axes", np.array(reduced, dtype=np.int32))
    builder.emit("MEAN", (builder.read(source, layout), places), node.outputs[0], names, {"keepDims": False})


def _axes(builder: Builder, node: Node, rank: int) -> list[int]:
    """The axes of a node, from its attribute (older opsets) or its second input; empty where it names none."""
    given: Sequence[int] | Array | None = node.attributes.get("axes")
    if given is None and len(node.inputs) > 1 and node.inputs[1]:
        given = builder.constant_value(node.inputs[1])
        if given is None:
            raise builder.unsupported(node, "its axes are computed, not constant")
    return [] if given is None else [int(axis) % rank for axis in given]
