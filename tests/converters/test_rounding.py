"""Compensated rounding: never worse than nearest on its own measure, and calm on degenerate clips."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from converters.calibration import observe
from converters.errors import ConversionError
from converters.graph import read_graph
from converters.lowering.lower import lower
from converters.lowering.writer import write_model
from converters.parity import INT8_STAGE
from converters.pipeline import ConversionRequest, convert
from converters.rounding import (
    by_group,
    can_compensate,
    columns_of,
    compensated,
    from_groups,
    output_error,
    round_and_scale,
)
from converters.runners import run_tflite
from converters.to_onnx import to_onnx
from tests.converters.toys import TOYS, inputs

WEIGHTED = [name for name, (op, _, _) in TOYS.items() if op in ("Conv", "Gemm", "MatMul") and "norm" not in name]


def lowered(module, shape):
    return lower(read_graph(to_onnx(module, torch.zeros(shape))))


@given(
    groups=st.integers(1, 3),
    outputs=st.integers(1, 4),
    columns=st.integers(1, 12),
    rank=st.integers(0, 12),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=60, deadline=None)
def test_compensated_levels_are_never_worse_than_the_nearest(groups, outputs, columns, rank, seed):
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((groups, outputs, columns))
    scales = np.abs(weights).max(axis=2, keepdims=True) / rng.choice([3, 15, 127])
    factors = rng.standard_normal((groups, columns, rank)) * 10 ** rng.uniform(-3, 3)
    covariance = factors @ factors.transpose(0, 2, 1)
    levels = compensated(weights, scales, covariance)
    nearest = np.clip(np.rint(weights / scales), -127, 127)
    assert np.abs(levels).max() <= 127
    assert np.array_equal(levels, np.rint(levels))
    mine, theirs = (output_error(weights - each * scales, covariance) for each in (levels, nearest))
    assert (mine <= theirs * (1 + 1e-9) + 1e-12).all()


def test_compensation_takes_a_good_part_off_the_error_of_correlated_columns():
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((1, 16, 64))
    scales = np.abs(weights).max(axis=2, keepdims=True) / 127
    columns = rng.standard_normal((1000, 16)) @ rng.standard_normal((16, 64)) + 0.1 * rng.standard_normal((1000, 64))
    covariance = np.cov(columns.T)[None]
    seen = output_error(weights - compensated(weights, scales, covariance) * scales, covariance).sum()
    nearest = output_error(weights - np.rint(weights / scales) * scales, covariance).sum()
    assert seen < nearest / 4


@pytest.mark.parametrize("name", WEIGHTED)
def test_the_columns_times_the_weights_are_the_layers_outputs(name):
    torch.manual_seed(1)
    _, shape, build = TOYS[name]
    model, clips = lowered(build(), shape), inputs(shape, 4)
    file = write_model(model, description="toy")
    operator = next(each for each in model.operators if can_compensate(each, model))
    seen = observe(model, clips, with_moments=True)
    tensors = _traced(file, operator.inputs[0], operator.outputs[0], clips)
    columns = columns_of(operator, model, tensors[0])
    weights, bias = (model.tensors[each].content for each in operator.inputs[1:])
    matrices = by_group(weights, operator, model)
    assert np.array_equal(weights, from_groups(matrices, operator, model))
    made = np.concatenate(list(columns @ matrices.transpose(0, 2, 1)), axis=1) + bias
    assert made == pytest.approx(tensors[1].reshape(made.shape), rel=1e-4, abs=1e-4)
    moments = seen.moments[operator.outputs[0]]
    assert moments.mean == pytest.approx(columns.mean(axis=1), rel=1e-3, abs=1e-4)
    expected = np.stack([np.cov(each.T, ddof=0).reshape(each.shape[1], -1) for each in columns])
    seen_times, size = columns.shape[1:]
    expected[:, ~np.eye(size, dtype=bool)] *= seen_times / (seen_times + 2 * size)
    assert moments.covariance == pytest.approx(expected, rel=1e-2, abs=1e-3)


def _traced(file, source, target, clips):
    from converters.runners import TfliteModel

    runs = list(TfliteModel(file, keeps_all=True).trace(clips, [source, target]))
    return [np.stack([run[name].copy() for run in runs]) for name in (source, target)]


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv1d(6, 16, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv1d(16, 16, 5, groups=16, padding=2),
        nn.ReLU(),
        nn.Conv1d(16, 8, 1),
        nn.Flatten(),
        nn.Linear(88, 5),
    )


def smooth(examples, seed):
    """Maps whose neighbouring frames are alike, as those of audio are."""
    noise = torch.from_numpy(inputs((1, 6, 41), examples, seed))
    return F.avg_pool1d(noise, 21, stride=1).numpy() * 4


def converted(calibration, module=None, check=None, **options):
    request = ConversionRequest(
        module=module or network(),
        example=calibration[:1],
        calibration=calibration,
        check=smooth(64, 9) if check is None else check,
        gates=None,
        **options,
    )
    return convert(request)


def test_compensated_rounding_gives_a_better_file_than_nearest():
    torch.manual_seed(0)
    matrix = nn.Linear(126, 5)
    with torch.no_grad():
        matrix.weight[0, 0] = 4.0  # one large weight sets the step of the whole matrix
    module = nn.Sequential(nn.Flatten(), matrix)
    mine, theirs = (
        converted(smooth(128, 1), module, rounding=each, goal_db=0.0).parity.stage(INT8_STAGE).sqnr_db
        for each in ("compensated", "nearest")
    )
    assert mine > theirs + 3


def test_of_few_weights_a_coarser_scale_that_suits_them_all_is_taken():
    weights = np.array([[[127.0, 43.49, 20.49]]]) / 127
    finest = np.array([1 / 127], np.float32)
    levels, scales = round_and_scale(weights, finest, np.eye(3)[None])
    left = np.abs(weights - levels * scales).max()
    assert finest[0] <= scales[0] <= 1.5 * finest[0]
    assert left < np.abs(weights - np.rint(weights / finest) * finest).max() / 3


def test_scales_chosen_by_output_never_leave_more_error_than_the_finest():
    rng = np.random.default_rng(3)
    weights, columns = rng.standard_normal((2, 5, 12)), rng.standard_normal((2, 12, 40))
    covariance = columns @ columns.transpose(0, 2, 1) / 40
    finest = (np.abs(weights).max(axis=2).reshape(-1) / 127).astype(np.float32)
    levels, scales = round_and_scale(weights, finest, covariance)
    wide = scales.reshape(2, 5, 1)
    before = compensated(weights, finest.astype(float).reshape(2, 5, 1), covariance)
    left, plain = weights - levels * wide, weights - before * finest.reshape(2, 5, 1)
    assert (output_error(left, covariance) <= output_error(plain, covariance) * (1 + 1e-6)).all()
    assert output_error(left, covariance).sum() < output_error(plain, covariance).sum() / 1.5


def test_one_scale_of_a_matrix_stays_one():
    rng = np.random.default_rng(3)
    weights = rng.standard_normal((1, 6, 8))
    levels, scales = round_and_scale(weights, np.array([np.abs(weights).max() / 127], np.float32), np.eye(8)[None])
    assert (1,) == scales.shape
    assert np.abs(weights - levels * scales).max() <= 0.51 * scales[0]


@pytest.mark.parametrize("clips", [smooth(1, 1), np.concatenate([np.zeros((3, 6, 21), np.float32), smooth(1, 2)])])
def test_one_clip_and_clips_of_silence_are_enough(clips):
    assert converted(clips, check=clips).parity.stage(INT8_STAGE).sqnr_db > 25


def test_what_a_few_clips_agree_on_by_chance_does_little_harm():
    noise, fresh = inputs((1, 126), 64), inputs((1, 126), 256, 9)
    fresh = fresh.clip(noise.min(), noise.max())
    torch.manual_seed(0)
    mine, theirs = (
        converted(noise, nn.Linear(126, 126), rounding=each, check=fresh).parity.stage(INT8_STAGE).sqnr_db
        for each in ("compensated", "nearest")
    )
    assert mine > theirs - 1.0  # white noise has nothing to make errors up with: the worst case


def test_the_same_clips_give_the_same_bytes():
    assert converted(smooth(40, 1)).int8.content == converted(smooth(40, 1)).int8.content


def test_rounding_leaves_onnx_and_float32_as_they_are():
    first, second = converted(smooth(40, 1)), converted(smooth(40, 1), rounding="nearest")
    assert (first.onnx, first.float32.content) == (second.onnx, second.float32.content)
    assert first.int8.content != second.int8.content


def test_a_layer_of_more_columns_than_are_worth_it_keeps_the_nearest_levels():
    model = lowered(nn.Linear(1025, 2), (1, 1025))
    assert not can_compensate(model.operators[0], model)
    clips = inputs((1, 1025), 4)
    assert {} == observe(model, clips, with_moments=True).moments


def test_an_unknown_rounding_is_refused_by_name():
    with pytest.raises(ConversionError, match="no rounding is called 'up'; known: compensated, nearest"):
        ConversionRequest(module=network(), example=smooth(1, 0), rounding="up")


def test_run_tflite_reads_the_compensated_file():
    conversion = converted(smooth(40, 1))
    assert (3, 5) == run_tflite(conversion.int8.content, smooth(3, 4)).shape
