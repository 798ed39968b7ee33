"""The front end as a part of the network: the same numbers as `tkd.audio.features`, in operators that every engine has.

    waveform ─► chunks ─► conv (window, framing, first stage) ─► transpose ─► 2 × conv (second stage: real, imaginary)
             ─► squares, sum, (root) ─► mel bands in four parts ─► log ─► (DCT) ─► features

The DFT is split as `tkd.audio.split_dft` says; framing is the stride of its first convolution and moves no sample.
After `tkd.audio.features`; `tkd.export` puts it in front of a student. Measured in docs/front-end.md.
Tested in `tests/tkd/audio/test_graph_front_end.py`.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tkd.audio.features import FeatureConfig, FrontEnd
from tkd.audio.split_dft import Floats, split_dft
from tkd.errors import AudioError

_MEL_PARTS = 4
_UNHEARD = 1e-9  # a triangle's edge that falls on a bin is rounded to this little


class GraphFrontEnd(nn.Module):
    """Features of one length of audio, in convolutions, matrix products and element-wise operators.

    Args:
        config: the front end.
        samples: length of the clips; what does not fill a hop at the end is left out, as in `FrontEnd`.
        channel_scale: what each feature channel is divided by, shape (channels,); None for nothing.

    Raises:
        AudioError: the clips are shorter than one window.
        SettingsError: the configuration has no such form; the message names the field.
    """

    def __init__(self, config: FeatureConfig, samples: int, channel_scale: Tensor | None = None) -> None:
        super().__init__()
        self.config, self.samples = config, samples
        outside = FrontEnd(config).double()
        self._frames = config.frames(samples)
        self._half = config.window_length // 2 if config.is_centred else 0
        if self._frames < 1 or samples <= self._half:
            raise AudioError(f"clips of {samples} samples are shorter than one window of {config.window_length}")
        mel = outside.mel.numpy()
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(config.window_length) / config.window_length)
        heard = np.flatnonzero(mel.max(axis=1) > _UNHEARD)
        self._dft = dft = split_dft(window, config.hop_length, config.n_fft, heard)
        self._buffer("first", dft.first)
        self._buffer("real", dft.real[:, :, None])
        self._buffer("imaginary", dft.imaginary[:, :, None])
        # Bins by rank within their group first, so that a mel band's bins lie close together.
        order = dft.bins.T.reshape(-1)
        self._mel_parts = self._split_mel(np.where(order[:, None] < 0, 0.0, mel[order]))
        scale = np.ones(config.channels) if channel_scale is None else channel_scale.double().numpy()
        self._buffer("dct", outside.dct.numpy() / scale if config.n_mfcc else 1 / scale)
        self._is_scaled = channel_scale is not None

    def forward(self, waveform: Tensor) -> Tensor:
        """Features, shape (batch, frames, channels), of waveforms in [-1, 1], shape (batch, samples).

        Raises:
            AudioError: the clips have another length.
        """
        if waveform.ndim != 2 or waveform.shape[1] != self.samples:
            raise AudioError(f"the waveform has shape {tuple(waveform.shape)}; expected (batch, {self.samples})")
        config = self.config
        bands = self._mel_bands(self._spectrum(waveform))
        log_mel = (bands if config.log_floor_is_added else bands.clamp(min=config.log_floor)).log()
        if config.n_mfcc:
            return log_mel @ self._get("dct")
        return log_mel * self._get("dct") if self._is_scaled else log_mel

    def _spectrum(self, waveform: Tensor) -> Tensor:
        """|X| or |X|², shape (batch, frames, slots · groups)."""
        config, dft = self.config, self._dft
        batch, frames, columns = len(waveform), self._frames, dft.columns
        chunks = self._chunks(waveform)
        parts = F.conv1d(chunks, self._get("first"), stride=config.hop_length // dft.chunk, groups=columns)
        turned = parts.transpose(1, 2).reshape(batch, frames, 2 * columns, dft.groups).transpose(2, 3)
        by_group = turned.reshape(batch, frames, 2 * columns * dft.groups).transpose(1, 2)
        real = F.conv1d(by_group, self._get("real"), groups=dft.groups).transpose(1, 2)
        imaginary = F.conv1d(by_group, self._get("imaginary"), groups=dft.groups).transpose(1, 2)
        energies = real * real + imaginary * imaginary
        by_bin = (energies.sqrt() if config.power == 1 else energies).reshape(batch, frames, dft.groups, dft.slots)
        return by_bin.transpose(2, 3).reshape(batch, frames, dft.slots * dft.groups)

    def _chunks(self, waveform: Tensor) -> Tensor:
        """Samples in the first stage's order, shape (batch, (column, sample of the column), chunks)."""
        config, dft = self.config, self._dft
        if self._half:
            before = torch.arange(self._half, 0, -1)
            after = self.samples - 1 - torch.arange(1, self._half + 1)
            waveform = torch.cat([waveform.index_select(1, before), waveform, waveform.index_select(1, after)], dim=1)
        used = config.window_length + config.hop_length * (self._frames - 1)
        if used < waveform.shape[1]:
            waveform = waveform[:, :used]
        batch, chunks = len(waveform), used // dft.chunk
        by_column = waveform.reshape(batch, chunks, dft.chunk // dft.columns, dft.columns).transpose(2, 3)
        return by_column.reshape(batch, chunks, dft.chunk).transpose(1, 2)

    def _mel_bands(self, spectrum: Tensor) -> Tensor:
        """Bands, shape (batch, frames, mels), with the floor where that is added."""
        floor = self.config.log_floor if self.config.log_floor_is_added else 0.0
        products = [
            spectrum[:, :, first:last] @ self._get(f"mel{place}") for place, (first, last) in enumerate(self._mel_parts)
        ]
        return torch.cat([each + floor for each in products] if floor else products, dim=2)

    def _split_mel(self, mel: Floats) -> list[tuple[int, int]]:
        """Stores the filters in parts of neighbouring bands; which rows of (slots · groups) each part reads."""
        rows = []
        for place, part in enumerate(np.array_split(mel, min(_MEL_PARTS, mel.shape[1]), axis=1)):
            read = np.flatnonzero(part.any(axis=1))
            first, last = (int(read[0]), int(read[-1]) + 1) if len(read) else (0, 1)
            self._buffer(f"mel{place}", part[first:last])
            rows.append((first, last))
        return rows

    def _buffer(self, name: str, values: Floats) -> None:
        self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(values)).float(), persistent=False)

    def _get(self, name: str) -> Tensor:
        return self.get_buffer(name)
