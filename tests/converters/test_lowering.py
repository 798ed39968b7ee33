"""Every row of the table of operators, lowered and held against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from converters.calibration import calibrate
from converters.graph import read_graph
from converters.lowering.lower import LOWERINGS, lower
from converters.lowering.writer import write_model
from converters.parity import sqnr_db
from converters.quantize import quantize
from converters.runners import run_onnx, run_tflite
from converters.to_onnx import to_onnx
from tests.converters.toys import TOYS, inputs

# Noise fills its range as a normal distribution does: 255 steps over ten deviations give 39 dB for each rounding,
# and a toy rounds two to four times. A wrong scale, zero point or bias costs 15 dB and more.
LOWEST_SQNR_DB = 30.0


@pytest.mark.parametrize("name", TOYS)
def test_a_lowered_operator_agrees_with_onnx_runtime_in_float_and_int8(name):
    _, shape, build = TOYS[name]
    torch.manual_seed(1)
    model = to_onnx(build(), torch.zeros(shape))
    fed = inputs(shape, 32)

    lowered = lower(read_graph(model))
    file = write_model(lowered, description="toy")
    ranges = calibrate(lowered, fed, "minmax")
    int8 = write_model(quantize(lowered, ranges), description="toy")

    expected = run_onnx(model.SerializeToString(), fed)
    seen = run_tflite(file, fed)
    assert expected.shape == seen.shape
    assert np.abs(expected - seen).max() < 1e-4 * max(np.abs(expected).max(), 1.0)
    assert sqnr_db(expected, run_tflite(int8, fed)) > LOWEST_SQNR_DB


def test_every_row_of_the_table_has_a_toy():
    assert set(LOWERINGS) == {operator for operator, _, _ in TOYS.values()}


@pytest.mark.parametrize("name", TOYS)
def test_a_toy_holds_the_operator_it_is_about(name):
    operator, shape, build = TOYS[name]
    torch.manual_seed(1)
    model = to_onnx(build(), torch.zeros(shape))
    assert operator in {node.op_type for node in model.graph.node}
