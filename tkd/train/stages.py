"""The stages of a run: data → teacher → its attention → one student for each λ → the best, tested.

    data ──► teacher.safetensors ──► attention/ ──► student-lambda-<λ>.safetensors ──► student.safetensors
                                                    student-<control>-lambda-<λ>…        run.json
                                                        (the best on validation)

Every arrow leaves a file, so that a run that was interrupted continues where it was.
λ is chosen on the validation split; the test split is scored once for each student, and all are kept in `run.json`.
Controls are never chosen.
Before this: `tkd.train.run` and, for the teacher's part, `tkd.train.teaching`. After this: `tkd.export` takes the
student of the newest completed run.
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
from tkd.audio.features import FrontEnd, find_features
from tkd.checkpoint import STARTERS, Checkpoint, CheckpointSpec, load_student, read_checkpoint, write_checkpoint
from tkd.distill import Guide
from tkd.errors import SettingsError
from tkd.evaluate import metric_of, predict, score_any
from tkd.provenance import git_state, tool_versions
from tkd.settings import to_table
from tkd.students import Student, build_student, find_student
from tkd.train.batches import Batches, mix_seeds
from tkd.train.classroom import Classroom, furnish
from tkd.train.config import FitConfig, TrainConfig
from tkd.train.corpus import Corpus, Display
from tkd.train.fit import Fitted, Objective, Place, fit
from tkd.train.lesson import Lesson, make_lesson
from tkd.train.log import RunLog
from tkd.train.looking import look_at_arms
from tkd.train.objectives import StudentObjective, student_query
from tkd.train.processes import ALONE, Processes
from tkd.train.record import RUN_FORMAT, Arm, RunResult, read_run
from tkd.train.teaching import Taught, TeacherStage

_TOOLS = ("torch", "transformers", "librosa", "numpy", "safetensors")

Work = TypeVar("Work")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """One student to be trained: λ, what leads it, and whether it is there for comparison only."""

    weight: float
    guide: Guide
    is_control: bool

    @property
    def stage(self) -> str:
        """Its name in the log and of its files."""
        return f"student-{self.guide}-lambda-{self.weight:g}" if self.is_control else f"student-lambda-{self.weight:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """One run in progress.

    Attributes:
        config: its settings.
        folder: where its files go.
        attention_folder: where the teacher's attention is kept; None for the run's own folder.
        display: shows progress.
        log: takes its numbers; None in all processes but the first.
        processes: those that share the work; only the first writes.
        seconds: wall time by stage, filled as the stages end.
    """

    config: TrainConfig
    folder: Path
    display: Display
    log: RunLog | None
    attention_folder: Path | None = None
    processes: Processes = ALONE
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self, corpus: Corpus) -> RunResult:
        """Every stage that is not on disk yet, then `run.json`."""
        spec = find_student(self.config.student.name)
        front_end = FrontEnd(find_features(self.config.student.features or spec.features))
        # Settings that cannot work stop here, before the teacher.
        self._check_student(front_end, corpus)
        if "span" in self.config.distill.guides:
            self._lesson("span", Taught(), corpus)
        taught = self._teach(corpus) if self.config.needs_teacher else Taught()
        lessons = {guide: self._lesson(guide, taught, corpus) for guide in self.config.distill.guides}
        room = furnish(corpus, spec, front_end, taught, keeps_waveforms=self.config.augment.keeps_waveforms)
        arms = tuple(self._student(room, plan, lessons) for plan in self._plans())
        chosen = max((arm for arm in arms if not arm.is_control), key=lambda arm: arm.validation)
        if self.processes.is_first:
            with whole_file(self.folder / "student.safetensors") as partial:
                shutil.copyfile(chosen.checkpoint, partial)
            looks = self._timed(
                "attention pictures", lambda: look_at_arms(room, arms, self.config, self.folder, self.log)
            )
            self._finish(room, arms, chosen, looks)
        self.processes.wait()
        return read_run(self.folder)

    def _plans(self) -> tuple[_Plan, ...]:
        distill = self.config.distill
        guided = tuple(_Plan(weight=weight, guide=distill.guide, is_control=False) for weight in distill.lambdas)
        return guided + tuple(
            _Plan(weight=weight, guide=control, is_control=True)
            for control in distill.controls
            for weight in distill.positive_lambdas
        )

    def _lesson(self, guide: Guide, taught: Taught, corpus: Corpus) -> Lesson:
        return make_lesson(
            guide,
            taught.knowledge.get("train"),
            corpus.stores["train"],
            self.config.seed,
            adds_logits=self.config.distill.logit_weight > 0,
        )

    def _check_student(self, front_end: FrontEnd, corpus: Corpus) -> None:
        """Raises SettingsError where the student cannot begin, attend or go on as asked, or has no time to look at."""
        student = self._new_student(front_end, corpus)
        if self.config.augment.max_lead_in_clips:
            rule = student.stream_rule()
            if rule is None or rule.pools:
                raise SettingsError(
                    f"{self.config.student.name} has no memory of the clips before: augment.max_lead_in_clips is for "
                    "recurrences that read forward, such as lstm-p and crnn"
                )
        if not self.config.distill.guides:
            return
        student_query(student, self.config.distill)
        frames = front_end.config.frames(corpus.samples)
        with torch.no_grad():
            time_steps = student.eval().contexts(torch.zeros(1, frames, front_end.config.channels)).shape[1]
        if time_steps < 2 and set(self.config.distill.guides) != {"logits"}:
            raise SettingsError(
                f"{self.config.student.name} has one time step for clips of {corpus.samples} samples: it cannot learn "
                "when to look; give longer clips, another student, or distill.lambdas = [0.0]"
            )

    def _new_student(self, front_end: FrontEnd, corpus: Corpus) -> Student:
        wanted = self.config.student
        channels, classes = front_end.config.channels, len(corpus.labels)
        student = build_student(wanted.name, channels, classes, forget_bias=wanted.forget_bias)
        start = self._start()
        if start is not None:
            seen = (start.spec.name, start.spec.labels, start.spec.features)
            if seen != (wanted.name, corpus.labels, front_end.config.to_dict()):
                raise SettingsError(
                    f"student.checkpoint {start.path} is a {start.spec.name} of {len(start.spec.labels)} classes; "
                    f"expected {wanted.name} with the {classes} classes of the data, in their order, and the same "
                    "front end"
                )
            student.load_state_dict(load_student(start).state_dict())
        return student

    def _start(self) -> Checkpoint | None:
        """The checkpoint whose weights training begins with."""
        wanted = self.config.student
        if wanted.checkpoint != "starter":
            return read_checkpoint(Path(wanted.checkpoint)) if wanted.checkpoint else None
        packaged = sorted(path.stem for path in STARTERS.glob("*.safetensors"))
        if wanted.name not in packaged:
            raise SettingsError(
                f'no checkpoint of {wanted.name} is packaged: student.checkpoint = "starter" goes with '
                f"{', '.join(packaged)}; give a file, or leave it out"
            )
        return read_checkpoint(STARTERS / f"{wanted.name}.safetensors")

    def _teach(self, corpus: Corpus) -> Taught:
        stage = TeacherStage(
            config=self.config,
            folder=self.folder,
            attention_folder=self.attention_folder or self.folder / "attention",
            display=self.display,
            processes=self.processes,
            fit=self._fit,
            describe=self._checkpoint,
        )
        if not stage.path.exists():
            self._timed("teacher", lambda: stage.train(corpus))
            self._state_path("teacher").unlink(missing_ok=True)
        return self._timed("attention", lambda: stage.ask(corpus))

    def _student(self, room: Classroom, plan: _Plan, lessons: dict[Guide, Lesson]) -> Arm:
        path = self.folder / f"{plan.stage}.safetensors"
        if not path.exists():
            lesson = lessons[plan.guide] if plan.weight > 0 else None
            self._timed(plan.stage, lambda: self._train_student(room, plan, lesson, path))
        scores = read_checkpoint(path).spec.scores
        return Arm(
            weight=plan.weight,
            guide=plan.guide,
            is_control=plan.is_control,
            checkpoint=path,
            validation=scores["validation"],
            test=scores["test"],
        )

    def _train_student(self, room: Classroom, plan: _Plan, lesson: Lesson | None, path: Path) -> None:
        torch.manual_seed(mix_seeds(self.config.seed, 20))  # the same initial weights for every student of the run
        student = self._new_student(room.front_end, room.corpus)
        settings = self.config.student_fit
        objective = StudentObjective(
            student, room.held["validation"], settings.label_smoothing, lesson, plan.weight, self.config.distill
        )
        batches = Batches(
            room.corpus.stores["train"],
            self.config.augment,
            settings.batch_size,
            self.config.seed,
            room.front_end,
            room.prepared,
        )
        fitted = self._fit(plan.stage, objective, batches, settings)
        if self.processes.is_first:
            fitted = replace(fitted, state=objective.student_state(fitted.state))
            self._write_student(room, plan, student, fitted, path)
            self._state_path(plan.stage).unlink(missing_ok=True)
        self.processes.wait()

    def _write_student(self, room: Classroom, plan: _Plan, student: Student, fitted: Fitted, path: Path) -> None:
        student.load_state_dict(fitted.state)
        test = room.held["test"]
        scores = score_any(predict(student, test.inputs), test.labels.numpy(), room.corpus.labels)
        is_led = plan.weight > 0
        start = self._start()
        spec = self._checkpoint(
            room.corpus,
            {"metric": scores.metric, "validation": fitted.value, "test": scores.to_dict(), "best_step": fitted.step},
            kind="student",
            name=room.spec.name,
            features=room.front_end.config.to_dict(),
            parents={
                "lambda": plan.weight,
                "guide": plan.guide if is_led else None,
                "teacher_sha256": room.taught.record.get("sha256") if is_led else None,
                **({} if start is None else {"start_sha256": start.sha256, "start": start.spec.parents}),
            },
        )
        write_checkpoint(path, spec, fitted.state)

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

    def _finish(self, room: Classroom, arms: tuple[Arm, ...], chosen: Arm, looks: dict[Path, dict[str, Any]]) -> None:
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
                    "guide": arm.guide,
                    "is_control": arm.is_control,
                    "checkpoint": arm.checkpoint.name,
                    "sha256": sha256_of(arm.checkpoint),
                    "validation": arm.validation,
                    "test": arm.test,
                    "looks": looks.get(arm.checkpoint),
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
