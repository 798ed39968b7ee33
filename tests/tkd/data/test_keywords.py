import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.tkd.conftest import WORDS
from tkd.audio.wav import read_wav, write_wav
from tkd.data.keywords import KeywordSettings, open_keywords, read_archive
from tkd.data.loading import Loading, load_clips
from tkd.data.speech_commands import TWELVE_LABELS
from tkd.errors import DataError, SettingsError


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """The layout of speech_commands_test_set_v0.02: twelve folders, two clips each, silence that is numbered."""
    folder = tmp_path / "archive"
    rng = np.random.default_rng(1)
    for word in TWELVE_LABELS:
        (folder / word).mkdir(parents=True)
        for number in range(2):
            name = f"{number}.wav" if word == "_silence_" else f"9999999{number}_nohash_0.wav"
            write_wav(folder / word / name, rng.integers(-900, 900, 16_000).astype(np.int16))
    return folder


def test_all_words_are_a_task_without_silence_and_unknown(small_corpus: Path) -> None:
    task = open_keywords(small_corpus, KeywordSettings(task="all"))

    assert task.labels == tuple(sorted(WORDS))
    assert Counter(clip.word for clip in task.clips("train")) == dict.fromkeys(WORDS, 4)
    assert (task.describe()["task"], task.describe()["version"]) == ("12 classes", "12 words of its own")


def test_the_synthetic_corpus_has_the_words_of_version_2_and_says_so(spoken_corpus: Path) -> None:
    description = open_keywords(spoken_corpus, KeywordSettings(task="all")).describe()

    assert (description["version"], description["task"], description["synthetic"]) == ("v2", "35 classes", True)
    assert description["protocol"] == "35 classes; split by lists"


def test_version_1_has_thirty_words(spoken_corpus: Path, tmp_path: Path) -> None:
    shutil.copytree(spoken_corpus, tmp_path / "v1")
    for word in ("backward", "follow", "forward", "learn", "visual"):
        shutil.rmtree(tmp_path / "v1" / word)

    description = open_keywords(tmp_path / "v1", KeywordSettings(task="all", split_rule="hash")).describe()

    assert (description["version"], description["task"], description["split_rule"]) == ("v1", "30 classes", "hash")


@pytest.mark.parametrize(("silence", "words"), [("noise", "silence is real noise"), ("zeros", "silence is zeros")])
def test_the_protocol_of_silence_is_stated(small_corpus: Path, silence: str, words: str) -> None:
    description = open_keywords(small_corpus, KeywordSettings(silence=silence)).describe()

    assert description["protocol"] == (
        f"12 classes; split by lists; {words}; unknown and silence a tenth of the keywords, seed 59185"
    )


def test_the_test_archive_is_the_test_split(small_corpus: Path, archive: Path) -> None:
    task = open_keywords(small_corpus, KeywordSettings(test_archive=archive))

    loaded = load_clips(task, task.clips("test"), Loading(), lambda _done: None)

    assert Counter(loaded.labels.tolist()) == dict.fromkeys(range(12), 2)
    np.testing.assert_array_equal(loaded.waveforms[0], read_wav(archive / "_silence_" / "0.wav"))
    assert [clip.speaker for clip in loaded.clips[:3]] == ["", "", "99999990"]
    assert "test is the official archive of 24 clips, its silence real noise" in task.describe()["protocol"]
    assert len(task.clips("train")) == 48


def test_an_archive_without_a_class_is_named(archive: Path) -> None:
    shutil.rmtree(archive / "_unknown_")

    with pytest.raises(DataError, match=r"_unknown_ has no .wav files; expected the official test archive"):
        read_archive(archive)


def test_an_archive_whose_clips_are_trained_on_is_refused(small_corpus: Path, archive: Path) -> None:
    shutil.copy(small_corpus / "yes" / "00000000_nohash_0.wav", archive / "yes")

    with pytest.raises(DataError, match=r"1 clips of the test archive .* are in the training or validation split"):
        open_keywords(small_corpus, KeywordSettings(test_archive=archive))


def test_an_archive_does_not_go_with_all_words(small_corpus: Path, archive: Path) -> None:
    with pytest.raises(SettingsError, match="test_archive is the test set of twelve classes"):
        open_keywords(small_corpus, KeywordSettings(task="all", test_archive=archive))


def test_lists_that_are_wanted_and_not_there_are_an_error(small_corpus: Path) -> None:
    (small_corpus / "validation_list.txt").unlink()
    (small_corpus / "testing_list.txt").unlink()

    with pytest.raises(DataError, match=r"has no validation_list.txt and testing_list.txt; add the official lists"):
        open_keywords(small_corpus, KeywordSettings(split_rule="lists"))


def test_the_corpus_says_how_long_its_clips_are(small_corpus: Path) -> None:
    manifest = {"format": "tkd.noisy/1", "seconds": 2.0, "synthetic": False}
    (small_corpus / "noisy.json").write_text(json.dumps(manifest))
    (small_corpus / "_silence_").mkdir()
    for number, split in enumerate(("train", "validation_list.txt", "testing_list.txt")):
        write_wav(small_corpus / "_silence_" / f"{number}.wav", np.full(32_000, 7, dtype=np.int16))
        if split != "train":
            with (small_corpus / split).open("a") as stream:
                stream.write(f"_silence_/{number}.wav\n")
    task = open_keywords(small_corpus, KeywordSettings())

    loaded = load_clips(task, task.clips("test"), Loading(), lambda _done: None)

    assert (task.clip_samples, loaded.waveforms.shape) == (32_000, (12, 32_000))
    assert [clip.path for clip in task.clips("validation") if clip.label == 0] == ["_silence_/1.wav"]
    assert all(len(sound) >= 32_000 for sound in task.background("train"))
    assert "words in 2 s of noise" in task.describe()["protocol"]


@pytest.mark.parametrize("text", ["{", "{}", '{"seconds": 0, "synthetic": true}', '{"seconds": "x"}'])
def test_a_damaged_manifest_of_noise_is_named(small_corpus: Path, text: str) -> None:
    (small_corpus / "noisy.json").write_text(text)

    with pytest.raises(DataError, match=r"noisy\.json (cannot be read|gives no length)"):
        open_keywords(small_corpus, KeywordSettings())
