import pytest
import torch

from tkd.attention import normalise
from tkd.distill import DistillConfig, QueryAttention, attention_divergence, combine, logit_divergence
from tkd.errors import SettingsError

DIRECTIONS = ["teacher-student", "student-teacher"]


def distribution(seed: int) -> torch.Tensor:
    return normalise(torch.rand(4, 7, generator=torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_divergence_of_equal_distributions_is_zero(direction: str) -> None:
    same = distribution(0)
    assert attention_divergence(same, same.log(), direction).item() == pytest.approx(0.0, abs=1e-6)


def test_the_divergence_is_the_textbook_sum_in_nats() -> None:
    teacher, student = distribution(0), distribution(1)
    expected = (teacher * (teacher / student).log()).sum(dim=1).mean().item()
    assert attention_divergence(teacher, student.log(), "teacher-student").item() == pytest.approx(expected, rel=1e-5)


def test_the_two_directions_swap_their_arguments() -> None:
    teacher, student = distribution(0), distribution(1)
    there = attention_divergence(teacher, student.log(), "student-teacher").item()
    back = attention_divergence(student, teacher.log(), "teacher-student").item()
    assert there == pytest.approx(back, rel=1e-5)


def test_the_student_attention_is_a_softmax_over_time_of_the_query_with_each_context() -> None:
    attention = QueryAttention(3, temperature=2.0)
    contexts = torch.randn(2, 5, 3)
    with torch.no_grad():
        attention.query.copy_(torch.tensor([1.0, -2.0, 0.5]))
    scores = torch.stack([contexts[:, t] @ attention.query for t in range(5)], dim=1) / 2.0
    assert torch.allclose(attention(contexts).exp(), scores.softmax(dim=1), atol=1e-6)


def test_a_fresh_query_looks_everywhere_alike_and_still_learns() -> None:
    attention = QueryAttention(3, temperature=1.0)
    log_student = attention(torch.randn(2, 5, 3))
    assert torch.allclose(log_student.exp(), torch.full((2, 5), 0.2))
    attention_divergence(normalise(torch.eye(2, 5)), log_student, "teacher-student").backward()
    assert attention.query.grad is not None
    assert attention.query.grad.abs().sum() > 0


def test_a_weight_of_zero_is_a_student_without_a_teacher() -> None:
    for combination in ("convex", "additive"):
        assert combine(torch.tensor(2.0), torch.tensor(9.0), 0.0, combination).item() == 2.0


def test_the_two_combinations_are_as_documented() -> None:
    assert combine(torch.tensor(2.0), torch.tensor(4.0), 0.25, "convex").item() == pytest.approx(2.5)
    assert combine(torch.tensor(2.0), torch.tensor(4.0), 0.25, "additive").item() == pytest.approx(3.0)


@pytest.mark.parametrize("lambdas", [(), (1.5,), (-0.1, 0.2), (float("nan"),)])
def test_a_weight_outside_0_to_1_is_refused(lambdas: tuple[float, ...]) -> None:
    with pytest.raises(SettingsError, match=r"expected weights in \[0, 1\]"):
        DistillConfig(lambdas=lambdas)


@pytest.mark.parametrize("lambdas", [(0.25, 0.25), (0.1, 0.10000001)])
def test_a_weight_is_given_once(lambdas: tuple[float, ...]) -> None:
    with pytest.raises(SettingsError, match="expected each once, to six digits"):
        DistillConfig(lambdas=lambdas)


def test_a_temperature_of_zero_is_refused() -> None:
    with pytest.raises(SettingsError, match="expected more than 0"):
        DistillConfig(temperature=0.0)


def test_the_divergence_of_logits_is_hintons_with_the_square_of_the_temperature() -> None:
    teacher, student = (torch.randn(5, 12, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    p, q = (logits.div(3.0).softmax(dim=1) for logits in (teacher, student))
    expected = 9.0 * (p * (p / q).log()).sum(dim=1).mean().item()
    assert logit_divergence(teacher, student, 3.0, is_multi_label=False).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("is_multi_label", [False, True])
def test_logits_that_agree_diverge_by_nothing_and_pull_nowhere(is_multi_label: bool) -> None:
    teacher = torch.randn(5, 12, generator=torch.Generator().manual_seed(1))
    student = teacher.clone().requires_grad_()
    divergence = logit_divergence(teacher, student, 2.0, is_multi_label=is_multi_label)
    divergence.backward()
    assert divergence.item() == pytest.approx(0.0, abs=1e-5)
    assert student.grad is not None
    assert student.grad.abs().max().item() < 1e-6


def test_for_several_labels_each_class_diverges_by_itself() -> None:
    teacher, student = (torch.randn(5, 3, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    p, q = (torch.sigmoid(logits / 2.0) for logits in (teacher, student))
    expected = 4.0 * (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean().item()
    assert logit_divergence(teacher, student, 2.0, is_multi_label=True).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"controls": ("teacher",)}, "teacher is the guide already"),
        ({"controls": ("span", "span")}, "span is there twice"),
        ({"controls": ("span",), "lambdas": (0.0,)}, "they need a λ above 0"),
        ({"logit_weight": -1.0}, "logit_weight: expected 0 or more"),
        ({"logit_temperature": 0.0}, "logit_temperature: expected more than 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        DistillConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "needs"),
    [
        ({}, True), ({"lambdas": (0.0,)}, False), ({"guide": "span"}, False), ({"guide": "uniform"}, False),
        ({"guide": "span", "controls": ("shuffled",)}, True), ({"guide": "logits"}, True),
        ({"guide": "span", "logit_weight": 0.1}, True),
    ],
)  # fmt: skip
def test_a_teacher_is_only_needed_for_what_comes_from_it(settings: dict[str, object], needs: bool) -> None:
    assert DistillConfig(**settings).needs_teacher is needs
