"""The networks whose cost is counted are what a trained network would be."""

from __future__ import annotations

import torch

from benchmarks.phone_results import network
from tkd.students.bcresnet import SubSpectralNorm


def test_a_fresh_network_normalises_every_band_as_the_clips_ask_for():
    clips = torch.randn(2, 101, 40, generator=torch.Generator().manual_seed(1))
    student, weights = network("bcresnet1.5", clips)
    assert weights == "fresh"
    norms = [each.norm for each in student.modules() if isinstance(each, SubSpectralNorm)]
    assert norms
    for norm in norms:
        assert len(norm.running_mean.unique()) > 1
        assert (norm.running_var != 1).all()
    assert not student.training
    assert not any(each.training for each in student.modules())
