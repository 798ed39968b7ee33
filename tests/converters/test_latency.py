"""Latency ratios and times of single operators, with a clock that the test turns."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from converters.graph import read_graph
from converters.latency import Ratio, latency_ratios, operator_times_us
from converters.lowering.lower import lower
from converters.lowering.writer import write_model
from converters.to_onnx import to_onnx
from tests.converters.toys import inputs


def lowered(module, shape):
    return lower(read_graph(to_onnx(module, torch.zeros(shape))))


def ticking(step_s=0.001):
    count = itertools.count()
    return lambda: next(count) * step_s


def test_files_that_take_the_same_time_have_the_ratio_one():
    file = write_model(lowered(nn.Linear(6, 3), (1, 6)), description="toy")
    seen = latency_ratios({"a": file, "b": file}, inputs((1, 6), 1), clock=ticking(), blocks=3)
    assert [1.0, 1.0, 1.0] == pytest.approx([seen["b"].ratio, seen["b"].low, seen["b"].high])
    assert seen["a"].us == pytest.approx(1000.0)


def test_a_computer_that_slows_down_steadily_favours_neither_file():
    file = write_model(lowered(nn.Linear(6, 3), (1, 6)), description="toy")
    times = np.cumsum(np.linspace(0.001, 0.002, 4000))
    calls = itertools.count()
    seen = latency_ratios({"a": file, "b": file}, inputs((1, 6), 1), clock=lambda: times[next(calls)], blocks=9)
    assert abs(seen["b"].ratio - 1) < 0.002


def test_blocks_that_disagree_give_no_ratio():
    assert "1.10" == str(Ratio(ratio=1.1, low=1.0, high=1.2, us=10.0))
    assert "unclear" == str(Ratio(ratio=13.5, low=0.93, high=25.2, us=8490.0))


@pytest.mark.parametrize(("low", "high", "expected"), [(1.05, 1.2, True), (0.98, 1.2, False), (1.1, 3.0, False)])
def test_a_file_is_called_slower_only_where_the_blocks_agree(low, high, expected):
    assert expected is Ratio(ratio=1.15, low=low, high=high, us=1.0).is_slower


def test_every_operator_has_a_time_and_twins_share_theirs():
    model = lowered(nn.Sequential(nn.Linear(6, 6), nn.Sigmoid(), nn.Linear(6, 6)), (1, 6))
    times = operator_times_us(model)
    first, _, last = (each.outputs[0] for each in model.operators)
    assert {each.outputs[0] for each in model.operators} == set(times)
    assert times[first] == times[last]
    assert min(times.values()) >= 0.0
