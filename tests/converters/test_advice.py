"""Advice is what was tried: the operator that spoils a file is named, and the option that is named helps."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import nn

from converters.advice import advise
from converters.graph import read_graph
from converters.int8_builder import Int8Builder
from converters.latency import Ratio
from converters.lowering.lower import lower
from converters.lowering.writer import write_model
from converters.mixture import kept_float
from converters.quant_report import report_quantization
from converters.to_onnx import to_onnx
from tests.converters.toys import Toy, inputs

CLIPS = inputs((1, 12), 96)


def steady(files, clip):
    return {name: Ratio(ratio=1.04, low=1.02, high=1.06, us=10.0) for name in files}


def built(module):
    torch.manual_seed(1)
    model = lower(read_graph(to_onnx(module, torch.zeros(1, 12))))
    builder = Int8Builder(model, CLIPS, "minmax", "compensated")
    int8 = builder.build({})
    report = report_quantization(
        int8,
        write_model(builder.equalized, description="toy"),
        write_model(int8, description="toy"),
        CLIPS[:16],
        method="minmax",
        rounding="compensated",
        calibration_clips=len(CLIPS),
    )
    return builder, report.layers


def spoilt():
    """A product of columns of which one is a thousand times the others, then brought back: int8 loses the others."""
    sizes = torch.ones(12)
    sizes[0] = 1000.0
    return Toy(
        lambda x, first, last: last(torch.tanh(first(x)) * sizes * (1 / sizes)),
        first=nn.Linear(12, 12),
        last=nn.Linear(12, 4),
    )


def test_the_named_operators_are_those_that_spoil_the_file_and_keeping_them_helps():
    builder, layers = built(spoilt())
    advice = advise(builder, {}, layers, measure=steady)
    assert any(label.startswith("MUL ") for label in advice.best.operators)
    patterns = re.findall(r"--keep-float '([^']*)'", advice.best.option)
    plan = kept_float(builder.equalized, patterns).plan
    assert len(advice.best.operators) == len(plan)
    assert builder.sqnr_of(plan) - advice.sqnr_db == pytest.approx(advice.best.gain_db)
    assert advice.best.gain_db > 3.0
    assert "+4 % latency on this computer" in advice.sentence()


def test_a_file_without_int8_data_is_told_so():
    builder, layers = built(nn.ReLU())
    plan = {each.outputs[0]: "float32" for each in builder.equalized.operators}
    assert "nothing is left to keep in float" in advise(builder, plan, layers, measure=steady).sentence()


def test_gains_are_ranked_and_every_one_was_measured():
    builder, layers = built(spoilt())
    advice = advise(builder, {}, layers, measure=steady)
    gains = [each.gain_db for each in advice.trials]
    assert sorted(gains, reverse=True) == gains
    assert np.isfinite(gains).all()


def test_blocks_that_disagree_claim_no_difference():
    builder, layers = built(spoilt())
    unclear = lambda files, clip: {name: Ratio(ratio=1.04, low=0.9, high=1.2, us=1.0) for name in files}  # noqa: E731
    assert "no difference in latency seen" in advise(builder, {}, layers, measure=unclear).sentence()


def test_a_file_that_nothing_improves_gets_no_advice(monkeypatch):
    builder, layers = built(spoilt())
    monkeypatch.setattr(builder, "sqnr_of", lambda plan: 30.0 + 0.1 * len(plan))
    advice = advise(builder, {}, layers, measure=steady)
    assert advice.best is None
    assert "nothing is worth keeping in float" in advice.sentence()
