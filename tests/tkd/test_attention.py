import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tkd.attention import interpolate, normalise, rollout_first_row, shift_frames


def random_maps(layers: int, frames: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(2, 3, frames, frames, generator=generator, dtype=torch.float64).mul(3).softmax(dim=-1)
        for _ in range(layers)
    ]


def test_the_first_row_equals_that_of_the_whole_rollout() -> None:
    maps = random_maps(layers=5, frames=11)
    whole = torch.eye(11, dtype=torch.float64).expand(2, -1, -1)
    for layer in maps:
        mixed = 0.5 * layer.mean(dim=1) + 0.5 * torch.eye(11, dtype=torch.float64)
        whole = mixed @ whole
    assert torch.allclose(rollout_first_row(maps), whole[:, 0], atol=1e-12)


def test_the_order_of_layers_matters() -> None:
    maps = random_maps(layers=3, frames=6)
    assert not torch.allclose(rollout_first_row(maps), rollout_first_row(maps[::-1]))


def test_the_row_is_a_distribution() -> None:
    row = rollout_first_row(random_maps(layers=4, frames=9))
    assert row.min() >= 0
    assert torch.allclose(row.sum(dim=1), torch.ones(2, dtype=torch.float64))


@settings(max_examples=50, deadline=None)
@given(frames=st.integers(1, 60), time=st.integers(1, 80), peak=st.integers(0, 59))
def test_interpolation_never_loses_a_peak_or_yields_an_empty_vector(frames: int, time: int, peak: int) -> None:
    attention = torch.zeros(1, frames)
    attention[0, peak % frames] = 1.0
    resampled = interpolate(attention, time)
    assert resampled.shape == (1, time)
    assert resampled.min() > 0
    assert resampled.sum().item() == pytest.approx(1.0, abs=1e-5)
    centre = (peak % frames + 0.5) / frames
    assert abs((resampled.argmax().item() + 0.5) / time - centre) <= 1.0 / time + 1.0 / frames


def test_interpolation_to_the_same_length_changes_nothing_but_the_floor() -> None:
    attention = normalise(torch.rand(3, 13))
    assert torch.allclose(interpolate(attention, 13), attention, atol=1e-4)


def test_a_shift_by_whole_frames_moves_the_peak() -> None:
    attention = torch.zeros(2, 10)
    attention[:, 4] = 1.0
    moved = shift_frames(attention, torch.tensor([3.0, -2.0]))
    assert moved.argmax(dim=1).tolist() == [7, 2]


def test_a_shift_by_half_a_frame_shares_the_mass() -> None:
    attention = torch.zeros(1, 6)
    attention[0, 2] = 1.0
    moved = shift_frames(attention, torch.tensor([0.5]))
    assert moved[0, 2:4].tolist() == pytest.approx([0.5, 0.5], abs=1e-4)


def test_a_shift_that_moves_everything_out_leaves_a_uniform_row() -> None:
    moved = shift_frames(torch.eye(1, 5), torch.tensor([9.0]))
    assert torch.allclose(moved, torch.full((1, 5), 0.2))
