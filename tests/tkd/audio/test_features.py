import dataclasses
import math

import librosa
import numpy as np
import pytest
import torch

from tkd.audio.features import FEATURES, FeatureConfig, FrontEnd, find_features
from tkd.errors import AudioError, SettingsError

NAMES = sorted(FEATURES)


def _speechlike(samples: int = 16_000) -> np.ndarray:
    rng = np.random.default_rng(7)
    time_s = np.arange(samples) / 16_000
    tone = sum(np.sin(2 * np.pi * 130 * k * time_s * (1 + 0.05 * time_s)) / k for k in range(1, 30))
    return 0.1 * tone * np.hanning(samples) + 0.003 * rng.standard_normal(samples)


def _librosa_mel(wave: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """Mel bands, shape (frames, mels), by librosa's own framing, window, DFT and filters."""
    left = (config.n_fft - config.window_length) // 2
    right = config.n_fft - config.window_length - left
    if config.is_centred:
        wave = np.pad(wave, config.window_length // 2, mode="reflect")
    spectrum = librosa.stft(
        np.pad(wave, (left, right)), n_fft=config.n_fft, hop_length=config.hop_length,
        win_length=config.window_length, window="hann", center=False,
    )  # fmt: skip
    return librosa.feature.melspectrogram(
        S=np.abs(spectrum) ** config.power, sr=config.sample_rate_hz, n_mels=config.n_mels, fmin=config.mel_low_hz,
        fmax=config.mel_high_hz, htk=True, norm=None, dtype=np.float64,
    ).T  # fmt: skip


def _librosa_features(wave: np.ndarray, config: FeatureConfig) -> np.ndarray:
    mel = _librosa_mel(wave, config)
    floor = config.log_floor
    log_mel = np.log(mel + floor) if config.log_floor_is_added else np.log(np.maximum(mel, floor))
    if not config.n_mfcc:
        return log_mel
    return librosa.feature.mfcc(S=log_mel.T, n_mfcc=config.n_mfcc, dct_type=2, norm="ortho").T


@pytest.mark.parametrize("name", NAMES)
def test_every_front_end_equals_librosa_in_float64(name: str) -> None:
    config = FEATURES[name]
    wave = _speechlike()

    seen = FrontEnd(config).double()(torch.from_numpy(wave)[None])[0].numpy()

    np.testing.assert_allclose(seen, _librosa_features(wave, config), atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_every_front_end_equals_librosa_before_the_logarithm_in_float32(name: str) -> None:
    config = FEATURES[name]
    wave = _speechlike()
    expected = _librosa_mel(wave, config)

    seen = FrontEnd(config).mel_energies(torch.from_numpy(wave).float()[None])[0].numpy()

    np.testing.assert_allclose(seen, expected, atol=1e-4 * expected.max(), rtol=0)


@pytest.mark.parametrize(("name", "frames", "channels"), [
    ("tcresnet-paper", 98, 40), ("kws-streaming", 49, 20), ("kws-streaming-tcresnet", 49, 40),
    ("kws-streaming-mhatt", 49, 20), ("kws-streaming-60-40", 24, 20),
    ("kws-streaming-30-10", 98, 20), ("mlperf-tiny", 49, 10), ("ds-cnn", 49, 10), ("cnn-baseline", 49, 40),
    ("bcresnet", 101, 40), ("bcresnet-causal", 98, 40),
])  # fmt: skip
def test_one_second_has_the_published_number_of_frames_and_channels(name: str, frames: int, channels: int) -> None:
    config = FEATURES[name]

    shape = tuple(FrontEnd(config)(torch.zeros(2, 16_000)).shape)

    assert shape == (2, frames, channels) == (2, config.frames(16_000), config.channels)


def test_the_table_of_frames_covers_every_front_end() -> None:
    marks = test_one_second_has_the_published_number_of_frames_and_channels.pytestmark
    assert sorted(row[0] for row in marks[0].args[1]) == NAMES


def test_a_clip_has_the_same_features_alone_and_in_a_large_batch() -> None:
    front_end = FrontEnd(FEATURES["tcresnet-paper"])
    batch = torch.from_numpy(np.stack([_speechlike() * gain for gain in np.linspace(0.1, 1, 37)])).float()

    together = front_end(batch)

    torch.testing.assert_close(together[36:37], front_end(batch[36:37]), atol=1e-4, rtol=1e-5)


def test_silence_gives_the_logarithm_of_the_floor() -> None:
    config = dataclasses.replace(FEATURES["kws-streaming"], n_mfcc=0)

    seen = FrontEnd(config)(torch.zeros(1, 16_000))

    torch.testing.assert_close(seen, torch.full_like(seen, math.log(1e-12)))


def test_a_front_end_has_no_parameters_and_no_state() -> None:
    front_end = FrontEnd(FEATURES["bcresnet"])

    assert (list(front_end.parameters()), dict(front_end.state_dict())) == ([], {})


def _tensorflow_filters(config: FeatureConfig) -> np.ndarray:
    """tf.signal.linear_to_mel_weight_matrix, shape (bins, mels): triangles that are linear in mel."""

    def mel_of(hz: np.ndarray) -> np.ndarray:
        return 1127.0 * np.log1p(hz / 700.0)

    bins_hz = np.linspace(0.0, config.sample_rate_hz / 2, config.n_fft // 2 + 1)
    bins = mel_of(bins_hz)[1:, None]
    low_mel, high_mel = mel_of(np.array([config.mel_low_hz, config.mel_high_hz]))
    edges = np.linspace(low_mel, high_mel, config.n_mels + 2)
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    triangles = np.minimum((bins - lower) / (centre - lower), (upper - bins) / (upper - centre))
    return np.pad(np.maximum(0.0, triangles), [[1, 0], [0, 0]])


@pytest.mark.parametrize(("name", "bound"), [("tcresnet-paper", 0.014), ("kws-streaming", 0.014)])
def test_the_filters_differ_from_tensorflows_by_no_more_than_the_docstring_says(name: str, bound: float) -> None:
    config = FEATURES[name]
    left = (config.n_fft - config.window_length) // 2
    spectrum = librosa.stft(
        np.pad(_speechlike(), (left, config.n_fft)), n_fft=config.n_fft, hop_length=config.hop_length,
        win_length=config.window_length, center=False,
    )  # fmt: skip
    power = np.abs(spectrum[:, : config.frames(16_000)]).T ** config.power

    ours = power @ FrontEnd(config).mel.double().numpy()
    theirs = power @ _tensorflow_filters(config)

    difference = np.abs(np.log(ours + config.log_floor) - np.log(theirs + config.log_floor))
    assert difference.max() < bound


def test_a_configuration_survives_its_dictionary() -> None:
    for config in FEATURES.values():
        assert FeatureConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(("change", "message"), [
    ({"hop_ms": 0}, "features.hop_ms is 0; expected a whole number of samples, 1 or more"),
    ({"window_ms": 30.01}, "features.window_ms is 30.01; expected a whole number of samples"),
    ({"n_fft": 256}, "features.n_fft is 256; expected at least the window of 480 samples"),
    ({"power": 3}, "features.power is 3; expected 1 (magnitude) or 2 (power)"),
    ({"mel_high_hz": 9000}, "features.mel_high_hz is 9000; expected above mel_low_hz (80) and at most half"),
    ({"log_floor": 0.0}, "features.log_floor is 0.0; expected a number above 0"),
    ({"n_mfcc": 65}, "features.n_mfcc is 65; expected 0 to n_mels (64)"),
    ({"n_mels": "64"}, "features.n_mels is '64' (str); expected int"),
    ({"n_mels": True}, "features.n_mels is True (bool); expected int"),
    ({"hop": 10}, "no field of a front end is called 'hop'; did you mean 'hop_ms'?"),
])  # fmt: skip
def test_an_impossible_configuration_is_refused_with_the_field_and_the_range(change: dict, message: str) -> None:
    values = {**FEATURES["tcresnet-paper"].to_dict(), **change}

    with pytest.raises(SettingsError) as error:
        FeatureConfig.from_dict(values)

    assert message in str(error.value)


def test_a_configuration_that_lacks_a_field_is_refused() -> None:
    with pytest.raises(SettingsError, match="the front end lacks hop_ms, n_fft"):
        FeatureConfig.from_dict({"window_ms": 30, "power": 2, "n_mels": 40, "mel_low_hz": 20, "mel_high_hz": 7000,
                                 "log_floor": 1e-6, "log_floor_is_added": True})  # fmt: skip


def test_an_unknown_front_end_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(SettingsError, match="did you mean 'tcresnet-paper'"):
        find_features("tcresnet-papr")


@pytest.mark.parametrize(("waveform", "message"), [
    (torch.zeros(1, 400), "the clip has 400 samples, shorter than one window of 480"),
    (torch.zeros(16_000), "float32 of shape (16000,); expected floating samples"),
    (torch.zeros(1, 16_000, dtype=torch.int16), "int16 of shape (1, 16000); expected floating samples"),
])  # fmt: skip
def test_an_unusable_waveform_is_refused(waveform: torch.Tensor, message: str) -> None:
    with pytest.raises(AudioError) as error:
        FrontEnd(FEATURES["tcresnet-paper"])(waveform)

    assert message in str(error.value)
