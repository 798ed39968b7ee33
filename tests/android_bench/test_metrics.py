"""The other rows of a verdict: accuracy in three states with what it could have seen, and exact numbers exactly."""

import numpy as np
import pytest

from android_bench.errors import RecordError
from android_bench.metrics import EXACT, accuracy_row, exact_facts, exact_row
from android_bench.records import Predictions, SeveralPredictions
from android_bench.verdict import GateSettings

SETTINGS = GateSettings()


def answers(wrong, clips=480):
    """Predictions with the clips of these numbers wrong."""
    wrong = set(wrong)
    return Predictions(
        ids=tuple(map(str, range(clips))),
        predicted=tuple(int(clip in wrong) for clip in range(clips)),
        expected=(0,) * clips,
    )


def row(candidate, baseline, **settings):
    return accuracy_row(candidate, baseline, GateSettings(**settings), same_file=False)


@pytest.mark.parametrize(
    ("verdict", "candidate", "baseline", "clips"),
    [
        ("REGRESSION", range(40), range(5), 480),
        ("INCONCLUSIVE", range(8), range(5), 480),
        ("INCONCLUSIVE", range(5), range(5), 480),
        ("PASS", range(50), range(48), 4800),
        ("IMPROVED", range(5), range(40), 480),
    ],
)
def test_a_drop_fails_passes_or_cannot_be_told(verdict, candidate, baseline, clips) -> None:
    found = row(answers(candidate, clips), answers(baseline, clips))
    assert verdict == found.verdict
    assert found.change == pytest.approx((len(baseline) - len(candidate)) / clips)


def test_what_cannot_be_told_says_what_could_have_been() -> None:
    found = row(answers(range(20)), answers(range(10, 30)))
    assert 0.015 < found.detectable < 0.04
    assert f"a drop of {100 * found.detectable:.1f} points would be seen nine times in ten" in found.note
    assert "480 clips cannot tell a drop of 0.5 points" in found.note


def test_two_copies_of_one_file_differ_by_nothing() -> None:
    found = accuracy_row(answers(range(9)), answers(range(9)), SETTINGS, same_file=True)
    assert ("PASS", True, None) == (found.verdict, found.exact, found.interval)


def test_one_file_that_answers_differently_is_no_exact_pass() -> None:
    found = accuracy_row(answers(range(9)), answers(range(40)), SETTINGS, same_file=True)
    assert ("IMPROVED", False) == (found.verdict, found.exact)


def several(noise, clips=120):
    rng = np.random.default_rng(1)
    truth = rng.random((clips, 3)) < 0.4
    truth[:, 0] |= ~truth.any(axis=1)
    scores = truth + rng.normal(0, 0.2, truth.shape) + np.random.default_rng(2).normal(0, noise, truth.shape)
    return SeveralPredictions(
        ids=tuple(map(str, range(clips))),
        labels=("a", "b", "c"),
        outputs=tuple(map(tuple, scores.tolist())),
        expected=tuple(tuple(np.flatnonzero(each).tolist()) for each in truth),
    )


def test_clips_with_several_labels_are_judged_by_their_mean_average_precision() -> None:
    worse, alike = row(several(1.5), several(0.0)), row(several(0.0), several(0.0))
    assert ("mean_average_precision", "REGRESSION") == (worse.name, worse.verdict)
    assert ("INCONCLUSIVE", None) == (alike.verdict, alike.interval)


def test_other_clips_are_not_compared() -> None:
    with pytest.raises(RecordError, match="hold different clips"):
        row(answers([], 10), answers([], 11))


@pytest.mark.parametrize("name", EXACT)
def test_every_exact_metric_has_its_own_allowance(name) -> None:
    metric = EXACT[name]
    base = 1000.0 if metric.relative else 0.5
    for steps, expected in ((1, "PASS"), (2, "REGRESSION"), (-2, "IMPROVED"), (0, "PASS")):
        change = metric.worse * steps * 0.005
        candidate = base * (1 + change) if metric.relative else base + change
        assert expected == exact_row(name, base, candidate, SETTINGS).verdict
    free = GateSettings(allowances={name: None})
    assert "PASS" == exact_row(name, base, base * (1 + metric.worse), free).verdict


def test_one_instruction_more_is_one_more() -> None:
    found = exact_row("instructions", 652_088, 652_089, GateSettings(allowances={"instructions": 0.0}))
    assert "REGRESSION" == found.verdict
    assert found.exact


def test_another_precision_is_not_judged_by_its_size() -> None:
    found = exact_row("size", 100, 300, SETTINGS, same_precision=False)
    assert "PASS" == found.verdict
    assert "is let be: the precisions differ" in found.note


def test_a_bundle_tells_what_it_knows() -> None:
    ops = {"by_type": {"CONV_2D": 3, "ADD": 1}, "int8_share": {"macs": 0.9}}
    assert {"size": 10.0, "operators": 4.0, "int8_share": 0.9} == exact_facts(ops, 10)
    assert {"size": 10.0} == exact_facts({}, 10)
