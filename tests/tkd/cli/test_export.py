import json
from pathlib import Path

import pytest

from converters.bundle import read_bundle
from converters.command_line import ExitCode
from tkd.cli.export import main


@pytest.fixture
def arguments(trained_run: Path, tmp_path: Path) -> list[str]:
    """An export with gates that a model trained for seconds keeps."""
    return [
        "--student", "tcresnet", "--runs", str(trained_run.parent), "--output", str(tmp_path / "exports"), "-q",
        "--calibration-clips", "48", "--evaluation-clips", "36", "--min-sqnr-db", "20", "--max-accuracy-drop", "20",
    ]  # fmt: skip


def test_the_first_line_is_the_chosen_checkpoint_and_the_rest_says_synthetic(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--int8"]) == ExitCode.GOOD
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("checkpoint: ")
    assert any("SYNTHETIC" in line for line in rest)
    assert any("100 % of operators" in line for line in rest)
    assert read_bundle(tmp_path / "exports" / "tcresnet8-int8").precision == "int8"


def test_every_precision_is_a_bundle_and_a_column_says_what_it_costs(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--fp16", "--dynamic", "--int8"]) == ExitCode.GOOD
    output = capsys.readouterr().out
    written = [line.rpartition("/")[2] for line in output.splitlines() if line.startswith("wrote ")]
    assert written == [f"tcresnet8-{precision}" for precision in ("float32", "float16", "dynamic", "int8")]
    assert "keep" in output  # the advice: what to keep in float, or that nothing is worth it


def test_a_file_for_waveforms_lies_beside_the_one_for_features_and_the_output_says_how_near_it_is(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--int8", "--input", "waveform"]) == ExitCode.GOOD
    output = capsys.readouterr().out
    assert "front end outside → float32: largest error" in output
    assert "the front end is float32; behind it, every operator is int8" in output
    assert read_bundle(tmp_path / "exports" / "tcresnet8-waveform-int8").inputs[0].shape == (1, 16_000)


def test_operators_told_to_stay_float_do_and_the_output_and_the_bundle_say_so(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--int8", "--keep-float", "^FULLY_CONNECTED logits$"]) == ExitCode.GOOD
    assert "--keep-float ^FULLY_CONNECTED logits$ (1 operators: as told)" in capsys.readouterr().out
    document = read_bundle(tmp_path / "exports" / "tcresnet8-int8").document
    assert document["ops"]["mixture"]["not_int8"] == {"logits": "float32"}
    assert document["outputs"][0]["dtype"] == "float32"
    assert 0.9 < document["ops"]["int8_share"]["macs"] < 1.0


def test_json_on_stdout_is_the_only_output(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, "--json", "-"]) == ExitCode.GOOD
    document = json.loads(capsys.readouterr().out)
    assert (document["format"], document["synthetic"], len(document["bundles"])) == ("tkd.export/1", True, 1)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--student", "tcresnt"], ExitCode.USAGE, "did you mean 'tcresnet'"),
        (["--checkpoint", "none.safetensors"], ExitCode.USAGE, "there is no checkpoint none.safetensors"),
        (["--data", "/nowhere"], ExitCode.USAGE, "/nowhere"),
        (["--int8", "--min-sqnr-db", "99"], ExitCode.NO, "the bound is 99"),
        (["--int8", "--keep-float", "GRU"], ExitCode.USAGE, "no operator matches 'GRU'"),
        (["--int8", "--keep-float", "."], ExitCode.NO, "share of multiply-accumulates that are int8 is 0"),
        (["--keep-float", "CONV"], ExitCode.USAGE, "operators of the int8 file, and none was asked for"),
        (["--fp16", "--min-fp16-sqnr-db", "200"], ExitCode.NO, "float32 → float16: SQNR in dB"),
        (["--onnx", "model.onnx", "--input", "waveform"], ExitCode.USAGE, "--input goes with a student"),
        (["--calibration", "clips.npz"], ExitCode.USAGE, "--calibration goes with --onnx"),
    ],
)
def test_what_cannot_be_exported_is_one_sentence_its_code_and_no_bundle(
    arguments: list[str],
    tmp_path: Path,
    options: list[str],
    code: ExitCode,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*arguments, *options]) == code
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "exports").exists()


def test_a_damaged_checkpoint_is_named(
    arguments: list[str], trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes((trained_run / "student.safetensors").read_bytes()[:9000])
    assert main([*arguments, "--checkpoint", str(damaged)]) == ExitCode.USAGE
    assert "damaged.safetensors is damaged or no safetensors file" in capsys.readouterr().err


def test_ctrl_c_while_writing_leaves_nothing_half_written(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(partial: Path, path: Path) -> None:
        if path.parent.name == "exports":
            raise KeyboardInterrupt
        partial.rename(path)

    monkeypatch.setattr("converters.files._replace_folder", interrupted)
    assert main(arguments) == ExitCode.INTERRUPTED
    assert list((tmp_path / "exports").iterdir()) == []
