"""The layout of Speech Commands on disk, as found and before judgement.

    DIR/yes/3b4f8f24_nohash_0.wav     a word's folder; the speaker comes before `_nohash_`
    DIR/_background_noise_/*.wav      long recordings without speech
    DIR/validation_list.txt           `yes/3b4f8f24_nohash_0.wav`, one clip a line; the rest is for training
    DIR/testing_list.txt
    DIR/_silence_/*.wav               only where `tkd-data noisy` wrote clips without a word; in the lists like words
    DIR/noisy.json                    only there: the length of every clip

Comes before `tkd.data.speech_commands`, which draws a task from it, and `tkd.data.check`, which lists its faults.
Source: Warden 2018, arXiv 1804.03209; the hash split is `which_set` of TensorFlow's speech_commands example.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tkd.audio.wav import SAMPLE_RATE_HZ
from tkd.errors import DataError

SPLITS = ("train", "validation", "test")
NOISE_FOLDER = "_background_noise_"
SILENCE_FOLDER = "_silence_"
SYNTHETIC_MANIFEST = "synthetic.json"
NOISY_MANIFEST = "noisy.json"
LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}

_MOST_CLIPS_OF_A_CLASS = 2**27 - 1
_LONGEST_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What a folder in the layout of Speech Commands holds.

    Attributes:
        folder: where it is.
        words: file names (sorted) of each word (sorted).
        noises: file names in `_background_noise_`, sorted.
        silences: file names in `_silence_`, sorted: clips of noise without a word.
        clip_samples: length of a clip, 16,000 unless `noisy.json` says otherwise.
        is_synthetic: made by `tkd-data synth`, or from such a corpus: every number made with it must say so.
        split_of: the split that the lists give a clip (`word/file.wav`); empty when there are no lists.
        has_lists: both lists are there; otherwise the hash of the speaker's name splits.
        listed_missing: clips that a list names and the folder lacks.
        listed_twice: clips that both lists name.
    """

    folder: Path
    words: dict[str, tuple[str, ...]]
    noises: tuple[str, ...]
    silences: tuple[str, ...]
    clip_samples: int
    is_synthetic: bool
    split_of: dict[str, str]
    has_lists: bool
    listed_missing: tuple[str, ...]
    listed_twice: tuple[str, ...]

    def clips(self) -> Iterator[str]:
        """Every recording of a word as `word/file.wav`, sorted."""
        return (f"{word}/{name}" for word, names in self.words.items() for name in names)

    def split(self, clip: str) -> str:
        """The split of a clip named `word/file.wav`: by the lists when they are there, else by hash."""
        return self.split_of.get(clip, "train") if self.has_lists else hash_split(clip)


def read_layout(folder: Path, *, takes_half_of_the_lists: bool = False) -> Layout:
    """The layout of a data folder, without opening a single recording.

    Args:
        folder: the data set.
        takes_half_of_the_lists: a single list splits too, as if the other one were empty; else it is an error.

    Raises:
        DataError: there is no such folder, it cannot be read, it holds no word folders, or only one list is there.
    """
    words, noises, silences = _recordings(folder)
    if not words:
        raise DataError(
            f"{folder} has no word folders with .wav files; expected the layout of Speech Commands "
            f"({folder}/yes/*.wav …); give its folder, or make one with tkd-data synth"
        )
    lists = {split: _read_list(folder / name) for split, name in LISTS.items()}
    missing_lists = [LISTS[split] for split, clips in lists.items() if clips is None]
    if len(missing_lists) == 1 and not takes_half_of_the_lists:
        raise DataError(
            f"{folder} has no {missing_lists[0]} but has the other list; add it, or remove both to split by hash"
        )
    there = {f"{word}/{name}" for word, names in {**words, SILENCE_FOLDER: silences}.items() for name in names}
    noisy = _read_noisy(folder / NOISY_MANIFEST)
    listed = {split: clips or () for split, clips in lists.items()}
    return Layout(
        folder=folder,
        words=words,
        noises=noises,
        silences=silences,
        clip_samples=round(noisy["seconds"] * SAMPLE_RATE_HZ) if noisy else SAMPLE_RATE_HZ,
        is_synthetic=(folder / SYNTHETIC_MANIFEST).is_file() or bool(noisy and noisy["synthetic"]),
        split_of={clip: split for split, clips in listed.items() for clip in clips},
        has_lists=len(missing_lists) < len(LISTS),
        listed_missing=tuple(sorted({clip for clips in listed.values() for clip in clips} - there)),
        listed_twice=tuple(sorted(set(listed["validation"]) & set(listed["test"]))),
    )


def speaker_of(name: str) -> str:
    """The speaker of a file name or clip name: what comes before `_nohash_`.

    >>> speaker_of("bed/0c40e715_nohash_1.wav")
    '0c40e715'
    """
    return re.sub(r"(_nohash_.*|\.wav)$", "", name.rpartition("/")[2])


def hash_split(name: str, validation_percent: float = 10.0, test_percent: float = 10.0) -> str:
    """The split that a clip has by its speaker's name alone, so that a growing corpus keeps its splits.

    >>> hash_split("bed/026290a7_nohash_0.wav"), hash_split("bed/0c40e715_nohash_0.wav")
    ('validation', 'test')

    Source: Warden 2018; the arithmetic, its last digit included, is the original's.
    """
    hashed = re.sub(r"_nohash_.*$", "", name.rpartition("/")[2])
    number = int(hashlib.sha1(hashed.encode(), usedforsecurity=False).hexdigest(), 16)
    percent = number % (_MOST_CLIPS_OF_A_CLASS + 1) * (100.0 / _MOST_CLIPS_OF_A_CLASS)
    if percent < validation_percent:
        return "validation"
    return "test" if percent < validation_percent + test_percent else "train"


def _recordings(folder: Path) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...], tuple[str, ...]]:
    """(file names of each word, of the noises, of the silences); a word folder without recordings is kept, empty."""
    words: dict[str, tuple[str, ...]] = {}
    noises: tuple[str, ...] = ()
    silences: tuple[str, ...] = ()
    try:
        folders = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] != ".")
        for name in folders:
            files = tuple(sorted(entry.name for entry in os.scandir(folder / name) if entry.name.endswith(".wav")))
            if name == NOISE_FOLDER:
                noises = files
            elif name == SILENCE_FOLDER:
                silences = files
            elif name[0] != "_":
                words[name] = files
    except FileNotFoundError as cause:
        raise DataError(
            f"{folder} does not exist; give the folder of a data set, or make one with tkd-data synth"
        ) from cause
    except OSError as cause:
        raise DataError(f"{cause.filename} cannot be listed ({cause.strerror}); expected a readable folder") from cause
    return (words if any(words.values()) else {}), noises, silences


def _read_list(path: Path) -> tuple[str, ...] | None:
    """The clips that a list names, None when there is no such list."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as cause:
        raise DataError(
            f"{path} cannot be read as a list of clips ({cause}); expected one word/file.wav a line"
        ) from cause
    return tuple(line.strip() for line in lines if line.strip())


def _read_noisy(path: Path) -> dict[str, Any] | None:
    """The manifest of a corpus in noise, None where there is none."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if 0 < float(manifest["seconds"]) <= _LONGEST_S and isinstance(manifest["synthetic"], bool):
            return dict(manifest)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise DataError(f"{path} cannot be read ({cause}); make the data set again with tkd-data noisy") from cause
    raise DataError(f"{path} gives no length of clip in (0, {_LONGEST_S}] s; make it again with tkd-data noisy")
