"""int8: scales, groups, weights, and the ranges they come from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from converters.calibration import METHODS, calibrate
from converters.errors import ConversionError
from converters.graph import read_graph
from converters.lowering.lower import lower
from converters.lowering.operators import OPERATORS, Int8Rule
from converters.lowering.writer import write_model
from converters.quantize import activation_quantization, quantize, weight_quantization
from converters.runners import TfliteModel, run_tflite
from converters.to_onnx import to_onnx
from tests.converters.toys import TOYS, Toy, inputs


def lowered(module, shape):
    torch.manual_seed(1)
    return lower(read_graph(to_onnx(module, torch.zeros(shape))))


def int8(name, span=(-4.0, 5.0)):
    _, shape, build = TOYS[name]
    model = lowered(build(), shape)
    return quantize(model, dict.fromkeys(model.activations(), span))


@pytest.mark.parametrize(("low", "high"), [(0.5, 3.0), (-3.0, -0.5), (-1.0, 2.0), (0.0, 0.0), (-1e-8, 1e-8)])
def test_zero_is_exact_and_the_range_is_covered_to_half_a_step(low, high):
    scale = activation_quantization(low, high)
    ends = np.array([min(low, 0.0), 0.0, max(high, 0.0)], np.float32)
    restored = scale.dequantize(scale.quantize(ends))
    assert restored[1] == 0.0
    assert np.abs(restored - ends).max() <= 0.51 * scale.scales[0]


def test_each_channel_of_weights_has_its_own_scale_and_never_uses_minus_128():
    weights = np.array([[1.0, -1.0], [0.001, -0.0005]], np.float32)
    scales = weight_quantization(weights, 0, np.zeros(2), 1.0)
    assert [127, -127] == scales.quantize(weights)[0].tolist()
    assert 127 == scales.quantize(weights)[1, 0]


def test_a_bias_too_large_for_its_channel_widens_the_scale_until_it_fits():
    scales = weight_quantization(np.full((1, 2), 1e-12, np.float32), 0, np.array([5.0]), 0.01)
    assert 5.0 / (0.01 * scales.scales[0]) < 2**31


def test_a_channel_of_zeros_has_a_usable_scale():
    scales = weight_quantization(np.zeros((2, 3), np.float32), 0, np.zeros(2), 0.1)
    assert (scales.scales > 0).all()


@pytest.mark.parametrize("name", TOYS)
def test_operators_that_move_numbers_keep_one_scale(name):
    model = int8(name)
    for operator in model.operators:
        if OPERATORS[operator.code].rule is Int8Rule.SAME_SCALE:
            tensors = [model.tensors[each] for each in (*operator.inputs, *operator.outputs)]
            scales = {float(tensor.quantization.scales[0]) for tensor in tensors if tensor.dtype == "int8"}
            assert 1 == len(scales), operator


@pytest.mark.parametrize("name", TOYS)
def test_nothing_stays_in_float(name):
    assert "float32" not in {tensor.dtype for tensor in int8(name).tensors.values()}


def test_biases_have_the_scale_of_input_times_weights():
    model = int8("conv over time")
    conv = next(operator for operator in model.operators if operator.code == "CONV_2D")
    data, weights, bias = (model.tensors[name] for name in conv.inputs)
    expected = data.quantization.scales[0] * weights.quantization.scales
    assert "int32" == bias.dtype
    assert np.allclose(expected, bias.quantization.scales)


def test_a_matrix_has_one_scale_and_a_convolution_one_for_each_channel():
    dense, conv = int8("linear"), int8("conv over time, depthwise")
    matrix = dense.tensors[dense.operators[0].inputs[1]]
    taps = next(conv.tensors[each.inputs[1]] for each in conv.operators if each.code == "DEPTHWISE_CONV_2D")
    assert 1 == len(matrix.quantization.scales)
    assert (6, 3) == (len(taps.quantization.scales), taps.quantization.axis)


def test_a_fixed_scale_is_rescaled_before_it_is_joined_with_others():
    assert 1 == int8("concat with a sigmoid").counts()["QUANTIZE"]
    assert 1 == int8("concat with a sigmoid in another layout").counts()["QUANTIZE"]
    assert "QUANTIZE" not in int8("concat of channels").counts()


def test_a_tensor_without_a_range_is_named():
    model = lowered(nn.Linear(3, 2), (1, 3))
    with pytest.raises(ConversionError, match="no calibration range for output"):
        quantize(model, {"input": (-1.0, 1.0)})


@pytest.mark.parametrize("method", METHODS)
def test_every_method_keeps_an_exact_copy_within_its_step(method):
    model = lowered(nn.ReLU(), (1, 50))
    clips = np.random.default_rng(0).uniform(-1, 1, (40, 50)).astype(np.float32)
    ranges = calibrate(model, clips, method)
    seen = run_tflite(write_model(quantize(model, ranges), description="toy"), clips)
    assert np.abs(seen - np.maximum(clips, 0)).max() < 0.02


def test_minmax_keeps_an_outlier_and_the_others_cut_it():
    model = lowered(nn.ReLU(), (1, 500))
    clips = np.random.default_rng(0).standard_normal((64, 500)).astype(np.float32)
    clips[3, 7] = 40.0
    highest = {method: calibrate(model, clips, method)["input"][1] for method in METHODS}
    assert 40.0 == pytest.approx(highest["minmax"])
    assert 20.0 < highest["mse"] < 39.0
    assert 3.0 < highest["percentile"] < 5.0


def test_a_tensor_that_overflows_is_named_with_its_clip():
    model = lowered(Toy(lambda x: x.mean(dim=1, keepdim=True)), (1, 4))
    clips = np.ones((3, 4), np.float32)
    clips[2] = 3e38
    with pytest.raises(ConversionError, match="is not finite on calibration clip 2"):
        calibrate(model, clips, "minmax")


def test_the_int8_file_takes_and_gives_int8_with_the_scales_of_its_tensors():
    model = lowered(nn.Linear(12, 5), (1, 12))
    ranges = calibrate(model, inputs((1, 12), 64), "minmax")
    quantized = quantize(model, ranges)
    loaded = TfliteModel(write_model(quantized, description="toy"))
    assert ("int8", "int8") == (loaded.input.dtype, loaded.output.dtype)
    assert quantized.tensors["input"].quantization.scales[0] == np.float32(loaded.input.scale)
