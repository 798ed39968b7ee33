"""Layouts, padding, and the operators they leave or spare."""

from __future__ import annotations

import doctest

import pytest
import torch
from torch import nn

from converters import parity, quantize
from converters.errors import ConversionError
from converters.graph import read_graph
from converters.lowering import layout, outline, padding
from converters.lowering.lower import lower
from converters.to_onnx import to_onnx
from tests.converters.toys import MAP_2D, TOYS, Toy


def lowered(module, shape):
    return lower(read_graph(to_onnx(module, torch.zeros(shape))))


@pytest.mark.parametrize("module", [layout, outline, padding, parity, quantize])
def test_the_examples_in_the_docstrings_hold(module):
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert 0 == result.failed


def test_a_net_fed_with_frames_first_has_one_reshape_and_no_transpose():
    net = Toy(
        lambda x, conv, head: head(conv(x.transpose(1, 2)).mean(dim=2)), conv=nn.Conv1d(8, 6, 3), head=nn.Linear(6, 4)
    )
    assert {"RESHAPE": 1, "CONV_2D": 1, "MEAN": 1, "FULLY_CONNECTED": 1} == lowered(net, (1, 20, 8)).counts()


def test_an_image_net_with_a_flattened_head_transposes_its_input_alone():
    net = nn.Sequential(nn.Conv2d(4, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 8 * 5, 5))
    assert {"TRANSPOSE": 1, "CONV_2D": 1, "RESHAPE": 1, "FULLY_CONNECTED": 1} == lowered(net, MAP_2D).counts()


@pytest.mark.parametrize(
    ("toy", "rule", "pads"),
    [
        ("conv over time", "VALID", 0),
        ("conv over time, same padding", "SAME", 0),
        ("conv over time, padding of no rule", "VALID", 1),
        ("conv over time, causal", "VALID", 1),
    ],
)
def test_padding_becomes_a_rule_where_it_equals_one_and_a_pad_where_not(toy, rule, pads):
    _, shape, build = TOYS[toy]
    model = lowered(build(), shape)
    conv = next(operator for operator in model.operators if operator.code == "CONV_2D")
    assert rule == conv.options["padding"]
    assert pads == model.counts().get("PAD", 0)


def test_normalisation_and_activation_leave_no_operator_behind_a_convolution():
    _, shape, build = TOYS["conv and norm and relu"]
    model = lowered(build(), shape)
    assert 1 == model.counts()["CONV_2D"]
    assert not {"MUL", "ADD", "RELU"} & set(model.counts())


def test_an_activation_stays_where_the_value_before_it_is_read_elsewhere():
    _, shape, build = TOYS["relu read twice"]
    assert 1 == lowered(build(), shape).counts()["RELU"]


@pytest.mark.parametrize(
    ("module", "shape", "message"),
    [
        (nn.MaxPool2d(3, stride=2, padding=1), (1, 4, 10, 8), "MaxPool node .* neither VALID nor SAME"),
        (nn.MaxPool2d(2, ceil_mode=True), MAP_2D, "MaxPool node .* ceil_mode"),
        (nn.AvgPool1d(3, stride=2, padding=1, count_include_pad=False), (1, 4, 10), "AveragePool node .* leaves out"),
        (nn.Conv3d(2, 2, 1), (1, 2, 3, 3, 3), "Conv node .* 3 spatial axes"),
        (nn.ReflectionPad1d(2), (1, 4, 10), "Pad node .* mode 'reflect'"),
        (nn.ConstantPad1d(2, 1.5), (1, 4, 10), "Pad node .* other than zero"),
        (nn.ConstantPad1d(-2, 0.0), (1, 4, 10), r"Pad node .* crops .*input shapes \[1, 4, 10\]"),
        (Toy(lambda x: x / x), (1, 4), "Div node .* constant without zeros"),
        (Toy(lambda x: torch.ones(3, 4) @ x), (4, 4), "MatMul node .* constant on the left"),
    ],
)
def test_a_use_without_a_tflite_form_is_refused_with_node_reason_and_shapes(module, shape, message):
    with pytest.raises(ConversionError, match=message):
        lowered(module, shape)
