import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tkd.audio.sound import Fit
from tkd.audio.wav import write_wav
from tkd.cli.data import main
from tkd.data.events import CLASSES, EventSettings, make_events
from tkd.data.fsd50k import may_be_packed, open_fsd50k, read_licences
from tkd.data.layout import SPLITS
from tkd.data.loading import Loading, load_clips
from tkd.errors import AudioError, DataError

FIT = Fit(samples=16_000)


def _quiet(_done: int) -> None:
    pass


@pytest.fixture(scope="session")
def made_events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "events"
    make_events(folder, EventSettings(clips=160), _quiet)
    return folder


@pytest.fixture
def events(made_events: Path, tmp_path: Path) -> Path:
    """A synthetic FSD50K of 160 clips, free to damage."""
    return Path(shutil.copytree(made_events, tmp_path / "events"))


def test_the_synthetic_data_set_reads_like_the_real_one(made_events: Path) -> None:
    data = open_fsd50k(made_events, FIT)

    counts = {split: len(data.clips(split)) for split in SPLITS}
    loaded = load_clips(data, data.clips("test"), Loading(), _quiet)

    assert counts == {"train": 112, "validation": 24, "test": 24}
    assert data.labels == tuple(CLASSES)
    assert (loaded.waveforms.shape, loaded.labels.shape, loaded.labels.dtype) == ((24, 16_000), (24, 8), np.float32)
    assert set(loaded.labels.sum(axis=1)) == {1.0} or set(loaded.labels.sum(axis=1)) == {1.0, 2.0}
    assert {len(clip.labels) for clip in data.clips("train")} == {1, 2}
    assert loaded.waveforms.any(axis=1).all()


def test_the_description_says_synthetic_and_how_clips_were_cut(made_events: Path) -> None:
    description = open_fsd50k(made_events, Fit(samples=32_000, crop="random", pad="loop", seed=7)).describe()

    assert (description["synthetic"], description["multi_label"], description["clip_seconds"]) == (True, True, 2.0)
    assert description["protocol"] == (
        "8 classes, several a clip; the ground truth's splits; 2 s, longer ones cut (random, seed 7), shorter ones loop"
    )


def test_resampling_keeps_a_tone_and_its_length(events: Path) -> None:
    tone = 9_000 * np.sin(2 * np.pi * 1_000 * np.arange(44_100) / 44_100)
    data = open_fsd50k(events, FIT)
    clip = data.clips("train")[0]
    write_wav(events / clip.path, tone.astype(np.int16), sample_rate_hz=44_100)

    spectrum = np.abs(np.fft.rfft(data.read(clip)))

    assert (len(data.read(clip)), int(spectrum.argmax())) == (16_000, 1_000)


@pytest.mark.parametrize(("crop", "pad", "samples", "expected"), [
    ("start", "zeros", 4, [0, 1, 2, 3]), ("centre", "zeros", 4, [3, 4, 5, 6]), ("random", "zeros", 4, [1, 2, 3, 4]),
    ("centre", "zeros", 12, [*range(10), 0, 0]), ("centre", "loop", 12, [*range(10), 0, 1]),
    ("random", "loop", 10, [*range(10)]),
])  # fmt: skip
def test_a_recording_is_cut_or_filled_as_the_policy_says(
    crop: str, pad: str, samples: int, expected: list[int]
) -> None:
    fit = Fit(samples=samples, crop=crop, pad=pad)

    seen = fit.apply(np.arange(10, dtype=np.int16), lambda: np.random.default_rng(8))

    if crop == "random" and samples < 10:
        assert np.diff(seen).tolist() == [1, 1, 1]
    else:
        assert seen.tolist() == expected


def test_a_random_part_is_the_same_at_every_reading_and_another_with_another_seed(made_events: Path) -> None:
    ours, again, other = (open_fsd50k(made_events, Fit(samples=4_000, crop="random", seed=s)) for s in (1, 1, 2))
    clips = ours.clips("test")

    assert all(np.array_equal(ours.read(clip), again.read(clip)) for clip in clips)
    assert any(not np.array_equal(ours.read(clip), other.read(clip)) for clip in clips)


@pytest.mark.parametrize(("licence", "allowed"), [
    ("http://creativecommons.org/publicdomain/zero/1.0/", True),
    ("http://creativecommons.org/licenses/by/3.0/", True),
    ("https://creativecommons.org/licenses/by/4.0/", True),
    ("http://creativecommons.org/licenses/by-nc/3.0/", False),
    ("http://creativecommons.org/licenses/sampling+/1.0/", False),
    ("not stated", False), ("", False),
])  # fmt: skip
def test_only_free_licences_may_be_packed(licence: str, allowed: bool) -> None:
    assert may_be_packed(licence) is allowed


