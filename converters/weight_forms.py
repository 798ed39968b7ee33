"""Smaller weights for operators that compute in float: as float16, as int8, or as int8 that is multiplied as such.

    float16     weights of half the size, unpacked once when the file is loaded
    stored      int8 weights, unpacked once when the file is loaded; computes as fast as float32
    dynamic     int8 weights; the input is quantized anew at each inference, by its own range: "dynamic range"

Between the lowering, or `converters.quantize` for the operators that it left in float, and the writer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Literal

import numpy as np

from converters.errors import ConversionError
from converters.lowering.operators import OPERATORS, Int8Rule
from converters.lowering.records import Array, Model, Operator, Quantization, Tensor
from converters.rounding import Moments, moment_keys, round_to

WeightForm = Literal["float16", "stored", "dynamic"]

_LIMIT = 127
_FLOAT16_MAX = float(np.finfo(np.float16).max)
# Quantizing the input costs a pass over it, multiplying int8 gains by the product: measured on single convolutions of
# 8 to 64 channels and 1 to 2,020 places, the gain wins from about this many weights behind each output
# (benchmarks/dynamic_range.py).
_LEAST_COLUMNS = 72


def has_weights(operator: Operator) -> bool:
    """Whether an operator multiplies constant weights."""
    return OPERATORS[operator.code].rule is Int8Rule.WEIGHTS


def dynamic_forms(model: Model) -> dict[str, WeightForm]:
    """The form of every operator with weights in a dynamic range file, by the name of its first output.

    Matrices multiply as int8, convolutions do where enough weights stand behind each output. Depthwise ones never:
    engines have no fast kernel for them, and a whole network becomes 1.4 to 4 times slower.
    """
    return {each.outputs[0]: _dynamic_form(each, model) for each in model.operators if has_weights(each)}


def _dynamic_form(operator: Operator, model: Model) -> WeightForm:
    if operator.code == "FULLY_CONNECTED":
        return "dynamic"
    columns = int(np.prod(model.tensors[operator.inputs[1]].shape[1:]))
    return "dynamic" if operator.code == "CONV_2D" and columns >= _LEAST_COLUMNS else "stored"


def float16_forms(model: Model) -> dict[str, WeightForm]:
    """float16 for every operator with weights, by the name of its first output."""
    return {each.outputs[0]: "float16" for each in model.operators if has_weights(each)}


def change_weights(
    model: Model, forms: Mapping[str, WeightForm], moments: Mapping[str, Moments] = MappingProxyType({})
) -> Model:
    """The model with the weights of some operators in another form; biases stay float32.

    Args:
        model: the named operators in it are float32.
        forms: by the name of the operator's first output.
        moments: of what weights multiply, by `moment_keys`; int8 weights that have none go to the nearest level.

    Raises:
        ConversionError: a weight is too large for float16.
    """
    tensors, operators = dict(model.tensors), []
    keys = moment_keys(model)
    for operator in model.operators:
        form = forms.get(operator.outputs[0])
        if form is not None:
            weights = tensors.get(f"{operator.inputs[1]}/{form}")
            if weights is None:
                weights = _packed(operator, model, form, moments.get(keys[operator.outputs[0]]))
                tensors[weights.name] = weights
            name = weights.name
            if form != "dynamic":
                # One for each operator, though they share the bytes: a step of a recurrence brings its own.
                name = f"{operator.outputs[0]}/unpacked"
                tensors[name] = Tensor(name=name, shape=weights.shape)
                operators.append(Operator(code="DEQUANTIZE", inputs=(weights.name,), outputs=(name,)))
            operator = replace(operator, inputs=(operator.inputs[0], name, *operator.inputs[2:]))
        operators.append(operator)
    used = {name for operator in operators for name in (*operator.inputs, *operator.outputs)} | set(model.inputs)
    kept = {name: tensor for name, tensor in tensors.items() if name in used}
    return replace(model, tensors=kept, operators=tuple(operators))


def _packed(operator: Operator, model: Model, form: WeightForm, moments: Moments | None) -> Tensor:
    weights = model.tensors[operator.inputs[1]]
    name = f"{weights.name}/{form}"
    if form == "float16":
        largest = float(np.abs(weights.content).max(initial=0.0))
        if largest > _FLOAT16_MAX:
            raise ConversionError(
                f"weights '{weights.name}' reach {largest:.3g}, float16 ends at {_FLOAT16_MAX:.0f}; "
                "export float32 or int8 instead"
            )
        return replace(weights, name=name, dtype="float16", data=weights.content.astype(np.float16))
    scales = _symmetric(weights.content, OPERATORS[operator.code].dynamic_axis)
    if moments is None:
        stored = np.clip(scales.quantize(weights.content), -_LIMIT, _LIMIT)
    else:
        stored, chosen = round_to(scales.scales, operator, model, moments)
        scales = replace(scales, scales=chosen)
    return replace(weights, name=name, dtype="int8", data=stored, quantization=scales)


def _symmetric(weights: Array, axis: int | None) -> Quantization:
    others = tuple(other for other in range(weights.ndim) if other != axis)
    largest = np.abs(weights).max(axis=None if axis is None else others).reshape(-1)
    scales = np.where(largest > 0, largest / _LIMIT, 1.0).astype(np.float32)
    return Quantization(scales=scales, zero_points=np.zeros(len(scales), np.int64), axis=axis or 0)
