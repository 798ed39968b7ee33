"""From waveforms to the features that students see: named front ends, and one module that computes any of them.

Comes after `tkd.data` (waveforms) and before `tkd.students` (features in, logits out).

    waveform ─frames─► window ─► |DFT| or |DFT|² ─► mel bands ─► log ─► (DCT) ─► features
    (batch, samples)                                                    (batch, frames, channels)
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import scipy.fft
import torch
from librosa.filters import mel as mel_filters
from torch import Tensor, nn

from converters.command_line import did_you_mean
from tkd.errors import AudioError, SettingsError

# On a CPU the spectra of this many one-second clips stay in a core's cache.
_CLIPS_AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureConfig:
    """Every parameter of a front end, checked at birth.

    Attributes:
        sample_rate_hz: samples per second of the waveforms, above 0.
        window_ms: length of the (periodic) Hann window in milliseconds, a whole number of samples.
        hop_ms: step from window to window in milliseconds, a whole number of samples.
        n_fft: points of the DFT, at least the window; the windowed frame is padded with zeros to it.
        power: 1 for the magnitude of the spectrum, 2 for its square.
        n_mels: mel bands, triangles on HTK's mel scale with peak 1.
        mel_low_hz: lower edge of the lowest band.
        mel_high_hz: upper edge of the highest band, at most half the sample rate.
        log_floor: keeps the natural logarithm finite, above 0, in units of the mel band.
        log_floor_is_added: True for log(x + floor), False for log(max(x, floor)).
        n_mfcc: cepstral coefficients kept of an orthonormal DCT-II over the bands; 0 keeps the log-mel bands.
        is_centred: True pads half a window by reflection on both sides, so that frame i is centred on sample i × hop;
            False starts frame i there.

    Raises:
        SettingsError: a value is out of its range; the message names the field.
    """

    sample_rate_hz: int = 16_000
    window_ms: float
    hop_ms: float
    n_fft: int
    power: int
    n_mels: int
    mel_low_hz: float
    mel_high_hz: float
    log_floor: float
    log_floor_is_added: bool
    n_mfcc: int = 0
    is_centred: bool = False

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check_type(field.name, getattr(self, field.name), _TYPES[str(field.type)])
        for name, value, is_good, expected in self._ranges():
            if not is_good:
                raise SettingsError(f"features.{name} is {value}; expected {expected}")

    def _ranges(self) -> tuple[tuple[str, object, bool, str], ...]:
        """(field, value, whether it is in range, the range) of each field that has a range."""
        window = self.window_ms * self.sample_rate_hz / 1000
        hop = self.hop_ms * self.sample_rate_hz / 1000
        half_rate_hz = self.sample_rate_hz / 2
        return (
            ("sample_rate_hz", self.sample_rate_hz, self.sample_rate_hz > 0, "a rate above 0 Hz"),
            ("window_ms", self.window_ms, window >= 2 and window.is_integer(), "a whole number of samples, 2 or more"),
            ("hop_ms", self.hop_ms, hop >= 1 and hop.is_integer(), "a whole number of samples, 1 or more"),
            ("n_fft", self.n_fft, self.n_fft >= window, f"at least the window of {window:g} samples"),
            ("power", self.power, self.power in (1, 2), "1 (magnitude) or 2 (power)"),
            ("n_mels", self.n_mels, self.n_mels >= 1, "1 or more"),
            ("mel_low_hz", self.mel_low_hz, self.mel_low_hz >= 0, "0 Hz or more"),
            (
                "mel_high_hz",
                self.mel_high_hz,
                self.mel_low_hz < self.mel_high_hz <= half_rate_hz,
                f"above mel_low_hz ({self.mel_low_hz:g}) and at most half the sample rate ({half_rate_hz:g})",
            ),
            ("log_floor", self.log_floor, 0 < self.log_floor < math.inf, "a number above 0"),
            ("n_mfcc", self.n_mfcc, 0 <= self.n_mfcc <= self.n_mels, f"0 to n_mels ({self.n_mels})"),
        )

    @property
    def window_length(self) -> int:
        """The window in samples."""
        return int(self.window_ms * self.sample_rate_hz / 1000)

    @property
    def hop_length(self) -> int:
        """The hop in samples."""
        return int(self.hop_ms * self.sample_rate_hz / 1000)

    @property
    def channels(self) -> int:
        """Values per frame: `n_mfcc`, or `n_mels` where no DCT follows."""
        return self.n_mfcc or self.n_mels

    def frames(self, samples: int) -> int:
        """Frames of a clip of `samples` samples; 0 for a clip shorter than one window.

        >>> FEATURES["tcresnet-paper"].frames(16_000), FEATURES["kws-streaming"].frames(16_000)
        (98, 49)
        """
        padded = samples + 2 * (self.window_length // 2) if self.is_centred else samples
        return max(0, 1 + (padded - self.window_length) // self.hop_length)

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FeatureConfig:
        """The record that `to_dict` wrote.

        Raises:
            SettingsError: a field is unknown, missing, of a wrong type or out of range.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        for name in values:
            if name not in fields:
                raise SettingsError(did_you_mean(name, fields, "field of a front end"))
        missing = [
            name for name, field in fields.items() if name not in values and field.default is dataclasses.MISSING
        ]
        if missing:
            raise SettingsError(f"the front end lacks {', '.join(missing)}; name a known front end or give every field")
        return cls(**values)


