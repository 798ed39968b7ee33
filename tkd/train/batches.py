"""Batches of augmented clips, each a pure function of the seed and the step.

Because step s draws from a generator seeded with (seed, s), a resumed run needs no sampler state: it asks for
step s and gets what the unbroken run got.
Before this: `tkd.data` loads waveforms. After this: `tkd.train.fit`.
Tested in `tests/tkd/train/test_batches.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from tkd.augment import AugmentConfig, NoiseBank, augment, lead_in, mask_features

_PREFETCH = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one update sees.

    Attributes:
        inputs: prepared clips, shape (batch, …); with a lead-in, after others along the second axis.
        labels: shape (batch,), or for several labels a clip zeros and ones of shape (batch, classes).
        index: of each clip in its store, shape (batch,).
        shift_samples: how far augmentation moved each clip, shape (batch,).
    """

    inputs: Tensor
    labels: Tensor
    index: Tensor
    shift_samples: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipStore:
    """The clips of one split, decoded.

    Attributes:
        waveforms: shape (clips, samples), int16.
        labels: int64 of shape (clips,), or float32 zeros and ones of shape (clips, classes).
        sample_rate_hz: of all waveforms.
        noise: background noise of the split.
        intervals_s: start and end of each clip's keyword, seconds, float64 of shape (clips, 2), NaN in clips without
            one; None where the data set does not say.
    """

    waveforms: Tensor
    labels: Tensor
    sample_rate_hz: int
    noise: NoiseBank | None
    intervals_s: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def clips(self, index: Tensor | slice) -> Tensor:
        """Clips as float32 in [-1, 1], shape (batch, samples)."""
        return self.waveforms[index].float() / 32768.0


class Batches:
    """Augmented batches of a store.

    Args:
        store: the clips.
        config: how they are varied; `feature_masks` wants features of shape (batch, frames, channels).
        batch_size: clips a batch; a store with fewer gives all of them each time.
        seed: with the step, decides everything.
        prepare: turns waveforms (batch, samples) into inputs, for example a front end.
        prepared: what `prepare` gives for every clip of the store, where augmentation leaves the waveforms as they
            are: nothing is then computed twice.
    """

    def __init__(
        self,
        store: ClipStore,
        config: AugmentConfig,
        batch_size: int,
        seed: int,
        prepare: Callable[[Tensor], Tensor],
        prepared: Tensor | None = None,
    ) -> None:
        assert prepared is None or config.keeps_waveforms, "prepared inputs of clips that augmentation changes"
        self._store = store
        self._prepared = prepared
        self._config = config
        self._size = min(batch_size, len(store))
        self._seed = seed
        self._prepare = prepare
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.long)

    def at(self, step: int) -> Batch:
        """The batch of one step; each epoch passes once over a fresh permutation, dropping the ragged end."""
        per_epoch = len(self._store) // self._size
        epoch, place = divmod(step, per_epoch)
        if epoch != self._epoch:
            self._order = torch.randperm(len(self._store), generator=_generator(self._seed, epoch, 0))
            self._epoch = epoch
        index = self._order[place * self._size : (place + 1) * self._size]
        generator = _generator(self._seed, step, 1)
        with torch.no_grad():
            inputs, shift_samples = self._inputs(index, generator)
            if self._config.feature_masks:
                inputs = mask_features(
                    inputs,
                    max_frames=self._config.max_mask_frames,
                    max_bands=self._config.max_mask_channels,
                    masks=self._config.feature_masks,
                    generator=_generator(self._seed, step, 2),
                )
            if self._config.max_lead_in_clips:
                inputs = lead_in(inputs, self._config.max_lead_in_clips, _generator(self._seed, step, 3))
        return Batch(inputs=inputs, labels=self._store.labels[index], index=index, shift_samples=shift_samples)

    def _inputs(self, index: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        if self._prepared is not None:
            return self._prepared[index], torch.zeros(len(index), dtype=torch.long)
        waveforms, shift_samples = augment(
            self._store.clips(index), self._store.noise, self._config, self._store.sample_rate_hz, generator
        )
        return self._prepare(waveforms), shift_samples

    def run(self, first: int, last: int) -> Iterator[Batch]:
        """The batches of steps first … last-1, prepared ahead by one thread while the caller computes."""
        with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            ahead = [pool.submit(self.at, step) for step in range(first, min(first + _PREFETCH, last))]
            for step in range(first, last):
                batch = ahead.pop(0).result()
                if step + _PREFETCH < last:
                    ahead.append(pool.submit(self.at, step + _PREFETCH))
                yield batch


def mix_seeds(*parts: int) -> int:
    """One 63-bit seed from several numbers, so that neighbouring seeds and steps share nothing."""
    mixed = 0x9E3779B97F4A7C15
    for part in parts:
        mixed = ((mixed ^ (part & 0xFFFFFFFFFFFFFFFF)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        mixed ^= mixed >> 29
    return mixed >> 1


def _generator(*parts: int) -> torch.Generator:
    return torch.Generator().manual_seed(mix_seeds(*parts))
