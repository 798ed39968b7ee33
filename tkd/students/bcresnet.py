"""BC-ResNet: a 2-D path over frequency and a 1-D path over time, broadcast back to all frequencies.

Source: Kim et al. 2021, "Broadcasted Residual Learning for Efficient Keyword Spotting", arXiv 2106.04140,
figure 2 and table 1; sub-spectral normalisation: Chang et al. 2021, arXiv 2103.13620, equation 2.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tkd.errors import SettingsError
from tkd.students.causal import CausalConv2d
from tkd.students.student import StreamRule, Student

_SUB_BANDS = 5
_FREQUENCY_DIVISOR = 8 * _SUB_BANDS
_BLOCKS = (2, 2, 4, 4)  # in each stage
_STRIDES = (1, 2, 2, 1)  # over frequency, of each stage's first block
_DILATIONS = (1, 2, 4, 8)  # over time, in each stage


class SubSpectralNorm(nn.Module):
    """Batch normalisation of each sub-band of frequencies by itself, with its own scale and offset.

    Shapes: (batch, channels, frequency, time), kept.

    Args:
        channels: of the map.
        sub_bands: equal groups of neighbouring frequencies; they must divide the frequencies.
    """

    def __init__(self, channels: int, sub_bands: int) -> None:
        super().__init__()
        self.sub_bands = sub_bands
        self.norm = nn.BatchNorm2d(channels * sub_bands)

    def forward(self, x: Tensor) -> Tensor:
        """The normalised map; see the class for shapes."""
        batch, channels, frequency, time = x.shape
        if self.training:
            groups = x.reshape(batch, channels * self.sub_bands, frequency // self.sub_bands, time)
            normalised: Tensor = self.norm(groups)
            return normalised.reshape(x.shape)
        # One multiplication and one addition with constants: reshaping channels would cost a phone two transposes.
        scale, offset = self._affine()
        repeats = frequency // self.sub_bands
        return x * _over_frequency(scale, channels, repeats) + _over_frequency(offset, channels, repeats)

    def _affine(self) -> tuple[Tensor, Tensor]:
        """What evaluation multiplies by and adds, each of shape (channels × sub-bands,)."""
        mean, variance = self.norm.running_mean, self.norm.running_var
        assert mean is not None
        assert variance is not None
        scale = self.norm.weight * torch.rsqrt(variance + self.norm.eps)
        return scale, self.norm.bias - mean * scale


def _over_frequency(values: Tensor, channels: int, repeats: int) -> Tensor:
    """(channels × sub-bands,) to (channels, frequency, 1), each sub-band's value at all its frequencies."""
    return values.reshape(channels, -1, 1).repeat(1, 1, repeats).reshape(channels, -1, 1)


