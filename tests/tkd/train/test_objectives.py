import pytest
import torch

from tkd.distill import DistillConfig
from tkd.errors import SettingsError
from tkd.students import build_student
from tkd.train.batches import Batch
from tkd.train.lesson import Lesson
from tkd.train.objectives import Held, StudentObjective, log_student_attention, student_query


def batch(shift_samples: int = 0) -> Batch:
    return Batch(
        inputs=torch.randn(4, 98, 40, generator=torch.Generator().manual_seed(0)),
        labels=torch.arange(4),
        index=torch.tensor([2, 0, 1, 3]),
        shift_samples=torch.full((4,), shift_samples),
    )


def lesson() -> Lesson:
    attention = torch.zeros(4, 25)
    attention[torch.arange(4), torch.tensor([4, 8, 12, 16])] = 1.0
    return Lesson(attention=attention, logits=None, samples=16_000)


def objective(
    weight: float, learned: Lesson | None = None, config: DistillConfig | None = None, student: str = "tcresnet8"
) -> StudentObjective:
    torch.manual_seed(0)
    held = Held(inputs=torch.zeros(2, 98, 40), labels=torch.zeros(2).long())
    built = build_student(student, 40, 12)
    return StudentObjective(built, held, 0.0, learned or lesson(), weight, config or DistillConfig())


def test_a_lesson_follows_the_clips_that_augmentation_moved() -> None:
    at_rest = lesson().rows(batch(), 25).argmax(dim=1)
    moved = lesson().rows(batch(shift_samples=1280), 25).argmax(dim=1)
    assert at_rest.tolist() == [12, 4, 8, 16]
    assert (moved - at_rest).tolist() == [2, 2, 2, 2]


def test_the_total_is_the_weighted_sum_of_its_parts() -> None:
    losses = objective(0.25).losses(batch())
    expected = 0.75 * losses["classification"] + 0.25 * losses["attention_kl_nats"]
    assert losses["loss"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_without_a_weight_there_is_no_query_and_no_lesson() -> None:
    plain = objective(0.0)
    assert set(plain.losses(batch())) == {"loss"}
    assert not any("query" in name for name in plain.module.state_dict())


def test_the_query_is_trained_but_never_part_of_the_students_weights() -> None:
    distilled = objective(0.25)
    names = {name for name, _ in distilled.module.named_parameters()}
    assert "query.query" in names
    state = distilled.student_state(distilled.module.state_dict())
    assert set(state) == set(build_student("tcresnet8", 40, 12).state_dict())


def test_distillation_pulls_the_students_attention_towards_the_teachers() -> None:
    distilled = objective(1.0)
    distilled.module.eval()
    optimiser = torch.optim.Adam(distilled.module.parameters(), lr=3e-3)
    before = distilled.losses(batch())["attention_kl_nats"].item()
    for _ in range(40):
        optimiser.zero_grad()
        distilled.losses(batch())["loss"].backward()
        optimiser.step()
    assert distilled.losses(batch())["attention_kl_nats"].item() < 0.5 * before


def logits() -> torch.Tensor:
    return torch.randn(4, 12, generator=torch.Generator().manual_seed(5))


def test_logits_alone_lead_without_a_query() -> None:
    led = objective(0.5, Lesson(attention=None, logits=logits(), samples=16_000))
    losses = led.losses(batch())
    assert set(losses) == {"loss", "classification", "logit_kl_nats"}
    expected = 0.5 * losses["classification"] + 0.5 * losses["logit_kl_nats"]
    assert losses["loss"].item() == pytest.approx(expected.item(), rel=1e-6)
    assert not any("query" in name for name in led.module.state_dict())


def test_logits_can_be_added_to_attention() -> None:
    both = Lesson(attention=lesson().attention, logits=logits(), samples=16_000)
    losses = objective(0.25, both, DistillConfig(logit_weight=0.1)).losses(batch())
    parts = 0.75 * losses["classification"] + 0.25 * losses["attention_kl_nats"] + 0.1 * losses["logit_kl_nats"]
    assert losses["loss"].item() == pytest.approx(parts.item(), rel=1e-6)


def test_a_teacher_of_logits_that_agrees_adds_nothing() -> None:
    led = objective(0.5)
    led.module.eval()
    own = led.student(batch().inputs).detach()
    rows = torch.empty_like(own)
    rows[batch().index] = own
    agreeing = objective(0.5, Lesson(attention=None, logits=rows, samples=16_000))
    agreeing.module.eval()
    assert agreeing.losses(batch())["logit_kl_nats"].item() == pytest.approx(0.0, abs=1e-6)


def test_an_attentive_student_matches_its_own_attention_and_a_query_is_an_option() -> None:
    own = objective(0.25, student="att-rnn")
    assert not any(name.startswith("query.") for name in own.module.state_dict())
    own.module.eval()
    contexts = own.student.contexts(batch().inputs)
    expected = own.student.own_attention(contexts)
    assert torch.allclose(log_student_attention(own.student, None, contexts).exp(), expected, atol=1e-6)
    asked = objective(0.25, config=DistillConfig(student_attention="query"), student="att-rnn")
    assert "query.query" in asked.module.state_dict()


def test_distillation_reaches_the_own_queries_of_an_attentive_student() -> None:
    own = objective(1.0, student="mhatt-rnn")
    own.losses(batch())["loss"].backward()
    assert all(query.weight.grad.abs().sum() > 0 for query in own.student.query)


def test_a_student_without_attention_has_none_of_its_own() -> None:
    with pytest.raises(SettingsError, match="'own' is for students that attend by themselves"):
        student_query(build_student("crnn", 40, 12), DistillConfig(student_attention="own"))
