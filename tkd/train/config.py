"""The settings of a training run; a TOML file has one table a record.

Read by `tkd.settings`; used by `tkd.train.run`. Tested in `tests/tkd/train/test_config.py`.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Literal

from tkd.audio.features import find_features
from tkd.augment import AugmentConfig
from tkd.distill import DistillConfig
from tkd.errors import SettingsError
from tkd.settings import to_table
from tkd.students import find_student
from tkd.teacher import TeacherConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """One optimisation: an optimiser, a learning rate that changes with the step, and how often it is looked at.

    Attributes:
        steps: updates.
        batch_size: clips an update.
        optimiser: `adamw` decays weights apart from the gradient, `adam` and `sgd` add the decay to it (L2).
        momentum: of `sgd`, Polyak's; the others have β₁ = .9 and β₂ = .999.
        learning_rate: at the end of the warm-up.
        schedule: what the rate does after the warm-up. `cosine` and `linear` fall to `final_rate` at the last step,
            `exponential` falls to it by the same factor each step, `constant` stays, and `step` takes the rates of
            `step_rates` from the steps of `step_starts` on.
        final_rate: the rate that `cosine`, `linear` and `exponential` reach.
        step_starts: of `step`: the steps, rising, at which the rate changes.
        step_rates: of `step`: the rate from each of those steps on.
        weight_decay: what the optimiser does with it, see `optimiser`.
        decays: `weights` decays matrices and kernels alone, `everything` biases and norms too.
        warmup_share: share of the steps in which the rate rises linearly from zero.
        label_smoothing: probability spread over the wrong classes.
        clip_norm: largest norm of the gradient; 0 does not clip.
        validate_every: steps between two validations, each of which also saves a state to resume from.
        precision: `bfloat16` computes in mixed precision.

    Raises:
        SettingsError: a value is out of its range, or belongs to another schedule.
    """

    steps: int
    batch_size: int = 100
    optimiser: Literal["adamw", "adam", "sgd"] = "adamw"
    momentum: float = 0.9
    learning_rate: float = 1e-3
    schedule: Literal["cosine", "step", "exponential", "linear", "constant"] = "cosine"
    final_rate: float = 0.0
    step_starts: tuple[int, ...] = ()
    step_rates: tuple[float, ...] = ()
    weight_decay: float = 0.01
    decays: Literal["weights", "everything"] = "weights"
    warmup_share: float = 0.05
    label_smoothing: float = 0.0
    clip_norm: float = 1.0
    validate_every: int = 250
    precision: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_size, self.validate_every) < 1:
            raise SettingsError("steps, batch_size and validate_every must be at least 1")
        if not 0 < self.learning_rate < math.inf:
            raise SettingsError(f"learning_rate must be above 0 and finite, saw {self.learning_rate}")
        if not self.clip_norm >= 0:
            raise SettingsError(f"clip_norm must be above 0, or 0 for no clipping, saw {self.clip_norm}")
        if not (0 <= self.warmup_share < 1 and 0 <= self.label_smoothing < 1 and self.weight_decay >= 0):
            raise SettingsError("warmup_share and label_smoothing must be in [0, 1), weight_decay at least 0")
        if not 0 <= self.momentum < 1:
            raise SettingsError(f"momentum must be in [0, 1), saw {self.momentum}")
        self._check_schedule()

    def _check_schedule(self) -> None:
        if not 0 <= self.final_rate <= self.learning_rate:
            raise SettingsError(f"final_rate must be between 0 and learning_rate, saw {self.final_rate}")
        if self.schedule == "exponential" and self.final_rate == 0:
            raise SettingsError("the exponential schedule never reaches 0: give a final_rate above 0")
        if self.schedule in ("step", "constant") and self.final_rate:
            raise SettingsError(f"the {self.schedule} schedule has no final_rate: leave it out")
        if (self.schedule == "step") != bool(self.step_starts or self.step_rates):
            raise SettingsError("step_starts and step_rates belong to the step schedule, and it needs both")
        if len(self.step_starts) != len(self.step_rates):
            raise SettingsError(
                f"step_starts has {len(self.step_starts)} entries and step_rates {len(self.step_rates)}; "
                "expected one rate for each start"
            )
        rising = list(self.step_starts) == sorted(set(self.step_starts)) and min(self.step_starts, default=1) > 0
        if not rising or min(self.step_rates, default=1.0) <= 0:
            raise SettingsError("step_starts must rise from above 0, and step_rates be above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """The data set of a run.

    Attributes:
        folder: where it is.
        kind: its layout: `speech_commands`, `folder` (one sub-folder a label, or a list of labels) or `fsd50k`.
        task: of Speech Commands: `12` classes, or `all` words.
        silence: the protocol of the silence class: `noise` takes pieces of the background noise, `zeros` takes
            digital silence. Scores under the two are not comparable.
        split_rule: of Speech Commands: official `lists`, `hash` of the speaker, or `auto`: lists where they are.
        test_archive: folder of the official 12-class test set; it then is the test split.
        clip_seconds: length of a clip of the other layouts; Speech Commands has its own.
        crop: of the other layouts: which part of a longer recording is taken.
        pad: of the other layouts: what follows a shorter recording.
        convert: of a `folder`: recordings of other rates and channels are resampled and mixed down, not refused.
        label_file: of a `folder`: a CSV file of labels, relative to it; empty takes the sub-folders.
        speaker_pattern: of a `folder`: regular expression whose first group finds the speaker in a path, so that no
            speaker is in two splits.
        seed: of the draw of unknown words and silence, of random crops and of the split of a `folder`.
        on_bad_file: `error` stops at a file that cannot be read, `skip` names and counts it.
        cache: folder of decoded clips; empty is the user's own cache, `off` reads everything into memory.
    """

    folder: str
    kind: Literal["speech_commands", "folder", "fsd50k"] = "speech_commands"
    task: Literal["12", "all"] = "12"
    silence: Literal["noise", "zeros"] = "noise"
    split_rule: Literal["auto", "lists", "hash"] = "auto"
    test_archive: str = ""
    clip_seconds: float = 1.0
    crop: Literal["centre", "start", "random"] = "centre"
    pad: Literal["zeros", "loop"] = "zeros"
    convert: bool = False
    label_file: str = ""
    speaker_pattern: str = ""
    seed: int = 59185
    on_bad_file: Literal["error", "skip"] = "error"
    cache: str = ""

    def __post_init__(self) -> None:
        if not 0.1 <= self.clip_seconds <= 60:
            raise SettingsError(f"clip_seconds is {self.clip_seconds:g}; expected 0.1 to 60")
        if self.seed < 0:
            raise SettingsError(f"data.seed: expected 0 or more, saw {self.seed}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentConfig:
    """Which student is trained.

    Attributes:
        name: a name of the table of students.
        features: a named front end; empty takes the student's published one.
        forget_bias: of LSTM-P's forget gates before training; nothing leaves TensorFlow's 1. Clips of several
            seconds want 4.
        checkpoint: a checkpoint of this student, with these classes and this front end, whose weights training begins
            with; `starter` is the packaged one, empty begins with chance.
    """

    name: str
    features: str = ""
    forget_bias: float | None = None
    checkpoint: str = ""

    def __post_init__(self) -> None:
        find_student(self.name)
        if self.features:
            find_features(self.features)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """A whole run.

    Attributes:
        run: folder that checkpoints, logs and the attention cache go to.
        data: the data set.
        student: the network.
        student_fit: its optimisation, for each λ the same.
        teacher: the teacher; used when a λ is above 0.
        teacher_fit: its optimisation.
        distill: the loss of temporal distillation and its λ.
        augment: how training clips are varied.
        seed: of initial weights, batch order, augmentation and dropout.
    """

    run: str
    data: DataConfig
    student: StudentConfig
    student_fit: FitConfig
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    teacher_fit: FitConfig = field(default_factory=lambda: FitConfig(steps=1000))
    distill: DistillConfig = field(default_factory=DistillConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    seed: int = 1

    def __post_init__(self) -> None:
        if not self.augment.max_shift_ms < 1000 * self.data.clip_seconds:
            raise SettingsError(
                f"augment.max_shift_ms: expected less than a clip, {1000 * self.data.clip_seconds:g}, "
                f"saw {self.augment.max_shift_ms:g}"
            )
        layers = self.teacher.layers
        if self.distill.aggregation == "layer" and not (
            self.teacher.checkpoint or -layers <= self.distill.layer < layers
        ):
            raise SettingsError(
                f"distill.layer: the teacher has {layers} layers, {-layers} to {layers - 1}; saw {self.distill.layer}"
            )
        if self.distill.guides and self.augment.max_resample:
            raise SettingsError(
                "augment.max_resample stretches clips, and the teacher's cached attention is that of clips as they "
                "are: leave it out, or train without a teacher (distill.lambdas = [0.0])"
            )
        if self.distill.guides and self.augment.max_lead_in_clips:
            raise SettingsError(
                "augment.max_lead_in_clips lets a student hear other clips first, which the teacher's attention knows "
                "nothing of: leave it out, or train without a teacher (distill.lambdas = [0.0])"
            )

    @property
    def needs_teacher(self) -> bool:
        """Whether any student of the run learns from a teacher."""
        return self.distill.needs_teacher

    def digest(self) -> str:
        """16 hexadecimal digits that change with any setting that changes what is trained.

        Where the run and the cache of clips lie changes nothing, nor does it whether a teacher is accepted.
        """
        table = {key: value for key, value in to_table(self).items() if key != "run"}
        table["data"] = {key: value for key, value in table["data"].items() if key != "cache"}
        table["distill"] = {key: value for key, value in table["distill"].items() if key != "accept_any_teacher"}
        return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()[:16]
