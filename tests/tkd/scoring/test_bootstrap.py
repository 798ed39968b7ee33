import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tkd.evaluate import score
from tkd.scoring.bootstrap import compare, interval_by_group


def _names(members: np.ndarray) -> list[str]:
    return [f"speaker{member}" for member in members]


def test_speakers_who_succeed_or_fail_as_a_whole_widen_the_interval_beyond_wilsons() -> None:
    rng = np.random.default_rng(0)
    members = np.repeat(np.arange(60), 10)
    right = (rng.random(60) < 0.8)[members]
    wilson = score(np.stack([~right, right], axis=1).astype(float), np.ones(600, int), ("a", "b"))

    interval = interval_by_group(right, _names(members))

    assert interval is not None
    # Ten equal clips carry the information of one: the width grows by √10.
    assert (interval[1] - interval[0]) / (wilson.high - wilson.low) == pytest.approx(10**0.5, rel=0.15)
    assert interval[0] < right.mean() < interval[1]


def test_a_speaker_for_each_clip_gives_about_wilsons_interval() -> None:
    right = np.random.default_rng(1).random(800) < 0.8
    wilson = score(np.stack([~right, right], axis=1).astype(float), np.ones(800, int), ("a", "b"))

    interval = interval_by_group(right, _names(np.arange(800)))

    assert interval == pytest.approx((wilson.low, wilson.high), abs=0.004)


def test_the_interval_covers_the_truth_in_about_19_of_20_samples() -> None:
    rng = np.random.default_rng(2)
    members = np.repeat(np.arange(80), 5)
    covered = 0
    for _ in range(200):
        skills = rng.beta(8, 2, size=80)
        interval = interval_by_group(rng.random(400) < skills[members], _names(members), resamples=400)
        assert interval is not None
        covered += interval[0] <= 0.8 <= interval[1]
    assert 180 <= covered <= 199


def test_the_same_clips_give_the_same_interval_and_another_seed_nearly_so() -> None:
    right = np.random.default_rng(3).random(300) < 0.9
    speakers = _names(np.arange(300) // 3)

    assert interval_by_group(right, speakers) == interval_by_group(right, speakers)
    assert interval_by_group(right, speakers) == pytest.approx(interval_by_group(right, speakers, seed=1), abs=0.01)


def test_the_order_of_the_clips_does_not_matter() -> None:
    rng = np.random.default_rng(4)
    right, members = rng.random(200) < 0.7, rng.integers(0, 40, 200)
    order = rng.permutation(200)
    assert interval_by_group(right, _names(members)) == interval_by_group(right[order], _names(members[order]))


def test_more_groups_than_fit_at_once_are_drawn_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    right = np.random.default_rng(5).random(100) < 0.7
    whole = interval_by_group(right, _names(np.arange(100)))

    monkeypatch.setattr("tkd.scoring.bootstrap._NUMBERS_AT_ONCE", 1_050)

    assert interval_by_group(right, _names(np.arange(100))) == whole


@pytest.mark.parametrize(("right", "speakers"), [
    ([True], ["a"]),
    ([True, False, True], ["a", "a", "a"]),
    ([True, True, True], ["a", "b", "c"]),
    ([False, False], ["a", "b"]),
    ([True, False, True, False], ["a", "a", "b", "b"]),
])  # fmt: skip
def test_draws_that_cannot_differ_are_unclear_and_not_certain(right: list[bool], speakers: list[str]) -> None:
    assert interval_by_group(np.array(right), speakers) is None


@pytest.mark.parametrize(("values", "speakers"), [([], []), ([1.0], ["a", "b"]), ([np.nan, 1.0], ["a", "b"])])
def test_values_that_are_missing_unequal_or_not_numbers_are_refused(values: list[float], speakers: list[str]) -> None:
    with pytest.raises(ValueError, match="expected finite values and a group for each"):
        interval_by_group(np.array(values), speakers)


def test_a_comparison_counts_the_clips_that_differ() -> None:
    baseline = np.array([True] * 10 + [False] * 10)
    candidate = np.array([True] * 8 + [False] * 2 + [True] * 7 + [False] * 3)

    found = compare(candidate, baseline, _names(np.arange(20)))

    assert (found.difference, found.gained, found.lost) == (0.25, 7, 2)
    # McNemar 1947, exact: twice the tail of 9 fair coins from 7 heads on, (36 + 9 + 1) / 512 · 2.
    assert found.p_value == pytest.approx(2 * 46 / 512)
    assert found.interval is not None
    assert found.interval[0] < 0.25 < found.interval[1]


def test_a_model_against_itself_differs_by_nothing_and_says_so() -> None:
    right = np.array([True, False, True])
    found = compare(right, right, ["a", "b", "c"])
    assert (found.difference, found.interval, found.p_value) == (0.0, None, 1.0)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 5)), min_size=1, max_size=40))
def test_the_two_directions_of_a_comparison_mirror_each_other(clips: list[tuple[bool, bool, int]]) -> None:
    first, second, members = (np.array(column) for column in zip(*clips, strict=True))
    forth, back = (compare(a, b, _names(members)) for a, b in ((first, second), (second, first)))
    assert forth.difference == -back.difference
    assert forth.p_value == back.p_value
    assert (forth.interval is None) == (back.interval is None)
    if forth.interval and back.interval:
        assert forth.interval == pytest.approx((-back.interval[1], -back.interval[0]))


@pytest.mark.parametrize("counts", [(0, 0, 0), (2, 3, 2), (2, 2, 3)])
def test_a_comparison_of_other_clips_is_refused(counts: tuple[int, int, int]) -> None:
    candidate, baseline, speakers = counts
    with pytest.raises(ValueError, match="expected the same clips"):
        compare(np.ones(candidate, bool), np.ones(baseline, bool), ["a"] * speakers)
