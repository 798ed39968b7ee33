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
from dataclasses import dataclass, field, replace

import numpy as np

from converters.advice import advise
from converters.bundle_contents import Precision
from converters.errors import ConversionError, GateFailedError
from converters.float_front import put_in_front
from converters.graph import Graph, read_graph
from converters.int8_builder import Int8Builder
from converters.latency import latency_ratios
from converters.lowering.bands import has_few_columns
from converters.lowering.choices import Choices
from converters.lowering.lower import lower
from converters.lowering.operators import versions_of
from converters.lowering.outline import outline, outline_large
from converters.lowering.records import Model
from converters.lowering.strided import may_pair
from converters.lowering.writer import write_model
from converters.metadata import Card, write_described
from converters.mixture import Mixture, choose_mixture, kept_float
from converters.onnx_file import read_model
from converters.parity import INT8_STAGE, ParityGates, ParityReport, check_gates, compare, stage_of
from converters.pools import pools_as_convolutions
from converters.quant_report import QuantReport, Shares, report_quantization, shares_of
from converters.request import Conversion, ConversionRequest, TfliteFile
from converters.runners import Floats, TfliteModel, run_onnx, run_tflite, run_torch
from converters.tensorflow_route import OPSET as TENSORFLOW_OPSET
from converters.to_onnx import OPSET, to_onnx
from converters.tune import Tuner, Tuning, tune
from converters.weight_forms import WeightForm, change_weights, dynamic_forms, float16_forms

__all__ = ["Conversion", "ConversionRequest", "TfliteFile", "convert"]

