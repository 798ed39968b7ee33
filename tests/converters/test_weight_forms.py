"""Weights as float16, as int8 that is unpacked, and as int8 that is multiplied."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from converters.errors import ConversionError
from converters.graph import read_graph
from converters.lowering.lower import lower
from converters.lowering.operators import version_of
from converters.lowering.writer import write_model
from converters.parity import sqnr_db
from converters.quant_report import count_operators, shares_of
from converters.runners import run_tflite
from converters.to_onnx import to_onnx
from converters.weight_forms import change_weights, dynamic_forms, float16_forms, has_weights
from tests.converters.toys import TOYS, inputs

WEIGHTED = [name for name, (operator, _, _) in TOYS.items() if operator in ("Conv", "Gemm", "MatMul", "Flatten")]


def lowered(module, shape):
    torch.manual_seed(1)
    return lower(read_graph(to_onnx(module, torch.zeros(shape))))


def file(model):
    return write_model(model, description="toy")


@pytest.mark.parametrize("name", WEIGHTED)
@pytest.mark.parametrize(("form", "least_db"), [("float16", 55.0), ("stored", 30.0), ("dynamic", 25.0)])
def test_every_operator_with_weights_computes_nearly_the_same_in_every_form(name, form, least_db):
    _, shape, build = TOYS[name]
    model = lowered(build(), shape)
    # Depthwise convolutions are never dynamic.
    instead = {"DEPTHWISE_CONV_2D": "stored"} if form == "dynamic" else {}
    forms = {each.outputs[0]: instead.get(each.code, form) for each in model.operators if has_weights(each)}
    clips = inputs(shape, 16)
    seen = run_tflite(file(change_weights(model, forms)), clips)
    assert sqnr_db(run_tflite(file(model), clips), seen) > least_db


def test_matrices_are_dynamic_small_and_depthwise_convolutions_are_stored():
    module = nn.Sequential(
        nn.Conv1d(40, 16, 3), nn.Conv1d(16, 8, 1), nn.Conv1d(8, 8, 3, groups=8), nn.Flatten(), nn.Linear(8 * 17, 5)
    )
    model = lowered(module, (1, 40, 21))
    forms = dynamic_forms(model)
    assert ["dynamic", "stored", "stored", "dynamic"] == [
        forms[each.outputs[0]] for each in model.operators if has_weights(each)
    ]


def test_float16_halves_the_weights_and_nothing_is_int8():
    model = lowered(nn.Linear(200, 100), (1, 200))
    half = change_weights(model, float16_forms(model))
    assert len(file(half)) < 0.6 * len(file(model))
    assert (0.0, 0.0, 0.0) == (shares_of(half).operators, shares_of(half).macs, shares_of(half).weight_bytes)
    assert [("FULLY_CONNECTED", "float16"), ("DEQUANTIZE", "unpacking")] == [
        (row.operator, row.precision) for row in count_operators(half)
    ]


def test_shares_tell_multiplied_from_merely_stored_weights():
    model = lowered(nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64)), (1, 64))
    first, second = (each.outputs[0] for each in model.operators)
    mixed = shares_of(change_weights(model, {first: "dynamic", second: "stored"}))
    assert (0.5, 1.0) == (mixed.macs, mixed.weight_bytes)


@pytest.mark.parametrize(("code", "form", "version"), [("FULLY_CONNECTED", "dynamic", 12), ("CONV_2D", "dynamic", 5)])
def test_the_file_asks_for_the_version_that_knows_the_form(code, form, version):
    module, shape = (nn.Linear(12, 5), (1, 12)) if code == "FULLY_CONNECTED" else (nn.Conv1d(6, 5, 3), (1, 6, 21))
    model = lowered(module, shape)
    weighted = next(each for each in model.operators if each.code == code)
    changed = change_weights(model, {weighted.outputs[0]: form})
    assert version == version_of(next(each for each in changed.operators if each.code == code), changed)


def test_weights_beyond_float16_are_refused_by_name():
    module = nn.Linear(4, 2)
    with torch.no_grad():
        module.weight[0, 0] = 1e6
    model = lowered(module, (1, 4))
    with pytest.raises(ConversionError, match=r"reach 1e\+06, float16 ends at 65504; export float32 or int8 instead"):
        change_weights(model, float16_forms(model))


def test_weights_that_steps_share_are_stored_once_and_unpacked_by_each():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(8, 8)

        def forward(self, x):
            return self.linear(torch.relu(self.linear(x)))

    model = lowered(Twice(), (1, 8))
    half = change_weights(model, float16_forms(model))
    assert 2 == half.counts()["DEQUANTIZE"]
    assert 1 == sum(tensor.dtype == "float16" for tensor in half.tensors.values())
    assert np.isfinite(run_tflite(file(half), inputs((1, 8), 4))).all()
