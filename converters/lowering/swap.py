"""Height and width of every map exchanged, where that lets constants lie side by side in memory.

A normalisation by frequency multiplies a map [1, frequency, time, channels] by a constant [1, frequency, 1, channels],
which an engine repeats for every step of time, a few numbers at a time. With time before frequency the constant is
one block that is repeated for the whole row: two to twelve times faster, and features come as they are, without a
TRANSPOSE.

    [1, F, T, C] · [1, F, 1, C]        [1, T, F, C] · [1, 1, F, C]

A pass over the lowered model, before `converters.lowering.taps`. Tested in `tests/converters/test_swap.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from converters.lowering.records import Array, Model, Operator, Tensor

_WINDOWS = ("AVERAGE_POOL_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "MAX_POOL_2D")
_ELEMENTWISE = (
    "ADD", "HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "MAXIMUM", "MINIMUM", "MUL", "RELU", "RELU6", "SOFTMAX", "SUB",
    "TANH",
)  # fmt: skip
_PAIRS = (("strideH", "strideW"), ("dilationHFactor", "dilationWFactor"), ("filterHeight", "filterWidth"))
_SWAP = (0, 2, 1, 3)


def swap_where_it_pays(model: Model) -> Model:
    """The model with height and width of all maps exchanged, or itself where that is of no use or not possible."""
    if not any(_is_strided_constant(model, each) for each in model.operators):
        return model
    try:
        return _Swapping(model).result()
    except _NotPossibleError:
        return model


class _NotPossibleError(Exception):
    """A map is read or made in a way that the exchange cannot follow."""


def _is_strided_constant(model: Model, operator: Operator) -> bool:
    """Whether a sum or product repeats a constant along width that differs along height and channels."""
    shapes = [model.tensors[name].shape for name in operator.inputs if model.tensors[name].data is not None]
    output = model.tensors[operator.outputs[0]].shape
    return (
        operator.code in ("ADD", "MUL", "SUB")
        and len(output) == 4
        and output[2] > 1
        and any(len(shape) >= 3 and shape[-3] > 1 and shape[-2] == 1 and shape[-1] > 1 for shape in shapes)
    )


class _Swapping:
    def __init__(self, model: Model) -> None:
        self.model = model
        self.tensors: dict[str, Tensor] = {}
        self.operators: list[Operator] = []
        # What RESHAPE makes of rows has no height and width yet; a TRANSPOSE behind it gives them.
        self.plain = {
            name for each in model.operators if each.code == "RESHAPE" for name in each.outputs if self._is_map(name)
        }

    def result(self) -> Model:
        for name in (*self.model.inputs, *self.model.outputs):
            self._refuse_unless(len(self.model.tensors[name].shape) != 4)
        for name in self.model.activations():
            tensor = self.model.tensors[name]
            is_swapped = len(tensor.shape) == 4 and name not in self.plain
            self.tensors[name] = replace(tensor, shape=_swapped(tensor.shape)) if is_swapped else tensor
        for operator in self.model.operators:
            self.operators.append(self._operator(operator))
        return replace(self.model, tensors=self.tensors, operators=tuple(self.operators))

    def _operator(self, operator: Operator) -> Operator:
        ranks = {len(self.model.tensors[name].shape) for name in (*operator.inputs[:1], *operator.outputs)}
        if operator.code == "TRANSPOSE":
            return self._transpose(operator)
        if operator.code == "RESHAPE":
            return self._reshape(operator)
        self._refuse_unless(not self.plain.intersection(operator.inputs))
        if 4 not in ranks:
            return self._with_constants(operator, {})
        match operator.code:
            case code if code in _WINDOWS:
                weights = {name: self._array(name).transpose(_SWAP) for name in operator.inputs[1:2]}
                return replace(self._with_constants(operator, weights), options=_swapped_options(operator.options))
            case code if code in _ELEMENTWISE:
                return self._with_constants(operator, self._swapped_constants(operator))
            case "CONCATENATION":
                self._refuse_unless(all(self.model.tensors[name].data is None for name in operator.inputs))
                axis = _SWAP[operator.options["axis"] % 4]
                return replace(operator, options={**operator.options, "axis": axis})
            case "PAD":
                return self._with_constants(
                    operator, {operator.inputs[1]: self._array(operator.inputs[1])[list(_SWAP)]}
                )
            case "MEAN":
                return self._mean(operator)
        raise _NotPossibleError

    def _mean(self, operator: Operator) -> Operator:
        axes = [int(axis) % 4 for axis in self._array(operator.inputs[1]).reshape(-1)]
        shape = self.model.tensors[operator.inputs[0]].shape
        is_kept_in_order = operator.options.get("keepDims") or 1 in axes or 2 in axes or 1 in shape[1:3]
        self._refuse_unless(bool(is_kept_in_order))
        swapped = np.array([_SWAP[axis] for axis in axes], dtype=np.int32)
        return self._with_constants(operator, {operator.inputs[1]: swapped})

    def _reshape(self, operator: Operator) -> Operator:
        source, output = operator.inputs[0], operator.outputs[0]
        self._refuse_unless(not self._is_map(source) and source not in self.plain)
        shape = self.tensors[output].shape
        changed = self._with_constants(operator, {operator.inputs[1]: np.array(shape, dtype=np.int32)})
        return replace(changed, options={**operator.options, "newShape": list(shape)})

    def _transpose(self, operator: Operator) -> Operator:
        """The TRANSPOSE between the exchanged tensors; a RESHAPE where nothing is left to move."""
        source, output = operator.inputs[0], operator.outputs[0]
        order = [int(axis) for axis in self._array(operator.inputs[1])]
        if len(order) == 4 and output not in self.plain:
            order = [order[axis] for axis in _SWAP]
        if len(order) == 4 and source not in self.plain:
            order = [_SWAP[axis] for axis in order]
        shape = self.tensors[source].shape
        moving = [axis for axis in order if shape[axis] > 1]
        if moving != sorted(moving):
            return self._with_constants(operator, {operator.inputs[1]: np.array(order, dtype=np.int32)})
        target = self.tensors[output].shape
        name = self._constant(f"{output}/shape", np.array(target, dtype=np.int32))
        return Operator(
            code="RESHAPE", inputs=(source, name), outputs=operator.outputs, options={"newShape": list(target)}
        )

    def _swapped_constants(self, operator: Operator) -> dict[str, Array]:
        """Constants of a broadcasting operator, with all four axes and in their new places."""
        changed = {}
        for name in operator.inputs:
            tensor = self.model.tensors[name]
            if tensor.data is None:
                self._refuse_unless(len(tensor.shape) == 4)
            elif tensor.data.ndim > 1:
                changed[name] = tensor.data.reshape((1,) * (4 - tensor.data.ndim) + tensor.data.shape).transpose(_SWAP)
        return changed

    def _with_constants(self, operator: Operator, changed: Mapping[str, Array]) -> Operator:
        renamed = {name: self._constant(f"{name}/swapped", array) for name, array in changed.items()}
        for name in operator.inputs:
            if name not in renamed and self.model.tensors[name].data is not None:
                self.tensors[name] = self.model.tensors[name]
        return replace(operator, inputs=tuple(renamed.get(name, name) for name in operator.inputs))

    def _constant(self, name: str, array: Array) -> str:
        data, unique, count = np.ascontiguousarray(array), name, 0
        while unique in self.tensors:
            known = self.tensors[unique].data
            if known is not None and np.array_equal(known, data):
                return unique
            count += 1
            unique = f"{name}_{count}"
        self.tensors[unique] = Tensor(name=unique, shape=data.shape, dtype=str(data.dtype), data=data)
        return unique

    def _array(self, name: str) -> Array:
        return self.model.tensors[name].content

    def _is_map(self, name: str) -> bool:
        """Whether a tensor has a height and a width to exchange."""
        shape = self.model.tensors[name].shape
        return len(shape) == 4 and shape[1] > 1 and shape[2] > 1

    def _refuse_unless(self, condition: bool) -> None:
        if not condition:
            raise _NotPossibleError


def _swapped(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(shape[axis] for axis in _SWAP)


def _swapped_options(options: Mapping[str, Any]) -> dict[str, Any]:
    changed = dict(options)
    for height, width in _PAIRS:
        if height in options:
            changed[height], changed[width] = options[width], options[height]
    return changed
