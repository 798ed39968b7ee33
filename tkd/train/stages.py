"""The stages of a run: data → teacher → its attention → one student for each λ → the best, tested.

    data ──► teacher.safetensors ──► attention/ ──► student-lambda-<λ>.safetensors ──► student.safetensors
                                                        (the best on validation)         run.json

Every arrow leaves a file, so that a run that was interrupted continues where it was.
λ is chosen on the validation split; the test split is scored once for each λ, and all are kept in `run.json`.
Before this: `tkd.train.run`. After this: `tkd.export` takes the student of the newest completed run.
Tested in `tests/tkd/train/test_run.py`.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from converters.files import sha256_of, whole_file, write_text
from tkd.audio.batched import features_of
from tkd.audio.features import FrontEnd, find_features
from tkd.checkpoint import CheckpointSpec, read_checkpoint, write_checkpoint
from tkd.errors import CheckpointError
from tkd.evaluate import metric_of, predict, score_any
from tkd.provenance import git_state, tool_versions
from tkd.settings import to_table
from tkd.students import Student, StudentSpec, build_student, find_student
from tkd.teacher import Teacher, build_teacher, rebuild_teacher
from tkd.train.attention_cache import cached_attention
from tkd.train.batches import Batches, mix_seeds
from tkd.train.config import FitConfig, TrainConfig
from tkd.train.corpus import Corpus, Display
from tkd.train.fit import Fitted, Objective, Place, fit
from tkd.train.log import RunLog
from tkd.train.objectives import Held, Lesson, StudentObjective, TeacherObjective
from tkd.train.processes import ALONE, Processes
from tkd.train.record import RUN_FORMAT, Arm, RunResult, read_run

_TOOLS = ("torch", "transformers", "librosa", "numpy", "safetensors")

Work = TypeVar("Work")


@dataclass(frozen=True, slots=True, kw_only=True)
class Taught:
    """What the teacher's stage leaves for the students.

    Attributes:
        lesson: its attention over the training split; None in a run without a teacher.
        record: its checkpoint, hash and scores, for `run.json`; empty without a teacher.
    """

    lesson: Lesson | None = None
    record: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Classroom:
    """What every student of a run shares.

    Attributes:
        corpus: the data.
        spec: the student's row in the table.
        front_end: its features.
        held: validation and test split as features.
        taught: what the teacher left.
    """

    corpus: Corpus
    spec: StudentSpec
    front_end: FrontEnd
    held: dict[str, Held]
    taught: Taught


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """One run in progress.

    Attributes:
        config: its settings.
        folder: where its files go.
        display: shows progress.
        log: takes its numbers; None in all processes but the first.
        processes: those that share the work; only the first writes.
        seconds: wall time by stage, filled as the stages end.
    """

    config: TrainConfig
    folder: Path
    display: Display
    log: RunLog | None
    processes: Processes = ALONE
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self, corpus: Corpus) -> RunResult:
        """Every stage that is not on disk yet, then `run.json`."""
        spec = find_student(self.config.student.name)
        front_end = FrontEnd(find_features(self.config.student.features or spec.features))
        self._new_student(front_end, len(corpus.labels))  # settings that fit no student stop here, before the teacher
        taught = self._teach(corpus) if self.config.needs_teacher else Taught()
        held = {split: _held_features(front_end, corpus, split) for split in ("validation", "test")}
        room = Classroom(corpus=corpus, spec=spec, front_end=front_end, held=held, taught=taught)
        arms = tuple(self._student(room, weight) for weight in self.config.distill.lambdas)
        chosen = max(arms, key=lambda arm: arm.validation)
        if self.processes.is_first:
            with whole_file(self.folder / "student.safetensors") as partial:
                shutil.copyfile(chosen.checkpoint, partial)
            self._finish(room, arms, chosen)
        self.processes.wait()
        return read_run(self.folder)

    def _new_student(self, front_end: FrontEnd, classes: int) -> Student:
        wanted = self.config.student
        return build_student(wanted.name, front_end.config.channels, classes, forget_bias=wanted.forget_bias)

    def _teach(self, corpus: Corpus) -> Taught:
        path = self.folder / "teacher.safetensors"
        if not path.exists():
            self._timed("teacher", lambda: self._train_teacher(corpus, path))
        stored = read_checkpoint(path)
        teacher = rebuild_teacher(self.config.teacher, stored.spec.teacher["encoder_config"], len(corpus.labels))
        try:
            teacher.load_state_dict(stored.state)
        except RuntimeError as cause:
            raise CheckpointError(
                f"{path} does not fit the teacher of these settings; --restart begins anew"
            ) from cause
        teacher.to(self.processes.device)
        store = corpus.stores["train"]
        with self.processes.first_goes_ahead(), self.display("teacher's attention", len(store)) as advance:
            attention, _ = self._timed(
                "attention",
                lambda: cached_attention(self.folder / "attention", teacher, stored.sha256, store, advance),
            )
        return Taught(
            lesson=Lesson(attention=attention, samples=store.waveforms.shape[1]),
            record={"checkpoint": path.name, "sha256": stored.sha256, **stored.spec.scores},
        )

    def _train_teacher(self, corpus: Corpus, path: Path) -> None:
        torch.manual_seed(mix_seeds(self.config.seed, 10))
        teacher = build_teacher(self.config.teacher, len(corpus.labels))
        settings = self.config.teacher_fit
        objective = TeacherObjective(teacher, _held_waveforms(corpus, "validation"), settings.label_smoothing)
        augment = replace(self.config.augment, feature_masks=0)  # a teacher takes waveforms and has its own masks
        batches = Batches(corpus.stores["train"], augment, settings.batch_size, self.config.seed, lambda clips: clips)
        fitted = self._fit("teacher", objective, batches, settings)
        if self.processes.is_first:
            self._write_teacher(corpus, teacher, fitted, path)
        self.processes.wait()

    def _write_teacher(self, corpus: Corpus, teacher: Teacher, fitted: Fitted, path: Path) -> None:
        teacher.load_state_dict(fitted.state)
        scores = _scores(fitted, teacher, _held_waveforms(corpus, "test"), corpus)
        spec = self._checkpoint(
            corpus,
            scores,
            kind="teacher",
            name=self.config.teacher.checkpoint or "wav2vec 2.0, small, log-mel stem",
            teacher={**to_table(self.config.teacher), "encoder_config": _encoder_config(teacher)},
        )
        write_checkpoint(path, spec, fitted.state)
        self._state_path("teacher").unlink(missing_ok=True)

    def _student(self, room: Classroom, weight: float) -> Arm:
        path = self.folder / f"student-lambda-{weight:g}.safetensors"
        if not path.exists():
            self._timed(f"student λ={weight:g}", lambda: self._train_student(room, weight, path))
        scores = read_checkpoint(path).spec.scores
        return Arm(weight=weight, checkpoint=path, validation=scores["validation"], test=scores["test"])

    def _train_student(self, room: Classroom, weight: float, path: Path) -> None:
        torch.manual_seed(mix_seeds(self.config.seed, 20))  # the same initial weights for every λ
        student = self._new_student(room.front_end, len(room.corpus.labels))
        settings = self.config.student_fit
        objective = StudentObjective(
            student, room.held["validation"], settings.label_smoothing, room.taught.lesson, weight, self.config.distill
        )
        stage = f"student-lambda-{weight:g}"
        batches = Batches(
            room.corpus.stores["train"], self.config.augment, settings.batch_size, self.config.seed, room.front_end
        )
        fitted = self._fit(stage, objective, batches, settings)
        if self.processes.is_first:
            self._write_student(
                room, weight, student, replace(fitted, state=objective.student_state(fitted.state)), path
            )
            self._state_path(stage).unlink(missing_ok=True)
        self.processes.wait()

    def _write_student(self, room: Classroom, weight: float, student: Student, fitted: Fitted, path: Path) -> None:
        state = fitted.state
        student.load_state_dict(state)
        spec = self._checkpoint(
            room.corpus,
            _scores(fitted, student, room.held["test"], room.corpus),
            kind="student",
            name=room.spec.name,
            features=room.front_end.config.to_dict(),
            parents={"lambda": weight, "teacher_sha256": room.taught.record.get("sha256") if weight > 0 else None},
        )
        write_checkpoint(path, spec, state)

    def _checkpoint(self, corpus: Corpus, scores: dict[str, Any], **what: Any) -> CheckpointSpec:
        return CheckpointSpec(
            labels=corpus.labels,
            data=corpus.description,
            training=to_table(self.config),
            scores=scores,
            tools=tool_versions(_TOOLS),
            git=git_state(),
            **what,
        )

    def _fit(self, stage: str, objective: Objective, batches: Batches, settings: FitConfig) -> Fitted:
        with self.display(stage, settings.steps) as advance:
            place = Place(
                state_path=self._state_path(stage),
                stage=stage,
                log=self.log,
                digest=self.config.digest(),
                advance=advance,
                processes=self.processes,
            )
            return fit(objective, batches, settings, self.config.seed, place)

    def _state_path(self, stage: str) -> Path:
        return self.folder / f"state-{stage}.pt"

    def _timed(self, stage: str, work: Callable[[], Work]) -> Work:
        start = time.monotonic()
        try:
            return work()
        finally:
            self.seconds[stage] = round(time.monotonic() - start, 1)

    def _finish(self, room: Classroom, arms: tuple[Arm, ...], chosen: Arm) -> None:
        document = {
            "format": RUN_FORMAT,
            "student": room.spec.name,
            "features": room.front_end.config.to_dict(),
            "data": room.corpus.description,
            "metric": metric_of(room.held["test"].labels),
            "teacher": room.taught.record,
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
            "processes": self.processes.count,
            "finished_unix_s": round(time.time(), 1),
            "settings": to_table(self.config),
            "tools": tool_versions(_TOOLS),
            "git": git_state(),
        }
        write_text(self.folder / "run.json", json.dumps(document, indent=2, sort_keys=True) + "\n")


def _held_features(front_end: FrontEnd, corpus: Corpus, split: str) -> Held:
    """A whole split as features, unaugmented; inputs of shape (clips, frames, channels)."""
    store = corpus.stores[split]
    return Held(inputs=features_of(store.waveforms, front_end), labels=store.labels)


def _held_waveforms(corpus: Corpus, split: str) -> Held:
    store = corpus.stores[split]
    return Held(inputs=store.clips(slice(None)), labels=store.labels)


def _scores(fitted: Fitted, network: torch.nn.Module, test: Held, corpus: Corpus) -> dict[str, Any]:
    """What a checkpoint says of itself: the metric's name, its value on validation, all scores on the test split."""
    scores = score_any(predict(network, test.inputs), test.labels.numpy(), corpus.labels)
    return {"metric": scores.metric, "validation": fitted.value, "test": scores.to_dict()}


def _encoder_config(teacher: Teacher) -> dict[str, Any]:
    """The encoder's configuration as plain JSON values."""
    config = teacher.encoder.config.to_dict()  # type: ignore[union-attr, operator]
    plain: dict[str, Any] = json.loads(json.dumps(config, default=str))
    return plain
