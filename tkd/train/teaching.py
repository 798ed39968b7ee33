"""The teacher's part of a run: trained or taken as it is, inspected, and asked once about every clip.

    data ──► teacher.safetensors ──► attention/<key>.npy ──► Knowledge
                   │                        │
                   └──── tkd.train.inspection: does it know where to look? ────► refused, or teaches

Before this: `tkd.train.corpus`. After this: `tkd.train.stages` trains students with what is known.
Tested in `tests/tkd/train/test_teaching.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from converters.files import whole_file
from tkd.checkpoint import Checkpoint, CheckpointSpec, read_checkpoint, write_checkpoint
from tkd.errors import CheckpointError, TeacherError
from tkd.evaluate import predict, score_any, value_of
from tkd.settings import to_table
from tkd.teacher import Teacher, TeacherConfig, build_teacher, freeze, rebuild_teacher
from tkd.train.attention_cache import cached_knowledge
from tkd.train.batches import Batches, ClipStore, mix_seeds
from tkd.train.config import FitConfig, TrainConfig
from tkd.train.corpus import Corpus, Display
from tkd.train.fit import Fitted, Objective
from tkd.train.inspection import Inspection, inspect
from tkd.train.lesson import Knowledge
from tkd.train.objectives import Held, TeacherObjective, on_pcm
from tkd.train.processes import Processes

TEACHER_FILE = "teacher.safetensors"

Fit = Callable[[str, Objective, Batches, FitConfig], Fitted]
"""Runs one optimisation under a stage's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taught:
    """What the teacher's stage leaves for the students.

    Attributes:
        knowledge: by split, `train` and `validation`; empty in a run without a teacher.
        record: its checkpoint, hash, scores and inspection, for `run.json`; empty without a teacher.
    """

    knowledge: dict[str, Knowledge] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherStage:
    """The teacher of one run.

    Attributes:
        config: settings of the run.
        folder: where its files go.
        attention_folder: where what it says is kept.
        display: shows progress.
        processes: those that share the work.
        fit: runs the training.
        describe: fills what every checkpoint of the run says of itself.
    """

    config: TrainConfig
    folder: Path
    attention_folder: Path
    display: Display
    processes: Processes
    fit: Fit
    describe: Callable[..., CheckpointSpec]

    @property
    def path(self) -> Path:
        """The teacher's checkpoint, in the run's folder."""
        return self.folder / TEACHER_FILE

    def train(self, corpus: Corpus) -> None:
        """Leaves `teacher.safetensors`, unless it is there already.

        Raises:
            TeacherError: the checkpoint cannot be used, or the clips are too short for its frames.
        """
        if self.path.exists():
            return
        settings = self.config.teacher
        if settings.as_is:
            stored = read_teacher(Path(settings.checkpoint), corpus.labels)
            load_teacher(stored, corpus.labels).check_length(corpus.samples)
            if self.processes.is_first:
                with whole_file(self.path) as partial:
                    partial.write_bytes(Path(settings.checkpoint).read_bytes())
            self.processes.wait()
            return
        torch.manual_seed(mix_seeds(self.config.seed, 10))
        teacher, shape, parents = self._begin(corpus)
        teacher.check_length(corpus.samples)
        fitting = self.config.teacher_fit
        objective = TeacherObjective(teacher, _held(corpus.stores["validation"]), fitting.label_smoothing)
        augment = replace(self.config.augment, feature_masks=0)  # a teacher takes waveforms and has its own masks
        batches = Batches(corpus.stores["train"], augment, fitting.batch_size, self.config.seed, lambda clips: clips)
        fitted = self.fit("teacher", objective, batches, fitting)
        if self.processes.is_first:
            self._write(corpus, teacher, shape, parents, fitted)
        self.processes.wait()

    def ask(self, corpus: Corpus) -> Taught:
        """What the teacher knows of the training and of the validation split, after an inspection.

        Raises:
            TeacherError: it does not know where to look, and the settings do not let it teach nevertheless.
            CheckpointError: its checkpoint does not fit.
        """
        stored = read_teacher(self.path, corpus.labels)
        teacher = load_teacher(stored, corpus.labels).to(self.processes.device)
        validation = self._knowledge(teacher, stored, corpus, "validation")
        inspection = self._inspect(corpus, stored, validation)
        return Taught(
            knowledge={"train": self._knowledge(teacher, stored, corpus, "train"), "validation": validation},
            record={
                "checkpoint": self.path.name,
                "sha256": stored.sha256,
                **stored.spec.scores,
                "inspection": inspection.to_dict(),
            },
        )

    def _begin(self, corpus: Corpus) -> tuple[Teacher, TeacherConfig, dict[str, Any]]:
        """The teacher before its training, what it is made of, and where its weights come from."""
        settings = self.config.teacher
        if not settings.is_from_a_run:
            return build_teacher(settings, len(corpus.labels)), settings, {}
        stored = read_teacher(Path(settings.checkpoint), corpus.labels)
        teacher = load_teacher(stored, corpus.labels).train()
        is_small = not stored.spec.teacher["checkpoint"]  # its own stem is part of what it learns
        freeze(teacher, replace(settings, freeze_feature_encoder=settings.freeze_feature_encoder and not is_small))
        known = {name: value for name, value in stored.spec.teacher.items() if name != "encoder_config"}
        return teacher, TeacherConfig(**known), {"started_from_sha256": stored.sha256}

    def _write(
        self, corpus: Corpus, teacher: Teacher, shape: TeacherConfig, parents: dict[str, Any], fitted: Fitted
    ) -> None:
        teacher.load_state_dict(fitted.state)
        test = corpus.stores["test"]
        scores = score_any(predict(on_pcm(teacher), test.waveforms), test.labels.numpy(), corpus.labels)
        stem = "log-mel stem" if shape.stem == "log-mel" else "waveform stem"
        spec = self.describe(
            corpus,
            {"metric": scores.metric, "validation": fitted.value, "test": scores.to_dict()},
            kind="teacher",
            name=shape.checkpoint or f"wav2vec 2.0, small, {stem}",
            teacher={**to_table(shape), "encoder_config": _encoder_config(teacher)},
            parents=parents,
        )
        write_checkpoint(self.path, spec, fitted.state)

    def _knowledge(self, teacher: Teacher, stored: Checkpoint, corpus: Corpus, split: str) -> Knowledge:
        store = corpus.stores[split]
        distill = self.config.distill
        title = "teacher's attention" if split == "train" else f"teacher's attention, {split}"
        with self.processes.first_goes_ahead(), self.display(title, len(store)) as advance:
            knowledge, _ = cached_knowledge(
                self.attention_folder,
                teacher,
                stored.sha256,
                store,
                advance,
                layer=None if distill.aggregation == "rollout" else distill.layer,
            )
        return knowledge

    def _inspect(self, corpus: Corpus, stored: Checkpoint, validation: Knowledge) -> Inspection:
        store = corpus.stores["validation"]
        found = inspect(
            validation.attention,
            store.labels,
            store.intervals_s,
            corpus.samples / store.sample_rate_hz,
            str(stored.spec.scores["metric"]),
            value_of(validation.logits.numpy(), store.labels.numpy()),
        )
        objection = found.objection()
        if objection and not self.config.distill.accept_any_teacher:
            raise TeacherError(
                f"the teacher is not fit to teach: {objection}; seen: {found.sentence()}. Train it longer or on more "
                "clips, or let it teach nevertheless with --set distill.accept_any_teacher=true"
            )
        return found


