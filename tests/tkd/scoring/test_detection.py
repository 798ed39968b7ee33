import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import average_precision_score, roc_auc_score

from tkd.scoring.detection import log_posteriors, mean_average_precision, one_hot, roc, vertical_average

LABELS = np.arange(600) % 12
TRUTH = one_hot(LABELS, 12)


def _noisy(strength: float, seed: int = 0) -> np.ndarray:
    return TRUTH * strength + np.random.default_rng(seed).normal(size=TRUTH.shape)


def test_a_perfect_classifier_has_no_area_and_rejects_nothing() -> None:
    curve = roc(TRUTH * 9.0, TRUTH)
    assert (curve.area, float(curve.false_reject_at(np.array(0.0)))) == (0.0, 0.0)


def test_chance_has_half_the_area_and_the_opposite_has_all_of_it() -> None:
    assert roc(_noisy(0), TRUTH).area == pytest.approx(0.5, abs=0.03)
    assert roc(TRUTH * -9.0, TRUTH).area == 1.0


def test_a_classifier_that_says_the_same_of_everything_has_exactly_half_the_area() -> None:
    curve = roc(np.zeros(TRUTH.shape), TRUTH)
    assert curve.area == 0.5
    assert float(curve.false_reject_at(np.array(0.99))) == 1.0


def test_the_area_is_one_minus_scikit_learns_micro_average() -> None:
    scores = np.round(_noisy(1.5), 1)  # with ties
    assert roc(scores, TRUTH).area == pytest.approx(1 - roc_auc_score(TRUTH, scores, average="micro"))


def test_false_rejects_at_a_rate_are_counted_by_hand() -> None:
    # Pairs by falling score: own, wrong, own, wrong | 2 own, 2 wrong.
    scores = np.array([[4.0, 3.0], [1.0, 2.0]])
    curve = roc(scores, one_hot(np.array([0, 1]), 2))
    assert curve.false_alarm.tolist() == [0, 0, 0.5, 0.5, 1]
    assert curve.false_reject.tolist() == [1, 0.5, 0.5, 0, 0]
    assert curve.false_reject_at(np.array([0.0, 0.49, 0.5, 1.0])).tolist() == [0.5, 0.5, 0.0, 0.0]


SCORES = arrays.arrays(np.float64, (8, 3), elements=st.floats(-5, 5, width=16))


@settings(max_examples=80, deadline=None)
@given(SCORES, st.lists(st.integers(0, 2), min_size=8, max_size=8))
def test_a_curve_is_monotone_from_accepting_nothing_to_accepting_all(scores: np.ndarray, labels: list[int]) -> None:
    curve = roc(scores, one_hot(np.array(labels), 3))
    assert (np.diff(curve.false_alarm) >= 0).all()
    assert (np.diff(curve.false_reject) <= 0).all()
    assert (curve.false_alarm[0], curve.false_reject[0]) == (0, 1)
    assert (curve.false_alarm[-1], curve.false_reject[-1]) == (1, 0)
    assert (np.diff(curve.false_reject_at(np.linspace(0, 1, 50))) <= 0).all()
    assert 0 <= curve.area <= 1


@settings(max_examples=40, deadline=None)
@given(SCORES, st.lists(st.integers(0, 2), min_size=8, max_size=8))
def test_log_posteriors_are_a_distribution_in_the_order_of_the_logits(scores: np.ndarray, labels: list[int]) -> None:
    found = log_posteriors(scores.astype(np.float32))
    assert np.exp(found).sum(axis=1) == pytest.approx(np.ones(8))
    assert (np.argsort(found, kind="stable") == np.argsort(scores, kind="stable")).all()


def test_sure_answers_keep_their_order_where_a_softmax_would_be_one_for_both() -> None:
    found = log_posteriors(np.array([[20.0, 0.0], [25.0, 0.0]], np.float32))
    assert found[0, 0] < found[1, 0] < 0


def test_answers_that_are_not_numbers_accept_nothing() -> None:
    logits = (TRUTH * 9.0).astype(np.float32)
    logits[:60, 3] = np.nan
    logits[60:120, 0] = np.inf

    curve = roc(log_posteriors(logits), TRUTH)

    assert float(curve.false_reject_at(np.array(0.5))) == pytest.approx(120 / 600)
    assert roc(np.full(TRUTH.shape, np.nan), TRUTH).area == 0.5


@pytest.mark.parametrize("truth", [np.zeros((3, 2), bool), np.ones((3, 2), bool), TRUTH])
def test_truth_of_one_kind_or_another_shape_is_refused(truth: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected scores like the truth"):
        roc(np.zeros((3, 2)), truth)


def test_the_vertical_average_lies_between_its_runs_at_every_rate() -> None:
    runs = [roc(_noisy(1.5, seed), TRUTH) for seed in range(3)]
    grid = np.linspace(0, 1, 101)

    mean = vertical_average(runs, grid)

    each = np.stack([run.false_reject_at(grid) for run in runs])
    assert ((each.min(axis=0) <= mean.false_reject) & (mean.false_reject <= each.max(axis=0))).all()
    assert (vertical_average(runs[:1], grid).false_reject == each[0]).all()
    with pytest.raises(ValueError, match="expected at least one curve"):
        vertical_average([], grid)


def test_mean_average_precision_is_scikit_learns_macro_over_the_classes_that_occur() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((50, 6)) < 0.3
    truth[:, 2] = False
    scores = rng.normal(size=(50, 6)) + truth

    found, classes = mean_average_precision(scores, truth)

    present = [0, 1, 3, 4, 5]
    assert classes == 5
    assert found == pytest.approx(np.mean([average_precision_score(truth[:, c], scores[:, c]) for c in present]))


def test_mean_average_precision_ranks_undefined_answers_last() -> None:
    truth = np.array([[True], [False], [False]])
    assert mean_average_precision(np.array([[np.nan], [1.0], [0.0]]), truth) == (pytest.approx(1 / 3), 1)
    assert mean_average_precision(np.array([[2.0], [1.0], [np.nan]]), truth) == (1.0, 1)
    with pytest.raises(ValueError, match="and a label at least"):
        mean_average_precision(np.zeros((3, 1)), np.zeros((3, 1), bool))
