"""How much of a model is int8, and what it cost each layer: the proof that an int8 file deserves its name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from converters.calibration import Method, dropped_by_relu
from converters.latency import operator_times_us
from converters.lowering.records import Array, Model, Operator, Tensor
from converters.rounding import Rounding
from converters.runners import TfliteModel


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerError:
    """The error of one tensor of the int8 model, with everything upstream of it in int8 too.

    Attributes:
        tensor: its name, the same in both models.
        operator: TFLite's name of the operator that makes it.
        sqnr_db: against the float32 model; infinite where nothing differs.
        alone_us: what the operator costs when it is alone in a file on this computer, in microseconds; None where
            another converter made the file.
    """

    tensor: str
    operator: str
    sqnr_db: float
    alone_us: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorCount:
    """How many operators of one kind and precision a model has.

    Attributes:
        operator: TFLite's name.
        precision: of its arithmetic: int8; dynamic (int8 weights, the input quantized at each inference); stored (int8
            weights, unpacked to float32); float16 (weights of that size, unpacked); float32; or unpacking itself.
        count: at least 1.
        macs: multiply-accumulates of all of them for one input.
    """

    operator: str
    precision: str
    count: int
    macs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """How much of a model is int8.

    Attributes:
        operators: share of operators that read or write int8 data, 0 to 1; unpacking weights is no operator here, it
            is done once when the file is loaded.
        macs: share of multiply-accumulates whose factors are int8, 0 to 1: those of int8 and dynamic operators.
        weight_bytes: share of the bytes of weights (not biases) that are stored as int8, 0 to 1.
        has_macs: whether the model multiplies weights at all.
        total_macs: multiply-accumulates of one inference.
    """

    operators: float
    macs: float
    weight_bytes: float
    has_macs: bool = True
    total_macs: int = 0

    @property
    def multiplied(self) -> tuple[float, str]:
        """The share that decides whether a file deserves to be called int8, and of what."""
        return (self.macs, "multiply-accumulates") if self.has_macs else (self.operators, "operators")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantReport:
    """What of a model is int8, and what that cost.

    Attributes:
        operators: by kind and precision.
        shares: how much is int8.
        layers: every computed tensor, the worst first.
        method: how ranges were chosen.
        rounding: how weights were rounded.
        calibration_clips: how many clips were seen.
    """

    operators: tuple[OperatorCount, ...]
    shares: Shares
    layers: tuple[LayerError, ...]
    method: Method
    rounding: Rounding
    calibration_clips: int


def macs_of(operator: Operator, model: Model) -> int:
    """Multiply-accumulates of one operator for one input; 0 for those that multiply no weights."""
    if operator.code not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
        return 0
    weights = model.tensors[operator.inputs[1]].shape
    output = model.tensors[operator.outputs[0]].shape
    taps = weights[1:] if operator.code != "DEPTHWISE_CONV_2D" else weights[1:3]
    return int(np.prod(output) * np.prod(taps))


def precision_of(operator: Operator, model: Model) -> str:
    """What an operator computes in; see `OperatorCount.precision`."""
    tensors = [model.tensors[name] for name in (*operator.inputs[:1], *operator.outputs)]
    if operator.code == "DEQUANTIZE" and tensors[0].data is not None:
        return "unpacking"
    if any(tensor.dtype == "int8" for tensor in tensors):
        return "int8"
    if macs_of(operator, model):
        if model.tensors[operator.inputs[1]].dtype == "int8":
            return "dynamic"
        packed = _packed_weights(operator, model).dtype
        return "stored" if packed == "int8" else packed
    return "float32"


def shares_of(model: Model) -> Shares:
    """How much of a model is int8."""
    rows = [row for row in count_operators(model) if row.precision != "unpacking"]
    macs = sum(row.macs for row in rows)
    multiplied = sum(row.macs for row in rows if row.precision in ("int8", "dynamic"))
    weights = {
        tensor.name: tensor
        for tensor in (_packed_weights(each, model) for each in model.operators if macs_of(each, model))
    }.values()
    weight_bytes = sum(tensor.content.nbytes for tensor in weights)
    int8_bytes = sum(tensor.content.nbytes for tensor in weights if tensor.dtype == "int8")
    return Shares(
        operators=sum(row.count for row in rows if row.precision == "int8") / sum(row.count for row in rows),
        macs=multiplied / macs if macs else 0.0,
        weight_bytes=int8_bytes / weight_bytes if weight_bytes else 0.0,
        has_macs=macs > 0,
        total_macs=macs,
    )


def count_operators(model: Model) -> tuple[OperatorCount, ...]:
    """The operators of a model by kind and precision, those with the most work first."""
    counts: Counter[tuple[str, str]] = Counter()
    macs: Counter[tuple[str, str]] = Counter()
    for operator in model.operators:
        key = (operator.code, precision_of(operator, model))
        counts[key] += 1
        macs[key] += macs_of(operator, model)
    rows = [
        OperatorCount(operator=code, precision=precision, count=count, macs=macs[code, precision])
        for (code, precision), count in counts.items()
    ]
    return tuple(sorted(rows, key=lambda row: (-row.macs, -row.count, row.operator)))


def report_quantization(
    model: Model,
    float_file: bytes,
    int8_file: bytes,
    clips: Array,
    *,
    method: Method,
    rounding: Rounding,
    calibration_clips: int,
) -> QuantReport:
    """The report on an int8 model; both files run over `clips` with all their tensors kept.

    Args:
        model: the int8 model.
        float_file: a TFLite file of the float32 model it came from, with the same tensors (equalized, so).
        int8_file: its own file.
        clips: float32, shape (clips, *axes of the input).
        method: how ranges were chosen.
        rounding: how weights were rounded.
        calibration_clips: how many clips the calibration saw.
    """
    return QuantReport(
        operators=count_operators(model),
        shares=shares_of(model),
        layers=_layer_errors(model, float_file, int8_file, clips, _makers(model), operator_times_us(model)),
        method=method,
        rounding=rounding,
        calibration_clips=calibration_clips,
    )


def report_foreign(
    model: Model, float_model: Model, float_file: bytes, int8_file: bytes, clips: Array, *, calibration_clips: int
) -> QuantReport:
    """The report on an int8 file that TensorFlow made; tensors that only one of the two files has are left out.

    Args:
        model: of the int8 file, as `converters.tflite_file` reads it.
        float_model: of the float32 file.
        float_file: the float32 file.
        int8_file: the int8 file.
        clips: float32, shape (clips, *axes of the input).
        calibration_clips: how many clips the calibration saw.
    """
    made = _makers(float_model)
    shared = {name: code for name, code in _makers(model).items() if made.get(name) == code}
    return QuantReport(
        operators=count_operators(model),
        shares=shares_of(model),
        layers=_layer_errors(model, float_file, int8_file, clips, shared, {}),
        method="minmax",
        rounding="nearest",
        calibration_clips=calibration_clips,
    )


def _makers(model: Model) -> dict[str, str]:
    """The operator that makes each tensor; what a bridge makes is the int8 model's own."""
    bridges = ("QUANTIZE", "DEQUANTIZE")
    return {operator.outputs[0]: operator.code for operator in model.operators if operator.code not in bridges}


