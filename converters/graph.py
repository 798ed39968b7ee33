"""Our view of an ONNX model: static shapes everywhere, constants folded, nothing dead.

Between `converters.to_onnx`, which makes the model, and `converters.lowering`, which reads this graph.
The exporter leaves hundreds of nodes that compute shapes; after reading, only the arithmetic of the network is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import defs, helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from converters.errors import ConversionError

Array = npt.NDArray[Any]

_MAX_FOLDED_BYTES = 1 << 28
_PASS_THROUGH = ("Identity", "Dropout")


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

    def with_nodes(self, nodes: list[Node], constants: Mapping[str, Array]) -> Graph:
        """This graph with other nodes and more constants, without what is dead now."""
        merged = {**self.constants, **constants}
        shapes = {**self.shapes, **{name: tuple(array.shape) for name, array in constants.items()}}
        return _without_dead(replace(self, nodes=tuple(nodes), constants=merged, shapes=shapes))


def read_graph(model: onnx.ModelProto) -> Graph:
    """The graph of a checked ONNX model.

    Raises:
        ConversionError: an input has no static float32 shape, an operator is unknown to ONNX,
            a shape cannot be inferred, or an output does not depend on the input.
    """
    reader = _Reader(model)
    for node in model.graph.node:
        reader.add(node)
    outputs = tuple((item.name, reader.resolve(item.name)) for item in model.graph.output)
    for public, name in outputs:
        if name in reader.constants or name in reader.inputs:
            raise ConversionError(f"output '{public}' is not computed from the input: there is nothing to convert")
    return _without_dead(
        Graph(
            nodes=tuple(reader.nodes),
            inputs=reader.inputs,
            outputs=outputs,
            shapes={name: _static_shape(name, kind) for name, kind in reader.types.items()},
            constants=reader.constants,
        )
    )


class _Reader:
    """Reads nodes in order: folds what is constant, infers the type of what is not."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.opsets = list(model.opset_import)
        self.ir_version = model.ir_version
        self.constants: dict[str, Array] = {}
        self.types: dict[str, onnx.TypeProto] = {}
        self.aliases: dict[str, str] = {}
        self.nodes: list[Node] = []
        for initializer in model.graph.initializer:
            self._add_constant(initializer.name, numpy_helper.to_array(initializer))
        given = [item for item in model.graph.input if item.name not in self.constants]
        self.inputs = tuple(item.name for item in given)
        for item in given:
            if item.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
                kind = onnx.TensorProto.DataType.Name(item.type.tensor_type.elem_type)
                raise ConversionError(f"input '{item.name}' is {kind}; only float32 inputs can be converted")
            _static_shape(item.name, item.type)
            self.types[item.name] = item.type

    def resolve(self, name: str) -> str:
        return self.aliases.get(name, name)

    def add(self, proto: onnx.NodeProto) -> None:
        inputs = tuple(self.resolve(name) for name in proto.input)
        if proto.op_type in _PASS_THROUGH:
            self.aliases[proto.output[0]] = inputs[0]
        elif proto.op_type == "Shape" and inputs[0] in self.types:
            shape = _static_shape(inputs[0], self.types[inputs[0]])
            start, end = _attributes(proto).get("start", 0), _attributes(proto).get("end")
            self._add_constant(proto.output[0], np.array(shape[start:end], dtype=np.int64))
        elif proto.op_type == "If" and inputs[0] in self.constants:
            self._inline(proto, taken=bool(self.constants[inputs[0]]))
        elif all(name in self.constants for name in inputs if name):
            self._fold(proto, inputs)
        else:
            self._keep(proto, inputs)

    def _inline(self, proto: onnx.NodeProto, *, taken: bool) -> None:
        """Reads the branch that a constant condition takes; the exporter asks so whether an axis has length one."""
        branch: onnx.GraphProto = _attributes(proto)["then_branch" if taken else "else_branch"]
        for initializer in branch.initializer:
            self._add_constant(initializer.name, numpy_helper.to_array(initializer))
        for node in branch.node:
            self.add(node)
        for outer, inner in zip(proto.output, branch.output, strict=True):
            self.aliases[outer] = self.resolve(inner.name)

    def _fold(self, proto: onnx.NodeProto, inputs: tuple[str, ...]) -> None:
        feeds = {given: self.constants[name] for given, name in zip(proto.input, inputs, strict=True) if name}
        opsets = {opset.domain: opset.version for opset in self.opsets}
        try:
            results = ReferenceEvaluator(proto, opsets=opsets).run(None, feeds)
        except (RuntimeError, NotImplementedError, ValueError, TypeError, IndexError) as cause:
            raise ConversionError(f"cannot compute the constant {_described(proto)}: {cause}") from cause
        for name, result in zip(proto.output, results, strict=True):
            array = np.asarray(result)
            if array.nbytes > _MAX_FOLDED_BYTES:
                raise ConversionError(f"the constant {_described(proto)} has {array.nbytes:,} bytes")
            self._add_constant(name, array)

    def _keep(self, proto: onnx.NodeProto, inputs: tuple[str, ...]) -> None:
        renamed = onnx.NodeProto()
        renamed.CopyFrom(proto)
        del renamed.input[:]
        renamed.input.extend(inputs)
        try:
            version = next(opset.version for opset in self.opsets if opset.domain == proto.domain)
            schema = defs.get_schema(proto.op_type, version, proto.domain)
        except (StopIteration, defs.SchemaError) as cause:
            raise ConversionError(
                f"{_described(proto)} is no standard ONNX operator: it cannot be converted"
            ) from cause
        small = {
            name: numpy_helper.from_array(self.constants[name])
            for name in inputs
            if name in self.constants and self.constants[name].dtype == np.int64
        }
        try:
            inferred = shape_inference.infer_node_outputs(
                schema,
                renamed,
                {name: self.types[name] for name in inputs if name},
                input_data=small,
                opset_imports=self.opsets,
                ir_version=self.ir_version,
            )
        except (shape_inference.InferenceError, RuntimeError, KeyError) as cause:
            raise ConversionError(f"the shape that {_described(proto)} makes is unknown: {cause}") from cause
        self.types.update(inferred)
        self.nodes.append(
            Node(
                op=proto.op_type,
                name=proto.name or proto.output[0],
                inputs=inputs,
                outputs=tuple(proto.output),
                attributes=_attributes(proto),
            )
        )

    def _add_constant(self, name: str, array: Array) -> None:
        self.constants[name] = array
        element = helper.np_dtype_to_tensor_dtype(array.dtype)
        self.types[name] = helper.make_tensor_type_proto(element, array.shape)


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
    return tuple(dim.dim_value for dim in dims)


def _attributes(proto: onnx.NodeProto) -> dict[str, Any]:
    decoded: dict[str, Any] = {}
    for attribute in proto.attribute:
        value = helper.get_attribute_value(attribute)
        decoded[attribute.name] = value.decode() if isinstance(value, bytes) else value
    return decoded


def _described(proto: onnx.NodeProto) -> str:
    return f"{proto.op_type} node '{proto.name or proto.output[0]}'"
