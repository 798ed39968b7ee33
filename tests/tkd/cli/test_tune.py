"""`--tune DEVICE`: what a device is asked, and what its answers amount to."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch
from torch import nn

from android_bench.profiles import profile_names
from converters.command_line import ExitCode
from converters.pipeline import ConversionRequest, convert
from converters.to_onnx import to_onnx
from tests.converters.test_tune import Banded
from tests.converters.toys import inputs
from tkd.cli.export import main
from tkd.cli.tune import read_ratios, tuner_of
from tkd.errors import DeviceFailedError, SettingsError

CLIP = inputs((1, 6), 1)


def file():
    torch.manual_seed(1)
    request = ConversionRequest(module=nn.Linear(6, 3), example=CLIP)
    return convert(request).float32.content


def bench(tmp_path, code=0, said="", session=None):
    """A `tkd-bench` that answers the same whatever it is asked, and notes what that was."""
    script = tmp_path / "bench.py"
    script.write_text(
        "import json, pathlib, sys\n"
        f"pathlib.Path({str(tmp_path / 'asked.json')!r}).write_text(json.dumps(sys.argv[1:]))\n"
        f"session = {session!r}\n"
        "place = pathlib.Path(sys.argv[sys.argv.index('--json') + 1])\n"
        "assert all((pathlib.Path(name) / 'model.tflite').is_file() for name in sys.argv[-2:])\n"
        "if session is not None:\n    place.write_text(json.dumps(session))\n"
        f"print({said!r}, file=sys.stderr)\n"
        f"sys.exit({code})\n"
    )
    return [sys.executable, str(script)]


def counted(*instructions):
    return {"measurements": [{"instructions": {"inference": each}} for each in instructions]}


def test_a_virtual_phone_is_asked_for_its_exact_counts(tmp_path):
    tuner = tuner_of("virtual-pixel1", bench(tmp_path, session=counted(2000, 1500)))
    ratios = tuner.measure({"as it is": file(), "steps=flat": file()}, CLIP)
    assert "instructions, emulated" == tuner.metric
    assert (0.75, 0.75, 0.75) == (ratios["steps=flat"].ratio, ratios["steps=flat"].low, ratios["steps=flat"].high)
    asked = json.loads((tmp_path / "asked.json").read_text())
    assert ["--device", "virtual-pixel1"] == asked[:2]


def test_a_phone_is_compared_block_by_block():
    blocks = lambda *times: {"blocks": [{"samples_ns": [each * 1000] * 3} for each in times]}  # noqa: E731
    ratio = read_ratios({"measurements": [blocks(100, 200, 100), blocks(90, 170, 95)]}, ["a", "b"])["b"]
    assert ratio.ratio == pytest.approx(0.9)
    assert ratio.low < ratio.ratio < ratio.high < 1


@pytest.mark.parametrize("session", [counted(2000), {"measurements": [{"blocks": []}, {"blocks": []}]}])
def test_an_answer_about_fewer_files_is_no_answer(session):
    assert {} == read_ratios(session, ["a", "b"])


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [(4, DeviceFailedError, "--tune pixel1: no phone is attached"), (2, SettingsError, "--tune pixel1: no phone")],
)
def test_what_the_bench_says_is_passed_on(tmp_path, code, error, message):
    tuner = tuner_of("pixel1", bench(tmp_path, code, "tkd-bench: no phone is attached"))
    with pytest.raises(error, match=message):
        tuner.measure({"as it is": file(), "other": file()}, CLIP)


def test_a_bench_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(SettingsError, match="it said nothing"):
        tuner_of("pixel1", bench(tmp_path)).measure({"as it is": file(), "other": file()}, CLIP)


@pytest.mark.parametrize("name", [each for each in profile_names() if each != "host"])
def test_every_device_of_the_bench_can_be_tuned_for(name):
    assert ("emulated" in tuner_of(name).metric) == name.startswith("virtual-")


def test_an_unknown_device_is_refused_before_anything_is_read(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ExitCode.USAGE == main(["--onnx", "none.onnx", "--tune", "pixle1"])
    assert "--tune pixle1: " in capsys.readouterr().err


def test_an_onnx_model_is_tuned_on_this_computer(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    (tmp_path / "banded.onnx").write_bytes(to_onnx(Banded(), torch.zeros(1, 9, 20)).SerializeToString())
    np.savez(tmp_path / "clips.npz", calibration=inputs((1, 9, 20), 16))
    code = main(["--onnx", "banded.onnx", "--tune", "--json", "out.json"])
    assert ExitCode.GOOD == code
    assert "tuned for latency of the float32 file on host" in capsys.readouterr().out
    tried = json.loads((tmp_path / "out.json").read_text())["conversion"]["tuning"]["trials"]
    assert {"steps=flat", "bands=apart", "bands=whole", "strides=single"} <= {each["choice"] for each in tried}
