"""From sessions to judgements: looks, confirmation, floors, rejected rounds, failures, and Holm over a gate."""

from dataclasses import replace

import pytest

from android_bench.comparable import device_entry, differences, facts_of
from android_bench.compare import apply_holm, decided, judge_session, looks_of, wants_confirmation
from android_bench.records import RunPlan
from android_bench.verdict import Gate, GateSettings
from tests.android_bench.pair_toys import measurement, pair_session, session, side, times

SETTINGS = GateSettings()


def judged(found, *, fresh=None, settings=SETTINGS):
    return judge_session(side(), side("b" * 64), device_entry(found), found, settings, fresh=fresh)


@pytest.mark.parametrize(("verdict", "ratio"), [("PASS", 1.0), ("IMPROVED", 0.9), ("INCONCLUSIVE", 1.03)])
def test_a_session_is_judged(verdict, ratio) -> None:
    found = judged(pair_session(ratio))
    assert verdict == found.verdict
    assert f"{found.latency.looks[-1].ratio:.3f} × the time" in found.reasons[0]
    assert not wants_confirmation(pair_session(ratio), SETTINGS)


def test_a_regression_is_confirmed_in_a_fresh_session() -> None:
    slow = pair_session(1.1)
    assert wants_confirmation(slow, SETTINGS)
    found = judged(slow, fresh=pair_session(1.1, seed=2))
    assert "REGRESSION" == found.verdict
    assert "; confirmed in a fresh session: 1.0" in found.reasons[0]
    assert 30 == len(found.latency.confirmation_session.blocks)


def test_a_regression_that_does_not_come_again_is_no_answer() -> None:
    found = judged(pair_session(1.1), fresh=pair_session(1.0, seed=2))
    assert "INCONCLUSIVE" == found.verdict
    assert "but not confirmed in a fresh session" in found.reasons[0]


def test_a_fresh_session_without_pairs_confirms_nothing() -> None:
    empty = session(measurement("toy (baseline)", []), measurement("toy (candidate)", [], sha256="b" * 64))
    found = judged(pair_session(1.1), fresh=empty)
    assert "INCONCLUSIVE" == found.verdict
    assert "could not be confirmed" in found.reasons[0]


def test_the_second_look_has_all_pairs_and_another_confidence() -> None:
    first, second = looks_of(pair_session(1.03, 30), SETTINGS)
    assert (15, 0.99, 30, 0.96) == (first.pairs, first.confidence, second.pairs, second.confidence)


def test_a_slowdown_below_the_floor_passes_and_says_so() -> None:
    settings = GateSettings(min_effect_us=20)
    found = judged(pair_session(1.1), settings=settings)
    assert "PASS" == found.verdict
    assert "below the floor of 20 µs" in found.reasons[0]
    assert not wants_confirmation(pair_session(1.1), settings)
    assert "REGRESSION" == judged(pair_session(1.1), settings=GateSettings(min_effect_us=5)).verdict


@pytest.mark.parametrize(("rejected", "verdict"), [(5, "PASS"), (6, "INCONCLUSIVE")])
def test_over_a_quarter_of_the_rounds_rejected_is_no_answer(rejected, verdict) -> None:
    found = judged(pair_session(1.0, 15, rejected=rejected))
    assert verdict == found.verdict


@pytest.mark.parametrize("pairs", [1, 5, 7])
def test_too_few_pairs_are_no_answer(pairs) -> None:
    found = judged(pair_session(2.0, pairs))
    assert "INCONCLUSIVE" == found.verdict
    assert "an interval of 99 % needs 8" in found.reasons[0]
    assert found.primary.interval is None
    assert found.primary.detectable is None


def test_blocks_without_a_partner_are_left_out() -> None:
    old, new = times(1.0, 20)
    found = judged(
        session(measurement("toy (baseline)", old), measurement("toy (candidate)", new[:15], sha256="b" * 64))
    )
    assert 15 == found.latency.looks[0].pairs


def test_an_outlier_of_a_thousand_times_is_no_regression() -> None:
    old, new = times(1.0, 15)
    new[3] *= 1000
    found = judged(session(measurement("toy (baseline)", old), measurement("toy (candidate)", new, sha256="b" * 64)))
    assert "PASS" == found.verdict


@pytest.mark.parametrize(("kind", "code"), [("golden", 1), ("device", 4)])
def test_a_model_that_failed_is_no_verdict(kind, code) -> None:
    old, _ = times(1.0, 15)
    failed = measurement("toy (candidate)", [], sha256="b" * 64, failure=kind)
    found = judged(session(measurement("toy (baseline)", old), failed))
    assert ("INCONCLUSIVE", kind) == (found.verdict, found.failure.kind)
    assert code == gate(found).exit_code


def test_more_bytes_are_a_regression_whatever_the_time_says() -> None:
    found = judge_session(side(), side("b" * 64, 1010), device_entry(pair_session(1.0)), pair_session(1.0), SETTINGS)
    assert "REGRESSION" == found.verdict
    assert "size: +1.00 %, exact; allowed is 0.5 %" == found.reasons[0]


def gate(*judgements) -> Gate:
    return Gate(settings=SETTINGS, judgements=judgements, started_utc="", finished_utc="")


def weak() -> object:
    """A regression that stands alone but not among many."""
    for seed in range(200):
        found = judged(pair_session(1.04, 30, noise=0.016, seed=seed))
        low = found.latency.looks[-1].interval[0]
        if found.verdict == "REGRESSION" and low < 1.0315 and found.latency.looks[0].interval[0] < 1.03:
            return found
    raise AssertionError


def test_among_many_comparisons_a_weak_regression_is_taken_back() -> None:
    alone, among = apply_holm([weak()]), apply_holm([weak(), *[judged(pair_session(1.0))] * 19])
    assert "REGRESSION" == alone[0].verdict
    assert "INCONCLUSIVE" == among[0].verdict
    assert "among 20 comparisons at once this can be chance (Holm)" in among[0].reasons[0]


def test_a_strong_regression_stands_among_many() -> None:
    among = apply_holm([*[judged(pair_session(1.0))] * 19, judged(pair_session(1.2))])
    assert "REGRESSION" == among[-1].verdict


def test_with_several_comparisons_the_first_look_must_be_surer() -> None:
    border = None
    for seed in range(500):
        found = pair_session(1.045, noise=0.012, seed=seed)
        if decided(found.measurements, "median", SETTINGS, 1) and not decided(
            found.measurements, "median", SETTINGS, 50
        ):
            border = found
            break
    assert border is not None
    assert "REGRESSION" == judged(border).verdict


def test_a_model_against_itself_is_decided_at_the_first_look() -> None:
    assert decided(pair_session(1.0).measurements, "median", SETTINGS, 1)
    assert not decided(pair_session(1.03).measurements, "median", SETTINGS, 1)
    assert not decided(pair_session(1.0, 3).measurements, "median", SETTINGS, 1)


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("threads: 1 and 2", {"plan": RunPlan(blocks=15, threads=2)}),
        ("core_mask: nothing and c", {"plan": RunPlan(blocks=15, core_mask="c")}),
        ("device: host and pixel1", {"device": "pixel1"}),
        ("engine: a fake 1.0 and another", {"runner": {"runner": "python", "engine": "another"}}),
        ("delegate: xnnpack and none", {"runner": {"runner": "python", "engine": "a fake 1.0", "delegate": "none"}}),
    ],
)
def test_what_differs_between_two_sessions_is_named(what, change) -> None:
    one = pair_session(1.0)
    assert what in differences(facts_of(one), facts_of(replace(one, **change)))
