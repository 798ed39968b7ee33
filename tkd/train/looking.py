"""Where the teacher and all students of a finished run look: numbers for `run.json`, and `attention.png`.

Before this: `tkd.train.stages` has trained. Uses `tkd.train.probing` and `tkd.train.pictures`.
Tested in `tests/tkd/train/test_looking.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tkd.audio.batched import features_of
from tkd.checkpoint import load_student, read_checkpoint
from tkd.distill import DistillConfig
from tkd.provenance import synthetic_words
from tkd.train.classroom import Classroom
from tkd.train.config import TrainConfig
from tkd.train.log import RunLog
from tkd.train.pictures import Looker, Shown, clips_to_show, draw_attention, save_figure
from tkd.train.probing import Probe, Seen, probe
from tkd.train.record import Arm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURE = "attention.png"

_FITTED_ON = 400  # training clips, enough for a query of a few hundred numbers


def look_at_arms(
    room: Classroom, arms: Sequence[Arm], config: TrainConfig, folder: Path, log: RunLog | None
) -> dict[Path, dict[str, Any]]:
    """Where each student looks in validation clips, by its checkpoint; nothing for a run without a teacher.

    Draws `attention.png` where matplotlib is installed.
    """
    if not room.taught.knowledge:
        return {}
    probes = probe_students(room, [arm.checkpoint for arm in arms], config.distill)
    figure = draw_looks(room, [(_looker_of(room, arm), probes[arm.checkpoint]) for arm in arms])
    if figure is not None:
        save_figure(figure, folder / PICTURE)
        if log is not None:
            log.show("attention", figure)
    return {path: found.to_dict() for path, found in probes.items()}


def probe_students(room: Classroom, checkpoints: Sequence[Path], config: DistillConfig) -> dict[Path, Probe]:
    """Where each student looks in the validation clips, by its checkpoint; the room has what a teacher left."""
    knowledge = room.taught.knowledge
    train, validation = (room.corpus.stores[split] for split in ("train", "validation"))
    drawn = clips_to_fit(len(train.labels))  # a corpus has its clips word by word
    fitted_on = Seen(
        features=features_of(train.waveforms[drawn], room.front_end), attention=knowledge["train"].attention[drawn]
    )
    held = Seen(features=room.held["validation"].inputs, attention=knowledge["validation"].attention)
    seconds = room.corpus.samples / validation.sample_rate_hz
    return {
        path: probe(
            load_student(read_checkpoint(path)), fitted_on, held, validation.intervals_s, seconds, config
        )
        for path in checkpoints
    }  # fmt: skip


def clips_to_fit(count: int) -> Tensor:
    """Indices of the training clips that a query is fitted to: drawn evenly, the same in every run."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(_FITTED_ON))
    return order[:_FITTED_ON].sort().values


def draw_looks(room: Classroom, students: Sequence[tuple[tuple[str, str], Probe]]) -> Figure | None:
    """The teacher and students, each with its name and kind (see `Looker`), in a few validation clips.

    Returns:
        None where matplotlib is not installed: it belongs to the extra `report`.
    """
    store = room.corpus.stores["validation"]
    index = clips_to_show(store.labels, store.intervals_s, room.corpus.labels)
    labels = store.labels if store.labels.ndim == 1 else store.labels.argmax(dim=1)
    shown = Shown(
        index=index,
        waveforms=store.waveforms[index],
        intervals_s=None if store.intervals_s is None else store.intervals_s[index],
        words=tuple(room.corpus.labels[int(label)] for label in labels[index]),
        sample_rate_hz=store.sample_rate_hz,
    )
    lookers = [
        Looker(name="teacher", kind="teacher", attention=room.taught.knowledge["validation"].attention[index]),
        *(Looker(name=name, kind=kind, attention=found.attention[index]) for (name, kind), found in students),
    ]
    data = room.corpus.description
    shading = "" if store.intervals_s is None else ", yellow: where the word is"
    made_of = synthetic_words(data) if data["synthetic"] else data["name"]
    title = f"line: attention, its peak at the top; grey: the waveform{shading}\n{made_of}"
    try:
        return draw_attention(shown, lookers, title)
    except ModuleNotFoundError:
        return None


def _looker_of(room: Classroom, arm: Arm) -> tuple[str, str]:
    kind = "plain" if arm.weight == 0 else "control" if arm.is_control else "led"
    led = "" if arm.guide == "teacher" or arm.weight == 0 else f"\n{arm.guide}"
    return f"{room.spec.name}\nλ = {arm.weight:g}{led}", kind
