import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.tkd.conftest import DAMAGES
from tkd.audio.wav import read_wav, write_wav
from tkd.data.layout import SPLITS, hash_split, speaker_of
from tkd.data.speech_commands import (
    TWELVE_LABELS,
    load_background,
    load_waveforms,
    noise_region,
    open_speech_commands,
)
from tkd.errors import AudioError, DataError, SettingsError


def test_the_hash_split_is_the_one_that_made_the_official_lists() -> None:
    # The first lines of validation_list.txt and testing_list.txt of Speech Commands v2.
    validation = ["026290a7", "060cd039", "099d52ad"]
    test = ["0c40e715", "0ea0e2f4"]

    seen = [hash_split(f"bed/{speaker}_nohash_{number}.wav") for number, speaker in enumerate(validation + test)]

    assert seen == ["validation"] * 3 + ["test"] * 2


def test_the_hash_splits_about_eighty_ten_ten() -> None:
    counts = Counter(hash_split(f"yes/{number:08x}_nohash_0.wav") for number in range(5000))

    assert 0.78 < counts["train"] / 5000 < 0.82
    assert 0.09 < counts["validation"] / 5000 < 0.11


def test_a_task_has_every_keyword_and_a_tenth_of_unknown_and_silence(spoken_corpus: Path) -> None:
    data = open_speech_commands(spoken_corpus)

    clips = data.clips("train", seed=1)

    counts = Counter(TWELVE_LABELS[clip.label] for clip in clips)
    assert {counts[word] for word in TWELVE_LABELS[2:]} == {42}
    assert (counts["_unknown_"], counts["_silence_"]) == (42, 42)
    assert len({clip.id for clip in clips}) == len(clips)
    assert {clip.split for clip in clips} == {"train"}
    assert (data.split_rule, data.is_synthetic) == ("lists", True)


def test_the_same_seed_draws_the_same_clips_and_another_one_does_not(spoken_corpus: Path) -> None:
    data = open_speech_commands(spoken_corpus)

    assert data.clips("train", seed=3) == data.clips("train", seed=3)
    assert data.clips("train", seed=3) != data.clips("train", seed=4)


def test_no_speaker_is_in_two_splits_of_the_synthetic_corpus(spoken_corpus: Path) -> None:
    data = open_speech_commands(spoken_corpus)

    speakers = [{clip.speaker for clip in data.clips(split) if clip.speaker} for split in SPLITS]

    assert speakers[0] & speakers[1] == speakers[0] & speakers[2] == speakers[1] & speakers[2] == set()


def test_without_lists_the_hash_of_the_speaker_splits(small_corpus: Path) -> None:
    (small_corpus / "validation_list.txt").unlink()
    (small_corpus / "testing_list.txt").unlink()
    data = open_speech_commands(small_corpus)

    clips = data.clips("train", labels=("yes", "no"))

    assert data.split_rule == "hash"
    assert {clip.id for clip in clips} == {
        f"{word}/0000000{speaker}_nohash_0.wav"
        for word in ("yes", "no") for speaker in range(6) if hash_split(f"0000000{speaker}_nohash_0.wav") == "train"
    }  # fmt: skip


def test_silence_of_each_split_lies_in_its_own_region_of_the_noise(small_corpus: Path) -> None:
    data = open_speech_commands(small_corpus)

    for split in SPLITS:
        first, end = noise_region(20 * 16_000, split)
        silent = [clip for clip in data.clips(split, silence_share=3.0) if clip.word == "_silence_"]
        assert len(silent) >= 30
        assert all(first <= clip.offset and clip.offset + 16_000 <= end for clip in silent)


def test_silence_as_noise_is_cut_where_its_clip_says(small_corpus: Path) -> None:
    silent = [clip for clip in open_speech_commands(small_corpus).clips("train") if clip.word == "_silence_"]

    loaded = load_waveforms(small_corpus, silent)

    whole = read_wav(small_corpus / silent[0].path)
    np.testing.assert_array_equal(loaded.waveforms[0], whole[silent[0].offset : silent[0].offset + 16_000])


def test_silence_as_zeros_is_zeros(small_corpus: Path) -> None:
    clips = open_speech_commands(small_corpus).clips("test", silence="zeros")

    loaded = load_waveforms(small_corpus, clips)

    assert not loaded.waveforms[loaded.labels == 0].any()
    assert loaded.waveforms[loaded.labels != 0].any(axis=1).all()


def test_thirty_five_classes_have_neither_silence_nor_unknown(spoken_corpus: Path) -> None:
    data = open_speech_commands(spoken_corpus)

    clips = data.clips("train", labels=tuple(data.layout.words))

    assert len(clips) == 480
    assert {clip.word for clip in clips} == set(data.layout.words)


def test_short_clips_are_filled_with_zeros_at_the_end_and_long_ones_are_cut_there(small_corpus: Path) -> None:
    data = open_speech_commands(small_corpus)
    clips = data.clips("validation", labels=("yes", "no"))
    write_wav(small_corpus / clips[0].path, np.full(9_000, 5, dtype=np.int16))
    write_wav(small_corpus / clips[1].path, np.arange(17_000, dtype=np.int16))

    waveforms = load_waveforms(small_corpus, clips).waveforms

    assert (waveforms[0, :9_000] == 5).all()
    assert (waveforms[0, 9_000:] == 0).all()
    np.testing.assert_array_equal(waveforms[1], np.arange(16_000))


def test_loading_reports_every_clip_as_done(small_corpus: Path) -> None:
    clips = open_speech_commands(small_corpus).clips("train")
    done: list[int] = []

    load_waveforms(small_corpus, clips * 6, advance=done.append)

    assert sum(done) == len(clips) * 6


