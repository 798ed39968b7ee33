"""Augmentation of one-second clips as published for Speech Commands: time shift and background noise.

Source: Warden 2018 (arXiv 1804.03209) and the TensorFlow example it describes; the same numbers in
TC-ResNet (arXiv 1904.03814 §3.1), kws_streaming and BC-ResNet: shift U(-100, 100) ms with zero fill,
background noise with probability 0.8 at a volume U(0, 0.1), the sum clipped to ±1.
Everything random comes from the generator that is handed in.
Tested in `tests/tkd/test_augment.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tkd.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentConfig:
    """How training clips are varied.

    Attributes:
        max_shift_ms: the shift is uniform in ± this many milliseconds.
        noise_probability: share of clips that get background noise, in [0, 1].
        max_noise_volume: the noise is scaled by a factor uniform in [0, this].
    """

    max_shift_ms: float = 100.0
    noise_probability: float = 0.8
    max_noise_volume: float = 0.1

    def __post_init__(self) -> None:
        if self.max_shift_ms < 0 or self.max_noise_volume < 0 or not 0 <= self.noise_probability <= 1:
            raise SettingsError(f"augmentation out of range: {self}")


@dataclass(frozen=True, slots=True)
class NoiseBank:
    """All background noise of one split, end to end.

    Attributes:
        samples: shape (samples,), float32 in [-1, 1].
        starts: the first sample at which a whole clip fits into one recording, shape (places,).
    """

    samples: Tensor
    starts: Tensor


def noise_bank(recordings: Sequence[np.ndarray], clip_samples: int) -> NoiseBank | None:
    """The bank of int16 recordings of shape (samples,); None when no recording is as long as a clip."""
    starts, offset = [], 0
    for recording in recordings:
        starts.append(torch.arange(offset, offset + max(len(recording) - clip_samples + 1, 0)))
        offset += len(recording)
    if sum(len(places) for places in starts) == 0:
        return None
    joined = torch.from_numpy(np.concatenate(recordings).astype(np.float32) / 32768.0)
    return NoiseBank(samples=joined, starts=torch.cat(starts))


def shift(waveforms: Tensor, shift_samples: Tensor) -> Tensor:
    """Each clip moved later by its own number of samples (earlier when negative), with zeros moving in.

    Args:
        waveforms: shape (batch, samples).
        shift_samples: integers, shape (batch,).

    >>> shift(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([1]))
    tensor([[0., 1., 2.]])
    """
    moved = torch.zeros_like(waveforms)
    # One copy a clip is six times faster than one gather of them all.
    for row, (clip, by) in enumerate(zip(waveforms, shift_samples.tolist(), strict=True)):
        if by >= 0:
            moved[row, by:] = clip[: len(clip) - by]
        else:
            moved[row, :by] = clip[-by:]
    return moved


def augment(
    waveforms: Tensor, bank: NoiseBank | None, config: AugmentConfig, sample_rate_hz: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Shifted clips with background noise, and the shifts.

    Args:
        waveforms: shape (batch, samples), in [-1, 1].
        bank: background noise; None adds none.
        config: the amounts.
        sample_rate_hz: of the waveforms.
        generator: the only source of chance.

    Returns:
        The clips, shape (batch, samples), and the shift of each in samples, shape (batch,).
    """
    batch, length = waveforms.shape
    limit = round(config.max_shift_ms * sample_rate_hz / 1000)
    shift_samples = torch.randint(-limit, limit + 1, (batch,), generator=generator)
    mixed = shift(waveforms, shift_samples)
    place = torch.randint(0, 2**31 - 1, (batch,), generator=generator)
    volume = torch.rand(batch, generator=generator) * config.max_noise_volume
    chosen = torch.rand(batch, generator=generator) < config.noise_probability
    if bank is not None:
        first = bank.starts[place % len(bank.starts)]
        for row in chosen.nonzero()[:, 0].tolist():
            mixed[row].add_(bank.samples[first[row] : first[row] + length], alpha=volume[row].item())
    return mixed.clamp_(-1.0, 1.0), shift_samples


def mask_features(features: Tensor, *, max_frames: int, max_bands: int, masks: int = 2) -> Tensor:
    """Features with stretches of time and bands of frequency set to zero (SpecAugment, Park et al. 2019, 1904.08779).

    Draws from PyTorch's own random state, as dropout does.

    Args:
        features: normalised, so that zero is the mean; shape (batch, frames, bands).
        max_frames: longest stretch.
        max_bands: widest band.
        masks: number of each kind.
    """
    batch, frames, bands = features.shape
    kept = torch.ones_like(features)
    for _ in range(masks):
        kept = kept * _outside_a_stretch(batch, frames, max_frames)[:, :, None]
        kept = kept * _outside_a_stretch(batch, bands, max_bands)[:, None, :]
    return features * kept


def _outside_a_stretch(batch: int, length: int, longest: int) -> Tensor:
    """Shape (batch, length): 0 in one random stretch of at most `longest` a row, 1 elsewhere."""
    size = torch.randint(0, longest + 1, (batch, 1))
    first = (torch.rand(batch, 1) * (length - size + 1)).long()
    place = torch.arange(length)[None, :]
    return ((place < first) | (place >= first + size)).float()
