"""Speech Commands, or any corpus in its layout, as clips of a task and as waveforms.

Comes after `tkd.data.layout` (what is on disk) and before `tkd.data.keywords` (one task, with its protocol).
Source: Warden 2018, arXiv 1804.03209.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from tkd.audio.wav import SAMPLE_RATE_HZ, Int16, read_wav
from tkd.data.dataset import Clip, LoadedClips
from tkd.data.layout import NOISE_FOLDER, SILENCE_FOLDER, SPLITS, Layout, read_layout, speaker_of
from tkd.data.loading import check_choice, chosen, fill
from tkd.errors import DataError, SettingsError

SILENCE = SILENCE_FOLDER
UNKNOWN = "_unknown_"
TWELVE_LABELS = (SILENCE, UNKNOWN, "yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
CLIP_SAMPLES = SAMPLE_RATE_HZ
"""A clip is one second long, unless the corpus says otherwise (`Layout.clip_samples`)."""

# Where each split's part of a noise recording begins and ends: no split hears another one's noise.
_NOISE_REGIONS = {"train": (0.0, 0.8), "validation": (0.8, 0.9), "test": (0.9, 1.0)}

SilenceKind = Literal["noise", "zeros"]
SplitRule = Literal["auto", "lists", "hash"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechCommands:
    """A corpus in the layout of Speech Commands, ready to draw tasks from.

    Attributes:
        folder: where it is.
        layout: what is in it.
        noise_samples: length in samples of each noise recording, by file name.
        split_rule: `lists` (the official lists) or `hash` (of the speaker's name): part of a score's protocol.
        is_synthetic: made by `tkd-data synth`; every number made with it must say so.
    """

    folder: Path
    layout: Layout
    noise_samples: dict[str, int]
    split_rule: str
    is_synthetic: bool

    def clips(
        self,
        split: str,
        seed: int = 0,
        *,
        silence: SilenceKind = "noise",
        labels: Sequence[str] = TWELVE_LABELS,
        unknown_share: float = 0.1,
        silence_share: float = 0.1,
    ) -> tuple[Clip, ...]:
        """The clips of a task, the same ones for the same arguments.

        Args:
            split: `train`, `validation` or `test`.
            seed: chooses the unknown words and the places of silence.
            silence: `noise` takes the corpus's own clips of silence where it has them, else cuts them out of the
                split's own region of the noise recordings (the first 80 % for training, then 10 % each for validation
                and test); `zeros` is TensorFlow's protocol, and easier.
            labels: names of the classes; `_silence_` and `_unknown_` only when they are among them.
            unknown_share: clips of other words per keyword clip, rounded up; the official task has 0.1.
            silence_share: clips of silence per keyword clip, rounded up.

        Raises:
            SettingsError: the split, the kind of silence or a share is not one of those.
            DataError: a class has no clips in this split.
        """
        check_choice("split", split, SPLITS)
        check_choice("silence", silence, ("noise", "zeros"))
        for name, share in (("unknown_share", unknown_share), ("silence_share", silence_share)):
            if not 0 < share < math.inf:
                raise SettingsError(f"{name} is {share}; expected a number above 0 (the official task has 0.1)")
        rng = np.random.default_rng([seed, SPLITS.index(split)])
        drawn = [
            clip
            for label, word in enumerate(labels)
            if word not in (SILENCE, UNKNOWN)
            for clip in self._of_word(word, split, label)
        ]
        unknown: list[Clip] = []
        if UNKNOWN in labels:
            unknown = self._unknown(split, labels, math.ceil(unknown_share * len(drawn)), rng)
        silent: list[Clip] = []
        if SILENCE in labels:
            wanted = math.ceil(silence_share * len(drawn))
            silent = self._silence(split, silence, wanted, labels.index(SILENCE), rng)
        return (*drawn, *unknown, *silent)

    def _unknown(self, split: str, labels: Sequence[str], wanted: int, rng: np.random.Generator) -> list[Clip]:
        """Up to `wanted` clips of words that are no labels."""
        label = labels.index(UNKNOWN)
        others = [word for word in self.layout.words if word not in labels]
        pool = [clip for word in others for clip in self._of_word(word, split, label, may_be_empty=True)]
        if not pool:
            raise self._empty_class(UNKNOWN, split)
        return [pool[index] for index in sorted(rng.permutation(len(pool))[:wanted])]

    def _of_word(self, word: str, split: str, label: int, *, may_be_empty: bool = False) -> list[Clip]:
        paths = (f"{word}/{name}" for name in self.layout.words.get(word, ()))
        found = [
            Clip(id=path, path=path, label=label, word=word, speaker=speaker_of(path), split=split)
            for path in paths
            if self.layout.split(path) == split
        ]
        if not found and not may_be_empty:
            raise self._empty_class(word, split)
        return found

    def _silence(self, split: str, kind: SilenceKind, wanted: int, label: int, rng: np.random.Generator) -> list[Clip]:
        def clip(name: str, path: str, offset: int) -> Clip:
            return Clip(id=name, path=path, label=label, word=SILENCE, speaker="", split=split, offset=offset)

        if kind == "zeros":
            return [clip(f"{SILENCE}/zeros-{index:04d}", "", 0) for index in range(wanted)]
        if self.layout.silences:
            paths = [path for path in map(f"{SILENCE}/{{}}".format, self.layout.silences)
                     if self.layout.split(path) == split]  # fmt: skip
            if not paths:
                raise self._empty_class(SILENCE, split)
            return [clip(paths[index], paths[index], 0) for index in sorted(rng.permutation(len(paths))[:wanted])]
        length = self.layout.clip_samples
        starts = [
            (f"{NOISE_FOLDER}/{name}", first, last - length)
            for name, samples in self.noise_samples.items()
            for first, last in [noise_region(samples, split)]
            if last - first >= length
        ]
        if not starts:
            shortest_s = 10 * length / SAMPLE_RATE_HZ
            raise DataError(
                f"{self.folder / NOISE_FOLDER} has no recording of {shortest_s:g} s or more to cut the silence of "
                f"split '{split}' "
                "from; add one, or ask for silence as zeros"
            )
        drawn = []
        for index in range(wanted):
            path, first, last = starts[index % len(starts)]
            offset = int(rng.integers(first, last + 1))
            drawn.append(clip(f"{path}@{offset}", path, offset))
        return drawn

    def _empty_class(self, word: str, split: str) -> DataError:
        where = "any other word" if word == UNKNOWN else f"{self.folder / word}"
        return DataError(
            f"class '{word}' has no clips in split '{split}' of {self.folder}; expected at least one of {where}; "
            "add recordings, or leave the class out of the labels"
        )


def open_speech_commands(folder: Path, split_rule: SplitRule = "auto") -> SpeechCommands:
    """The corpus in a folder; lists its files and reads the lengths of the noises, no clip.

    Args:
        folder: where it is.
        split_rule: `lists` wants the official lists, `hash` does without them, `auto` takes them where they are.

    Raises:
        DataError: no such folder, no word folders, no lists where they are wanted, or a list names clips that are not
            there or that are in both lists.
        AudioError: a noise recording cannot be used.
    """
    check_choice("split_rule", split_rule, ("auto", "lists", "hash"))
    layout = read_layout(folder)
    if split_rule == "lists" and not layout.has_lists:
        raise DataError(
            f"{folder} has no validation_list.txt and testing_list.txt; add the official lists, or split by hash"
        )
    if split_rule == "hash":
        layout = replace(layout, has_lists=False, split_of={}, listed_missing=(), listed_twice=())
    if layout.listed_missing:
        raise DataError(
            f"the lists of {folder} name {len(layout.listed_missing)} clips that are not there, the first is "
            f"{layout.listed_missing[0]}; copy the data set again, or mend the lists"
        )
    if layout.listed_twice:
        raise DataError(
            f"{len(layout.listed_twice)} clips of {folder} are in both lists, the first is {layout.listed_twice[0]}; "
            "expected each clip in one split; mend the lists"
        )
    return SpeechCommands(
        folder=folder,
        layout=layout,
        noise_samples={name: len(read_wav(folder / NOISE_FOLDER / name)) for name in layout.noises},
        split_rule="lists" if layout.has_lists else "hash",
        is_synthetic=layout.is_synthetic,
    )


def load_waveforms(
    folder: Path,
    clips: Sequence[Clip],
    *,
    clip_samples: int = CLIP_SAMPLES,
    on_bad: Literal["error", "skip"] = "error",
    advance: Callable[[int], None] | None = None,
) -> LoadedClips:
    """Reads clips from disk, each of one length: zeros are added at the end, what is longer is cut there.

    Args:
        folder: the data folder.
        clips: what to read.
        clip_samples: the length.
        on_bad: `error` stops at the first bad file; `skip` leaves bad files out and lists them in `skipped`.
        advance: called with the number of clips done since its last call.

    Raises:
        AudioError: with `error`, the first file that cannot be used.
        DataError: with `skip`, every single file is bad.
    """
    check_choice("on_bad", on_bad, ("error", "skip"))
    waveforms = np.zeros((len(clips), clip_samples), dtype=np.int16)
    noises: dict[str, Int16] = {}
    failures = fill(
        waveforms,
        clips,
        lambda clip: read_clip(folder, clip, clip_samples, noises),
        on_bad,
        advance or (lambda _done: None),
    )
    return chosen(waveforms, clips, failures, folder)


def load_background(folder: Path, split: str) -> list[Int16]:
    """A split's own part of each noise recording, int16 of shape (samples,) each; parts under one clip are left out.

    Raises:
        DataError: no such folder, or no word folders in it.
        AudioError: a noise recording cannot be used.
        SettingsError: there is no such split.
    """
    check_choice("split", split, SPLITS)
    parts = []
    layout = read_layout(folder)
    for name in layout.noises:
        sound = read_wav(folder / NOISE_FOLDER / name)
        first, last = noise_region(len(sound), split)
        if last - first >= layout.clip_samples:
            parts.append(sound[first:last])
    return parts


def noise_region(samples: int, split: str) -> tuple[int, int]:
    """(first, end) in samples of a split's own part of a noise recording of `samples` samples."""
    first, end = _NOISE_REGIONS[split]
    return round(first * samples), round(end * samples)


def read_clip(folder: Path, clip: Clip, clip_samples: int, noises: dict[str, Int16]) -> Int16:
    """The samples of one clip, at most `clip_samples`; `noises` keeps the long recordings that were read before.

    Raises:
        AudioError: the file cannot be used.
    """
    if not clip.path:
        return np.zeros(clip_samples, dtype=np.int16)
    if not clip.path.startswith(NOISE_FOLDER):
        return read_wav(folder / clip.path)[:clip_samples]
    if clip.path not in noises:
        noises[clip.path] = read_wav(folder / clip.path)
    return noises[clip.path][clip.offset : clip.offset + clip_samples]
