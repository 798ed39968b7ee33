"""Random models and damaged files: an answer that is right, or an error of ours; never a crash, never a wrong file."""

from __future__ import annotations

import contextlib
import random
import warnings

import numpy as np
import onnx
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from converters.errors import ConversionError
from converters.graph import _EVALUATION_ERRORS, read_graph
from converters.lowering.lower import lower
from converters.lowering.outline import outline
from converters.lowering.writer import write_model
from converters.onnx_file import _tensors, read_model
from converters.runners import run_onnx
from converters.to_onnx import to_onnx
from tests.converters.toys import normalised

SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
UNARY = ("Relu", "Sigmoid", "Tanh", "LeakyRelu", "HardSigmoid", "HardSwish", "Identity", "Flatten", "Exp")
BINARY = ("Add", "Sub", "Mul", "Div", "MatMul", "Concat", "Gemm")


def converted(content: bytes) -> bytes:
    return write_model(outline(lower(read_graph(read_model(content)))), description="fuzz")


def agrees_or_is_refused(content: bytes, shape: tuple[int, ...]) -> bool:
    """Whether the model was converted; then its file agrees with ONNX Runtime."""
    try:
        file = converted(content)
    except ConversionError:
        return False
    fed = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    expected = run_onnx(content, fed)
    seen = run(file, fed)
    assert expected.shape == seen.shape
    if largest_weight(content) > 1e3:
        return True  # damaged numbers: sums lose digits, or overflow, in one order and not in another
    finite = np.isfinite(expected)
    scale = max(1.0, float(np.abs(expected[finite]).max(initial=0.0)))
    assert np.abs(np.where(finite, expected, 0) - np.where(finite, seen, 0)).max(initial=0.0) < 1e-3 * scale
    return True


def largest_weight(content: bytes) -> float:
    arrays = [numpy_helper.to_array(tensor) for tensor in _tensors(onnx.load_from_string(content).graph)]
    return max((float(np.nan_to_num(np.abs(each), nan=np.inf).max(initial=0)) for each in arrays), default=0.0)


def run(file: bytes, fed: np.ndarray) -> np.ndarray:
    """The output of a file whose output may have any shape."""
    interpreter = Interpreter(model_content=file, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], fed)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


