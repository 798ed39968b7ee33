"""Keywords at random places in seconds of noise, in the layout of Speech Commands.

    DIR/yes/3b4f8f24_nohash_0.wav      the word of that clip, somewhere in the noise
    DIR/_silence_/noise_00000.wav      the noise alone, in the lists like words
    DIR/_background_noise_/*.wav       every noise that was used; each split hears its own region
    DIR/intervals.csv                  clip,start_s,end_s,snr_db,noise: where the word is; empty for silence
    DIR/noisy.json                     settings, source, length of the clips

After Noisy Speech Commands v2 (Choi et al. 2022, arXiv 2110.14131), which places words of Speech Commands in 2, 4, 6 or
8 s of noise. Its noises, SNR and placement are unpublished: the defaults here are ours.
Comes after `tkd.data.mixing` (one clip); `tkd.data.speech_commands` reads the result like any corpus.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import itertools
import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import tkd
from converters.command_line import did_you_mean
from converters.files import whole_folder
from tkd.audio.wav import SAMPLE_RATE_HZ, Int16, read_wav, write_wav
from tkd.data.layout import LISTS, NOISE_FOLDER, NOISY_MANIFEST, SILENCE_FOLDER, SPLITS, Layout
from tkd.data.made import is_made
from tkd.data.mixing import Mixed, MixSettings, mix
from tkd.data.noise import NOISES, drifting_level
from tkd.data.pool import Each, processes
from tkd.data.speech_commands import TWELVE_LABELS, noise_region, open_speech_commands
from tkd.errors import DataError, SettingsError

FORMAT = "tkd.noisy/1"
INTERVALS = "intervals.csv"
OWN = "own"
"""The noise that stands for the source's own `_background_noise_`."""

_CLIPS_PER_JOB = 50
_SILENCE_SHARE = 0.1
_STREAM_NOISE, _STREAM_CLIP = 5, 6

