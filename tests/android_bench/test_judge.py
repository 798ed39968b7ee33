"""The rule: what an interval decides, how alpha is spent, what could have been seen, and what cannot be told."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from android_bench import judge, pairs
from android_bench.verdict import Look


def look(low=None, high=None, *, count=15, confidence=0.95, p=None) -> Look:
    interval = None if low is None else (low, high)
    ratio = 1.0 if low is None else math.sqrt(low * high)
    return Look(pairs=count, confidence=confidence, ratio=ratio, interval=interval, p_slower=p)


@pytest.mark.parametrize(
    ("verdict", "low", "high"),
    [
        ("REGRESSION", 1.031, 1.08),
        ("IMPROVED", 0.90, 0.969),
        ("PASS", 0.98, 1.029),
        ("PASS", 0.95, 1.0),
        ("INCONCLUSIVE", 0.98, 1.031),
        ("INCONCLUSIVE", 1.03, 1.08),
        ("INCONCLUSIVE", 0.5, 2.0),
        ("INCONCLUSIVE", 1.1, 1.1),
        ("INCONCLUSIVE", float("nan"), float("nan")),
        ("INCONCLUSIVE", 1.1, float("nan")),
    ],
)
def test_an_interval_decides(verdict, low, high) -> None:
    assert verdict == judge.verdict_of(look(low, high), 0.03)


def test_without_an_interval_there_is_no_answer() -> None:
    few = judge.look_at(np.full(5, 0.5), 0.95, 0.03)
    assert few.interval is None
    assert few.p_slower is None
    assert "INCONCLUSIVE" == judge.verdict_of(few, 0.03)
    assert judge.standard_error(few) is judge.detectable(few, 0.03) is judge.pairs_for(0.02, few) is None
    assert judge.bootstrap(np.full(5, 0.5)) is None


@pytest.mark.parametrize("ratio", [1.0, 1.5])
def test_pairs_that_are_all_equal_show_no_noise_so_nothing_can_be_told(ratio) -> None:
    equal = judge.look_at(np.full(15, math.log(ratio)), 0.95, 0.03)
    assert "INCONCLUSIVE" == judge.verdict_of(equal, 0.03)
    assert judge.detectable(equal, 0.03) is None
    assert not judge.confirms(equal)


def test_the_second_look_spends_what_the_first_one_left() -> None:
    first, second = judge.FIRST_CONFIDENCE, judge.SECOND_CONFIDENCE
    assert (1 - first) + (1 - second) == pytest.approx(0.05)


def test_one_p_value_over_two_looks_agrees_with_their_intervals() -> None:
    rng = np.random.default_rng(5)
    for _ in range(200):
        logs = rng.normal(0.04, 0.02, 30)
        looks = [judge.look_at(logs[:15], 0.99, 0.03), judge.look_at(logs, 0.96, 0.03)]
        slower = any(each.interval[0] > 1.03 for each in looks)
        assert slower is (judge.p_of_looks(looks) <= 0.025)


def test_the_p_value_is_small_no_more_often_than_it_says() -> None:
    rng = np.random.default_rng(6)
    logs = rng.normal(math.log1p(0.03), 0.02, (4000, 30))
    both = [pairs.p_above(pairs.walsh_averages(part), part.shape[1], math.log1p(0.03)) for part in (logs[:, :15], logs)]
    combined = np.minimum(both[0] / 0.2, both[1] / 0.8)
    for level in (0.025, 0.1, 0.3):
        assert (combined <= level).mean() <= level + 3 * math.sqrt(level / 4000)


@pytest.mark.parametrize("count", [15, 30])
def test_what_is_called_detectable_is_detected_nine_times_in_ten(count) -> None:
    rng = np.random.default_rng(7)
    noise = rng.normal(0, 0.02, (300, count))
    seen = [judge.detectable(judge.look_at(each, 0.96, 0.03), 0.03) for each in noise]
    logs = rng.normal(math.log1p(float(np.median(seen))), 0.02, (3000, count))
    low, _ = pairs.interval(pairs.walsh_averages(logs), count, 0.96)
    assert 0.86 <= float((np.exp(low) > 1.03).mean()) <= 0.94


def test_the_pairs_for_two_percent_see_two_percent_nine_times_in_ten() -> None:
    rng = np.random.default_rng(8)
    needed = [judge.pairs_for(0.02, judge.look_at(rng.normal(0, 0.02, 30), 0.96, 0.03)) for _ in range(300)]
    count = int(np.median(needed))
    logs = rng.normal(math.log1p(0.02), 0.02, (3000, count))
    low, _ = pairs.interval(pairs.walsh_averages(logs), count, 0.95)
    assert 0.86 <= float((low > 0).mean()) <= 0.95


def test_the_bootstrap_is_seeded_and_near_the_interval() -> None:
    logs = np.random.default_rng(9).normal(0.05, 0.02, 30)
    low, high = judge.bootstrap(logs)
    assert (low, high) == judge.bootstrap(logs)
    expected = judge.look_at(logs, 0.95, 0.03).interval
    assert expected == pytest.approx((low, high), abs=0.004)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_between_bonferroni_and_no_correction(p_values) -> None:
    level, count = 0.025, len(p_values)
    for p, falls in zip(p_values, judge.holm(p_values, level), strict=True):
        if p <= level / count:
            assert falls
        if falls:
            assert p <= level


def test_holm_stops_at_the_first_that_stands() -> None:
    assert [True, False, True] == judge.holm([0.001, 0.04, 0.012])
    assert [False, False] == judge.holm([0.013, 0.0251])


@pytest.mark.parametrize(("low", "high", "yes"), [(1.001, 1.05, True), (1.0, 1.05, False), (1.02, 1.02, False)])
def test_a_fresh_session_confirms_above_one(low, high, yes) -> None:
    assert yes is judge.confirms(look(low, high))
    assert not judge.confirms(look())
