"""Tuning keeps what is faster beyond doubt and right, and says what it tried."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from converters.errors import GateFailedError
from converters.graph import read_graph
from converters.latency import Ratio
from converters.lowering.choices import Choices
from converters.lowering.lower import lower
from converters.lowering.padding import same_padding, tap_extension
from converters.lowering.writer import write_model
from converters.pipeline import ConversionRequest, convert
from converters.report import render_report, report_document
from converters.runners import run_onnx, run_tflite
from converters.to_onnx import to_onnx
from converters.tune import Tuner, tune
from tests.converters.test_bands import block
from tests.converters.toys import inputs

CLIP = np.zeros((1, 3), np.float32)


def name_of(choices):
    return choices.words().encode()


def tuner(ratios, spread=0.0):
    """A device on which a file takes the product of the ratios of the choices that its name has."""

    def cost(content):
        return float(np.prod([ratio for name, ratio in ratios.items() if name in content.decode()]))

    def measure(files, clip):
        first = cost(next(iter(files.values())))
        ratio = {name: cost(content) / first for name, content in files.items()}
        return {name: Ratio(ratio=each, low=each - spread, high=each + spread, us=each) for name, each in ratio.items()}

    return Tuner(device="toy", metric="latency", measure=measure)


def test_what_is_faster_is_kept_and_the_next_is_tried_beside_it():
    tuning = tune(tuner({"steps=flat": 0.9, "zeros=taps": 0.8, "bands": 1.5}), name_of, CLIP, "float32", Choices())
    assert Choices(steps="flat", zeros="taps") == tuning.chosen
    outcomes = {each.choice: (each.beside, each.outcome) for each in tuning.trials}
    assert ("the defaults", "kept") == outcomes["steps=flat"]
    assert ("steps=flat", "not faster") == outcomes["bands=apart"]
    assert "taken: steps=flat, zeros=taps" in tuning.sentence()


@pytest.mark.parametrize(("ratio", "spread"), [(0.99, 0.0), (0.9, 0.2), (1.0, 0.0), (1.2, 0.0)])
def test_what_is_not_faster_beyond_doubt_is_not_kept(ratio, spread):
    slow = {name: ratio for name, _ in Choices().alternatives()}
    tuning = tune(tuner(slow, spread), name_of, CLIP, "float32", Choices())
    assert Choices() == tuning.chosen
    assert all("kept" != each.outcome for each in tuning.trials)


def test_a_way_that_fails_a_gate_is_never_kept_however_fast():
    def make(choices):
        if choices.steps == "flat":
            raise GateFailedError(stage="onnx → float32", measure="error", seen=1.0, bound=0.1, advice="look")
        return name_of(choices)

    tuning = tune(tuner({"steps=flat": 0.1}), make, CLIP, "float32", Choices())
    assert Choices() == tuning.chosen
    assert {each.choice: each.outcome.startswith("fails: ") for each in tuning.trials}["steps=flat"]


def test_files_that_are_the_same_are_not_measured():
    asked = []

    def measure(files, clip):
        asked.append(files)
        return {}

    tuning = tune(Tuner(device="toy", metric="latency", measure=measure), lambda _: b"one", CLIP, "int8", Choices())
    assert [] == asked
    assert {"changes nothing in this network"} == {each.outcome for each in tuning.trials}


def test_what_a_device_cannot_measure_is_not_kept_and_the_rest_is_tried():
    silent = Tuner(device="toy", metric="latency", measure=lambda files, clip: {})
    tuning = tune(silent, name_of, CLIP, "float32", Choices())
    assert Choices() == tuning.chosen
    assert {"toy gave no measurement"} == {each.outcome for each in tuning.trials}


class Banded(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.block = nn.Conv2d(1, 4, (5, 3), stride=(2, 1), padding=(2, 1)), block()
        self.recurrent, self.last = nn.GRU(40, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, x):
        maps = self.block(self.stem(x.transpose(1, 2)[:, None]))
        return self.last(self.recurrent(maps.flatten(1, 2).transpose(1, 2))[0][:, -1])


@pytest.mark.parametrize("choices", [Choices(), *(each for _, each in Choices().alternatives())], ids=Choices.words)
def test_every_way_computes_the_same(choices):
    torch.manual_seed(1)
    exported = to_onnx(Banded(), torch.zeros(1, 9, 20))
    clips = inputs((1, 9, 20), 4)
    seen = run_tflite(write_model(lower(read_graph(exported), choices), description="toy"), clips)
    assert np.abs(seen - run_onnx(exported.SerializeToString(), clips)).max() < 1e-5


def test_every_choice_changes_some_file():
    torch.manual_seed(1)
    graph = read_graph(to_onnx(Banded(), torch.zeros(1, 9, 20)))
    usual = write_model(lower(graph), description="toy")
    same = [
        name for name, each in Choices().alternatives() if write_model(lower(graph, each), description="toy") == usual
    ]
    # Steps are flat until the file is written; maps have many columns and pairs add few products here; these zeros
    # suit SAME.
    assert ["steps=called", "steps=flat", "bands=folded", "strides=paired", "zeros=taps"] == same


@pytest.mark.parametrize("precisions", [(), ("int8",)])
def test_a_conversion_is_tuned_and_tells_what_it_tried(precisions):
    torch.manual_seed(1)
    clips = inputs((1, 9, 20), 32)
    prefer = {"steps=called": 0.5}

    def measure(files, clip):
        return {
            name: Ratio(ratio=each, low=each, high=each, us=1.0) for name in files for each in [prefer.get(name, 1.0)]
        }

    request = ConversionRequest(
        module=Banded(), example=clips[:1], precisions=precisions, gates=None,
        calibration=clips if precisions else None, tuner=Tuner(device="toy", metric="latency", measure=measure),
    )  # fmt: skip
    conversion = convert(request)
    assert "called" == conversion.tuning.chosen.steps
    assert (precisions or ("float32",))[0] == conversion.tuning.precision
    assert all("IF" in file.operators for file in conversion.files.values())
    assert "IF" not in convert(dataclasses.replace(request, tuner=None)).float32.operators
    assert "## Tuning" in render_report(conversion, title="toy")
    assert "steps=called" == report_document(conversion)["tuning"]["trials"][0]["choice"]


@pytest.mark.parametrize("length", [19, 20])
@pytest.mark.parametrize("kernel", [2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("before", [0, 1, 4])
def test_taps_of_zeros_put_the_first_window_where_the_zeros_would(length, kernel, stride, dilation, before):
    outputs = -(-length // stride)
    found = tap_extension(length, outputs, kernel, stride, dilation, before)
    if found is not None:
        front, back = found
        assert before + front * dilation == same_padding(length, kernel + front + back, stride, dilation)[0]


@pytest.mark.parametrize(
    ("conv", "shape"),
    [
        (nn.Conv1d(3, 4, 3, stride=2, padding=1), (1, 3, 20)),
        (nn.Conv1d(3, 4, 3), (1, 3, 20)),
        (nn.Sequential(nn.ConstantPad1d((4, 0), 0.0), nn.Conv1d(3, 4, 3, dilation=2)), (1, 3, 20)),
        (nn.Conv2d(3, 6, 3, stride=2, padding=1, groups=3), (1, 3, 8, 12)),
        (nn.Conv2d(2, 4, (5, 3), stride=(1, 2), padding=(0, 1)), (1, 2, 9, 12)),
    ],
)
def test_longer_kernels_compute_the_same(conv, shape):
    torch.manual_seed(1)
    exported = to_onnx(conv, torch.zeros(shape))
    clips = inputs(shape, 4)
    model = lower(read_graph(exported), Choices(zeros="taps"))
    assert (
        np.abs(
            run_tflite(write_model(model, description="toy"), clips) - run_onnx(exported.SerializeToString(), clips)
        ).max()
        < 1e-5
    )