def _layer_errors(
    model: Model,
    float_file: bytes,
    int8_file: bytes,
    clips: Array,
    makers: Mapping[str, str],
    times: Mapping[str, float],
) -> tuple[LayerError, ...]:
    reference, candidate = TfliteModel(float_file, keeps_all=True), TfliteModel(int8_file, keeps_all=True)
    # What a sum's ReLU drops is no error.
    others = {
        name: other for name, other in dropped_by_relu(model).items() if {name, other} <= {*makers, *model.inputs}
    }
    signal: Counter[str] = Counter()
    noise: Counter[str] = Counter()
    names = [*makers, *(name for name in others.values() if name not in makers)]
    for real, stored in zip(reference.trace(clips, names), candidate.trace(clips, names), strict=True):
        for name in makers:
            wide, narrow = real[name].astype(np.float64), stored[name].astype(np.float64)
            if name in others:
                least = -real[others[name]].astype(np.float64)
                wide, narrow = np.maximum(wide, least), np.maximum(narrow, least)
            signal[name] += float(np.sum(wide**2))  # type: ignore[assignment]
            noise[name] += float(np.sum((narrow - wide) ** 2))  # type: ignore[assignment]
    errors = [
        LayerError(
            tensor=name,
            operator=makers[name],
            sqnr_db=_decibels(signal[name], noise[name]),
            alone_us=times.get(name),
        )
        for name in makers
    ]
    return tuple(sorted(errors, key=lambda error: error.sqnr_db))


def _packed_weights(operator: Operator, model: Model) -> Tensor:
    """The weights of an operator as the file stores them."""
    weights = model.tensors[operator.inputs[1]]
    if weights.data is not None:
        return weights
    return model.tensors[next(each.inputs[0] for each in model.operators if each.outputs[0] == weights.name)]


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return float("inf")
    return float(10 * np.log10(signal / noise)) if signal else float("-inf")
