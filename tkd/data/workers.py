"""Processes that make the clips of a synthetic corpus side by side.

Comes after `tkd.data.render` (one clip) and before `tkd.data.synth` (the corpus).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import numpy as np

from tkd.audio.wav import read_wav, write_wav
from tkd.data.espeak import Espeak
from tkd.data.layout import NOISE_FOLDER
from tkd.data.noise import Float32
from tkd.data.render import RECORDINGS, Levels, Utterance, render_clip, render_recording
from tkd.data.speech_commands import noise_region
from tkd.data.voices import make_speakers
from tkd.errors import DataError


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


Each = Callable[[Callable[[Any], int], Sequence[Any]], Iterator[int]]


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
    # Spawned, not forked: the caller may have threads (PyTorch's), and espeak-ng's state must not be inherited.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_process, initargs=(orders,))
    try:
        _wake(pool, jobs)
        yield lambda job, items: (
            future.result() for future in as_completed([pool.submit(job, item) for item in items])
        )
    except BrokenProcessPool as cause:
        raise DataError("a worker process died, perhaps for lack of memory; run it again with fewer --jobs") from cause
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


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


def _wake(pool: ProcessPoolExecutor, jobs: int) -> None:
    """Starts the processes with SIGINT blocked: Ctrl-C is the parent's to handle, also while they import."""
    resource_tracker.ensure_running()  # first, because the start of the tracker would unblock SIGINT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        for _ in range(jobs):  # each submission starts one process
            pool.submit(_is_awake)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _is_awake() -> bool:
    return _worker is not None


def _start_process(orders: Orders) -> None:
    global _worker
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker = _Worker(orders, Espeak())


def _end_with_parent() -> None:
    """Ends this process when its parent has been killed: nobody would read its results."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
