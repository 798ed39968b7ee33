from pathlib import Path

import pytest
import torch

from tkd.errors import TeacherError
from tkd.teacher import Teacher, TeacherConfig, build_teacher
from tkd.train.attention_cache import cached_attention
from tkd.train.batches import ClipStore


def teacher() -> Teacher:
    torch.manual_seed(0)
    return build_teacher(TeacherConfig(layers=2, hidden=32, heads=2, feed_forward=64), 12)


def store(value: int = 0) -> ClipStore:
    waveforms = torch.randint(-9000, 9000, (3, 16_000), generator=torch.Generator().manual_seed(3), dtype=torch.int16)
    waveforms[0, 0] = value
    return ClipStore(waveforms=waveforms, labels=torch.zeros(3).long(), sample_rate_hz=16_000, noise=None)


def test_the_cache_gives_what_the_teacher_gives_and_the_second_time_without_it(tmp_path: Path) -> None:
    steps: list[int] = []
    first, was_there = cached_attention(tmp_path, teacher(), "a", store(), steps.append)
    second, was_there_then = cached_attention(tmp_path, teacher(), "a", store(), steps.append)
    direct, _ = teacher().attend(store().clips(slice(None)))
    assert (was_there, was_there_then, sum(steps)) == (False, True, 6)
    assert torch.equal(first, second)
    assert torch.allclose(first, direct)


@pytest.mark.parametrize(("teacher_sha256", "value"), [("b", 0), ("a", 1)])
def test_another_teacher_or_another_clip_makes_another_cache(tmp_path: Path, teacher_sha256: str, value: int) -> None:
    cached_attention(tmp_path, teacher(), "a", store(), lambda _steps: None)
    _, was_there = cached_attention(tmp_path, teacher(), teacher_sha256, store(value), lambda _steps: None)
    assert not was_there


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY\x01\x00 cut"])
def test_a_damaged_cache_is_named(tmp_path: Path, damage: bytes) -> None:
    cached_attention(tmp_path, teacher(), "a", store(), lambda _steps: None)
    (path,) = tmp_path.glob("attention-*.npy")
    path.write_bytes(damage)
    with pytest.raises(TeacherError, match=f"{path.name} is damaged"):
        cached_attention(tmp_path, teacher(), "a", store(), lambda _steps: None)
