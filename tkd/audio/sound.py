"""Sound files of any rate, channels and encoding, as 16-bit mono at the project's rate: only when told to convert.

Comes after `tkd.audio.wav` (the format that needs no conversion); used by `tkd.data.folder` and `tkd.data.fsd50k`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import soxr

from tkd.audio.wav import SAMPLE_RATE_HZ, Int16, decode, read_wav
from tkd.errors import AudioError

Crop = Literal["centre", "start", "random"]
Pad = Literal["zeros", "loop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How a recording of any length becomes a clip of one length.

        longer:    centre  ├───┤█████├───┤     start  █████├───────┤     random  ├──┤█████├─────┤
        shorter:   zeros   ███░░░              loop   ██████ (the recording again from its start)

    Attributes:
        samples: the length.
        crop: which part of a longer recording is taken; `random` is the same part at every reading.
        pad: what follows a shorter one.
        seed: of `random`, together with the clip's name.
    """

    samples: int
    crop: Crop = "centre"
    pad: Pad = "zeros"
    seed: int = 0

    def __str__(self) -> str:
        seed = f", seed {self.seed}" if self.crop == "random" else ""
        return f"{self.samples / SAMPLE_RATE_HZ:g} s, longer ones cut ({self.crop}{seed}), shorter ones {self.pad}"

    def apply(self, sound: Int16, rng: Callable[[], np.random.Generator]) -> Int16:
        """The part of a recording, shape (samples,); `rng` is called only where chance decides."""
        spare = len(sound) - self.samples
        if spare > 0:
            first = {"centre": spare // 2, "start": 0}.get(self.crop, -1)
            first = int(rng().integers(0, spare + 1)) if first < 0 else first
            return sound[first : first + self.samples]
        if self.pad == "loop":
            return np.resize(sound, self.samples)
        return np.pad(sound, (0, -spare))


def read_sound(path: Path, *, convert: bool) -> Int16:
    """The samples of a wav or flac file as 16-bit mono at 16 kHz, shape (samples,).

    Args:
        path: the file; the ending decides the decoder.
        convert: resamples other rates (soxr, high quality) and averages channels; without it they are refused.

    Raises:
        AudioError: as `read_wav`; with `convert` other rates and channels are no fault.
    """
    if path.suffix.lower() == ".wav" and not convert:
        return read_wav(path)
    samples, rate_hz = decode(path)
    if not convert and samples.shape[1] != 1:
        raise AudioError(
            f"{path}: {samples.shape[1]} channels; expected mono; mix it down, or allow conversion", fault="stereo"
        )
    if not convert and rate_hz != SAMPLE_RATE_HZ:
        raise AudioError(
            f"{path}: {rate_hz} Hz; expected {SAMPLE_RATE_HZ} Hz; resample it, or allow conversion", fault="wrong rate"
        )
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)
    if rate_hz != SAMPLE_RATE_HZ:
        mono = soxr.resample(mono, rate_hz, SAMPLE_RATE_HZ)
    if len(mono) == 0:
        raise AudioError(f"{path}: holds no samples at {SAMPLE_RATE_HZ} Hz; remove it", fault="empty")
    rounded: Int16 = np.clip(np.rint(mono * 32768.0), -32768, 32767).astype(np.int16)
    return rounded
