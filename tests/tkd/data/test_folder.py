from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tkd.audio.sound import Fit, read_sound
from tkd.audio.wav import write_wav
from tkd.data.folder import FolderSettings, draw_splits, open_folder
from tkd.data.layout import SPLITS
from tkd.data.loading import Loading, load_clips
from tkd.errors import AudioError, DataError, SettingsError

SETTINGS = FolderSettings(fit=Fit(samples=8_000))
BY_SPEAKER = FolderSettings(fit=Fit(samples=8_000), speaker_pattern=r"/(s\d+)_")


def _quiet(_done: int) -> None:
    pass


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three labels, twenty speakers with a clip each; every fourth is flac."""
    rng = np.random.default_rng(0)
    for label in ("dog", "glass", "horn"):
        (tmp_path / "sounds" / label / "deep").mkdir(parents=True)
        for speaker in range(20):
            sound = rng.integers(-9_000, 9_000, 4_000 + 400 * speaker).astype(np.int16)
            path = tmp_path / "sounds" / label / ("deep" if speaker % 2 else ".") / f"s{speaker}_0.wav"
            if speaker % 4:
                write_wav(path, sound)
            else:
                soundfile.write(path.with_suffix(".flac"), sound, 16_000)
    return tmp_path / "sounds"


def test_sub_folders_are_labels_and_the_split_is_stratified(folder: Path) -> None:
    data = open_folder(folder, SETTINGS)

    counts = {split: Counter(clip.word for clip in data.clips(split)) for split in SPLITS}

    assert data.labels == ("dog", "glass", "horn")
    assert counts["train"] == {"dog": 16, "glass": 16, "horn": 16}
    assert counts["validation"] == counts["test"] == {"dog": 2, "glass": 2, "horn": 2}
    assert load_clips(data, data.clips("train"), Loading(), _quiet).waveforms.shape == (48, 8_000)
    assert data.describe()["protocol"].startswith("3 classes; split by clips, seed 59185; 0.5 s")


def test_the_same_seed_splits_alike_and_another_one_does_not(folder: Path) -> None:
    ours, again, other = (open_folder(folder, FolderSettings(fit=SETTINGS.fit, seed=seed)) for seed in (1, 1, 2))

    assert ours.found == again.found != other.found


def test_no_speaker_is_in_two_splits(folder: Path) -> None:
    data = open_folder(folder, BY_SPEAKER)

    speakers = [{clip.speaker for clip in data.clips(split)} for split in SPLITS]

    assert [len(names) for names in speakers] == [16, 2, 2]
    assert speakers[0] & speakers[1] == speakers[0] & speakers[2] == speakers[1] & speakers[2] == set()
    assert data.split_rule == "speakers"


def test_speakers_of_unequal_size_still_give_every_class_to_every_split() -> None:
    rng = np.random.default_rng(0)
    label_of, speaker_of = {}, {}
    for number in range(900):
        speaker = int(rng.geometric(0.06))
        label_of[str(number)], speaker_of[str(number)] = "ab"[speaker % 2], str(speaker)

    splits = draw_splits(label_of, speaker_of, seed=0)

    shares = Counter((split, label_of[path]) for path, split in splits.items())
    assert all(shares[split, label] > 0 for split in SPLITS for label in "ab")
    assert 0.7 < sum(split == "train" for split in splits.values()) / 900 < 0.88


def _list(folder: Path, header: str = "path,label,split") -> Path:
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*") if path.is_file())
    rows = [f"{path},{path.partition('/')[0]},{SPLITS[number % 3]}" for number, path in enumerate(paths)]
    (folder / "labels.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder / "labels.csv"


LISTED = FolderSettings(fit=SETTINGS.fit, label_file="labels.csv")


def test_a_list_gives_labels_and_splits(folder: Path) -> None:
    _list(folder)

    data = open_folder(folder, LISTED)

    assert {split: len(data.clips(split)) for split in SPLITS} == dict.fromkeys(SPLITS, 20)
    assert data.split_rule == "list"


BAD_LISTS = {
    "not there": (lambda text: text.replace("dog/s4_0.flac", "dog/s99_0.wav"), "1 are listed and not there, the first "
                  "is dog/s99_0.wav; mend the list"),
    "not listed": (lambda text: "\n".join(text.splitlines()[:-1]), "1 are there and not listed, the first is horn/"),
    "twice": (lambda text: text + text.splitlines()[1], "1 are listed twice, the first is dog/deep/s11_0.wav"),
    "no label": (lambda text: text.replace("s4_0.flac,dog", "s4_0.flac,"), "gives dog/s4_0.flac no label or no split"),
    "odd split": (lambda text: text.replace(",test", ",eval"), "expected a label in every line, and train, validation"),
    "half of the splits": (lambda text: text.replace(",test", ","), "gives some clips no label or no split"),
    "another header": (lambda text: text.replace("path", "file"), r"cannot be read as a list of labels \('path'\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_LISTS)
def test_a_list_that_disagrees_with_the_folder_is_named(folder: Path, name: str) -> None:
    change, message = BAD_LISTS[name]
    path = _list(folder)
    path.write_text(change(path.read_text()))

    with pytest.raises(DataError, match=message):
        open_folder(folder, LISTED)


def test_a_class_without_clips_in_a_split_is_named(folder: Path) -> None:
    for path in sorted((folder / "horn").rglob("s*"))[2:]:
        path.unlink()

    with pytest.raises(DataError, match=r"class 'horn' has no clips in split '(validation|train|test)'"):
        [open_folder(folder, SETTINGS).clips(split) for split in SPLITS]


@pytest.mark.parametrize(("pattern", "message"), [
    ("(", "is no regular expression"), (r"s\d+", "has no group; expected parentheses"),
    (r"(t\d+)", "finds no speaker in dog/"),
])  # fmt: skip
def test_a_pattern_that_finds_no_speaker_is_refused(folder: Path, pattern: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        open_folder(folder, FolderSettings(fit=SETTINGS.fit, speaker_pattern=pattern))


def test_a_folder_without_labels_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has 0 recordings of 0 labels; expected at least two labels"):
        open_folder(tmp_path, SETTINGS)
    with pytest.raises(DataError, match="nowhere is not a folder"):
        open_folder(tmp_path / "nowhere", SETTINGS)


@pytest.mark.parametrize(("ending", "channels", "rate_hz", "fault"), [
    ("wav", 2, 16_000, "stereo"), ("wav", 1, 8_000, "wrong rate"), ("flac", 2, 16_000, "stereo"),
    ("flac", 1, 48_000, "wrong rate"),
])  # fmt: skip
def test_other_rates_and_channels_are_refused_unless_told_to_convert(
    tmp_path: Path, ending: str, channels: int, rate_hz: int, fault: str
) -> None:
    path = tmp_path / f"a.{ending}"
    tone = np.sin(2 * np.pi * 500 * np.arange(rate_hz) / rate_hz)
    soundfile.write(path, np.stack([tone / 2] * channels, axis=1), rate_hz)

    with pytest.raises(AudioError) as error:
        read_sound(path, convert=False)
    converted = read_sound(path, convert=True)

    assert error.value.fault == fault
    assert len(converted) == 16_000
    assert int(np.abs(np.fft.rfft(converted)).argmax()) == 500


@pytest.mark.parametrize(("content", "fault"), [
    (b"", "not a wav"), (b"<html>", "not a wav"), (b"fLaC\x00\x00", "not a sound file"),
])  # fmt: skip
def test_what_is_no_sound_is_named(tmp_path: Path, content: bytes, fault: str) -> None:
    (tmp_path / "a.flac").write_bytes(content)

    with pytest.raises(AudioError) as error:
        read_sound(tmp_path / "a.flac", convert=True)

    assert error.value.fault == fault


def test_a_cut_flac_and_nan_samples_are_named(tmp_path: Path) -> None:
    sound = np.random.default_rng(0).integers(-9_000, 9_000, 16_000).astype(np.int16)
    soundfile.write(tmp_path / "cut.flac", sound, 16_000)
    (tmp_path / "cut.flac").write_bytes((tmp_path / "cut.flac").read_bytes()[:9_000])
    soundfile.write(tmp_path / "nan.wav", np.full(900, np.nan, dtype=np.float32), 48_000, subtype="FLOAT")

    faults = []
    for name in ("cut.flac", "nan.wav"):
        with pytest.raises(AudioError) as error:
            read_sound(tmp_path / name, convert=True)
        faults.append(error.value.fault)

    assert faults[0] in ("truncated", "not a sound file")
    assert faults[1] == "NaN samples"
