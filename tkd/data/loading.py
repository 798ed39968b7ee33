"""Waveforms of many clips: read once, kept in a memory-mapped cache, refused or left out when bad.

    <cache>/<key>/waveforms.npy    int16, shape (clips, samples), mapped, never read into memory as a whole
    <cache>/<key>/crc32.npy        uint32, shape (clips,): every row is compared at every opening
    <cache>/<key>/index.json       format, data folder, clips that could not be read

The key is a hash of how files are read and of every clip's name, file size and time of change, so that a changed
file makes another cache. A cache may be deleted at any time, and old ones are (`tkd.data.eviction`).
Comes after `tkd.data.dataset` and before `tkd.train.corpus` and `tkd.export.material`.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from converters.command_line import available_cores
from converters.files import whole_folder
from tkd.audio.wav import Int16
from tkd.data.dataset import Clip, DataSet, LoadedClips, targets
from tkd.data.eviction import INDEX, LIMIT_BYTES, evict, hold
from tkd.data.pool import processes
from tkd.errors import AudioError, DataError, SettingsError

FORMAT = "tkd.clips/1"

_STEP = 256
_FEWEST_FOR_PROCESSES = 2_000  # starting two takes as long as decoding some hundred long clips

OnBad = Literal["error", "skip"]
Advance = Callable[[int], None]
Failure = tuple[int, str]
"""Place of a clip that could not be read, and the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """How clips are loaded.

    Attributes:
        on_bad: `error` stops at the first bad file; `skip` leaves bad files out and lists them in `skipped`.
        cache: folder of the caches; None reads into memory.
        jobs: processes for data sets that decode slowly.
        limit_bytes: what all caches in the folder may take together; see `tkd.data.eviction`.
    """

    on_bad: OnBad = "error"
    cache: Path | None = None
    jobs: int = 1
    limit_bytes: int = LIMIT_BYTES


