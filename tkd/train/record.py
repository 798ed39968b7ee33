"""The record of a completed run, `run.json`, and how to find the newest one.

Written by `tkd.train.run`; read by `tkd.export`, which needs no training code for it.
Format `tkd.run/1`. Tested in `tests/tkd/train/test_run.py`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tkd.errors import CheckpointError

RUN_FORMAT = "tkd.run/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One student of a run.

    Attributes:
        weight: λ.
        guide: what led it where λ is above 0; see `tkd.distill.Guide`.
        is_control: it stands beside the others for comparison and was never in the choice.
        checkpoint: its file.
        validation: the run's metric on the validation split, in [0, 1], by which λ is chosen.
        test: scores on the test split, as `Scores.to_dict` or `MultiLabelScores.to_dict` gives them.
    """

    weight: float
    checkpoint: Path
    validation: float
    test: dict[str, Any]
    guide: str = "teacher"
    is_control: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """A completed run.

    Attributes:
        folder: of the run.
        student: its student's name.
        arms: one student for each λ, in the order of the settings.
        chosen: the arm that was best on validation.
        teacher: validation and test scores of the teacher; empty where none was needed.
        metric: `accuracy`, or `mean_average_precision` where clips have several labels; names a key of `test`.
        document: what stands in `run.json`.
    """

    folder: Path
    student: str
    arms: tuple[Arm, ...]
    chosen: Arm
    teacher: dict[str, Any]
    metric: str
    document: dict[str, Any]


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
                guide=arm.get("guide", "teacher"),
                is_control=arm.get("is_control", False),
                checkpoint=folder / arm["checkpoint"],
                validation=arm["validation"],
                test=arm["test"],
            )
            for arm in document["arms"]
        )
        float(document["finished_unix_s"])  # `newest_run` compares it
        return RunResult(
            folder=folder,
            student=document["student"],
            arms=arms,
            chosen=next(arm for arm in arms if not arm.is_control and arm.weight == document["chosen_lambda"]),
            teacher=document["teacher"],
            metric=document["metric"],
            document=document,
        )
    except FileNotFoundError as cause:
        raise CheckpointError(f"{folder} holds no completed run (no run.json)") from cause
    except (ValueError, KeyError, TypeError, StopIteration) as cause:  # ValueError: neither UTF-8, JSON nor a number
        raise CheckpointError(f"{path} cannot be read: {type(cause).__name__}: {cause}") from cause


def newest_run(runs: Path, student: str) -> tuple[RunResult | None, tuple[Path, ...]]:
    """The newest completed run of a student in a folder of runs, and the runs whose record cannot be read.

    One damaged record must not hide the good ones beside it; who asks says which were passed over.
    """
    found, unreadable = [], []
    for path in sorted(runs.glob("*/run.json")):
        try:
            found.append(read_run(path.parent))
        except CheckpointError:
            unreadable.append(path.parent)
    ours = [run for run in found if run.student == student]
    newest = max(ours, key=lambda run: float(run.document["finished_unix_s"]), default=None)
    return newest, tuple(unreadable)
