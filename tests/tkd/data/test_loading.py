import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.tkd.conftest import DAMAGES
from tkd.audio.wav import write_wav
from tkd.data import loading
from tkd.data.keywords import KeywordSettings, KeywordTask, open_keywords
from tkd.data.loading import Loading, load_clips
from tkd.errors import AudioError


@pytest.fixture
def task(small_corpus: Path) -> KeywordTask:
    return open_keywords(small_corpus, KeywordSettings())


@pytest.fixture
def cached(tmp_path: Path) -> Loading:
    return Loading(cache=tmp_path / "clips")


def _quiet(_done: int) -> None:
    pass


def _only_folder(cached: Loading) -> Path:
    assert cached.cache is not None
    (folder,) = cached.cache.iterdir()
    return folder


def test_the_cache_gives_what_the_files_give(task: KeywordTask, cached: Loading) -> None:
    clips = task.clips("train")

    direct, made, found = (load_clips(task, clips, how, _quiet) for how in (Loading(), cached, cached))

    for loaded in (made, found):
        np.testing.assert_array_equal(loaded.waveforms, direct.waveforms)
        assert (loaded.clips, loaded.labels.tolist()) == (direct.clips, direct.labels.tolist())
    assert isinstance(found.waveforms, np.memmap)


def test_the_second_load_opens_no_recording(
    task: KeywordTask, cached: Loading, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_clips(task, task.clips("train"), cached, _quiet)
    monkeypatch.setattr(loading, "fill", lambda *_: pytest.fail("read again"))
    done: list[int] = []

    load_clips(task, task.clips("train"), cached, done.append)

    assert sum(done) == len(task.clips("train"))


def test_a_changed_recording_is_read_again(task: KeywordTask, cached: Loading) -> None:
    clips = task.clips("train")
    load_clips(task, clips, cached, _quiet)
    write_wav(task.folder / clips[0].path, np.full(15_999, 3, dtype=np.int16))

    again = load_clips(task, clips, cached, _quiet)

    assert set(again.waveforms[0, :15_999]) == {3}


def test_a_moved_data_set_keeps_its_cache(task: KeywordTask, cached: Loading, small_corpus: Path) -> None:
    load_clips(task, task.clips("train"), cached, _quiet)
    moved = open_keywords(small_corpus.rename(small_corpus.parent / "moved"), KeywordSettings())

    load_clips(moved, moved.clips("train"), cached, _quiet)

    _only_folder(cached)


CACHE_DAMAGES = {
    "truncated": lambda folder: _cut(folder / "waveforms.npy", 20_000),
    "empty": lambda folder: (folder / "waveforms.npy").write_bytes(b""),
    "one bit": lambda folder: _flip(folder / "waveforms.npy"),
    "checksums gone": lambda folder: (folder / "crc32.npy").unlink(),
    "index cut": lambda folder: _cut(folder / "index.json", 10),
    "another format": lambda folder: (folder / "index.json").write_text('{"format": "x", "failures": []}'),
}


def _cut(path: Path, kept_bytes: int) -> None:
    path.write_bytes(path.read_bytes()[:kept_bytes])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[5_000] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", CACHE_DAMAGES)
def test_a_damaged_cache_is_named_and_made_anew(
    task: KeywordTask, cached: Loading, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    clips = task.clips("test")
    expected = load_clips(task, clips, Loading(), _quiet).waveforms
    load_clips(task, clips, cached, _quiet)
    CACHE_DAMAGES[damage](_only_folder(cached))

    with caplog.at_level(logging.WARNING):
        again = load_clips(task, clips, cached, _quiet)
    mended = load_clips(task, clips, cached, _quiet)

    (message,) = [record.getMessage() for record in caplog.records]
    assert str(_only_folder(cached)) in message
    assert "is damaged (" in message
    assert message.endswith("; it is made anew")
    np.testing.assert_array_equal(again.waveforms, expected)
    np.testing.assert_array_equal(mended.waveforms, expected)


def test_an_interrupted_cache_leaves_nothing_half_written(
    task: KeywordTask, cached: Loading, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> list[loading.Failure]:
        raise KeyboardInterrupt

    monkeypatch.setattr(loading, "fill", interrupt)

    with pytest.raises(KeyboardInterrupt):
        load_clips(task, task.clips("test"), cached, _quiet)

    assert cached.cache is not None
    assert list(cached.cache.iterdir()) == []


@pytest.mark.parametrize("name", sorted(DAMAGES))
def test_a_bad_recording_stops_the_load_and_leaves_no_cache(task: KeywordTask, cached: Loading, name: str) -> None:
    damage, _, message = DAMAGES[name]
    clips = task.clips("train")
    damage(task.folder / clips[3].path)

    with pytest.raises(AudioError) as error:
        load_clips(task, clips, cached, _quiet)

    assert message in str(error.value)
    assert cached.cache is not None
    assert list(cached.cache.iterdir()) == []


def test_a_skipped_recording_is_remembered_by_the_cache(task: KeywordTask, cached: Loading) -> None:
    clips = task.clips("train")
    (task.folder / clips[3].path).write_bytes(b"<html>")
    skipping = replace(cached, on_bad="skip")

    first, second = (load_clips(task, clips, skipping, _quiet) for _ in range(2))

    assert first.skipped == second.skipped == ((clips[3].id, first.skipped[0][1]),)
    assert second.clips == clips[:3] + clips[4:]
    np.testing.assert_array_equal(first.waveforms, second.waveforms)
    with pytest.raises(AudioError, match="not a wav file"):
        load_clips(task, clips, cached, _quiet)


def test_processes_decode_what_one_decodes(task: KeywordTask, cached: Loading, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_FEWEST_FOR_PROCESSES", 1)
    clips = task.clips("train")
    slow = replace(task, decodes_slowly=True)
    done: list[int] = []

    loaded = load_clips(slow, clips, replace(cached, jobs=2), done.append)

    np.testing.assert_array_equal(loaded.waveforms, load_clips(task, clips, Loading(), _quiet).waveforms)
    assert sum(done) == len(clips)


def test_a_disk_without_room_is_named_before_anything_is_written(
    task: KeywordTask, cached: Loading, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda _path: free)

    with pytest.raises(OSError, match=r"needs 0.0 GB and 0.0 GB are free; name another folder in data.cache, or 'off'"):
        load_clips(task, task.clips("test"), cached, _quiet)
