import pytest
import torch

from tkd.attention import normalise
from tkd.distill import DistillConfig
from tkd.students import build_student
from tkd.train.probing import Seen, probe

FRAMES = 98
SPANS = torch.tensor([[0.3, 0.5]] * 40, dtype=torch.float64)


def clips(seed: int, marks: torch.Tensor) -> Seen:
    """Noise with one loud moment a clip, and a teacher that looks there."""
    features = 0.1 * torch.randn(len(marks), FRAMES, 40, generator=torch.Generator().manual_seed(seed))
    attention = torch.zeros(len(marks), 25)
    for row, mark in enumerate(marks.tolist()):
        features[row, mark : mark + 8] += 3.0
        attention[row, round((mark + 4) * 25 / FRAMES)] = 1.0
    return Seen(features=features, attention=normalise(attention))


def random_clips(seed: int, count: int = 120) -> Seen:
    return clips(seed, torch.randint(4, 86, (count,), generator=torch.Generator().manual_seed(seed + 50)))


@pytest.mark.parametrize("name", ["tcresnet8", "crnn", "lstm-p-reduced"])
def test_a_query_finds_what_the_contexts_know_and_leaves_the_student_as_it_was(name: str) -> None:
    torch.manual_seed(0)
    student = build_student(name, 40, 12).train()
    before = {key: value.clone() for key, value in student.state_dict().items()}
    held = random_clips(2)
    found = probe(student, random_clips(1), held, None, 1.0, DistillConfig())
    flat = (held.attention * (held.attention * 25).log()).sum(dim=1).mean().item()
    assert found.kl_nats < 0.75 * flat
    assert torch.allclose(found.attention.sum(dim=1), torch.ones(len(held.features)), atol=1e-5)
    assert found.mass_inside is None
    assert student.training
    assert all(torch.equal(before[key], value) for key, value in student.state_dict().items())


def test_what_is_inside_the_keyword_is_counted() -> None:
    torch.manual_seed(0)
    held = clips(3, torch.full((40,), 34))  # loud from 0.34 to 0.42 s
    found = probe(build_student("tcresnet8", 40, 12), random_clips(1), held, SPANS, 1.0, DistillConfig())
    assert found.mass_inside is not None
    assert 0.2 < found.mass_inside <= 1.0
    assert found.to_dict().keys() == {"kl_nats", "mass_inside", "peak_inside"}


def test_an_attentive_student_is_asked_for_its_own_attention() -> None:
    torch.manual_seed(0)
    student = build_student("att-rnn-reduced", 20, 12).eval()
    held = Seen(features=torch.randn(5, 49, 20), attention=normalise(torch.rand(5, 25)))
    own = probe(student, held, held, None, 1.0, DistillConfig()).attention
    assert torch.allclose(own, student.own_attention(student.contexts(held.features)), atol=1e-6)
    queried = probe(student, held, held, None, 1.0, DistillConfig(student_attention="query")).attention
    assert not torch.allclose(own, queried, atol=1e-3)
