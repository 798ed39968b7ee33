"""Normalisation by band, folded into convolutions: fewer operators, the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from converters.graph import read_graph
from converters.lowering.bands import fold_bands, has_few_columns
from converters.lowering.choices import Choices
from converters.lowering.lower import lower
from converters.lowering.writer import write_model
from converters.pipeline import ConversionRequest, convert
from converters.runners import run_onnx, run_tflite
from converters.to_onnx import to_onnx
from tests.converters.toys import Toy, inputs


def affine(channels, rows, bands, seed):
    values = torch.rand(channels, bands, 1, generator=torch.Generator().manual_seed(seed)) + 0.5
    return values.repeat_interleave(rows // bands, dim=1)


def block(rows=10, bands=5, stride=1, taps=3, *, residual=True, relu=True, mean=True):
    """A depthwise convolution over rows, normalised by band, plus one row for all: BC-ResNet's block."""
    made = (rows + 2 * (taps // 2) - taps) // stride + 1
    scale, offset = affine(4, made, bands, 1), affine(4, made, bands, 2)

    def run(x, over_rows, small):
        normalised = over_rows(x) * scale + offset
        row = normalised.mean(dim=2, keepdim=True) if mean else x[:, :, :1]
        total = normalised + torch.sigmoid(small(row))
        total = total + x if residual else total
        return torch.relu(total) if relu else total

    over_rows = nn.Conv2d(4, 4, (taps, 1), stride=(stride, 1), padding=(taps // 2, 0), groups=4)
    return Toy(run, over_rows=over_rows, small=nn.Conv2d(4, 4, 1))


def converted(module, shape, choices=Choices()):  # noqa: B008 - frozen
    torch.manual_seed(1)
    exported = to_onnx(module, torch.zeros(shape))
    model = lower(read_graph(exported), choices)
    clips = inputs(shape, 4)
    seen = run_tflite(write_model(model, description="toy"), clips)
    return model, np.abs(seen - run_onnx(exported.SerializeToString(), clips)).max()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bands": 2},
        {"bands": 1},
        {"rows": 5},
        {"taps": 5},
        {"taps": 1},
        {"rows": 20, "stride": 2, "residual": False},
        {"rows": 10, "stride": 2, "residual": False},
        {"relu": False},
        {"mean": False},
        {"residual": False, "relu": False},
    ],
)
def test_bands_are_folded_and_nothing_changes(options):
    rows = options.get("rows", 10)
    model, error = converted(block(**options), (1, 4, rows, 7))
    codes = model.counts()
    assert error < 1e-5
    assert "MUL" not in codes
    assert "MEAN" not in codes
    assert options.get("bands", 5) + options.get("mean", True) == codes["DEPTHWISE_CONV_2D"]
    assert options.get("bands", 5) == codes["ADD"]


@pytest.mark.parametrize(("columns", "is_folded"), [(1, False), (4, False), (5, True)])
def test_few_columns_are_folded_in_int8_alone(columns, is_folded):
    """A stream's hop: each operator costs more than its map, and int8 rounds once for each."""
    shape = (1, 4, 10, columns)
    floats, float_error = converted(block(), shape)
    int8_way, int8_error = converted(block(), shape, Choices().for_int8())
    assert max(float_error, int8_error) < 1e-5
    assert is_folded == ("MUL" not in floats.counts())
    assert "MUL" not in int8_way.counts()
    assert is_folded == (not has_few_columns(read_graph(to_onnx(block(), torch.zeros(shape)))))


def test_an_int8_file_of_few_columns_is_folded_from_end_to_end():
    torch.manual_seed(1)
    clips = inputs((1, 4, 10, 1), 32)
    request = ConversionRequest(module=block(), example=clips[:1], precisions=("int8",), calibration=clips, gates=None)
    files = convert(request).files
    assert "MUL" in files["float32"].operators
    assert "MUL" not in files["int8"].operators


def test_a_residual_becomes_a_tap_and_a_normalisation_a_bias():
    with_residual, _ = converted(block(), (1, 4, 10, 7))
    without, _ = converted(block(residual=False), (1, 4, 10, 7))
    assert without.counts() == with_residual.counts()


SCALE, OFFSET = affine(4, 10, 5, 1), affine(4, 10, 5, 2)
BY_ROW, BY_COLUMN = affine(4, 10, 10, 1), SCALE * torch.linspace(1.0, 2.0, 7)


def rest(conv, scale=SCALE, add=True):
    return Toy(lambda x, conv: conv(x) * scale + OFFSET + (x[:, :, :1] if add else 0.0), conv=conv)


def depthwise():
    return nn.Conv2d(4, 4, (3, 1), padding=(1, 0), groups=4)


@pytest.mark.parametrize(
    "module",
    [
        rest(depthwise(), BY_ROW),
        rest(nn.Conv2d(4, 4, (3, 1), padding=(1, 0))),
        rest(nn.Conv2d(4, 4, 3, padding=1, groups=4)),
        rest(depthwise(), BY_COLUMN),
        rest(depthwise(), add=False),
    ],
    ids=["too many bands", "not depthwise", "taps in two columns", "a factor for each column", "no sum"],
)
def test_anything_else_stays_as_it_is(module):
    torch.manual_seed(1)
    graph = read_graph(to_onnx(module, torch.zeros(1, 4, 10, 7)))
    assert fold_bands(graph) is graph
    assert converted(module, (1, 4, 10, 7))[1] < 1e-5


def test_a_normalised_map_that_leaves_the_network_is_kept():
    def run(x, conv):
        normalised = conv(x) * SCALE + OFFSET
        return torch.cat([normalised, torch.relu(normalised + x[:, :, :1])], dim=1)

    graph = read_graph(to_onnx(Toy(run, conv=depthwise()), torch.zeros(1, 4, 10, 7)))
    assert fold_bands(graph) is graph
