"""Which checkpoint an export takes: the one it was told, the newest run's, or the packaged starter.

Before this: `tkd.train` wrote runs. After this: `tkd.export.bundles` converts the chosen student.
Tested in `tests/tkd/export/test_choose.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tkd.checkpoint import STARTERS, Checkpoint, read_checkpoint
from tkd.errors import CheckpointError
from tkd.students import find_student
from tkd.train.record import newest_run


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A checkpoint and why it was taken.

    Attributes:
        checkpoint: of a student.
        reason: one phrase for the first line that an export prints.
    """

    checkpoint: Checkpoint
    reason: str

    def sentence(self) -> str:
        """The first line of an export's output."""
        spec = self.checkpoint.spec
        where = self.checkpoint.path.name if self.checkpoint.path.parent == STARTERS else str(self.checkpoint.path)
        kind = ", trained on SYNTHETIC speech" if spec.synthetic else ""
        return f"checkpoint: {where} ({self.reason}{kind}, sha256 {self.checkpoint.sha256[:12]})"


def choose_checkpoint(student: str | None, path: Path | None, runs: Path) -> Choice:
    """The checkpoint to export.

    Args:
        student: name or alias; None is allowed only with a path.
        path: an explicit checkpoint, which wins.
        runs: folder of training runs.

    Raises:
        SettingsError: no student has this name.
        CheckpointError: the file cannot be used, is of another student, or nothing was found.
    """
    if path is not None:
        return _explicit(student, path)
    if student is None:
        raise CheckpointError("neither a student nor a checkpoint was named; give --student or --checkpoint")
    name = find_student(student).name
    run, unreadable = newest_run(runs, name)
    passed_over = f"; passed over, run.json cannot be read: {', '.join(map(str, unreadable))}" if unreadable else ""
    if run is not None:
        checkpoint = read_checkpoint(run.folder / "student.safetensors")
        return Choice(
            checkpoint=checkpoint,
            reason=f"best on validation of the newest completed run, {run.folder}{passed_over}",
        )
    starter = STARTERS / f"{name}.safetensors"
    if starter.exists():
        return Choice(checkpoint=read_checkpoint(starter), reason=f"packaged starter checkpoint{passed_over}")
    raise CheckpointError(
        f"there is no completed run of {name} under {runs} and no starter checkpoint of it; "
        f"train one with tkd-train, or give --checkpoint{passed_over}"
    )


def _explicit(student: str | None, path: Path) -> Choice:
    checkpoint = read_checkpoint(path)
    if checkpoint.spec.kind != "student":
        raise CheckpointError(f"{path} holds a {checkpoint.spec.kind}; expected a student")
    if student is not None and find_student(student).name != checkpoint.spec.name:
        raise CheckpointError(f"{path} holds {checkpoint.spec.name}, expected {find_student(student).name}")
    return Choice(checkpoint=checkpoint, reason="as told")