class Draw:
    """A random graph in the making: a chain of nodes, with constants, that may or may not fit."""

    def __init__(self, source: random.Random, shape: tuple[int, ...]) -> None:
        self.source = source
        self.nodes: list = []
        self.constants: dict[str, np.ndarray] = {}
        self.values = ["x"]
        self.rank = len(shape)

    def constant(self, *shape: int) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.random.default_rng(len(name)).uniform(-1, 1, shape).astype(np.float32)
        return name

    def integers(self, *values: int) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.array(values, np.int64)
        return name

    def length(self) -> int:
        return self.source.choice((1, 2, 3, 4, 6))

    def axis(self) -> int:
        return self.source.randint(-4, 4)

    def value(self) -> str:
        return self.source.choice(self.values[-3:])

    def node(self, op: str, inputs: list[str], **attributes) -> None:
        output = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        self.values.append(output)

    def step(self) -> None:
        kind, draw = self.source.choice(KINDS), self.source
        kind = "unary" if self.rank < 3 and kind in ("conv", "pool") else kind
        if kind == "unary":
            self.node(draw.choice(UNARY), [self.value()])
        elif kind == "softmax":
            self.node("Softmax", [self.value()], axis=self.axis())
        elif kind == "binary":
            shape = [self.length() for _ in range(draw.randint(0, 3))]
            other = draw.choice((self.value(), self.constant(*shape)))
            op = draw.choice(BINARY)
            pair = [self.value(), other] if draw.random() < 0.7 else [other, self.value()]
            self.node(op, pair, **({"axis": self.axis()} if op == "Concat" else {}))
        elif kind == "conv":
            taps = [draw.choice((1, 3)) for _ in range(self.rank - 2)]
            width, groups = self.length(), draw.choice((1, 1, 2, 3))
            attributes = {"group": groups, "strides": [draw.choice((1, 2)) for _ in taps],
                          "dilations": [draw.choice((1, 2)) for _ in taps],
                          "pads": [draw.choice((0, 1, 2)) for _ in 2 * taps]}  # fmt: skip
            self.node("Conv", [self.value(), self.constant(width * groups, self.length(), *taps)], **attributes)
        elif kind == "pool":
            attributes = {"kernel_shape": [draw.choice((1, 2, 3)) for _ in range(self.rank - 2)],
                          "strides": [draw.choice((1, 2)) for _ in range(self.rank - 2)]}  # fmt: skip
            self.node(draw.choice(("MaxPool", "AveragePool")), [self.value()], **attributes)
        elif kind == "transpose":
            order = list(range(self.rank))
            draw.shuffle(order)
            self.node("Transpose", [self.value()], perm=order)
        elif kind == "reshape":
            target = [draw.choice((-1, 0, 1, 2, 3, 4, 6)) for _ in range(draw.randint(1, 4))]
            self.node("Reshape", [self.value(), self.integers(*target)])
        elif kind == "mean":
            self.node("ReduceMean", [self.value()], axes=[self.axis()], keepdims=draw.choice((0, 1)))
        elif kind == "gather":
            places = [draw.randint(-4, 3) for _ in range(draw.randint(1, 3))]
            self.node("Gather", [self.value(), self.integers(*places)], axis=self.axis())
        elif kind == "slice":
            given = [self.integers(draw.randint(-4, 3)), self.integers(draw.randint(-3, 6)),
                     self.integers(self.axis()), self.integers(draw.choice((1, 1, 2, -1)))]  # fmt: skip
            self.node("Slice", [self.value(), *given])
        elif kind == "pad":
            self.node("Pad", [self.value(), self.integers(*(draw.choice((0, 0, 1)) for _ in range(2 * self.rank)))])
        elif kind == "axes":
            self.node(draw.choice(("Squeeze", "Unsqueeze")), [self.value(), self.integers(self.axis())])
        else:
            low, high = (np.array(draw.uniform(-2, 2), np.float32) for _ in range(2))
            self.constants |= {f"c{len(self.constants)}": low}
            self.constants |= {f"c{len(self.constants)}": high}
            self.node("Clip", [self.value(), *list(self.constants)[-2:]])

    def living(self) -> list:
        """The nodes that the output needs: what is dead is nobody's concern."""
        wanted, kept = {self.values[-1]}, []
        for node in reversed(self.nodes):
            if wanted.intersection(node.output):
                kept.append(node)
                wanted.update(node.input)
        return kept[::-1]

    def content(self, shape: tuple[int, ...], opset: int) -> bytes:
        opsets = [helper.make_opsetid("", opset)]

        def model(output: tuple[int, ...] | None) -> onnx.ModelProto:
            graph = helper.make_graph(
                self.living(), "g",
                [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
                [helper.make_tensor_value_info(self.values[-1], TensorProto.FLOAT, output)],
                [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
            )  # fmt: skip
            return helper.make_model(graph, opset_imports=opsets, ir_version=8)

        # Computed, not inferred: onnx's inference ends the process over a part of an axis of length zero.
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
                made = ReferenceEvaluator(model(None)).run(None, {"x": np.zeros(shape, np.float32)})[0].shape
        except _EVALUATION_ERRORS:
            made = (1,)  # nodes that do not fit together, which are to be refused
        return model(made).SerializeToString()


KINDS = ("unary", "unary", "softmax", "binary", "binary", "conv", "pool", "transpose", "reshape", "mean", "gather",
         "slice", "pad", "axes", "clip")  # fmt: skip
SHAPES = ((1, 6), (1, 4, 6), (1, 3, 4, 6), (1, 1, 6, 2))


def random_model(seed: int) -> tuple[bytes, tuple[int, ...]]:
    source = random.Random(seed)
    shape = source.choice(SHAPES)
    draw = Draw(source, shape)
    for _ in range(source.randint(1, 5)):
        draw.step()
    return draw.content(shape, source.choice((13, 15, 17))), shape


@example(7644)  # a part of a map that a long window leaves nothing of
@SETTINGS
@given(st.integers(0, 2**32))
def test_a_random_model_is_converted_right_or_refused(seed):
    agrees_or_is_refused(*random_model(seed))


def test_a_good_share_of_the_random_models_is_converted():
    outcomes = [agrees_or_is_refused(*random_model(seed)) for seed in range(300)]
    assert sum(outcomes) > 30


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(4, 3, batch_first=True)

    def forward(self, x):
        return self.layer(x)[0][:, -1]


SEEDS = {
    "convolutions": ((1, 3, 8), lambda: nn.Sequential(nn.Conv1d(3, 4, 3), normalised(4), nn.ReLU(), nn.AvgPool1d(2))),
    "recurrent": ((1, 6, 4), Recurrent),
    "dense": ((1, 2, 4), lambda: nn.Sequential(nn.Flatten(), nn.Linear(8, 3), nn.Softmax(1))),
}
_CONTENTS: dict[str, bytes] = {}


def content_of(name: str) -> bytes:
    if name not in _CONTENTS:
        shape, build = SEEDS[name]
        torch.manual_seed(0)
        _CONTENTS[name] = to_onnx(build(), torch.zeros(shape)).SerializeToString()
    return _CONTENTS[name]


@pytest.mark.parametrize("name", SEEDS)
@SETTINGS
@given(st.data())
def test_a_damaged_file_is_converted_right_or_refused(name, data):
    content = bytearray(content_of(name))
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, max(len(content) - 1, 0)))
        action = data.draw(st.sampled_from(("change", "cut", "drop", "repeat")))
        if action == "change" and content:
            content[place] = data.draw(st.integers(0, 255))
        elif action == "cut":
            del content[place:]
        elif action == "drop":
            del content[place : place + data.draw(st.integers(1, 20))]
        else:
            content[place:place] = content[place : place + data.draw(st.integers(1, 20))]
    try:
        run_onnx(bytes(content), np.zeros(SEEDS[name][0], np.float32))
    except ConversionError:
        # ONNX Runtime also refuses what no output needs, and a damaged description of what it can infer.
        with contextlib.suppress(ConversionError):
            converted(bytes(content))
        return
    agrees_or_is_refused(bytes(content), SEEDS[name][0])


def test_a_part_of_an_empty_constant_is_refused_before_onnx_ends_the_process():
    constants = {"empty": np.zeros((1, 2, 0), np.float32), "axis": np.array([-1]), "end": np.array([-1])}
    nodes = [
        helper.make_node("Cast", ["x"], ["start"], to=TensorProto.INT64),
        helper.make_node("Slice", ["empty", "start", "end", "axis"], ["part"], name="cut"),
        helper.make_node("Add", ["x", "part"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1,))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1,))],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    with pytest.raises(ConversionError, match=r"'cut'.* takes a part of 'empty', which has the shape \[1, 2, 0\]"):
        converted(content)
