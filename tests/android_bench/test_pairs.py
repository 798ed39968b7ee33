"""Intervals and p-values of pairs: the signed-rank test's own, of the promised coverage, and never from bad numbers."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from android_bench import judge, pairs
from android_bench.errors import RecordError

# Continuous, so that no two absolute values are equal: with ties scipy has no exact distribution.
LOGS = st.builds(
    lambda seed, count, shift: np.random.default_rng(seed).normal(shift, 1, count),
    st.integers(0, 10_000),
    st.integers(6, 25),
    st.floats(-1, 1),
)


def walsh(values):
    return pairs.walsh_averages(np.asarray(values, float))


@given(LOGS)
@settings(max_examples=60, deadline=None)
def test_p_values_are_those_of_scipys_wilcoxon(values) -> None:
    expected = stats.wilcoxon(values, alternative="greater", method="exact").pvalue
    assert expected == pytest.approx(float(pairs.p_above(walsh(values), len(values), 0.0)), abs=1e-12)


@given(LOGS, st.sampled_from([0.95, 0.96, 0.99]))
@settings(max_examples=60, deadline=None)
def test_an_interval_holds_what_the_two_sided_test_does_not_reject(values, confidence) -> None:
    ends = pairs.interval(walsh(values), len(values), confidence)
    if ends is None:
        assert 2.0 ** (1 - len(values)) > 1 - confidence
        return
    low, high = map(float, ends)
    for bound, inside in ((low - 1e-9, False), (high + 1e-9, False), ((low + high) / 2, True)):
        shifted = np.asarray(values) - bound
        rejected = stats.wilcoxon(shifted, method="exact").pvalue <= 1 - confidence
        assert inside is not bool(rejected)


@pytest.mark.parametrize(("confidence", "least"), [(0.95, 6), (0.96, 6), (0.99, 8)])
def test_so_few_pairs_have_no_interval(confidence, least) -> None:
    assert least == pairs.least_pairs(confidence)
    assert pairs.interval(walsh(range(least - 1)), least - 1, confidence) is None


def test_the_null_distribution_is_that_of_all_sign_patterns() -> None:
    sums = [sum(pattern) for pattern in itertools.product(*((0, rank) for rank in range(1, 7)))]
    expected = np.bincount(sums) / 2**6
    np.testing.assert_allclose(expected, pairs._null_distribution(6), atol=1e-15)


def test_many_pairs_go_over_to_the_normal_distribution_without_a_step() -> None:
    exact, normal = pairs.skipped_averages(200, 0.95), pairs.skipped_averages(201, 0.95)
    assert 0 < normal - exact < 200


@pytest.mark.parametrize("noise", ["normal", "t", "laplace"])
@pytest.mark.parametrize("count", [15, 30])
def test_an_interval_of_95_percent_holds_the_truth_95_times_in_a_hundred(count, noise) -> None:
    rng = np.random.default_rng(3)
    drawn = {
        "normal": lambda size: rng.normal(size=size),
        "t": lambda size: rng.standard_t(3, size=size),
        "laplace": lambda size: rng.laplace(size=size),
    }[noise]((4000, count))
    low, high = pairs.interval(pairs.walsh_averages(drawn), count, 0.95)
    assert abs(100 * float(((low <= 0) & (high >= 0)).mean()) - 95) <= 1.5


def test_one_outlier_of_a_thousand_times_moves_no_verdict() -> None:
    rng = np.random.default_rng(4)
    logs = rng.normal(0, 0.01, 15)
    logs[7] = np.log(1000)
    look = judge.look_at(logs, 0.95, 0.03)
    assert "PASS" == judge.verdict_of(look, 0.03)
    assert abs(look.ratio - 1) < 0.01


@pytest.mark.parametrize(
    ("candidate", "baseline", "message"),
    [
        ([], [], "are no pairs"),
        ([1.0, 2.0], [1.0], "2 blocks of one model and 1 of the other are no pairs"),
        ([1.0, float("nan")], [1.0, 1.0], "is not a positive number"),
        ([1.0, float("inf")], [1.0, 1.0], "is not a positive number"),
        ([1.0, 0.0], [1.0, 1.0], "is not a positive number"),
        ([1.0, 1.0], [1.0, -1.0], "is not a positive number"),
    ],
)
def test_bad_numbers_are_refused_and_never_judged(candidate, baseline, message) -> None:
    with pytest.raises(RecordError, match=message):
        judge.log_ratios(candidate, baseline)
