"""Post-training int8: a float32 `Model` and the ranges of its activations become an int8 `Model`, or one in parts.

    weights       symmetric int8, −127 … 127, one scale for each output channel (one for a matrix)
    bias          int32 at scale input · weight
    activations   asymmetric int8, −128 … 127, zero exactly representable
    in and out    int8, where the operators beside them are

Between `converters.calibration`, which measures the ranges, and `converters.lowering.writer`;
operators that stay float are bridged by `converters.islands`.
Source of the rules: "TensorFlow Lite 8-bit quantization specification",
https://ai.google.dev/edge/litert/models/quantization_spec.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from converters.calibration import Range
from converters.errors import ConversionError
from converters.islands import Bridged, bridge, free_inputs
from converters.lowering.operators import OPERATORS, Int8Rule
from converters.lowering.records import Array, Model, Operator, Quantization, Tensor

_LEVELS = 255
_LOWEST = -128
_WEIGHT_LIMIT = 127
_BIAS_LIMIT = 2.0**30
_FIXED = {
    Int8Rule.UNIT: Quantization(scales=np.array([1 / 256], np.float32), zero_points=np.array([_LOWEST])),
    Int8Rule.SIGNED_UNIT: Quantization(scales=np.array([1 / 128], np.float32), zero_points=np.array([0])),
}


def quantize(model: Model, ranges: Mapping[str, Range], keep_float: Collection[str] = ()) -> Model:
    """The int8 form of a float32 model.

    Args:
        model: float32 throughout, as the lowering gives it.
        ranges: (lowest, highest) of every activation.
        keep_float: operators that stay float, by the name of their first output.

    Raises:
        ConversionError: an activation has no range.
    """
    missing = [name for name in model.activations() if name not in ranges]
    if missing:
        raise ConversionError(f"no calibration range for {', '.join(missing)}")
    bridged = _with_rescaling(bridge(model, ranges, keep_float))
    tensors = dict(bridged.model.tensors)
    for name, quantization in _activation_scales(bridged).items():
        tensors[name] = _quantized(tensors[name], quantization)
    operators = []
    uses = Counter(operator.inputs[1] for operator in model.operators if len(operator.inputs) > 1)
    for operator in bridged.model.operators:
        if _is_int8(bridged, operator) and OPERATORS[operator.code].rule is Int8Rule.WEIGHTS:
            is_shared = uses[operator.inputs[1]] > 1
            operator = _quantize_weights(bridged.model, operator, tensors, is_shared=is_shared)
        operators.append(operator)
    used = {name for operator in operators for name in (*operator.inputs, *operator.outputs)} | set(model.inputs)
    kept = {name: tensor for name, tensor in tensors.items() if name in used}
    return replace(bridged.model, tensors=kept, operators=tuple(operators))


def activation_quantization(low: float, high: float) -> Quantization:
    """Scale and zero point of an int8 tensor for values from `low` to `high`; zero is always inside.

    >>> wide = activation_quantization(0.0, 25.5)
    >>> round(float(wide.scales[0]), 6), int(wide.zero_points[0])
    (0.1, -128)
    """
    low, high = min(low, 0.0), max(high, 0.0)
    # A tensor that is always zero (a dead activation) has no range: any scale represents it.
    scale = np.float32((high - low) / _LEVELS if high > low else 1.0 / _LEVELS)
    zero_point = int(np.clip(np.rint(_LOWEST - low / float(scale)), _LOWEST, _LOWEST + _LEVELS))
    return Quantization(scales=np.array([scale], np.float32), zero_points=np.array([zero_point], np.int64))


def weight_quantization(weights: Array, axis: int | None, bias: Array, input_scale: float) -> Quantization:
    """Symmetric scales of weights, one for each index along `axis` or one in all.

    A channel whose bias would not fit into 32 bits gets a larger scale.
    """
    others = tuple(other for other in range(weights.ndim) if other != axis)
    largest = np.abs(weights).max(axis=None if axis is None else others).reshape(-1).astype(np.float64)
    scales = largest / _WEIGHT_LIMIT
    biases = np.abs(bias) if axis is not None else np.abs(bias).max(initial=0.0, keepdims=True)
    scales = np.maximum(scales, biases / (input_scale * _BIAS_LIMIT))
    scales[scales == 0] = 1.0 / _WEIGHT_LIMIT
    zeros = np.zeros(len(scales), dtype=np.int64)
    return Quantization(scales=scales.astype(np.float32), zero_points=zeros, axis=axis or 0)


def _quantize_weights(model: Model, operator: Operator, tensors: dict[str, Tensor], *, is_shared: bool) -> Operator:
    """The operator with int8 weights and int32 bias, added to `tensors` under names of their own.

    The same bias may serve operators whose scales differ, so each operator gets its copy. Weights that several
    operators share stay one tensor, as the steps of a recurrence have them.
    """
    data, weights, bias = operator.inputs
    source = tensors[data].quantization
    assert source is not None, data
    input_scale = float(source.scales[0])
    kernel, offset = model.tensors[weights], model.tensors[bias]
    axis = OPERATORS[operator.code].weight_axis
    scales = weight_quantization(kernel.content, axis, offset.content, input_scale)
    bias_scales = Quantization(
        scales=scales.scales * np.float32(input_scale), zero_points=np.zeros(len(scales.scales), np.int64)
    )
    names = (f"{operator.outputs[0]}/weights_int8", f"{operator.outputs[0]}/bias_int32")
    if is_shared:
        names = (f"{weights}/int8_{_fingerprint(scales.scales)}", names[1])
    stored = np.clip(scales.quantize(kernel.content), -_WEIGHT_LIMIT, _WEIGHT_LIMIT)
    tensors[names[0]] = Tensor(name=names[0], shape=kernel.shape, dtype="int8", data=stored, quantization=scales)
    stored = bias_scales.quantize(offset.content, bits=32)
    tensors[names[1]] = Tensor(name=names[1], shape=offset.shape, dtype="int32", data=stored, quantization=bias_scales)
    return replace(operator, inputs=(data, *names))


def _fingerprint(scales: Array) -> str:
    return hashlib.sha256(scales.tobytes()).hexdigest()[:8]


def _is_int8(bridged: Bridged, operator: Operator) -> bool:
    """Whether an operator is on the int8 side; a QUANTIZE is, a DEQUANTIZE is not."""
    return operator.outputs[0] in bridged.stored


def _activation_scales(bridged: Bridged) -> dict[str, Quantization]:
    """The quantization of every tensor on the int8 side but weights and biases.

    Tensors that an operator wants at one scale form a group, which takes the union of its ranges;
    a group with a tensor whose scale is fixed takes that.
    A state has one scale where it comes in and where it goes out.
    """
    groups = _Groups()
    fixed: dict[str, Quantization] = {}
    for name in bridged.stored:
        groups.join(name, name)
    for operator in bridged.model.operators:
        if not _is_int8(bridged, operator):
            continue
        rule = OPERATORS[operator.code].rule
        if rule is Int8Rule.SAME_SCALE:
            members = [*free_inputs(bridged.model, operator), *operator.outputs]
            for name in members:
                groups.join(name, members[0])
        if rule in _FIXED:
            fixed[operator.outputs[0]] = _FIXED[rule]
    for past, following in bridged.model.states:
        if past in bridged.stored:
            groups.join(past, following)
    scales: dict[str, Quantization] = {}
    for members in groups.all():
        given = [fixed[name] for name in members if name in fixed]
        spans = [_range_of(bridged.model, name, bridged.ranges) for name in members]
        union = activation_quantization(min(low for low, _ in spans), max(high for _, high in spans))
        scales.update(dict.fromkeys(members, given[0] if given else union))
    return scales


def _with_rescaling(bridged: Bridged) -> Bridged:
    """The model with a QUANTIZE wherever a tensor of fixed scale is joined with others at one scale.

    LOGISTIC ─► RESHAPE ─► CONCATENATION        LOGISTIC ─► RESHAPE ─► QUANTIZE ─► CONCATENATION
    """
    fixed: set[str] = set()
    model, stored = bridged.model, set(bridged.stored)
    tensors, spans = dict(model.tensors), dict(bridged.ranges)
    operators: list[Operator] = []
    for operator in model.operators:
        rule = OPERATORS[operator.code].rule if _is_int8(bridged, operator) else Int8Rule.FREE
        inputs = list(operator.inputs)
        joined = free_inputs(model, operator) if rule is Int8Rule.SAME_SCALE else []
        if rule in _FIXED or (len(joined) == 1 and joined[0] in fixed):
            fixed.update(operator.outputs)
        for place, name in enumerate(inputs):
            if len(joined) > 1 and name in fixed:
                rescaled = f"{name}/rescaled_{len(operators)}"
                tensors[rescaled], spans[rescaled] = replace(tensors[name], name=rescaled), spans[name]
                stored.add(rescaled)
                operators.append(Operator(code="QUANTIZE", inputs=(name,), outputs=(rescaled,)))
                inputs[place] = rescaled
        operators.append(replace(operator, inputs=tuple(inputs)))
    model = replace(model, tensors=tensors, operators=tuple(operators))
    return Bridged(model=model, stored=frozenset(stored), ranges=spans)


def _range_of(model: Model, name: str, ranges: Mapping[str, Range]) -> Range:
    data = model.tensors[name].data
    return ranges[name] if data is None else (float(data.min()), float(data.max()))


def _quantized(tensor: Tensor, quantization: Quantization) -> Tensor:
    data = None if tensor.data is None else quantization.quantize(tensor.data)
    return replace(tensor, dtype="int8", data=data, quantization=quantization)


class _Groups:
    """Names that must share something, joined pair by pair."""

    def __init__(self) -> None:
        self._members: dict[str, list[str]] = {}

    def join(self, name: str, other: str) -> None:
        group = self._members.setdefault(other, [other])
        mine = self._members.setdefault(name, [name])
        if mine is not group:
            group.extend(mine)
            self._members.update(dict.fromkeys(mine, group))

    def all(self) -> list[list[str]]:
        return list({id(group): group for group in self._members.values()}.values())
