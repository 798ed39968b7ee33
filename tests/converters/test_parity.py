"""Comparisons of stages and the gates on them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from converters.errors import ConversionError, GateFailedError
from converters.parity import INT8_STAGE, ParityGates, ParityReport, check_gates, compare, sqnr_db

REFERENCE = np.array([[1.0, 2.0], [4.0, 3.0]], np.float32)


def report(*stages):
    return ParityReport(stages=stages, inputs="two rows")


def test_a_comparison_holds_every_measure():
    seen = compare("torch → onnx", REFERENCE, np.array([[1.0, 2.0], [3.0, 3.5]], np.float32))
    assert (2, 1.0, 0.25, 0.5) == (seen.examples, seen.max_abs_error, seen.relative_error, seen.top1_agreement)
    assert 10 * math.log10(30 / 1.25) == pytest.approx(seen.sqnr_db)


def test_equal_outputs_are_infinitely_good_and_silence_is_no_signal():
    assert math.inf == compare("stage", REFERENCE, REFERENCE).sqnr_db
    assert -math.inf == sqnr_db(np.zeros(2, np.float32), np.ones(2, np.float32))
    assert math.inf == compare("stage", np.zeros((1, 2), np.float32), np.ones((1, 2), np.float32)).relative_error


def test_outputs_that_are_not_finite_or_differ_in_shape_are_no_comparison():
    with pytest.raises(ConversionError, match="stage: an output is NaN or infinite"):
        compare("stage", REFERENCE, REFERENCE * np.nan)
    with pytest.raises(ConversionError, match=r"stage: outputs have shapes \(2, 2\) and \(2, 1\)"):
        compare("stage", REFERENCE, REFERENCE[:, :1])


def test_good_stages_pass_the_gates():
    check_gates(report(compare("torch → onnx", REFERENCE, REFERENCE + 1e-5)), ParityGates())
    check_gates(report(compare(INT8_STAGE, REFERENCE, REFERENCE + 0.02)), ParityGates())


def test_a_float_stage_that_differs_fails_with_stage_value_and_bound():
    with pytest.raises(
        GateFailedError, match=r"onnx → float32: largest error relative .* is 0.25, the bound is 0.0001"
    ) as error:
        check_gates(report(compare("onnx → float32", REFERENCE, REFERENCE + 1.0)), ParityGates())
    assert ("onnx → float32", 0.25, 1e-4) == (error.value.stage, error.value.seen, error.value.bound)


def test_an_int8_stage_with_little_signal_fails_with_advice():
    noisy = report(compare(INT8_STAGE, REFERENCE, REFERENCE * 1.1))
    with pytest.raises(GateFailedError, match="float32 → int8: SQNR in dB is 20, the bound is 25; look at the stem"):
        check_gates(noisy, ParityGates(), advice="look at the stem")


def test_an_int8_stage_with_other_winners_fails():
    swapped = report(compare(INT8_STAGE, REFERENCE, REFERENCE[:, ::-1]))
    with pytest.raises(GateFailedError, match=r"share of inputs with the same winner is 0, the bound is 0.95"):
        check_gates(swapped, ParityGates(int8_sqnr_db=-100.0))


def test_a_stage_is_found_by_its_name():
    only = compare(INT8_STAGE, REFERENCE, REFERENCE)
    assert only is report(only).stage(INT8_STAGE)
    assert report(only).stage("torch → onnx") is None
