"""Checkpoints: weights in safetensors, with everything needed to rebuild and to trust them in the header.

Before this: `tkd.train` has a trained network. After this: `tkd.evaluate` and `tkd.export` load it.
Format `tkd.checkpoint/1`: a safetensors file whose metadata entry `tkd` is the JSON of a `CheckpointSpec`.
Tested in `tests/tkd/test_checkpoint.py`.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from converters.files import sha256_of, whole_file
from tkd.errors import CheckpointError
from tkd.students import Student, build_student

STARTERS = Path(__file__).parent / "starter"
"""The packaged checkpoints, NAME.safetensors."""
FORMAT = "tkd.checkpoint/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSpec:
    """What stands in a checkpoint's header.

    Attributes:
        kind: whose weights these are.
        name: a student's name, or the teacher's description.
        labels: in the order of the logits.
        features: the student's front end, as `FeatureConfig.to_dict` gives it; empty for a teacher.
        teacher: a teacher's own configuration; empty for a student.
        data: what it was trained on: folder, corpus description, silence protocol, `synthetic`.
        training: the settings of the run.
        scores: accuracies by split, each with its interval.
        parents: SHA-256 of the teacher, λ; of the checkpoint that a student went on from, its SHA-256
            (`start_sha256`) and its own parents (`start`).
        tools: versions of what made it.
        git: commit and dirty flag of the checkout that made it.
    """

    kind: Literal["student", "teacher"]
    name: str
    labels: tuple[str, ...]
    features: dict[str, Any] = field(default_factory=dict)
    teacher: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    parents: dict[str, Any] = field(default_factory=dict)
    tools: dict[str, str] = field(default_factory=dict)
    git: dict[str, Any] = field(default_factory=dict)

    @property
    def teaching(self) -> dict[str, Any]:
        """λ and SHA-256 of the teacher that led this student, or, where none did, the one that it went on from."""
        line = [self.parents]
        while line[-1].get("start"):
            line.append(line[-1]["start"])
        led = next((parents for parents in line if parents.get("teacher_sha256")), self.parents)
        return {"lambda": led.get("lambda"), "teacher_sha256": led.get("teacher_sha256")}

    @property
    def synthetic(self) -> bool:
        """Whether it was trained on synthetic speech, which every table made with it must say."""
        return bool(self.data.get("synthetic", False))


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A checkpoint that was read and checked.

    Attributes:
        path: the file.
        sha256: of the whole file.
        spec: its header.
        state: the weights by name.
    """

    path: Path
    sha256: str
    spec: CheckpointSpec
    state: dict[str, Tensor]


def write_checkpoint(path: Path, spec: CheckpointSpec, state: dict[str, Tensor]) -> str:
    """The SHA-256 of the checkpoint written to `path`, whole or not at all."""
    from safetensors.torch import save_file

    header = json.dumps({"format": FORMAT, **dataclasses.asdict(spec)}, sort_keys=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with whole_file(path) as partial:
        save_file(tensors, partial, metadata={"tkd": header})
        return sha256_of(partial)


def read_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint at `path`.

    Raises:
        CheckpointError: the file is missing, damaged, or not one of ours.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}")
    try:
        with safe_open(path, framework="pt") as stored:
            header = (stored.metadata() or {}).get("tkd")
            state = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, ValueError) as cause:
        raise CheckpointError(f"{path} is damaged or no safetensors file: {cause}") from cause
    if header is None:
        raise CheckpointError(f"{path} is a safetensors file, but not a checkpoint of ours ({FORMAT})")
    return Checkpoint(path=path, sha256=sha256_of(path), spec=_read_header(header, path), state=state)


def load_student(checkpoint: Checkpoint) -> Student:
    """The student of a checkpoint, in evaluation mode.

    Raises:
        CheckpointError: it holds a teacher, or weights that do not fit the student it names.
    """
    spec = checkpoint.spec
    if spec.kind != "student":
        raise CheckpointError(f"{checkpoint.path} holds a {spec.kind}, expected a student")
    channels = spec.features["n_mfcc"] or spec.features["n_mels"]
    student = build_student(spec.name, channels, len(spec.labels))
    try:
        student.load_state_dict(checkpoint.state)
    except RuntimeError as cause:
        first_lines = " ".join(str(cause).split()[:30])
        raise CheckpointError(f"{checkpoint.path} does not fit {spec.name}: {first_lines} …") from cause
    return student.eval()


def _read_header(header: str, path: Path) -> CheckpointSpec:
    try:
        document = json.loads(header)
        version = document.pop("format")
        if version != FORMAT:
            raise CheckpointError(f"{path} has format {version!r}, this version reads {FORMAT!r}")
        document["labels"] = tuple(document["labels"])
        return CheckpointSpec(**document)
    except (json.JSONDecodeError, KeyError, TypeError) as cause:
        raise CheckpointError(f"{path} has a header that cannot be read: {cause}") from cause