def test_every_clip_knows_its_licence(events: Path) -> None:
    licences = read_licences(events, "eval")

    clips = open_fsd50k(events, FIT).clips("test")

    assert {clip.licence for clip in clips} == set(licences.values())
    assert sum(may_be_packed(clip.licence) for clip in clips) == 12
    shutil.rmtree(events / "FSD50K.metadata")
    assert {clip.licence for clip in open_fsd50k(events, FIT).clips("test")} == {"not stated"}


def _edit(path: Path, row: int, column: int, value: str) -> None:
    rows = list(csv.reader(path.read_text().splitlines()))
    rows[row][column] = value
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)


TRUTH = "FSD50K.ground_truth"
BAD_TRUTH = {
    "no ground truth": (lambda folder: shutil.rmtree(folder / TRUTH), "expected FSD50K as Zenodo delivers it"),
    "clip gone": (
        lambda folder: next((folder / "FSD50K.dev_audio").iterdir()).unlink(),
        "dev.csv and FSD50K.dev_audio of .* disagree: 1 clips are listed and not there",
    ),
    "clip not listed": (
        lambda folder: (folder / "FSD50K.eval_audio" / "7.wav").write_bytes(b""),
        "1 clips are there and not listed, the first is 7.wav; unpack both again",
    ),
    "unknown label": (
        lambda folder: _edit(folder / TRUTH / "eval.csv", 1, 1, "Sirne"),
        "eval.csv gives clip .* the label 'Sirne'; expected labels of vocabulary.csv",
    ),
    "unknown split": (
        lambda folder: _edit(folder / TRUTH / "dev.csv", 1, 3, "dev"), "the split 'dev'; expected train or val"
    ),
    "another header": (
        lambda folder: _edit(folder / TRUTH / "dev.csv", 0, 0, "file"), "expected fname,labels,mids,split"
    ),
    "half a line": (
        lambda folder: (folder / TRUTH / "eval.csv").open("a").write("123\n"), "has 1 columns; expected 3"
    ),
    "bad metadata": (
        lambda folder: (folder / "FSD50K.metadata" / "dev_clips_info_FSD50K.json").write_text("{"),
        "dev_clips_info_FSD50K.json cannot be read",
    ),
    "empty vocabulary": (
        lambda folder: (folder / TRUTH / "vocabulary.csv").write_text(""), "vocabulary.csv is not a vocabulary"
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("name", BAD_TRUTH)
def test_ground_truth_that_disagrees_is_named(events: Path, name: str) -> None:
    damage, message = BAD_TRUTH[name]
    damage(events)

    with pytest.raises(DataError, match=message):
        open_fsd50k(events, FIT)


def test_a_class_without_clips_in_a_split_is_named(events: Path) -> None:
    path = events / TRUTH / "eval.csv"
    path.write_text(path.read_text().replace("Wind", "Rain"))

    with pytest.raises(DataError, match=r"1 classes of .* have no clips in split 'test', the first: Wind"):
        open_fsd50k(events, FIT).clips("test")


def test_a_truncated_recording_is_named(events: Path) -> None:
    data = open_fsd50k(events, FIT)
    clip = data.clips("test")[0]
    path = events / clip.path
    path.write_bytes(path.read_bytes()[:5_000])

    with pytest.raises(AudioError, match=r"truncated, the header promises .* copy it again"):
        data.read(clip)


def test_the_command_makes_the_same_events_once(
    made_events: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["synth", "-q", "--task", "events", "--clips", "160", "--out", str(tmp_path / "events")]

    codes = [main(command), main(command), main([*command, "--clips", "5"])]

    out, err = capsys.readouterr()
    assert codes == [0, 0, 2]
    assert "160 clips (train 112, validation 24, test 24) of 8 classes" in out
    assert "SYNTHETIC sounds, computed and not recorded" in out
    assert "is there already" in out
    assert "clips is 5; expected 160 or more" in err
    assert json.loads((tmp_path / "events" / "synthetic.json").read_text())["synthetic"] is True
    for path in (path for path in made_events.rglob("*") if path.is_file()):
        assert path.read_bytes() == (tmp_path / "events" / path.relative_to(made_events)).read_bytes()