_NOISE_EXAMPLES = 8
_LAYER_CLIPS = 32
_TUNED_CLIPS = 64
_TUNED_INPUTS = 8
_SHARE_SLACK = 0.01
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
    made = (_directly if request.backend == "direct" else _by_tensorflow)(request, content, clock)
    files, quantized = made.files, made.quantized
    inputs, described = _check_inputs(request)
    with clock.step("parity"):
        parity = _parity(request, content, files, inputs, described)
    quantization, advice = None, None
    if made.layers is not None:
        with clock.step("layers"):
            quantization = made.layers(inputs)
    if request.gates is not None:
        check_gates(parity, request.gates, shares=made.shares, advice=_advice(quantization))
    if quantized is not None and quantization is not None and request.advises:
        with clock.step("advice"):
            advice = advise(quantized.builder, quantized.mixture.plan, quantization.layers)
    with clock.step("latency"):
        contents: dict[str, bytes] = {precision: file.content for precision, file in files.items()}
        latency = latency_ratios(contents, inputs[:1], runtime=request.runtime) if len(files) > 1 else {}
    return Conversion(
        onnx=content,
        files=files,
        parity=parity,
        quantization=quantization,
        mixture=made.mixture,
        advice=advice,
        tuning=made.tuning,
        latency=latency,
        seconds=clock.seconds,
        backend=request.backend,
        runtime=request.runtime,
        tools=made.tools,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Made:
    """What a backend gives: files, and for the int8 one what stays float, what built it and how its layers are held.

    `shares` are those that gates look at.
    """

    files: dict[Precision, TfliteFile]
    shares: Mapping[str, Shares]
    mixture: Mixture | None = None
    quantized: _Quantized | None = None
    layers: Callable[[Floats], QuantReport] | None = None
    tuning: Tuning | None = None
    tools: Mapping[str, str] = field(default_factory=dict)


def _directly(request: ConversionRequest, content: bytes, clock: _Clock) -> _Made:
    """By our own lowering."""
    with clock.step("lower"):
        source = _lowered(request, content)
    tuning = None
    if request.tuner is not None:
        with clock.step("tune"):
            tuning = _tuned(request, request.tuner, source)
            source = source.lowered(tuning.chosen)
    model = source.body
    with clock.step("write_float32"):
        files: dict[Precision, TfliteFile] = {"float32": _file("float32", source, model, request.card)}
    for precision in request.wanted:
        if precision in _FORMS:
            with clock.step(f"write_{precision}"):
                changed = change_weights(model, _FORMS[precision](model))
                files[precision] = _file(precision, source, changed, request.card)
    if "int8" not in request.wanted:
        return _Made(files=files, shares={}, tuning=tuning)
    with clock.step("lower"):
        source = source.for_int8()
    quantized = _quantized(request, source, clock)
    with clock.step("write_int8"):
        files["int8"] = _file("int8", source, quantized.int8, request.card)
    return _Made(
        files=files,
        # A float front is no int8 that was missed.
        shares={"int8": shares_of(quantized.int8)},
        mixture=quantized.mixture,
        quantized=quantized,
        layers=lambda inputs: _layers(request, quantized, source.body_inputs(inputs[:_LAYER_CLIPS])),
        tuning=tuning,
    )


def _by_tensorflow(request: ConversionRequest, content: bytes, clock: _Clock) -> _Made:
    """By onnx-tf and TensorFlow, in a process of their own."""
    from converters.tensorflow_route.proof import files_of, layers_of, mixture_of
    from converters.tensorflow_route.route import convert_with_tensorflow

    made = convert_with_tensorflow(
        content, request.example.shape, request.wanted, request.calibration, python=request.backend_python
    )
    clock.seconds.update({f"tensorflow_{step}": seconds for step, seconds in made.seconds.items()})
    files = files_of(made.contents, request.card)
    shares: dict[str, Shares] = {precision: file.shares for precision, file in files.items()}
    if "int8" not in files:
        return _Made(files=files, shares=shares, tools=made.versions)
    assert request.calibration is not None
    clips = len(request.calibration)
    return _Made(
        files=files,
        shares=shares,
        mixture=mixture_of(files["int8"].content),
        layers=lambda inputs: layers_of(files, inputs[:_LAYER_CLIPS], clips),
        tools=made.versions,
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
        graph: of the body; the whole network where there is no front.
        front: float32, in front of every form of the body; None where there is none.
        choices: the way in which the body was lowered.
        body: float32, flat: what precisions are forms of.
    """

    onnx: bytes
    graph: Graph
    front: Model | None
    choices: Choices
    body: Model

    def lowered(self, choices: Choices) -> _Source:
        """The same with the body lowered in another way."""
        return replace(self, choices=choices, body=lower(self.graph, choices))

    def for_int8(self) -> _Source:
        """The same as an int8 file is made from."""
        choices = self.choices.for_int8()
        differs = may_pair(self.graph) or has_few_columns(self.graph)
        return self.lowered(choices) if choices != self.choices and differs else self

    def whole(self, body: Model) -> Model:
        """A form of the body behind the front."""
        return body if self.front is None else put_in_front(self.front, body)

    def stored(self, body: Model) -> Model:
        """A form of the body as its file has it, behind the front."""
        model = self.whole(body)
        match self.choices.steps:
            case "flat":
                return model
            case "called":
                return outline(model)
            case "fitting":
                return outline_large(model)

    def body_inputs(self, inputs: Floats) -> Floats:
        """What the body gets when the file gets `inputs`, shape (inputs, *axes)."""
        return inputs if self.front is None else run_tflite(write_model(self.front, description="front"), inputs)


def _lowered(request: ConversionRequest, content: bytes) -> _Source:
    choices = request.choices
    if request.front is None:
        graph = _graph(content, request.example.shape)
        return _Source(onnx=content, graph=graph, front=None, choices=choices, body=lower(graph, choices))
    import torch

    assert request.module is not None
    example = torch.from_numpy(request.example.astype(np.float32))
    between = f"{request.input_name}/front"
    front = to_onnx(request.front, example, input_name=request.input_name, output_name=between)
    lowered = lower(_graph(front.SerializeToString(), request.example.shape), Choices())
    shape = lowered.tensors[lowered.outputs[0]].shape
    body = to_onnx(request.module, torch.zeros(shape), input_name=between, output_name=request.output_name)
    graph = _graph(body.SerializeToString(), shape)
    return _Source(onnx=content, graph=graph, front=lowered, choices=choices, body=lower(graph, choices))


def _graph(content: bytes, example: tuple[int, ...]) -> Graph:
    graph = read_graph(read_model(content), example)
    _check_input(graph.inputs, graph.shapes, example)
    return graph


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Quantized:
    """The int8 model, what built it, and which operators it leaves out."""

    builder: Int8Builder
    int8: Model
    mixture: Mixture


def _quantized(request: ConversionRequest, source: _Source, clock: _Clock) -> _Quantized:
    assert request.calibration is not None
    model, clips = source.body, source.body_inputs(request.calibration.astype(np.float32))
    kept = kept_float(pools_as_convolutions(model), request.keep_float)
    with clock.step("calibrate"):
        builder = Int8Builder(model, clips, request.method, request.rounding)
    with clock.step("mix"):
        mixture = _mixture(request, builder, kept)
    with clock.step("quantize"):
        return _Quantized(builder=builder, int8=builder.build(mixture.plan), mixture=mixture)


def _mixture(request: ConversionRequest, builder: Int8Builder, kept: Mixture) -> Mixture:
    return choose_mixture(builder.equalized, kept, request.goal, builder.sqnr_of, request.sound_db)


def _layers(request: ConversionRequest, quantized: _Quantized, inputs: Floats) -> QuantReport:
    return report_quantization(
        quantized.int8,
        write_model(quantized.builder.equalized, description="equalized"),
        write_model(quantized.int8, description="flat"),
        inputs,
        method=request.method,
        rounding=request.rounding,
        calibration_clips=quantized.builder.calibrated_on,
    )


def _onnx_of(request: ConversionRequest) -> bytes:
    if request.onnx is not None:
        return request.onnx
    import torch

    assert request.whole is not None
    example = torch.from_numpy(request.example.astype(np.float32))
    model = to_onnx(
        request.whole,
        example,
        input_name=request.input_name,
        output_name=request.output_name,
        opset=OPSET if request.backend == "direct" else TENSORFLOW_OPSET,
    )
    written: bytes = model.SerializeToString()
    return written


def _tuned(request: ConversionRequest, tuner: Tuner, source: _Source) -> Tuning:
    """What is fastest for the int8 file, or the float32 one where none is asked for."""
    bounds = request.gates or ParityGates()
    inputs = _check_inputs(request)[0][:_TUNED_INPUTS]
    expected = run_onnx(source.onnx, inputs)

    least: list[float] = []

    def floats(choices: Choices) -> tuple[_Source, bytes]:
        way = source.lowered(choices)
        content = write_model(way.stored(way.body), description="tuned")
        seen = compare("onnx → float32", expected, TfliteModel(content).run(inputs))
        check_gates(ParityReport(stages=(seen,), inputs="tuned"), bounds)
        return way, content

    def int8(choices: Choices) -> bytes:
        way = floats(choices)[0].for_int8()
        assert request.calibration is not None
        clips = way.body_inputs(request.calibration[:_TUNED_CLIPS].astype(np.float32))
        builder = Int8Builder(way.body, clips, request.method, "nearest")
        kept = kept_float(pools_as_convolutions(way.body), request.keep_float)
        mixture = _mixture(request, builder, kept)
        quantized = builder.build(mixture.plan)
        # A way must not win by leaving int8.
        seen, of_what = shares_of(quantized).multiplied
        least.append(seen)
        if seen < least[0] - _SHARE_SLACK:
            raise GateFailedError(
                stage=INT8_STAGE, measure=f"share of {of_what} that are int8", seen=seen, bound=least[0],
                advice="the way to begin with has more",
            )  # fmt: skip
        return write_model(way.stored(quantized), description="tuned")

    if "int8" in request.wanted:
        return tune(tuner, int8, inputs[:1], "int8", request.choices)
    return tune(tuner, lambda choices: floats(choices)[1], inputs[:1], "float32", request.choices)


def _file(precision: Precision, source: _Source, body: Model, card: Card | None) -> TfliteFile:
    model = source.whole(body)
    hashed = hashlib.sha256(source.onnx).hexdigest()[:16]
    description = f"{precision}, lowered by tkd's converters from ONNX sha256 {hashed}"
    stored = source.stored(body)
    content = write_described(stored, description, card, told=model)
    loaded = TfliteModel(content)
    return TfliteFile(
        precision=precision,
        content=content,
        input=loaded.input,
        output=loaded.output,
        operators=stored.counts(),
        op_versions=versions_of(stored),
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
    from_float = TfliteModel(files["float32"].content, runtime=request.runtime).run(inputs)
    stages = []
    if request.whole is not None:
        stages.append(compare("torch → onnx", run_torch(request.whole, inputs), from_onnx))
    stages.append(compare("onnx → float32", from_onnx, from_float))
    for precision, file in files.items():
        if precision != "float32":
            outputs = TfliteModel(file.content, runtime=request.runtime).run(inputs)
            stages.append(compare(stage_of(precision), from_float, outputs))
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
    """Wall time of named steps, added up where one comes again."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