def read_teacher(path: Path, labels: tuple[str, ...]) -> Checkpoint:
    """A teacher's checkpoint, checked to be one for these labels.

    Raises:
        CheckpointError: there is none, or it cannot be read.
        TeacherError: it holds a student, or was trained for other labels.
    """
    stored = read_checkpoint(path)
    if stored.spec.kind != "teacher":
        raise TeacherError(f"{path} holds a {stored.spec.kind}, expected a teacher")
    if stored.spec.labels != labels:
        raise TeacherError(
            f"{path} was trained for {len(stored.spec.labels)} labels ({', '.join(stored.spec.labels[:6])} …), and the "
            f"data has {len(labels)} ({', '.join(labels[:6])} …); train a teacher on this data"
        )
    return stored


def load_teacher(stored: Checkpoint, labels: tuple[str, ...]) -> Teacher:
    """The teacher of a checkpoint.

    Raises:
        CheckpointError: the weights do not fit what the checkpoint says of its teacher.
    """
    try:
        teacher = rebuild_teacher(stored.spec.teacher, len(labels))
        teacher.load_state_dict(stored.state)
    except (RuntimeError, KeyError, TypeError) as cause:
        raise CheckpointError(
            f"{stored.path} does not fit the teacher that it describes ({type(cause).__name__}); train it again"
        ) from cause
    return teacher


def _held(store: ClipStore) -> Held:
    return Held(inputs=store.waveforms, labels=store.labels)


def _encoder_config(teacher: Teacher) -> dict[str, Any]:
    """The encoder's configuration as plain JSON values."""
    config = teacher.encoder.config.to_dict()  # type: ignore[union-attr, operator]
    plain: dict[str, Any] = json.loads(json.dumps(config, default=str))
    return plain
