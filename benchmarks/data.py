"""Measures how fast clips become features, beside the naive loop over librosa, in one run on this computer.

The table of docs/data.md comes from:  python -m benchmarks.data
Both data sets are synthetic and made in a temporary folder; what is timed are files that the system has cached.

    naive   for each clip: librosa.load, librosa.feature.melspectrogram, log
    first   files → decoded cache → features in batches      (the first run on a data set)
    later   mapped cache, checksums compared → features in batches      (every other run)
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import librosa
import numpy as np
import torch

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


def naive(data: DataSet, clips: Sequence[Clip], config: FeatureConfig) -> None:
    """One clip after the other."""
    for clip in clips:
        path = data.path_of(clip)
        assert path is not None
        sound, rate_hz = librosa.load(path, sr=config.sample_rate_hz)
        sound = librosa.util.fix_length(sound[: data.clip_samples], size=data.clip_samples)
        mel = librosa.feature.melspectrogram(
            y=sound, sr=rate_hz, n_fft=config.n_fft, win_length=config.window_length, hop_length=config.hop_length,
            n_mels=config.n_mels, fmin=config.mel_low_hz, fmax=config.mel_high_hz, power=config.power, htk=True,
        )  # fmt: skip
        np.log(mel + config.log_floor)


def ours(data: DataSet, clips: Sequence[Clip], front_end: FrontEnd, cache: Path) -> None:
    """All clips, from whatever the cache has."""
    loaded = load_clips(data, clips, Loading(cache=cache, jobs=available_cores()), lambda _done: None)
    features_of(torch.from_numpy(loaded.waveforms), front_end)


@dataclass(frozen=True)
class Spent:
    """What one call took: seconds on the clock, and seconds of all cores together, those of ended workers included."""

    wall_s: float
    cpu_s: float


def spent(work: Callable[[], None]) -> Spent:
    """Time of one call."""
    wall_s, cpu_s = time.perf_counter(), sum(os.times()[:4])
    work()
    return Spent(time.perf_counter() - wall_s, sum(os.times()[:4]) - cpu_s)


def measure(name: str, data: DataSet, clips: Sequence[Clip], folder: Path) -> str:
    """A row of the table: the medians of rounds in which all three take turns."""
    front_end = FrontEnd(find_features(FRONT_END))
    few = clips[:: max(1, len(clips) // 200)]
    naive(data, few[:3], front_end.config)  # librosa compiles at its first call
    rounds: dict[str, list[tuple[float, float]]] = {"naive": [], "first": [], "later": []}
    for turn in range(ROUNDS):
        cache = folder / f"cache-{name}-{turn}"
        for kind, part in (("naive", few), ("first", clips), ("later", clips)):

            def work(kind: str = kind, part: Sequence[Clip] = part, cache: Path = cache) -> None:
                if kind == "naive":
                    naive(data, part, front_end.config)
                else:
                    ours(data, part, front_end, cache)

            took = spent(work)
            rounds[kind].append((len(part) / took.wall_s, 1e3 * took.cpu_s / len(part)))
    rate = {kind: statistics.median(each for each, _ in rows) for kind, rows in rounds.items()}
    cpu_ms = {kind: statistics.median(each for _, each in rows) for kind, rows in rounds.items()}
    cells = [f"{rate['naive']:,.0f} · {cpu_ms['naive']:.2f}"] + [
        f"{rate[kind]:,.0f} ({rate[kind] / rate['naive']:.1f} ×) · "
        f"{cpu_ms[kind]:.2f} ({cpu_ms['naive'] / cpu_ms[kind]:.1f} ×)"
        for kind in ("first", "later")
    ]
    return f"| {name} | {len(clips):,} | {' | '.join(cells)} |"


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
        events = open_fsd50k(folder / "events", Fit(samples=32_000))
        print(f"{available_cores()} cores, front end {FRONT_END}; clips a second · CPU milliseconds a clip")
        print(f"load before: {os.getloadavg()[0]:.1f}; on a busy machine the clock says less than the CPU time\n")
        print("| data, synthetic | clips | naive loop | first run | later runs |\n|---|---|---|---|---|")
        print(measure("keywords, 1 s, 16 kHz", keywords, keywords.clips("train"), folder))
        print(measure("events, 0.3 to 3 s, 44.1 kHz, cut to 2 s", events, events.clips("train"), folder))


if __name__ == "__main__":
    main()
