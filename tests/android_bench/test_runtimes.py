"""Another runtime on this computer: what the runner and the command make of `runtime`."""

import sys

import pytest

from android_bench.cli import main
from android_bench.host_engine import RUNTIMES, StageError, import_runtime
from android_bench.host_runner import parse
from converters.runtimes import RUNTIMES as KNOWN_TO_CONVERTERS


def test_the_bench_and_the_converters_know_the_same_runtimes() -> None:
    assert tuple(RUNTIMES) == KNOWN_TO_CONVERTERS


def test_the_runner_refuses_an_unknown_runtime() -> None:
    with pytest.raises(StageError, match="runtime=litert: expected one of ai-edge-litert, tensorflow, tflite-runtime"):
        parse(["model=m.tflite", "stages=eval", "eval_inputs=e.npy", "runtime=litert"])


def test_a_runtime_that_is_not_there_ends_the_runner_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tflite_runtime", None)
    with pytest.raises(StageError, match="the runtime tflite-runtime cannot be loaded"):
        import_runtime("tflite-runtime")


def test_a_missing_runtime_is_named_with_its_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tflite_runtime", None)
    assert main(["--device", "host", "--runtime", "tflite-runtime"]) == 2
    assert "tflite_runtime is not installed; in a checkout" in capsys.readouterr().err


def test_a_phone_has_an_engine_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--device", "pixel1", "--runtime", "tensorflow"])
    assert caught.value.code == 2
    assert "--runtime is for our own runner on this computer" in capsys.readouterr().err


def test_a_rehearsal_shows_the_runtime(capsys: pytest.CaptureFixture[str], bundles: list) -> None:
    folders = [str(bundle.folder) for bundle in bundles]
    assert main([*folders, "--dry-run", "--runtime", "tensorflow"]) == 0
    assert "android_bench.host_runner runtime=tensorflow model=" in capsys.readouterr().out
