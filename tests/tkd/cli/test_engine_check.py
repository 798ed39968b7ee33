"""The engine check of an export: made, left out with a reason, required, refused."""

import json
from pathlib import Path

import pytest

from android_bench.engine_check import EngineAnswer, Proof
from android_bench.errors import GoldenMismatchError, MissingToolError, RunnerError
from converters.bundle import read_bundle
from converters.command_line import ExitCode
from tests.tkd.cli.conftest import REASON
from tests.tkd.cli.test_export import arguments
from tests.tkd.cli.test_export_onnx import clips, model
from tkd.cli.export import main

__all__ = ["arguments", "clips", "model"]


class FakeEngine:
    """The phones' engine: remembers what it was asked for, and answers or raises."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.proofs = error, list[Proof]()

    def prove(self, proof: Proof) -> EngineAnswer:
        self.proofs.append(proof)
        if self.error is not None:
            raise self.error
        unit = "lsb" if proof.golden_output.dtype.kind == "i" else "relative"
        return EngineAnswer(engine="Engine 2", engine_sha256="e" * 64, max_error=1e-7, bound=1e-4, unit=unit)


def use(monkeypatch: pytest.MonkeyPatch, engine: FakeEngine) -> FakeEngine:
    monkeypatch.setattr("android_bench.engine_check.find_engine_check", lambda _cache: engine)
    return engine


def test_every_file_of_a_student_is_proven_and_its_bundle_says_so(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = use(monkeypatch, FakeEngine())

    assert main([*arguments, "--int8", "--engine-check", "require", "--json", str(tmp_path / "out.json")]) == 0

    assert [proof.name for proof in engine.proofs] == ["tcresnet8-float32", "tcresnet8-int8"]
    line = (
        "runs on the phones' engine, Engine 2, arm64 under emulation; against this computer: float32 1e-07, int8 0 st"
    )
    assert line in capsys.readouterr().out
    bundle = read_bundle(tmp_path / "exports" / "tcresnet8-int8")
    assert bundle.document["ops"]["device_engine"]["checked"] is True
    assert bundle.model.read_bytes() == engine.proofs[1].model
    document = json.loads((tmp_path / "out.json").read_text())["engine_check"]
    assert (document["mode"], document["why_not"], list(document["files"])) == ("require", None, ["float32", "int8"])


def test_every_file_of_a_foreign_model_is_proven(
    model: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = use(monkeypatch, FakeEngine())

    words = ["--onnx", str(model), "--calibration", str(clips), "--int8", "--output", str(tmp_path / "exports")]
    assert main(words) == ExitCode.GOOD

    assert [(proof.name, proof.golden_input.shape) for proof in engine.proofs] == [
        ("detector-float32", (4, 20, 8)),
        ("detector-int8", (4, 20, 8)),
    ]
    assert "runs on the phones' engine" in capsys.readouterr().out


@pytest.mark.parametrize(
    "error", [RunnerError("no op FULLY_CONNECTED version '12'"), GoldenMismatchError("outputs differ")]
)
def test_what_the_phones_engine_refuses_is_not_written(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
) -> None:
    use(monkeypatch, FakeEngine(error))

    assert main(arguments) == ExitCode.NO

    message = capsys.readouterr().err
    assert f"the phones' engine does not do tcresnet8-float32: {error}. Nothing was written" in message
    assert not (tmp_path / "exports").exists()


def test_where_it_cannot_be_made_one_line_says_why(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == ExitCode.GOOD
    assert f"not tried on the phones' engine: {REASON}" in capsys.readouterr().out
    document = read_bundle(tmp_path / "exports" / "tcresnet8-float32").document
    assert document["ops"]["device_engine"] == {"checked": False, "why_not": REASON}


def test_where_it_is_required_and_cannot_be_made_nothing_is_written(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--engine-check", "require"]) == ExitCode.DEVICE
    assert REASON in capsys.readouterr().err
    assert not (tmp_path / "exports").exists()


def test_where_it_is_off_nothing_is_asked_or_said(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = use(monkeypatch, FakeEngine(MissingToolError("must not be asked")))

    assert main([*arguments, "--engine-check", "off"]) == ExitCode.GOOD

    assert engine.proofs == []
    assert "phones' engine" not in capsys.readouterr().out
