"""Activations read where the runtime has them: the same as an interpreter that keeps all its tensors shows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from converters.graph import read_graph
from converters.lowering.lower import lower
from converters.lowering.writer import write_model
from converters.runners import TfliteModel
from converters.to_onnx import to_onnx
from converters.watching import WatchedModel
from tests.converters.toys import TOYS

RNG = np.random.default_rng(5)


def lowered(name):
    _, shape, build = TOYS[name]
    torch.manual_seed(1)
    graph = read_graph(to_onnx(build().eval(), torch.zeros(shape), input_name="features", output_name="logits"))
    return lower(graph), RNG.standard_normal((3, *shape[1:])).astype(np.float32)


@pytest.mark.parametrize("name", TOYS)
def test_every_activation_is_what_a_kept_tensor_is(name):
    model, clips = lowered(name)
    names = model.activations()
    watched = WatchedModel(model)
    kept = TfliteModel(write_model(model, description="toy"), keeps_all=True)
    for clip, expected in zip(watched.each(clips), kept.trace(clips, names), strict=True):
        assert set(names) <= set(watched.values), clip
        for each in names:
            assert expected[each].shape == watched.values[each].shape
            assert watched.values[each] == pytest.approx(expected[each], rel=1e-4, abs=1e-5)


def test_the_blocks_hold_every_value_of_every_activation():
    model, clips = lowered("residual sum")
    watched = WatchedModel(model)
    highest = [np.full_like(block, -np.inf) for block in watched.blocks]
    expected = {name: np.full(values.shape, -np.inf) for name, values in watched.values.items()}
    for _ in watched.each(clips):
        for block, most in zip(watched.blocks, highest, strict=True):
            np.maximum(most, block, out=most)
        for name, values in watched.values.items():
            expected[name] = np.maximum(expected[name], values)
    found = watched.inside(highest)
    assert set(watched.values) == set(found)
    for name, values in expected.items():
        assert np.array_equal(values, found[name])
    assert sum(map(len, watched.blocks)) < 2 * sum(each.size for each in watched.values.values()) + 64


def test_a_clip_changes_what_the_one_before_it_left():
    model, clips = lowered("linear")
    watched = WatchedModel(model)
    seen = [watched.values[model.outputs[0]].copy() for _ in watched.each(clips)]
    assert not np.array_equal(seen[0], seen[1])
    assert np.concatenate(seen) == pytest.approx(TfliteModel(write_model(model, description="toy")).run(clips))


def test_a_model_of_one_layer_has_nothing_inside():
    torch.manual_seed(0)
    model = lower(read_graph(to_onnx(nn.Linear(4, 2), torch.zeros(1, 4))))
    assert {*model.inputs, *model.outputs} == set(WatchedModel(model).values)


def test_a_single_number_without_axes_is_seen_at_each_clip():
    class Whole(nn.Module):
        def forward(self, x):
            return x * x.mean()

    model = lower(read_graph(to_onnx(Whole(), torch.zeros(1, 4))))
    scalars = [name for name in model.activations() if model.tensors[name].shape == ()]
    assert scalars
    watched = WatchedModel(model)
    clips = RNG.standard_normal((3, 4)).astype(np.float32)
    seen = [float(watched.values[scalars[0]]) for _ in watched.each(clips)]
    assert clips.mean(axis=1) == pytest.approx(seen, abs=1e-6)
    assert set(watched.values) == set(watched.inside(watched.blocks))
