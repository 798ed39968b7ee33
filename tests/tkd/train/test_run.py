import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from converters.command_line import Advance
from tests.tkd.conftest import silent
from tkd.checkpoint import load_student, read_checkpoint
from tkd.errors import CheckpointError, DataError, SettingsError
from tkd.train.config import TrainConfig
from tkd.train.record import newest_run, read_run
from tkd.train.run import run_training


@contextmanager
def interrupting(title: str, total: int) -> Iterator[Advance]:
    """A display whose user presses Ctrl-C after the fourth step of the distilled student."""
    seen = 0

    def advance(steps: int) -> None:
        nonlocal seen
        seen += steps
        if title == "student-lambda-0.5" and seen == 4:
            raise KeyboardInterrupt

    yield advance


def test_a_run_leaves_a_teacher_its_attention_every_student_and_a_record(tiny_config: TrainConfig) -> None:
    result = run_training(tiny_config, silent)
    folder = Path(tiny_config.run)
    assert {path.name for path in folder.iterdir()} == {
        "attention", "attention.png", "config.json", "log.jsonl", "run.json", "student-lambda-0.5.safetensors",
        "student-lambda-0.safetensors", "student.safetensors", "teacher.safetensors", "tensorboard",
    }  # fmt: skip
    assert [arm.weight for arm in result.arms] == [0.0, 0.5]
    assert result.chosen.validation == max(arm.validation for arm in result.arms)
    assert read_run(folder) == result
    assert newest_run(folder.parent, "tcresnet8") == (result, ())


def test_the_students_checkpoint_says_where_it_comes_from(tiny_config: TrainConfig) -> None:
    run_training(tiny_config, silent)
    folder = Path(tiny_config.run)
    plain, distilled = (read_checkpoint(folder / f"student-lambda-{weight}.safetensors") for weight in ("0", "0.5"))
    assert plain.spec.synthetic
    assert plain.spec.parents == {"lambda": 0.0, "guide": None, "teacher_sha256": None}
    assert distilled.spec.parents["teacher_sha256"] == read_checkpoint(folder / "teacher.safetensors").sha256
    assert distilled.spec.data["silence"] == "noise"
    assert "query.query" not in distilled.state
    assert load_student(distilled)(torch.zeros(1, 98, 40)).shape == (1, 12)


@pytest.mark.parametrize("left", [None, b"another student"])
def test_a_completed_run_whose_student_has_gone_is_not_shown_as_whole(
    tiny_config: TrainConfig, left: bytes | None
) -> None:
    result = run_training(tiny_config, silent)
    assert run_training(tiny_config, silent, resume=True) == result
    student = result.folder / "student.safetensors"
    student.unlink()
    if left is not None:
        student.write_bytes(left)
    with pytest.raises(CheckpointError, match=r"student\.safetensors is missing or not the one"):
        run_training(tiny_config, silent, resume=True)


def test_an_interrupted_run_resumes_to_the_same_students(tiny_config: TrainConfig, tmp_path: Path) -> None:
    unbroken = replace(tiny_config, run=str(tmp_path / "runs" / "unbroken"))
    run_training(unbroken, silent)
    with pytest.raises(KeyboardInterrupt):
        run_training(tiny_config, interrupting)
    assert not (Path(tiny_config.run) / "run.json").exists()
    run_training(tiny_config, silent, resume=True)
    for name in ("student-lambda-0.safetensors", "student-lambda-0.5.safetensors", "teacher.safetensors"):
        expected = read_checkpoint(Path(unbroken.run) / name).state
        resumed = read_checkpoint(Path(tiny_config.run) / name).state
        assert all(torch.equal(resumed[key], expected[key]) for key in expected)


def test_a_completed_run_is_recalled_not_repeated(tiny_config: TrainConfig) -> None:
    first = run_training(tiny_config, silent)
    assert run_training(tiny_config, silent, resume=True).document == first.document


def test_a_folder_that_holds_a_run_is_never_written_over_unasked(tiny_config: TrainConfig) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_training(tiny_config, interrupting)
    with pytest.raises(SettingsError, match="holds an unfinished run; --resume continues it, --restart deletes it"):
        run_training(tiny_config, silent)


def test_a_resume_with_changed_settings_is_refused(tiny_config: TrainConfig) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_training(tiny_config, interrupting)
    with pytest.raises(CheckpointError, match="holds an unfinished run of other settings"):
        run_training(replace(tiny_config, seed=2), silent, resume=True)


@pytest.mark.parametrize("name", ["thesis.txt", "config.json"])
def test_a_restart_deletes_only_a_folder_that_is_a_runs(tiny_config: TrainConfig, name: str) -> None:
    folder = Path(tiny_config.run)
    folder.mkdir(parents=True)
    (folder / name).write_text('{"model_type": "wav2vec2"}')
    with pytest.raises(SettingsError, match="is not empty and not the folder of a run"):
        run_training(tiny_config, silent, restart=True)
    assert (folder / name).read_text() == '{"model_type": "wav2vec2"}'


