"""What every data set is to the trainer and to the exporter: labels, splits, clips, waveforms of one length.

    KeywordTask (tkd.data.keywords) ─┐
    Fsd50k      (tkd.data.fsd50k) ───┼─► DataSet ─► tkd.data.loading ─► LoadedClips
    LabelledFolder (tkd.data.folder) ┘

Comes after the readers of single files (`tkd.audio`) and before `tkd.data.loading`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tkd.audio.wav import Int16


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """Labelled sound, not yet read.

    Attributes:
        id: unique and stable name: `word/file.wav`, `_background_noise_/file.wav@offset`, or `_silence_/zeros-0007`.
        path: the file to read, relative to the data folder; empty for a clip of zeros.
        label: index into the labels of the task; the first of them where a clip has several.
        word: what is heard; `_silence_` where nothing is.
        speaker: who says it, or another group that must not be in two splits; empty where that is not known.
        split: `train`, `validation` or `test`.
        offset: first sample to read, above 0 only in noise recordings.
        labels: every label of a clip of a multi-label data set; empty in others.
        licence: of the recording, as its source states it; empty where that is one for the whole data set.
    """

    id: str
    path: str
    label: int
    word: str
    speaker: str
    split: str
    offset: int = 0
    labels: tuple[int, ...] = ()
    licence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedClips:
    """Clips with their sound.

    Attributes:
        waveforms: int16, shape (clips, samples); mapped from disk where it comes from a cache.
        labels: int64 of shape (clips,), or for several labels a clip float32 zeros and ones of shape (clips, classes).
        clips: the clips that were read, in order.
        skipped: (id, reason) of each clip that could not be read.
    """

    waveforms: Int16
    labels: npt.NDArray[Any]
    clips: tuple[Clip, ...]
    skipped: tuple[tuple[str, str], ...]


class DataSet(ABC):
    """A data set drawn for one task.

    Attributes:
        folder: where it is.
        labels: the classes, in the order of the logits.
        is_multi_label: a clip may have several labels.
        clip_samples: length of every waveform, at 16 kHz.
        reading: how a file becomes a waveform, in words; a cache made with other words is not used.
        decodes_slowly: files are resampled or unpacked, so that several processes are worth starting.
    """

    folder: Path
    labels: tuple[str, ...]
    is_multi_label: bool
    clip_samples: int
    reading: str
    decodes_slowly: bool

    @abstractmethod
    def clips(self, split: str) -> tuple[Clip, ...]:
        """The clips of `train`, `validation` or `test`, the same ones at every call.

        Raises:
            DataError: a class has no clips in this split.
        """

    @abstractmethod
    def path_of(self, clip: Clip) -> Path | None:
        """The file that a clip is read from; None for digital silence."""

    @abstractmethod
    def read(self, clip: Clip) -> Int16:
        """The sound of a clip, int16 of shape (n,), n at most `clip_samples`; what is missing at the end is silence.

        Raises:
            AudioError: the file cannot be used.
        """

    @abstractmethod
    def background(self, split: str) -> list[Int16]:
        """A split's own recordings of background noise, int16 of shape (samples,) each; none where there are none."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What every score on this data must carry.

        `name`, `folder`, `layout`, `task`, `synthetic`, `protocol` (a sentence), `clip_seconds`, `multi_label`, and
        what else the layout knows.
        """


def targets(clips: Sequence[Clip], classes: int = 0) -> npt.NDArray[Any]:
    """What is learned, as in `LoadedClips.labels`; `classes` is above 0 where a clip has several labels.

    >>> clip = Clip(id="1", path="1.wav", label=0, labels=(0, 2), word="Bell", speaker="", split="test")
    >>> targets([clip]).tolist(), targets([clip], classes=3).tolist()
    ([0], [[1.0, 0.0, 1.0]])
    """
    if classes == 0:
        return np.array([clip.label for clip in clips], dtype=np.int64)
    several = np.zeros((len(clips), classes), dtype=np.float32)
    for row, clip in enumerate(clips):
        several[row, list(clip.labels)] = 1.0
    return several
