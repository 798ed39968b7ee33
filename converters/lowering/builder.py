"""What every operator's lowering writes to: the TFLite model in the making, and where each ONNX value lies in it."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from converters.errors import ConversionError
from converters.graph import Graph, Node
from converters.lowering.layout import Layout, holds, moving_axes, natural, shape_in
from converters.lowering.records import Array, Model, Operator, Tensor


class Builder:
    """A TFLite model in the making.

    Args:
        graph: what is lowered.
        rows_first: whether maps keep rows before columns even where that moves the bytes of the first of them.
    """

    def __init__(self, graph: Graph, *, rows_first: bool = False) -> None:
        self.graph = graph
        self.rows_first = rows_first
        self._tensors: dict[str, Tensor] = {}
        self._operators: list[Operator] = []
        self._node = ""
        self._places: dict[str, list[tuple[str, Layout]]] = {}
        self._constants: dict[tuple[tuple[int, ...], str, bytes], str] = {}
        self._derived: dict[tuple[str, str], str] = {}
        self._reshaped: dict[str, str] = {}
        self._shapes_of: dict[str, list[str]] = defaultdict(list)
        self._orders: dict[str, Array] = {}
        self._concatenations: dict[str, Operator] = {}
        self._readers = graph.consumers()
        for name in graph.inputs:
            self._new_place(name, natural(len(graph.shapes[name])), name)

    def begin(self, node: Node) -> None:
        """Declares that what is added from now on comes from this node."""
        self._node = node.name

    def constant_value(self, name: str) -> Array | None:
        """The array of an ONNX constant, or None where the value is computed."""
        return self.graph.constants.get(name)

    def shape(self, name: str) -> tuple[int, ...]:
        """The ONNX shape of a value."""
        return self.graph.shapes[name]

    def tensor_shape(self, tensor: str) -> tuple[int, ...]:
        """The shape of a TFLite tensor."""
        return self._tensors[tensor].shape

    def lies_in(self, name: str, layout: Layout) -> bool:
        """Whether a value can be read in `layout` without moving a byte."""
        if name in self.graph.constants:
            return True
        shape = self.shape(name)
        order = moving_axes(layout, shape)
        return any(moving_axes(present, shape) == order for _, present in self._places[name])

    def has(self, name: str, layout: Layout) -> bool:
        """Whether a tensor holds a value in `layout` already."""
        shape = self.shape(name)
        known = (shape_in(present, shape) for _, present in self._places.get(name, []))
        return self.lies_in(name, layout) and shape_in(layout, shape) in known

    def layout(self, name: str) -> Layout:
        """The layout in which a value was first made."""
        if name in self.graph.constants:
            return natural(len(self.shape(name)))
        return self._places[name][0][1]

    def read(self, name: str, layout: Layout) -> str:
        """The TFLite tensor that holds a value in `layout`; made by RESHAPE or TRANSPOSE when there is none yet."""
        shape = self.shape(name)
        if name in self.graph.constants:
            return self.constant(name, _in_layout(self.graph.constants[name], layout))
        wanted = shape_in(layout, shape)
        order = moving_axes(layout, shape)
        places = self._places[name]
        for tensor, present in places:
            if moving_axes(present, shape) == order and shape_in(present, shape) == wanted:
                return tensor
        for tensor, present in places:
            if moving_axes(present, shape) == order:
                return self._reshape(name, tensor, layout)
        tensor, present = places[0]
        return self._transpose(name, tensor, present, layout)

    def constant(self, name: str, array: Array) -> str:
        """The TFLite tensor of a constant; one tensor for the same shape and content, whatever it is called."""
        kind = np.float32 if array.dtype.kind == "f" else np.int32
        data = np.ascontiguousarray(array, dtype=kind).reshape(array.shape)
        key = (data.shape, str(data.dtype), hashlib.blake2b(data.tobytes(), digest_size=16).digest())
        if key not in self._constants:
            unique = self._new_tensor(name, data.shape)
            self._tensors[unique] = Tensor(name=unique, shape=data.shape, dtype=str(data.dtype), data=data)
            self._constants[key] = unique
        return self._constants[key]

    def derived(self, source: str, how: str, make: Callable[[], Array]) -> str:
        """The TFLite tensor of what an ONNX constant becomes by `make`, which runs once for each `how`."""
        if (source, how) not in self._derived:
            self._derived[source, how] = self.constant(source, make())
        return self._derived[source, how]

    def emit(
        self,
        code: str,
        inputs: Sequence[str],
        value: str,
        layout: Layout,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Adds an operator that makes an ONNX value, in `layout`, from TFLite tensors."""
        output = self._new_place(value, layout, value)
        operator = self._append(code, inputs, (output,), options or {})
        if code == "RESHAPE":
            self._note_reshape(output, inputs[0])
        if code == "CONCATENATION":
            self._concatenations[output] = operator

    def unshaped(self, tensor: str) -> str:
        """The tensor whose bytes a RESHAPE gave another shape; the tensor itself where none did."""
        return self._reshaped.get(tensor, tensor)

    def emit_parts(
        self,
        code: str,
        inputs: Sequence[str],
        values: Sequence[str],
        layout: Layout,
        options: Mapping[str, Any],
    ) -> None:
        """Adds an operator that makes several ONNX values, all in `layout`."""
        outputs = tuple(self._new_place(value, layout, value) for value in values)
        self._append(code, inputs, outputs, options)

    def emit_extra(
        self,
        code: str,
        inputs: Sequence[str],
        name: str,
        shape: Sequence[int],
        options: Mapping[str, Any] | None = None,
    ) -> str:
        """Adds an operator that makes a tensor which no ONNX value has; returns the tensor's name."""
        output = self._new_tensor(name, tuple(shape))
        self._append(code, inputs, (output,), options or {})
        return output

    def same_tensor(self, value: str, source: str, layout: Layout) -> None:
        """Declares that `value` lies where `source` lies, read with another layout."""
        shape = self.shape(value)
        assert holds(layout, shape), f"{layout} cannot hold {shape}"
        self._places[value] = [(self._places[source][0][0], layout)]

    def readers(self, value: str) -> list[Node]:
        """The nodes that read a value."""
        return self._readers.get(value, [])

    def is_output(self, value: str) -> bool:
        """Whether a value leaves the model."""
        return any(value == name for _, name in self.graph.outputs)

    def set_order(self, value: str, order: Array) -> None:
        """Declares that element i along the axis of `value` that `lowering.order` tracks is ONNX's `order[i]`."""
        self._orders[value] = order

    def order(self, value: str) -> Array | None:
        """What `set_order` declared; None where both orders are the same."""
        return self._orders.get(value)

    def take_piece(self, value: str, source: str, axis: int, index: int, layout: Layout) -> bool:
        """Declares that `value` is the piece at `index` along `axis` of a concatenation of single steps, if it is one.

        Nothing is copied then, and a concatenation of which nothing else is read vanishes.
        """
        tensor, present = self._places[source][0]
        made = self._concatenations.get(tensor)
        if made is None or made.options["axis"] != present.index(axis) or len(made.inputs) != self.shape(source)[axis]:
            return False
        piece = made.inputs[index]
        if self._tensors[piece].data is not None:
            return False
        self._places[value] = [(piece, layout)]
        return True

    def finish(self) -> Model:
        """The model, each output in its natural layout and under its public name."""
        outputs = []
        for public, value in self.graph.outputs:
            tensor = self.read(value, natural(len(self.shape(value))))
            if tensor in self.graph.inputs or tensor in outputs:
                shape = self._tensors[tensor].shape
                tensor = self.emit_extra("RESHAPE", (tensor, self._shape_tensor(shape)), public, shape, _reshape(shape))
            outputs.append(self._rename(tensor, public))
        return _without_dead(
            Model(
                tensors=self._tensors,
                operators=tuple(self._operators),
                inputs=self.graph.inputs,
                outputs=tuple(outputs),
            )
        )

    def unsupported(self, node: Node, reason: str) -> ConversionError:
        """The error for an operator that has no TFLite form as it is used here."""
        shapes = ", ".join(str(list(self.shape(name))) for name in node.inputs if name)
        return ConversionError(f"{node.op} node '{node.name}' cannot be converted: {reason} (input shapes {shapes})")

    def _append(
        self, code: str, inputs: Sequence[str], outputs: tuple[str, ...], options: Mapping[str, Any]
    ) -> Operator:
        operator = Operator(code=code, inputs=tuple(inputs), outputs=outputs, options=options, node=self._node)
        self._operators.append(operator)
        return operator

    def _note_reshape(self, output: str, source: str) -> None:
        self._reshaped[output] = source
        self._shapes_of[source].append(output)

    def _new_place(self, value: str, layout: Layout, name: str) -> str:
        tensor = self._new_tensor(name, shape_in(layout, self.shape(value)))
        self._places.setdefault(value, []).append((tensor, layout))
        return tensor

    def _new_tensor(self, name: str, shape: tuple[int, ...]) -> str:
        unique, count = name, 0
        while unique in self._tensors:
            count += 1
            unique = f"{name}_{count}"
        self._tensors[unique] = Tensor(name=unique, shape=shape)
        return unique

    def _shape_tensor(self, shape: Sequence[int]) -> str:
        return self.constant("shape", np.array(shape, dtype=np.int32))

    def _reshape(self, value: str, tensor: str, layout: Layout) -> str:
        shape = shape_in(layout, self.shape(value))
        source = self.unshaped(tensor)
        known = next((each for each in self._shapes_of[source] if self._tensors[each].shape == shape), None)
        if known is not None:
            self._places[value].append((known, layout))
            return known
        output = self._new_place(value, layout, f"{value}/reshaped")
        inputs = (source, self._shape_tensor(shape))
        self._note_reshape(output, source)
        self._append("RESHAPE", inputs, (output,), _reshape(shape))
        return output

    def _transpose(self, value: str, tensor: str, present: Layout, layout: Layout) -> str:
        """One TRANSPOSE into `layout`; a RESHAPE before it gives the axes of length one their places."""
        shape = self.shape(value)
        moving = iter(moving_axes(present, shape))
        arranged = tuple(
            next(moving) if axis is not None and shape[axis] > 1 else None if axis is None else axis for axis in layout
        )
        if shape_in(arranged, shape) != self._tensors[tensor].shape:
            tensor = self._reshape(value, tensor, arranged)
        order = [arranged.index(axis) if axis is not None else place for place, axis in enumerate(layout)]
        permutation = self.constant("permutation", np.array(order, dtype=np.int32))
        output = self._new_place(value, layout, f"{value}/transposed")
        self._append("TRANSPOSE", (tensor, permutation), (output,), {})
        return output

    def _rename(self, tensor: str, public: str) -> str:
        if tensor == public:
            return public
        if public in self._tensors:
            self._swap(public, self._new_tensor(f"{public}/inner", self._tensors[public].shape))
        self._swap(tensor, public)
        return public

    def _swap(self, old: str, new: str) -> None:
        moved = self._tensors.pop(old)
        self._tensors[new] = Tensor(name=new, shape=moved.shape, dtype=moved.dtype, data=moved.data)
        self._operators = [
            replace(
                operator,
                inputs=tuple(new if name == old else name for name in operator.inputs),
                outputs=tuple(new if name == old else name for name in operator.outputs),
            )
            for operator in self._operators
        ]
        self._places = {
            value: [(new if name == old else name, layout) for name, layout in places]
            for value, places in self._places.items()
        }


def _without_dead(model: Model) -> Model:
    """The model without operators whose outputs nobody reads, and without tensors that no operator has."""
    wanted, kept = set(model.outputs), []
    for operator in reversed(model.operators):
        if wanted.intersection(operator.outputs):
            kept.append(operator)
            wanted.update(operator.inputs)
    used = {name for operator in kept for name in (*operator.inputs, *operator.outputs)} | {*model.inputs}
    tensors = {name: tensor for name, tensor in model.tensors.items() if name in used}
    return replace(model, tensors=tensors, operators=tuple(reversed(kept)))


def _reshape(shape: Sequence[int]) -> dict[str, Any]:
    return {"newShape": list(shape)}


def _in_layout(array: Array, layout: Layout) -> Array:
    order = [axis for axis in layout if axis is not None]
    missing = [axis for axis in range(array.ndim) if axis not in order]
    moved = np.transpose(array, [*order, *missing])
    return moved.reshape(shape_in(layout, array.shape))
