"""A small synthetic data set of sound events in the layout of FSD50K, for tests and trials.

Eight classes of FSD50K's vocabulary, each a recipe of tones, noises and clicks; one clip in four has two of them.
What is measured on it says *synthetic*: these are not recordings.
Comes before `tkd.data.fsd50k`, which reads the result like the real data set.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import tkd
from converters.files import whole_folder
from tkd.audio.wav import write_wav
from tkd.data.fsd50k import AUDIO, GROUND_TRUTH, INFO, METADATA
from tkd.data.layout import SYNTHETIC_MANIFEST
from tkd.data.made import is_made
from tkd.data.noise import Float32, at_unit_rms, brown, pink, white
from tkd.errors import SettingsError

FORMAT = "tkd.events/1"
SAMPLE_RATE_HZ = 44_100
FEWEST_CLIPS = 160
"""Fewer, and a class could be missing in a split."""

_GENERATOR = 1
_SECONDS = (0.3, 3.0)
_STEP = SAMPLE_RATE_HZ // 10  # lengths are multiples of it: their only prime factors are 2, 3, 5, 7: fast for FFT
_PARTS = (("dev", "train", 0.7), ("dev", "val", 0.15), ("eval", "", 0.15))
_LICENCES = (
    "http://creativecommons.org/publicdomain/zero/1.0/",
    "http://creativecommons.org/licenses/by/3.0/",
    "http://creativecommons.org/licenses/by-nc/3.0/",
    "http://creativecommons.org/licenses/sampling+/1.0/",
)

Sound = Callable[[np.random.Generator, int], Float32]


def _time_s(samples: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.arange(samples) / SAMPLE_RATE_HZ


def _alarm(rng: np.random.Generator, samples: int) -> Float32:
    """Beeps of one pitch, on for half of the time."""
    time_s, rate_hz = _time_s(samples), rng.uniform(2, 5)
    tone = np.sign(np.sin(2 * np.pi * rng.uniform(1_500, 3_500) * time_s))
    return at_unit_rms(tone * (time_s * rate_hz % 1 < 0.5))


def _bell(rng: np.random.Generator, samples: int) -> Float32:
    """Strokes of inharmonic partials that die away."""
    time_s, pitch_hz = _time_s(samples), rng.uniform(300, 900)
    since_s = time_s % rng.uniform(0.8, 1.6)
    partials = ((0.5, 1.0), (1.0, 1.0), (1.19, 0.7), (1.56, 0.5), (2.0, 0.6), (2.66, 0.4))
    sound = np.zeros(samples)
    for ratio, gain in partials:
        sound += gain * np.sin(2 * np.pi * pitch_hz * ratio * since_s) * np.exp(-since_s * 3 * ratio)
    return at_unit_rms(sound)


def _chirp(rng: np.random.Generator, samples: int) -> Float32:
    """Short upward sweeps, like a small bird."""
    since_s = _time_s(samples) % rng.uniform(0.15, 0.35)
    phase = 2 * np.pi * (rng.uniform(2_500, 4_000) * since_s + rng.uniform(10_000, 25_000) * since_s**2)
    return at_unit_rms(np.sin(phase) * (since_s < 0.09) * np.sin(np.pi * np.minimum(since_s / 0.09, 1)))


def _engine(rng: np.random.Generator, samples: int) -> Float32:
    """A row of low harmonics that shakes."""
    time_s, pitch_hz = _time_s(samples), rng.uniform(30, 80)
    wobble = 1 + 0.2 * np.sin(2 * np.pi * rng.uniform(4, 9) * time_s)
    harmonics = sum(np.sin(2 * np.pi * pitch_hz * number * time_s + number**2) / number for number in range(1, 13))
    return at_unit_rms(wobble * harmonics + 0.2 * pink(rng, samples, SAMPLE_RATE_HZ))


def _knock(rng: np.random.Generator, samples: int) -> Float32:
    """Dull thumps."""
    since_s = _time_s(samples) % rng.uniform(0.2, 0.5)
    thump = np.sin(2 * np.pi * rng.uniform(90, 220) * since_s) + 0.4 * white(rng, samples, SAMPLE_RATE_HZ)
    return at_unit_rms(thump * np.exp(-since_s * 60))


def _rain(rng: np.random.Generator, samples: int) -> Float32:
    """A bright noise with drops in it."""
    drops = (rng.random(samples) < rng.uniform(20, 80) / SAMPLE_RATE_HZ) * rng.normal(0, 40, samples)
    kernel = np.exp(-np.arange(200) / 25.0) * np.sin(np.arange(200) * 0.9)
    return at_unit_rms(np.diff(white(rng, samples, SAMPLE_RATE_HZ), prepend=0.0) + np.convolve(drops, kernel)[:samples])


def _siren(rng: np.random.Generator, samples: int) -> Float32:
    """A tone that rises and falls slowly."""
    time_s, middle_hz = _time_s(samples), rng.uniform(700, 1_100)
    pitch_hz = middle_hz * (1 + 0.4 * np.sin(2 * np.pi * rng.uniform(0.3, 1.0) * time_s + rng.uniform(0, 6)))
    return at_unit_rms(np.sin(2 * np.pi * np.cumsum(pitch_hz) / SAMPLE_RATE_HZ))


def _wind(rng: np.random.Generator, samples: int) -> Float32:
    """A dark noise that swells."""
    swell = 1.2 + np.sin(2 * np.pi * rng.uniform(0.1, 0.5) * _time_s(samples) + rng.uniform(0, 6))
    return at_unit_rms(swell * brown(rng, samples, SAMPLE_RATE_HZ))


# name in FSD50K's vocabulary: (its id in the AudioSet ontology, recipe), in the vocabulary's order
CLASSES: dict[str, tuple[str, Sound]] = {
    "Alarm": ("/m/07pp_mv", _alarm),
    "Bell": ("/m/0395lw", _bell),
    "Chirp_and_tweet": ("/m/07pggtn", _chirp),
    "Engine": ("/m/02mk9", _engine),
    "Knock": ("/m/07r4wb8", _knock),
    "Rain": ("/m/06mb1", _rain),
    "Siren": ("/m/03kmc9", _siren),
    "Wind": ("/m/03m9d0z", _wind),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSettings:
    """What fixes a synthetic data set of events, sample by sample.

    Attributes:
        clips: in all splits, `FEWEST_CLIPS` or more.
        seed: 0 or more.

    Raises:
        SettingsError: a value is out of its range.
    """

    clips: int = 400
    seed: int = 0

    def __post_init__(self) -> None:
        if self.clips < FEWEST_CLIPS:
            raise SettingsError(
                f"clips is {self.clips}; expected {FEWEST_CLIPS} or more, so that each split has each class"
            )
        if self.seed < 0:
            raise SettingsError(f"seed is {self.seed}; expected 0 or more")

    def made_with(self) -> dict[str, Any]:
        """`format` and `settings`, by which the same data set is known again."""
        return {"format": FORMAT, "settings": {"generator": _GENERATOR, "task": "events", **asdict(self)}}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    number: int
    part: str
    split: str
    labels: tuple[str, ...]

    @property
    def name(self) -> str:
        return str(10_000 + self.number)


def events_are_made_already(folder: Path, settings: EventSettings, *, force: bool) -> bool:
    """Whether a folder holds exactly this data set; False when it is free to be written.

    Raises:
        DataError: it holds something else; see `tkd.data.made`.
    """
    return is_made(folder, SYNTHETIC_MANIFEST, settings.made_with(), force=force)


def make_events(folder: Path, settings: EventSettings, advance: Callable[[int], None]) -> dict[str, Any]:
    """Makes the data set, whole or not at all, replacing what is in `folder`; returns its manifest.

    Raises:
        OSError: the folder cannot be written.
    """
    events = _plan(settings)
    with whole_folder(folder) as partial:
        for name in (*AUDIO.values(), GROUND_TRUTH, METADATA):
            (partial / name).mkdir()
        for event in events:
            rng = np.random.default_rng([settings.seed, 7, event.number])
            write_wav(
                partial / AUDIO[event.part] / f"{event.name}.wav",
                _render(event.labels, rng),
                sample_rate_hz=SAMPLE_RATE_HZ,
            )
            advance(1)
        _write_ground_truth(partial, events)
        manifest = {
            **settings.made_with(),
            "synthetic": True,
            "notice": "SYNTHETIC SOUNDS: computed, not recorded; say so beside every number made with them.",
            "classes": list(CLASSES),
            "clips": {
                name: sum(event.split == split for event in events)
                for name, split in (("train", "train"), ("validation", "val"), ("test", ""))
            },
            "versions": {"tkd": tkd.__version__, "numpy": np.__version__},
        }
        (partial / SYNTHETIC_MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        (partial / "README.md").write_text(
            f"# SYNTHETIC sound events\n\n{manifest['notice']}\n\n"
            f"{settings.clips} clips in the layout of FSD50K, with {len(CLASSES)} of its 200 classes.\n"
            f"Made by `tkd-data synth --task events --clips {settings.clips} --seed {settings.seed}`.\n"
            "The licences in the metadata are made up, so that what reads them can be tried.\n",
            encoding="utf-8",
        )
    return manifest


def _plan(settings: EventSettings) -> tuple[_Event, ...]:
    """Every class equally often in every split; every fourth clip has a second class."""
    names = list(CLASSES)
    events: list[_Event] = []
    for number_of_part, (part, split, share) in enumerate(_PARTS):
        rng = np.random.default_rng([settings.seed, 8, number_of_part])
        for place in range(round(share * settings.clips)):
            label = names[place % len(names)]
            other = names[(place + int(rng.integers(1, len(names)))) % len(names)]
            labels = (label, other) if place // len(names) % 4 == 3 else (label,)
            events.append(_Event(number=len(events), part=part, split=split, labels=labels))
    return tuple(events)


def _render(labels: Sequence[str], rng: np.random.Generator) -> np.ndarray[Any, np.dtype[np.int16]]:
    samples = round(rng.uniform(*_SECONDS) * SAMPLE_RATE_HZ / _STEP) * _STEP
    sound = np.zeros(samples)
    for label in labels:
        sound += CLASSES[label][1](rng, samples) * 10 ** (-rng.uniform(0, 6) / 20)
    noisy = at_unit_rms(sound) + 10 ** (-rng.uniform(10, 30) / 20) * pink(rng, samples, SAMPLE_RATE_HZ)
    level = 10 ** (rng.uniform(-30, -15) / 20)
    scaled = noisy * level / max(1.0, level * float(np.abs(noisy).max()) / 0.97)
    return np.rint(scaled * 32_767).astype(np.int16)


def _write_ground_truth(folder: Path, events: Sequence[_Event]) -> None:
    truth = folder / GROUND_TRUTH
    _write_csv(truth / "vocabulary.csv", [(index, name, row[0]) for index, (name, row) in enumerate(CLASSES.items())])
    for part in AUDIO:
        own = [event for event in events if event.part == part]
        rows = [
            (event.name, ",".join(event.labels), ",".join(CLASSES[label][0] for label in event.labels), event.split)
            for event in own
        ]
        header = ("fname", "labels", "mids", "split")
        columns = 4 if part == "dev" else 3
        _write_csv(truth / f"{part}.csv", [row[:columns] for row in (header, *rows)])
        info = {
            event.name: {
                "title": " and ".join(event.labels), "description": "SYNTHETIC", "tags": ["synthetic"],
                "license": _LICENCES[event.number % len(_LICENCES)], "uploader": "tkd-data synth",
            }
            for event in own
        }  # fmt: skip
        (folder / METADATA / INFO[part]).write_text(json.dumps(info, indent=1) + "\n", encoding="utf-8")


def _write_csv(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)
