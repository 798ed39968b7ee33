"""Families of operators that int8 serves badly, found in small networks that have one each."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from converters.families import FAMILIES, Family
from converters.graph import read_graph
from converters.int8_builder import Int8Builder
from converters.lowering.lower import lower
from converters.lowering.records import Model
from converters.mixture import Mixture, choose_mixture
from converters.to_onnx import to_onnx


def lowered(module: nn.Module, *shape: int) -> Model:
    torch.manual_seed(1)
    return lower(read_graph(to_onnx(module.eval(), torch.zeros(shape))))


def family(name: str) -> Family:
    return next(row for row in FAMILIES if row.name == name)


def codes_of(name: str, model: Model) -> set[str]:
    return {each.code for each in family(name).find(model)}


class Recurrent(nn.Module):
    """A bidirectional GRU between two matrices, as in Att-RNN."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.Linear(6, 8), nn.Linear(10, 3)
        self.gru = nn.GRU(8, 5, bidirectional=True, batch_first=True)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden, _ = self.gru(self.before(inputs))
        return self.after(hidden)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(6, 6)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        scores = (self.query(inputs[:, -1:]) @ inputs.transpose(1, 2)).softmax(dim=-1)
        return (scores @ inputs)[:, 0]


class Bands(nn.Module):
    """Each band of frequencies is scaled on its own, after a depthwise convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.scale = nn.Parameter(torch.rand(1, 4, 5, 1) + 0.5)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.depthwise(inputs) * self.scale


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(inputs + self.conv(inputs)) * inputs


@pytest.mark.parametrize(
    ("name", "module", "shape", "expected"),
    [
        ("attention", Attention(), (1, 7, 6), {"SOFTMAX", "BATCH_MATMUL"}),
        ("affine maps", Bands(), (1, 4, 5, 6), {"MUL", "DEPTHWISE_CONV_2D"}),
        ("gates", Residual(), (1, 4, 5, 6), {"LOGISTIC", "MUL"}),
        ("residual sums", Residual(), (1, 4, 5, 6), {"ADD"}),
        ("matrices", Recurrent(), (1, 7, 6), {"FULLY_CONNECTED"}),
        ("convolutions", Residual(), (1, 4, 5, 6), {"CONV_2D"}),
        ("depthwise convolutions", Bands(), (1, 4, 5, 6), {"DEPTHWISE_CONV_2D"}),
    ],
)
def test_a_family_is_found_where_it_is(name: str, module: nn.Module, shape: tuple[int, ...], expected: set[str]):
    assert codes_of(name, lowered(module, *shape)) == expected


@pytest.mark.parametrize("row", FAMILIES, ids=lambda row: row.name)
def test_a_network_without_a_family_has_none(row: Family):
    plain = nn.Linear(6, 3) if row.name.endswith("convolutions") else nn.Conv2d(4, 4, 3)
    assert row.find(lowered(plain, 1, 4, 5, 6)) == []


def test_all_gates_of_a_recurrence_are_in_it_those_of_the_first_and_the_last_step_too():
    model = lowered(Recurrent(), 1, 7, 6)
    found = {each.outputs[0] for each in family("recurrence").find(model)}
    left = {each.code for each in model.operators if each.outputs[0] not in found}
    assert not left & {"LOGISTIC", "TANH", "MUL", "SUB"}
    assert "FULLY_CONNECTED" in left  # of the inputs and of the outputs, which int8 serves well


def test_a_recurrence_among_int8_operators_has_one_bridge_into_each_direction():
    """A step that gets int8 gates would have three of them, and be called once for each of its frames."""
    model = lowered(Recurrent(), 1, 7, 6)
    clips = np.random.default_rng(0).standard_normal((8, 7, 6)).astype(np.float32)
    builder = Int8Builder(model, clips, "minmax", "nearest")
    mixture = choose_mixture(builder.equalized, Mixture(plan={}, choices=()), 40.0, lambda _plan: 50.0)
    codes = [each.code for each in builder.build(mixture.plan).operators]
    assert (codes.count("DEQUANTIZE"), codes.count("QUANTIZE")) == (2, 1)