def test_a_file_in_place_of_the_folder_is_named_before_any_clip_is_read(tiny_config: TrainConfig) -> None:
    file = Path(tiny_config.run)
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    with pytest.raises(SettingsError, match="is a file, expected the folder of a run"):
        run_training(tiny_config, silent)
    assert file.read_text() == "mine"


def test_a_missing_data_set_leaves_no_half_run_that_blocks_the_next(tiny_config: TrainConfig, tmp_path: Path) -> None:
    broken = replace(tiny_config, data=replace(tiny_config.data, folder=str(tmp_path / "nowhere")))
    with pytest.raises(DataError, match="nowhere"):
        run_training(broken, silent)
    assert not Path(tiny_config.run).exists()


RECORD = b'{"format": "tkd.run/1", "arms": [{"lambda": 0, "checkpoint": "a", "validation": 1, "test": {}}], '


@pytest.mark.parametrize(
    "content",
    [
        b"{", b"{}", b"[]", b'{"format": "tkd.run/9"}', b"\xff\xfe\x00", RECORD + b'"chosen_lambda": 0}',
        RECORD + b'"chosen_lambda": 0, "teacher": {}, "student": "tcresnet8"}',
        RECORD + b'"chosen_lambda": 0, "teacher": {}, "student": "tcresnet8", "finished_unix_s": "noon"}',
    ],
)  # fmt: skip
def test_a_record_that_cannot_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"run\.json"):
        read_run(tmp_path)


def test_the_log_holds_one_json_object_a_line(tiny_config: TrainConfig) -> None:
    run_training(tiny_config, silent)
    lines = (Path(tiny_config.run) / "log.jsonl").read_text().splitlines()
    stages = {json.loads(line)["stage"] for line in lines}
    assert stages == {"teacher", "student-lambda-0", "student-lambda-0.5"}


def plain(config: TrainConfig, run: str, **student: str) -> TrainConfig:
    """The same without a teacher, with another student."""
    return replace(
        config,
        run=str(Path(config.run).with_name(run)),
        student=replace(config.student, **student),
        distill=replace(config.distill, lambdas=(0.0,)),
    )


def test_a_recurrence_goes_on_training_after_other_clips_from_where_it_was(tiny_config: TrainConfig) -> None:
    first = plain(tiny_config, "first", name="lstm-p-reduced")
    start = run_training(first, silent).folder / "student.safetensors"
    going_on = plain(tiny_config, "second", name="lstm-p-reduced", checkpoint=str(start))
    going_on = replace(
        going_on,
        augment=replace(going_on.augment, max_lead_in_clips=2),
        student_fit=replace(going_on.student_fit, learning_rate=1e-12, weight_decay=0.0),
    )

    ended = read_checkpoint(run_training(going_on, silent).folder / "student.safetensors")

    before = read_checkpoint(start)
    assert before.state.keys() == ended.state.keys()
    for name, weights in before.state.items():
        torch.testing.assert_close(ended.state[name], weights)
    assert ended.spec.training["augment"]["max_lead_in_clips"] == 2
    assert ended.spec.parents["start_sha256"] == before.sha256
    assert ended.spec.parents["start"] == before.spec.parents


def test_a_checkpoint_of_something_else_is_no_start(tiny_config: TrainConfig) -> None:
    with pytest.raises(
        SettingsError, match=r"starter.* is a tcresnet8 of 12 classes; expected tcresnet8 .* same front"
    ):
        student = {"checkpoint": "starter", "features": "kws-streaming"}
        run_training(plain(tiny_config, "other-features", **student), silent)
    with pytest.raises(SettingsError, match=r"no checkpoint of lstm-p-reduced is packaged: .* goes with att-rnn, "):
        run_training(plain(tiny_config, "unpackaged", name="lstm-p-reduced", checkpoint="starter"), silent)
    with pytest.raises(CheckpointError, match=r"there is no checkpoint nowhere\.safetensors"):
        run_training(plain(tiny_config, "missing", checkpoint="nowhere.safetensors"), silent)


@pytest.mark.parametrize("name", ["tcresnet8", "tcresnet8-causal", "att-rnn-reduced"])
def test_a_network_without_a_memory_of_earlier_clips_takes_no_lead_in(tiny_config: TrainConfig, name: str) -> None:
    wrong = plain(tiny_config, "wrong", name=name)
    with pytest.raises(SettingsError, match=f"{name} has no memory of the clips before"):
        run_training(replace(wrong, augment=replace(wrong.augment, max_lead_in_clips=1)), silent)
