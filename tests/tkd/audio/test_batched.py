import pytest
import torch

from tkd.audio.batched import features_of
from tkd.audio.features import FEATURES, FrontEnd, find_features
from tkd.errors import AudioError


@pytest.mark.parametrize("name", sorted(FEATURES))
def test_clips_in_memory_that_is_there_have_the_features_of_the_plain_formula(name: str) -> None:
    """With gradients no step writes over another's memory; 19 clips leave a last group that is not full."""
    front_end = FrontEnd(find_features(name))
    integers = torch.randint(-9_000, 9_000, (19, 12_345), dtype=torch.int16)
    waveform = integers.float() / 32768.0
    with torch.enable_grad():
        expected = front_end(waveform)

    with torch.no_grad():
        torch.testing.assert_close(front_end(waveform), expected, atol=1e-5, rtol=1e-5)
    seen = front_end.compute_into(torch.full_like(expected, torch.nan), integers)
    torch.testing.assert_close(seen, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["bcresnet", "tcresnet-paper"])
def test_many_clips_have_the_features_of_each(name: str) -> None:
    waveforms = torch.randint(-9_000, 9_000, (150, 16_000), dtype=torch.int16)
    front_end = FrontEnd(find_features(name))

    seen = features_of(waveforms, front_end)

    torch.testing.assert_close(seen, front_end(waveforms.float() / 32768.0))


def test_clips_shorter_than_a_window_are_refused() -> None:
    with pytest.raises(AudioError, match="shorter than"):
        features_of(torch.zeros(3, 100, dtype=torch.int16), FrontEnd(find_features("tcresnet-paper")))


def test_no_clips_have_no_features() -> None:
    features = features_of(torch.zeros(0, 16_000, dtype=torch.int16), FrontEnd(find_features("bcresnet")))

    assert features.shape == (0, 101, 40)
