"""Our view of an ONNX model: static shapes everywhere, constants folded, nothing dead.

Between `converters.to_onnx`, which makes the model, and `converters.lowering`, which reads this graph.
The exporter leaves hundreds of nodes that compute shapes; after reading, only the arithmetic of the network is left.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import defs, helper, inliner, numpy_helper, shape_inference
from onnx.checker import ValidationError
from onnx.reference import ReferenceEvaluator

from converters.errors import ConversionError
from converters.unroll import CONTROL_FLOW, write_out

Array = npt.NDArray[Any]

_MAX_BYTES = 1 << 30
_MAX_NODES = 200_000
_SMALL = 1024
_PASS_THROUGH = ("Identity", "Dropout")
_STANDARD = {"", "ai.onnx"}
_SOFTMAX_OF_ONE_AXIS = 13
# These make more than they are given; their results are sized up before they are computed.
_GROWING = ("ConstantOfShape", "Expand", "Tile", "Range", "Pad", "Resize", "Upsample", "Gather", "Concat", "Add", "Sub",
            "Mul", "Div", "MatMul", "Gemm", "Conv", "Einsum", "OneHot", "ConvTranspose")  # fmt: skip
# The reference evaluator is numpy under another name, and lets its errors through.
_EVALUATION_ERRORS = (RuntimeError, NotImplementedError, ValueError, TypeError, IndexError, KeyError, AttributeError,
                      ArithmeticError, MemoryError, AssertionError, ValidationError)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Node:
    """One operator.

    Attributes:
        op: the ONNX operator's name, such as Conv.
        name: the exporter's name, for messages.
        inputs: names of values or constants; "" where an optional one is absent.
        outputs: names of the values it makes.
        attributes: as ONNX gives them; strings decoded.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Graph:
    """A network as a list of operators in the order of the data.

    Attributes:
        nodes: topologically sorted; every one contributes to an output.
        inputs: names of the values that come from outside.
        outputs: (public name, name of the value that has it).
        shapes: of every value and constant.
        constants: arrays by name.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[tuple[str, str], ...]
    shapes: Mapping[str, tuple[int, ...]]
    constants: Mapping[str, Array]

    def consumers(self) -> dict[str, list[Node]]:
        """The nodes that read each value; a value that is an output counts as read by nobody."""
        readers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in node.inputs:
                readers.setdefault(name, []).append(node)
        return readers

    def with_nodes(
        self, nodes: list[Node], constants: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]] | None = None
    ) -> Graph:
        """This graph with other nodes, more constants and the shapes of new values, without what is dead now."""
        merged = {**self.constants, **constants}
        of_constants = {name: tuple(array.shape) for name, array in constants.items()}
        shapes = {**self.shapes, **(shapes or {}), **of_constants}
        return _without_dead(replace(self, nodes=tuple(nodes), constants=merged, shapes=shapes))


def read_graph(model: onnx.ModelProto, input_shape: Sequence[int] | None = None) -> Graph:
    """The graph of a checked ONNX model.

    Args:
        model: from `converters.onnx_file` or `converters.to_onnx`.
        input_shape: what the free lengths of the model's one input are to be; None refuses free lengths.

    Raises:
        ConversionError: an input has no static float32 shape, an operator is unknown to ONNX, a shape cannot be
            inferred or is too large, control flow depends on the input, or an output does not depend on it.
    """
    reader = Reader(model, input_shape)
    for node in reader.main.node:
        reader.add(node)
    outputs = tuple((item.name, reader.resolve(item.name)) for item in reader.main.output)
    for public, name in outputs:
        if name in reader.constants or name in reader.inputs:
            raise ConversionError(f"output '{public}' is not computed from the input: there is nothing to convert")
    return _without_dead(
        Graph(
            nodes=tuple(reader.nodes),
            inputs=reader.inputs,
            outputs=outputs,
            shapes={name: reader.shape_of(name) for name in reader.types},
            constants=reader.constants,
        )
    )


class Reader:
    """Reads nodes in order: folds what is constant, infers the type of what is not."""

    def __init__(self, model: onnx.ModelProto, input_shape: Sequence[int] | None) -> None:
        if model.functions:
            model = inliner.inline_local_functions(model)
        self.main = model.graph
        self.opsets = list(model.opset_import)
        self.ir_version = model.ir_version
        self.constants: dict[str, Array] = {}
        self.types: dict[str, onnx.TypeProto] = {}
        self.nodes: list[Node] = []
        self._aliases: dict[str, str] = {}
        for initializer in model.graph.initializer:
            self.add_initializer(initializer.name, initializer)
        given = [item for item in model.graph.input if item.name not in self.constants]
        self.inputs = tuple(item.name for item in given)
        for item in given:
            if item.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
                kind = onnx.TensorProto.DataType.Name(item.type.tensor_type.elem_type)
                raise ConversionError(f"input '{item.name}' is {kind}; only float32 inputs can be converted")
            self.types[item.name] = _fixed(item.type, input_shape) if len(given) == 1 and input_shape else item.type
            self.shape_of(item.name)

    def resolve(self, name: str) -> str:
        """The value that a name stands for."""
        return self._aliases.get(name, name)

    def alias(self, name: str, value: str) -> None:
        """Makes a name stand for a value."""
        self._aliases[name] = value

    def constant_of(self, name: str) -> Array | None:
        """The array of a constant; None where the value is computed."""
        return self.constants.get(self.resolve(name))

    def shape_of(self, name: str) -> tuple[int, ...]:
        """The static shape of a value."""
        value = self.resolve(name)
        if value not in self.types:
            raise ConversionError(f"value '{name}' is read before anything makes it; the model is damaged")
        return _static_shape(value, self.types[value])

    def add_constant(self, name: str, array: Array) -> None:
        """Gives a constant its name."""
        self.constants[name] = array
        element = helper.np_dtype_to_tensor_dtype(array.dtype)
        self.types[name] = helper.make_tensor_type_proto(element, array.shape)

    def add_initializer(self, name: str, tensor: onnx.TensorProto) -> None:
        """Gives a stored tensor its name."""
        try:
            self.add_constant(name, numpy_helper.to_array(tensor))
        except (ValueError, TypeError, KeyError, NotImplementedError, OSError, ValidationError) as cause:
            raise ConversionError(f"the constant '{name}' cannot be read: {cause}") from cause

    def emit(
        self, op: str, inputs: Sequence[str], outputs: Sequence[str], shape: tuple[int, ...], **attributes: Any
    ) -> None:
        """Adds a node of our own, all of whose outputs have one shape."""
        self._append(Node(op=op, name=outputs[0], inputs=tuple(inputs), outputs=tuple(outputs), attributes=attributes))
        for name in outputs:
            self.types[name] = helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, shape)

    def add(self, proto: onnx.NodeProto) -> None:
        """Reads one node; what it reads has been read."""
        inputs = tuple(self.resolve(name) for name in proto.input)
        for name in inputs:
            if name and name not in self.types:
                raise ConversionError(f"{_described(proto)} reads '{name}', which nothing before it makes")
        if proto.op_type in CONTROL_FLOW and proto.domain in _STANDARD:
            write_out(self, proto, _attributes(proto))
        elif proto.op_type in _PASS_THROUGH:
            self._aliases[proto.output[0]] = inputs[0]
        elif proto.op_type == "Shape" and inputs:
            shape = self.shape_of(inputs[0])
            start, end = _attributes(proto).get("start", 0), _attributes(proto).get("end")
            self.add_constant(proto.output[0], np.array(shape[start:end], dtype=np.int64))
        elif all(name in self.constants for name in inputs if name):
            self._fold(proto, inputs)
        else:
            self._keep(proto, inputs)

    def _fold(self, proto: onnx.NodeProto, inputs: tuple[str, ...]) -> None:
        feeds = {given: self.constants[name] for given, name in zip(proto.input, inputs, strict=True) if name}
        opsets = {opset.domain: opset.version for opset in self.opsets}
        if proto.op_type in _GROWING:
            for kind in self._inferred(proto, inputs).values():
                _static_shape(proto.output[0], kind)
        try:
            results = ReferenceEvaluator(proto, opsets=opsets).run(None, feeds)
        except _EVALUATION_ERRORS as cause:
            raise ConversionError(f"cannot compute the constant {_described(proto)}: {cause}") from cause
        for name, result in zip(proto.output, results, strict=False):
            array = np.asarray(result)
            if array.nbytes > _MAX_BYTES or array.dtype.kind not in "fiub":
                raise ConversionError(f"the constant {_described(proto)} is {array.dtype} of {array.nbytes:,} bytes")
            self.add_constant(name, array)

    def _keep(self, proto: onnx.NodeProto, inputs: tuple[str, ...]) -> None:
        self.types.update(self._inferred(proto, inputs))
        attributes = _attributes(proto)
        if proto.op_type == "Softmax" and self._version(proto) < _SOFTMAX_OF_ONE_AXIS:
            attributes["axis"] = _one_axis(proto, attributes.get("axis", 1), self.shape_of(inputs[0]))
        self._append(
            Node(
                op=proto.op_type,
                name=proto.name or proto.output[0],
                inputs=inputs,
                outputs=tuple(proto.output),
                attributes=attributes,
            )
        )

    def _inferred(self, proto: onnx.NodeProto, inputs: tuple[str, ...]) -> Mapping[str, onnx.TypeProto]:
        renamed = onnx.NodeProto()
        renamed.CopyFrom(proto)
        renamed.input[:] = inputs
        lengths = self._lengths(inputs[0]) if proto.op_type == "Slice" and inputs else []
        if min(lengths, default=1) < 1:
            # onnx ends the whole process over a part of nothing, such as a window longer than its map leaves.
            raise ConversionError(f"{_described(proto)} takes a part of '{inputs[0]}', which has the shape {lengths}")
        try:
            schema = defs.get_schema(proto.op_type, self._version(proto), proto.domain)
        except defs.SchemaError as cause:
            raise ConversionError(
                f"{_described(proto)} is no standard ONNX operator: it cannot be converted"
            ) from cause
        small = {
            name: numpy_helper.from_array(self.constants[name])
            for name in inputs
            if name in self.constants
            and self.constants[name].size <= _SMALL
            and self.constants[name].dtype.kind in "if"
        }
        try:
            inferred: Mapping[str, onnx.TypeProto] = shape_inference.infer_node_outputs(
                schema,
                renamed,
                {name: self.types[name] for name in inputs if name},
                input_data=small,
                opset_imports=self.opsets,
                ir_version=self.ir_version,
            )
        except (shape_inference.InferenceError, ValidationError, RuntimeError, KeyError, ValueError) as cause:
            raise ConversionError(f"the shape that {_described(proto)} makes is unknown: {cause}") from cause
        return inferred

    def _lengths(self, name: str) -> list[int]:
        return [dim.dim_value for dim in self.types[name].tensor_type.shape.dim if dim.HasField("dim_value")]

    def _version(self, proto: onnx.NodeProto) -> int:
        for opset in self.opsets:
            if opset.domain == proto.domain or {opset.domain, proto.domain} <= _STANDARD:
                return int(opset.version)
        raise ConversionError(f"{_described(proto)} is no standard ONNX operator: it cannot be converted")

    def _append(self, node: Node) -> None:
        if len(self.nodes) >= _MAX_NODES:
            raise ConversionError(
                f"the model comes to more than {_MAX_NODES:,} operators; '{node.name}' is one too many"
            )
        self.nodes.append(node)


def _without_dead(graph: Graph) -> Graph:
    wanted = {name for _, name in graph.outputs}
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if wanted.intersection(node.outputs):
            kept.append(node)
            wanted.update(node.inputs)
    return replace(
        graph,
        nodes=tuple(reversed(kept)),
        constants={name: array for name, array in graph.constants.items() if name in wanted},
    )


def _static_shape(name: str, kind: onnx.TypeProto) -> tuple[int, ...]:
    if not kind.tensor_type.HasField("shape"):
        raise ConversionError(f"value '{name}' has no known shape; export the model with static shapes")
    dims = kind.tensor_type.shape.dim
    if not all(dim.HasField("dim_value") and dim.dim_value > 0 for dim in dims):
        seen = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in dims]
        raise ConversionError(f"value '{name}' has the shape {seen}; export the model with static shapes")
    shape = tuple(int(dim.dim_value) for dim in dims)
    if 4 * math.prod(shape) > _MAX_BYTES:
        raise ConversionError(f"value '{name}' has the shape {list(shape)}, more than the {_MAX_BYTES:,} bytes allowed")
    return shape


def _fixed(kind: onnx.TypeProto, shape: Sequence[int]) -> onnx.TypeProto:
    """The type with its free lengths as in `shape`; as it is where the ranks differ."""
    fixed = onnx.TypeProto()
    fixed.CopyFrom(kind)
    dims = fixed.tensor_type.shape.dim
    if not kind.tensor_type.HasField("shape"):
        return helper.make_tensor_type_proto(kind.tensor_type.elem_type, list(shape))
    if len(dims) == len(shape):
        for dim, length in zip(dims, shape, strict=True):
            if not dim.HasField("dim_value"):
                dim.dim_value = length
    return fixed


def _one_axis(proto: onnx.NodeProto, axis: int, shape: tuple[int, ...]) -> int:
    """The axis of a Softmax before opset 13, which ran over its axis and all after it together."""
    place = axis % len(shape)
    if math.prod(shape[place + 1 :]) > 1:
        raise ConversionError(
            f"{_described(proto)} runs over axis {place} of {list(shape)} and all axes after it, as before opset 13; "
            "export the model at opset 13 or later"
        )
    return place


def _attributes(proto: onnx.NodeProto) -> dict[str, Any]:
    decoded: dict[str, Any] = {}
    for attribute in proto.attribute:
        value = helper.get_attribute_value(attribute)
        if attribute.type == onnx.AttributeProto.STRINGS:
            value = [each.decode(errors="replace") for each in value]
        decoded[attribute.name] = value.decode(errors="replace") if isinstance(value, bytes) else value
    return decoded


def _described(proto: onnx.NodeProto) -> str:
    return f"{proto.op_type} node '{proto.name or proto.output[0]}'"