class _BcResBlock(nn.Module):
    """One block; a transition changes the channels and has no identity.

    x ─[1x1 conv─BN─ReLU]─ 3x1 depthwise over frequency ─ SSN ──┬───────────────────────────────────────────┐
    │                                                           └ mean over frequency ─ 1x3 depthwise over  │
    │                                                             time ─ BN ─ swish ─ 1x1 conv ─ dropout ───+
    └──────────── (only where the channels stay) ───────────────────────────────────────────────────────────+─ReLU─►
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int, dilation: int, *, is_causal: bool) -> None:
        super().__init__()
        self.is_transition = channels_in != channels_out
        self.transition = nn.Sequential()
        if self.is_transition:
            self.transition = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, bias=False), nn.BatchNorm2d(channels_out), nn.ReLU()
            )
        self.over_frequency = nn.Sequential(
            nn.Conv2d(
                channels_out, channels_out, (3, 1), stride=(stride, 1), padding=(1, 0), groups=channels_out, bias=False
            ),
            SubSpectralNorm(channels_out, _SUB_BANDS),
        )
        self.over_time = nn.Sequential(
            _over_time(
                channels_out, channels_out, (1, 3), dilation=(1, dilation), groups=channels_out, bias=False,
                is_causal=is_causal,
            ),
            nn.BatchNorm2d(channels_out),
            nn.SiLU(),
            nn.Conv2d(channels_out, channels_out, 1, bias=False),
            nn.Dropout2d(0.1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        spectral = self.over_frequency(self.transition(x))
        total = spectral + self.over_time(spectral.mean(dim=2, keepdim=True))
        return F.relu(total if self.is_transition else total + x)


def _over_time(
    channels_in: int,
    channels_out: int,
    kernel_size: tuple[int, int],
    *,
    is_causal: bool,
    padding: int = 0,
    dilation: tuple[int, int] = (1, 1),
    **settings: Any,
) -> nn.Conv2d:
    """A convolution that keeps the number of steps: with zeros on both sides of time, or in a causal form before it.

    Args:
        channels_in: of the map.
        channels_out: of the result.
        kernel_size: over (frequency, time).
        is_causal: which form.
        padding: of frequency.
        dilation: over (frequency, time).
        settings: of `nn.Conv2d`.
    """
    if is_causal:
        return CausalConv2d(channels_in, channels_out, kernel_size, padding=(padding, 0), dilation=dilation, **settings)
    both_sides = (padding, dilation[1] * (kernel_size[1] // 2))
    return nn.Conv2d(channels_in, channels_out, kernel_size, padding=both_sides, dilation=dilation, **settings)


class BcResNet(Student):
    """BC-ResNet-τ; the head is a mean over time and a matrix.

    Args:
        channels_in: mel bands, a multiple of 40 (40 in the paper).
        classes: number of labels.
        width: 8τ, the channels that all others are multiples of.
        is_causal: whether convolutions see past frames alone, so that the network can stream; the paper's do not.

    Raises:
        SettingsError: the mel bands do not divide into sub-bands.
    """

    def __init__(self, channels_in: int, classes: int, *, width: int, is_causal: bool = False) -> None:
        super().__init__()
        if channels_in % _FREQUENCY_DIVISOR:
            raise SettingsError(
                f"BC-ResNet normalises {_SUB_BANDS} sub-bands after halving the frequencies three times; "
                f"expected a multiple of {_FREQUENCY_DIVISOR} mel bands, saw {channels_in} channels: "
                "take the front end 'bcresnet'"
            )
        stages = (width, width * 3 // 2, width * 2, width * 5 // 2)
        self.stem = nn.Sequential(
            _over_time(1, 2 * width, (5, 5), stride=(2, 1), padding=2, bias=False, is_causal=is_causal),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
        )
        self.is_causal = is_causal
        blocks: list[nn.Module] = []
        for (before, channels), count, stride, dilation in zip(
            itertools.pairwise((2 * width, *stages)), _BLOCKS, _STRIDES, _DILATIONS, strict=True
        ):
            blocks.append(_BcResBlock(before, channels, stride, dilation, is_causal=is_causal))
            blocks += [_BcResBlock(channels, channels, 1, dilation, is_causal=is_causal) for _ in range(count - 1)]
        self.blocks = nn.Sequential(*blocks)
        self.context_channels = 4 * width
        self.neck = nn.Sequential(
            _over_time(stages[-1], stages[-1], (5, 5), groups=stages[-1], bias=False, is_causal=is_causal),
            nn.Conv2d(stages[-1], 4 * width, 1, bias=False),
            nn.BatchNorm2d(4 * width),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(4 * width, classes)

    def contexts(self, features: Tensor) -> Tensor:
        """The map before global average pooling, which has no frequency axis left; time is that of the frames."""
        maps: Tensor = self.neck(self.blocks(self.stem(features.transpose(1, 2)[:, None])))
        without_frequency = maps.squeeze(2) if maps.shape[2] == 1 else maps.mean(dim=2)
        return without_frequency.transpose(1, 2)

    def stream_rule(self) -> StreamRule | None:
        """There is no stride over time."""
        return StreamRule(frames_per_context=1, pools=True) if self.is_causal else None

    def head(self, contexts: Tensor) -> Tensor:
        """Logits of the contexts' mean over time."""
        logits: Tensor = self.classifier(contexts.mean(dim=1))
        return logits
