import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from converters.command_line import Advance, ExitCode
from tests.tkd.conftest import silent
from tkd.cli.train import main
from tkd.errors import CheckpointError, DataError, SettingsError, TkdError
from tkd.train import fit
from tkd.train.sweep import ROWS, SWEEP_FORMAT, Sweep, plan_sweep, read_axis, read_rows, run_sweep

CONFIG = """
run = "{run}"
[data]
folder = "{data}"
cache = "off"
[student]
name = "tcresnet8"
[student_fit]
steps = 2
batch_size = 8
validate_every = 1
[distill]
lambdas = [0.0]
"""
FOUR = ("student.name=tcresnet8,ds-cnn-s", "seed=1,2")


@pytest.fixture
def config(tmp_path: Path, small_corpus: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(CONFIG.format(run=tmp_path / "sweep", data=small_corpus))
    return path


def planned(config: Path, *axes: str) -> Sweep:
    return plan_sweep(config, [], [read_axis(text) for text in axes])


@contextmanager
def interrupted_in_the_third(title: str, total: int) -> Iterator[Advance]:
    if title.startswith("3/4 student"):
        raise KeyboardInterrupt
    yield lambda _steps: None


def test_every_combination_runs_in_its_own_folder_and_leaves_a_row(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ExitCode.GOOD == main([str(config), "-q", "--sweep", FOUR[0], "--sweep", FOUR[1]])

    rows = [json.loads(line) for line in (tmp_path / "sweep" / ROWS).read_text().splitlines()]
    assert [("tcresnet8", 1), ("tcresnet8", 2), ("ds-cnn-s", 1), ("ds-cnn-s", 2)] == [
        (row["student"], row["seed"]) for row in rows
    ]
    assert {(SWEEP_FORMAT, "accuracy")} == {(row["format"], row["metric"]) for row in rows}
    assert all((tmp_path / "sweep" / row["run"] / "run.json").exists() for row in rows)
    out = capsys.readouterr().out
    assert "4 runs, test in %, by accuracy" in out
    assert "ds-cnn-s" in out


def test_an_interrupted_sweep_keeps_whole_rows_and_repeats_nothing_that_is_finished(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = planned(config, *FOUR)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(sweep, interrupted_in_the_third)
    kept = read_rows(tmp_path / "sweep" / ROWS)
    assert ["student.name-tcresnet8+seed-1", "student.name-tcresnet8+seed-2"] == list(kept)
    (tmp_path / "sweep" / ".student.name-mhatt-rnn+seed-1.lock").touch()  # as a run that was killed leaves it
    with pytest.raises(SettingsError, match="holds a sweep; --resume continues it"):
        run_sweep(sweep, silent)
    started = []
    original = fit.make_optimiser
    monkeypatch.setattr(fit, "make_optimiser", lambda *args: (started.append(1), original(*args))[1])

    rows = run_sweep(sweep, silent, resume=True)

    assert 2 == len(started)
    assert list(kept.values()) == rows[:2]
    assert rows == list(read_rows(tmp_path / "sweep" / ROWS).values())


def test_values_can_be_added_to_a_finished_sweep(config: Path, tmp_path: Path) -> None:
    run_sweep(planned(config, "seed=1"), silent)
    rows = run_sweep(planned(config, "seed=2"), silent, resume=True)
    assert ["seed-2"] == [row["run"] for row in rows]
    assert ["seed-1", "seed-2"] == list(read_rows(tmp_path / "sweep" / ROWS))


@pytest.mark.parametrize(("axes", "message"), [
    (["student.nam=a,b"], "no setting is called 'nam'; did you mean 'name'"),
    (["seed=1", "student.name=tcresnet8,tcresnt14"], "no student is called 'tcresnt14'"),
    (["seed=1,many"], "seed: expected int, saw 'many'"),
    (["seed"], "expected table.key=value,value"),
    (["seed=1,,2"], "expected table.key=value,value"),
    (["seed=1,1"], "1 is there twice"),
    (["seed=1", "seed=2"], "--sweep seed is there twice"),
    (["run=a,b"], "each run of a sweep has its folder from what is swept"),
    (["student.name=tcresnet8,\"tcresnet8\""], "are the same run"),
])  # fmt: skip
def test_a_bad_sweep_is_refused_before_anything_starts(
    config: Path, tmp_path: Path, axes: list[str], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        planned(config, *axes)
    assert not (tmp_path / "sweep").exists()


def test_a_data_set_that_is_missing_is_found_before_the_first_run(config: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        planned(config, f"data.folder={tmp_path / 'corpus'},{tmp_path / 'nowhere'}")


def test_values_that_differ_by_their_sign_have_folders_of_their_own(config: Path) -> None:
    names = [trial.name for trial in planned(config, "distill.layer=-1,1").trials]
    assert names == ["distill.layer--1", "distill.layer-1"]


def test_a_setting_cannot_be_both_set_and_swept(config: Path) -> None:
    with pytest.raises(SettingsError, match="--set seed and --sweep seed contradict each other"):
        plan_sweep(config, ["seed=3"], [read_axis("seed=1,2")])


def test_changed_settings_are_refused_before_the_first_run(config: Path, tmp_path: Path) -> None:
    run_sweep(planned(config, "seed=1"), silent)
    before = (tmp_path / "sweep" / ROWS).read_bytes()
    config.write_text(config.read_text().replace("steps = 2", "steps = 3"))
    with pytest.raises(CheckpointError, match="of other settings"):
        run_sweep(planned(config, "seed=2,1"), silent, resume=True)
    assert before == (tmp_path / "sweep" / ROWS).read_bytes()
    assert not (tmp_path / "sweep" / "seed-2").exists()


def test_a_restart_deletes_only_a_sweep(config: Path, tmp_path: Path) -> None:
    (tmp_path / "sweep" / "other-run").mkdir(parents=True)
    (tmp_path / "sweep" / "other-run" / "config.json").write_text("{}")
    with pytest.raises(SettingsError, match="not the folder of a sweep"):
        run_sweep(planned(config, "seed=1"), silent, restart=True)
    assert (tmp_path / "sweep" / "other-run" / "config.json").exists()


def test_a_run_that_fails_is_named_and_the_rows_before_it_stay(config: Path, tmp_path: Path) -> None:
    with pytest.raises(TkdError, match=r"run 2 of 2, student_fit.learning_rate-1e30: .*the loss is"):
        run_sweep(planned(config, "student_fit.learning_rate=1e-3,1e30"), silent)
    assert 1 == len(read_rows(tmp_path / "sweep" / ROWS))


@pytest.mark.parametrize("line", ["{", "{}", '{"format": "tkd.sweep/9", "run": "a"}'])
def test_rows_that_cannot_be_read_are_named(tmp_path: Path, line: str) -> None:
    (tmp_path / ROWS).write_text(line + "\n")
    with pytest.raises(CheckpointError, match=r"sweep.jsonl line 1"):
        read_rows(tmp_path / ROWS)
