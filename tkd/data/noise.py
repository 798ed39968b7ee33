"""Noises that a keyword corpus is spoken into, each from a random generator alone.

Used by `tkd.data.synth` for the recordings in `_background_noise_`; babble, which needs speakers, is made there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


def white(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Float32:
    """Noise of equal power per hertz."""
    return _coloured(rng, samples, sample_rate_hz, slope=0.0)


def pink(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Float32:
    """Noise of equal power per octave, 3 dB less per hertz with each octave."""
    return _coloured(rng, samples, sample_rate_hz, slope=0.5)


def brown(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Float32:
    """Noise that falls by 6 dB per octave, like wind and traffic."""
    return _coloured(rng, samples, sample_rate_hz, slope=1.0)


def hum(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Float32:
    """Mains hum of 50 or 60 Hz with up to 14 harmonics, over a little pink noise."""
    time_s = np.arange(samples) / sample_rate_hz
    mains_hz = rng.choice([50.0, 60.0]) * (1 + rng.uniform(-0.004, 0.004))
    sound = 0.15 * pink(rng, samples, sample_rate_hz).astype(np.float64)
    for harmonic in range(1, int(rng.integers(6, 15))):
        strength = rng.uniform(0.1, 1.0) / harmonic**0.7
        sound += strength * np.sin(2 * np.pi * mains_hz * harmonic * time_s + rng.uniform(0, 2 * np.pi))
    return at_unit_rms(without_rumble(sound, sample_rate_hz))


def bursts(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Float32:
    """Knocks, clicks and clatter: about four decaying bursts a second over a floor of pink noise."""
    sound = 0.25 * pink(rng, samples, sample_rate_hz).astype(np.float64)
    for start in np.sort(rng.integers(0, samples, size=max(1, 4 * samples // sample_rate_hz))):
        length = min(int(rng.uniform(0.02, 0.25) * sample_rate_hz), samples - int(start))
        decay = np.exp(-np.arange(length) / (sample_rate_hz * rng.uniform(0.005, 0.06)))
        knock = _coloured(rng, max(length, 2), sample_rate_hz, slope=rng.uniform(0.0, 0.8))[:length]
        sound[start : start + length] += rng.uniform(0.5, 2.0) * decay * knock
    return at_unit_rms(without_rumble(sound, sample_rate_hz))


NOISES: dict[str, Callable[[np.random.Generator, int, int], Float32]] = {
    "white": white,
    "pink": pink,
    "brown": brown,
    "hum": hum,
    "bursts": bursts,
}


def without_rumble(sound: npt.NDArray[np.floating], sample_rate_hz: int) -> npt.NDArray[np.float64]:
    """A sound without anything below 30 Hz, so that every second of it has hardly any constant offset."""
    spectrum = np.fft.rfft(sound)
    spectrum[np.fft.rfftfreq(len(sound), 1 / sample_rate_hz) < 30.0] = 0
    return np.fft.irfft(spectrum, len(sound))


def at_unit_rms(sound: npt.NDArray[np.floating]) -> Float32:
    """A sound without its mean, scaled to a root mean square of 1; all zeros stay zeros."""
    centred = np.asarray(sound, dtype=np.float64) - np.mean(sound)
    rms = float(np.sqrt(np.mean(np.square(centred))))
    scaled: Float32 = (centred / rms if rms > 0 else centred).astype(np.float32)
    return scaled


def drifting_level(
    rng: np.random.Generator, sound: Float32, sample_rate_hz: int, level_dbfs: tuple[float, float]
) -> Float32:
    """A sound of unit RMS whose level wanders between two values in dBFS, a new aim every three seconds."""
    points = np.arange(0, len(sound) + 3 * sample_rate_hz, 3 * sample_rate_hz)
    gain_db = np.interp(np.arange(len(sound)), points, rng.uniform(*level_dbfs, size=len(points)))
    scaled = sound * 10 ** (gain_db / 20)
    return np.asarray(scaled / max(1.0, float(np.abs(scaled).max()) / 0.98), dtype=np.float32)


def _coloured(rng: np.random.Generator, samples: int, sample_rate_hz: int, slope: float) -> Float32:
    """Gaussian noise whose amplitude falls as frequency^-slope above 40 Hz, and that has nothing below 30 Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    frequency_hz = np.fft.rfftfreq(samples, 1 / sample_rate_hz)
    spectrum *= np.maximum(frequency_hz, 40.0) ** -slope
    spectrum[frequency_hz < 30.0] = 0
    return at_unit_rms(np.fft.irfft(spectrum, samples))
