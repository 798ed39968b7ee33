"""Measures how fast clips become features, beside the usual loop over librosa, in one run on this computer.

The table of docs/data.md comes from:  python -m benchmarks.data
Both data sets are synthetic and made in a temporary folder; what is timed are files that the system has cached.

    loop    a torch Dataset that answers with librosa.load, librosa.feature.melspectrogram and a logarithm,
            read through a DataLoader in batches: what every epoch of such a training pays
    first   files → decoded cache → features in batches      (the first run on a data set)
    later   mapped cache, checksums compared → features in batches      (every other run)

All three give the same features: before anything is timed, the largest and the mean difference are printed, and a
difference above `TOLERANCE` ends the measurement. They take turns, round by round, so that what else the machine does
falls on all of them. *One core* pins the process to a single core; *all cores* gives the DataLoader as many worker
processes, and us as many threads.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import librosa
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from converters.command_line import available_cores
from tkd.audio.batched import features_of
from tkd.audio.features import FeatureConfig, FrontEnd, find_features
from tkd.audio.sound import Fit
from tkd.data.dataset import Clip, DataSet
from tkd.data.events import EventSettings, make_events
from tkd.data.fsd50k import open_fsd50k
from tkd.data.keywords import KeywordSettings, open_keywords
from tkd.data.loading import Loading, load_clips
from tkd.data.synth import SynthSettings, make_corpus

FRONT_END = "bcresnet"
ROUNDS = 5
BATCH = 100
KINDS = ("loop", "first", "later")
TOLERANCE = 0.02
"""Of the mean difference, in natural logarithms: resampled clips are rounded to 16 bits in our cache, so that the
quietest bands of a clip, which the floor of the logarithm hardly covers, differ more."""


class Loop(Dataset[Tensor]):
    """Features of one clip after the other, as a training script computes them."""

    def __init__(self, data: DataSet, clips: Sequence[Clip], config: FeatureConfig) -> None:
        self.paths = [data.path_of(clip) for clip in clips]
        self.samples, self.config = data.clip_samples, config

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> Tensor:
        config = self.config
        sound, rate_hz = librosa.load(self.paths[place], sr=config.sample_rate_hz)
        sound = librosa.util.fix_length(sound, size=self.samples)
        mel = librosa.feature.melspectrogram(
            y=sound, sr=rate_hz, n_fft=config.n_fft, win_length=config.window_length, hop_length=config.hop_length,
            n_mels=config.n_mels, fmin=config.mel_low_hz, fmax=config.mel_high_hz, power=config.power, htk=True,
            norm=None, pad_mode="reflect",
        )  # fmt: skip
        return torch.from_numpy(np.log(mel + config.log_floor).T)


def loop(data: DataSet, clips: Sequence[Clip], front_end: FrontEnd, _cache: Path) -> Tensor:
    """All clips through a DataLoader."""
    workers = available_cores() if available_cores() > 1 else 0
    # One thread a worker: more would wait for one another on the cores that the workers already fill.
    loader = DataLoader(
        Loop(data, clips, front_end.config), batch_size=BATCH, num_workers=workers, worker_init_fn=one_thread
    )
    return torch.cat(list(loader))


def one_thread(_worker: int) -> None:
    """Keeps torch to one thread in a worker."""
    torch.set_num_threads(1)


def ours(data: DataSet, clips: Sequence[Clip], front_end: FrontEnd, cache: Path) -> Tensor:
    """All clips, from whatever the cache has."""
    loaded = load_clips(data, clips, Loading(cache=cache, jobs=available_cores()), lambda _done: None)
    return features_of(torch.from_numpy(loaded.waveforms), front_end)


@contextmanager
def cores(count: int) -> Iterator[None]:
    """The block runs on so many of this process's cores."""
    all_of_them = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(all_of_them)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, all_of_them)


@dataclass(frozen=True)
class Spent:
    """What one call took a clip: seconds on the clock, and of all cores together, ended workers included."""

    wall_s: float
    cpu_s: float


