import numpy as np
import pytest
import torch
from torch import nn

from tkd.evaluate import predict, score

NAMES = ("a", "b")


def test_scores_count_by_class_with_a_wilson_interval() -> None:
    logits = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    scores = score(logits, np.array([0, 0, 0, 1]), NAMES)
    assert (scores.correct, scores.total, scores.accuracy) == (3, 4, 0.75)
    assert scores.per_class == {"a": (2, 3), "b": (1, 1)}
    # Wilson 1927 for 3 of 4 at z = 1.96: centre (0.75 + z²/8) / (1 + z²/4), computed by hand.
    assert (scores.low, scores.high) == pytest.approx((0.3006, 0.9544), abs=1e-4)


def test_a_row_that_is_not_a_number_is_wrong_even_at_the_right_place() -> None:
    logits = np.array([[np.nan, 0.0], [1.0, 0.0]])
    assert score(logits, np.array([0, 0]), NAMES).correct == 1


@pytest.mark.parametrize(("rows", "labels"), [(0, 0), (3, 2)])
def test_nothing_and_unequal_lengths_are_refused(rows: int, labels: int) -> None:
    with pytest.raises(ValueError, match="expected as many logits as labels and at least one"):
        score(np.zeros((rows, 2)), np.zeros(labels, dtype=int), NAMES)


def test_prediction_is_the_same_in_batches_and_leaves_the_mode_as_it_was() -> None:
    network = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5))
    inputs = torch.randn(7, 3)
    assert np.allclose(predict(network, inputs, batch_size=2), predict(network, inputs, batch_size=7))
    assert network.training
