import pytest
import torch
import torch.nn.functional as F

from tkd.students.bcresnet import SubSpectralNorm
from tkd.students.tensorflow_layers import SameConv1d, SameConv2d, same_padding


@pytest.mark.parametrize(("time", "kernel", "stride"), [(98, 9, 2), (49, 9, 2), (25, 9, 2), (98, 3, 1), (98, 1, 2)])
def test_same_padding_gives_the_time_steps_that_tensorflow_gives(time: int, kernel: int, stride: int) -> None:
    convolved = SameConv1d(1, 1, kernel, stride=stride)(torch.zeros(1, 1, time))
    assert convolved.shape[-1] == -(-time // stride)
    before, after = same_padding(time, kernel, stride)
    assert after - before in (0, 1)


def test_same_padding_of_a_map_is_that_of_each_axis() -> None:
    convolution = SameConv2d(1, 3, (10, 4), stride=(2, 1))
    x = torch.randn(2, 1, 49, 10)
    expected = F.conv2d(F.pad(x, (1, 2, 4, 5)), convolution.weight, convolution.bias, stride=(2, 1))
    assert torch.equal(expected, convolution(x))
    assert expected.shape == (2, 3, 25, 10)


def test_same_padding_knows_dilation() -> None:
    assert SameConv2d(1, 1, 3, dilation=16)(torch.zeros(1, 1, 98, 40)).shape == (1, 1, 98, 40)


def sub_band_by_sub_band(norm: SubSpectralNorm, x: torch.Tensor) -> torch.Tensor:
    """Batch normalisation of each sub-band by itself, with the statistics of the batch."""
    channels, bands = x.shape[1], norm.sub_bands
    weight, bias = norm.norm.weight.reshape(channels, bands), norm.norm.bias.reshape(channels, bands)
    parts = [
        F.batch_norm(part, None, None, weight[:, band], bias[:, band], training=True)
        for band, part in enumerate(x.chunk(bands, dim=2))
    ]
    return torch.cat(parts, dim=2)


def random_norm(channels: int, bands: int) -> SubSpectralNorm:
    norm = SubSpectralNorm(channels, bands)
    torch.nn.init.normal_(norm.norm.weight)
    torch.nn.init.normal_(norm.norm.bias)
    return norm


def test_sub_spectral_normalisation_is_batch_normalisation_of_each_sub_band() -> None:
    norm = random_norm(3, 5)
    x = torch.randn(4, 3, 20, 7) * torch.linspace(1, 9, 20)[:, None]
    torch.testing.assert_close(norm.train()(x), sub_band_by_sub_band(norm, x))


def test_sub_spectral_normalisation_evaluates_to_its_own_moving_statistics() -> None:
    norm = random_norm(3, 5)
    x = torch.randn(64, 3, 20, 7) * torch.linspace(1, 9, 20)[:, None]
    norm.norm.momentum = 1.0
    norm.train()(x)
    groups = norm.eval().norm(x.reshape(64, 15, 4, 7)).reshape(x.shape)
    torch.testing.assert_close(norm(x), groups)
