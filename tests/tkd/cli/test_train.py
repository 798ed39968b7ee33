import json
from pathlib import Path

import pytest

from converters.command_line import ExitCode
from tkd.cli.train import main
from tkd.train import fit

CONFIG = """
run = "{run}"
[data]
folder = "{data}"
[student]
name = "tcresnet8"
[student_fit]
steps = 4
batch_size = 16
validate_every = 2
[distill]
lambdas = [0.0]
"""


@pytest.fixture
def config(tmp_path: Path, spoken_corpus: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(CONFIG.format(run=tmp_path / "run", data=spoken_corpus))
    return path


def test_a_run_ends_with_a_table_that_says_synthetic(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(config)]) == ExitCode.GOOD
    out = capsys.readouterr().out
    assert "SYNTHETIC speech" in out
    assert "silence: noise" in out
    assert "student.safetensors" in out


def test_json_on_stdout_is_the_only_output(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(config), "--json", "-", "-q"]) == ExitCode.GOOD
    printed = capsys.readouterr()
    assert json.loads(printed.out)["format"] == "tkd.run/1"
    assert printed.err == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "student.nam=x"], "no setting is called 'nam'; did you mean 'name'?"),
        (["--set", "student_fit.steps=many"], "steps: expected int, saw 'many'"),
        (["--set", "student.name=tcresnt8"], "no student is called 'tcresnt8'; did you mean 'tcresnet8'"),
        (["--set", "student.features=mfccs"], "no front end is called 'mfccs'"),
        (["--set", "data.folder=/nowhere"], "/nowhere"),
        (["--set", "data.silence=quiet"], "no choice is called 'quiet'"),
        (["--set", "distill.lambdas=[2.0]"], "expected weights in [0, 1], saw [2.0]"),
    ],
)
def test_a_bad_setting_is_one_sentence_and_exit_2(
    config: Path, tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(config), *options]) == ExitCode.USAGE
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()


def test_a_missing_configuration_names_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nothing.toml"]) == ExitCode.USAGE
    assert "there is no configuration file nothing.toml" in capsys.readouterr().err


def test_a_folder_in_place_of_a_configuration_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == ExitCode.USAGE
    assert "cannot be read (Is a directory); expected a TOML file" in capsys.readouterr().err


def test_ctrl_c_is_exit_130_and_the_run_can_be_resumed(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(fit, "_update", interrupted)
        assert main([str(config)]) == ExitCode.INTERRUPTED
    assert main([str(config)]) == ExitCode.USAGE
    assert "--resume continues it" in capsys.readouterr().err
    assert main([str(config), "--resume"]) == ExitCode.GOOD


def test_a_full_disk_is_exit_4_and_leaves_no_half_checkpoint(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_tensors: object, path: Path, **_options: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("safetensors.torch.save_file", full)
    assert main([str(config)]) == ExitCode.DEVICE
    assert "No space left on device; free some space and run it again" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "run").iterdir() if "safetensors" in path.name] == []


def test_help_is_instant_and_tells_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "130  interrupted" in capsys.readouterr().out
