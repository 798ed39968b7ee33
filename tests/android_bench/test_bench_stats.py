"""Statistics by properties, against scipy and published values, and on hostile input."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from android_bench.errors import RecordError
from android_bench.stats import latency_ratio, median, median_interval, paired_accuracy, percentile, tango, wilson

# No deadline and the same examples every time: a busy computer must not fail a test.
steady = settings(deadline=None, derandomize=True)

latencies = st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=25)
pairs = st.lists(st.tuples(st.floats(0.1, 1e3), st.floats(0.1, 1e3)), min_size=6, max_size=16)


@steady
@given(latencies)
def test_median_and_percentiles_are_numpys(values):
    assert median(values) == np.median(values)
    assert percentile(values, 95) == np.percentile(values, 95)


@steady
@given(latencies)
def test_the_median_lies_in_its_interval_whatever_the_values(values):
    interval = median_interval(values)

    assert (interval is None) == (len(values) < 6)
    if interval:
        assert interval[0] <= median(values) <= interval[1]


@pytest.mark.parametrize("count", range(6, 31))
def test_the_interval_of_the_median_is_the_narrowest_that_covers_95_percent(count):
    low, high = median_interval(list(range(1, count + 1)))

    def coverage(rank):
        return 1 - 2 * scipy_stats.binom.cdf(rank - 1, count, 0.5)

    assert (low, high) == (low, count + 1 - low)
    assert coverage(low) >= 0.95 > coverage(low + 1)


def test_the_interval_of_the_median_covers_a_skewed_median_as_often_as_it_says():
    draws = np.random.default_rng(3).lognormal(0, 1, (2000, 9))
    inside = [interval[0] <= 1 <= interval[1] for interval in (median_interval(row) for row in draws.tolist())]

    assert np.mean(inside) == pytest.approx(0.961, abs=0.015)


@steady
@given(pairs)
def test_the_ratio_interval_holds_exactly_what_the_signed_rank_test_does_not_reject(pairs):
    candidate, baseline = (list(column) for column in zip(*pairs, strict=True))
    ratio = latency_ratio(candidate, baseline)
    low, high = ratio.interval
    assert low <= ratio.estimate <= high

    logs = np.log(np.array(candidate) / np.array(baseline))
    for bound, outside in ((low, -1e-6), (high, 1e-6)):
        shifted = logs - (math.log(bound) + outside)
        if len(set(np.abs(shifted).round(9))) == len(logs):  # the exact test of scipy wants no ties
            assert scipy_stats.wilcoxon(shifted, method="exact").pvalue <= 0.05


@steady
@given(pairs)
def test_swapping_the_arms_inverts_the_ratio(pairs):
    candidate, baseline = (list(column) for column in zip(*pairs, strict=True))
    forward, back = latency_ratio(candidate, baseline), latency_ratio(baseline, candidate)

    assert forward.estimate == pytest.approx(1 / back.estimate)
    assert forward.interval == pytest.approx((1 / back.interval[1], 1 / back.interval[0]))


def test_a_ratio_of_identical_noise_covers_one_as_often_as_it_says():
    noise = np.random.default_rng(5).lognormal(0, 0.05, (600, 2, 9))
    intervals = [latency_ratio(*row).interval for row in noise.tolist()]

    assert np.mean([low <= 1 <= high for low, high in intervals]) == pytest.approx(0.96, abs=0.025)


def test_one_wild_block_does_not_move_the_ratio_much():
    calm = [10.0 + 0.01 * i for i in range(12)]
    wild = [*calm[:-1], 1000.0]

    assert latency_ratio(wild, [20.0] * 12).estimate == pytest.approx(
        latency_ratio(calm, [20.0] * 12).estimate, rel=0.01
    )


def test_below_six_pairs_the_ratio_is_unclear():
    ratio = latency_ratio([1.0] * 5, [2.0] * 5)

    assert (ratio.estimate, ratio.interval, ratio.detectable) == (0.5, None, None)


def test_blocks_without_any_noise_give_no_detectable_effect():
    assert latency_ratio([1.0] * 9, [2.0] * 9).detectable is None


def test_the_detectable_slowdown_is_detected_nine_times_in_ten():
    random = np.random.default_rng(11)
    detectable = np.median([latency_ratio(*row).detectable for row in random.lognormal(0, 0.02, (300, 2, 15)).tolist()])
    slower = random.lognormal(0, 0.02, (600, 2, 15))
    slower[:, 0] *= 1 + detectable
    seen = [latency_ratio(*row).interval[0] > 1 for row in slower.tolist()]

    assert np.mean(seen) == pytest.approx(0.90, abs=0.05)


@pytest.mark.parametrize(
    ("candidate", "baseline", "message"),
    [
        ([1.0] * 6, [1.0] * 7, "are no pairs"),
        ([], [], "no values"),
        ([math.nan] * 6, [1.0] * 6, "not a finite number"),
        ([0.0] * 6, [1.0] * 6, "not positive"),
        ([math.inf] * 6, [1.0] * 6, "not a finite number"),
    ],
)
def test_hostile_latencies_are_refused(candidate, baseline, message):
    with pytest.raises(RecordError, match=message):
        latency_ratio(candidate, baseline)


def test_the_median_of_nothing_is_refused():
    with pytest.raises(RecordError, match="no values"):
        median([])
    with pytest.raises(RecordError, match="not a finite number"):
        median_interval([1.0, math.nan])


@pytest.mark.parametrize(("correct", "total"), [(0, 1), (1, 1), (0, 30), (450, 480), (480, 480)])
def test_wilson_satisfies_its_own_equation(correct, total):
    share, z = correct / total, scipy_stats.norm.ppf(0.975)

    for bound in wilson(correct, total):
        assert (share - bound) ** 2 == pytest.approx(z**2 * bound * (1 - bound) / total, abs=1e-12)


@pytest.mark.parametrize(("correct", "total"), [(1, 0), (2, 1), (-1, 3)])
def test_impossible_counts_have_no_wilson_interval(correct, total):
    with pytest.raises(RecordError, match="expected 0 <= correct <= total"):
        wilson(correct, total)


def test_tango_gives_the_published_interval():
    # Bentur and others 2009, as in Fagerland, Lydersen and Laake 2014, Statistics in Medicine 33:2850.
    assert tango(1, 7, 21) == pytest.approx((-0.517, -0.026), abs=5e-4)


@steady
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 400))
def test_tango_is_symmetric_and_holds_its_estimate(gained, lost, same):
    clips = gained + lost + same + 1
    low, high = tango(gained, lost, clips)

    assert -1 <= low <= (gained - lost) / clips <= high <= 1
    assert tango(lost, gained, clips) == pytest.approx((-high, -low), abs=1e-9)


def test_tango_without_a_discordant_clip_is_the_rule_of_z_squared():
    z2 = scipy_stats.norm.ppf(0.975) ** 2

    assert tango(0, 0, 100) == pytest.approx((-z2 / (100 + z2), z2 / (100 + z2)))


def test_impossible_discordant_counts_are_refused():
    with pytest.raises(RecordError, match="cannot be"):
        tango(3, 3, 5)


def test_paired_accuracy_counts_what_changed():
    seen = paired_accuracy([True, True, False, False, True], [True, False, True, True, True])

    assert (seen.gained, seen.lost, seen.clips) == (1, 2, 5)
    assert seen.difference == pytest.approx(-0.2)
    assert seen.p_value == pytest.approx(1.0)


def test_mcnemar_is_exact():
    candidate, baseline = [True] * 8 + [False] * 42, [False] * 7 + [True] + [False] * 42

    assert paired_accuracy(candidate, baseline).p_value == pytest.approx(2 / 2**7)


def test_the_same_answers_differ_by_nothing_but_are_not_proved_equal():
    seen = paired_accuracy([True] * 480, [True] * 480)

    assert (seen.difference, seen.p_value) == (0.0, 1.0)
    assert seen.interval[0] < 0 < seen.interval[1]
    assert 0 < seen.detectable < 0.02


@pytest.mark.parametrize(("candidate", "baseline"), [([], []), ([True], [True, False])])
def test_unequal_clips_are_refused(candidate, baseline):
    with pytest.raises(RecordError, match="expected the same clips"):
        paired_accuracy(candidate, baseline)
