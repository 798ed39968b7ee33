"""What a data set in the layout of Speech Commands holds, and what is wrong with it.

Comes after `tkd.data.layout`; reads every recording once and changes nothing. `tkd-data check` prints the result.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tkd.audio.wav import SAMPLE_RATE_HZ, Int16, read_wav
from tkd.data.fault import Fault
from tkd.data.layout import LISTS, NOISE_FOLDER, SILENCE_FOLDER, SPLITS, Layout, read_layout, speaker_of
from tkd.data.speech_commands import TWELVE_LABELS, UNKNOWN
from tkd.errors import AudioError

FORMAT = "tkd.check/1"

# Real recordings of a word are 0.3 s or more; a shorter one was cut off.
SHORTEST_S = 0.1

_TEXTS = (".md", ".txt", ".csv", ".json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What one split holds of one class.

    Attributes:
        split: `train`, `validation` or `test`.
        label: the class; words that are no keywords count as `_unknown_`.
        clips: number of readable recordings.
        speakers: number of different speakers in them.
        seconds: their length.
    """

    split: str
    label: str
    clips: int
    speakers: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """The result of a check.

    Attributes:
        folder: the data folder.
        split_rule: `lists` or `hash`.
        is_synthetic: made by `tkd-data synth`.
        words: number of word folders.
        speakers: number of different speakers in all splits.
        holdings: every split and class.
        noise_seconds: length of each noise recording by name.
        short_clips: clips under one second, which readers fill with zeros; no fault.
        faults: everything wrong, in the order of the files.
        layout: `speech_commands`, `test_archive`, `fsd50k` or `folder`.
        clip_seconds: length of a clip of `speech_commands`.
        licences: number of clips under each licence, where clips have their own.
    """

    folder: Path
    split_rule: str
    is_synthetic: bool
    words: int
    speakers: int
    holdings: tuple[Holding, ...]
    noise_seconds: dict[str, float]
    short_clips: int
    faults: tuple[Fault, ...]
    layout: str = "speech_commands"
    clip_seconds: float = 1.0
    licences: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The report for JSON."""
        return {
            "format": FORMAT,
            "folder": str(self.folder),
            "layout": self.layout,
            "clip_seconds": self.clip_seconds,
            "licences": self.licences,
            "split_rule": self.split_rule,
            "synthetic": self.is_synthetic,
            "words": self.words,
            "speakers": self.speakers,
            "holdings": [
                {"split": row.split, "label": row.label, "clips": row.clips, "speakers": row.speakers,
                 "seconds": round(row.seconds, 3)}
                for row in self.holdings
            ],
            "noise_seconds": {name: round(seconds, 3) for name, seconds in self.noise_seconds.items()},
            "short_clips": self.short_clips,
            "fault_counts": dict(Counter(fault.kind for fault in self.faults)),
            "faults": [{"kind": fault.kind, "path": fault.path, "detail": fault.detail} for fault in self.faults],
        }  # fmt: skip


def check_data(folder: Path, *, advance: Callable[[int], None] | None = None) -> CheckReport:
    """Reads everything in a data folder once.

    Args:
        folder: a data set in the layout of Speech Commands.
        advance: called with the number of recordings done since its last call.

    Raises:
        DataError: this is no data set: no folder, no word folders, or a list that is no text.
    """
    layout = read_layout(folder, takes_half_of_the_lists=True)
    reading = _Reading(layout)
    for path in layout.clips():
        reading.read_clip(path)
        if advance:
            advance(1)
    noise_seconds = reading.read_noises()
    for name in layout.silences:
        reading.read_clip(f"{SILENCE_FOLDER}/{name}")
    labels = _labels(layout)
    holdings = tuple(reading.holding(split, label) for label in labels for split in SPLITS)
    return CheckReport(
        folder=folder,
        split_rule="lists" if layout.has_lists else "hash",
        is_synthetic=layout.is_synthetic,
        words=len(layout.words),
        speakers=len(reading.splits_of_speaker),
        holdings=holdings,
        noise_seconds=noise_seconds,
        short_clips=reading.short_clips,
        clip_seconds=layout.clip_samples / SAMPLE_RATE_HZ,
        faults=(*reading.faults, *_layout_faults(layout), *reading.speaker_faults(), *_class_faults(layout, holdings)),
    )


class _Reading:
    """What has been seen so far."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.labels = set(_labels(layout))
        self.faults: list[Fault] = []
        self.short_clips = 0
        self.splits_of_speaker: dict[str, set[str]] = {}
        self._path_of_content: dict[bytes, str] = {}
        self._clips: Counter[tuple[str, str]] = Counter()
        self._samples: Counter[tuple[str, str]] = Counter()
        self._speakers: dict[tuple[str, str], set[str]] = {}

    def read_clip(self, path: str) -> None:
        """Reads a clip, notes its faults, and counts it when it is readable."""
        sound = self._read(path)
        if sound is None:
            return
        split, word = self.layout.split(path), path.partition("/")[0]
        if word == SILENCE_FOLDER:
            self._judge(path, sound)
            return
        place = split, word if word in self.labels else UNKNOWN
        speaker = speaker_of(path)
        self._clips[place] += 1
        self._samples[place] += len(sound)
        self._speakers.setdefault(place, set()).add(speaker)
        self.splits_of_speaker.setdefault(speaker, set()).add(split)
        self._judge(path, sound)

    def read_noises(self) -> dict[str, float]:
        """Seconds of each readable noise recording."""
        sounds = {name: self._read(f"{NOISE_FOLDER}/{name}") for name in self.layout.noises}
        return {name: len(sound) / SAMPLE_RATE_HZ for name, sound in sounds.items() if sound is not None}

    def holding(self, split: str, label: str) -> Holding:
        """What was counted of a class in a split."""
        place = split, label
        seconds = self._samples[place] / SAMPLE_RATE_HZ
        speakers = len(self._speakers.get(place, ()))
        return Holding(split=split, label=label, clips=self._clips[place], speakers=speakers, seconds=seconds)

    def speaker_faults(self) -> list[Fault]:
        """Speakers whom more than one split hears."""
        return [
            Fault(
                kind="speaker in two splits",
                path=speaker,
                detail=f"is in {' and '.join(sorted(splits))}; expected in one: test clips of known voices flatter",
            )
            for speaker, splits in sorted(self.splits_of_speaker.items())
            if len(splits) > 1
        ]

    def _read(self, path: str) -> Int16 | None:
        try:
            return read_wav(self.layout.folder / path)
        except AudioError as error:
            detail = str(error).removeprefix(f"{self.layout.folder / path}: ")
            self.faults.append(Fault(kind=error.fault, path=path, detail=detail))
            return None

    def _judge(self, path: str, sound: Int16) -> None:
        seconds, longest_s = len(sound) / SAMPLE_RATE_HZ, self.layout.clip_samples / SAMPLE_RATE_HZ
        self.short_clips += len(sound) < self.layout.clip_samples
        if seconds < SHORTEST_S or len(sound) > self.layout.clip_samples:
            self.faults.append(
                Fault(
                    kind="wrong length", path=path, detail=f"{seconds:.3f} s; expected {SHORTEST_S} to {longest_s:g} s"
                )
            )
        if not sound.any():
            self.faults.append(Fault(kind="all zeros", path=path, detail="every sample is 0; expected a word"))
            return
        content = hashlib.blake2b(sound.tobytes(), digest_size=16).digest()
        first = self._path_of_content.setdefault(content, path)
        if first != path:
            detail = f"the same sound as {first} ({self.layout.split(first)}); this one is in {self.layout.split(path)}"
            self.faults.append(Fault(kind="duplicate content", path=path, detail=detail))


