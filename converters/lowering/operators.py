"""The table of TFLite operators that the writer knows: options, versions, and what int8 asks of each.

Versions are the lowest that carry the semantics, so that old engines load the file.
Source: TensorFlow Lite's `tools/versioning/op_version.cc`; int8 rules: "TensorFlow Lite 8-bit quantization
specification", https://ai.google.dev/edge/litert/models/quantization_spec.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from converters.lowering.records import Model, Operator


class Int8Rule(Enum):
    """What the int8 form of an operator asks of its tensors."""

    FREE = "free"
    """Every tensor has its own scale."""
    SAME_SCALE = "same scale"
    """Inputs and outputs share one scale and zero point: the operator moves bytes or compares them."""
    WEIGHTS = "weights"
    """Second input: symmetric weights; third input: int32 bias at scale input · weight."""
    UNIT = "unit"
    """Output in [0, 1): scale 1/256, zero point −128."""
    SIGNED_UNIT = "signed unit"
    """Output in [−1, 1): scale 1/128, zero point 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRow:
    """One row of the table.

    Attributes:
        options: the options table in TFLite's schema, without its suffix; empty where there is none.
        rule: what int8 asks.
        version_float32: operator version of the float form.
        version_int8: operator version of the int8 form.
        fuses_activation: whether the options have a `fusedActivationFunction`.
        weight_axis: axis of the weights along which scales differ in int8; None for one scale.
        float_axis: the same of int8 weights whose data are float, where it is another.
    """

    options: str = ""
    rule: Int8Rule = Int8Rule.FREE
    version_float32: int = 1
    version_int8: int = 2
    fuses_activation: bool = False
    weight_axis: int | None = None
    float_axis: int | None = None

    @property
    def dynamic_axis(self) -> int | None:
        """The axis along which int8 weights of float data have scales of their own."""
        return self.weight_axis if self.float_axis is None else self.float_axis


OPERATORS: dict[str, OperatorRow] = {
    "ADD": OperatorRow(options="AddOptions", fuses_activation=True),
    "AVERAGE_POOL_2D": OperatorRow(options="Pool2DOptions", rule=Int8Rule.SAME_SCALE, fuses_activation=True),
    "BATCH_MATMUL": OperatorRow(options="BatchMatMulOptions"),
    "CONCATENATION": OperatorRow(options="ConcatenationOptions", rule=Int8Rule.SAME_SCALE),
    "CONV_2D": OperatorRow(
        options="Conv2DOptions", rule=Int8Rule.WEIGHTS, version_int8=3, fuses_activation=True, weight_axis=0
    ),
    "DEPTHWISE_CONV_2D": OperatorRow(
        options="DepthwiseConv2DOptions", rule=Int8Rule.WEIGHTS, version_int8=3, fuses_activation=True, weight_axis=3
    ),
    "DEQUANTIZE": OperatorRow(options="DequantizeOptions", version_float32=3),
    # One scale for the whole matrix in int8: older engines read only the first of several, in silence.
    # Of float data there is a version of its own for several, which older engines refuse.
    "FULLY_CONNECTED": OperatorRow(
        options="FullyConnectedOptions", rule=Int8Rule.WEIGHTS, version_int8=4, fuses_activation=True, float_axis=0
    ),
    "GATHER": OperatorRow(options="GatherOptions", rule=Int8Rule.SAME_SCALE),
    "HARD_SWISH": OperatorRow(version_int8=1),
    "IF": OperatorRow(options="IfOptions", version_int8=1),
    "LEAKY_RELU": OperatorRow(options="LeakyReluOptions", version_int8=1),
    "LOG": OperatorRow(),
    "LOGISTIC": OperatorRow(rule=Int8Rule.UNIT),
    "MAXIMUM": OperatorRow(options="MaximumMinimumOptions", rule=Int8Rule.SAME_SCALE),
    "MAX_POOL_2D": OperatorRow(options="Pool2DOptions", rule=Int8Rule.SAME_SCALE, fuses_activation=True),
    "MEAN": OperatorRow(options="ReducerOptions"),
    "MINIMUM": OperatorRow(options="MaximumMinimumOptions", rule=Int8Rule.SAME_SCALE),
    "MUL": OperatorRow(options="MulOptions", fuses_activation=True),
    "PAD": OperatorRow(options="PadOptions", rule=Int8Rule.SAME_SCALE),
    "QUANTIZE": OperatorRow(options="QuantizeOptions", version_int8=1),
    "RELU": OperatorRow(),
    "RELU6": OperatorRow(),
    "RESIZE_BILINEAR": OperatorRow(options="ResizeBilinearOptions", rule=Int8Rule.SAME_SCALE),
    "RESIZE_NEAREST_NEIGHBOR": OperatorRow(options="ResizeNearestNeighborOptions", rule=Int8Rule.SAME_SCALE),
    "RESHAPE": OperatorRow(options="ReshapeOptions", rule=Int8Rule.SAME_SCALE, version_int8=1),
    "SLICE": OperatorRow(options="SliceOptions", rule=Int8Rule.SAME_SCALE),
    "SOFTMAX": OperatorRow(options="SoftmaxOptions", rule=Int8Rule.UNIT),
    "SPLIT": OperatorRow(options="SplitOptions", rule=Int8Rule.SAME_SCALE),
    "SQRT": OperatorRow(),
    "STRIDED_SLICE": OperatorRow(options="StridedSliceOptions", rule=Int8Rule.SAME_SCALE),
    "SUB": OperatorRow(options="SubOptions", fuses_activation=True),
    "TANH": OperatorRow(rule=Int8Rule.SIGNED_UNIT),
    "TRANSPOSE": OperatorRow(options="TransposeOptions", rule=Int8Rule.SAME_SCALE),
}

