"""Equalisation: the same outputs, channels more alike, and nothing moved that must stay."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from converters.calibration import calibrate, dropped_by_relu, observe
from converters.equalize import channel_scales, equalize
from converters.graph import read_graph
from converters.lowering.lower import lower
from converters.lowering.writer import write_model
from converters.parity import INT8_STAGE
from converters.pipeline import ConversionRequest, convert
from converters.runners import run_tflite
from converters.to_onnx import to_onnx
from tests.converters.toys import MAP_1D, MAP_2D, TOYS, Toy, inputs


def lowered(module, shape):
    return lower(read_graph(to_onnx(module, torch.zeros(shape))))


def uneven(layer, axis=0):
    """The layer with outputs whose sizes differ up to a hundredfold."""
    count = layer.weight.shape[axis]
    factors = torch.logspace(-1, 1, count)
    with torch.no_grad():
        layer.weight.mul_(factors.reshape(-1, *[1] * (layer.weight.ndim - 1)))
        layer.bias.mul_(factors)
    return layer


def residual():
    return Toy(
        lambda x, first, second, third, last: last(
            torch.relu(third(torch.relu(second(y := torch.relu(first(x))))) + y).mean(dim=2)
        ),
        first=uneven(nn.Conv1d(6, 8, 3, padding=1)),
        second=uneven(nn.Conv1d(8, 8, 3, padding=1)),
        third=uneven(nn.Conv1d(8, 8, 5, padding=4, dilation=2)),
        last=nn.Linear(8, 5),
    )


def separable():
    return nn.Sequential(
        uneven(nn.Conv2d(4, 6, 3)),
        nn.ReLU(),
        uneven(nn.Conv2d(6, 12, 3, groups=6, padding=1, stride=2)),
        nn.ReLU(),
        uneven(nn.Conv2d(12, 8, 1, groups=2)),
        nn.MaxPool2d(2),
        nn.Flatten(),
        uneven(nn.Linear(16, 10)),
        nn.ReLU(),
        nn.Linear(10, 5),
    )


def joined():
    return Toy(
        lambda x, first, second, last: last(torch.cat([torch.relu(first(x)), second(x)], dim=1)),
        first=uneven(nn.Conv1d(6, 5, 3, padding=1)),
        second=uneven(nn.Conv1d(6, 4, 1)),
        last=nn.Conv1d(9, 5, 3, stride=2),
    )


NETS = {"residual": (residual, MAP_1D), "separable": (separable, MAP_2D), "joined": (joined, MAP_1D)}


@pytest.fixture(params=NETS)
def net(request):
    torch.manual_seed(3)
    build, shape = NETS[request.param]
    return build().eval(), shape


def relative_error(model, equalized, clips):
    before = run_tflite(write_model(model, description="before"), clips)
    after = run_tflite(write_model(equalized, description="after"), clips)
    return float(np.abs(after - before).max() / np.abs(before).max())


def test_an_equalized_network_gives_what_it_gave(net):
    module, shape = net
    model, clips = lowered(module, shape), inputs(shape, 32)
    scales = channel_scales(model, observe(model, clips).sizes())
    assert len(scales) >= 2
    assert relative_error(model, equalize(model, scales), clips) < 1e-5


@pytest.mark.parametrize("name", TOYS)
def test_every_toy_gives_what_it_gave_and_keeps_its_ends(name):
    torch.manual_seed(1)
    _, shape, build = TOYS[name]
    model, clips = lowered(build(), shape), inputs(shape, 8)
    scales = channel_scales(model, observe(model, clips).sizes(), 1.0)
    assert not scales.keys() & {*model.inputs, *model.outputs}
    assert relative_error(model, equalize(model, scales), clips) < 1e-5


def test_channels_have_one_range_at_exponent_one():
    torch.manual_seed(0)
    module = nn.Sequential(uneven(nn.Conv1d(6, 8, 3)), nn.ReLU(), nn.Conv1d(8, 5, 3))
    model, clips = lowered(module, MAP_1D), inputs(MAP_1D, 32)
    observed = observe(model, clips)
    scales = channel_scales(model, observed.sizes(), 1.0)
    again = equalize(model, scales)
    seen = observe(again, clips).sizes()
    predicted = observed.divided(model, scales).sizes()
    (hidden,) = scales
    assert seen[hidden] == pytest.approx(np.full(8, seen[hidden].max()), rel=1e-3)
    assert predicted[hidden] == pytest.approx(seen[hidden], rel=1e-3)


@pytest.mark.parametrize("activation", [nn.ReLU6, nn.Sigmoid, nn.Hardswish, nn.Tanh])
def test_nothing_is_moved_through_an_activation_that_is_not_homogeneous(activation):
    model = lowered(nn.Sequential(nn.Conv1d(6, 8, 3), activation(), nn.Conv1d(8, 5, 3)), MAP_1D)
    sizes = {name: np.linspace(0.1, 1.0, model.tensors[name].shape[-1]) for name in model.activations()}
    moved = channel_scales(model, sizes)
    after = next(index for index, each in enumerate(model.operators) if each.code == "CONV_2D")
    assert model.operators[after].outputs[0] not in moved


def test_dead_channels_and_a_dead_network_stay_finite():
    torch.manual_seed(0)
    first = nn.Conv1d(6, 8, 3)
    with torch.no_grad():
        first.weight[2:5] = 0
        first.bias[2:5] = -1
    model = lowered(nn.Sequential(first, nn.ReLU(), nn.Conv1d(8, 5, 3)), MAP_1D)
    for clips in (inputs(MAP_1D, 8), np.zeros((2, *MAP_1D[1:]), np.float32)):
        scales = channel_scales(model, observe(model, clips).sizes())
        assert all(np.isfinite(each).all() and (each > 0).all() for each in scales.values())
        assert relative_error(model, equalize(model, scales), inputs(MAP_1D, 8)) < 1e-5


def test_unequal_channels_cost_little_once_equalized(monkeypatch):
    torch.manual_seed(0)
    first, second = uneven(nn.Conv1d(6, 16, 3)), nn.Conv1d(16, 5, 3)
    with torch.no_grad():
        second.weight.div_(torch.logspace(-1, 1, 16)[None, :, None])
    module = nn.Sequential(first, nn.ReLU(), second)

    def sqnr_db():
        clips = inputs(MAP_1D, 64)
        request = ConversionRequest(module=module, example=clips[:1], calibration=clips, check=clips, gates=None)
        return convert(request).parity.stage(INT8_STAGE).sqnr_db

    equalized = sqnr_db()
    monkeypatch.setattr("converters.int8_builder.channel_scales", lambda model, sizes: {})
    assert equalized > sqnr_db() + 4


def test_the_range_of_a_residual_branch_ends_where_the_sum_is_dropped():
    torch.manual_seed(3)
    model, clips = lowered(residual().eval(), MAP_1D), inputs(MAP_1D, 32)
    branch = next(name for name in dropped_by_relu(model) if not name.startswith("input") and "Relu" not in name)
    needed = calibrate(model, clips, "minmax")[branch]
    assert needed[0] > -needed[1]
    assert set(dropped_by_relu(model)) <= set(model.activations())
