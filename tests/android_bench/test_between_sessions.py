"""The ratio of models of two sessions: intervals of the promised coverage, with an anchor and without."""

import numpy as np
import pytest

from android_bench import between_sessions
from android_bench.between_sessions import anchor, anchored_look, unanchored_look
from tests.android_bench.pair_toys import measurement, session, times

RUNS = 400


def sessions(seed, ratio=1.0, drift=1.5):
    reference, old = times(1.0, 15, seed=seed)
    again, new = times(ratio, 15, seed=seed + 10_000)
    first, second = measurement("toy", old), measurement("toy", new * drift, sha256="b" * 64)
    held = [measurement("anchor", each, sha256="f" * 64) for each in (reference, again * drift)]
    return (session(first, held[0]), session(second, held[1])), (first, second)


def held_share(looks, ratio):
    return sum(look.interval[0] <= ratio <= look.interval[1] for look in looks) / len(looks)


def test_an_anchored_interval_holds_the_truth_95_times_in_a_hundred() -> None:
    looks = [anchored_look(*sessions(seed, 1.05), "f" * 64, 0.03) for seed in range(RUNS)]
    assert 0.93 <= held_share(looks, 1.05) <= 0.98


def test_without_an_anchor_the_interval_holds_it_before_it_is_widened(monkeypatch) -> None:
    monkeypatch.setattr(between_sessions, "DRIFT", 0.0)
    looks = [unanchored_look(*times(1.05, 15, seed=seed), 0.03) for seed in range(RUNS)]
    assert 0.93 <= held_share(looks, 1.05) <= 0.98


def test_an_anchor_is_the_same_file_in_both_and_none_of_the_two() -> None:
    both, arms = sessions(1)
    assert "f" * 64 == anchor(both, arms)
    assert anchor(both, (both[0].measurements[1], both[1].measurements[1])) is None
    assert anchor((both[0], session(arms[1])), arms) is None


@pytest.mark.parametrize("values", [np.full(15, 100.0), np.array([100.0])])
def test_blocks_without_noise_or_number_have_no_interval(values) -> None:
    look = unanchored_look(values, values * 1.5, 0.03)
    assert look.interval is None
    assert look.p_slower is None
