"""The three runtimes over one batch."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from torch import nn

from converters.errors import ConversionError
from converters.graph import read_graph
from converters.lowering.lower import lower
from converters.lowering.writer import write_model
from converters.runners import TfliteModel, run_onnx, run_tflite, run_torch, without_notices
from converters.to_onnx import to_onnx


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.5), nn.Tanh())


@pytest.fixture(scope="module")
def onnx(network):
    return to_onnx(network, torch.zeros(1, 6))


@pytest.fixture(scope="module")
def tflite(onnx):
    return write_model(lower(read_graph(onnx)), description="toy")


def test_all_three_give_the_same_in_evaluation_mode(network, onnx, tflite):
    fed = np.random.default_rng(0).standard_normal((5, 6)).astype(np.float32)
    network.train()
    expected = run_torch(network, fed)
    assert network.training
    assert (5, 4) == expected.shape
    assert np.allclose(expected, run_onnx(onnx.SerializeToString(), fed), atol=1e-6)
    assert np.allclose(expected, run_tflite(tflite, fed), atol=1e-6)


def test_a_path_is_read_as_its_bytes(tflite, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite)
    fed = np.ones((2, 6), np.float32)
    assert np.array_equal(run_tflite(tflite, fed), run_tflite(path, fed))


def test_every_intermediate_tensor_can_be_traced(tflite):
    fed = np.ones((3, 6), np.float32)
    traced = list(TfliteModel(tflite, keeps_all=True).trace(fed, ["input", "output"]))
    assert 3 == len(traced)
    assert np.array_equal(fed[:1], traced[0]["input"])
    assert np.allclose(run_tflite(tflite, fed)[2], traced[2]["output"], atol=1e-6)


def test_bytes_that_are_no_model_are_refused():
    with pytest.raises(ConversionError, match=r"ai-edge-litert refuses the model \(11 bytes\)"):
        run_tflite(b"not a model", np.zeros((1, 6), np.float32))
    with pytest.raises(ConversionError, match="ONNX Runtime cannot run the model"):
        run_onnx(b"not a model", np.zeros((1, 6), np.float32))


def test_an_input_of_another_shape_is_refused(onnx, tflite):
    wrong = np.zeros((2, 7), np.float32)
    with pytest.raises(ConversionError, match=r"ai-edge-litert cannot run the model on shape \(1, 7\)"):
        run_tflite(tflite, wrong)
    with pytest.raises(ConversionError, match="ONNX Runtime cannot run the model"):
        run_onnx(onnx.SerializeToString(), wrong)


def test_engine_notices_stay_off_stderr_and_everything_else_passes(capfd: pytest.CaptureFixture[str]) -> None:
    with without_notices():
        os.write(2, b"INFO: created a delegate\nWARNING: something else\n")
    assert capfd.readouterr().err == "WARNING: something else\n"
