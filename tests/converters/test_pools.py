"""Average pools of an int8 file: the same numbers by another operator."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from converters.graph import read_graph
from converters.lowering.lower import lower
from converters.lowering.writer import write_model
from converters.pipeline import ConversionRequest, convert
from converters.pools import pools_as_convolutions
from converters.runners import run_tflite
from converters.to_onnx import to_onnx
from tests.converters.toys import inputs


def lowered(module, shape):
    torch.manual_seed(1)
    return lower(read_graph(to_onnx(module, torch.zeros(shape))))


@pytest.mark.parametrize(
    ("pool", "shape"),
    [
        (nn.AvgPool2d(4), (1, 3, 9, 12)),
        (nn.AvgPool2d((3, 2), stride=(2, 1), padding=(1, 0)), (1, 3, 9, 12)),
        (nn.AvgPool1d(3), (1, 3, 12)),
    ],
)
def test_a_pool_becomes_a_convolution_that_computes_the_same(pool, shape):
    module = nn.Sequential((nn.Conv1d if len(shape) == 3 else nn.Conv2d)(3, 4, 1), pool)
    model = lowered(module, shape)
    changed, clips = pools_as_convolutions(model), inputs(shape, 4)
    assert "AVERAGE_POOL_2D" in model.counts()
    assert {"AVERAGE_POOL_2D", "DEPTHWISE_CONV_2D"} & {*changed.counts()} == {"DEPTHWISE_CONV_2D"}
    before, after = (run_tflite(write_model(each, description="toy"), clips) for each in (model, changed))
    assert np.abs(before - after).max() < 1e-6


@pytest.mark.parametrize("pool", [nn.AvgPool2d(9), nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)])
def test_wide_pools_and_those_that_leave_zeros_out_stay(pool):
    model = lowered(nn.Sequential(nn.Conv2d(3, 4, 1), pool), (1, 3, 10, 12))
    assert pools_as_convolutions(model) is model


def test_the_float_file_keeps_its_pool_and_the_int8_file_has_none():
    clips = inputs((1, 3, 9, 12), 64)
    torch.manual_seed(1)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(4, 4, 3))
    conversion = convert(ConversionRequest(module=module, example=clips[:1], calibration=clips, goal_db=0.0))
    assert "AVERAGE_POOL_2D" in conversion.float32.operators
    assert "AVERAGE_POOL_2D" not in conversion.int8.operators
    assert conversion.parity.stages[-1].sqnr_db > 30


def test_what_stands_for_a_pool_can_be_kept_in_float_by_the_name_that_reports_give_it():
    clips = inputs((1, 3, 9, 12), 64)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(4, 4, 3))
    request = ConversionRequest(
        module=module, example=clips[:1], calibration=clips, keep_float=("^DEPTHWISE_CONV_2D ",), gates=None
    )
    choices = convert(request).mixture.choices
    assert ("--keep-float ^DEPTHWISE_CONV_2D ", 1) == (choices[0].family, choices[0].operators)
