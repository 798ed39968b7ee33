"""Recurrent layers of ONNX, written out, stored once, and held against ONNX Runtime."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from onnx import TensorProto, helper, numpy_helper

from converters.errors import ConversionError
from converters.graph import read_graph
from converters.lowering.lower import lower
from converters.lowering.outline import copied_weights, outline, outline_large
from converters.lowering.writer import write_model
from converters.weight_forms import change_weights

INPUTS, UNITS = 5, 7
GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}
STATES = {"GRU": 1, "LSTM": 2, "RNN": 1}


def layer(
    op, *, time=9, batch=1, directions=1, bias=True, state=False, peepholes=False, output=0, lengths=None, **attributes
):
    """A model of one recurrent layer with random weights."""
    rng = np.random.default_rng(3)
    gates = GATES[op]

    def random(*shape):
        return rng.uniform(-0.5, 0.5, shape).astype(np.float32)

    stored = {
        "W": random(directions, gates * UNITS, INPUTS),
        "R": random(directions, gates * UNITS, UNITS),
        "B": random(directions, 2 * gates * UNITS) if bias else None,
        "lengths": None if lengths is None else np.array(lengths, np.int32),
        "h": random(directions, batch, UNITS) if state else None,
        "c": random(directions, batch, UNITS) if state and op == "LSTM" else None,
        "P": random(directions, 3 * UNITS) if peepholes else None,
    }
    if attributes.get("layout"):
        stored |= {name: stored[name].swapaxes(0, 1) for name in ("h", "c") if stored[name] is not None}
    names = [name if stored[name] is not None else "" for name in stored]
    while not names[-1]:
        names.pop()
    outputs = [""] * output + ["y"]
    node = helper.make_node(op, ["x", *names], outputs, name="layer", hidden_size=UNITS, **attributes)
    shape = [batch, time, INPUTS] if attributes.get("layout") else [time, batch, INPUTS]
    graph = helper.make_graph(
        [node], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in stored.items()
         if array is not None],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def check(model):
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    fed = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    flat = lower(read_graph(model))
    for each in (flat, outline(flat)):
        run = loaded(each)
        expected = run_whole(model.SerializeToString(), fed)
        for _ in range(3):
            np.testing.assert_allclose(run(fed), expected, rtol=1e-4, atol=1e-6)
            run(-3 * fed)
    return outline(flat)


def loaded(model):
    """A function that runs a model on an input whose first axis is time, not examples."""
    interpreter = Interpreter(model_content=write_model(model, description="toy"), num_threads=1)
    interpreter.allocate_tensors()

    def run(fed):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], fed)
        interpreter.invoke()
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])

    return run


def run_whole(content, fed):
    import onnxruntime

    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, {"x": fed})[0]


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("output", [0, 1])
def test_a_layer_gives_what_onnx_runtime_gives_again_and_again(op, direction, output):
    directions = 2 if direction == "bidirectional" else 1
    model = check(layer(op, direction=direction, directions=directions, output=output))
    assert directions == len(model.steps)
    assert 8 * directions == sum(operator.code == "IF" for operator in model.operators)


@pytest.mark.parametrize(
    ("op", "settings"),
    [
        ("GRU", {"linear_before_reset": 1}),
        ("GRU", {"linear_before_reset": 1, "state": True, "direction": "bidirectional", "directions": 2}),
        ("GRU", {"bias": False}),
        ("GRU", {"activations": ["Sigmoid", "Relu"]}),
        ("LSTM", {"peepholes": True}),
        ("LSTM", {"peepholes": True, "state": True, "output": 2}),
        ("LSTM", {"bias": False, "direction": "bidirectional", "directions": 2, "output": 2}),
        ("RNN", {"activations": ["Relu"], "state": True}),
        ("RNN", {"lengths": [9]}),
    ],
)
def test_every_form_of_a_layer_is_written_out(op, settings):
    check(layer(op, **settings))


@pytest.mark.parametrize("time", [1, 2, 3])
def test_few_steps_are_written_out_and_not_called(time):
    assert () == check(layer("GRU", time=time)).steps


@pytest.mark.parametrize("form", [None, "float16", "stored", "dynamic"])
def test_the_copies_of_shared_weights_are_counted_in_every_form(form):
    flat = lower(read_graph(layer("GRU", time=9)))
    uses = Counter(each.inputs[1] for each in flat.operators if each.code == "FULLY_CONNECTED")
    shared = {name: count for name, count in uses.items() if count > 1}
    assert {8, 9} == set(shared.values())  # the first step has no state to multiply
    forms = {each.outputs[0]: form for each in flat.operators if each.code == "FULLY_CONNECTED"}
    model = flat if form is None else change_weights(flat, forms)
    assert copied_weights(model) == sum(count * flat.tensors[name].content.size for name, count in shared.items())


def test_steps_are_called_only_where_copies_of_their_weights_are_many(monkeypatch):
    flat = lower(read_graph(layer("GRU", time=9)))
    assert flat is outline_large(flat)
    monkeypatch.setattr("converters.lowering.outline.FITTING_WEIGHTS", copied_weights(flat) - 1)
    assert 1 == len(outline_large(flat).steps)


def test_a_batch_of_several_sequences_is_written_out():
    check(layer("LSTM", batch=3))


@pytest.mark.parametrize(
    ("op", "settings", "message"),
    [
        ("GRU", {"clip": 3.0}, "clip and input_forget"),
        ("LSTM", {"activations": ["HardSigmoid", "Tanh", "Tanh"]}, "the activations HardSigmoid; Sigmoid, Tanh, Relu"),
        ("RNN", {"lengths": [4]}, r"sequences of the lengths \[4\] in 9 steps"),
    ],
)
def test_a_form_without_a_lowering_is_refused_with_its_name(op, settings, message):
    with pytest.raises(ConversionError, match=f"{op} node 'layer' cannot be converted: .*{message}"):
        lower(read_graph(layer(op, **settings)))


def test_the_layout_with_batches_first_is_written_out():
    # ONNX Runtime refuses this layout on its CPU; the other one, transposed, is the reference.
    first = layer("GRU", layout=1, state=True, output=0)
    last = layer("GRU", state=True)
    fed = np.random.default_rng(0).standard_normal((1, 9, INPUTS)).astype(np.float32)
    expected = run_whole(last.SerializeToString(), fed.transpose(1, 0, 2))
    seen = loaded(outline(lower(read_graph(first))))(fed)
    np.testing.assert_allclose(seen, expected.transpose(2, 0, 1, 3), rtol=1e-4, atol=1e-6)


def test_every_operator_of_a_step_says_which_layer_and_step_it_comes_from():
    model = lower(read_graph(layer("GRU")))
    seen = [operator.node for operator in model.operators if operator.code == "FULLY_CONNECTED"]
    assert ["layer/forward/product", *(f"layer/forward/step{step}/state_gates" for step in range(1, 9))] == sorted(
        set(seen) - {f"layer/forward/step{step}/state_n" for step in range(9)}
    )
