import numpy as np
import pytest
import torch

from tkd.augment import AugmentConfig, augment, lead_in, mask_features, noise_bank, resample, shift
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


def test_resampling_changes_the_pitch_and_keeps_the_middle_and_the_length() -> None:
    time = torch.arange(-4000, 4000) / 16_000
    tone = torch.cos(2 * torch.pi * 440 * time).repeat(2, 1)
    lower, higher = resample(tone, torch.tensor([1.1, 0.9]))
    for clip, frequency in ((lower, 400.0), (higher, 440 / 0.9)):
        assert clip.shape == (8000,)
        peak = torch.fft.rfft(clip, n=160_000).abs().argmax().item() / 10
        assert peak == pytest.approx(frequency, abs=1.0)
    assert lower[:40].any()
    assert lower[-40:].any()
    assert not higher[:399].any()
    assert not higher[-399:].any()


def test_a_factor_of_one_resamples_to_the_same_clip() -> None:
    clips = torch.randn(3, 1600, generator=seeded())
    torch.testing.assert_close(resample(clips, torch.ones(3)), clips)


def test_resampling_leaves_the_other_draws_as_they_are() -> None:
    clips = torch.randn(8, 1600, generator=seeded()).clamp(-1, 1)
    plain, plain_shift = augment(clips, None, AugmentConfig(), 16_000, seeded(1))
    stretched, stretched_shift = augment(clips, None, AugmentConfig(max_resample=0.15), 16_000, seeded(1))
    assert torch.equal(plain_shift, stretched_shift)
    assert not torch.equal(plain, stretched)


def test_masks_set_stretches_of_time_and_bands_of_channels_to_zero() -> None:
    masked = mask_features(torch.ones(200, 50, 20), max_frames=10, max_bands=5, masks=2, generator=seeded())
    lost_frames = (masked == 0).all(dim=2).sum(dim=1)
    lost_bands = (masked == 0).all(dim=1).sum(dim=1)
    assert lost_frames.max() <= 20
    assert lost_bands.max() <= 10
    assert lost_frames.float().mean() > 5
    assert lost_bands.float().mean() > 2
    expected = (masked != 0).any(dim=2)[:, :, None] & (masked != 0).any(dim=1)[:, None, :]
    assert torch.equal(masked, expected.float())


def test_masks_longer_than_the_clip_are_as_long_as_the_clip() -> None:
    masked = mask_features(torch.ones(50, 4, 3), max_frames=100, max_bands=0, masks=1, generator=seeded())
    assert set(masked.sum(dim=(1, 2)).tolist()) == {0.0, 3.0, 6.0, 9.0, 12.0}


@pytest.mark.parametrize("wrong", [
    {"max_shift_ms": -1.0}, {"noise_probability": 1.5}, {"max_noise_volume": -0.1}, {"max_resample": 1.0},
    {"max_resample": -0.1}, {"feature_masks": -1}, {"max_mask_frames": -1}, {"max_mask_channels": -1},
    {"max_lead_in_clips": -1},
])  # fmt: skip
def test_amounts_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match="augmentation out of range"):
        AugmentConfig(**wrong)


def test_a_lead_in_is_of_other_clips_and_the_clip_itself_comes_last() -> None:
    inputs = torch.arange(6.0).view(3, 2, 1)
    lengths = set()
    for seed in range(12):
        heard = lead_in(inputs, 2, seeded(seed))
        lengths.add(heard.shape[1])
        assert torch.equal(heard[:, -2:], inputs)
        for start in range(0, heard.shape[1], 2):
            assert sorted(map(tuple, heard[:, start : start + 2, 0].tolist())) == [(0.0, 1.0), (2.0, 3.0), (4.0, 5.0)]
    assert lengths == {2, 4, 6}
