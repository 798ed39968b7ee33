"""Lowering of operators that take a part of a value: Split, Slice, Gather."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from converters.graph import Node
from converters.lowering.builder import Builder
from converters.lowering.layout import Layout, natural, without_axes
from converters.lowering.records import Array


def lower_split(builder: Builder, node: Node) -> None:
    """Split along one axis, as SPLIT where the parts are alike, else as one SLICE for each part."""
    source = node.inputs[0]
    shape = builder.shape(source)
    axis = node.attributes.get("axis", 0) % len(shape)
    layout = _with_axis(builder, source, axis)
    lengths = [builder.shape(value)[axis] for value in node.outputs]
    tensor = builder.read(source, layout)
    if len(set(lengths)) == 1 and len(lengths) * lengths[0] == shape[axis]:
        place = builder.constant("axis", np.array(layout.index(axis), dtype=np.int32))
        builder.emit_parts("SPLIT", (place, tensor), node.outputs, layout, {"numSplits": len(lengths)})
        return
    start = 0
    for value, length in zip(node.outputs, lengths, strict=True):
        _emit_slice(builder, tensor, value, layout, {axis: (start, length)})
        start += length


def lower_slice(builder: Builder, node: Node) -> None:
    """Slice with constant bounds, as SLICE, or as STRIDED_SLICE where it leaves elements out."""
    source = node.inputs[0]
    shape = builder.shape(source)
    starts, ends, axes, steps = _bounds(builder, node, len(shape))
    layout = builder.layout(source)
    if any(axis not in layout for axis in axes):
        layout = natural(len(shape))
    ranges = {axis: range(*slice(start, end, step).indices(shape[axis]))
              for axis, start, end, step in zip(axes, starts, ends, steps, strict=True)}  # fmt: skip
    if any(step < 0 for step in steps):
        raise builder.unsupported(node, "it runs backwards (a negative step)")
    is_step = len(axes) == 1 and len(ranges[axes[0]]) == 1 and axes[0] in builder.layout(source)
    if is_step and builder.take_piece(node.outputs[0], source, axes[0], ranges[axes[0]][0], layout):
        return
    tensor = builder.read(source, layout)
    if all(step == 1 or len(ranges[axis]) == 1 for axis, step in zip(axes, steps, strict=True)):
        taken = {axis: (each.start, len(each)) for axis, each in ranges.items()}
        _emit_slice(builder, tensor, node.outputs[0], layout, taken)
        return
    chosen = [ranges.get(axis, range(1)) if axis is not None else range(1) for axis in layout]
    whole = [axis is None or axis not in ranges for axis in layout]
    begin = [0 if all_of_it else each.start for all_of_it, each in zip(whole, chosen, strict=True)]
    lengths = [1 if axis is None else shape[axis] for axis in layout]
    end = [length if all_of_it else each.stop for all_of_it, each, length in zip(whole, chosen, lengths, strict=True)]
    stride = [1 if all_of_it else each.step for all_of_it, each in zip(whole, chosen, strict=True)]
    bounds = [builder.constant(name, np.array(values, dtype=np.int32))
              for name, values in (("begin", begin), ("end", end), ("strides", stride))]  # fmt: skip
    builder.emit("STRIDED_SLICE", (tensor, *bounds), node.outputs[0], layout, {})


def lower_gather(builder: Builder, node: Node) -> None:
    """Gather with constant indices: a step or a run of steps as SLICE, any others as GATHER."""
    source = node.inputs[0]
    shape = builder.shape(source)
    axis = node.attributes.get("axis", 0) % len(shape)
    indices = builder.constant_value(node.inputs[1])
    if indices is None:
        raise builder.unsupported(node, "its indices are computed, not constant")
    if indices.ndim > 1:
        raise builder.unsupported(node, f"indices of shape {list(indices.shape)}; one axis is supported")
    if indices.size and not (indices.min() >= -shape[axis] and indices.max() < shape[axis]):
        raise builder.unsupported(node, f"an index outside the {shape[axis]} elements of axis {axis}")
    wanted = np.atleast_1d(indices) % shape[axis]
    output = node.outputs[0]
    layout = _with_axis(builder, source, axis)
    kept = layout if indices.ndim else without_axes(layout, [axis])
    is_step = len(wanted) == 1 and layout == builder.layout(source)
    if is_step and builder.take_piece(output, source, axis, int(wanted[0]), kept):
        return
    tensor = builder.read(source, layout)
    if np.array_equal(wanted, np.arange(wanted[0], wanted[0] + len(wanted))):
        _emit_slice(builder, tensor, output, kept, {axis: (int(wanted[0]), len(wanted))}, source_layout=layout)
        return
    places = builder.constant("indices", wanted.astype(np.int32))
    builder.emit("GATHER", (tensor, places), output, layout, {"axis": layout.index(axis), "batchDims": 0})


def _emit_slice(
    builder: Builder,
    tensor: str,
    value: str,
    layout: Layout,
    taken: dict[int, tuple[int, int]],
    *,
    source_layout: Layout | None = None,
) -> None:
    """SLICE of `taken`, (start, length) by the axes of the source; `layout` is that of the part."""
    lengths = builder.tensor_shape(tensor)
    places = source_layout or layout
    begin = [taken[axis][0] if axis in taken else 0 for axis in places]
    size = [taken[axis][1] if axis in taken else length for axis, length in zip(places, lengths, strict=True)]
    bounds = [builder.constant(name, np.array(values, dtype=np.int32))
              for name, values in (("begin", begin), ("size", size))]  # fmt: skip
    builder.emit("SLICE", (tensor, *bounds), value, layout, {})


def _with_axis(builder: Builder, value: str, axis: int) -> Layout:
    layout = builder.layout(value)
    return layout if axis in layout else natural(len(builder.shape(value)))


def _bounds(builder: Builder, node: Node, rank: int) -> tuple[list[int], list[int], list[int], list[int]]:
    """Starts, ends, axes and steps of a Slice node."""
    given: list[Array | Sequence[int] | None] = []
    for place, name in enumerate(("starts", "ends", "axes", "steps"), start=1):
        present = len(node.inputs) > place and bool(node.inputs[place])
        value = builder.constant_value(node.inputs[place]) if present else node.attributes.get(name)
        if present and value is None:
            raise builder.unsupported(node, f"its {name} are computed, not constant")
        given.append(value)
    starts, ends = ([int(each) for each in value] for value in given[:2] if value is not None)
    axes = [int(axis) % rank for axis in given[2]] if given[2] is not None else list(range(len(starts)))
    steps = [int(step) for step in given[3]] if given[3] is not None else [1] * len(starts)
    return starts, ends, axes, steps