_TYPES: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,)}


def _check_type(name: str, value: object, types: tuple[type, ...]) -> None:
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise SettingsError(f"features.{name} is {value!r} ({type(value).__name__}); expected {types[-1].__name__}")


# What the two TensorFlow originals share: their filters and DCT are approximated, see FrontEnd.
_TCRESNET = FeatureConfig(
    window_ms=30, hop_ms=10, n_fft=512, power=2, n_mels=64, mel_low_hz=80, mel_high_hz=7600,
    log_floor=1e-6, log_floor_is_added=True, n_mfcc=40,
)  # fmt: skip
_KWS_STREAMING = FeatureConfig(
    window_ms=40, hop_ms=20, n_fft=1024, power=1, n_mels=40, mel_low_hz=20, mel_high_hz=7000,
    log_floor=1e-12, log_floor_is_added=False, n_mfcc=20,
)  # fmt: skip
_LOG_MEL = FeatureConfig(
    window_ms=30, hop_ms=10, n_fft=512, power=2, n_mels=40, mel_low_hz=0, mel_high_hz=8000,
    log_floor=1e-6, log_floor_is_added=True, is_centred=True,
)  # fmt: skip

FEATURES: dict[str, FeatureConfig] = {
    # Choi et al. 2019, arXiv 1904.03814, and hyperconnect/TC-ResNet: 98 frames of one second.
    "tcresnet-paper": _TCRESNET,
    # Rybakov et al. 2020, arXiv 2005.06720, kws_streaming's defaults: 49 frames of one second.
    "kws-streaming": _KWS_STREAMING,
    # The same with all 40 coefficients, as its larger experiments (TC-ResNet among them) have it.
    "kws-streaming-tcresnet": dataclasses.replace(_KWS_STREAMING, n_mfcc=40),
    # The same with its upper edge for attention of several heads.
    "kws-streaming-mhatt": dataclasses.replace(_KWS_STREAMING, mel_high_hz=8000),
    # kws_streaming's newer 12-label scripts: 30/10 ms, 98 frames.
    "kws-streaming-30-10": dataclasses.replace(_KWS_STREAMING, window_ms=30, hop_ms=10, n_fft=512, mel_high_hz=7600),
    # The same with half the frames, 24 of one second. Ours: halves the cost of long clips for recurrent networks.
    "kws-streaming-60-40": dataclasses.replace(_KWS_STREAMING, window_ms=60, hop_ms=40),
    # MLPerf Tiny's DS-CNN: 49 frames of 10 coefficients; window 30 ms, hop 20 ms.
    "mlperf-tiny": dataclasses.replace(
        _KWS_STREAMING, window_ms=30, n_fft=512, mel_high_hz=4000, log_floor=1e-6, log_floor_is_added=True, n_mfcc=10
    ),
    # DS-CNN among TC-ResNet's baselines: 49 frames, 10 coefficients.
    "ds-cnn": dataclasses.replace(_TCRESNET, window_ms=40, hop_ms=20, n_fft=1024, n_mfcc=10),
    # CNN-1 and CNN-2 among TC-ResNet's baselines: 49 frames, 40 coefficients.
    "cnn-baseline": dataclasses.replace(_TCRESNET, window_ms=40, hop_ms=20, n_fft=1024),
    # Kim et al. 2021, arXiv 2106.04140 (torchaudio's MelSpectrogram, centred): 101 frames; also our small teacher's.
    "bcresnet": _LOG_MEL,
    # The same without centring, for streams: a centred frame waits for half a window, and the first sees a mirror.
    "bcresnet-causal": dataclasses.replace(_LOG_MEL, is_centred=False),
}


