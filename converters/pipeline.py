"""The whole conversion: a PyTorch module or an ONNX model in, ONNX and TFLite files out, each step proved.

module ─to_onnx─► ONNX ─read_graph, lower─► float32 ─┬─► float16, dynamic (weights in another form)
                    └──────── parity ───────────┴─┐  └─calibrate, equalize, mix, quantize, round─► int8
                                                  └──────────────────── parity ───────────────────┘
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from converters.advice import advise
from converters.bundle_contents import Precision
from converters.errors import ConversionError
from converters.float_front import put_in_front
from converters.graph import read_graph
from converters.int8_builder import Int8Builder
from converters.latency import latency_ratios
from converters.lowering.lower import lower
from converters.lowering.operators import version_of
from converters.lowering.outline import outline
from converters.lowering.records import Model
from converters.lowering.writer import write_model
from converters.metadata import BUFFER, Card, metadata_buffer, with_files
from converters.mixture import Mixture, choose_mixture, kept_float
from converters.onnx_file import read_model
from converters.parity import ParityReport, check_gates, compare, stage_of
from converters.quant_report import QuantReport, Shares, report_quantization, shares_of
from converters.request import Conversion, ConversionRequest, TfliteFile
from converters.runners import Floats, TfliteModel, run_onnx, run_tflite, run_torch
from converters.to_onnx import to_onnx
from converters.weight_forms import WeightForm, change_weights, dynamic_forms, float16_forms

__all__ = ["Conversion", "ConversionRequest", "TfliteFile", "convert"]

_NOISE_EXAMPLES = 8
_LAYER_CLIPS = 32
_NOISE_SEED = 20211027


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
        source = _lowered(request, content)
        model = source.body
        files: dict[Precision, TfliteFile] = {"float32": _file("float32", source, model, request.card)}
    for precision in request.wanted:
        if precision in _FORMS:
            with clock.step(f"write_{precision}"):
                changed = change_weights(model, _FORMS[precision](model))
                files[precision] = _file(precision, source, changed, request.card)
    quantized = None
    if "int8" in request.wanted:
        quantized = _quantized(request, source, clock)
        with clock.step("write_int8"):
            files["int8"] = _file("int8", source, quantized.int8, request.card)
    inputs, described = _check_inputs(request)
    with clock.step("parity"):
        parity = _parity(request, content, files, inputs, described)
    quantization, advice = None, None
    if quantized is not None:
        with clock.step("layers"):
            quantization = _layers(request, quantized, source.body_inputs(inputs[:_LAYER_CLIPS]))
    if request.gates is not None:
        # A float front is no int8 that was missed.
        shares: dict[str, Shares] = {} if quantized is None else {"int8": shares_of(quantized.int8)}
        check_gates(parity, request.gates, shares=shares, advice=_advice(quantization))
    if quantized is not None and quantization is not None and request.advises:
        with clock.step("advice"):
            advice = advise(quantized.builder, quantized.mixture.plan, quantization.layers)
    with clock.step("latency"):
        contents: dict[str, bytes] = {precision: file.content for precision, file in files.items()}
        latency = latency_ratios(contents, inputs[:1]) if len(files) > 1 else {}
    return Conversion(
        onnx=content,
        files=files,
        parity=parity,
        quantization=quantization,
        mixture=None if quantized is None else quantized.mixture,
        advice=advice,
        latency=latency,
        seconds=clock.seconds,
    )


_FORMS: Mapping[Precision, Callable[[Model], dict[str, WeightForm]]] = {
    "float16": float16_forms,
    "dynamic": dynamic_forms,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Source:
    """What every file is made from.

    Attributes:
        onnx: the whole network.
        front: float32, in front of every form of the body; None where there is none.
        body: float32, flat: what precisions are forms of.
    """

    onnx: bytes
    front: Model | None
    body: Model

    def whole(self, body: Model) -> Model:
        """A form of the body behind the front."""
        return body if self.front is None else put_in_front(self.front, body)

    def body_inputs(self, inputs: Floats) -> Floats:
        """What the body gets when the file gets `inputs`, shape (inputs, *axes)."""
        return inputs if self.front is None else run_tflite(write_model(self.front, description="front"), inputs)


def _lowered(request: ConversionRequest, content: bytes) -> _Source:
    if request.front is None:
        return _Source(onnx=content, front=None, body=_lower(content, request.example.shape))
    import torch

    assert request.module is not None
    example = torch.from_numpy(request.example.astype(np.float32))
    between = f"{request.input_name}/front"
    front = to_onnx(request.front, example, input_name=request.input_name, output_name=between)
    lowered = _lower(front.SerializeToString(), request.example.shape)
    shape = lowered.tensors[lowered.outputs[0]].shape
    body = to_onnx(request.module, torch.zeros(shape), input_name=between, output_name=request.output_name)
    return _Source(onnx=content, front=lowered, body=_lower(body.SerializeToString(), shape))


def _lower(content: bytes, example: tuple[int, ...]) -> Model:
    graph = read_graph(read_model(content), example)
    _check_input(graph.inputs, graph.shapes, example)
    return lower(graph)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Quantized:
    """The int8 model, what built it, and which operators it leaves out."""

    builder: Int8Builder
    int8: Model
    mixture: Mixture


def _quantized(request: ConversionRequest, source: _Source, clock: _Clock) -> _Quantized:
    assert request.calibration is not None
    model, clips = source.body, source.body_inputs(request.calibration.astype(np.float32))
    kept = kept_float(model, request.keep_float)
    with clock.step("calibrate"):
        builder = Int8Builder(model, clips, request.method, request.rounding)
    with clock.step("mix"):
        mixture = choose_mixture(builder.equalized, kept, request.goal, builder.sqnr_of)
    with clock.step("quantize"):
        return _Quantized(builder=builder, int8=builder.build(mixture.plan), mixture=mixture)


def _layers(request: ConversionRequest, quantized: _Quantized, inputs: Floats) -> QuantReport:
    assert request.calibration is not None
    return report_quantization(
        quantized.int8,
        write_model(quantized.builder.equalized, description="equalized"),
        write_model(quantized.int8, description="flat"),
        inputs,
        method=request.method,
        rounding=request.rounding,
        calibration_clips=len(request.calibration),
    )


def _onnx_of(request: ConversionRequest) -> bytes:
    if request.onnx is not None:
        return request.onnx
    import torch

    assert request.whole is not None
    example = torch.from_numpy(request.example.astype(np.float32))
    model = to_onnx(request.whole, example, input_name=request.input_name, output_name=request.output_name)
    written: bytes = model.SerializeToString()
    return written


def _file(precision: Precision, source: _Source, body: Model, card: Card | None) -> TfliteFile:
    model = source.whole(body)
    hashed = hashlib.sha256(source.onnx).hexdigest()[:16]
    description = f"{precision}, lowered by tkd's converters from ONNX sha256 {hashed}"
    stored = outline(model)
    if card is None:
        content = write_model(stored, description=description)
    else:
        buffer = metadata_buffer(card, input_name=model.inputs[0], output_name=model.outputs[0])
        content = with_files(write_model(stored, description=description, metadata={BUFFER: buffer}), card)
    loaded = TfliteModel(content)
    versions: dict[str, int] = {}
    for part in stored.parts():
        for operator in part.operators:
            versions[operator.code] = max(versions.get(operator.code, 1), version_of(operator, part))
    return TfliteFile(
        precision=precision,
        content=content,
        input=loaded.input,
        output=loaded.output,
        operators=stored.counts(),
        op_versions=dict(sorted(versions.items())),
        shares=shares_of(model),
    )


def _parity(
    request: ConversionRequest,
    onnx: bytes,
    files: Mapping[Precision, TfliteFile],
    inputs: Floats,
    described: str,
) -> ParityReport:
    from_onnx = run_onnx(onnx, inputs)
    from_float = TfliteModel(files["float32"].content).run(inputs)
    stages = []
    if request.whole is not None:
        stages.append(compare("torch → onnx", run_torch(request.whole, inputs), from_onnx))
    stages.append(compare("onnx → float32", from_onnx, from_float))
    for precision, file in files.items():
        if precision != "float32":
            stages.append(compare(stage_of(precision), from_float, TfliteModel(file.content).run(inputs)))
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