def spent(work: Callable[[], Tensor]) -> Spent:
    """Time of one call, by the clip."""
    wall_s, cpu_s = time.perf_counter(), sum(os.times()[:4])
    clips = len(work())
    return Spent((time.perf_counter() - wall_s) / clips, (sum(os.times()[:4]) - cpu_s) / clips)


def compare(data: DataSet, clips: Sequence[Clip], cache: Path) -> tuple[float, float]:
    """The largest and the mean difference between the features of the loop and ours, in natural logarithms.

    Raises:
        SystemExit: they are not the same features.
    """
    front_end = FrontEnd(find_features(FRONT_END))
    away = (loop(data, clips, front_end, cache) - ours(data, clips, front_end, cache)).abs()
    if not away.mean() <= TOLERANCE:
        raise SystemExit(f"the two compute other things: they differ by {away.mean():.3f} on average")
    return float(away.max()), float(away.mean())


def measure(name: str, data: DataSet, clips: Sequence[Clip], folder: Path, count: int) -> str:
    """A row of the table: medians of rounds in which all three take turns."""
    front_end = FrontEnd(find_features(FRONT_END))
    few = clips[:: max(1, len(clips) // 600)]
    rounds: dict[str, list[Spent]] = {kind: [] for kind in KINDS}
    with cores(count):
        torch.set_num_threads(1)
        for _turn in range(ROUNDS):
            cache = folder / "cache"
            shutil.rmtree(cache, ignore_errors=True)
            for kind in KINDS:
                work, part = (loop, few) if kind == "loop" else (ours, clips)

                def call(work: Callable[..., Tensor] = work, part: Sequence[Clip] = part, at: Path = cache) -> Tensor:
                    return work(data, part, front_end, at)

                rounds[kind].append(spent(call))
    cells = [f"{1 / statistics.median(each.wall_s for each in rounds['loop']):,.0f}"]
    for kind in KINDS[1:]:
        pairs = list(zip(rounds["loop"], rounds[kind], strict=True))
        wall = [a.wall_s / b.wall_s for a, b in pairs]
        cpu = statistics.median(a.cpu_s / b.cpu_s for a, b in pairs)
        cells.append(
            f"{1 / statistics.median(each.wall_s for each in rounds[kind]):,.0f} · "
            f"{statistics.median(wall):.1f} × ({min(wall):.1f}–{max(wall):.1f}) · {cpu:.1f} ×"
        )
    return f"| {name} | {len(clips):,} | {count} | {' | '.join(cells)} |"


def main() -> None:
    """Prints the table."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--keywords", type=int, default=4_000, help="clips (default: %(default)s)")
    arguments.add_argument("--events", type=int, default=600, help="clips (default: %(default)s)")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_corpus(
            folder / "kw", SynthSettings(clips=options.keywords), jobs=available_cores(), advance=lambda _: None
        )
        make_events(folder / "events", EventSettings(clips=options.events), lambda _: None)
        keywords = open_keywords(folder / "kw", KeywordSettings(task="all"))
        events = open_fsd50k(folder / "events", Fit(samples=32_000, crop="start"))
        sets = {"keywords, 1 s, 16 kHz": keywords, "events, 0.3 to 3 s, 44.1 kHz, first 2 s": events}
        print(
            f"{available_cores()} cores, front end {FRONT_END}, {ROUNDS} rounds; load before: {os.getloadavg()[0]:.1f}"
        )
        for title, data in sets.items():
            most, mean = compare(data, data.clips("train")[:200], folder / "same")
            print(f"{title}: log-mel energies differ by {mean:.1e} on average, {most:.1e} at most")
        print("cells: clips a second · times the loop by the clock (lowest–highest round) · times by CPU seconds\n")
        print("| data, synthetic | clips | cores | loop, clips a second | first run | later runs |")
        print("|---|---|---|---|---|---|")
        for title, data in sets.items():
            for count in sorted({1, available_cores()}):
                print(measure(title, data, data.clips("train"), folder, count), flush=True)


if __name__ == "__main__":
    main()
