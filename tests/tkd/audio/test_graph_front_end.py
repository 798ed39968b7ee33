"""The front end as a network computes what the front end outside computes, and says what it cannot be."""

import dataclasses

import numpy as np
import pytest
import torch

from converters.pipeline import ConversionRequest, convert
from converters.runners import run_tflite
from tkd.audio.features import FEATURES, FeatureConfig, FrontEnd
from tkd.audio.graph_front_end import GraphFrontEnd
from tkd.audio.split_dft import split_dft
from tkd.errors import AudioError, SettingsError

NAMES = sorted(FEATURES)


def _clips(samples: int) -> torch.Tensor:
    """A voice-like tone, noise of 16 bits, full-scale clipping, one click and digital silence, shape (5, samples)."""
    rng = np.random.default_rng(3)
    time_s = np.arange(samples) / 16_000
    tone = sum(np.sin(2 * np.pi * 130 * k * time_s * (1 + 0.05 * time_s)) / k for k in range(1, 30))
    click = np.zeros(samples)
    click[samples // 2] = 0.9
    clips = [0.1 * tone, 0.01 * rng.standard_normal(samples), np.sign(tone), click, np.zeros(samples)]
    return torch.from_numpy(np.rint(32_767 * np.clip(clips, -1, 1)) / 32_768).float()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("samples", [16_000, 32_000, 16_001, 1_000])
def test_it_computes_the_features_of_every_named_front_end_at_any_length(name: str, samples: int) -> None:
    config = FEATURES[name]
    clips = _clips(samples)[:2]

    seen = GraphFrontEnd(config, samples)(clips)

    # Where a float32 sum of hundreds of terms nearly cancels, the logarithm shows its last bits.
    torch.testing.assert_close(seen, FrontEnd(config)(clips), atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_as_near_to_float64_as_the_front_end_outside_is(name: str) -> None:
    config, clips = FEATURES[name], _clips(16_000)
    exact = FrontEnd(config).double()(clips.double())
    outside = (FrontEnd(config)(clips) - exact).abs().amax(dim=(1, 2))

    inside = (GraphFrontEnd(config, 16_000)(clips) - exact).abs().amax(dim=(1, 2))

    assert (inside <= 4 * outside + 1e-4).all(), (inside, outside)


def test_the_scale_of_each_channel_is_divided_out() -> None:
    for config in (FEATURES["tcresnet-paper"], FEATURES["bcresnet"]):
        scale, clips = torch.linspace(1, 9, config.channels), _clips(16_000)[:1]

        seen = GraphFrontEnd(config, 16_000, scale)(clips)

        torch.testing.assert_close(seen, FrontEnd(config)(clips) / scale, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("columns", [1, 2, 4, 8, 16, 32])
def test_any_split_of_the_dft_is_the_dft(columns: int) -> None:
    rng = np.random.default_rng(columns)
    window, heard = rng.uniform(0.1, 1, 480), np.arange(3, 200)

    split = split_dft(window, 160, 512, heard, columns)

    frame = rng.standard_normal(480)
    found = _by_hand(split, frame)
    expected = np.abs(np.fft.rfft(frame * window, 512))
    assert sorted(found) == heard.tolist()
    np.testing.assert_allclose([found[k] for k in heard], expected[heard], rtol=1e-9, atol=1e-9)


def _by_hand(split: object, frame: np.ndarray) -> dict[int, float]:
    """|X| by bin, with the two grouped products of `split` written out."""
    columns, groups, chunk = split.columns, split.groups, split.chunk  # type: ignore[attr-defined]
    chunks = frame.reshape(-1, chunk // columns, columns)
    parts = np.stack([
        np.einsum("ort,tr->o", kernels, chunks[:, :, column])
        for column, kernels in enumerate(split.first.reshape(columns, -1, *split.first.shape[1:]))  # type: ignore[attr-defined]
    ])  # fmt: skip
    by_group = parts.reshape(2 * columns, groups).T
    found = {}
    for group, bins in enumerate(split.bins):  # type: ignore[attr-defined]
        rows = slice(group * split.slots, (group + 1) * split.slots)  # type: ignore[attr-defined]
        values = (split.real[rows] + 1j * split.imaginary[rows]) @ by_group[group]  # type: ignore[attr-defined]
        found |= {int(k): abs(value) for k, value in zip(bins, values, strict=True) if k >= 0}
    return found


def test_the_split_with_the_fewest_multiplications_is_taken() -> None:
    window, heard = np.ones(480), np.arange(1, 250)
    assert split_dft(window, 160, 512, heard).columns == 16


@pytest.mark.parametrize("name", ["tcresnet-paper", "kws-streaming", "bcresnet"])
def test_its_tflite_file_frames_without_gather_and_computes_the_same(name: str) -> None:
    config, clips = FEATURES[name], _clips(16_000)
    front = GraphFrontEnd(config, 16_000)

    file = convert(ConversionRequest(module=front, example=clips[:1].numpy(), check=clips.numpy())).float32

    # Two for the reflected edges of centred frames; none for framing.
    assert file.operators.get("GATHER", 0) == (2 if config.is_centred else 0)
    np.testing.assert_allclose(run_tflite(file.content, clips.numpy()), front(clips).numpy(), atol=1e-3)


@pytest.mark.parametrize(("change", "samples", "error", "message"), [
    ({}, 479, AudioError, "clips of 479 samples are shorter than one window of 480"),
    ({"is_centred": True}, 240, AudioError, "clips of 240 samples are shorter than one window of 480"),
    ({"n_fft": 513}, 16_000, SettingsError, "features.n_fft is 513; inside a graph it must be even"),
])  # fmt: skip
def test_what_it_cannot_be_is_a_sentence(
    change: dict[str, object], samples: int, error: type[Exception], message: str
) -> None:
    config: FeatureConfig = dataclasses.replace(FEATURES["tcresnet-paper"], **change)  # type: ignore[arg-type]
    with pytest.raises(error, match=message):
        GraphFrontEnd(config, samples)


def test_a_split_with_columns_that_do_not_divide_is_refused_with_those_that_do() -> None:
    with pytest.raises(SettingsError, match=r"no 3 columns here; expected one of \[1, 2, 4, 8, 16, 32\]"):
        split_dft(np.ones(480), 160, 512, np.arange(3, 200), 3)
    with pytest.raises(SettingsError, match="hear bin 0 and bin 256"):
        split_dft(np.ones(480), 160, 512, np.arange(257))


def test_clips_of_another_length_are_refused() -> None:
    with pytest.raises(AudioError, match=r"has shape \(1, 8000\); expected \(batch, 16000\)"):
        GraphFrontEnd(FEATURES["tcresnet-paper"], 16_000)(torch.zeros(1, 8_000))
