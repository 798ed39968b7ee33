"""The front end hop by hop against the front end on the whole, and a network behind it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tkd.audio.features import FEATURES, FrontEnd
from tkd.audio.streaming_front_end import AudioStream, StreamingFrontEnd
from tkd.errors import SettingsError

STREAMING = ["tcresnet-paper", "kws-streaming", "ds-cnn", "mlperf-tiny", "bcresnet-causal"]


@pytest.mark.parametrize("name", STREAMING)
def test_hops_of_audio_give_the_features_of_the_whole_behind_silence(name: str) -> None:
    config = FEATURES[name]
    front = StreamingFrontEnd(config, frames=8).eval()
    torch.manual_seed(0)
    audio = 0.1 * torch.randn(1, 25 * front.samples)
    past, seen = torch.zeros(1, front.kept), []
    with torch.no_grad():
        for hop in audio.split(front.samples, dim=1):
            features, past = front(hop, past)
            seen.append(features)
        expected = FrontEnd(config)(torch.cat([torch.zeros(1, front.kept), audio], dim=1))
    assert expected.shape[1] == 200
    # Bands of the silence before the first samples are rounding alone, and their logarithm is anything.
    torch.testing.assert_close(torch.cat(seen, dim=1)[:, 4:], expected[:, 4:], rtol=1e-3, atol=1e-3)


def test_features_are_divided_by_the_size_of_their_channels() -> None:
    config = FEATURES["tcresnet-paper"]
    scale = torch.linspace(1, 3, config.channels)
    hop, past = 0.1 * torch.randn(1, 1280), torch.zeros(1, 320)
    with torch.no_grad():
        plain, _ = StreamingFrontEnd(config, 8)(hop, past)
        scaled, _ = StreamingFrontEnd(config, 8, scale)(hop, past)
    torch.testing.assert_close(scaled * scale, plain, rtol=1e-4, atol=1e-4)


def test_what_is_carried_on_is_the_end_of_what_was_heard() -> None:
    front = StreamingFrontEnd(FEATURES["kws-streaming"], frames=1)
    hop = torch.arange(320.0)[None] / 320
    _, following = front(hop, torch.zeros(1, 320))
    assert (320, 320) == (front.samples, front.kept)
    assert torch.equal(following, hop)


def test_a_network_behind_it_is_given_features_and_its_own_states() -> None:
    class Summing(nn.Module):
        def forward(self, features: torch.Tensor, total: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            total = total + features.sum(dim=(1, 2), keepdim=False)[:, None]
            return total * 2, total

    front = StreamingFrontEnd(FEATURES["tcresnet-paper"], frames=2)
    hop, past, total = 0.1 * torch.randn(1, front.samples), torch.zeros(1, front.kept), torch.ones(1, 1)
    logits, following, kept = AudioStream(front, Summing())(hop, past, total)
    features, expected = front(hop, past)
    assert torch.equal(following, expected)
    assert torch.allclose(kept, 1 + features.sum().reshape(1, 1))
    assert torch.equal(logits, 2 * kept)


def test_centred_frames_are_refused() -> None:
    with pytest.raises(SettingsError, match="has no form that streams; expected windows that overlap"):
        StreamingFrontEnd(FEATURES["bcresnet"], frames=1)


def test_silence_gives_finite_features() -> None:
    front = StreamingFrontEnd(FEATURES["kws-streaming"], frames=1)
    features, _ = front(torch.zeros(1, front.samples), torch.zeros(1, front.kept))
    assert np.isfinite(features.numpy()).all()
