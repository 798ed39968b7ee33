"""One clip of a corpus in noise: a word, noises and a random generator in, samples out.

    word ─► its place ─┐
    one noise or two ──┴─► SNR ─► level ─► int16
Used by `tkd.data.noisy`. The recipe is ours: that of the paper (Choi et al. 2022, arXiv 2110.14131) is unpublished.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tkd.audio.wav import SAMPLE_RATE_HZ, Int16
from tkd.data.noise import Float32

_FRAME = SAMPLE_RATE_HZ // 50  # 20 ms
_ACTIVE_DB = 20.0  # frames within this of the loudest are the word; the rest of a clip is its own quiet
_FADE = SAMPLE_RATE_HZ // 200  # 5 ms, so that the ends of a clip make no click
_SECOND_NOISE_DB = (-10.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class MixSettings:
    """How a clip is mixed.

    Attributes:
        samples: length of the clip.
        snr_db: lowest and highest ratio of the word's RMS, where it sounds, to the noise's; each clip draws its own.
        level_dbfs: lowest and highest RMS of the whole clip, in dB below full scale.
    """

    samples: int
    snr_db: tuple[float, float]
    level_dbfs: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixed:
    """A clip and how it came about.

    Attributes:
        samples: int16, shape (samples,).
        first: first sample at which the word sounds; None without one.
        end: first sample after its sound; None without one.
        snr_db: what was drawn; None without a word.
        noises: names of the noises, the louder first.
    """

    samples: Int16
    first: int | None
    end: int | None
    snr_db: float | None
    noises: tuple[str, ...]


def mix(word: Int16 | None, noises: Mapping[str, Int16], settings: MixSettings, rng: np.random.Generator) -> Mixed:
    """A word, or nothing, in noise over the whole length; level and edges do not tell which.

    Args:
        word: shape (n,), n at most `settings.samples`; None makes a clip of silence, which is noise alone.
        noises: recordings by name, each at least one sample long; one that is shorter than a clip is repeated.
        settings: length and levels.
        rng: decides place, noises, SNR and level, in this order.
    """
    place = rng.random()
    clip, names = _noise(noises, settings.samples, rng)
    snr_db = rng.uniform(*settings.snr_db)
    level_dbfs = rng.uniform(*settings.level_dbfs)
    first = end = None
    if word is not None:
        begin = int(place * (settings.samples - len(word) + 1))
        sound, is_active = _at_active_rms(word)
        clip *= 10 ** (-snr_db / 20)
        clip[begin : begin + len(word)] += sound
        active = np.flatnonzero(is_active)
        first = begin + int(active[0]) * _FRAME
        end = begin + min(len(word), (int(active[-1]) + 1) * _FRAME)
    clip *= 10 ** (level_dbfs / 20) / max(_rms(clip), 1e-9)
    clip *= 32_767 / max(1.0, float(np.abs(clip).max()) / 0.97)  # a peak turns the whole clip down, nothing is clipped
    return Mixed(
        samples=np.rint(clip).astype(np.int16),
        first=first,
        end=end,
        snr_db=snr_db if word is not None else None,
        noises=names,
    )


def _noise(noises: Mapping[str, Int16], samples: int, rng: np.random.Generator) -> tuple[Float32, tuple[str, ...]]:
    """One noise, or one and a quieter second, of unit RMS."""
    names = sorted(noises)
    picked = [names[int(rng.integers(len(names)))] for _ in range(int(rng.integers(1, 3)))]
    mixed = np.zeros(samples, dtype=np.float32)
    for number, name in enumerate(picked):
        piece = _piece(noises[name], samples, rng)
        gain_db = rng.uniform(*_SECOND_NOISE_DB) if number else 0.0
        mixed += 10 ** (gain_db / 20) * piece / max(_rms(piece), 1e-9)
    mixed /= max(_rms(mixed), 1e-9)
    return mixed, tuple(picked)


def _piece(recording: Int16, samples: int, rng: np.random.Generator) -> Float32:
    """Samples from a random place of a recording, without their mean; a short recording is repeated."""
    if len(recording) < samples:
        recording = np.resize(np.roll(recording, -int(rng.integers(len(recording)))), samples)
    first = int(rng.integers(0, len(recording) - samples + 1))
    piece = recording[first : first + samples].astype(np.float32)
    piece -= piece.mean()
    return piece


def _at_active_rms(word: Int16) -> tuple[Float32, npt.NDArray[np.bool_]]:
    """A word without its mean, faded at both ends, at an RMS of 1 where it sounds; and in which frames it does."""
    sound = word.astype(np.float32)
    sound -= sound.mean()
    fade = np.linspace(0, 1, min(_FADE, len(sound)), dtype=np.float32)
    sound[: len(fade)] *= fade
    sound[len(sound) - len(fade) :] *= fade[::-1]
    power = np.square(sound[: max(1, len(sound) // _FRAME) * _FRAME])
    frames = power.reshape(-1, _FRAME).mean(axis=1) if len(power) >= _FRAME else power.mean(keepdims=True)
    is_active = frames >= frames.max() * 10 ** (-_ACTIVE_DB / 10)
    sound /= max(float(np.sqrt(frames[is_active].mean())), 1e-9)
    return sound, is_active


def _rms(sound: Float32) -> float:
    return float(np.sqrt(np.mean(np.square(sound, dtype=np.float64))))
