import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from converters.command_line import ExitCode
from converters.to_onnx import to_onnx
from tkd.cli.export import main

CLIPS = np.random.default_rng(0).standard_normal((64, 20, 8)).astype(np.float32)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """An ONNX file of a network that is no student."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv1d(20, 12, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 5))
    path = tmp_path / "detector.onnx"
    path.write_bytes(to_onnx(network, torch.from_numpy(CLIPS[:1])).SerializeToString())
    return path


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    path = tmp_path / "clips.npz"
    np.savez(path, calibration=CLIPS)
    return path


def test_a_foreign_model_becomes_files_of_every_precision(
    model: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--onnx", str(model), "--calibration", str(clips), "--int8", "--fp16", "--dynamic"]
    assert main([*arguments, "--output", str(tmp_path / "exports")]) == ExitCode.GOOD
    made = tmp_path / "exports" / "detector"
    assert sorted(path.name for path in made.glob("*.tflite")) == [
        f"model-{precision}.tflite" for precision in ("dynamic", "float16", "float32", "int8")
    ]
    assert "100 % of MACs; every operator is int8" in capsys.readouterr().out


def test_without_clips_the_float_kinds_are_made_and_json_is_the_only_output(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--onnx", str(model), "--fp16", "--output", str(tmp_path / "exports"), "--json", "-"]
    assert main(arguments) == ExitCode.GOOD
    document = json.loads(capsys.readouterr().out)
    assert list(document["conversion"]["files"]) == ["float32", "float16"]


BAD_CLIPS = {
    "wrong shape": (CLIPS[:, :19], "calibration has shape (64, 19, 8); expected (clips, 20, 8)"),
    "NaN": (np.where(CLIPS > 2.5, np.nan, CLIPS), "has a value that is NaN or infinite; leave it out"),
    "constant": (np.ones_like(CLIPS), "every value of the calibration clips is 1.0: no range can be learnt"),
}


@pytest.mark.parametrize("name", BAD_CLIPS)
def test_bad_clips_are_wrong_usage_and_nothing_is_written(
    model: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, message = BAD_CLIPS[name]
    np.savez(tmp_path / "bad.npz", calibration=bad)
    arguments = ["--onnx", str(model), "--int8", "--calibration", str(tmp_path / "bad.npz")]
    assert main([*arguments, "--output", str(tmp_path / "exports")]) == ExitCode.USAGE
    assert message in capsys.readouterr().err
    assert not (tmp_path / "exports").exists()


def test_a_model_of_dynamic_shape_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "dynamic.onnx"
    dynamic = to_onnx(nn.Linear(8, 3), torch.zeros(1, 8))
    dynamic.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    path.write_bytes(dynamic.SerializeToString())
    assert main(["--onnx", str(path), "--output", str(tmp_path / "exports")]) == ExitCode.USAGE
    assert "has the shape ['n', 8]; export the model with static shapes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--int8"], ExitCode.USAGE, "give --calibration FILE.npz"),
        (["--student", "tcresnet"], ExitCode.USAGE, "--onnx and --student exclude each other"),
        (["--keep-float", "CONV"], ExitCode.USAGE, "operators of the int8 file, and none was asked for"),
        (["--int8", "--keep-float", "GRU", "--calibration", "CLIPS"], ExitCode.USAGE, "no operator matches 'GRU'"),
        (
            ["--int8", "--keep-float", ".", "--calibration", "CLIPS"],
            ExitCode.NO,
            "that are int8 is 0, the bound is 0.5",
        ),
        (["--int8", "--min-sqnr-db", "90", "--calibration", "CLIPS"], ExitCode.NO, "the bound is 90"),
        (["--min-int8-share", "120"], ExitCode.USAGE, "expected a number from 0 to 100, saw 120"),
    ],
)
def test_what_cannot_or_may_not_be_made_is_one_sentence_its_code_and_no_folder(
    model: Path, clips: Path, tmp_path: Path, options: list[str], code: ExitCode, message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    named = [str(clips) if option == "CLIPS" else option for option in options]
    try:
        seen = main(["--onnx", str(model), "--output", str(tmp_path / "exports"), *named])
    except SystemExit as end:
        seen = end.code
    assert seen == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "exports").exists()


def test_all_in_float_is_written_when_the_share_is_waived(model: Path, clips: Path, tmp_path: Path) -> None:
    arguments = ["--onnx", str(model), "--int8", "--keep-float", ".", "--min-int8-share", "0", "--calibration"]
    assert main([*arguments, str(clips), "--output", str(tmp_path / "exports")]) == ExitCode.GOOD
    document = json.loads((tmp_path / "exports" / "detector" / "report.json").read_text())
    assert document["files"]["int8"]["int8_share"]["macs"] == 0.0


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--onnx", str(tmp_path / "none.onnx")]) == ExitCode.USAGE
    assert "cannot read the ONNX model" in capsys.readouterr().err
