"""ONNX models read as graphs."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from converters.errors import ConversionError
from converters.graph import read_graph
from converters.lowering.lower import lower


def model(nodes, *, inputs, outputs=("y",), constants=None):
    """An ONNX model of opset 17 from nodes; inputs are (name, shape, type)."""
    given = [helper.make_tensor_value_info(name, kind, shape) for name, shape, kind in inputs]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    stored = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(nodes, "toy", given, made, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


X = ("x", [1, 4], TensorProto.FLOAT)


def test_arithmetic_on_shapes_is_folded_and_what_is_dead_is_dropped():
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "one"], ["length"]),
        helper.make_node("Unsqueeze", ["length", "zero"], ["row"]),
        helper.make_node("Concat", ["minus", "row"], ["target"], axis=0),
        helper.make_node("Identity", ["x"], ["same"]),
        helper.make_node("Reshape", ["same", "target"], ["y"]),
        helper.make_node("Relu", ["x"], ["dead"]),
    ]
    constants = {"one": np.array(1), "zero": np.array([0]), "minus": np.array([-1])}

    graph = read_graph(model(nodes, inputs=[X], constants=constants))

    assert ["Reshape"] == [node.op for node in graph.nodes]
    assert ("x", "target") == graph.nodes[0].inputs
    assert [-1, 4] == graph.constants["target"].tolist()
    assert (1, 4) == graph.shapes["y"]
    assert {"target"} == set(graph.constants)


def test_the_branch_that_a_constant_condition_takes_is_read_in_place():
    def branch(operator):
        made = helper.make_tensor_value_info(f"{operator}_out", TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node(operator, ["x"], [f"{operator}_out"])], operator, [], [made])

    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["length"]),
        helper.make_node("Equal", ["length", "one"], ["is_one"]),
        helper.make_node("If", ["is_one"], ["chosen"], then_branch=branch("Tanh"), else_branch=branch("Relu")),
        helper.make_node("Sigmoid", ["chosen"], ["y"]),
    ]

    graph = read_graph(model(nodes, inputs=[X], constants={"zero": np.array(0), "one": np.array(1)}))

    assert ["Tanh", "Sigmoid"] == [node.op for node in graph.nodes]


def test_an_input_of_free_length_is_refused_with_its_shape():
    with pytest.raises(
        ConversionError, match=r"value 'x' has the shape \['n', 4\]; export the model with static shapes"
    ):
        read_graph(model([helper.make_node("Relu", ["x"], ["y"])], inputs=[("x", ["n", 4], TensorProto.FLOAT)]))


def test_an_input_of_integers_is_refused():
    with pytest.raises(ConversionError, match="input 'x' is INT64; only float32"):
        read_graph(model([helper.make_node("Abs", ["x"], ["y"])], inputs=[("x", [1, 4], TensorProto.INT64)]))


def test_an_output_that_ignores_the_input_is_refused():
    nodes = [helper.make_node("Identity", ["weights"], ["y"])]
    with pytest.raises(ConversionError, match="output 'y' is not computed from the input"):
        read_graph(model(nodes, inputs=[X], constants={"weights": np.zeros(3, np.float32)}))


def test_an_operator_of_another_domain_is_refused_by_name():
    nodes = [helper.make_node("FancyNorm", ["x"], ["y"], name="fancy", domain="com.example")]
    with pytest.raises(ConversionError, match="FancyNorm node 'fancy' is no standard ONNX operator"):
        read_graph(model(nodes, inputs=[X]))


def test_operands_that_do_not_fit_are_refused_by_name():
    nodes = [helper.make_node("Add", ["x", "row"], ["y"], name="sum")]
    with pytest.raises(ConversionError, match="the shape that Add node 'sum' makes is unknown"):
        read_graph(model(nodes, inputs=[X], constants={"row": np.zeros(3, np.float32)}))


def test_an_operator_without_a_row_is_refused_with_node_shapes_and_the_supported_list():
    nodes = [
        helper.make_node("Erf", ["x"], ["a"], name="gelu"),
        helper.make_node("Einsum", ["a", "a"], ["y"], equation="ij,ij->ij"),
    ]
    graph = read_graph(model(nodes, inputs=[X]))
    expected = (
        r"no lowering for Erf \(node 'gelu', input shapes \[1, 4\]\); also without a lowering: Einsum; supported: Add,"
    )
    with pytest.raises(ConversionError, match=expected):
        lower(graph)
