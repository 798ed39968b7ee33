"""One clip, or one noise recording, of the synthetic corpus: a plan and a seed in, samples out.

Comes after `tkd.data.voices` (who says what) and `tkd.data.noise`, before `tkd.data.synth` (the corpus on disk).
Each result depends on its arguments and on what the engine said since its restart, on nothing else.

    word ─espeak─► 22,050 Hz ─resample─► 16 kHz ─trim─► RMS 1 ─► at a random place ─► + noise ─► level ─► int16
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import soxr

from tkd.audio.wav import SAMPLE_RATE_HZ, Int16
from tkd.data import espeak
from tkd.data.espeak import Espeak, Voice
from tkd.data.layout import SPLITS
from tkd.data.noise import NOISES, Float32, at_unit_rms, drifting_level, without_rumble
from tkd.data.speech_commands import CLIP_SAMPLES, noise_region
from tkd.data.voices import BABBLE_WORDS, Speaker

# The recordings of `_background_noise_`: file name and kind; babble-4 is four people talking at once.
RECORDINGS = {
    "white_noise.wav": "white",
    "pink_noise.wav": "pink",
    "brown_noise.wav": "brown",
    "mains_hum.wav": "hum",
    "machine_hum.wav": "hum",
    "knocks.wav": "bursts",
    "dishes.wav": "bursts",
    "two_talkers.wav": "babble-2",
    "four_talkers.wav": "babble-4",
    "eight_talkers.wav": "babble-8",
}
RECORDING_SAMPLES = 60 * SAMPLE_RATE_HZ

# espeak-ng has no noise floor, and the f of some voices' "off" lies 40 dB under the vowel.
_TRIM_DB = -48.0
_TRIM_FRAME = SAMPLE_RATE_HZ // 200  # 5 ms
_MARGIN_FRAMES = 3
_LONGEST_WORD = int(0.96 * CLIP_SAMPLES)
# Streams of the random generator, so that no two uses of one seed meet.
_STREAM_NOISE, _STREAM_CLIP = 2, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """How loud things are.

    Attributes:
        snr_db: lowest and highest ratio of the word's RMS to the noise's, in dB; each clip draws its own.
        level_dbfs: lowest and highest RMS of a whole clip, in dB below full scale.
    """

    snr_db: tuple[float, float] = (5.0, 30.0)
    level_dbfs: tuple[float, float] = (-30.0, -18.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """One clip to be made.

    Attributes:
        number: place in the corpus's plan; with the seed it fixes every random choice.
        path: `word/speaker_nohash_n.wav`.
        word: what is said.
        speaker: who says it.
    """

    number: int
    path: str
    word: str
    speaker: Speaker


def render_clip(engine: Espeak, utterance: Utterance, noises: Sequence[Float32], levels: Levels, seed: int) -> Int16:
    """One second of a word in noise, int16 of shape (16000,).

    Neither the edges, nor a constant offset, nor the level tells one class from another: the noise covers the whole
    clip, the offset is that of the noise (as in the clips of silence, which are cut out of it), the level is random.

    Args:
        engine: espeak-ng, restarted before the first of a batch of clips that are always made together.
        utterance: what to say.
        noises: the noises of the speaker's split, each longer than a second.
        levels: ranges of the signal-to-noise ratio and of the level.
        seed: the corpus's.
    """
    rng = np.random.default_rng([seed, _STREAM_CLIP, utterance.number])
    word = _spoken_word(engine, utterance.word, _deviating(utterance.speaker.voice, rng))
    clip = np.zeros(CLIP_SAMPLES, dtype=np.float32)
    start = int(rng.integers(0, CLIP_SAMPLES - len(word) + 1))
    clip[start : start + len(word)] = word
    clip += 10 ** (-rng.uniform(*levels.snr_db) / 20) * _mixed_noise(noises, rng)
    return _to_int16(_scaled(clip) * 10 ** (rng.uniform(*levels.level_dbfs) / 20))


def render_recording(
    engine: Espeak, name: str, speakers: Mapping[str, Sequence[Speaker]], levels: Levels, seed: int
) -> Int16:
    """A minute of noise, int16 of shape (960000,), each split's region made of its own numbers and voices."""
    parts = []
    for index, split in enumerate(SPLITS):
        rng = np.random.default_rng([seed, _STREAM_NOISE, list(RECORDINGS).index(name), index])
        first, end = noise_region(RECORDING_SAMPLES, split)
        kind = RECORDINGS[name]
        if kind.startswith("babble"):
            sound = _babble(engine, int(kind.rpartition("-")[2]), speakers[split], end - first, rng)
        else:
            sound = NOISES[kind](rng, end - first, SAMPLE_RATE_HZ)
        parts.append(drifting_level(rng, sound, SAMPLE_RATE_HZ, levels.level_dbfs))
    return _to_int16(np.concatenate(parts))


