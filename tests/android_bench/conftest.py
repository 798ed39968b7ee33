"""Toy models written with the flatbuffer object API, and bundles of them: nothing of the exporter is needed."""

from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from converters.bundle import Bundle, BundleContents, EvaluationPack, TensorSpec, write_bundle

CLASSES = 3
FEATURES = 8


def tensor(name, shape, kind, buffer=0, scale=None, zero_point=0):
    made = schema.TensorT()
    made.name, made.shape, made.type, made.buffer = name, list(shape), kind, buffer
    if scale is not None:
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale, made.quantization.zeroPoint = [scale], [zero_point]
    return made


def fully_connected(weights: np.ndarray, bias: np.ndarray, *, quantized: bool) -> bytes:
    """A model of one FULLY_CONNECTED: (1, FEATURES) → (1, CLASSES), float32 or int8 throughout."""
    model, graph, operator, code = schema.ModelT(), schema.SubGraphT(), schema.OperatorT(), schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    buffers = [schema.BufferT() for _ in range(3)]
    buffers[1].data = list(weights.tobytes())
    buffers[2].data = list(bias.tobytes())
    kinds = schema.TensorType
    kind, bias_kind = (kinds.INT8, kinds.INT32) if quantized else (kinds.FLOAT32, kinds.FLOAT32)
    scales = (0.05, 0.01, 0.05 * 0.01, 0.05) if quantized else (None,) * 4
    graph.tensors = [
        tensor("features", (1, FEATURES), kind, 0, scales[0]),
        tensor("weights", weights.shape, kind, 1, scales[1]),
        tensor("bias", bias.shape, bias_kind, 2, scales[2]),
        tensor("logits", (1, CLASSES), kind, 0, scales[3]),
    ]
    operator.inputs, operator.outputs = [0, 1, 2], [3]
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = schema.FullyConnectedOptionsT()
    graph.operators, graph.inputs, graph.outputs = [operator], [0], [3]
    model.version, model.buffers, model.operatorCodes, model.subgraphs = 3, buffers, [code], [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def toy_model(*, quantized: bool) -> bytes:
    """The same function in both precisions: logit c is the sum of the features c, c + 3, c + 6."""
    weights = np.array([[float(feature % CLASSES == c) for feature in range(FEATURES)] for c in range(CLASSES)])
    if quantized:
        return fully_connected((weights * 100).astype(np.int8), np.zeros(CLASSES, np.int32), quantized=True)
    return fully_connected(weights.astype(np.float32), np.zeros(CLASSES, np.float32), quantized=False)


def outputs_of(model: bytes, inputs: np.ndarray) -> np.ndarray:
    """What the host runtime computes, shape (examples, CLASSES)."""
    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    rows = []
    for example in inputs:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], example[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    return np.stack(rows)


def toy_contents(*, quantized: bool, **changes) -> BundleContents:
    clips = 30
    precision = "int8" if quantized else "float32"
    kind = {"dtype": "int8", "scale": 0.05, "zero_point": 0} if quantized else {"dtype": "float32"}
    inputs = (TensorSpec(name="features", shape=(1, FEATURES), **kind),)
    values = np.random.default_rng(7).uniform(-1, 1, (clips, FEATURES)).astype(np.float32)
    ready = inputs[0].quantize(values)
    model = toy_model(quantized=quantized)
    labels = outputs_of(toy_model(quantized=False), values).argmax(axis=1)
    labels[:3] = (labels[:3] + 1) % CLASSES
    fields = {
        "name": f"toy-{precision}",
        "student": "toy",
        "precision": precision,
        "model": model,
        "onnx": b"no onnx in this test",
        "inputs": inputs,
        "outputs": (TensorSpec(name="logits", shape=(1, CLASSES), **kind),),
        "labels": ("a", "b", "c"),
        "parents": {"checkpoint": "c" * 64},
        "data": {"synthetic": True, "name": "toy"},
        "golden_input": ready[:4],
        "golden_output": outputs_of(model, ready[:4]),
        "evaluation": EvaluationPack(inputs=ready, labels=labels, ids=tuple(f"clip{i}" for i in range(clips))),
        "report_markdown": "# toy\n",
    }
    fields |= {key: {} for key in ("front_end", "ops", "parity", "accuracy", "calibration", "tools", "git", "report")}
    return BundleContents(**(fields | changes))


@pytest.fixture(scope="session")
def exports(tmp_path_factory) -> Path:
    """A folder with a float32 and an int8 bundle of the same toy; tests that alter it copy it first."""
    folder = tmp_path_factory.mktemp("exports")
    for quantized in (False, True):
        contents = toy_contents(quantized=quantized)
        write_bundle(folder / contents.name, contents)
    return folder


@pytest.fixture
def bundles(exports) -> list[Bundle]:
    from converters.bundle import find_bundles

    return find_bundles(exports)
