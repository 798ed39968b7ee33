"""A float network in front of another one: the same file behind it, whatever its precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from converters.errors import ConversionError
from converters.pipeline import ConversionRequest, convert
from converters.runners import run_tflite, run_torch
from tests.converters.toys import Toy, inputs


def networks():
    torch.manual_seed(0)
    front = Toy(lambda x, matrix: (matrix(x).relu() + 1).log(), matrix=nn.Linear(12, 10))
    body = nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 4))
    return front, body


@pytest.fixture(scope="module")
def converted():
    front, body = networks()
    clips = inputs((1, 12), 200)
    request = ConversionRequest(
        module=body, front=front, example=clips[:1], calibration=clips, input_name="x", output_name="y",
        precisions=("float16", "dynamic", "int8"), gates=None,
    )  # fmt: skip
    return convert(request)


def test_every_precision_takes_the_fronts_input_and_gives_the_whole_networks_output(converted):
    front, body = networks()
    fed = inputs((1, 12), 50, seed=1)
    expected = run_torch(nn.Sequential(front, body), fed)
    size = np.abs(expected).max()
    for precision, bound in {"float32": 1e-5, "float16": 1e-2, "dynamic": 0.05, "int8": 0.1}.items():
        file = converted.files[precision]
        assert (file.input.name, file.input.shape, file.input.dtype) == ("x", (1, 12), "float32")
        assert file.output.name == "y"
        assert np.abs(run_tflite(file.content, fed) - expected).max() < bound * size, precision


def test_the_body_is_the_int8_file_that_it_is_without_a_front(converted):
    front, body = networks()
    clips = run_torch(front, inputs((1, 12), 200))
    alone = convert(
        ConversionRequest(
            module=body, example=clips[:1], calibration=clips, precisions=("int8",), gates=None, output_name="y"
        )
    )
    fed = inputs((1, 12), 50, seed=1)
    behind = run_tflite(converted.int8.content, fed)
    # The front computes in TFLite here and in torch there: a feature on the edge of a step may fall to either side.
    assert np.isclose(run_tflite(alone.int8.content, run_torch(front, fed)), behind).all(axis=1).mean() > 0.9


def test_the_front_stays_float_and_counts_as_such_but_breaks_no_gate():
    front, body = networks()
    clips = inputs((1, 12), 200)
    request = ConversionRequest(module=body, front=front, example=clips[:1], calibration=clips, precisions=("int8",))
    file = convert(request).int8
    assert 0.0 < file.shares.macs < 1.0
    assert file.operators["QUANTIZE"] == 1


def test_both_are_one_onnx_model(converted):
    front, body = networks()
    fed = inputs((1, 12), 8, seed=2)
    assert [stage.stage for stage in converted.parity.stages][:2] == ["torch → onnx", "onnx → float32"]
    expected = run_torch(nn.Sequential(front, body), fed)
    assert np.allclose(run_tflite(converted.float32.content, fed), expected, atol=1e-5)


def test_a_front_before_an_onnx_model_is_refused():
    front, _ = networks()
    with pytest.raises(ConversionError, match="a front goes with a module"):
        ConversionRequest(onnx=b"model", front=front, example=np.zeros((1, 12), np.float32))
