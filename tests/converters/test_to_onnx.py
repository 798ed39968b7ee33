"""PyTorch to ONNX."""

from __future__ import annotations

import onnx
import pytest
import torch
from torch import nn

from converters.errors import ConversionError
from converters.onnx_file import read_model
from converters.to_onnx import OPSET, to_onnx
from tests.converters.toys import Toy


def test_the_model_has_static_shapes_the_given_names_and_the_stated_opset():
    model = to_onnx(nn.Conv1d(6, 5, 3), torch.zeros(1, 6, 21), input_name="features", output_name="logits")
    graph = model.graph
    assert ["features"] == [item.name for item in graph.input]
    assert ["logits"] == [item.name for item in graph.output]
    assert [1, 6, 21] == [dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim]
    assert OPSET == model.opset_import[0].version


def test_shapes_rounded_up_by_the_module_are_recorded_as_python_rounds_them():
    def halved(x):
        steps = -(-x.shape[-1] // 2)
        return x[..., : int(steps)] + 0.0

    model = to_onnx(Toy(halved), torch.zeros(1, 2, 49))

    assert 25 == onnx.shape_inference.infer_shapes(model).graph.output[0].type.tensor_type.shape.dim[2].dim_value


def test_a_module_that_takes_a_branch_by_value_is_refused_with_its_line():
    def branching(x):
        return x if x.sum() > 0 else -x

    with pytest.raises(ConversionError, match=r"test_to_onnx.py, line \d+ decides from the value of a tensor"):
        to_onnx(Toy(branching), torch.zeros(1, 4))


def test_a_branch_by_length_is_no_branch_by_value():
    def by_length(x):
        return torch.relu(x) if x.numel() > 3 and x.size(1) == 4 else x

    assert ["Relu"] == [node.op_type for node in to_onnx(Toy(by_length), torch.zeros(1, 4)).graph.node]


def test_training_flag_and_thread_count_are_put_back():
    module, threads = nn.Sequential(nn.Linear(3, 2), nn.Dropout()).train(), torch.get_num_threads()
    module[1].eval()
    to_onnx(module, torch.zeros(1, 3))
    assert [True, True, False] == [part.training for part in module.modules()]
    assert threads == torch.get_num_threads()


def test_a_module_that_does_not_fit_its_example_is_named_with_the_shape():
    with pytest.raises(ConversionError, match=r"Linear has no ONNX form for an input of shape \(1, 4\)"):
        to_onnx(nn.Linear(3, 2), torch.zeros(1, 4))


def test_a_module_with_two_outputs_is_refused_with_advice():
    with pytest.raises(ConversionError, match="returns tuple; a convertible module returns one tensor: wrap it"):
        to_onnx(Toy(lambda x: (x, x)), torch.zeros(1, 4))


def test_bytes_that_are_no_model_are_refused():
    with pytest.raises(ConversionError, match="not a valid ONNX model"):
        read_model(b"not a model")
