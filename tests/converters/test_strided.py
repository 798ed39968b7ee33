"""Strided windows over a map of one channel: the same numbers from fewer taps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from converters.graph import read_graph
from converters.lowering.choices import Choices
from converters.lowering.lower import lower
from converters.lowering.writer import write_model
from converters.pipeline import ConversionRequest, convert
from converters.runners import run_onnx, run_tflite
from converters.tflite_file import read_tflite
from converters.to_onnx import to_onnx
from tests.converters.toys import Toy, inputs

PAIRED = Choices(strides="paired")


def converted(module, shape, choices=PAIRED):
    torch.manual_seed(1)
    exported = to_onnx(module, torch.zeros(shape))
    model = lower(read_graph(exported), choices)
    clips = inputs(shape, 4)
    seen = run_tflite(write_model(model, description="toy"), clips)
    return model, np.abs(seen - run_onnx(exported.SerializeToString(), clips)).max()


def kernel_of(model):
    return next(model.tensors[each.inputs[1]].shape for each in model.operators if each.code == "CONV_2D")


@pytest.mark.parametrize(
    ("taps", "stride", "padding", "kernel"),
    [
        (5, 2, 2, (3, 3, 5, 2)),
        (4, 2, 1, (3, 3, 5, 2)),
        (2, 2, 0, (3, 1, 5, 2)),
        (1, 2, 0, (3, 1, 5, 2)),
        (4, 4, 0, (3, 1, 5, 4)),
        (8, 4, 2, (3, 3, 5, 4)),
    ],
)
def test_a_stride_along_the_innermost_axis_becomes_channels(taps, stride, padding, kernel):
    conv = nn.Conv2d(1, 3, (taps, 5), stride=(stride, 1), padding=(padding, 2))
    model, error = converted(Toy(lambda x, conv: conv(x.transpose(1, 2)[:, None]), conv=conv), (1, 21, 24))
    assert error < 1e-5
    # Time lies outermost here, so that the axes of the kernel are exchanged.
    assert (kernel[0], kernel[2], kernel[1], kernel[3]) == kernel_of(model)


@pytest.mark.parametrize(("taps", "padding", "channels"), [(5, 2, 2), (4, 1, 1), (1, 0, 1), (2, 0, 2)])
def test_a_float_file_has_pairs_only_where_they_add_few_products(taps, padding, channels):
    conv = nn.Conv2d(1, 3, (5, taps), stride=(1, 2), padding=(2, padding))
    float_model, _ = converted(conv, (1, 1, 9, 24), Choices())
    int8_model, _ = converted(conv, (1, 1, 9, 24), Choices().for_int8())
    assert (channels, 2) == (kernel_of(float_model)[3], kernel_of(int8_model)[3])


@pytest.mark.parametrize("strides", ["single", "paired"])
def test_a_way_that_was_asked_for_is_that_of_both_files(strides):
    assert strides == Choices(strides=strides).for_int8().strides


def test_an_int8_file_has_pairs_where_the_float_file_has_none():
    torch.manual_seed(1)
    clips = inputs((1, 9, 24), 16)
    module = Toy(
        lambda x, conv: conv(x[:, None]).mean(dim=(2, 3)), conv=nn.Conv2d(1, 3, (5, 4), stride=(1, 2), padding=(2, 1))
    )
    made = convert(ConversionRequest(module=module, example=clips[:1], calibration=clips, gates=None))
    read = {precision: read_tflite(file.content)[0] for precision, file in made.files.items()}
    assert {"float32": 1, "int8": 2} == {precision: kernel_of(model)[3] for precision, model in read.items()}


def test_the_axis_that_lies_innermost_may_be_the_second_one_too():
    model, error = converted(nn.Conv2d(1, 3, (5, 4), stride=(1, 2), padding=(2, 1)), (1, 1, 9, 24))
    assert error < 1e-5
    assert (3, 5, 3, 2) == kernel_of(model)


@pytest.mark.parametrize(
    ("conv", "shape"),
    [
        (nn.Conv2d(1, 3, 5, stride=(2, 1), padding=2), (1, 1, 24, 9)),
        (nn.Conv2d(2, 3, 5, stride=(1, 2), padding=2), (1, 2, 9, 24)),
        (nn.Conv2d(1, 3, 5, stride=(1, 2), padding=2), (1, 1, 9, 23)),
        (nn.Conv2d(1, 3, (5, 3), stride=(1, 2), padding=(2, 0)), (1, 1, 9, 24)),
        (nn.Conv2d(1, 3, (5, 3), stride=(1, 2), padding=(2, 2), dilation=(1, 2)), (1, 1, 9, 24)),
        (nn.Conv2d(1, 3, 5, padding=2), (1, 1, 9, 24)),
        (nn.Conv2d(1, 3, (5, 8), stride=(1, 8)), (1, 1, 9, 24)),
        (nn.Conv2d(1, 3, (5, 3), stride=(1, 2), padding=(2, 1)), (1, 1, 9, 24)),
    ],
    ids=[
        "another axis",
        "two channels",
        "an odd length",
        "leaves pairs out",
        "dilated",
        "no stride",
        "a long stride",
        "would need other zeros than SAME",
    ],
)
def test_other_windows_stay_as_they_are(conv, shape):
    model, error = converted(conv, shape)
    assert error < 1e-5
    assert conv.in_channels == kernel_of(model)[3]
