import torch

from tkd.augment import AugmentConfig
from tkd.train.batches import Batches, ClipStore, mix_seeds


def store(clips: int = 23) -> ClipStore:
    generator = torch.Generator().manual_seed(0)
    waveforms = torch.randint(-3000, 3000, (clips, 1600), generator=generator, dtype=torch.int16)
    return ClipStore(waveforms=waveforms, labels=torch.arange(clips), sample_rate_hz=16_000, noise=None)


def batches(seed: int = 1, size: int = 5) -> Batches:
    return Batches(store(), AugmentConfig(), size, seed, lambda waveforms: waveforms)


def test_a_batch_depends_on_the_seed_and_the_step_alone() -> None:
    walked = list(batches().run(0, 9))
    direct = batches().at(7)
    assert torch.equal(walked[7].inputs, direct.inputs)
    assert torch.equal(walked[7].index, direct.index)


def test_another_seed_or_step_gives_other_clips_in_another_order() -> None:
    first = batches(seed=1).at(0)
    assert not torch.equal(first.index, batches(seed=2).at(0).index)
    assert not torch.equal(first.index, batches(seed=1).at(1).index)


def test_an_epoch_shows_no_clip_twice_and_drops_the_ragged_end() -> None:
    seen = torch.cat([batch.index for batch in batches().run(0, 4)])
    assert len(seen) == len(seen.unique()) == 20


def test_a_store_smaller_than_a_batch_is_given_whole() -> None:
    assert len(batches(size=100).at(3).index) == 23


def test_labels_belong_to_their_clips() -> None:
    batch = batches().at(2)
    assert torch.equal(batch.labels, batch.index)


def test_masks_are_a_function_of_the_step_and_follow_the_front_end() -> None:
    config = AugmentConfig(feature_masks=1, max_mask_frames=20, max_mask_channels=8)
    masked = Batches(store(), config, 5, 1, lambda clips: torch.ones(len(clips), 40, 16))
    first = masked.at(3).inputs
    torch.rand(1)  # what else is drawn makes no difference
    assert torch.equal(first, masked.at(3).inputs)
    assert not torch.equal(first, masked.at(4).inputs)
    assert 0 < first.mean() < 1


def test_mixed_seeds_of_neighbours_share_nothing() -> None:
    seeds = {mix_seeds(a, b, c) for a in range(20) for b in range(20) for c in range(3)}
    assert len(seeds) == 20 * 20 * 3
    assert all(0 <= seed < 2**63 for seed in seeds)