def default_cache() -> Path:
    """The user's own folder of caches."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tkd" / "clips"


def load_clips(data: DataSet, clips: Sequence[Clip], loading: Loading, advance: Advance) -> LoadedClips:
    """Clips of a data set with their sound, from the cache when it is there and whole.

    Raises:
        AudioError: with `error`, the first file that cannot be used.
        DataError: with `skip`, every single file is bad.
        OSError: the cache cannot be written.
    """
    check_choice("on_bad", loading.on_bad, ("error", "skip"))
    if loading.cache is None or not clips:
        waveforms = np.zeros((len(clips), data.clip_samples), dtype=np.int16)
        failures = fill(waveforms, clips, data.read, loading.on_bad, advance)
    else:
        waveforms, failures = _cached(data, clips, loading, advance)
    return chosen(waveforms, clips, failures, data.folder, len(data.labels) if data.is_multi_label else 0)


def fill(
    waveforms: Int16, clips: Sequence[Clip], read: Callable[[Clip], Int16], on_bad: OnBad, advance: Advance
) -> list[Failure]:
    """Reads clips into the rows of `waveforms`, zeros behind short ones; returns those that could not be read.

    One thread reads 115,000 short wav files a second from memory; more are slower (they contend for Python's lock).

    Raises:
        AudioError: with `error`, the first file that cannot be used.
    """
    failures: list[Failure] = []
    for index, clip in enumerate(clips):
        try:
            sound = read(clip)
        except AudioError as error:
            if on_bad == "error":
                raise
            failures.append((index, str(error)))
        else:
            waveforms[index, : len(sound)] = sound
        if index % _STEP == _STEP - 1:
            advance(_STEP)
    if len(clips) % _STEP:
        advance(len(clips) % _STEP)
    return failures


def chosen(
    waveforms: Int16, clips: Sequence[Clip], failures: Sequence[Failure], folder: Path, classes: int = 0
) -> LoadedClips:
    """The clips that could be read; `classes` is above 0 where a clip has several labels.

    Raises:
        DataError: none could.
    """
    bad = dict(failures)
    if clips and len(bad) == len(clips):
        raise DataError(f"none of the {len(clips)} clips of {folder} can be read; the first: {failures[0][1]}")
    kept = [index for index in range(len(clips)) if index not in bad]
    good = tuple(clips[index] for index in kept)
    return LoadedClips(
        waveforms=waveforms[kept] if bad else waveforms,
        labels=targets(good, classes),
        clips=good,
        skipped=tuple((clips[index].id, reason) for index, reason in failures),
    )


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Refuses a value that is not among the choices.

    Raises:
        SettingsError: it is not; the message lists the choices.
    """
    if value not in choices:
        raise SettingsError(f"{name} is '{value}'; expected one of {', '.join(choices)}")


def _cached(data: DataSet, clips: Sequence[Clip], loading: Loading, advance: Advance) -> tuple[Int16, list[Failure]]:
    assert loading.cache is not None
    folder = loading.cache / _key(data, clips)
    if folder.is_dir():
        try:
            waveforms, failures = _open(folder, (len(clips), data.clip_samples))
        except DataError as damage:
            logging.getLogger(__name__).warning("%s; it is made anew", damage)
        else:
            if failures and loading.on_bad == "error":
                raise AudioError(failures[0][1])
            advance(len(clips))
            return waveforms, failures
    _make(folder, data, clips, loading, advance)
    evict(loading.cache, folder, loading.limit_bytes)
    return _open(folder, (len(clips), data.clip_samples))


def _make(folder: Path, data: DataSet, clips: Sequence[Clip], loading: Loading, advance: Advance) -> None:
    """Decodes all clips into a new cache; an interruption leaves nothing behind."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    needed, free = 2 * len(clips) * data.clip_samples, shutil.disk_usage(folder.parent).free
    if needed > free:
        reason = f"the cache of decoded clips needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free"
        raise OSError(errno.ENOSPC, f"{reason}; name another folder in data.cache, or 'off'", str(folder.parent))
    with whole_folder(folder) as partial:
        path = partial / "waveforms.npy"
        rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.int16, shape=(len(clips), data.clip_samples))
        if data.decodes_slowly and loading.jobs > 1 and len(clips) >= _FEWEST_FOR_PROCESSES:
            failures = _fill_in_processes(path, data, clips, loading, advance)
        else:
            failures = fill(rows, clips, data.read, loading.on_bad, advance)
        np.save(partial / "crc32.npy", checksums(rows))
        rows.flush()
        del rows
        index = {"format": FORMAT, "data": str(data.folder), "reading": data.reading, "failures": failures}
        (partial / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def _open(folder: Path, shape: tuple[int, int]) -> tuple[Int16, list[Failure]]:
    """The rows of a cache, mapped, and the clips that could not be read when it was made.

    Raises:
        DataError: a file of it is missing, truncated or changed.
    """
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        # Copy on write: PyTorch wants an array that it may write to, the file is never changed.
        rows = np.load(folder / "waveforms.npy", mmap_mode="c", allow_pickle=False)
        stored = np.load(folder / "crc32.npy", allow_pickle=False)
        failures = [(int(place), str(reason)) for place, reason in index["failures"]]
    except (OSError, ValueError, EOFError, KeyError, TypeError) as cause:
        raise DataError(f"the cache {folder} is damaged ({cause})") from cause
    if rows.shape != shape or rows.dtype != np.int16 or stored.shape != shape[:1] or index.get("format") != FORMAT:
        raise DataError(f"the cache {folder} is damaged (it holds {rows.dtype} of shape {rows.shape}, not {shape})")
    changed = np.flatnonzero(checksums(rows) != stored)
    if len(changed):
        raise DataError(f"the cache {folder} is damaged ({len(changed)} clips have another checksum)")
    hold(folder, rows)
    return rows, failures


def checksums(rows: Int16) -> npt.NDArray[np.uint32]:
    """CRC-32 of each row of shape (clips, samples), shape (clips,)."""
    with ThreadPoolExecutor(available_cores()) as pool:  # zlib gives up Python's lock; mapped pages are read ahead
        parts = pool.map(
            lambda first: [zlib.crc32(row) for row in rows[first : first + _STEP]], range(0, len(rows), _STEP)
        )
        return np.array([value for part in parts for value in part], dtype=np.uint32)


def _key(data: DataSet, clips: Sequence[Clip]) -> str:
    digest = hashlib.blake2b(f"{FORMAT}|{data.reading}|{data.clip_samples}".encode(), digest_size=12)
    state_of: dict[Path | None, str] = {None: ""}
    for clip in clips:
        path = data.path_of(clip)
        if path not in state_of:
            state_of[path] = _state(path)
        digest.update(f"\n{clip.id}|{clip.offset}|{state_of[path]}".encode())
    return digest.hexdigest()


def _state(path: Path | None) -> str:
    assert path is not None
    try:
        found = path.stat()
    except OSError:
        return "unreadable"
    return f"{found.st_size}|{found.st_mtime_ns}"


def _fill_in_processes(
    path: Path, data: DataSet, clips: Sequence[Clip], loading: Loading, advance: Advance
) -> list[Failure]:
    failures: list[Failure] = []
    parts = [range(first, min(first + 64, len(clips))) for first in range(0, len(clips), 64)]
    with processes(loading.jobs, _start_process, path, data, tuple(clips), loading.on_bad) as each:
        for done, failed in each(_fill_part, parts):
            failures += failed
            advance(done)
    return sorted(failures)


_orders: tuple[Int16, DataSet, Sequence[Clip], OnBad] | None = None


def _start_process(path: Path, data: DataSet, clips: Sequence[Clip], on_bad: OnBad) -> None:
    global _orders
    _orders = np.load(path, mmap_mode="r+"), data, clips, on_bad


def _fill_part(part: range) -> tuple[int, list[Failure]]:
    assert _orders is not None, "a job outside its processes"
    rows, data, clips, on_bad = _orders
    own = [clips[index] for index in part]
    failed = fill(rows[part.start : part.stop], own, data.read, on_bad, lambda _done: None)
    return len(part), [(part.start + index, reason) for index, reason in failed]
