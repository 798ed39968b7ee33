import numpy as np
import pytest
import torch

from tkd.augment import AugmentConfig, augment, noise_bank, shift
from tkd.errors import SettingsError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_shift_moves_each_clip_by_its_own_amount_and_fills_with_zeros() -> None:
    clips = torch.arange(1.0, 5.0).repeat(3, 1)
    moved = shift(clips, torch.tensor([0, 2, -1]))
    assert moved.tolist() == [[1, 2, 3, 4], [0, 0, 1, 2], [2, 3, 4, 0]]


def test_the_same_generator_gives_the_same_clips() -> None:
    clips = torch.randn(4, 1600, generator=seeded()).clamp(-1, 1)
    bank = noise_bank([np.arange(-4000, 4000, dtype=np.int16)], 1600)
    first = augment(clips, bank, AugmentConfig(), 16_000, seeded(1))
    second = augment(clips, bank, AugmentConfig(), 16_000, seeded(1))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_shifts_stay_within_the_limit_and_are_reported() -> None:
    clips = torch.zeros(500, 1600)
    clips[:, 800] = 1.0
    config = AugmentConfig(max_shift_ms=10, noise_probability=0.0)
    moved, shift_samples = augment(clips, None, config, 16_000, seeded())
    assert shift_samples.abs().max() <= 160
    assert torch.equal(moved.argmax(dim=1), 800 + shift_samples)


def test_noise_touches_the_stated_share_of_clips_at_most_at_the_stated_volume() -> None:
    bank = noise_bank([np.full(3200, 32767, dtype=np.int16)], 1600)
    config = AugmentConfig(max_shift_ms=0, noise_probability=0.8, max_noise_volume=0.1)
    mixed, _ = augment(torch.zeros(2000, 1600), bank, config, 16_000, seeded())
    loudness = mixed.amax(dim=1)
    assert 0.75 < (loudness > 0).float().mean().item() < 0.85
    assert loudness.max().item() <= 0.1


def test_noise_never_runs_from_one_recording_into_the_next() -> None:
    recordings = [np.full(1700, 1000, dtype=np.int16), np.full(1700, -1000, dtype=np.int16)]
    bank = noise_bank(recordings, 1600)
    assert bank is not None
    pieces = bank.samples[bank.starts[:, None] + torch.arange(1600)[None, :]]
    assert torch.equal(pieces.amin(dim=1), pieces.amax(dim=1))


def test_recordings_shorter_than_a_clip_give_no_bank() -> None:
    assert noise_bank([np.zeros(100, dtype=np.int16)], 1600) is None


@pytest.mark.parametrize("wrong", [{"max_shift_ms": -1.0}, {"noise_probability": 1.5}, {"max_noise_volume": -0.1}])
def test_amounts_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match="augmentation out of range"):
        AugmentConfig(**wrong)