ACTIVATIONS = {"RELU": "RELU", "RELU6": "RELU6"}
"""The operators that fuse into the one before, and the name of the fused form."""


def version_of(operator: Operator, model: Model) -> int:
    """The lowest version of an operator that has the semantics it is used with."""
    row = OPERATORS[operator.code]
    has_weights = row.rule is Int8Rule.WEIGHTS
    is_int8 = any(model.tensors[name].dtype == "int8" for name in operator.inputs[: 1 if has_weights else None])
    versions = [row.version_int8 if is_int8 else row.version_float32]
    if has_weights and not is_int8:
        versions.append(_dynamic(operator, model))
    versions += [rule(operator, model) for code, rule in _VERSION_RULES if code == operator.code]
    return max(versions)


def versions_of(stored: Model) -> dict[str, int]:
    """The highest version of each operator that a model asks an engine for, its steps included, by TFLite name."""
    versions: dict[str, int] = {}
    for part in stored.parts():
        for operator in part.operators:
            versions[operator.code] = max(versions.get(operator.code, 1), version_of(operator, part))
    return dict(sorted(versions.items()))


def _dynamic(operator: Operator, model: Model) -> int:
    """Of float data and int8 weights: with one scale, and with one for each channel."""
    weights = model.tensors[operator.inputs[1]]
    if weights.quantization is None:
        return 1
    one, several = {"CONV_2D": (2, 5), "DEPTHWISE_CONV_2D": (4, 6), "FULLY_CONNECTED": (3, 12)}[operator.code]
    return one if len(weights.quantization.scales) == 1 else several


def _unpacks(operator: Operator, model: Model) -> int:
    packed = model.tensors[operator.inputs[0]].quantization
    return 5 if packed is not None and len(packed.scales) > 1 else 1


def _dilated(operator: Operator, _model: Model) -> int:
    return 2 if max(operator.options["dilationWFactor"], operator.options["dilationHFactor"]) > 1 else 1


def _grouped(operator: Operator, model: Model) -> int:
    data, weights = (model.tensors[name].shape for name in operator.inputs[:2])
    return 6 if data[3] != weights[3] else 1


def _keeps_dims(operator: Operator, _model: Model) -> int:
    return 5 if operator.options.get("keepNumDims") else 1


def _multiplies_scale(operator: Operator, model: Model) -> int:
    quantized = [model.tensors[name].quantization for name in (*operator.inputs, *operator.outputs)]
    if any(quantization is None for quantization in quantized):
        return 1
    first, second, out = (float(each.scales[0]) for each in quantized if each is not None)
    return 3 if first * second / out >= 1.0 else 1


def _transpose_rank(operator: Operator, model: Model) -> int:
    rank = len(model.tensors[operator.inputs[0]].shape)
    return 6 if rank > 5 else 4 if rank > 4 else 1


def _pad_rank(operator: Operator, model: Model) -> int:
    return 4 if len(model.tensors[operator.inputs[0]].shape) > 4 else 1


def _broadcasts_five(operator: Operator, model: Model) -> int:
    shapes = [model.tensors[name].shape for name in operator.inputs]
    return 3 if shapes[0] != shapes[1] and max(map(len, shapes)) > 4 else 1


def _half_pixels(operator: Operator, _model: Model) -> int:
    return 3 if operator.options.get("halfPixelCenters") or operator.options.get("alignCorners") else 1


def _slice_rank(operator: Operator, model: Model) -> int:
    return 5 if len(model.tensors[operator.inputs[0]].shape) > 4 else 1


def _strided_rank(operator: Operator, model: Model) -> int:
    return 4 if len(model.tensors[operator.inputs[0]].shape) > 4 else 1


_VERSION_RULES: tuple[tuple[str, Callable[[Operator, Model], int]], ...] = (
    ("CONV_2D", _grouped),
    ("DEPTHWISE_CONV_2D", _dilated),
    ("DEQUANTIZE", _unpacks),
    ("FULLY_CONNECTED", _keeps_dims),
    ("MAXIMUM", _broadcasts_five),
    ("MINIMUM", _broadcasts_five),
    ("MUL", _multiplies_scale),
    ("PAD", _pad_rank),
    ("RESIZE_BILINEAR", _half_pixels),
    ("RESIZE_NEAREST_NEIGHBOR", _half_pixels),
    ("SLICE", _slice_rank),
    ("STRIDED_SLICE", _strided_rank),
    ("SUB", _broadcasts_five),
    ("TRANSPOSE", _transpose_rank),
)
