import builtins
import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tkd.scoring.conftest import Exported, altered_bundle, exported, student_spec
from tkd.checkpoint import write_checkpoint
from tkd.cli.evaluate import main

__all__ = ["altered_bundle", "exported"]


def test_a_bundle_is_scored_on_its_pack_as_the_export_scored_it(
    exported: Exported, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main([str(exported.int8), "-q", "--json", "-"])

    document = json.loads(capsys.readouterr().out)
    recorded = json.loads((exported.int8 / "model.json").read_text())["accuracy"]["evaluation_pack"]["int8"]
    assert code == 0
    assert (document["clips"]["source"], document["synthetic"]) == ("evaluation pack", True)
    assert {key: document["models"][0][key] for key in recorded} == recorded


def test_every_form_of_a_model_has_the_same_scores_on_its_own_data(
    exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [exported.checkpoint, exported.float32 / "model.onnx", exported.float32]

    code = main([*map(str, paths), "-q", "--output", str(tmp_path / "out"), "--json", str(tmp_path / "scores.json")])

    out, err = capsys.readouterr()
    document = json.loads((tmp_path / "scores.json").read_text())
    assert (code, err) == (0, "")
    assert len({tuple(entry["predicted"]) for entry in document["models"]}) == 1
    assert [entry["difference"] for entry in document["comparisons"]] == [0.0, 0.0]
    assert len({round(entry["roc"]["area"], 5) for entry in document["models"]}) == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["confusion.png", "roc.png", "scores.json"]
    assert json.loads((tmp_path / "out" / "scores.json").read_text()) == document
    assert "SYNTHETIC speech" in out


def test_a_split_and_a_silence_protocol_are_taken_as_told(
    exported: Exported, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data", str(exported.corpus), "--split", "validation", "--silence", "zeros", "-q"]

    code = main([str(exported.int8), *options])

    out = capsys.readouterr().out
    assert code == 0
    assert "clips: validation split of corpus (data set)" in out
    assert "silence: zeros" in out


def _empty_split(exported: Exported, folder: Path) -> list[str]:
    shutil.copytree(exported.corpus, folder / "corpus")
    (folder / "corpus" / "testing_list.txt").write_text("")
    return [str(exported.checkpoint), "--data", str(folder / "corpus")]


def _teacher(_exported: Exported, folder: Path) -> list[str]:
    spec = student_spec(kind="teacher", name="small", features={})
    write_checkpoint(folder / "teacher.safetensors", spec, {"weight": torch.zeros(1)})
    return [str(folder / "teacher.safetensors")]


def _damaged(exported: Exported, folder: Path) -> list[str]:
    (folder / "cut.safetensors").write_bytes(exported.checkpoint.read_bytes()[:5000])
    return [str(folder / "cut.safetensors")]


def _bare(exported: Exported, folder: Path) -> list[str]:
    shutil.copy(exported.int8 / "model.tflite", folder / "bare.tflite")
    return [str(folder / "bare.tflite"), "--data", str(exported.corpus)]


def _wrong_labels(exported: Exported, folder: Path) -> list[str]:
    (folder / "labels.txt").write_text("yes\ntortoise\n")
    return [*_bare(exported, folder), "--features", "tcresnet-paper", "--labels", str(folder / "labels.txt")]


def _one_label(exported: Exported, folder: Path) -> list[str]:
    (folder / "labels.txt").write_text("yes\n")
    return [*_bare(exported, folder), "--features", "tcresnet-paper", "--labels", str(folder / "labels.txt")]


# what is wrong: (arguments, a part of the message)
BAD_INPUT = {
    "a teacher": (_teacher, "holds a teacher; expected a student"),
    "a damaged checkpoint": (_damaged, "is damaged or no safetensors file"),
    "a file without a front end": (_bare, "its front end is unknown; name the bundle's folder"),
    "labels that the data lacks": (_wrong_labels, "class 'tortoise' has no clips in split 'test'"),
    "a single label": (_one_label, "holds 1 labels; expected two or more different ones"),
    "an empty split": (_empty_split, "class 'yes' has no clips in split 'test'"),
    "no data set": (lambda e, f: [str(e.int8), "--data", str(f / "none")], "does not exist; give the folder"),
    "one run": (lambda e, f: [str(e.int8), "--runs"], "expected two or more runs to average"),
    "no such file": (lambda e, f: [str(f / "none.onnx")], "there is no file"),
    "no labels file": (lambda e, f: [str(e.int8), "--labels", str(f / "none")], "cannot be read as a list of labels"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_ends_with_2_and_one_sentence_and_writes_nothing(
    case: str, exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, message = BAD_INPUT[case]

    code = main([*arguments(exported, tmp_path), "-q", "--output", str(tmp_path / "out")])

    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert message in err
    assert err.startswith("tkd-eval: ")
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_an_altered_bundle_ends_with_2(altered_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(altered_bundle), "-q"]) == 2
    assert "was altered after the export" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [
    [], ["x", "--false-alarm-rate", "0"], ["x", "--false-alarm-rate", "much"], ["x", "--split", "trial"],
])  # fmt: skip
def test_impossible_options_end_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2


def test_a_missing_matplotlib_is_known_before_the_work(
    exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    true_import = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        return true_import(name, *rest)

    monkeypatch.delitem(sys.modules, "tkd.scoring.plots", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)

    code = main([str(exported.int8), "--output", str(tmp_path / "out")])

    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err == "tkd-eval: matplotlib is not installed; in a checkout of the project: pip install '.[report]'\n"


def test_a_reader_that_stops_reading_does_not_cost_the_files(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Closed:
        encoding = "utf-8"

        def write(self, _text: str) -> int:
            raise BrokenPipeError

        def flush(self) -> None:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    monkeypatch.setattr(sys, "stderr", io.StringIO())  # `run` closes it

    main([str(exported.int8), "-q", "--output", str(tmp_path / "out")])

    assert len(list((tmp_path / "out").iterdir())) == 3


def test_help_ends_with_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    assert "130  interrupted" in capsys.readouterr().out
