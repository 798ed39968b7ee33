"""Toy models written with the flatbuffer object API, their bundles, and a device whose processes are scripted."""

import copy
import json

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from android_bench.device import CommandResult, Device
from android_bench.records import DeviceContext, DeviceState
from converters.bundle import BundleContents, EvaluationPack, TensorSpec

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


LINES_OF_STAGE = {
    "golden": [{"event": "golden", "ok": True, "examples": 4, "max_error": 0.0, "bound": 1, "unit": "lsb"}],
    "latency": [
        {"event": "warmup", "runs": 3, "total_ns": 30_000},
        {"event": "samples", "ns": [9_000, 10_000, 11_000], "wall_ns": 31_000},
    ],
    "memory": [
        {
            "event": "memory",
            "start_kb": 30_000,
            "init_kb": 30_400,
            "overall_kb": 30_500,
            "peak_kb": 31_000,
            "peak_is_ours": True,
        }
    ],
}
HEAD_LINES = [
    {
        "event": "hello",
        "protocol": 1,
        "runner": "python",
        "engine": "a fake 1.0",
        "threads": 1,
        "delegate": "xnnpack",
        "timer_overhead_ns": 40,
        "call_overhead_ns": 60,
    },
    {
        "event": "init",
        "init_ns": 1_000_000,
        "nodes": 2,
        "delegated_nodes": 1,
        "invoke_path": "wrapper",
        "input": {},
        "output": {},
    },
    {"event": "first", "first_ns": 50_000},
]


def text_of(lines) -> str:
    return "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)


def good_lines(arguments) -> list[dict]:
    """What a runner prints when all goes well: 10 µs per inference, 8 µs for a model with int8 in its path."""
    lines = copy.deepcopy(HEAD_LINES)
    for stage in arguments["stages"].split(","):
        lines += copy.deepcopy(LINES_OF_STAGE.get(stage, []))
        if stage == "latency" and "int8" in arguments["model"]:
            lines[-1]["ns"] = [7_000, 8_000, 9_000]
        if stage == "eval":
            clips = len(np.load(arguments["eval_inputs"]))
            rows = [[float(clip % CLASSES == c) for c in range(CLASSES)] for clip in range(clips)]
            lines += [{"event": "eval", "first": 0, "outputs": rows[:20]}]
            lines += [{"event": "eval", "first": 20, "outputs": rows[20:]}]
    return [*lines, {"event": "done", "wall_ns": 1}]


class FakeDevice(Device):
    """A device whose processes are answers: `answer(arguments)` gives (exit code, stdout, stderr)."""

    def __init__(self, answer=None) -> None:
        self.answer = answer or (lambda arguments: (0, text_of(good_lines(arguments)), ""))
        self.calls: list[dict] = []

    runner = ("runner",)

    def run(self, command, timeout_s):
        arguments = dict(word.split("=", 1) for word in command[1:])
        self.calls.append(arguments)
        exit_code, stdout, stderr = self.answer(arguments)
        return CommandResult(
            exit_code=exit_code, stdout_bytes=stdout.encode(), stderr_bytes=stderr.encode(), seconds=0.0
        )

    def push(self, local):
        return str(local)

    def pull(self, remote, local):
        raise NotImplementedError

    def state(self):
        empty = {"frequency_khz": {}, "governor": {}, "temperature_c": {}}
        return DeviceState(taken_utc="2026-01-01T00:00:00Z", load_1min=0.1, **empty)

    def context(self):
        return DeviceContext(
            kind="host",
            model="Fake CPU",
            fingerprint="none",
            cpu_count=2,
            max_frequency_khz="denied",
            clocks_locked="unknown",
            memory_total_kb=1024,
            stands_for="wall-clock time on a fake; not a phone",
        )

    def concerns(self, state):
        return ("a fake: nothing is measured",)
