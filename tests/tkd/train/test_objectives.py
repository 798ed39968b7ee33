import pytest
import torch

from tkd.distill import DistillConfig
from tkd.students import build_student
from tkd.train.batches import Batch
from tkd.train.objectives import Held, Lesson, StudentObjective


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
    return Lesson(attention=attention, samples=16_000)


def objective(weight: float) -> StudentObjective:
    torch.manual_seed(0)
    held = Held(inputs=torch.zeros(2, 98, 40), labels=torch.zeros(2).long())
    return StudentObjective(build_student("tcresnet8", 40, 12), held, 0.0, lesson(), weight, DistillConfig())


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
