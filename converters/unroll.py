"""ONNX's control flow written out: the branch that is taken, and the steps of Scan and Loop.

Used by `converters.graph` while it reads. A body is read once for each step, under names of that step; what it takes
from outside keeps its name. Where something that decides is computed, there is nothing to write out.
Source: ONNX's operators If, Loop and Scan, https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from converters.errors import ConversionError

if TYPE_CHECKING:
    from converters.graph import Reader

CONTROL_FLOW = ("If", "Loop", "Scan")


def write_out(reader: Reader, proto: onnx.NodeProto, attributes: Mapping[str, Any]) -> None:
    """Reads an If, Loop or Scan node as the nodes that it comes to.

    Raises:
        ConversionError: its condition, or the number of its steps, is computed.
    """
    {"If": _if, "Loop": _loop, "Scan": _scan}[proto.op_type](reader, proto, attributes)


def _if(reader: Reader, proto: onnx.NodeProto, attributes: Mapping[str, Any]) -> None:
    condition = reader.constant_of(proto.input[0])
    if condition is None:
        raise _refused(proto, "which branch it takes is computed")
    branch = attributes["then_branch" if bool(np.all(condition)) else "else_branch"]
    for outer, inner in zip(proto.output, _read_body(reader, branch, (), f"{proto.output[0]}/branch"), strict=True):
        reader.alias(outer, inner)


def _loop(reader: Reader, proto: onnx.NodeProto, attributes: Mapping[str, Any]) -> None:
    body: onnx.GraphProto = attributes["body"]
    count = reader.constant_of(proto.input[0]) if proto.input[0] else None
    condition = reader.constant_of(proto.input[1]) if len(proto.input) > 1 and proto.input[1] else np.array(True)
    if count is None or condition is None:
        raise _refused(proto, "how many steps it takes is computed")
    states = [reader.resolve(name) for name in proto.input[2:]]
    collected: list[list[str]] = [[] for _ in range(len(body.output) - 1 - len(states))]
    for step in range(int(count.item()) if bool(condition.item()) else 0):
        prefix = f"{proto.output[0]}/step{step}"
        number, goes_on = f"{prefix}/number", f"{prefix}/goes_on"
        reader.add_constant(number, np.array(step, np.int64))
        reader.add_constant(goes_on, np.array(True))
        made = _read_body(reader, body, (number, goes_on, *states), prefix)
        states = made[1 : 1 + len(states)]
        for each, name in zip(collected, made[1 + len(states) :], strict=True):
            each.append(name)
        condition = reader.constant_of(made[0])
        if condition is None:
            raise _refused(proto, "whether it goes on is computed")
        if not bool(condition.item()):
            break
    _give_outputs(reader, proto, states, collected, [0] * len(collected))


def _scan(reader: Reader, proto: onnx.NodeProto, attributes: Mapping[str, Any]) -> None:
    body: onnx.GraphProto = attributes["body"]
    scanned = int(attributes["num_scan_inputs"])
    states = [reader.resolve(name) for name in proto.input[: len(proto.input) - scanned]]
    sequences = [reader.resolve(name) for name in proto.input[len(proto.input) - scanned :]]
    outputs = len(body.output) - len(states)
    axes = attributes.get("scan_input_axes", [0] * scanned)
    backwards = attributes.get("scan_input_directions", [0] * scanned)
    prepends = attributes.get("scan_output_directions", [0] * outputs)
    parts = [
        _steps(reader, name, axis, f"{proto.output[0]}/sequence{place}")
        for place, (name, axis) in enumerate(zip(sequences, axes, strict=True))
    ]
    parts = [each[::-1] if back else each for each, back in zip(parts, backwards, strict=True)]
    if len({len(each) for each in parts}) != 1:
        raise _refused(proto, f"its sequences have {', '.join(str(len(each)) for each in parts)} steps")
    collected: list[list[str]] = [[] for _ in range(outputs)]
    for step, given in enumerate(zip(*parts, strict=True)):
        made = _read_body(reader, body, (*states, *given), f"{proto.output[0]}/step{step}")
        states = made[: len(states)]
        for each, name in zip(collected, made[len(states) :], strict=True):
            each.append(name)
    collected = [each[::-1] if prepend else each for each, prepend in zip(collected, prepends, strict=True)]
    axes = attributes.get("scan_output_axes", [0] * outputs)
    _give_outputs(reader, proto, states, collected, axes)


def _read_body(reader: Reader, body: onnx.GraphProto, given: Sequence[str], prefix: str) -> list[str]:
    """Reads a body once, its inputs being the values `given`; returns the values that its outputs are."""
    names = {item.name: name for item, name in zip(body.input, given, strict=True)}
    for initializer in body.initializer:
        names[initializer.name] = f"{prefix}/{initializer.name}"
        reader.add_initializer(names[initializer.name], initializer)
    for node in body.node:
        reader.add(_renamed(node, names, prefix))
    return [reader.resolve(names.get(item.name, item.name)) for item in body.output]


def _renamed(node: onnx.NodeProto, names: dict[str, str], prefix: str) -> onnx.NodeProto:
    """The node under the names of a step; the names of its outputs join `names`."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.name = f"{prefix}/{node.name or node.op_type}"
    copy.input[:] = [names.get(name, name) for name in node.input]
    for attribute in copy.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            _rename_free(attribute.g, names)
    for place, name in enumerate(node.output):
        if name:
            names[name] = f"{prefix}/{name}"
            copy.output[place] = names[name]
    return copy


