from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tkd.errors import TeacherError
from tkd.teacher import Teacher, TeacherConfig, build_teacher
from tkd.train.attention_cache import cached_knowledge
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
    first, was_there = cached_knowledge(tmp_path, teacher(), "a", store(), steps.append)
    second, was_there_then = cached_knowledge(tmp_path, teacher(), "a", store(), steps.append)
    attention, logits = teacher().attend(store().clips(slice(None)))
    assert (was_there, was_there_then, sum(steps)) == (False, True, 6)
    for knowledge in (first, second):
        assert torch.allclose(knowledge.attention, attention)
        assert torch.allclose(knowledge.logits, logits)


@pytest.mark.parametrize(("teacher_sha256", "value"), [("b", 0), ("a", 1)])
def test_another_teacher_or_another_clip_makes_another_cache(tmp_path: Path, teacher_sha256: str, value: int) -> None:
    cached_knowledge(tmp_path, teacher(), "a", store(), lambda _steps: None)
    _, was_there = cached_knowledge(tmp_path, teacher(), teacher_sha256, store(value), lambda _steps: None)
    assert not was_there


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY\x01\x00 cut"])
def test_a_damaged_cache_is_named(tmp_path: Path, damage: bytes) -> None:
    cached_knowledge(tmp_path, teacher(), "a", store(), lambda _steps: None)
    (path,) = tmp_path.glob("*.npy")
    path.write_bytes(damage)
    with pytest.raises(TeacherError, match=f"{path.name} is damaged"):
        cached_knowledge(tmp_path, teacher(), "a", store(), lambda _steps: None)


def test_an_interrupted_cache_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tkd.train.attention_cache._BATCH", 1)
    whole, _ = cached_knowledge(tmp_path / "whole", teacher(), "a", store(), lambda _steps: None)

    def interrupting(steps: int) -> None:
        if steps:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached_knowledge(tmp_path / "cut", teacher(), "a", store(), interrupting)
    (partial,) = (tmp_path / "cut").iterdir()
    assert partial.suffix == ".partial"
    with partial.open("ab") as stream:
        stream.write(b"half a row")
    steps: list[int] = []
    resumed, was_there = cached_knowledge(tmp_path / "cut", teacher(), "a", store(), steps.append)
    assert not was_there
    assert steps == [1, 1, 1]  # the first was there
    assert torch.equal(resumed.attention, whole.attention)
    assert torch.equal(resumed.logits, whole.logits)
    assert [path.suffix for path in (tmp_path / "cut").iterdir()] == [".npy"]


def test_an_interrupted_cache_goes_on_with_whole_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounding depends on who is in a batch, so that the rest of a cut one would differ in the last digit."""
    monkeypatch.setattr("tkd.train.attention_cache._BATCH", 2)
    whole, _ = cached_knowledge(tmp_path / "whole", teacher(), "a", store(), lambda _steps: None)
    (made,) = (tmp_path / "whole").iterdir()
    row_bytes = 4 * (whole.attention.shape[1] + whole.logits.shape[1])
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / made.name).with_suffix(".partial").write_bytes(made.read_bytes()[:-row_bytes])
    steps: list[int] = []
    resumed, _ = cached_knowledge(tmp_path / "cut", teacher(), "a", store(), steps.append)
    assert steps[0] % 2 == 0
    assert sum(steps) == len(whole.attention)
    assert torch.equal(resumed.attention, whole.attention)


@pytest.mark.parametrize("left", [b"", b"garbage from another format" * 20])
def test_a_partial_cache_that_is_none_begins_anew(tmp_path: Path, left: bytes) -> None:
    whole, _ = cached_knowledge(tmp_path / "whole", teacher(), "a", store(), lambda _steps: None)
    (name,) = (path.name for path in (tmp_path / "whole").iterdir())
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / name).with_suffix(".partial").write_bytes(left)
    again, _ = cached_knowledge(tmp_path / "again", teacher(), "a", store(), lambda _steps: None)
    assert torch.equal(again.attention, whole.attention)


def test_a_single_layer_is_cached_apart_from_the_rollout(tmp_path: Path) -> None:
    rolled, _ = cached_knowledge(tmp_path, teacher(), "a", store(), lambda _steps: None)
    last, was_there = cached_knowledge(tmp_path, teacher(), "a", store(), lambda _steps: None, layer=-1)
    assert not was_there
    assert not torch.allclose(rolled.attention, last.attention)
    assert torch.allclose(last.attention.sum(dim=1), torch.ones(3), atol=1e-5)


def test_a_cache_of_another_teacher_under_this_name_is_refused(tmp_path: Path) -> None:
    cached_knowledge(tmp_path, teacher(), "a", store(), lambda _steps: None)
    (path,) = tmp_path.glob("*.npy")
    np.save(path, np.ones((3, 5), dtype=np.float32))
    with pytest.raises(TeacherError, match=r"has float32 of shape \(3, 5\), expected float32 of \(3, 38\)"):
        cached_knowledge(tmp_path, teacher(), "a", store(), lambda _steps: None)


def test_two_runs_that_share_a_folder_make_a_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tkd.train.attention_cache._BATCH", 1)
    asked: list[int] = []

    class Counting(Teacher):
        def attend(self, *arguments: Any, **options: Any) -> Any:
            asked.append(1)
            return super().attend(*arguments, **options)

    both = [teacher(), teacher()]
    for each in both:
        each.__class__ = Counting
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda each: cached_knowledge(tmp_path, each, "a", store(), lambda _steps: None), both))
    assert len(asked) == 3
    assert torch.equal(made[0][0].attention, made[1][0].attention)
    assert [path.suffix for path in tmp_path.iterdir()] == [".npy"]
