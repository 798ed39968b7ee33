"""Teachers that are taken from elsewhere, refused, or replaced by controls, through whole runs."""

import csv
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.tkd.conftest import silent
from tests.tkd.test_teacher import saved
from tkd.checkpoint import read_checkpoint, write_checkpoint
from tkd.data.noisy import NoisySettings, make_noisy, plan_noisy
from tkd.distill import DistillConfig
from tkd.errors import DataError, SettingsError, TeacherError
from tkd.teacher import TeacherConfig
from tkd.train.config import DataConfig, FitConfig, TrainConfig
from tkd.train.corpus import load_corpus
from tkd.train.record import RunResult
from tkd.train.run import run_training


@pytest.fixture(scope="session")
def noisy_corpus(spoken_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The spoken corpus at random places in two seconds of noise; read it only."""
    folder = tmp_path_factory.mktemp("noisy") / "two-seconds"
    plan = plan_noisy(spoken_corpus, NoisySettings(seconds=2, seed=1, noise=("white",)))
    make_noisy(folder, plan, jobs=2, advance=lambda _clips: None)
    return folder


def taught(config: TrainConfig, run: Path) -> TrainConfig:
    """The settings with an earlier run's teacher, as it is."""
    return replace(config, teacher=replace(config.teacher, checkpoint=str(run / "teacher.safetensors"), as_is=True))


def distilling(config: TrainConfig, **settings: object) -> TrainConfig:
    return replace(config, distill=DistillConfig(lambdas=(0.5,), accept_any_teacher=True, **settings))


@pytest.fixture
def first_run(tiny_config: TrainConfig) -> RunResult:
    return run_training(tiny_config, silent)


def test_a_teacher_taken_as_it_is_teaches_the_same_without_training(
    tiny_config: TrainConfig, first_run: RunResult, tmp_path: Path
) -> None:
    second = run_training(replace(taught(tiny_config, first_run.folder), run=str(tmp_path / "second")), silent)
    files = [run.folder / "teacher.safetensors" for run in (first_run, second)]
    assert files[0].read_bytes() == files[1].read_bytes()
    states = [read_checkpoint(run.folder / "student-lambda-0.5.safetensors").state for run in (first_run, second)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not any('"teacher"' in line for line in (second.folder / "log.jsonl").read_text().splitlines())


def test_a_teachers_training_goes_on_from_a_run_with_other_clips(
    tiny_config: TrainConfig, first_run: RunResult, noisy_corpus: Path, tmp_path: Path
) -> None:
    start = first_run.folder / "teacher.safetensors"
    further = replace(
        tiny_config,
        run=str(tmp_path / "longer"),
        data=DataConfig(folder=str(noisy_corpus)),
        teacher=replace(tiny_config.teacher, checkpoint=str(start)),
        distill=replace(tiny_config.distill, accept_any_teacher=True),
    )
    result = run_training(further, silent)
    stored = read_checkpoint(result.folder / "teacher.safetensors")
    assert stored.spec.parents == {"started_from_sha256": read_checkpoint(start).sha256}
    assert stored.spec.teacher["checkpoint"] == ""  # what it is made of, not where it came from
    assert set(stored.state) == set(read_checkpoint(start).state)
    inspection = result.teacher["inspection"]
    assert 0.1 < inspection["share_of_time"] < 0.4
    assert 0 <= inspection["peak_inside"] <= 1


def test_a_feature_encoder_stays_as_it_is_when_a_fine_tuned_teacher_learns_on(
    tiny_config: TrainConfig, tmp_path: Path
) -> None:
    few = FitConfig(steps=2, batch_size=8, validate_every=2)
    settings = TeacherConfig(checkpoint=saved(tmp_path, "wav2vec2"))
    config = replace(
        tiny_config,
        teacher=settings,
        teacher_fit=few,
        student_fit=few,
        distill=DistillConfig(lambdas=(0.5,), accept_any_teacher=True),
    )
    first = read_checkpoint(run_training(config, silent).folder / "teacher.safetensors")
    start = replace(settings, checkpoint=str(first.path))
    further = replace(config, run=str(tmp_path / "further"), teacher=start)
    second = read_checkpoint(run_training(further, silent).folder / "teacher.safetensors")
    changed = {name for name in first.state if not torch.equal(first.state[name], second.state[name])}
    assert any(".layers." in name for name in changed)
    assert not any("feature_extractor" in name for name in changed)


def test_a_teacher_of_other_labels_is_refused(tiny_config: TrainConfig, first_run: RunResult, tmp_path: Path) -> None:
    stored = read_checkpoint(first_run.folder / "teacher.safetensors")
    spec = replace(stored.spec, labels=stored.spec.labels[:-1])
    write_checkpoint(tmp_path / "teacher.safetensors", spec, stored.state)
    with pytest.raises(TeacherError, match=r"was trained for 11 labels .* and the data has 12"):
        run_training(replace(taught(tiny_config, tmp_path), run=str(tmp_path / "other")), silent)


def test_a_student_is_no_teacher(tiny_config: TrainConfig, first_run: RunResult, tmp_path: Path) -> None:
    shutil.copyfile(first_run.chosen.checkpoint, tmp_path / "teacher.safetensors")
    with pytest.raises(TeacherError, match="holds a student, expected a teacher"):
        run_training(replace(taught(tiny_config, tmp_path), run=str(tmp_path / "second")), silent)


def test_a_teacher_that_does_not_know_where_to_look_is_refused_unless_told_otherwise(
    tiny_config: TrainConfig, noisy_corpus: Path
) -> None:
    config = replace(tiny_config, data=DataConfig(folder=str(noisy_corpus)), distill=DistillConfig())
    with pytest.raises(TeacherError, match=r"not fit to teach: .*distill\.accept_any_teacher=true"):
        run_training(config, silent)
    # The teacher is kept: who accepts it does not train it again.
    kept = (Path(config.run) / "teacher.safetensors").stat().st_mtime_ns
    accepting = replace(config, distill=replace(config.distill, accept_any_teacher=True))
    result = run_training(accepting, silent, resume=True)
    assert (result.folder / "teacher.safetensors").stat().st_mtime_ns == kept


def test_controls_train_beside_the_guide_and_are_never_chosen(tiny_config: TrainConfig, noisy_corpus: Path) -> None:
    config = distilling(
        replace(tiny_config, data=DataConfig(folder=str(noisy_corpus))),
        controls=("uniform", "shuffled", "span", "logits"),
        logit_weight=0.1,
    )
    result = run_training(config, silent)
    assert [(arm.guide, arm.is_control) for arm in result.arms] == [
        ("teacher", False), ("uniform", True), ("shuffled", True), ("span", True), ("logits", True),
    ]  # fmt: skip
    assert result.chosen.guide == "teacher"
    guides = {arm.guide: read_checkpoint(arm.checkpoint) for arm in result.arms}
    assert {guide: stored.spec.parents["guide"] for guide, stored in guides.items()} == {g: g for g in guides}
    first, *others = (stored.state["stem.0.weight"] for stored in guides.values())
    assert all(not torch.equal(first, other) for other in others)


def test_a_control_that_needs_no_teacher_trains_none(tiny_config: TrainConfig, noisy_corpus: Path) -> None:
    config = replace(tiny_config, data=DataConfig(folder=str(noisy_corpus)), distill=DistillConfig(guide="span"))
    result = run_training(config, silent)
    assert result.teacher == {}
    assert not (result.folder / "teacher.safetensors").exists()
    assert read_checkpoint(result.arms[1].checkpoint).spec.parents["guide"] == "span"


@pytest.mark.parametrize("settings", [{"guide": "span"}, {"controls": ("span",)}])
def test_a_span_without_intervals_stops_before_anything_is_trained(
    tiny_config: TrainConfig, settings: dict[str, object]
) -> None:
    with pytest.raises(SettingsError, match="this data set has none"):
        run_training(replace(tiny_config, distill=DistillConfig(**settings)), silent)
    assert not list(Path(tiny_config.run).glob("*.safetensors"))


def test_a_student_with_one_moment_cannot_learn_when(tiny_config: TrainConfig) -> None:
    config = replace(tiny_config, student=replace(tiny_config.student, name="cnn-2"))
    with pytest.raises(SettingsError, match="cnn-2 has one time step"):
        run_training(config, silent)


def test_clips_that_nothing_changes_are_prepared_once_and_train_the_same(
    tiny_config: TrainConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    still = replace(
        tiny_config,
        augment=replace(tiny_config.augment, max_shift_ms=0.0, noise_probability=0.0, feature_masks=1),
        distill=DistillConfig(lambdas=(0.0,)),
    )
    prepared = run_training(still, silent)
    monkeypatch.setattr("tkd.augment.AugmentConfig.keeps_waveforms", False)
    each_time = run_training(replace(still, run=str(tmp_path / "runs" / "each-time")), silent)
    states = [read_checkpoint(run.chosen.checkpoint).state for run in (prepared, each_time)]
    assert all(torch.allclose(states[0][name], states[1][name], atol=1e-6) for name in states[0])


def test_the_corpus_knows_where_the_keywords_are(noisy_corpus: Path) -> None:
    corpus = load_corpus(DataConfig(folder=str(noisy_corpus)), silent)
    for store in corpus.stores.values():
        assert store.intervals_s is not None
        silence = corpus.labels.index("_silence_")
        assert torch.equal(store.intervals_s[:, 0].isnan(), store.labels == silence)
        known = store.intervals_s[store.labels != silence]
        assert ((known[:, 0] >= 0) & (known[:, 1] <= 2.0) & (known[:, 1] > known[:, 0])).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[:-40], "does not name"),
        (lambda rows: [[name, "1.9" if start else "", "2.4" if start else "", *rest] for name, start, _, *rest in rows],
         "is at 1.9 to 2.4 s, and the clip is 2 s long"),
        (lambda rows: [[name, "soon", *rest] for name, _, *rest in rows], "cannot be read as intervals"),
    ],
)  # fmt: skip
def test_intervals_that_disagree_with_the_clips_are_named(
    noisy_corpus: Path, tmp_path: Path, change: object, message: str
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(noisy_corpus, folder)
    with (folder / "intervals.csv").open(newline="") as stream:
        head, *rows = csv.reader(stream)
    with (folder / "intervals.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([head, *change(rows)])
    with pytest.raises(DataError, match=message):
        load_corpus(DataConfig(folder=str(folder)), silent)


def test_a_raw_waveform_teacher_comes_through_the_same_code(tiny_config: TrainConfig) -> None:
    config = replace(
        tiny_config,
        teacher=replace(tiny_config.teacher, stem="waveform", layers=1),
        teacher_fit=FitConfig(steps=2, batch_size=8, validate_every=2),
        distill=replace(tiny_config.distill, accept_any_teacher=True),
    )
    result = run_training(config, silent)
    assert read_checkpoint(result.folder / "teacher.safetensors").spec.name.endswith("waveform stem")
    assert math.isfinite(result.teacher["inspection"]["sharpness_nats"])