def trim(sound: Float32) -> Float32:
    """A word without the quiet before and after it (48 dB under its loudest 5 ms), 15 ms kept and faded at each end."""
    frames = sound[: len(sound) // _TRIM_FRAME * _TRIM_FRAME].reshape(-1, _TRIM_FRAME)
    energy = np.square(frames).mean(axis=1)
    loud = np.flatnonzero(energy > energy.max() * 10 ** (_TRIM_DB / 10))
    first = max(0, int(loud[0]) - _MARGIN_FRAMES) * _TRIM_FRAME
    end = min(len(sound), (int(loud[-1]) + 1 + _MARGIN_FRAMES) * _TRIM_FRAME)
    word = sound[first:end].copy()
    ramp = np.linspace(0, 1, 2 * _TRIM_FRAME, dtype=np.float32)
    word[: len(ramp)] *= ramp
    word[-len(ramp) :] *= ramp[::-1]
    return word


def _spoken_word(engine: Espeak, text: str, voice: Voice) -> Float32:
    """A trimmed word of unit RMS that fits a clip; a word that is too long is spoken again, faster."""
    word = trim(_speak(engine, text, voice))
    if len(word) > _LONGEST_WORD:
        faster = min(450, int(voice.rate_wpm * 1.25 * len(word) / _LONGEST_WORD))
        word = trim(_speak(engine, text, Voice(name=voice.name, pitch=voice.pitch, rate_wpm=faster)))[:_LONGEST_WORD]
    return at_unit_rms(word)


def _speak(engine: Espeak, text: str, voice: Voice) -> Float32:
    sound = engine.speak(text, voice).astype(np.float32)
    resampled: Float32 = soxr.resample(sound, espeak.SAMPLE_RATE_HZ, SAMPLE_RATE_HZ)
    return resampled


def _deviating(voice: Voice, rng: np.random.Generator) -> Voice:
    """A voice as on another day: nobody says a word twice in the same way."""
    pitch = int(np.clip(voice.pitch + rng.integers(-5, 6), 0, 99))
    return Voice(name=voice.name, pitch=pitch, rate_wpm=int(voice.rate_wpm * rng.uniform(0.92, 1.08)))


def _mixed_noise(noises: Sequence[Float32], rng: np.random.Generator) -> Float32:
    """One second of one noise or of two, of unit RMS."""
    mixed = np.zeros(CLIP_SAMPLES, dtype=np.float32)
    for _ in range(int(rng.integers(1, 3))):
        noise = noises[int(rng.integers(len(noises)))]
        start = int(rng.integers(0, len(noise) - CLIP_SAMPLES + 1))
        mixed += 10 ** (rng.uniform(-10, 0) / 20) * _scaled(noise[start : start + CLIP_SAMPLES])
    return _scaled(mixed)


def _scaled(sound: Float32) -> Float32:
    """A sound at a root mean square of 1, its offset kept."""
    scaled: Float32 = sound / np.sqrt(np.mean(np.square(sound)))
    return scaled


def _babble(
    engine: Espeak, talkers: int, speakers: Sequence[Speaker], samples: int, rng: np.random.Generator
) -> Float32:
    """Several speakers talking at once without a pause, of unit RMS, shape (samples,)."""
    mixed = np.zeros(samples, dtype=np.float32)
    engine.restart()
    for _ in range(talkers):
        done = 0
        while done < samples:
            speaker = speakers[int(rng.integers(len(speakers)))]
            text = " ".join(rng.choice(BABBLE_WORDS, size=6))
            phrase = at_unit_rms(trim(_speak(engine, text, speaker.voice)))[: samples - done]
            mixed[done : done + len(phrase)] += phrase
            done += len(phrase)
    return at_unit_rms(without_rumble(mixed, SAMPLE_RATE_HZ))


def _to_int16(sound: Float32) -> Int16:
    """Samples in [-1, 1] as 16-bit integers; a peak beyond that turns the whole clip down, nothing is clipped."""
    peak = float(np.abs(sound).max())
    samples: Int16 = np.rint(sound * (32_767 / max(1.0, peak / 0.97))).astype(np.int16)
    return samples
