"""Augmentation of clips as published for Speech Commands: time shift, background noise, and two options.

Source: Warden 2018 (arXiv 1804.03209) and the TensorFlow example it describes; the same numbers in
TC-ResNet (arXiv 1904.03814 §3.1), kws_streaming and BC-ResNet: shift U(-100, 100) ms with zero fill,
background noise with probability 0.8 at a volume U(0, 0.1), the sum clipped to ±1.
Off by default: resampling by up to ±15 % (kws_streaming, arXiv 2005.06720) and SpecAugment's masks over the features
(Park et al. 2019, arXiv 1904.08779; kws_streaming, BC-ResNet).
Everything random comes from the generator that is handed in.
Tested in `tests/tkd/test_augment.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tkd.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentConfig:
    """How training clips are varied.

    Attributes:
        max_shift_ms: the shift is uniform in ± this many milliseconds.
        noise_probability: share of clips that get background noise, in [0, 1].
        max_noise_volume: the noise is scaled by a factor uniform in [0, this].
        max_resample: clips become longer or shorter by a factor uniform in 1 ± this, in [0, 1); speech changes in
            speed and pitch. 0 leaves them.
        feature_masks: stretches of time, and as many bands of channels, that are set to zero in the features of each
            clip; 0 masks nothing. A teacher has masks of its own: these are the student's.
        max_mask_frames: the length of a masked stretch is uniform in 0 … this many frames.
        max_mask_channels: the width of a masked band is uniform in 0 … this many channels.
        max_lead_in_clips: each batch is heard after 0 … this many other clips, end to end, so that a recurrence learns
            to go on after what it has heard, as a stream does.
    """

    max_shift_ms: float = 100.0
    noise_probability: float = 0.8
    max_noise_volume: float = 0.1
    max_resample: float = 0.0
    feature_masks: int = 0
    max_mask_frames: int = 10
    max_mask_channels: int = 5
    max_lead_in_clips: int = 0

    def __post_init__(self) -> None:
        amounts = (
            self.max_shift_ms, self.max_noise_volume, self.feature_masks, self.max_mask_frames, self.max_lead_in_clips,
        )  # fmt: skip
        shares = (self.noise_probability <= 1, 0 <= self.max_resample < 1, self.max_mask_channels >= 0)
        if min(*amounts, self.noise_probability) < 0 or not all(shares):
            raise SettingsError(f"augmentation out of range: {self}")

    @property
    def keeps_waveforms(self) -> bool:
        """Whether clips stay as they are, so that what is computed from them can be kept."""
        return not (self.max_shift_ms or self.max_resample or self.noise_probability * self.max_noise_volume)


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


def resample(waveforms: Tensor, factors: Tensor) -> Tensor:
    """Each clip stretched by its own factor, its middle kept, cut or filled with zeros to the old length.

    Linear interpolation between samples, as kws_streaming's resizing of the clip as an image does it.

    Args:
        waveforms: shape (batch, samples).
        factors: above 0, shape (batch,); above 1 is longer and lower.

    >>> resample(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.tensor([0.5]))
    tensor([[0.0000, 1.5000, 3.5000, 0.0000]])
    """
    length = waveforms.shape[1]
    stretched = torch.zeros_like(waveforms)
    # One clip at a time is three times faster than gathering neighbours for them all.
    for row, (clip, factor) in enumerate(zip(waveforms, factors.tolist(), strict=True)):
        whole = F.interpolate(clip[None, None], size=max(1, int(length * factor)), mode="linear")[0, 0]
        cut, fill = max(0, len(whole) - length) // 2, max(0, length - len(whole)) // 2
        kept = whole[cut : cut + length]
        stretched[row, fill : fill + len(kept)] = kept
    return stretched


def augment(
    waveforms: Tensor, bank: NoiseBank | None, config: AugmentConfig, sample_rate_hz: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Resampled and shifted clips with background noise, and the shifts.

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
    place = torch.randint(0, 2**31 - 1, (batch,), generator=generator)
    volume = torch.rand(batch, generator=generator) * config.max_noise_volume
    chosen = torch.rand(batch, generator=generator) < config.noise_probability
    if config.max_resample:
        # Drawn last, so that the other draws are the same with it and without.
        stretch = (2.0 * torch.rand(batch, generator=generator) - 1.0) * config.max_resample
        waveforms = resample(waveforms, 1.0 + stretch)
    mixed = shift(waveforms, shift_samples)
    if bank is not None:
        first = bank.starts[place % len(bank.starts)]
        for row in chosen.nonzero()[:, 0].tolist():
            mixed[row].add_(bank.samples[first[row] : first[row] + length], alpha=volume[row].item())
    return mixed.clamp_(-1.0, 1.0), shift_samples


def mask_features(
    features: Tensor, *, max_frames: int, max_bands: int, masks: int = 2, generator: torch.Generator | None = None
) -> Tensor:
    """Features with stretches of time and bands of frequency set to zero (SpecAugment, Park et al. 2019, 1904.08779).

    Args:
        features: shape (batch, frames, bands).
        max_frames: longest stretch.
        max_bands: widest band.
        masks: number of each kind.
        generator: of chance; None draws from PyTorch's own random state, as dropout does.
    """
    batch, frames, bands = features.shape
    kept_frames = torch.ones(batch, frames, dtype=torch.bool)
    kept_bands = torch.ones(batch, bands, dtype=torch.bool)
    for _ in range(masks):
        kept_frames &= _outside_a_stretch(batch, frames, max_frames, generator)
        kept_bands &= _outside_a_stretch(batch, bands, max_bands, generator)
    kept = kept_frames[:, :, None] & kept_bands[:, None, :]
    return features * kept.to(features)


def lead_in(inputs: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Inputs with 0 … `most` other clips of the batch before each, the same number for all.

    Args:
        inputs: shape (batch, frames, …).
        most: clips before each.
        generator: of chance.

    Returns:
        Shape (batch, (1 + before) · frames, …); the last `frames` of them are the inputs.
    """
    before = int(torch.randint(0, most + 1, (1,), generator=generator))
    others = [inputs[torch.randperm(len(inputs), generator=generator)] for _ in range(before)]
    return torch.cat([*others, inputs], dim=1)


def _outside_a_stretch(batch: int, length: int, longest: int, generator: torch.Generator | None) -> Tensor:
    """Shape (batch, length): False in one random stretch of at most `longest` a row, True elsewhere."""
    size = torch.randint(0, min(longest, length) + 1, (batch, 1), generator=generator)
    first = (torch.rand(batch, 1, generator=generator) * (length - size + 1)).long()
    place = torch.arange(length)[None, :]
    return (place < first) | (place >= first + size)
