import gc
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tkd.audio.wav import write_wav
from tkd.data import loading
from tkd.data.keywords import KeywordSettings, KeywordTask, open_keywords
from tkd.data.loading import Loading, load_clips

SPLITS = ("train", "validation", "test")


@pytest.fixture
def task(small_corpus: Path) -> KeywordTask:
    return open_keywords(small_corpus, KeywordSettings())


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "clips"


def load(task: KeywordTask, split: str, how: Loading) -> np.ndarray:
    return load_clips(task, task.clips(split), how, lambda _done: None).waveforms


def folder_of(cache: Path, task: KeywordTask, split: str) -> Path:
    return cache / loading._key(task, task.clips(split))


def kept(cache: Path, task: KeywordTask) -> list[str]:
    """The splits whose caches are there."""
    return [split for split in SPLITS if folder_of(cache, task, split).is_dir()]


def opened(folder: Path, seconds_ago: float) -> None:
    """Sets back when a cache was last opened."""
    then = time.time() - seconds_ago
    os.utime(folder / "index.json", (then, then))


def size_of(cache: Path) -> int:
    return sum(file.stat().st_size for path in cache.iterdir() for file in path.iterdir())


@pytest.fixture
def two(task: KeywordTask, cache: Path) -> Loading:
    """Caches of training and validation, nobody's; validation was opened longer ago."""
    load(task, "train", Loading(cache=cache))
    load(task, "validation", Loading(cache=cache))
    gc.collect()
    opened(folder_of(cache, task, "train"), 1_000)
    opened(folder_of(cache, task, "validation"), 2_000)
    return Loading(cache=cache)


def test_the_one_unopened_for_longest_goes_first_and_only_as_far_as_needed(
    task: KeywordTask, cache: Path, two: Loading
) -> None:
    load(task, "test", replace(two, limit_bytes=size_of(cache) + 1_000))
    assert ["train", "test"] == kept(cache, task)


def test_an_opening_makes_a_cache_young_again(task: KeywordTask, cache: Path, two: Loading) -> None:
    load(task, "validation", two)
    gc.collect()
    load(task, "test", replace(two, limit_bytes=size_of(cache)))
    assert ["validation", "test"] == kept(cache, task)


def test_a_cache_in_use_stays_whatever_the_limit(task: KeywordTask, cache: Path, two: Loading) -> None:
    rows = load(task, "validation", two)
    opened(folder_of(cache, task, "validation"), 9_000)

    load(task, "test", replace(two, limit_bytes=0))

    assert ["validation", "test"] == kept(cache, task)
    assert rows.any()


def test_a_cache_that_another_process_uses_stays(task: KeywordTask, cache: Path, two: Loading) -> None:
    folder = folder_of(cache, task, "train")
    code = (
        "import sys; from pathlib import Path; import numpy as np; from tkd.data.eviction import hold\n"
        "rows = np.load(Path(sys.argv[1]) / 'waveforms.npy', mmap_mode='r')\n"
        "hold(Path(sys.argv[1]), rows); print('held', flush=True); sys.stdin.read()"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout is not None
        assert "held\n" == other.stdout.readline()
        opened(folder, 9_000)
        load(task, "test", replace(two, limit_bytes=0))
        assert folder.is_dir()
        other.communicate()


def test_the_new_cache_stays_were_it_alone_too_large(task: KeywordTask, cache: Path) -> None:
    expected = load(task, "test", Loading())
    seen = load(task, "test", Loading(cache=cache, limit_bytes=1))
    np.testing.assert_array_equal(seen, expected)
    assert 1 == len(list(cache.iterdir()))


def test_what_is_not_ours_is_never_removed(task: KeywordTask, cache: Path) -> None:
    (cache / "thesis").mkdir(parents=True)
    (cache / "thesis" / "index.json").write_text("{}")
    (cache / ("a" * 24)).mkdir()
    (cache / ("a" * 24) / "notes.txt").write_text("mine")
    (cache / "readme.txt").write_text("mine")

    load(task, "test", Loading(cache=cache, limit_bytes=0))

    assert (cache / "thesis" / "index.json").exists()
    assert (cache / ("a" * 24) / "notes.txt").exists()
    assert (cache / "readme.txt").exists()


@pytest.mark.parametrize(("age_s", "stays"), [(3_600, True), (100_000, False)])
def test_what_a_killed_process_left_goes_after_a_day(task: KeywordTask, cache: Path, age_s: int, stays: bool) -> None:
    left = cache / f".{'b' * 24}.xyz.part"
    left.mkdir(parents=True)
    write_wav(left / "waveforms.npy", np.ones(9, np.int16))
    then = time.time() - age_s
    os.utime(left / "waveforms.npy", (then, then))
    os.utime(left, (then, then))

    load(task, "test", Loading(cache=cache))

    assert stays == left.exists()
