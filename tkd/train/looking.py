"""Where the teacher and all students of a finished run look: numbers for `run.json`, and `attention.png`.

Before this: `tkd.train.stages` has trained. Uses `tkd.train.probing` and `tkd.train.pictures`.
Tested in `tests/tkd/train/test_looking.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tkd.audio.batched import features_of
from tkd.checkpoint import load_student, read_checkpoint
from tkd.provenance import synthetic_words
from tkd.train.classroom import Classroom
from tkd.train.config import TrainConfig
from tkd.train.log import RunLog
from tkd.train.pictures import Looker, Shown, clips_to_show, draw_attention, save_figure
from tkd.train.probing import Probe, Seen, probe
from tkd.train.record import Arm

PICTURE = "attention.png"

_FITTED_ON = 400  # training clips, enough for a query of a few hundred numbers


def look_at_arms(
    room: Classroom, arms: Sequence[Arm], config: TrainConfig, folder: Path, log: RunLog | None
) -> dict[Path, dict[str, Any]]:
    """Where each student looks in validation clips, by its checkpoint; nothing for a run without a teacher.

    Draws `attention.png` where matplotlib is installed.
    """
    knowledge = room.taught.knowledge
    if not knowledge:
        return {}
    train, validation = (room.corpus.stores[split] for split in ("train", "validation"))
    fitted_on = Seen(
        features=features_of(train.waveforms[:_FITTED_ON], room.front_end),
        attention=knowledge["train"].attention[:_FITTED_ON],
    )
    held = Seen(features=room.held["validation"].inputs, attention=knowledge["validation"].attention)
    seconds = room.corpus.samples / validation.sample_rate_hz
    probes = {
        arm.checkpoint: probe(
            load_student(read_checkpoint(arm.checkpoint)),
            fitted_on, held, validation.intervals_s, seconds, config.distill,
        )
        for arm in arms
    }  # fmt: skip
    _draw(room, [(arm, probes[arm.checkpoint]) for arm in arms], folder, log)
    return {path: found.to_dict() for path, found in probes.items()}


def _draw(room: Classroom, probed: Sequence[tuple[Arm, Probe]], folder: Path, log: RunLog | None) -> None:
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
    teacher = room.taught.knowledge["validation"].attention[index]
    lookers = [Looker(name="teacher", kind="teacher", attention=teacher)]
    for arm, found in probed:
        kind = "plain" if arm.weight == 0 else "control" if arm.is_control else "led"
        led = "" if arm.guide == "teacher" or arm.weight == 0 else f"\n{arm.guide}"
        name = f"{room.spec.name}\nλ = {arm.weight:g}{led}"
        lookers.append(Looker(name=name, kind=kind, attention=found.attention[index]))
    data = room.corpus.description
    shading = "" if store.intervals_s is None else ", yellow: where the word is"
    kind = synthetic_words(data) if data["synthetic"] else data["name"]
    title = f"line: attention, its peak at the top; grey: the waveform{shading}\n{kind}"
    try:
        figure = draw_attention(shown, lookers, title)
    except ModuleNotFoundError:  # matplotlib belongs to the extra `report`; the numbers are in run.json without it
        return
    save_figure(figure, folder / PICTURE)
    if log is not None:
        log.show("attention", figure)
