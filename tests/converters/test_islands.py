"""Operators that stay float inside an int8 file, and the bridges around them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from converters.calibration import calibrate
from converters.graph import read_graph
from converters.islands import bridge, with_movers
from converters.lowering.lower import lower
from converters.lowering.writer import write_model
from converters.parity import sqnr_db
from converters.quantize import quantize
from converters.runners import TfliteModel, run_tflite
from converters.to_onnx import to_onnx
from tests.converters.toys import TOYS, Toy, inputs


def lowered(module, shape):
    torch.manual_seed(1)
    return lower(read_graph(to_onnx(module, torch.zeros(shape))))


def split(model, clips, keep):
    file = write_model(model, description="toy")
    quantized = quantize(model, calibrate(model, clips, "minmax"), keep)
    return file, quantized, write_model(quantized, description="toy")


def codes(model):
    return [operator.code for operator in model.operators]


def three_layers():
    return nn.Sequential(nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 8), nn.Sigmoid(), nn.Linear(8, 4))


def test_an_operator_in_the_middle_is_bridged_on_both_sides_and_the_file_stays_int8_outside():
    model = lowered(three_layers(), (1, 12))
    middle = model.operators[1].outputs[0]
    _, quantized, content = split(model, inputs((1, 12), 64), {middle})
    assert ["FULLY_CONNECTED", "DEQUANTIZE", "FULLY_CONNECTED", "QUANTIZE", "LOGISTIC", "FULLY_CONNECTED"] == codes(
        quantized
    )
    loaded = TfliteModel(content)
    assert ("int8", "int8") == (loaded.input.dtype, loaded.output.dtype)


def test_ends_that_stay_float_make_input_and_output_float():
    model = lowered(three_layers(), (1, 12))
    ends = {model.operators[0].outputs[0], model.operators[-1].outputs[0]}
    _, quantized, content = split(model, inputs((1, 12), 64), ends)
    loaded = TfliteModel(content)
    assert ("float32", "float32") == (loaded.input.dtype, loaded.output.dtype)
    assert {"QUANTIZE": 1, "DEQUANTIZE": 1} == {
        code: count for code, count in quantized.counts().items() if "QUANTIZE" in code
    }


def test_a_tensor_crosses_once_however_many_read_it():
    module = Toy(
        lambda x, first, second, third: second(torch.relu(first(x))) + third(torch.relu(first(x))),
        first=nn.Linear(12, 6),
        second=nn.Linear(6, 4),
        third=nn.Linear(6, 4),
    )
    model = lowered(module, (1, 12))
    readers = {each.outputs[0] for each in model.operators if model.tensors[each.inputs[0]].shape == (1, 6)}
    _, quantized, _ = split(model, inputs((1, 12), 64), readers)
    assert 1 <= codes(quantized).count("DEQUANTIZE") <= 2
    crossing = [each.inputs[0] for each in quantized.operators if each.code == "DEQUANTIZE"]
    assert len(crossing) == len(set(crossing))


def test_a_constant_that_both_sides_read_is_stored_for_each():
    table = torch.arange(1.0, 13.0)
    model = lowered(Toy(lambda x: torch.sigmoid(x * table) * table), (1, 12))
    products = [each.outputs[0] for each in model.operators if each.code == "MUL"]
    file, quantized, content = split(model, inputs((1, 12), 64), {products[0]})
    dtypes = {quantized.tensors[each.inputs[1]].dtype for each in quantized.operators if each.code == "MUL"}
    assert {"float32", "int8"} == dtypes
    clips = inputs((1, 12), 16, seed=3)
    assert sqnr_db(run_tflite(file, clips), run_tflite(content, clips)) > 30


@pytest.mark.parametrize("name", TOYS)
def test_every_toy_computes_the_same_with_any_one_operator_in_float(name):
    _, shape, build = TOYS[name]
    model = lowered(build(), shape)
    clips = inputs(shape, 48)
    expected = run_tflite(write_model(model, description="toy"), clips)
    for operator in model.operators:
        _, quantized, content = split(model, clips, {operator.outputs[0]})
        kept = next(each for each in quantized.operators if each.outputs[0] == operator.outputs[0])
        assert "float32" == quantized.tensors[kept.outputs[0]].dtype
        assert sqnr_db(expected, run_tflite(content, clips)) > 20, operator.code


def test_what_only_moves_numbers_between_float_operators_follows_them():
    module = Toy(
        lambda x, first, second, last: last(torch.cat([torch.tanh(first(x)), torch.tanh(second(x))], dim=1)),
        first=nn.Linear(12, 6),
        second=nn.Linear(12, 6),
        last=nn.Linear(12, 4),
    )
    model = lowered(module, (1, 12))
    kept = {each.outputs[0] for each in model.operators if each.code == "TANH"}
    moved = with_movers(model, kept)
    assert ["CONCATENATION"] == [each.code for each in model.operators if each.outputs[0] in moved - kept]
    assert set() == with_movers(model, ())
    _, apart, _ = split(model, inputs((1, 12), 64), kept)
    _, together, _ = split(model, inputs((1, 12), 64), moved)
    assert (2, 1) == (codes(apart).count("QUANTIZE"), codes(together).count("QUANTIZE"))


def test_all_in_float_is_the_float_model():
    model = lowered(three_layers(), (1, 12))
    bridged = bridge(
        model, dict.fromkeys(model.activations(), (-1.0, 1.0)), {each.outputs[0] for each in model.operators}
    )
    assert frozenset() == bridged.stored
    assert codes(model) == codes(bridged.model)


def test_weights_that_steps_share_stay_one_tensor_in_int8():
    step = nn.Linear(8, 8)
    module = Toy(lambda x, step: step(torch.tanh(step(torch.tanh(step(x))))), step=step)
    model = lowered(module, (1, 8))
    _, quantized, content = split(model, inputs((1, 8), 64), ())
    weights = {each.inputs[1] for each in quantized.operators if each.code == "FULLY_CONNECTED"}
    assert 3 == codes(quantized).count("FULLY_CONNECTED")
    assert 1 == len(weights)
    assert np.isfinite(run_tflite(content, inputs((1, 8), 4))).all()
