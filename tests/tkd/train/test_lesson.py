import math

import pytest
import torch

from tkd.errors import SettingsError
from tkd.train.batches import Batch, ClipStore
from tkd.train.lesson import Knowledge, make_lesson, span_attention

NAN = math.nan


def store(intervals_s: torch.Tensor | None = None, clips: int = 6) -> ClipStore:
    return ClipStore(
        waveforms=torch.zeros(clips, 16_000, dtype=torch.int16),
        labels=torch.zeros(clips).long(),
        sample_rate_hz=16_000,
        noise=None,
        intervals_s=intervals_s,
    )


def knowledge(clips: int = 6) -> Knowledge:
    attention = torch.rand(clips, 25, generator=torch.Generator().manual_seed(1))
    return Knowledge(attention=attention / attention.sum(dim=1, keepdim=True), logits=torch.randn(clips, 12))


def batch(index: list[int], shift_samples: int = 0) -> Batch:
    count = len(index)
    return Batch(
        inputs=torch.zeros(count, 1),
        labels=torch.zeros(count).long(),
        index=torch.tensor(index),
        shift_samples=torch.full((count,), shift_samples),
    )


def test_the_teachers_lesson_is_its_attention_alone_unless_logits_are_added() -> None:
    known = knowledge()
    plain = make_lesson("teacher", known, store(), 1, adds_logits=False)
    assert plain.attention is known.attention
    assert plain.logits is None
    assert make_lesson("teacher", known, store(), 1, adds_logits=True).logits is known.logits


def test_logits_lead_without_attention() -> None:
    lesson = make_lesson("logits", knowledge(), store(), 1, adds_logits=False)
    assert lesson.attention is None
    assert lesson.logits is not None


def test_a_shuffled_lesson_has_the_rows_of_other_clips_each_once() -> None:
    known = knowledge()
    shuffled = make_lesson("shuffled", known, store(), 1, adds_logits=False).attention
    assert shuffled is not None
    same = (shuffled[:, None] == known.attention[None]).all(dim=2)
    assert same.sum(dim=0).tolist() == [1] * 6
    assert not same.diagonal().any()
    again = make_lesson("shuffled", known, store(), 1, adds_logits=False).attention
    assert again is not None
    assert torch.equal(again, shuffled)


def test_a_uniform_lesson_is_flat_at_any_resolution_and_shift() -> None:
    rows = make_lesson("uniform", None, store(), 1, adds_logits=False).rows(batch([0, 3]), 13)
    assert torch.allclose(rows, torch.full((2, 13), 1 / 13))


def test_a_span_covers_the_keyword_and_nothing_else() -> None:
    attention = span_attention(torch.tensor([[0.25, 0.5], [NAN, NAN], [0.995, 1.0]]), 16_000, 16_000)
    assert attention.shape == (3, 100)
    assert torch.allclose(attention.sum(dim=1), torch.ones(3))
    assert attention[0, 25:50].sum().item() == pytest.approx(1.0, abs=1e-3)
    assert torch.allclose(attention[1], torch.full((100,), 0.01))
    assert attention[2].argmax().item() == 99


def test_a_span_follows_a_clip_that_was_moved() -> None:
    lesson = make_lesson("span", None, store(torch.tensor([[0.2, 0.3]] * 6)), 1, adds_logits=False)
    at_rest, moved = (lesson.rows(batch([0], shift), 100)[0].argmax().item() for shift in (0, 4_000))
    assert moved - at_rest == 25


def test_without_intervals_there_is_no_span() -> None:
    with pytest.raises(SettingsError, match="wants the true interval of each keyword, and this data set has none"):
        make_lesson("span", None, store(), 1, adds_logits=False)
