"""Every student of the table as a float32 TFLite file: the same function, no byte moved, nothing stored twice."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from converters.graph import read_graph
from converters.lowering.lower import lower
from converters.lowering.outline import outline
from converters.lowering.records import Model
from converters.lowering.writer import write_model
from converters.pipeline import ConversionRequest, convert
from converters.runners import TfliteModel, run_onnx, run_torch
from converters.to_onnx import to_onnx
from tkd.audio.features import FEATURES
from tkd.students import STUDENTS, Student, build_student

RECURRENT = ("lstm-p", "crnn", "att-rnn", "mhatt-rnn")
LARGEST_RELATIVE_ERROR = 1e-4
# Each operator costs some bytes beside its weights, which counts in the smallest nets of many operators.
BYTES_OF_AN_OPERATOR = 400


def trained(name: str) -> Student:
    """A student whose normalisations and biases are not those of a fresh one."""
    torch.manual_seed(0)
    student = build_student(name, FEATURES[STUDENTS[name].features].channels, 12).eval()
    with torch.no_grad():
        for part in student.modules():
            if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
                part.running_mean.uniform_(-0.2, 0.2)  # type: ignore[union-attr]
                part.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
        for key, parameter in student.named_parameters():
            if "bias" in key:
                parameter.uniform_(-0.2, 0.2)
    return student


def clips(name: str, seconds: int) -> np.ndarray:
    """Noise, and features at the scale of log-mel energies: channels from -25 to 5 with a slow drift."""
    features = FEATURES[STUDENTS[name].features]
    shape = (features.frames(16_000 * seconds), features.channels)
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((2, *shape))
    drift = np.linspace(-1, 1, shape[0])[:, None] + np.linspace(-8, 2, shape[1])
    return np.concatenate([noise, noise[:1] + drift]).astype(np.float32)


def converted(name: str, seconds: int) -> tuple[Student, bytes, Model]:
    student, fed = trained(name), clips(name, seconds)
    model = to_onnx(student, torch.from_numpy(fed[:1]))
    return student, model.SerializeToString(), outline(lower(read_graph(model)))


def check(name: str, seconds: int) -> None:
    student, content, model = converted(name, seconds)
    file, fed = write_model(model, description="test"), clips(name, seconds)
    expected = run_torch(student, fed)
    bound = LARGEST_RELATIVE_ERROR * np.abs(expected).max()
    assert np.abs(run_onnx(content, fed) - expected).max() < bound
    runner = TfliteModel(file)
    first = runner.run(fed)
    assert np.abs(first - expected).max() < bound
    assert np.array_equal(first[::-1], runner.run(fed[::-1]))  # nothing stays from one inference to the next
    # BC-ResNet is lowered with frequencies outermost, so that its bands lie in one piece: the input is turned once.
    assert model.counts().get("TRANSPOSE", 0) == name.startswith("bcresnet")
    weights = 4 * sum(parameter.numel() for parameter in student.parameters())
    operators = sum(len(part.operators) for part in model.parts())
    assert len(file) < 1.05 * weights + BYTES_OF_AN_OPERATOR * operators
    assert name not in RECURRENT or len(file) < 2 * weights


@pytest.mark.parametrize("name", STUDENTS)
def test_a_student_of_one_second_is_the_same_in_torch_onnx_and_tflite(name: str) -> None:
    check(name, 1)


@pytest.mark.parametrize("name", RECURRENT)
def test_a_recurrent_student_of_eight_seconds_is_the_same_and_no_larger(name: str) -> None:
    check(name, 8)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in STUDENTS if name not in RECURRENT])
def test_any_other_student_of_eight_seconds_is_the_same(name: str) -> None:
    check(name, 8)


@pytest.mark.slow
@pytest.mark.parametrize("name", RECURRENT)
def test_a_recurrent_student_of_eight_seconds_has_a_small_int8_file_that_is_nearly_the_same(name: str) -> None:
    student, fed = trained(name), clips(name, 8)
    request = ConversionRequest(module=student, example=fed[:1], calibration=fed, check=fed, gates=None)
    conversion = convert(request)
    assert conversion.int8 is not None
    assert conversion.parity.stages[-1].sqnr_db > 30
    assert conversion.int8.shares.macs > 0.95
    assert len(conversion.int8.content) < 2 * sum(parameter.numel() for parameter in student.parameters())


@pytest.mark.parametrize(("name", "steps", "calls"), [("lstm-p", 1, 48), ("crnn", 1, 42), ("att-rnn", 4, 192)])
def test_the_steps_of_a_recurrent_student_are_stored_once(name: str, steps: int, calls: int) -> None:
    model = converted(name, 1)[2]
    assert steps == len(model.steps)
    assert calls == model.counts()["IF"]
    matrices = [operator.inputs[1] for part in model.parts() for operator in part.operators
                if operator.code == "FULLY_CONNECTED"]  # fmt: skip
    # LSTM-P's first step, whose state of zeros leaves nothing of one matrix, stands by itself with the other.
    assert len(matrices) - len(set(matrices)) == (1 if name == "lstm-p" else 0)


@pytest.mark.parametrize(("name", "expected"), [
    ("tcresnet8", {"CONV_2D": 10, "ADD": 3, "RESHAPE": 1, "MEAN": 1, "FULLY_CONNECTED": 1}),
    ("ds-cnn-s", {"CONV_2D": 5, "DEPTHWISE_CONV_2D": 4, "MEAN": 2, "RESHAPE": 1, "FULLY_CONNECTED": 1}),
    ("cnn-1", {"CONV_2D": 3, "FULLY_CONNECTED": 2, "RESHAPE": 2, "MAX_POOL_2D": 1, "MEAN": 1}),
    ("cnn-2", {"FULLY_CONNECTED": 4, "RESHAPE": 2, "CONV_2D": 1, "MEAN": 1}),
])  # fmt: skip
def test_a_student_has_the_operators_of_its_layers_and_no_others(name: str, expected: dict[str, int]) -> None:
    assert expected == converted(name, 1)[2].counts()


def test_a_state_that_is_not_a_number_does_not_outlive_its_inference() -> None:
    _, _, model = converted("lstm-p", 1)
    runner, fed = TfliteModel(write_model(model, description="test")), clips("lstm-p", 1)
    expected = runner.run(fed)
    assert np.isnan(runner.run(np.full_like(fed[:1], np.nan))).all()
    assert np.array_equal(expected, runner.run(fed))
