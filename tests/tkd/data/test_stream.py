"""Minutes of sound with words at known times."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tkd.audio.wav import read_wav
from tkd.data.layout import NOISY_MANIFEST
from tkd.data.stream import MANIFEST, RECORDING, WORDS, StreamSettings, is_made_already, make_stream, read_stream
from tkd.errors import DataError, SettingsError

SETTINGS = StreamSettings(minutes=0.5, seed=3)


def quiet(_seconds: int) -> None:
    return None


def test_a_stream_is_as_long_as_asked_and_its_words_sound_when_it_says(small_corpus: Path, tmp_path: Path) -> None:
    manifest = make_stream(
        tmp_path / "made" / "stream", small_corpus, StreamSettings(minutes=2, snr_db=(30, 30)), quiet
    )
    seen, words = read_stream(tmp_path / "made" / "stream")
    samples = read_wav(tmp_path / "made" / "stream" / RECORDING)
    assert seen == manifest
    assert len(samples) == 120 * 16_000 == manifest["seconds"] * 16_000
    assert manifest["words"]["keywords"] == sum(word.is_keyword for word in words) > 0
    assert {word.word for word in words if not word.is_keyword} <= {"bed", "cat"}
    for word in words:
        inside = samples[int(word.start_s * 16_000) : int(word.end_s * 16_000)].astype(float)
        # Words of this corpus are loud noise over quiet noise.
        before = samples[max(0, int(word.start_s * 16_000) - 800) : int(word.start_s * 16_000)].astype(float)
        assert len(before) < 800 or np.sqrt(np.mean(inside**2)) > 5 * np.sqrt(np.mean(before**2)) / 1.5


def test_the_same_seed_gives_the_same_samples_and_another_does_not(small_corpus: Path, tmp_path: Path) -> None:
    streams = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        make_stream(tmp_path / "made" / name, small_corpus, StreamSettings(minutes=0.2, seed=seed), quiet)
        streams.append((tmp_path / "made" / name / RECORDING).read_bytes())
    assert streams[0] == streams[1] != streams[2]


def test_the_same_stream_is_not_made_again_and_another_wants_force(small_corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "made" / "stream"
    assert not is_made_already(folder, small_corpus, SETTINGS, force=False)
    make_stream(folder, small_corpus, SETTINGS, quiet)
    assert is_made_already(folder, small_corpus, SETTINGS, force=False)
    with pytest.raises(DataError, match=r"other settings \(minutes 0\.5"):
        is_made_already(folder, small_corpus, StreamSettings(minutes=1, seed=3), force=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / MANIFEST).unlink(), "holds no stream"),
        (lambda folder: (folder / WORDS).write_text("start_s,word\n1,yes\n"), "holds no stream"),
        (lambda folder: (folder / WORDS).write_text('start_s,word\n"1' + 200_000 * "x"), "holds no stream"),
        (lambda folder: (folder / MANIFEST).write_text('{"format": "tkd.noisy/1"}'), "format tkd.noisy/1, expected"),
    ],
)
def test_a_damaged_stream_is_refused(
    small_corpus: Path, tmp_path: Path, change: Callable[[Path], None], message: str
) -> None:
    folder = tmp_path / "made" / "stream"
    make_stream(folder, small_corpus, SETTINGS, quiet)
    change(folder)
    with pytest.raises(DataError, match=message):
        read_stream(folder)


def test_words_that_lie_somewhere_in_noise_are_no_source(small_corpus: Path, tmp_path: Path) -> None:
    (small_corpus / NOISY_MANIFEST).write_text("{}")
    with pytest.raises(DataError, match="was made by tkd-data noisy; expected clips of one second; give its source"):
        make_stream(tmp_path / "stream", small_corpus, SETTINGS, quiet)
    assert not (tmp_path / "stream").exists()


def test_a_source_without_other_words_or_noise_is_refused_and_nothing_is_written(
    small_corpus: Path, tmp_path: Path
) -> None:
    for name in ("rain.wav", "street.wav"):
        (small_corpus / "_background_noise_" / name).unlink()
    with pytest.raises(DataError, match="has no background noise in split 'test'"):
        make_stream(tmp_path / "made" / "stream", small_corpus, SETTINGS, quiet)
    assert not (tmp_path / "made" / "stream").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"minutes": 0}, "minutes is 0; expected more than 0"),
        ({"minutes": 1, "keyword_share": 0.8}, "1 together at most"),
        ({"minutes": 1, "scene_s": (0.5, 3.0)}, "scene_s is 0.5 to 3"),
        ({"minutes": 1, "split": "tset"}, "split is 'tset'"),
        ({"minutes": 1, "seed": -1}, "seed is -1"),
    ],
)
def test_settings_out_of_range_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        StreamSettings(**values)  # type: ignore[arg-type]


def test_the_manifest_says_whether_it_is_synthetic(small_corpus: Path, tmp_path: Path) -> None:
    make_stream(tmp_path / "made" / "stream", small_corpus, SETTINGS, quiet)
    assert json.loads((tmp_path / "made" / "stream" / MANIFEST).read_text())["synthetic"] is False
