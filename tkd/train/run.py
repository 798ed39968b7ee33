"""A whole training run: data → teacher → its attention → one student for each λ → the best, tested.

    data ──► teacher.safetensors ──► attention/ ──► student-lambda-<λ>.safetensors ──► student.safetensors
                                                        (the best on validation)         run.json

Every arrow leaves a file, so that a run that was interrupted continues where it was.
λ is chosen on the validation split; the test split is scored once for each λ, and all are kept in `run.json`.
Before this: `tkd.train.config`. After this: `tkd.export` takes the best checkpoint of the newest completed run.
Tested in `tests/tkd/train/test_run.py`.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from converters.command_line import Advance
from converters.files import sha256_of, whole_file, write_text
from tkd.audio.features import FeatureConfig, FrontEnd, find_features
from tkd.checkpoint import CheckpointSpec, read_checkpoint, write_checkpoint
from tkd.errors import CheckpointError, SettingsError
from tkd.evaluate import predict, score
from tkd.provenance import git_state, tool_versions
from tkd.settings import to_table
from tkd.students import Student, build_student, find_student
from tkd.teacher import Teacher, build_teacher, rebuild_teacher
from tkd.train.attention_cache import cached_attention
from tkd.train.batches import Batches, mix_seeds
from tkd.train.config import FitConfig, TrainConfig
from tkd.train.corpus import Corpus, load_corpus
from tkd.train.fit import Fitted, Objective, Place, fit
from tkd.train.log import RunLog
from tkd.train.objectives import Held, Lesson, StudentObjective, TeacherObjective

RUN_FORMAT = "tkd.run/1"
_TOOLS = ("torch", "transformers", "librosa", "numpy", "safetensors")

Display = Callable[[str, int], AbstractContextManager[Advance]]
"""Opens a progress display with a title and a number of steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One student of a run.

    Attributes:
        weight: λ.
        checkpoint: its file.
        validation: accuracy on the validation split, in [0, 1], by which λ is chosen.
        test: scores on the test split, as `Scores.to_dict` gives them.
    """

    weight: float
    checkpoint: Path
    validation: float
    test: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """A completed run.

    Attributes:
        folder: of the run.
        student: its student's name.
        arms: one student for each λ, in the order of the settings.
        chosen: the arm that was best on validation.
        teacher: validation and test accuracy of the teacher; empty where none was needed.
        document: what stands in `run.json`.
    """

    folder: Path
    student: str
    arms: tuple[Arm, ...]
    chosen: Arm
    teacher: dict[str, Any]
    document: dict[str, Any]


def run_training(config: TrainConfig, display: Display, *, restart: bool = False, resume: bool = False) -> RunResult:
    """Runs, continues or recalls a training run.

    Args:
        config: the settings.
        display: shows progress.
        restart: deletes what the folder holds of an earlier run.
        resume: continues an interrupted run of the same settings; a completed one is recalled.

    Raises:
        SettingsError: the folder holds a run and neither `restart` nor `resume` was asked for.
        CheckpointError: what is to be resumed was made with other settings or is damaged.
    """
    folder = Path(config.run)
    finished = _prepare_folder(folder, config, restart=restart, resume=resume)
    if finished is not None:
        return finished
    seconds: dict[str, float] = {}
    with RunLog(folder) as log:
        run = _Run(config=config, folder=folder, display=display, log=log, seconds=seconds)
        corpus = run.timed("data", lambda: load_corpus(config.data, display))
        return run.everything(corpus)


def read_run(folder: Path) -> RunResult:
    """The completed run in a folder.

    Raises:
        CheckpointError: there is none, or its record cannot be read.
    """
    path = folder / "run.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != RUN_FORMAT:
            raise CheckpointError(f"{path} has format {document['format']!r}, this version reads {RUN_FORMAT!r}")
        arms = tuple(
            Arm(
                weight=arm["lambda"],
                checkpoint=folder / arm["checkpoint"],
                validation=arm["validation"],
                test=arm["test"],
            )
            for arm in document["arms"]
        )
        chosen = next(arm for arm in arms if arm.weight == document["chosen_lambda"])
    except FileNotFoundError as cause:
        raise CheckpointError(f"{folder} holds no completed run (no run.json)") from cause
    except (json.JSONDecodeError, KeyError, TypeError, StopIteration) as cause:
        raise CheckpointError(f"{path} cannot be read: {type(cause).__name__}: {cause}") from cause
    return RunResult(
        folder=folder,
        student=document["student"],
        arms=arms,
        chosen=chosen,
        teacher=document["teacher"],
        document=document,
    )


def newest_run(runs: Path, student: str) -> RunResult | None:
    """The newest completed run of a student in a folder of runs; None when there is none."""
    found = [read_run(path.parent) for path in runs.glob("*/run.json")]
    ours = [run for run in found if run.student == student]
    return max(ours, key=lambda run: float(run.document["finished_unix_s"]), default=None)


def _prepare_folder(folder: Path, config: TrainConfig, *, restart: bool, resume: bool) -> RunResult | None:
    """The completed run that is already there; else None, with the folder ready to work in."""
    settings = folder / "config.json"
    if restart and settings.exists():
        shutil.rmtree(folder)
    if settings.exists():
        if not resume:
            state = "a completed" if (folder / "run.json").exists() else "an unfinished"
            raise SettingsError(f"{folder} holds {state} run; --resume continues it, --restart deletes it and begins anew")
        if _stored_digest(settings) != config.digest():
            raise CheckpointError(f"{folder} was run with other settings; --restart deletes it, or set run=\"…\" anew")
        if (folder / "run.json").exists():
            return read_run(folder)
    write_text(settings, json.dumps({"digest": config.digest(), **to_table(config)}, indent=2) + "\n")
    return None


def _stored_digest(settings: Path) -> str:
    try:
        return str(json.loads(settings.read_text(encoding="utf-8"))["digest"])
    except (json.JSONDecodeError, KeyError, TypeError) as cause:
        raise CheckpointError(f"{settings} cannot be read ({cause}); --restart begins anew") from cause


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """One run in progress: its settings, its folder, and where progress and numbers go."""

    config: TrainConfig
    folder: Path
    display: Display
    log: RunLog
    seconds: dict[str, float]

    def timed(self, stage: str, work: Callable[[], Any]) -> Any:
        """What `work` returns; its wall time is added to the stage's seconds."""
        start = time.monotonic()
        try:
            return work()
        finally:
            self.seconds[stage] = round(time.monotonic() - start, 1)

    def everything(self, corpus: Corpus) -> RunResult:
        """Teacher, attention, students, choice, test, `run.json`."""
        spec = find_student(self.config.student.name)
        features = find_features(self.config.student.features or spec.features)
        lesson, teacher = (None, {})
        if self.config.needs_teacher:
            lesson, teacher = self._teach(corpus)
        front_end = FrontEnd(features)
        prepared = {
            split: Held(inputs=_features(front_end, corpus, split), labels=corpus.stores[split].labels)
            for split in ("validation", "test")
        }
        arms = tuple(
            self.timed(
                f"student λ={weight:g}",
                lambda weight=weight: self._student(corpus, front_end, prepared, lesson, teacher, weight),
            )
            for weight in self.config.distill.lambdas
        )
        chosen = max(arms, key=lambda arm: arm.validation)
        with whole_file(self.folder / "student.safetensors") as partial:
            shutil.copyfile(chosen.checkpoint, partial)
        return self._finish(spec.name, features, corpus, arms, chosen, teacher)

    def _teach(self, corpus: Corpus) -> tuple[Lesson, dict[str, Any]]:
        path = self.folder / "teacher.safetensors"
        if path.exists():
            teacher, scores, digest = _read_teacher(path, self.config, len(corpus.labels))
        else:
            teacher, scores, digest = self.timed("teacher", lambda: self._train_teacher(corpus, path))
        store = corpus.stores["train"]
        with self.display("teacher's attention", len(store)) as advance:
            attention, _ = self.timed(
                "attention", lambda: cached_attention(self.folder / "attention", teacher, digest, store, advance)
            )
        lesson = Lesson(attention=attention, samples=store.waveforms.shape[1])
        return lesson, {"checkpoint": path.name, "sha256": digest, **scores}

    def _train_teacher(self, corpus: Corpus, path: Path) -> tuple[Teacher, dict[str, Any], str]:
        torch.manual_seed(mix_seeds(self.config.seed, 10))
        teacher = build_teacher(self.config.teacher, len(corpus.labels))
        validation = _held_waveforms(corpus, "validation")
        settings = self.config.teacher_fit
        objective = TeacherObjective(teacher, validation, settings.label_smoothing)
        batches = self._batches(corpus, settings, lambda waveforms: waveforms)
        fitted = self._fit("teacher", objective, batches, settings)
        teacher.load_state_dict(fitted.state)
        test = _held_waveforms(corpus, "test")
        test_scores = score(predict(teacher, test.inputs), test.labels.numpy(), corpus.labels)
        scores = {"validation": fitted.accuracy, "test": test_scores.to_dict()}
        encoder_config = teacher.encoder.config.to_dict()  # type: ignore[union-attr, operator]
        spec = CheckpointSpec(
            kind="teacher",
            name=self.config.teacher.checkpoint or "wav2vec 2.0, small, log-mel stem",
            labels=corpus.labels,
            teacher={**to_table(self.config.teacher), "encoder_config": json.loads(json.dumps(encoder_config, default=str))},
            data=corpus.description,
            training=to_table(self.config),
            scores=scores,
            tools=tool_versions(_TOOLS),
            git=git_state(),
        )
        digest = write_checkpoint(path, spec, fitted.state)
        return teacher, scores, digest

    def _student(
        self,
        corpus: Corpus,
        front_end: FrontEnd,
        prepared: dict[str, Held],
        lesson: Lesson | None,
        teacher: dict[str, Any],
        weight: float,
    ) -> Arm:
        path = self.folder / f"student-lambda-{weight:g}.safetensors"
        if path.exists():
            scores = read_checkpoint(path).spec.scores
            return Arm(weight=weight, checkpoint=path, validation=scores["validation"], test=scores["test"])
        torch.manual_seed(mix_seeds(self.config.seed, 20))  # the same initial weights for every λ
        student = build_student(self.config.student.name, front_end.config.channels, len(corpus.labels))
        settings = self.config.student_fit
        objective = StudentObjective(
            student, prepared["validation"], settings.label_smoothing, lesson, weight, self.config.distill
        )
        batches = self._batches(corpus, settings, front_end)
        fitted = self._fit(f"student λ={weight:g}", objective, batches, settings)
        state = objective.student_state(fitted.state)
        student.load_state_dict(state)
        test = prepared["test"]
        test_scores = score(predict(student, test.inputs), test.labels.numpy(), corpus.labels).to_dict()
        scores = {"validation": fitted.accuracy, "test": test_scores}
        parents = {"teacher_sha256": teacher.get("sha256") if weight > 0 else None, "lambda": weight}
        spec = self._student_spec(student, front_end.config, corpus, scores, parents)
        write_checkpoint(path, spec, state)
        return Arm(weight=weight, checkpoint=path, validation=fitted.accuracy, test=test_scores)

    def _student_spec(
        self,
        student: Student,
        features: FeatureConfig,
        corpus: Corpus,
        scores: dict[str, Any],
        parents: dict[str, Any],
    ) -> CheckpointSpec:
        del student  # its shape follows from name, features and labels
        return CheckpointSpec(
            kind="student",
            name=find_student(self.config.student.name).name,
            labels=corpus.labels,
            features=features.to_dict(),
            data=corpus.description,
            training=to_table(self.config),
            scores=scores,
            parents=parents,
            tools=tool_versions(_TOOLS),
            git=git_state(),
        )

    def _batches(self, corpus: Corpus, settings: FitConfig, prepare: Callable[[torch.Tensor], torch.Tensor]) -> Batches:
        return Batches(corpus.stores["train"], self.config.augment, settings.batch_size, self.config.seed, prepare)

    def _fit(self, stage: str, objective: Objective, batches: Batches, settings: FitConfig) -> Fitted:
        state_path = self.folder / f"state-{stage.replace(' λ=', '-lambda-')}.pt"
        with self.display(stage, settings.steps) as advance:
            place = Place(
                state_path=state_path, stage=stage, log=self.log, digest=self.config.digest(), advance=advance
            )
            fitted = fit(objective, batches, settings, self.config.seed, place)
        state_path.unlink()
        return fitted

    def _finish(
        self,
        student: str,
        features: FeatureConfig,
        corpus: Corpus,
        arms: tuple[Arm, ...],
        chosen: Arm,
        teacher: dict[str, Any],
    ) -> RunResult:
        document = {
            "format": RUN_FORMAT,
            "student": student,
            "features": features.to_dict(),
            "data": corpus.description,
            "teacher": teacher,
            "arms": [
                {
                    "lambda": arm.weight,
                    "checkpoint": arm.checkpoint.name,
                    "sha256": sha256_of(arm.checkpoint),
                    "validation": arm.validation,
                    "test": arm.test,
                }
                for arm in arms
            ],
            "chosen_lambda": chosen.weight,
            "seconds": self.seconds,
            "finished_unix_s": round(time.time(), 1),
            "settings": to_table(self.config),
            "tools": tool_versions(_TOOLS),
            "git": git_state(),
        }
        write_text(self.folder / "run.json", json.dumps(document, indent=2, sort_keys=True) + "\n")
        return dataclasses.replace(read_run(self.folder))


def _features(front_end: FrontEnd, corpus: Corpus, split: str) -> torch.Tensor:
    """Features of a whole split, unaugmented, shape (clips, frames, channels)."""
    store = corpus.stores[split]
    with torch.no_grad():
        return torch.cat([front_end(store.clips(slice(i, i + 500))) for i in range(0, len(store), 500)])


def _held_waveforms(corpus: Corpus, split: str) -> Held:
    store = corpus.stores[split]
    return Held(inputs=store.clips(slice(None)), labels=store.labels)


def _read_teacher(path: Path, config: TrainConfig, classes: int) -> tuple[Teacher, dict[str, Any], str]:
    stored = read_checkpoint(path)
    teacher = rebuild_teacher(config.teacher, stored.spec.teacher["encoder_config"], classes)
    try:
        teacher.load_state_dict(stored.state)
    except RuntimeError as cause:
        raise CheckpointError(f"{path} does not fit the teacher of these settings; --restart begins anew") from cause
    return teacher, stored.spec.scores, stored.sha256