def find_features(name: str) -> FeatureConfig:
    """The front end of a name in `FEATURES`.

    Raises:
        SettingsError: no front end has this name; the message shows the nearest one.
    """
    if name not in FEATURES:
        raise SettingsError(did_you_mean(name, FEATURES, "front end"))
    return FEATURES[name]


class FrontEnd(nn.Module):
    """Computes a `FeatureConfig` in PyTorch, on any device, without parameters.

    Filters come from librosa (HTK scale, no area normalisation), the DCT is orthonormal.
    Two departures from the TensorFlow originals (tcresnet-paper, kws-streaming and their kin):
    TensorFlow's triangles are linear in mel, librosa's in Hz: up to 0.014 in the logarithm, 0.003 on average;
    and TensorFlow scales coefficient 0 by √2 more than an orthonormal DCT does.
    A student trained on either form learns the same things, but weights do not carry over from one to the other.
    The buffers follow from the configuration, so they are not part of the state dict.
    """

    window: Tensor
    mel: Tensor
    dct: Tensor

    def __init__(self, config: FeatureConfig) -> None:
        super().__init__()
        self.config = config
        window = torch.hann_window(config.window_length, periodic=True, dtype=torch.float64)
        filters = mel_filters(
            sr=config.sample_rate_hz, n_fft=config.n_fft, n_mels=config.n_mels, fmin=config.mel_low_hz,
            fmax=config.mel_high_hz, htk=True, norm=None, dtype="float64",
        )  # fmt: skip
        cosines = scipy.fft.dct(torch.eye(config.n_mels, dtype=torch.float64).numpy(), type=2, norm="ortho", axis=0)
        self.register_buffer("window", window.float(), persistent=False)
        self.register_buffer("mel", torch.from_numpy(filters.T.copy()).float(), persistent=False)
        self.register_buffer("dct", torch.from_numpy(cosines[: config.n_mfcc].T.copy()).float(), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Features of a batch of waveforms.

        Args:
            waveform: mono audio in [-1, 1], floating, shape (batch, samples), at the configuration's sample rate.

        Returns:
            Shape (batch, frames, channels); `config.frames(samples)` gives the number of frames.

        Raises:
            AudioError: the clip is shorter than one window, or the waveform is not floating or not (batch, samples).
        """
        self._check(waveform)
        is_plain = waveform.device.type == "cpu" and waveform.dtype == self.window.dtype == torch.float32
        if not is_plain or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self._features(waveform)
        config = self.config
        features = torch.empty(len(waveform), config.frames(waveform.shape[-1]), config.channels)
        return self.compute_into(features, waveform)

    def compute_into(self, features: Tensor, waveform: Tensor) -> Tensor:
        """The same into memory that is there, on a CPU and without gradients, twice as fast: no step allocates.

        Args:
            features: float32, shape (batch, frames, channels), overwritten and returned.
            waveform: floating in [-1, 1], or int16, which is taken as 1/32768; shape (batch, samples).

        Raises:
            AudioError: as `forward`.
        """
        is_integer = waveform.dtype == torch.int16
        self._check(waveform[:0].float() if is_integer else waveform)
        with torch.no_grad():
            room = _Room(self, min(len(waveform), _CLIPS_AT_ONCE), waveform.shape[-1], 1 / 32768 if is_integer else 1.0)
            for first in range(0, len(waveform), _CLIPS_AT_ONCE):
                room.compute(features[first : first + _CLIPS_AT_ONCE], waveform[first : first + _CLIPS_AT_ONCE])
        return features

    def mel_energies(self, waveform: Tensor) -> Tensor:
        """Mel bands before the logarithm, shape (batch, frames, mels), of waveforms of shape (batch, samples)."""
        config = self.config
        if config.is_centred:
            half = config.window_length // 2
            waveform = nn.functional.pad(waveform, (half, half), mode="reflect")
        frames = waveform.unfold(-1, config.window_length, config.hop_length) * self.window
        parts = torch.view_as_real(torch.fft.rfft(frames, n=config.n_fft))
        # Four times as fast as a sum over the two parts, which was half of the whole front end.
        spectrum = torch.addcmul(parts[..., 0].square(), parts[..., 1], parts[..., 1])
        if config.power == 1:
            spectrum = spectrum.sqrt()
        return spectrum @ self.mel

    def _features(self, waveform: Tensor) -> Tensor:
        config = self.config
        energies = self.mel_energies(waveform)
        floored = energies + config.log_floor if config.log_floor_is_added else energies.clamp(min=config.log_floor)
        log_mel = floored.log()
        return log_mel @ self.dct if config.n_mfcc else log_mel

    def _check(self, waveform: Tensor) -> None:
        if waveform.ndim != 2 or not waveform.is_floating_point():
            seen = f"{waveform.dtype} of shape {tuple(waveform.shape)}"
            raise AudioError(f"the waveform is {seen}; expected floating samples in [-1, 1], shape (batch, samples)")
        samples = waveform.shape[-1]
        if self.config.frames(samples) < 1 or (self.config.is_centred and samples <= self.config.window_length // 2):
            raise AudioError(
                f"the clip has {samples} samples, shorter than one window of {self.config.window_length}; pad it first"
            )


class _Room:
    """Memory for the spectra of a few clips, and the front end in it.

    Fresh memory for each step takes as long as the arithmetic: the system hands it out page by page.
    """

    def __init__(self, front_end: FrontEnd, clips: int, samples: int, scale: float) -> None:
        config = front_end.config
        self._config, self._dct = config, front_end.dct
        frames = config.frames(samples)
        self._half = config.window_length // 2 if config.is_centred else 0
        self._window = front_end.window * scale
        self._padded = torch.empty(clips, samples + 2 * self._half)
        self._framed = torch.zeros(clips, frames, config.n_fft)  # what is behind the window stays zero
        self._spectrum = torch.empty(clips, frames, config.n_fft // 2 + 1, dtype=torch.complex64)
        # Bins that no band hears are left out of all that follows.
        heard = torch.nonzero(front_end.mel.any(dim=1)).flatten()
        self._first, self._last = int(heard[0]), int(heard[-1]) + 1
        self._mel = front_end.mel[self._first : self._last]
        self._energies = torch.empty(clips, frames, self._last - self._first)
        self._bands = torch.empty(clips, frames, config.n_mels)

    def compute(self, features: Tensor, waveform: Tensor) -> None:
        """The features of at most as many clips as there is room for."""
        config, clips = self._config, len(waveform)
        framed, spectrum, energies = self._framed[:clips], self._spectrum[:clips], self._energies[:clips]
        windows = self._pad(waveform).unfold(-1, config.window_length, config.hop_length)
        torch.mul(windows, self._window, out=framed[..., : config.window_length])
        torch.fft.rfft(framed, out=spectrum)
        parts = torch.view_as_real(spectrum)
        # Squares of both parts in place, then sums of neighbours: twice as fast as reading each part by itself.
        parts.mul_(parts)
        heard = parts[..., self._first : self._last, :]
        torch.add(heard[..., 0], heard[..., 1], out=energies)
        if config.power == 1:
            energies.sqrt_()
        bands = self._bands[:clips] if config.n_mfcc else features
        torch.mm(energies.flatten(0, 1), self._mel, out=bands.flatten(0, 1))
        floored = bands.add_(config.log_floor) if config.log_floor_is_added else bands.clamp_(min=config.log_floor)
        floored.log_()
        if config.n_mfcc:
            torch.mm(bands.flatten(0, 1), self._dct, out=features.flatten(0, 1))

    def _pad(self, waveform: Tensor) -> Tensor:
        """The clips as float32 with half a window of reflection on both sides where the frames are centred."""
        half = self._half
        padded = self._padded[: len(waveform)]
        end = padded.shape[-1] - half
        padded[:, half:end] = waveform
        if half:
            padded[:, :half] = padded[:, half + 1 : 2 * half + 1].flip(-1)
            padded[:, end:] = padded[:, end - 1 - half : end - 1].flip(-1)
        return padded
