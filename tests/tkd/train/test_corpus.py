from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from tests.tkd.conftest import silent
from tkd.data.events import EventSettings, make_events
from tkd.data.layout import SPLITS
from tkd.data.noisy import NoisySettings, make_noisy, plan_noisy
from tkd.errors import AudioError, DataError, SettingsError
from tkd.train.config import DataConfig
from tkd.train.corpus import load_corpus


def _quiet(_done: int) -> None:
    pass


def test_speech_commands_are_the_default(small_corpus: Path) -> None:
    corpus = load_corpus(DataConfig(folder=str(small_corpus)), silent)

    assert (corpus.labels[:3], corpus.is_multi_label) == (("_silence_", "_unknown_", "yes"), False)
    assert {split: len(corpus.stores[split]) for split in SPLITS} == {"train": 48, "validation": 12, "test": 12}
    assert corpus.description["clips"] == {"train": 48, "validation": 12, "test": 12}
    assert corpus.description["protocol"].startswith("12 classes; split by lists; silence is real noise")


def test_all_words_are_one_setting_away(small_corpus: Path) -> None:
    corpus = load_corpus(DataConfig(folder=str(small_corpus), task="all"), silent)

    assert (len(corpus.labels), corpus.labels[0]) == (12, "bed")


def test_a_corpus_in_noise_brings_its_length_with_it(small_corpus: Path, tmp_path: Path) -> None:
    settings = NoisySettings(seconds=4, noise=("own",))
    make_noisy(tmp_path / "noisy", plan_noisy(small_corpus, settings), jobs=1, advance=_quiet)

    corpus = load_corpus(DataConfig(folder=str(tmp_path / "noisy")), silent)

    assert corpus.stores["train"].waveforms.shape == (48, 64_000)
    assert corpus.stores["train"].noise is not None
    assert corpus.description["clip_seconds"] == 4.0


def test_a_folder_of_labels_is_one_setting_away(tmp_path: Path) -> None:
    for label in ("dog", "horn"):
        (tmp_path / "sounds" / label).mkdir(parents=True)
        for number in range(20):
            sound = np.random.default_rng(number).uniform(-0.5, 0.5, (4_410, 2))
            soundfile.write(tmp_path / "sounds" / label / f"{number}.flac", sound, 44_100)
    config = DataConfig(folder=str(tmp_path / "sounds"), kind="folder", convert=True, clip_seconds=0.2, pad="loop")

    corpus = load_corpus(config, silent)

    assert (corpus.labels, corpus.description["layout"]) == (("dog", "horn"), "folder")
    assert corpus.stores["train"].waveforms.shape == (32, 3_200)
    with pytest.raises(AudioError, match=r"2 channels; expected mono; mix it down, or allow conversion"):
        load_corpus(DataConfig(folder=config.folder, kind="folder"), silent)


def test_fsd50k_has_several_labels_a_clip(tmp_path: Path) -> None:
    make_events(tmp_path / "events", EventSettings(clips=160), _quiet)

    corpus = load_corpus(DataConfig(folder=str(tmp_path / "events"), kind="fsd50k", clip_seconds=2.0), silent)

    labels = corpus.stores["train"].labels
    assert (corpus.is_multi_label, labels.dtype, tuple(labels.shape)) == (True, torch.float32, (112, 8))
    assert corpus.stores["test"].waveforms.shape == (24, 32_000)
    assert corpus.description["synthetic"] is True


def test_without_a_cache_nothing_is_written(small_corpus: Path, tmp_path: Path) -> None:
    load_corpus(DataConfig(folder=str(small_corpus), cache="off"), silent)
    assert not (tmp_path / "cache").exists()

    load_corpus(DataConfig(folder=str(small_corpus), cache=str(tmp_path / "mine")), silent)
    assert len(list((tmp_path / "mine").iterdir())) == 3


def test_files_that_were_skipped_are_in_the_description(small_corpus: Path) -> None:
    (small_corpus / "yes" / "00000000_nohash_0.wav").write_bytes(b"<html>")

    corpus = load_corpus(DataConfig(folder=str(small_corpus), on_bad_file="skip"), silent)

    (skipped,) = corpus.description["skipped"]
    assert skipped.startswith("yes/00000000_nohash_0.wav: ")
    assert len(corpus.stores["train"]) == 47


def test_impossible_settings_are_refused(small_corpus: Path) -> None:
    with pytest.raises(SettingsError, match=r"clip_seconds is 0; expected 0.1 to 60"):
        DataConfig(folder="x", clip_seconds=0)
    with pytest.raises(DataError, match="expected FSD50K as Zenodo delivers it"):
        load_corpus(DataConfig(folder=str(small_corpus), kind="fsd50k"), silent)