def _rename_free(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Renames what a body inside a body takes from outside."""
    own = {item.name for item in (*graph.input, *graph.initializer)} | {
        name for node in graph.node for name in node.output
    }
    free = {name: new for name, new in names.items() if name not in own}
    for node in graph.node:
        node.input[:] = [free.get(name, name) for name in node.input]
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _rename_free(attribute.g, free)
    for item in graph.output:
        item.name = free.get(item.name, item.name)


def _steps(reader: Reader, name: str, axis: int, prefix: str) -> list[str]:
    """The values of a sequence's steps, without its axis of time."""
    shape = reader.shape_of(name)
    axis %= len(shape)
    count = shape[axis]
    names = [f"{prefix}/{step}" for step in range(count)]
    known = reader.constant_of(name)
    if known is not None:
        for step, each in enumerate(names):
            reader.add_constant(each, np.take(known, step, axis=axis))
        return names
    kept = tuple(1 if place == axis else length for place, length in enumerate(shape))
    parts = [name] if count == 1 else [f"{each}/with_time" for each in names]
    if count > 1:
        reader.emit("Split", [name], parts, kept, axis=axis)
    for part, each in zip(parts, names, strict=True):
        reader.emit("Squeeze", [part], [each], kept[:axis] + kept[axis + 1 :], axes=[axis])
    return names


def _give_outputs(
    reader: Reader,
    proto: onnx.NodeProto,
    states: Sequence[str],
    collected: Sequence[Sequence[str]],
    axes: Sequence[int],
) -> None:
    """Names the last states and the stacked outputs of all steps as the node does."""
    for outer, inner in zip(proto.output, states, strict=False):
        reader.alias(outer, inner)
    for outer, values, axis in zip(proto.output[len(states) :], collected, axes, strict=False):
        if not outer:
            continue
        if not values:
            raise _refused(proto, "it takes no step and gives an output of every step")
        shape = list(reader.shape_of(values[0]))
        place = axis % (len(shape) + 1)
        shape.insert(place, 1)
        pieces = [f"{outer}/piece{step}" for step in range(len(values))]
        for piece, value in zip(pieces, values, strict=True):
            reader.emit("Unsqueeze", [value], [piece], tuple(shape), axes=[place])
        shape[place] = len(values)
        reader.emit("Concat", pieces, [outer], tuple(shape), axis=place)


def _refused(proto: onnx.NodeProto, reason: str) -> ConversionError:
    name = proto.name or proto.output[0]
    return ConversionError(f"{proto.op_type} node '{name}' cannot be written out: {reason}; a model has fixed steps")
