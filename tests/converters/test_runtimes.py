import sys
from pathlib import Path

import pytest

from converters import runtimes
from converters.command_line import ExitCode
from converters.errors import ConversionError
from converters.runners import TfliteModel
from converters.runtimes import check_runtime
from tkd.cli.evaluate import main as tkd_eval
from tkd.cli.export import main as tkd_export


def test_an_unknown_runtime_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConversionError, match="did you mean 'tflite-runtime'"):
        check_runtime("tflite-runtim")


def test_a_missing_runtime_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tflite_runtime", None)
    with pytest.raises(ConversionError, match=r"tflite-runtime is not installed; .*make setup-tensorflow"):
        TfliteModel(b"", runtime="tflite-runtime")


def test_a_runtime_that_does_not_load_beside_what_is_here_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # As tflite-runtime 2.14 beside numpy 2: the package is there, and its library refuses.
    (tmp_path / "old_runtime.py").write_text("raise ImportError('numpy.core.multiarray failed to import')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(runtimes._PLACES, "tflite-runtime", ("old_runtime", "Interpreter", "OpResolverType"))
    with pytest.raises(ConversionError, match=r"tflite-runtime does not load here .*multiarray"):
        check_runtime("tflite-runtime")


@pytest.mark.parametrize(
    ("command", "words"),
    [(tkd_export, ["--student", "tcresnet"]), (tkd_eval, ["exports/tcresnet8-int8"])],
)
def test_a_command_refuses_a_missing_runtime_before_any_work(
    command: object, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tflite_runtime", None)
    assert command([*words, "--runtime", "tflite-runtime"]) == ExitCode.USAGE  # type: ignore[operator]
    captured = capsys.readouterr()
    assert "the runtime tflite-runtime is not installed" in captured.err
    assert captured.out == ""
