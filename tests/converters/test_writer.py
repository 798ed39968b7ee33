"""The flatbuffer: alignment, versions, names, sameness."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from torch import nn

from converters.graph import read_graph
from converters.lowering.lower import lower
from converters.lowering.operators import OPERATORS, version_of
from converters.lowering.writer import write_model
from converters.quantize import quantize
from converters.to_onnx import to_onnx
from tests.converters.toys import TOYS


def lowered(name):
    _, shape, build = TOYS[name]
    torch.manual_seed(1)
    return lower(read_graph(to_onnx(build(), torch.zeros(shape), input_name="features", output_name="logits")))


def int8(model):
    return quantize(model, dict.fromkeys(model.activations(), (-4.0, 4.0)))


def test_every_buffer_starts_at_a_multiple_of_16_bytes():
    content = write_model(lowered("conv and norm and relu"), description="toy")
    model = schema.Model.GetRootAs(content)
    filled = [model.Buffers(index) for index in range(model.BuffersLength()) if not model.Buffers(index).DataIsNone()]
    starts = [buffer._tab.Vector(buffer._tab.Offset(4)) for buffer in filled]
    assert len(starts) >= 3
    assert [0] * len(starts) == [start % 16 for start in starts]


def test_the_file_names_its_signature_inputs_outputs_and_maker():
    content = write_model(lowered("linear"), description="made by a test")
    signatures = Interpreter(model_content=content).get_signature_list()
    assert {"serving_default": {"inputs": ["features"], "outputs": ["logits"]}} == signatures
    assert b"made by a test" == schema.Model.GetRootAs(content).Description()
    assert b"TFL3" == content[4:8]


def test_the_same_model_gives_the_same_bytes():
    model = lowered("residual sum")
    assert write_model(model, description="toy") == write_model(model, description="toy")


@pytest.mark.parametrize(
    ("toy", "code", "float_version", "int8_version"),
    [
        ("conv over time", "CONV_2D", 1, 3),
        ("conv over time, grouped", "CONV_2D", 6, 6),
        ("conv over time, depthwise", "DEPTHWISE_CONV_2D", 1, 3),
        ("conv over time, depthwise and dilated", "DEPTHWISE_CONV_2D", 2, 3),
        ("linear", "FULLY_CONNECTED", 1, 4),
        ("linear on every frame", "FULLY_CONNECTED", 5, 5),
        ("residual sum", "ADD", 1, 2),
        ("average pool", "AVERAGE_POOL_2D", 1, 2),
        ("sigmoid", "LOGISTIC", 1, 2),
        ("leaky relu", "LEAKY_RELU", 1, 1),
    ],
)
def test_an_operator_asks_for_the_lowest_version_with_its_semantics(toy, code, float_version, int8_version):
    model = lowered(toy)
    for each, expected in ((model, float_version), (int8(model), int8_version)):
        operator = next(operator for operator in each.operators if operator.code == code)
        assert expected == version_of(operator, each)


def test_every_row_of_the_table_exists_in_the_schema():
    for code, row in OPERATORS.items():
        assert hasattr(schema.BuiltinOperator, code)
        assert not row.options or hasattr(schema.BuiltinOptions, row.options)


def test_every_row_of_the_table_is_made_by_some_toy():
    made = {operator.code for name in TOYS for operator in int8(lowered(name)).operators}
    made |= {operator.code for name in TOYS for operator in lowered(name).operators}
    made |= {"IF"}  # of steps that repeat: tests/converters/test_outline.py
    made |= {"DEQUANTIZE"}  # bridges and packed weights: tests/converters/test_islands.py, test_weight_forms.py
    assert set(OPERATORS) == made


def test_weights_are_stored_once_where_two_operators_share_them():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(8, 8, bias=False)

        def forward(self, x):
            return self.linear(torch.relu(self.linear(x)))

    model = lower(read_graph(to_onnx(Shared(), torch.zeros(1, 8))))
    matrices = [tensor for tensor in model.tensors.values() if tensor.data is not None and tensor.shape == (8, 8)]
    assert 1 == len(matrices)
    assert np.float32 == matrices[0].content.dtype
