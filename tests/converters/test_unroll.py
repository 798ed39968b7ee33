"""Control flow of ONNX, written out and held against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import parser

from converters.errors import ConversionError
from converters.graph import read_graph
from converters.lowering.lower import lower
from converters.lowering.outline import outline
from converters.lowering.writer import write_model
from converters.onnx_file import read_model
from converters.runners import run_onnx, run_tflite

HEAD = '<ir_version: 8, opset_import: ["" : 17, "toy" : 1]>\n'

DECAY = """
    agraph (float[1, 6, 4] x) => (float[1, 4] last, float[1, 6, 4] all)
    <float[1, 4] first = {0.5, -1.0, 0.25, 2.0}, float[4, 4] w = {
        0.5, 0.1, 0.0, 0.2, 0.0, 0.4, 0.3, 0.0, 0.1, 0.0, 0.6, 0.0, 0.2, 0.2, 0.0, 0.3}>
"""
BODY = """body = step (float[1, 4] state, float[1, 4] row) => (float[1, 4] new, float[1, 4] shown) {
        product = MatMul (state, w)
        total = Add (product, row)
        new = Tanh (total)
        shown = Identity (new)
    }"""


def check(text: str) -> set[str]:
    """Holds the file against ONNX Runtime; returns what operators it has."""
    content = parser.parse_model(HEAD + text).SerializeToString()
    fed = np.random.default_rng(0).standard_normal((3, 6, 4)).astype(np.float32)
    model = outline(lower(read_graph(read_model(content))))
    seen = run_tflite(write_model(model, description="toy"), fed)
    np.testing.assert_allclose(seen, run_onnx(content, fed), rtol=1e-4, atol=1e-6)
    return set(model.counts())


@pytest.mark.parametrize("settings", [
    "scan_input_axes = [1], scan_output_axes = [1]",
    "scan_input_axes = [1], scan_output_axes = [1], scan_input_directions = [1]",
    "scan_input_axes = [1], scan_output_axes = [1], scan_output_directions = [1], scan_input_directions = [1]",
    "scan_input_axes = [-2], scan_output_axes = [-2]",
])  # fmt: skip
@pytest.mark.parametrize("output", ["all", "last"])
def test_a_scan_is_written_out_and_its_step_stored_once(settings, output):
    text = DECAY.replace("float[1, 4] last, float[1, 6, 4] all", {"all": "float[1, 6, 4] all"}.get(output, "last"))
    text = text.replace("=> (last)", "=> (float[1, 4] last)")
    kinds = check(f"{text} {{ last, all = Scan <num_scan_inputs = 1, {settings}, {BODY}> (first, x) }}")
    assert "IF" in kinds


def test_a_loop_of_constant_length_is_written_out():
    kinds = check("""
        agraph (float[1, 6, 4] x) => (float[1, 4] last)
        <float[1, 4] first = {0.5, -1.0, 0.25, 2.0}, int64 steps = {5}, bool yes = {1}, int64[1] axis = {0}>
        {
            last, all = Loop <body = step (int64 number, bool goes, float[1, 4] state) =>
                (bool stays, float[1, 4] new, float[1, 4] shown) {
                row = Gather <axis = 1> (x, number)
                total = Add (state, row)
                new = Tanh (total)
                shown = Identity (new)
                stays = Identity (goes)
            }> (steps, yes, first)
        }""")
    assert {"ADD", "TANH"} <= kinds


def test_a_function_of_the_model_is_put_in_its_place():
    model = parser.parse_model(
        HEAD
        + """
        agraph (float[1, 6, 4] x) => (float[1, 6, 4] y) { y = toy.Twice (x) }
        <domain: "toy", opset_import: ["" : 17]> Twice (a) => (b) { c = Tanh (a)  b = Add (c, c) }
    """
    )
    assert ["Tanh", "Add"] == [node.op for node in read_graph(model).nodes]


@pytest.mark.parametrize(("text", "message"), [
    ("steps = Cast <to = 7> (number)  y, all = Loop <body = step (int64 n, bool g, float[1, 6, 4] s) => "
     "(bool k, float[1, 6, 4] t, float[1] u) { k = Identity (g) t = Tanh (s) u = Identity (flag) }> (steps, yes, x)",
     "Loop node .* how many steps it takes is computed"),
    ("is = Greater (number, flag)  y = If <then_branch = a () => (float[1, 6, 4] p) { p = Tanh (x) }, "
     "else_branch = b () => (float[1, 6, 4] q) { q = Relu (x) }> (is)",
     "If node .* which branch it takes is computed"),
])  # fmt: skip
def test_control_flow_that_depends_on_the_input_is_refused(text, message):
    model = parser.parse_model(
        HEAD
        + f"""
        agraph (float[1, 6, 4] x) => (float[1, 6, 4] y) <bool yes = {{1}}, float[1] flag = {{0.0}}>
        {{ number = ReduceMean <keepdims = 0> (x)  {text} }}"""
    )
    with pytest.raises(ConversionError, match=message):
        read_graph(model)


def test_a_loop_without_end_stops_at_the_largest_number_of_operators(monkeypatch):
    monkeypatch.setattr("converters.graph._MAX_NODES", 2_000)
    text = """
        agraph (float[1, 6, 4] x) => (float[1, 6, 4] y) <int64 steps = {1000000000000}, bool yes = {1}> {
            y = Loop <body = step (int64 n, bool g, float[1, 6, 4] s) => (bool k, float[1, 6, 4] t) {
                k = Identity (g) t = Tanh (s) }> (steps, yes, x) }"""
    with pytest.raises(ConversionError, match="more than 2,000 operators"):
        read_graph(parser.parse_model(HEAD + text))


def test_a_body_keeps_what_it_takes_from_outside():
    model = parser.parse_model(
        HEAD + DECAY + f" {{ last, all = Scan <num_scan_inputs = 1, scan_input_axes = [1], "
        f"scan_output_axes = [1], {BODY}> (first, x) }}"
    )
    graph = read_graph(model)
    assert {"w"} == {node.inputs[1] for node in graph.nodes if node.op == "MatMul"}
    assert isinstance(model, onnx.ModelProto)
