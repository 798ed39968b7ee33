import math

import pytest
import torch

from tkd.attention import normalise
from tkd.teacher import TeacherConfig, build_teacher
from tkd.train.inspection import Inspection, inspect

LABELS = torch.arange(12).repeat(2)
SPANS = torch.tensor([[0.4, 0.6]] * 23 + [[math.nan, math.nan]], dtype=torch.float64)


def looking_at(frame: int) -> torch.Tensor:
    attention = torch.full((24, 20), 0.2)
    attention[:, frame] = 3.0
    return normalise(attention)


def seen(attention: torch.Tensor, spans: torch.Tensor | None = SPANS, value: float = 0.9) -> Inspection:
    return inspect(attention, LABELS, spans, 1.0, "accuracy", value)


def test_a_teacher_that_looks_at_the_keyword_passes() -> None:
    found = seen(looking_at(9))
    assert found.clips == 23
    assert found.share_of_time == pytest.approx(0.2)
    assert found.mass_inside == pytest.approx((3.0 + 3 * 0.2) / (3.0 + 19 * 0.2), rel=1e-4)
    assert found.peak_inside == 1.0
    assert found.objection() == ""
    assert "53 % of its attention inside the keyword, which takes 20 % of the time" in found.sentence()


def test_a_frame_that_the_edge_cuts_counts_in_part() -> None:
    spans = torch.tensor([[0.425, 0.575]] * 24, dtype=torch.float64)
    assert seen(normalise(torch.ones(24, 20)), spans).mass_inside == pytest.approx(0.15, abs=1e-6)


@pytest.mark.parametrize(
    ("attention", "value", "words"),
    [
        (looking_at(2), 0.9, "hardly looks at the keyword"),
        (normalise(torch.ones(24, 20)), 0.9, "hardly looks at the keyword"),
        (looking_at(9), 0.1, "little better than chance"),
        (normalise(looking_at(9) + 1.3 * looking_at(2)), 0.9, "seldom looks at the keyword most"),
    ],
)
def test_a_teacher_that_does_not_know_where_to_look_is_objected_to(
    attention: torch.Tensor, value: float, words: str
) -> None:
    assert words in seen(attention, value=value).objection()


@pytest.mark.parametrize(("value", "words"), [(0.99, ""), (0.81, ""), (0.79, "expected at least 80.0%")])
def test_a_teacher_of_two_classes_can_pass(value: float, words: str) -> None:
    labels = torch.cat([torch.zeros(60, dtype=torch.long), torch.ones(40, dtype=torch.long)])
    found = inspect(normalise(torch.rand(100, 20) ** 4), labels, None, 1.0, "accuracy", value)
    assert (words in found.objection()) if words else found.objection() == ""


def test_without_intervals_only_a_flat_attention_is_objected_to() -> None:
    assert seen(looking_at(2), None).objection() == ""
    flat = seen(normalise(torch.ones(24, 20)), None)
    assert flat.sharpness_nats == pytest.approx(0.0, abs=1e-6)
    assert "looks everywhere alike" in flat.objection()
    assert "nats from uniform" in flat.sentence()


def test_chance_is_the_commonest_class_or_the_share_of_positives() -> None:
    assert seen(looking_at(9)).chance == pytest.approx(1 / 12)
    several = torch.zeros(24, 4)
    several[:, 0] = 1.0
    assert inspect(looking_at(9), several, None, 1.0, "mean_average_precision", 0.9).chance == pytest.approx(0.25)


def test_a_teacher_that_has_learnt_nothing_is_flat_but_for_its_first_frame() -> None:
    torch.manual_seed(0)
    teacher = build_teacher(TeacherConfig(layers=2, hidden=32, heads=2, feed_forward=64), 12)
    attention, _ = teacher.attend(torch.randn(24, 16_000))
    assert attention[:, 0].mean() > 0.2  # the identity terms
    assert "looks everywhere alike" in seen(attention, None).objection()