@pytest.mark.parametrize("name", sorted(DAMAGES))
def test_a_bad_file_stops_the_load_unless_skipping_was_asked_for(small_corpus: Path, name: str) -> None:
    damage, _, message = DAMAGES[name]
    clips = open_speech_commands(small_corpus).clips("train")
    damage(small_corpus / clips[3].path)

    with pytest.raises(AudioError) as error:
        load_waveforms(small_corpus, clips)
    loaded = load_waveforms(small_corpus, clips, on_bad="skip")

    assert message in str(error.value)
    assert [(clip, message in reason) for clip, reason in loaded.skipped] == [(clips[3].id, True)]
    assert loaded.clips == clips[:3] + clips[4:]
    assert loaded.waveforms.shape == (len(clips) - 1, 16_000)
    assert loaded.labels.tolist() == [clip.label for clip in loaded.clips]


def test_skipping_everything_is_an_error(small_corpus: Path) -> None:
    clips = open_speech_commands(small_corpus).clips("test", labels=("yes",))
    (small_corpus / clips[0].path).write_bytes(b"")

    with pytest.raises(DataError, match=r"none of the 1 clips of .* can be read; the first: .*not a wav file"):
        load_waveforms(small_corpus, clips, on_bad="skip")


def test_the_background_of_the_splits_together_is_the_whole_recording(small_corpus: Path) -> None:
    parts = [load_background(small_corpus, split) for split in SPLITS]

    whole = np.concatenate([part[0] for part in parts])

    np.testing.assert_array_equal(whole, read_wav(small_corpus / "_background_noise_" / "rain.wav"))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"nowhere does not exist; give the folder of a data set, or make one with tkd-data"
    ):
        open_speech_commands(tmp_path / "nowhere")


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")

    with pytest.raises(DataError, match=r"file cannot be listed \(Not a directory\); expected a readable folder"):
        open_speech_commands(tmp_path / "file")


def test_a_folder_without_words_is_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "papers").mkdir()

    with pytest.raises(DataError, match=r"has no word folders with .wav files; expected the layout of Speech Commands"):
        open_speech_commands(tmp_path)


def test_half_of_the_lists_is_an_error(small_corpus: Path) -> None:
    (small_corpus / "testing_list.txt").unlink()

    with pytest.raises(DataError, match=r"has no testing_list.txt but has the other list"):
        open_speech_commands(small_corpus)


def test_a_listed_file_that_is_missing_is_counted_and_named(small_corpus: Path) -> None:
    (small_corpus / "yes" / "00000004_nohash_0.wav").unlink()

    with pytest.raises(DataError, match=r"name 1 clips that are not there, the first is yes/00000004_nohash_0.wav"):
        open_speech_commands(small_corpus)


def test_a_clip_in_both_lists_is_an_error(small_corpus: Path) -> None:
    with (small_corpus / "testing_list.txt").open("a") as stream:
        stream.write("yes/00000004_nohash_0.wav\n")

    with pytest.raises(DataError, match=r"1 clips of .* are in both lists, the first is yes/00000004_nohash_0.wav"):
        open_speech_commands(small_corpus)


def test_a_list_that_is_no_text_is_named(small_corpus: Path) -> None:
    (small_corpus / "testing_list.txt").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(DataError, match=r"testing_list.txt cannot be read as a list of clips"):
        open_speech_commands(small_corpus)


def test_an_empty_class_is_named_with_its_split(small_corpus: Path) -> None:
    shutil.rmtree(small_corpus / "go")
    for name in ("validation_list.txt", "testing_list.txt"):
        listed = (small_corpus / name).read_text().splitlines()
        (small_corpus / name).write_text("\n".join(line for line in listed if not line.startswith("go/")))

    with pytest.raises(DataError, match=r"class 'go' has no clips in split 'test' of .*; expected at least one"):
        open_speech_commands(small_corpus).clips("test")


def test_no_other_words_is_an_empty_unknown_class(small_corpus: Path) -> None:
    labels = ("_unknown_", *open_speech_commands(small_corpus).layout.words)

    with pytest.raises(DataError, match=r"class '_unknown_' has no clips in split 'train'"):
        open_speech_commands(small_corpus).clips("train", labels=labels)


def test_noise_that_is_too_short_for_a_split_is_an_error_that_offers_zeros(small_corpus: Path) -> None:
    for path in (small_corpus / "_background_noise_").iterdir():
        write_wav(path, np.ones(5 * 16_000, dtype=np.int16))
    data = open_speech_commands(small_corpus)

    with pytest.raises(DataError, match=r"no recording of 10 s or more .* split 'test' .* ask for silence as zeros"):
        data.clips("test")
    assert len(data.clips("test", silence="zeros")) == 12


@pytest.mark.parametrize(("arguments", "message"), [
    ({"split": "dev"}, "split is 'dev'; expected one of train, validation, test"),
    ({"split": "test", "silence": "quiet"}, "silence is 'quiet'; expected one of noise, zeros"),
    ({"split": "test", "unknown_share": 0}, "unknown_share is 0; expected a number above 0"),
])  # fmt: skip
def test_a_wrong_argument_is_answered_with_the_choices(small_corpus: Path, arguments: dict, message: str) -> None:
    with pytest.raises(SettingsError) as error:
        open_speech_commands(small_corpus).clips(**arguments)

    assert message in str(error.value)


@pytest.mark.parametrize(("name", "speaker"), [
    ("bed/0c40e715_nohash_1.wav", "0c40e715"), ("0c40e715_nohash_1.wav", "0c40e715"), ("yes/anna.wav", "anna"),
])  # fmt: skip
def test_the_speaker_comes_before_nohash(name: str, speaker: str) -> None:
    assert speaker_of(name) == speaker