Row = tuple[str, str, str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisySettings:
    """What fixes a corpus in noise, sample by sample, together with its source.

    Attributes:
        seconds: length of a clip, 1 to 60; the paper has 2, 4, 6 and 8.
        seed: 0 or more.
        snr_db: see `MixSettings`. Ours: between 5 and 30 dB a TC-ResNet8 has 82 to 86 % on synthetic speech.
        level_dbfs: see `MixSettings`.
        noise: `own`, kinds of `tkd.data.noise.NOISES`, and folders of recordings at 16 kHz, mono.
        most: clips of a word in a split at most; 0 takes all.

    Raises:
        SettingsError: a value is out of its range.
    """

    seconds: float
    seed: int = 0
    snr_db: tuple[float, float] = (5.0, 30.0)
    level_dbfs: tuple[float, float] = (-30.0, -18.0)
    noise: tuple[str, ...] = (OWN, *NOISES)
    most: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.seconds <= 60:
            raise SettingsError(f"seconds is {self.seconds:g}; expected 1 to 60 (the paper has 2, 4, 6 and 8)")
        if min(self.seed, self.most) < 0:
            raise SettingsError(f"seed is {self.seed} and most is {self.most}; expected 0 or more")
        for name in ("snr_db", "level_dbfs"):
            low, high = getattr(self, name)
            if not (math.isfinite(low) and math.isfinite(high) and low <= high):
                raise SettingsError(f"{name} is {low:g} to {high:g}; expected the lower number first")
        for name in self.noise:
            if name not in (OWN, *NOISES) and not Path(name).is_dir():
                raise SettingsError(did_you_mean(name, (OWN, *NOISES), "noise or folder"))
        if not self.noise:
            raise SettingsError("no noise; expected at least one kind or folder")

    @property
    def mixing(self) -> MixSettings:
        """The part that concerns one clip."""
        return MixSettings(samples=round(self.seconds * SAMPLE_RATE_HZ), snr_db=self.snr_db, level_dbfs=self.level_dbfs)

    def to_dict(self) -> dict[str, Any]:
        """The settings as they stand in the manifest."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be made.

    Attributes:
        source: the corpus that the words come from.
        settings: how.
        clips: (path, split) of every word; of every silence with a path in `_silence_`.
        fingerprint: hash of the source's file names and sizes.
    """

    source: Layout
    settings: NoisySettings
    clips: tuple[tuple[str, str], ...]
    fingerprint: str

    @property
    def needed_bytes(self) -> int:
        """Room that the clips take on the disk."""
        return len(self.clips) * (44 + 2 * self.settings.mixing.samples)

    def made_with(self) -> dict[str, Any]:
        """`format` and `settings`, by which the same corpus is known again."""
        return {"format": FORMAT, "settings": {**self.settings.to_dict(), "source_fingerprint": self.fingerprint}}


def plan_noisy(source: Path, settings: NoisySettings) -> Plan:
    """What would be made of a corpus; reads no clip.

    Raises:
        DataError: the source is no data set, has no noise of its own where that is wanted, or is in noise already.
        AudioError: a noise recording of the source cannot be used.
    """
    layout = open_speech_commands(source).layout
    if (source / NOISY_MANIFEST).exists():
        raise DataError(f"{source} was made by tkd-data noisy; expected clips of one second; give its source")
    if OWN in settings.noise and not layout.noises:
        raise DataError(f"{source} has no recordings in {NOISE_FOLDER}; leave '{OWN}' out of --noise, or add some")
    words: list[tuple[str, str]] = []
    silences: list[tuple[str, str]] = []
    for split in SPLITS:
        keywords = 0
        for word, names in layout.words.items():
            own = [f"{word}/{name}" for name in names if layout.split(f"{word}/{name}") == split]
            own = own[: settings.most or None]
            words += [(path, split) for path in own]
            keywords += len(own) if word in TWELVE_LABELS else 0
        wanted = math.ceil(_SILENCE_SHARE * keywords)
        silences += [(f"{SILENCE_FOLDER}/noise_{len(silences) + number:05d}.wav", split) for number in range(wanted)]
    digest = hashlib.blake2b(digest_size=12)
    for path in [*(clip for clip, _ in words), *(f"{NOISE_FOLDER}/{name}" for name in layout.noises)]:
        digest.update(f"{path}|{(source / path).stat().st_size}\n".encode())
    return Plan(source=layout, settings=settings, clips=(*words, *silences), fingerprint=digest.hexdigest())


def is_made_already(folder: Path, plan: Plan, *, force: bool) -> bool:
    """Whether a folder holds exactly this corpus; False when it is free to be written.

    Raises:
        DataError: the folder is or holds the source, or holds something else; see `tkd.data.made`.
    """
    here, source = folder.resolve(), plan.source.folder.resolve()
    if here == source or here in source.parents or source in here.parents:
        raise DataError(f"{folder} and the source {plan.source.folder} are one inside the other; give another --out")
    return is_made(folder, NOISY_MANIFEST, plan.made_with(), force=force)


def make_noisy(folder: Path, plan: Plan, *, jobs: int, advance: Callable[[int], None]) -> dict[str, Any]:
    """Makes the corpus, whole or not at all, replacing what is in `folder`; the same for any number of jobs.

    Args:
        folder: where it goes; see `is_made_already`.
        plan: what it is.
        jobs: processes, 1 or more; 1 stays in this process.
        advance: called with the number of clips done since its last call.

    Returns:
        The manifest, as in `noisy.json`.

    Raises:
        AudioError: a clip of the source cannot be used.
        DataError: a clip of the source is longer than the clips to be made, or a worker died.
        OSError: the folder cannot be written.
    """
    if jobs < 1:
        raise SettingsError(f"jobs is {jobs}; expected 1 or more")
    _check_room(folder, plan)
    with whole_folder(folder) as partial:
        for name in {path.partition("/")[0] for path, _ in plan.clips} | {NOISE_FOLDER}:
            (partial / name).mkdir()
        _write_noises(partial / NOISE_FOLDER, plan)
        parts = [plan.clips[first : first + _CLIPS_PER_JOB] for first in range(0, len(plan.clips), _CLIPS_PER_JOB)]
        rows: list[Row] = []
        with _workers(jobs, _Orders(source=plan.source.folder, folder=partial, settings=plan.settings)) as each:
            for made in each(_make_clips, parts):
                rows += made
                advance(len(made))
        with (partial / INTERVALS).open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream, lineterminator="\n").writerows(
                [("clip", "start_s", "end_s", "snr_db", "noise"), *sorted(rows)]
            )
        for split, name in LISTS.items():
            listed = sorted(path for path, of in plan.clips if of == split)
            (partial / name).write_text("".join(f"{path}\n" for path in listed), encoding="utf-8")
        manifest = _manifest(plan)
        (partial / NOISY_MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return manifest


def read_intervals(folder: Path) -> dict[str, tuple[float, float] | None]:
    """(start, end) in seconds of the word of each clip `word/file.wav`; None for a clip without one.

    Raises:
        DataError: there is no such file, or a line of it cannot be read.
    """
    path = folder / INTERVALS
    found: dict[str, tuple[float, float] | None] = {}
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                found[row["clip"]] = (float(row["start_s"]), float(row["end_s"])) if row["start_s"] else None
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as cause:
        raise DataError(
            f"{path} cannot be read as intervals of words ({cause}); make the data set again with tkd-data noisy"
        ) from cause
    return found


def _check_room(folder: Path, plan: Plan) -> None:
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(there).free
    if plan.needed_bytes > free:
        raise OSError(
            errno.ENOSPC,
            f"{len(plan.clips):,} clips need {plan.needed_bytes / 1e9:.1f} GB and {free / 1e9:.1f} GB are free",
            str(folder),
        )


def _write_noises(folder: Path, plan: Plan) -> None:
    """Every noise that clips are mixed from: copied recordings, and generated ones with a part of its own a split."""
    settings = plan.settings
    for name in settings.noise:
        if name in NOISES:
            write_wav(folder / f"{name}.wav", _generated(name, settings))
            continue
        recordings = plan.source.folder / NOISE_FOLDER if name == OWN else Path(name)
        paths = sorted(recordings.glob("*.wav"))
        if not paths:
            raise DataError(f"{recordings} has no .wav files; expected recordings of noise at 16 kHz, mono")
        for path in paths:
            write_wav(folder / f"{recordings.name.strip('_')}-{path.name}", read_wav(path))


def _generated(kind: str, settings: NoisySettings) -> Int16:
    """A recording long enough that a tenth of it, the smallest region, holds four clips."""
    samples = max(60 * SAMPLE_RATE_HZ, 40 * settings.mixing.samples)
    parts = []
    for index, split in enumerate(SPLITS):
        rng = np.random.default_rng([settings.seed, _STREAM_NOISE, list(NOISES).index(kind), index])
        first, end = noise_region(samples, split)
        sound = NOISES[kind](rng, end - first, SAMPLE_RATE_HZ)
        parts.append(drifting_level(rng, sound, SAMPLE_RATE_HZ, settings.level_dbfs))
    return np.rint(np.concatenate(parts) * 32_767).astype(np.int16)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Orders:
    source: Path
    folder: Path
    settings: NoisySettings


class _Mixer:
    """What a process needs to mix clips: the orders, and each split's regions of the noises."""

    def __init__(self, orders: _Orders) -> None:
        self.orders = orders
        self._noises: dict[str, dict[str, Int16]] = {}

    def noises(self, split: str) -> dict[str, Int16]:
        if split not in self._noises:
            recordings = {path.stem: read_wav(path) for path in (self.orders.folder / NOISE_FOLDER).glob("*.wav")}
            regions = {name: slice(*noise_region(len(sound), split)) for name, sound in recordings.items()}
            found = {name: sound[regions[name]].copy() for name, sound in recordings.items()}
            self._noises[split] = {name: sound for name, sound in found.items() if sound.any()}
            if not self._noises[split]:
                raise DataError(f"the noises are silent in split '{split}'; expected sound; give others with --noise")
        return self._noises[split]

    def make(self, path: str, split: str) -> Row:
        orders = self.orders
        name_hash = int.from_bytes(hashlib.blake2b(path.encode(), digest_size=8).digest(), "big")
        rng = np.random.default_rng([orders.settings.seed, _STREAM_CLIP, name_hash])
        word = None if path.startswith(SILENCE_FOLDER) else read_wav(orders.source / path)
        longest = orders.settings.mixing.samples
        if word is not None and len(word) > longest:
            raise DataError(
                f"{orders.source / path} is {len(word) / SAMPLE_RATE_HZ:.3f} s long; expected at most "
                f"{orders.settings.seconds:g} s; give a longer --seconds, or shorten it"
            )
        mixed = mix(word, self.noises(split), orders.settings.mixing, rng)
        write_wav(orders.folder / path, mixed.samples)
        return _row(path, mixed)


def _row(path: str, mixed: Mixed) -> Row:
    if mixed.first is None or mixed.end is None or mixed.snr_db is None:
        return path, "", "", "", "+".join(mixed.noises)
    start_s, end_s = mixed.first / SAMPLE_RATE_HZ, mixed.end / SAMPLE_RATE_HZ
    return path, f"{start_s:.4f}", f"{end_s:.4f}", f"{mixed.snr_db:.2f}", "+".join(mixed.noises)


_mixer: _Mixer | None = None


def _start_process(orders: _Orders) -> None:
    global _mixer
    _mixer = _Mixer(orders)


def _make_clips(part: Sequence[tuple[str, str]]) -> list[Row]:
    assert _mixer is not None, "a job outside its processes"
    return list(itertools.starmap(_mixer.make, part))


@contextlib.contextmanager
def _workers(jobs: int, orders: _Orders) -> Iterator[Each]:
    if jobs > 1:
        with processes(jobs, _start_process, orders) as each:
            yield each
        return
    _start_process(orders)
    yield lambda job, items: (job(item) for item in items)


def _manifest(plan: Plan) -> dict[str, Any]:
    return {
        **plan.made_with(),
        "source": plan.source.folder.name,
        "synthetic": plan.source.is_synthetic,
        "seconds": plan.settings.seconds,
        "clips": {split: sum(of == split for _, of in plan.clips) for split in SPLITS},
        "noise_of_splits": "first 80 % of each recording for training, then 10 % each for validation and test",
        "versions": {"tkd": tkd.__version__, "numpy": np.__version__},
    }
