"""Processes that make the clips of a synthetic corpus side by side.

Comes after `tkd.data.render` (one clip) and before `tkd.data.synth` (the corpus).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tkd.audio.wav import read_wav, write_wav
from tkd.data.espeak import Espeak
from tkd.data.layout import NOISE_FOLDER
from tkd.data.noise import Float32
from tkd.data.pool import Each, processes
from tkd.data.render import RECORDINGS, Levels, Utterance, render_clip, render_recording
from tkd.data.speech_commands import noise_region
from tkd.data.voices import make_speakers


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What every worker of a corpus is told.

    Attributes:
        folder: where the word folders and `_background_noise_` are, all there and empty.
        seed: the corpus's.
        levels: the corpus's.
    """

    folder: Path
    seed: int
    levels: Levels


@contextmanager
def workers(jobs: int, orders: Orders) -> Iterator[Each]:
    """A function that does a job for each of many items in `jobs` processes, which are gone when the block ends.

    It yields the results in the order in which they come. With one job everything happens in this process.

    Raises:
        DataError: a worker died, or espeak-ng cannot be loaded.
    """
    global _worker
    if jobs == 1:
        with Espeak() as engine:
            _worker = _Worker(orders, engine)
            try:
                yield lambda job, items: (job(item) for item in items)
            finally:
                _worker = None
        return
    with processes(jobs, _start_process, orders) as each:
        yield each


def make_recording(name: str) -> int:
    """Writes one recording of `_background_noise_`; a job for `workers`."""
    orders = _here().orders
    sound = render_recording(_here().engine, name, _here().speakers, orders.levels, orders.seed)
    write_wav(orders.folder / NOISE_FOLDER / name, sound)
    return 1


def make_clips(part: Sequence[Utterance]) -> int:
    """Writes clips and returns their number; a job for `workers`, after all recordings are there.

    espeak-ng is restarted once a part, not once a clip (2 ms of 3.5): parts must not depend on the number of jobs.
    """
    orders = _here().orders
    _here().engine.restart()
    for utterance in part:
        noises = _here().noises(utterance.speaker.split)
        sound = render_clip(_here().engine, utterance, noises, orders.levels, orders.seed)
        write_wav(orders.folder / utterance.path, sound)
    return len(part)


class _Worker:
    """What a process needs to make clips: espeak-ng, the speakers, and the noises once they are written."""

    def __init__(self, orders: Orders, engine: Espeak) -> None:
        self.orders = orders
        self.engine = engine
        self.speakers = make_speakers(orders.seed)
        self._noises: dict[str, list[Float32]] = {}

    def noises(self, split: str) -> list[Float32]:
        """A split's own region of each recording."""
        if split not in self._noises:
            recordings = [read_wav(self.orders.folder / NOISE_FOLDER / name) for name in RECORDINGS]
            regions = [(sound, *noise_region(len(sound), split)) for sound in recordings]
            self._noises[split] = [sound[first:end].astype(np.float32) for sound, first, end in regions]
        return self._noises[split]


# espeak-ng is global to a process, and so is its worker.
_worker: _Worker | None = None


def _here() -> _Worker:
    assert _worker is not None, "a job outside workers()"
    return _worker


def _start_process(orders: Orders) -> None:
    global _worker
    _worker = _Worker(orders, Espeak())
