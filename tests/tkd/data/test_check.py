import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.tkd.conftest import DAMAGES
from tkd.audio.wav import write_wav
from tkd.data.check import check_data
from tkd.errors import DataError


def _kinds(folder: Path) -> list[tuple[str, str]]:
    return [(fault.kind, fault.path) for fault in check_data(folder).faults]


def test_a_synthetic_corpus_has_no_faults(spoken_corpus: Path) -> None:
    report = check_data(spoken_corpus)

    assert report.faults == ()
    assert (report.is_synthetic, report.split_rule, report.words) == (True, "lists", 35)
    assert sum(row.clips for row in report.holdings) == 600
    assert sum(row.seconds for row in report.holdings) == 600
    assert len(report.noise_seconds) == 10


def test_the_table_counts_clips_and_speakers_of_each_class_and_split(small_corpus: Path) -> None:
    rows = {(row.split, row.label): row for row in check_data(small_corpus).holdings}

    assert len(rows) == 3 * 11
    assert (rows["train", "yes"].clips, rows["train", "yes"].speakers, rows["train", "yes"].seconds) == (4, 4, 4.0)
    assert (rows["train", "_unknown_"].clips, rows["train", "_unknown_"].speakers) == (8, 4)
    assert rows["test", "go"].clips == 1


@pytest.mark.parametrize("name", sorted(set(DAMAGES) - {"gone"}))
def test_each_bad_recording_is_named(small_corpus: Path, name: str) -> None:
    damage, kind, message = DAMAGES[name]
    damage(small_corpus / "yes" / "00000001_nohash_0.wav")

    report = check_data(small_corpus)

    assert [(fault.kind, fault.path) for fault in report.faults] == [(kind, "yes/00000001_nohash_0.wav")]
    assert message in report.faults[0].detail
    assert str(small_corpus) not in report.faults[0].detail


def test_a_bad_noise_recording_is_named(small_corpus: Path) -> None:
    (small_corpus / "_background_noise_" / "rain.wav").write_bytes(b"rain")

    assert _kinds(small_corpus) == [("not a wav", "_background_noise_/rain.wav")]


def test_wrong_lengths_are_faults_and_short_clips_are_not(small_corpus: Path) -> None:
    rng = np.random.default_rng(1)
    for speaker, samples in ((0, 16_001), (1, 1_500), (2, 12_000)):
        sound = rng.integers(-99, 99, samples).astype(np.int16)
        write_wav(small_corpus / "yes" / f"0000000{speaker}_nohash_0.wav", sound)

    report = check_data(small_corpus)

    assert [(fault.kind, fault.path[:12]) for fault in report.faults] == [
        ("wrong length", "yes/00000000"), ("wrong length", "yes/00000001"),
    ]  # fmt: skip
    assert report.short_clips == 2


def test_a_clip_of_zeros_is_a_fault(small_corpus: Path) -> None:
    write_wav(small_corpus / "no" / "00000002_nohash_0.wav", np.zeros(16_000, dtype=np.int16))

    assert _kinds(small_corpus) == [("all zeros", "no/00000002_nohash_0.wav")]


def test_the_same_sound_twice_is_a_fault_that_names_both_splits(small_corpus: Path) -> None:
    shutil.copy(small_corpus / "up" / "00000000_nohash_0.wav", small_corpus / "up" / "00000005_nohash_0.wav")

    report = check_data(small_corpus)

    assert [(fault.kind, fault.path) for fault in report.faults] == [("duplicate content", "up/00000005_nohash_0.wav")]
    assert report.faults[0].detail == "the same sound as up/00000000_nohash_0.wav (train); this one is in test"


def test_a_speaker_in_two_splits_is_a_fault(small_corpus: Path) -> None:
    sound = np.random.default_rng(2).integers(-99, 99, 16_000).astype(np.int16)
    write_wav(small_corpus / "yes" / "00000004_nohash_7.wav", sound)

    assert _kinds(small_corpus) == [("speaker in two splits", "00000004")]


def test_lists_that_name_missing_or_shared_clips_are_faults(small_corpus: Path) -> None:
    (small_corpus / "yes" / "00000004_nohash_0.wav").unlink()
    with (small_corpus / "testing_list.txt").open("a") as stream:
        stream.write("no/00000004_nohash_0.wav\n")

    kinds = _kinds(small_corpus)

    assert ("listed but missing", "yes/00000004_nohash_0.wav") in kinds
    assert ("in both lists", "no/00000004_nohash_0.wav") in kinds
    assert ("class missing in a split", "yes") in kinds


def test_a_single_list_is_a_fault_and_the_rest_is_checked(small_corpus: Path) -> None:
    (small_corpus / "validation_list.txt").unlink()

    kinds = _kinds(small_corpus)

    assert ("missing file", "validation_list.txt") in kinds
    assert ("class missing in a split", "yes") in kinds


def test_a_file_that_nobody_reads_is_a_fault_and_texts_are_not(small_corpus: Path) -> None:
    for name in ("yes/0.mp3", "yes/LICENSE.txt", "yes/.hidden", "_background_noise_/README.md", "no/1.WAV"):
        (small_corpus / name).write_bytes(b"x")

    assert _kinds(small_corpus) == [("extra file", "no/1.WAV"), ("extra file", "yes/0.mp3")]


def test_an_empty_class_is_one_fault(small_corpus: Path) -> None:
    for path in (small_corpus / "go").iterdir():
        path.unlink()
    for name in ("validation_list.txt", "testing_list.txt"):
        listed = (small_corpus / name).read_text().splitlines()
        (small_corpus / name).write_text("\n".join(line for line in listed if not line.startswith("go/")))

    assert _kinds(small_corpus) == [("empty class", "go")]


def test_a_keyword_that_has_no_folder_is_missing_in_every_split(small_corpus: Path) -> None:
    for name in ("validation_list.txt", "testing_list.txt"):
        listed = (small_corpus / name).read_text().splitlines()
        (small_corpus / name).write_text("\n".join(line for line in listed if not line.startswith("go/")))
    shutil.rmtree(small_corpus / "go")

    assert _kinds(small_corpus) == [("class missing in a split", "go")] * 3


def test_a_corpus_without_the_ten_keywords_has_its_own_classes(small_corpus: Path) -> None:
    for folder in list(small_corpus.iterdir()):
        if folder.is_dir() and folder.name not in ("bed", "cat", "_background_noise_"):
            shutil.rmtree(folder)
    (small_corpus / "validation_list.txt").write_text("bed/00000004_nohash_0.wav\ncat/00000004_nohash_0.wav\n")
    (small_corpus / "testing_list.txt").write_text("bed/00000005_nohash_0.wav\ncat/00000005_nohash_0.wav\n")

    report = check_data(small_corpus)

    assert (report.faults, {row.label for row in report.holdings}) == ((), {"bed", "cat"})


def test_a_folder_that_is_no_data_set_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no word folders"):
        check_data(tmp_path)
