"""The second backend with TensorFlow itself: `make test-tensorflow`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from converters.bundle_contents import PRECISIONS
from converters.command_line import ExitCode
from converters.errors import ConversionError
from converters.parity import ParityGates, sqnr_db
from converters.pipeline import Conversion, ConversionRequest, convert
from converters.runners import Array, run_torch
from converters.runtimes import RUNTIMES
from converters.to_onnx import to_onnx
from tkd.checkpoint import STARTERS, load_student, read_checkpoint
from tkd.cli.export import main
from tkd.students import Student

pytestmark = pytest.mark.tensorflow

FRAMES, CHANNELS = 98, 40
GATES = ParityGates(int8_top1_agreement=0.9)


def starter() -> Student:
    return load_student(read_checkpoint(STARTERS / "tcresnet8.safetensors"))


def clips(count: int, seed: int) -> Array:
    """Smooth noise, shape (count, frames, channels), of the size that MFCC have."""
    rng = np.random.default_rng(seed)
    rough = rng.standard_normal((count, FRAMES + 8, CHANNELS)) * np.exp(-np.arange(CHANNELS) / 12)
    return (8 * np.mean([rough[:, at : at + FRAMES] for at in range(9)], axis=0)).astype(np.float32)


@pytest.fixture(scope="module")
def conversion() -> Conversion:
    known = clips(64, 0)
    return convert(
        ConversionRequest(
            module=starter(),
            example=known[:1],
            precisions=PRECISIONS,
            calibration=known,
            check=clips(64, 1),
            gates=GATES,
            backend="onnx-tf",
        )
    )


def test_tcresnet8_keeps_every_gate_in_every_precision(conversion: Conversion) -> None:
    assert list(conversion.files) == ["float32", "float16", "dynamic", "int8"]
    assert [each.stage for each in conversion.parity.stages] == [
        "torch → onnx", "onnx → float32", "float32 → float16", "float32 → dynamic", "float32 → int8",
    ]  # fmt: skip
    assert conversion.tools["onnx-tf"] == "1.10.0"


def test_the_int8_file_is_int8_and_its_layers_are_ranked(conversion: Conversion) -> None:
    assert conversion.int8 is not None
    assert conversion.int8.shares.macs == 1.0
    assert (conversion.int8.input.dtype, conversion.int8.output.dtype) == ("int8", "int8")
    assert conversion.quantization is not None
    assert len(conversion.quantization.layers) >= 5
    assert conversion.mixture is not None
    assert conversion.mixture.choices == ()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_runtime_gives_the_same_answers(tmp_path: Path, runtime: str) -> None:
    known, checked = clips(64, 0), clips(16, 2)
    made = convert(ConversionRequest(module=starter(), example=known[:1], calibration=known, gates=None))
    for precision, file in made.files.items():
        (tmp_path / f"{precision}.tflite").write_bytes(file.content)
    np.save(tmp_path / "clips.npy", checked)
    # In a process of its own, as in a command: tflite-runtime and TensorFlow do not live side by side in one.
    script = (
        "import sys, numpy; from pathlib import Path; from converters.runners import TfliteModel\n"
        "for name in ('float32', 'int8'):\n"
        "    model = TfliteModel(Path(f'{name}.tflite'), runtime=sys.argv[1])\n"
        "    numpy.save(name, model.run(numpy.load('clips.npy')))\n"
    )
    root = str(Path(__file__).resolve().parents[2])
    settings = {**os.environ, "PYTHONPATH": root}
    subprocess.run([sys.executable, "-c", script, runtime], cwd=tmp_path, env=settings, check=True)
    expected = run_torch(starter(), checked)
    assert sqnr_db(expected, np.load(tmp_path / "float32.npy")) > 100
    assert sqnr_db(expected, np.load(tmp_path / "int8.npy")) > 25


def test_an_operator_that_onnx_tf_lacks_is_named() -> None:
    # PyTorch writes Unsqueeze for a convolution over time; onnx-tf 1.10 knows it up to opset 12.
    class Adds(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cumsum(x, dim=1).unsqueeze(1) * 2

    content = to_onnx(Adds(), torch.zeros(1, 4), opset=17).SerializeToString()
    with pytest.raises(
        ConversionError, match=r"onnx-tf cannot make a SavedModel of this model: .*Unsqueeze version 13"
    ):
        convert(ConversionRequest(onnx=content, example=np.zeros((1, 4), np.float32), backend="onnx-tf"))


def test_the_command_writes_the_files_and_says_who_made_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = to_onnx(starter(), torch.zeros(1, FRAMES, CHANNELS), opset=11)
    onnx.save(model, "net.onnx")
    np.savez("clips.npz", calibration=clips(48, 0), check=clips(48, 1))
    words = ["--onnx", "net.onnx", "--calibration", "clips.npz", "--int8", "--min-agreement", "90"]
    assert main([*words, "--backend", "onnx-tf", "--runtime", "tensorflow"]) == ExitCode.GOOD
    assert sorted(each.name for each in Path("exports/net").iterdir()) == [
        "model-float32.tflite", "model-int8.tflite", "model.onnx", "report.json", "report.md",
    ]  # fmt: skip
    report = json.loads(Path("exports/net/report.json").read_text())
    assert (report["backend"]["name"], report["runtime"]) == ("onnx-tf", "tensorflow")
    assert report["files"]["int8"]["int8_share"]["macs"] == 1.0
    assert "Made by the backend onnx-tf (tensorflow" in Path("exports/net/report.md").read_text()
