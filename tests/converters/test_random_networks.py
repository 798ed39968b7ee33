"""Random networks that mix layouts in ways nobody would write: every stage has to agree on each of them."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from converters.parity import INT8_STAGE
from converters.pipeline import ConversionRequest, convert
from tests.converters.toys import inputs, normalised

SHAPES = ((1, 6, 5), (1, 3, 6, 5), (1, 9, 1), (1, 12), (1, 1, 7, 4))


class RandomNetwork(nn.Module):
    """A chain of steps drawn by a seed, each one that fits the shape before it; earlier values come back in sums."""

    def __init__(self, seed: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        draw = random.Random(seed)
        self.layers = nn.ModuleList()
        self.steps = []
        values = [torch.zeros(shape)]
        while len(self.steps) < 7:
            step = draw.choice(STEPS)(draw, values, self.layers)
            if step is not None:
                with torch.no_grad():
                    values.append(step(values, self.layers.eval()))
                self.steps.append(step)

    def forward(self, x: Tensor) -> Tensor:
        values = [x]
        for step in self.steps:
            values.append(step(values, self.layers))
        return values[-1]


def with_layer(layers, layer):
    place = len(layers)
    layers.append(layer)
    return lambda values, known: known[place](values[-1])


def conv(draw, values, layers):
    shape = values[-1].shape
    if len(shape) not in (3, 4) or min(shape[2:]) < 2:
        return None
    kind = nn.Conv1d if len(shape) == 3 else nn.Conv2d
    taps, stride, zeros = draw.choice((1, 2, 3)), draw.choice((1, 2)), draw.choice((0, 1))
    if min(shape[2:]) + 2 * zeros < taps:
        return None
    groups = draw.choice((1, shape[1]))
    return with_layer(layers, kind(shape[1], groups * draw.choice((1, 2)), taps, stride, zeros, groups=groups))


def linear(draw, values, layers):
    return with_layer(layers, nn.Linear(values[-1].shape[-1], draw.choice((1, 4, 5)), bias=draw.choice((True, False))))


def flat_linear(draw, values, layers):
    if values[-1].dim() < 3:
        return None
    return with_layer(layers, nn.Sequential(nn.Flatten(), nn.Linear(values[-1].numel(), draw.choice((4, 6)))))


def norm(draw, values, layers):
    rank = values[-1].dim()
    return with_layer(layers, normalised(values[-1].shape[1], rank - 2)) if rank in (2, 3, 4) else None


def activation(draw, values, layers):
    chosen = draw.choice((torch.relu, torch.relu, torch.sigmoid, torch.tanh, F.hardswish, F.relu6))
    return lambda values, _: chosen(values[-1])


def permute(draw, values, layers):
    order = list(range(1, values[-1].dim()))
    draw.shuffle(order)
    return lambda values, _: values[-1].permute(0, *order)


def reshape(draw, values, layers):
    total = values[-1].numel()
    width = draw.choice([divisor for divisor in range(1, total + 1) if total % divisor == 0])
    return lambda values, _: values[-1].reshape(1, width, total // width)


def unsqueeze(draw, values, layers):
    axis = draw.randint(1, values[-1].dim())
    return (lambda values, _: values[-1].unsqueeze(axis)) if values[-1].dim() < 4 else None


def squeeze(draw, values, layers):
    single = [axis for axis, length in enumerate(values[-1].shape) if axis and length == 1]
    if not single or values[-1].dim() < 3:
        return None
    axis = draw.choice(single)
    return lambda values, _: values[-1].squeeze(axis)


def mean(draw, values, layers):
    if values[-1].dim() < 3:
        return None
    axis, keeps = draw.randint(1, values[-1].dim() - 1), draw.choice((True, False))
    return lambda values, _: values[-1].mean(axis, keepdim=keeps)


def pad(draw, values, layers):
    before, after = draw.randint(0, 2), draw.randint(0, 2)
    return (lambda values, _: F.pad(values[-1], (before, after))) if values[-1].dim() > 2 else None


def pool(draw, values, layers):
    rank = values[-1].dim()
    if rank not in (3, 4) or min(values[-1].shape[2:]) < 2:
        return None
    chosen = draw.choice({3: (F.max_pool1d, F.avg_pool1d), 4: (F.max_pool2d, F.avg_pool2d)}[rank])
    return lambda values, _: chosen(values[-1], 2)


def combine(draw, values, layers):
    fitting = [place for place, value in enumerate(values[:-1]) if broadcasts(value.shape, values[-1].shape)]
    if not fitting:
        return None
    place = draw.choice(fitting)
    chosen = draw.choice((torch.add, lambda x, y: y - x, lambda x, y: x * torch.sigmoid(y)))
    return lambda values, _: chosen(values[-1], values[place])


def join(draw, values, layers):
    axis = draw.randint(1, values[-1].dim() - 1)
    return lambda values, _: torch.cat([values[-1], torch.sigmoid(values[-1])], axis)


def broadcasts(shape, other):
    pairs = zip(reversed(shape), reversed(other), strict=False)
    return len(shape) <= len(other) and all(1 in pair or pair[0] == pair[1] for pair in pairs)


STEPS = (
    *(conv, conv, linear, flat_linear, norm, activation, permute, reshape),
    *(unsqueeze, squeeze, mean, pad, pool, combine, join),
)


def check(seed):
    shape = SHAPES[seed % len(SHAPES)]
    torch.manual_seed(seed)
    network = RandomNetwork(seed, shape)
    clips = inputs(shape, 24, seed)
    request = ConversionRequest(
        module=network, example=clips[:1], calibration=clips, check=clips, method="minmax", gates=None
    )
    stages = {each.stage: each for each in convert(request).parity.stages}
    assert stages["torch → onnx"].relative_error < 2e-5
    assert stages["onnx → float32"].relative_error < 2e-5
    # A pool keeps the scale of its input, however little its mean leaves of it: that alone can cost 20 dB.
    assert stages[INT8_STAGE].sqnr_db > 10.0


@pytest.mark.parametrize("seed", range(40))
def test_a_random_network_is_the_same_at_every_stage(seed):
    check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40, 600))
def test_many_random_networks_are_the_same_at_every_stage(seed):
    check(seed)


def test_the_random_networks_are_deterministic():
    first, second = (RandomNetwork(3, SHAPES[3]) for _ in range(2))
    assert [type(layer) for layer in first.layers] == [type(layer) for layer in second.layers]
    assert len(first.steps) == len(second.steps)
    fed = torch.from_numpy(np.ones(SHAPES[3], np.float32))
    assert first.eval()(fed).shape == second.eval()(fed).shape
