"""What every operator's lowering writes to: the TFLite model in the making, and where each ONNX value lies in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from converters.errors import ConversionError
from converters.graph import Graph, Node
from converters.lowering.layout import Layout, holds, moving_axes, natural, shape_in
from converters.lowering.records import Array, Model, Operator, Tensor


class Builder:
    """A TFLite model in the making."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._tensors: dict[str, Tensor] = {}
        self._operators: list[Operator] = []
        self._places: dict[str, list[tuple[str, Layout]]] = {}
        self._columns: dict[str, Array] = {}
        self._readers = graph.consumers()
        for name in graph.inputs:
            self._new_place(name, natural(len(graph.shapes[name])), name)

    def constant_value(self, name: str) -> Array | None:
        """The array of an ONNX constant, or None where the value is computed."""
        return self.graph.constants.get(name)

    def shape(self, name: str) -> tuple[int, ...]:
        """The ONNX shape of a value."""
        return self.graph.shapes[name]

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
        """The TFLite tensor of a constant; one tensor for the same name and content."""
        data = np.ascontiguousarray(array.astype(np.float32) if array.dtype.kind == "f" else array.astype(np.int32))
        unique, count = name, 0
        while unique in self._tensors:
            known = self._tensors[unique]
            if known.data is not None and known.shape == data.shape and np.array_equal(known.data, data):
                return unique
            count += 1
            unique = f"{name}_{count}"
        self._tensors[unique] = Tensor(name=unique, shape=data.shape, dtype=str(data.dtype), data=data)
        return unique

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
        self._operators.append(Operator(code=code, inputs=tuple(inputs), outputs=(output,), options=options or {}))

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
        self._operators.append(Operator(code=code, inputs=tuple(inputs), outputs=(output,), options=options or {}))
        return output

    def same_tensor(self, value: str, source: str, layout: Layout) -> None:
        """Declares that `value` lies where `source` lies, read with another layout."""
        shape = self.shape(value)
        assert holds(layout, shape), f"{layout} cannot hold {shape}"
        self._places[value] = [(self._places[source][0][0], layout)]

    def feeds_only_matrices(self, value: str) -> bool:
        """Whether nothing but products with constant matrices read a value."""
        if any(value == name for _, name in self.graph.outputs):
            return False
        return all(
            reader.op in ("Gemm", "MatMul") and reader.inputs[0] == value and reader.inputs[1] in self.graph.constants
            for reader in self._readers.get(value, [])
        )

    def set_columns(self, value: str, columns: Array) -> None:
        """Declares that element i of each row of `value` is ONNX's element `columns[i]`."""
        self._columns[value] = columns

    def columns(self, value: str) -> Array | None:
        """What `set_columns` declared; None where both orders are the same."""
        return self._columns.get(value)

    def finish(self) -> Model:
        """The model, each output in its natural layout and under its public name."""
        outputs = []
        for public, value in self.graph.outputs:
            tensor = self.read(value, natural(len(self.shape(value))))
            if tensor in self.graph.inputs or tensor in outputs:
                shape = self._tensors[tensor].shape
                tensor = self.emit_extra("RESHAPE", (tensor, self._shape_tensor(shape)), public, shape, _reshape(shape))
            outputs.append(self._rename(tensor, public))
        return Model(
            tensors=self._tensors, operators=tuple(self._operators), inputs=self.graph.inputs, outputs=tuple(outputs)
        )

    def unsupported(self, node: Node, reason: str) -> ConversionError:
        """The error for an operator that has no TFLite form as it is used here."""
        shapes = ", ".join(str(list(self.shape(name))) for name in node.inputs if name)
        return ConversionError(f"{node.op} node '{node.name}' cannot be converted: {reason} (input shapes {shapes})")

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
        output = self._new_place(value, layout, f"{value}/reshaped")
        inputs = (tensor, self._shape_tensor(shape))
        self._operators.append(Operator(code="RESHAPE", inputs=inputs, outputs=(output,), options=_reshape(shape)))
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
        self._operators.append(Operator(code="TRANSPOSE", inputs=(tensor, permutation), outputs=(output,)))
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
            Operator(
                code=operator.code,
                inputs=tuple(new if name == old else name for name in operator.inputs),
                outputs=tuple(new if name == old else name for name in operator.outputs),
                options=operator.options,
            )
            for operator in self._operators
        ]
        self._places = {
            value: [(new if name == old else name, layout) for name, layout in places]
            for value, places in self._places.items()
        }


def _reshape(shape: Sequence[int]) -> dict[str, Any]:
    return {"newShape": list(shape)}


def _in_layout(array: Array, layout: Layout) -> Array:
    order = [axis for axis in layout if axis is not None]
    missing = [axis for axis in range(array.ndim) if axis not in order]
    moved = np.transpose(array, [*order, *missing])
    return moved.reshape(shape_in(layout, array.shape))