def _labels(layout: Layout) -> list[str]:
    """The classes of a data set: the ten keywords and `_unknown_` when one of them is there, else every word."""
    keywords = list(TWELVE_LABELS[2:])
    return [*keywords, UNKNOWN] if any(word in layout.words for word in keywords) else list(layout.words)


def _layout_faults(layout: Layout) -> list[Fault]:
    missing = [
        Fault(kind="listed but missing", path=path, detail=f"{_list_of(layout, path)} names it; there is no such file")
        for path in layout.listed_missing
    ]
    twice = [
        Fault(kind="in both lists", path=path, detail="expected in one of the two lists")
        for path in layout.listed_twice
    ]
    lists = [
        Fault(kind="missing file", path=name, detail="the other list is there; add it, or remove both to split by hash")
        for name in LISTS.values()
        if layout.has_lists and not (layout.folder / name).exists()
    ]
    extra = [
        Fault(kind="extra file", path=path, detail="is never read; expected .wav files in the folder of a word")
        for path in strangers(layout.folder, (".wav",), [*layout.words, NOISE_FOLDER])
    ]
    return [*lists, *missing, *twice, *extra]


def strangers(folder: Path, endings: tuple[str, ...], sub_folders: Iterable[str]) -> list[str]:
    """Files in these sub-folders, relative to the folder, that no reader takes; hidden ones and texts are no matter."""
    found = []
    for name in sub_folders:
        for path in sorted((folder / name).rglob("*")) if (folder / name).is_dir() else ():
            is_read = path.suffix in endings or path.suffix.lower() in _TEXTS or path.name.startswith(".")
            if not is_read and path.is_file():
                found.append(path.relative_to(folder).as_posix())
    return found


def _list_of(layout: Layout, path: str) -> str:
    return LISTS[layout.split_of[path]]


def _class_faults(layout: Layout, holdings: tuple[Holding, ...]) -> list[Fault]:
    empty = [
        Fault(kind="empty class", path=word, detail="the folder has no .wav files")
        for word, names in layout.words.items()
        if not names
    ]
    known_empty = {fault.path for fault in empty}
    absent = [
        Fault(kind="class missing in a split", path=row.label, detail=f"has no readable clips in split '{row.split}'")
        for row in holdings
        if row.clips == 0 and row.label not in known_empty
    ]
    return [*empty, *absent]
