"""What PyTorch's newer exporter writes, read like any other ONNX model."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from converters.graph import read_graph
from converters.lowering.lower import lower
from converters.lowering.outline import outline
from converters.lowering.writer import write_model
from converters.onnx_file import read_model
from converters.runners import run_onnx, run_tflite, run_torch
from tests.tkd.students.test_conversion import RECURRENT, clips, trained
from tkd.students import STUDENTS

pytest.importorskip("onnxscript", reason="the newer exporter needs onnxscript")

# One of each family; the newer exporter takes seconds a network, and every other one is marked slow.
QUICK = ("tcresnet8", "ds-cnn-s", "crnn", "cnn-1")


def exported(name: str) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(trained(name), (torch.from_numpy(clips(name, 1)[:1]),), dynamo=True, verbose=False)
    assert program is not None
    content: bytes = program.model_proto.SerializeToString()
    return content


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in STUDENTS]
)
def test_a_student_from_the_newer_exporter_is_the_same(name: str) -> None:
    content, fed = exported(name), clips(name, 1)
    expected = run_torch(trained(name), fed)
    bound = 1e-4 * np.abs(expected).max()
    assert np.abs(run_onnx(content, fed) - expected).max() < bound
    model = outline(lower(read_graph(read_model(content))))
    file = write_model(model, description="test")
    assert np.abs(run_tflite(file, fed) - expected).max() < bound
    assert model.counts().get("TRANSPOSE", 0) == name.startswith("bcresnet")
    # The steps of LSTM-P, which this exporter writes out one by one, are found again and stored once.
    assert bool(model.steps) == (name.removesuffix("-reduced") in RECURRENT)
