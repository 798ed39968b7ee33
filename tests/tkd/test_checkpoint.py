from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tkd.audio.features import FEATURES
from tkd.checkpoint import CheckpointSpec, load_student, read_checkpoint, write_checkpoint
from tkd.data.speech_commands import TWELVE_LABELS
from tkd.errors import CheckpointError
from tkd.students import build_student

FEATURE_DICT = FEATURES["tcresnet-paper"].to_dict()


def spec(**changes: object) -> CheckpointSpec:
    values = {"kind": "student", "name": "tcresnet8", "labels": TWELVE_LABELS, "features": FEATURE_DICT, **changes}
    return CheckpointSpec(**values)  # type: ignore[arg-type]


def test_a_student_comes_back_with_its_spec_and_the_same_logits(tmp_path: Path) -> None:
    student = build_student("tcresnet8", 40, 12).eval()
    path = tmp_path / "student.safetensors"
    digest = write_checkpoint(path, spec(data={"synthetic": True}), student.state_dict())
    stored = read_checkpoint(path)
    inputs = torch.randn(2, 98, 40)
    assert (stored.sha256, stored.spec.labels, stored.spec.synthetic) == (digest, TWELVE_LABELS, True)
    assert torch.equal(load_student(stored)(inputs), student(inputs))


@pytest.mark.parametrize(
    ("parents", "teacher", "weight"),
    [
        ({}, None, None),
        ({"lambda": 0.0, "teacher_sha256": None}, None, 0.0),
        ({"lambda": 0.0, "start": {"lambda": 0.1, "teacher_sha256": "old"}}, "old", 0.1),
        ({"lambda": 0.0, "start": {"lambda": 0.0, "start": {"lambda": 0.5, "teacher_sha256": "old"}}}, "old", 0.5),
        ({"lambda": 0.25, "teacher_sha256": "new", "start": {"lambda": 0.1, "teacher_sha256": "old"}}, "new", 0.25),
        ({"lambda": 0.0, "start_sha256": "abc", "start": {}}, None, 0.0),
    ],
)
def test_the_teacher_of_a_start_is_not_forgotten(
    parents: dict[str, object], teacher: str | None, weight: float | None
) -> None:
    assert spec(parents=parents).teaching == {"lambda": weight, "teacher_sha256": teacher}


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        read_checkpoint(tmp_path / "none.safetensors")


@pytest.mark.parametrize("keep", [0, 7, 200, 5000])
def test_a_cut_checkpoint_is_damaged_and_never_half_loaded(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "student.safetensors"
    write_checkpoint(path, spec(), build_student("tcresnet8", 40, 12).state_dict())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="is damaged or no safetensors file"):
        read_checkpoint(path)


def test_a_safetensors_file_of_somebody_else_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="not a checkpoint of ours"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("{", "has a header that cannot be read"),
        ('{"format": "tkd.checkpoint/9"}', "has format 'tkd.checkpoint/9'"),
        ('{"format": "tkd.checkpoint/1", "kind": "student"}', "has a header that cannot be read"),
    ],
)
def test_a_header_of_another_version_or_kind_is_refused(tmp_path: Path, header: str, message: str) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata={"tkd": header})
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert message in str(caught.value)


def test_weights_that_do_not_fit_the_named_student_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "student.safetensors"
    write_checkpoint(path, spec(), build_student("tcresnet8", 40, 5).state_dict())
    with pytest.raises(CheckpointError, match="does not fit tcresnet8"):
        load_student(read_checkpoint(path))


def test_a_teacher_is_no_student(tmp_path: Path) -> None:
    path = tmp_path / "teacher.safetensors"
    write_checkpoint(path, spec(kind="teacher"), {"x": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="holds a teacher, expected a student"):
        load_student(read_checkpoint(path))
