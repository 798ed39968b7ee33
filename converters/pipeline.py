"""The whole conversion: a PyTorch module or an ONNX model in, ONNX, float32 and int8 TFLite out, each step proved.

module ─to_onnx─► ONNX ─read_graph, lower─► float32 ─calibrate, equalize, quantize, round─► int8
                    └──────── parity ───────────┴───────────────── parity ─────────────────────┘
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from converters.bundle import TensorSpec
from converters.calibration import METHODS, Method, choose_ranges, observe
from converters.equalize import channel_scales, equalize
from converters.errors import ConversionError
from converters.graph import read_graph
from converters.lowering.lower import lower
from converters.lowering.operators import version_of
from converters.lowering.outline import outline
from converters.lowering.records import Model
from converters.lowering.writer import write_model
from converters.onnx_file import read_model
from converters.parity import INT8_STAGE, ParityGates, ParityReport, check_gates, compare
from converters.quant_report import QuantReport, report_quantization
from converters.quantize import quantize
from converters.rounding import ROUNDINGS, Rounding, round_weights
from converters.runners import Array, Floats, TfliteModel, run_onnx, run_torch
from converters.to_onnx import to_onnx

if TYPE_CHECKING:
    import torch

_NOISE_EXAMPLES = 8
_LAYER_CLIPS = 32
_NOISE_SEED = 20211027


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ConversionRequest:
    """What is to be converted, and what it has to stand.

    Attributes:
        module: a network with one tensor in and one out; or None, and `onnx` is given.
        onnx: an ONNX model's bytes; or None, and `module` is given.
        example: float32, shape (1, *axes): the shape that the file will have.
        calibration: float32, shape (clips, *axes), as the network gets them in use; None for no int8 file.
        method: how calibration chooses ranges.
        rounding: how weights become int8: `compensated` makes up for the error of each at the layer's output,
            `nearest` takes each by itself.
        check: float32, shape (inputs, *axes), for parity; None takes the first 64 clips of `calibration`,
            or noise where there is none.
        gates: bounds of parity; None measures and lets everything pass.
        input_name: of the model's input; an ONNX model keeps its own.
        output_name: of the model's output; an ONNX model keeps its own.
    """

    module: torch.nn.Module | None = None
    onnx: bytes | None = None
    example: Array
    calibration: Array | None = None
    method: Method = "minmax"
    rounding: Rounding = "compensated"
    check: Array | None = None
    gates: ParityGates | None = field(default_factory=ParityGates)
    input_name: str = "input"
    output_name: str = "output"

    def __post_init__(self) -> None:
        if (self.module is None) == (self.onnx is None):
            raise ConversionError("give either a module or an ONNX model to convert, not both and not neither")
        if self.example.ndim < 2 or len(self.example) != 1:
            raise ConversionError(f"the example has shape {self.example.shape}; expected (1, *axes): one input")
        if self.method not in METHODS:
            raise ConversionError(f"no calibration method is called '{self.method}'; known: {', '.join(METHODS)}")
        if self.rounding not in ROUNDINGS:
            raise ConversionError(f"no rounding is called '{self.rounding}'; known: {', '.join(ROUNDINGS)}")
        if not self.input_name or not self.output_name or self.input_name == self.output_name:
            raise ConversionError(f"input and output are called '{self.input_name}' and '{self.output_name}'")
        _check_clips("example", self.example, self.example)
        for name, clips in (("calibration", self.calibration), ("check", self.check)):
            if clips is not None:
                _check_clips(name, clips, self.example)
        if self.calibration is not None and self.calibration.min() == self.calibration.max():
            raise ConversionError(
                f"every value of the calibration clips is {self.calibration.min()}: no range can be learnt from them; "
                "calibrate on real clips of the data set"
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TfliteFile:
    """One TFLite file and what it says of itself.

    Attributes:
        precision: float32 or int8.
        content: its bytes.
        input: name, shape, dtype, scale and zero point.
        output: the same of the output.
        operators: how many of each TFLite name.
        op_versions: the highest operator version that the file asks an engine for, by TFLite name.
    """

    precision: str
    content: bytes
    input: TensorSpec
    output: TensorSpec
    operators: Mapping[str, int]
    op_versions: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Conversion:
    """The result of one conversion.

    Attributes:
        onnx: the ONNX model.
        float32: the float TFLite file.
        int8: the quantized one; None where no calibration clips were given.
        parity: every stage against the one before.
        quantization: what of the int8 file is int8, and what it cost; None without one.
        seconds: wall time of each step, by name.
    """

    onnx: bytes
    float32: TfliteFile
    int8: TfliteFile | None
    parity: ParityReport
    quantization: QuantReport | None
    seconds: Mapping[str, float]


def convert(request: ConversionRequest) -> Conversion:
    """Converts, loads every written file again, runs it, and holds it against the stage before.

    Raises:
        ConversionError: the module has no ONNX form, or an operator no TFLite form; the message names it.
        GateFailedError: a stage differs from the one before by more than its bound.
    """
    clock = _Clock()
    with clock.step("to_onnx"):
        content = _onnx_of(request)
    with clock.step("lower"):
        graph = read_graph(read_model(content), request.example.shape)
        _check_input(graph.inputs, graph.shapes, request.example.shape)
        model = lower(graph)
        float32 = _file("float32", model, content)
    quantized, int8 = None, None
    if request.calibration is not None:
        quantized = _quantized(request, model, clock)
        with clock.step("write_int8"):
            int8 = _file("int8", quantized.int8, content)
    inputs, described = _check_inputs(request)
    with clock.step("parity"):
        parity = _parity(request, content, float32, int8, inputs, described)
    quantization = None
    if quantized is not None and int8 is not None and request.calibration is not None:
        with clock.step("layers"):
            quantization = report_quantization(
                quantized.int8,
                write_model(quantized.equalized, description="equalized"),
                write_model(quantized.int8, description="int8 with every tensor of every step"),
                inputs[:_LAYER_CLIPS],
                method=request.method,
                rounding=request.rounding,
                calibration_clips=len(request.calibration),
            )
    if request.gates is not None:
        check_gates(parity, request.gates, advice=_advice(quantization))
    return Conversion(
        onnx=content, float32=float32, int8=int8, parity=parity, quantization=quantization, seconds=clock.seconds
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Quantized:
    """The int8 model, and the float32 model whose tensors it rounds."""

    equalized: Model
    int8: Model


def _quantized(request: ConversionRequest, model: Model, clock: _Clock) -> _Quantized:
    assert request.calibration is not None
    clips = request.calibration.astype(np.float32)
    with clock.step("calibrate"):
        # Not the file, which stores like steps once: every tensor of every step has a range of its own.
        flat = write_model(model, description="float32 with every tensor of every step")
        observed = observe(flat, model, clips, with_moments=request.rounding == "compensated")
        scales = channel_scales(model, observed.sizes())
        equalized, observed = equalize(model, scales), observed.divided(model, scales)
        content = partial(write_model, equalized, description="equalized")
        ranges = choose_ranges(observed, equalized, request.method, content, clips)
    with clock.step("quantize"):
        int8 = round_weights(quantize(equalized, ranges), equalized, observed.moments)
    return _Quantized(equalized=equalized, int8=int8)


def _onnx_of(request: ConversionRequest) -> bytes:
    if request.onnx is not None:
        return request.onnx
    import torch

    assert request.module is not None
    example = torch.from_numpy(request.example.astype(np.float32))
    model = to_onnx(request.module, example, input_name=request.input_name, output_name=request.output_name)
    written: bytes = model.SerializeToString()
    return written


def _file(precision: str, model: Model, onnx: bytes) -> TfliteFile:
    source = hashlib.sha256(onnx).hexdigest()[:16]
    model = outline(model)
    content = write_model(model, description=f"{precision}, lowered by tkd's converters from ONNX sha256 {source}")
    loaded = TfliteModel(content)
    versions: dict[str, int] = {}
    for part in model.parts():
        for operator in part.operators:
            versions[operator.code] = max(versions.get(operator.code, 1), version_of(operator, part))
    return TfliteFile(
        precision=precision,
        content=content,
        input=loaded.input,
        output=loaded.output,
        operators=model.counts(),
        op_versions=dict(sorted(versions.items())),
    )


def _parity(
    request: ConversionRequest,
    onnx: bytes,
    float32: TfliteFile,
    int8: TfliteFile | None,
    inputs: Floats,
    described: str,
) -> ParityReport:
    from_onnx = run_onnx(onnx, inputs)
    from_float = TfliteModel(float32.content).run(inputs)
    stages = []
    if request.module is not None:
        stages.append(compare("torch → onnx", run_torch(request.module, inputs), from_onnx))
    stages.append(compare("onnx → float32", from_onnx, from_float))
    if int8 is not None:
        stages.append(compare(INT8_STAGE, from_float, TfliteModel(int8.content).run(inputs)))
    return ParityReport(stages=tuple(stages), inputs=described)


def _check_inputs(request: ConversionRequest) -> tuple[Floats, str]:
    """The inputs for parity, and what they are in words."""
    if request.check is not None:
        return request.check.astype(np.float32), f"{len(request.check)} given inputs"
    if request.calibration is not None:
        clips = request.calibration[:64].astype(np.float32)
        return clips, f"{len(clips)} of the calibration clips"
    noise = np.random.default_rng(_NOISE_SEED).standard_normal((_NOISE_EXAMPLES, *request.example.shape[1:]))
    inputs = np.concatenate([request.example, noise]).astype(np.float32)
    return inputs, f"the example and {_NOISE_EXAMPLES} inputs of noise"


def _check_clips(name: str, clips: Array, example: Array) -> None:
    if clips.dtype.kind != "f":
        raise ConversionError(f"{name} has dtype {clips.dtype}; expected floating-point features")
    if clips.shape[1:] != example.shape[1:]:
        raise ConversionError(
            f"{name} has shape {clips.shape}; expected (clips, {', '.join(map(str, example.shape[1:]))})"
        )
    if len(clips) == 0:
        raise ConversionError(f"{name} is empty; give at least one clip (128 or more for calibration)")
    if not np.isfinite(clips).all():
        broken = int(np.flatnonzero(~np.isfinite(clips).reshape(len(clips), -1).all(axis=1))[0])
        raise ConversionError(f"{name} clip {broken} has a value that is NaN or infinite; leave it out")


def _check_input(names: tuple[str, ...], shapes: Mapping[str, tuple[int, ...]], example: tuple[int, ...]) -> None:
    if len(names) != 1:
        raise ConversionError(f"the model has {len(names)} inputs ({', '.join(names)}); one is supported")
    if shapes[names[0]] != example:
        raise ConversionError(f"the model's input '{names[0]}' has shape {shapes[names[0]]}; the example has {example}")


def _advice(quantization: QuantReport | None) -> str:
    if quantization is None:
        return ""
    worst = ", ".join(f"{each.tensor} ({each.operator}, {each.sqnr_db:.1f} dB)" for each in quantization.layers[:3])
    return f"calibrated on {quantization.calibration_clips} clips by {quantization.method}; worst layers: {worst}"


class _Clock:
    """Wall time of named steps."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start
