import shutil
from pathlib import Path

import pytest
import torch

from tkd.checkpoint import CheckpointSpec, write_checkpoint
from tkd.errors import CheckpointError, SettingsError
from tkd.export import choose
from tkd.export.choose import choose_checkpoint


def test_the_newest_completed_run_of_the_student_is_taken(trained_run: Path) -> None:
    choice = choose_checkpoint("tcresnet", None, trained_run.parent)
    assert choice.checkpoint.path == trained_run / "student.safetensors"
    assert f"best on validation of the newest completed run, {trained_run}" in choice.sentence()
    assert "SYNTHETIC" in choice.sentence()


def test_an_unfinished_run_is_passed_over(trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(trained_run, tmp_path / "runs" / "unfinished")
    (tmp_path / "runs" / "unfinished" / "run.json").unlink()
    monkeypatch.setattr(choose, "STARTERS", tmp_path / "none")
    with pytest.raises(CheckpointError, match=r"no completed run of tcresnet8 under .* and no starter checkpoint"):
        choose_checkpoint("tcresnet", None, tmp_path / "runs")


def test_a_damaged_record_hides_no_good_run_and_is_named(trained_run: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(trained_run, runs / "good")
    shutil.copytree(trained_run, runs / "torn")
    (runs / "torn" / "run.json").write_text('{"format": "tkd.run/1", ')
    choice = choose_checkpoint("tcresnet", None, runs)
    assert choice.checkpoint.path == runs / "good" / "student.safetensors"
    assert f"passed over, run.json cannot be read: {runs / 'torn'}" in choice.sentence()
    shutil.rmtree(runs / "good")
    assert "packaged starter checkpoint; passed over" in choose_checkpoint("tcresnet", None, runs).sentence()


def test_without_a_run_the_packaged_starter_is_taken_and_says_it_is_synthetic(tmp_path: Path) -> None:
    sentence = choose_checkpoint("tcresnet", None, tmp_path).sentence()
    assert "packaged starter checkpoint" in sentence
    assert "SYNTHETIC" in sentence


def test_a_checkpoint_that_was_named_wins(trained_run: Path, tmp_path: Path) -> None:
    path = trained_run / "student-lambda-0.safetensors"
    assert choose_checkpoint(None, path, tmp_path).checkpoint.path == path


def test_a_checkpoint_of_another_student_is_refused(trained_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    write_checkpoint(path, CheckpointSpec(kind="student", name="other", labels=("a",)), {"x": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="holds other, expected tcresnet8"):
        choose_checkpoint("tcresnet", path, tmp_path)


def test_a_teacher_cannot_be_exported(tmp_path: Path) -> None:
    path = tmp_path / "teacher.safetensors"
    write_checkpoint(path, CheckpointSpec(kind="teacher", name="t", labels=("a",)), {"x": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="holds a teacher; expected a student"):
        choose_checkpoint(None, path, tmp_path)


def test_an_unknown_student_is_answered_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="did you mean 'tcresnet'"):
        choose_checkpoint("tcresne", None, tmp_path)


def test_naming_nothing_says_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="give --student or --checkpoint"):
        choose_checkpoint(None, None, tmp_path)
