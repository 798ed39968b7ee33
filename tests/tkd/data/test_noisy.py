import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.tkd.conftest import WORDS
from tkd.audio.wav import read_wav, write_wav
from tkd.cli.data import main
from tkd.data.keywords import KeywordSettings, open_keywords
from tkd.data.layout import SPLITS
from tkd.data.loading import Loading, load_clips
from tkd.data.mixing import MixSettings, mix
from tkd.data.noisy import NoisySettings, make_noisy, plan_noisy, read_intervals
from tkd.errors import DataError, SettingsError

SETTINGS = NoisySettings(seconds=2.0, seed=3, noise=("own", "pink"))
QUIET = MixSettings(samples=64_000, snr_db=(200.0, 200.0), level_dbfs=(-20.0, -20.0))


def _quiet(_done: int) -> None:
    pass


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def noisy(small_corpus: Path, tmp_path: Path) -> Path:
    make_noisy(tmp_path / "noisy", plan_noisy(small_corpus, SETTINGS), jobs=1, advance=_quiet)
    return tmp_path / "noisy"


def test_every_reader_works_on_a_corpus_in_noise(noisy: Path) -> None:
    task = open_keywords(noisy, KeywordSettings())

    loaded = {split: load_clips(task, task.clips(split), Loading(), _quiet) for split in SPLITS}

    assert [loaded[split].waveforms.shape for split in SPLITS] == [(48, 32_000), (12, 32_000), (12, 32_000)]
    assert all(waveform.any() for split in SPLITS for waveform in loaded[split].waveforms)
    assert {clip.path.partition("/")[0] for clip in loaded["test"].clips if clip.label == 0} == {"_silence_"}
    description = task.describe()
    assert (description["clip_seconds"], description["noisy"]["source"]) == (2.0, "corpus")


def test_the_same_settings_make_the_same_bytes_with_any_number_of_jobs(
    noisy: Path, small_corpus: Path, tmp_path: Path
) -> None:
    make_noisy(tmp_path / "again", plan_noisy(small_corpus, SETTINGS), jobs=2, advance=_quiet)

    assert _digests(noisy) == _digests(tmp_path / "again")


def test_another_seed_makes_other_clips_in_the_same_splits(noisy: Path, small_corpus: Path, tmp_path: Path) -> None:
    make_noisy(tmp_path / "other", plan_noisy(small_corpus, replace(SETTINGS, seed=4)), jobs=1, advance=_quiet)

    ours, others = _digests(noisy), _digests(tmp_path / "other")
    assert ours["testing_list.txt"] == others["testing_list.txt"]
    assert ours["yes/00000000_nohash_0.wav"] != others["yes/00000000_nohash_0.wav"]


def test_a_clip_does_not_depend_on_the_others(noisy: Path, small_corpus: Path, tmp_path: Path) -> None:
    make_noisy(tmp_path / "few", plan_noisy(small_corpus, replace(SETTINGS, most=1)), jobs=1, advance=_quiet)

    kept = "yes/00000000_nohash_0.wav"
    assert _digests(noisy)[kept] == _digests(tmp_path / "few")[kept]


def test_the_intervals_say_where_each_word_is(noisy: Path) -> None:
    intervals = read_intervals(noisy)

    words = [interval for clip, interval in intervals.items() if not clip.startswith("_silence_")]
    assert len(intervals) == len(WORDS) * 6 + 6
    assert all(interval and 0 <= interval[0] and interval[1] <= 2.0 for interval in words)
    assert all(interval and interval[1] - interval[0] == pytest.approx(1.0, abs=1e-3) for interval in words)
    assert 0.2 < np.std([interval[0] for interval in words if interval]) < 0.4
    assert intervals["_silence_/noise_00000.wav"] is None


def test_the_word_is_where_its_interval_says_and_nothing_else_is_there() -> None:
    rng = np.random.default_rng(0)
    word = rng.integers(-9_000, 9_000, 16_000).astype(np.int16)
    noise = {"hum": rng.integers(-900, 900, 99_000).astype(np.int16)}

    mixed = mix(word, noise, QUIET, np.random.default_rng(5))

    assert mixed.first is not None
    placed = mixed.samples[mixed.first : mixed.end].astype(float)
    assert np.corrcoef(placed, word)[0, 1] > 0.998
    assert not mixed.samples[: mixed.first].any()
    assert not mixed.samples[mixed.end :].any()


def test_the_interval_is_that_of_the_sound_and_not_of_its_recording() -> None:
    word = np.zeros(16_000, dtype=np.int16)
    word[4_800:9_600] = np.random.default_rng(0).integers(-9_000, 9_000, 4_800)
    noise = {"hum": np.ones(99_000, dtype=np.int16)}
    mixed = mix(word, noise, QUIET, np.random.default_rng(5))
    whole = mix(np.full(16_000, 9_000, dtype=np.int16) * np.resize([1, -1], 16_000).astype(np.int16), noise, QUIET,
                np.random.default_rng(5))  # fmt: skip
    assert mixed.first is not None and mixed.end is not None and whole.first is not None  # noqa: PT018
    assert mixed.end - mixed.first == 4_800
    assert mixed.first - whole.first == 4_800


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 20.0])
def test_the_ratio_of_word_to_noise_is_what_was_asked_for(snr_db: float) -> None:
    rng = np.random.default_rng(0)
    word = np.concatenate([np.zeros(8_000), rng.normal(0, 3_000, 8_000)]).astype(np.int16)  # half a second of quiet
    noise = {"white": rng.normal(0, 1_000, 200_000).astype(np.int16)}
    settings = MixSettings(samples=32_000, snr_db=(snr_db, snr_db), level_dbfs=(-25.0, -25.0))

    mixed = mix(word, noise, settings, np.random.default_rng(1))

    assert mixed.first is not None
    assert mixed.end is not None
    sounding = mixed.samples[mixed.end - 7_800 : mixed.end].astype(float)
    rest = np.concatenate([mixed.samples[: mixed.first], mixed.samples[mixed.end :]]).astype(float)
    ratio = 10 * np.log10((sounding.var() - rest.var()) / rest.var())
    assert ratio == pytest.approx(snr_db, abs=0.8)


def test_the_level_does_not_tell_words_from_silence() -> None:
    noise = {"white": np.random.default_rng(0).normal(0, 1_000, 200_000).astype(np.int16)}
    word = np.random.default_rng(1).normal(0, 1_000, 16_000).astype(np.int16)
    settings = MixSettings(samples=32_000, snr_db=(20.0, 20.0), level_dbfs=(-24.0, -24.0))

    clips = [mix(sound, noise, settings, np.random.default_rng(2)).samples / 32_767 for sound in (word, None)]
    levels = [20 * np.log10(np.sqrt(np.mean(np.square(clip)))) for clip in clips]

    assert levels == pytest.approx([-24.0, -24.0], abs=0.05)


def test_a_short_noise_is_repeated_over_the_clip() -> None:
    noise = {"short": np.random.default_rng(0).integers(-900, 900, 5_000).astype(np.int16)}

    mixed = mix(None, noise, replace(QUIET, samples=32_000), np.random.default_rng(0))

    assert np.abs(mixed.samples.reshape(-1, 4_000)).max(axis=1).min() > 0


def test_no_split_hears_another_ones_noise(small_corpus: Path, tmp_path: Path) -> None:
    loud = tmp_path / "loud"
    loud.mkdir()
    sound = np.zeros(100_000, dtype=np.int16)
    sound[80_000:90_000] = 500 * np.sign(np.sin(np.arange(10_000) * 0.3))  # sounds in the validation region alone
    write_wav(loud / "one.wav", sound)

    with pytest.raises(DataError, match="the noises are silent in split 'train'"):
        settings = replace(SETTINGS, noise=(str(loud),))
        make_noisy(tmp_path / "noisy", plan_noisy(small_corpus, settings), jobs=1, advance=_quiet)

    assert not (tmp_path / "noisy").exists()


def test_a_word_longer_than_the_clip_is_named_and_nothing_is_left(small_corpus: Path, tmp_path: Path) -> None:
    write_wav(small_corpus / "yes" / "00000002_nohash_0.wav", np.ones(40_000, dtype=np.int16))

    code = main(["noisy", "-q", "--data", str(small_corpus), "--out", str(tmp_path / "out"), "--seconds", "2",
                 "--noise", "own", "--jobs", "1"])  # fmt: skip

    assert code == 2
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]


def test_the_message_names_the_long_word(small_corpus: Path, tmp_path: Path) -> None:
    write_wav(small_corpus / "yes" / "00000002_nohash_0.wav", np.ones(40_000, dtype=np.int16))

    with pytest.raises(DataError, match=r"00000002_nohash_0.wav is 2.500 s long; expected at most 2 s; give a longer"):
        make_noisy(tmp_path / "out", plan_noisy(small_corpus, SETTINGS), jobs=2, advance=_quiet)


def test_the_command_makes_it_once(small_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["noisy", "-q", "--data", str(small_corpus), "--out", str(tmp_path / "out"), "--seconds", "2",
               "--noise", "pink", "own", "--jobs", "1"]  # fmt: skip

    codes = [main(command), main(command), main([*command, "--seed", "9"])]

    out, err = capsys.readouterr()
    assert codes == [0, 0, 2]
    assert "78 clips (train 52, validation 13, test 13) of 2 s, seed 0; intervals.csv" in out
    assert "is there already, made of the same data with the same settings" in out
    assert "holds a data set of other settings (seed 0); give another --out, or --force" in err
    assert json.loads((tmp_path / "out" / "noisy.json").read_text())["settings"]["noise"] == ["pink", "own"]
    assert sorted(path.name for path in (tmp_path / "out" / "_background_noise_").iterdir()) == [
        "background_noise-rain.wav", "background_noise-street.wav", "pink.wav",
    ]  # fmt: skip


@pytest.mark.parametrize(("options", "message"), [
    (["--seconds", "0.5"], "seconds is 0.5; expected 1 to 60 (the paper has 2, 4, 6 and 8)"),
    (["--seconds", "2", "--noise", "pnik"], "no noise or folder is called 'pnik'; did you mean 'pink'?"),
    (["--seconds", "2", "--snr-db", "9", "1"], "snr_db is 9 to 1; expected the lower number first"),
    (["--seconds", "2", "--jobs", "0"], "jobs is 0; expected 1 or more"),
])  # fmt: skip
def test_impossible_settings_are_refused_with_2_and_nothing_is_written(
    small_corpus: Path, tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["noisy", "--data", str(small_corpus), "--out", str(tmp_path / "out"), *options])

    assert (code, message in capsys.readouterr().err) == (2, True)
    assert not (tmp_path / "out").exists()


def test_a_corpus_in_noise_is_no_source(noisy: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="was made by tkd-data noisy; expected clips of one second; give its source"):
        plan_noisy(noisy, SETTINGS)


def test_the_source_is_never_written_into(small_corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    codes = [main(["noisy", "--data", str(small_corpus), "--out", str(out), "--seconds", "2", "--force"])
             for out in (small_corpus, small_corpus / "noisy", small_corpus.parent)]  # fmt: skip

    assert codes == [2, 2, 2]
    assert "are one inside the other; give another --out" in capsys.readouterr().err


def test_a_source_without_noise_of_its_own_is_named(small_corpus: Path) -> None:
    for path in (small_corpus / "_background_noise_").iterdir():
        path.unlink()

    with pytest.raises(DataError, match="has no recordings in _background_noise_; leave 'own' out of --noise"):
        plan_noisy(small_corpus, SETTINGS)


@pytest.mark.parametrize("rows", ["yes/a.wav,x,1\n", '"yes/a.wav,0.1,1\n' + 10_000 * "yes/b.wav,0.1,1\n"])
def test_damaged_intervals_are_named(noisy: Path, rows: str) -> None:
    (noisy / "intervals.csv").write_text(f"clip,start_s,end_s\n{rows}")

    with pytest.raises(DataError, match=r"intervals.csv cannot be read as intervals of words"):
        read_intervals(noisy)


def test_a_full_disk_is_seen_before_anything_is_written(
    small_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _path: type("Usage", (), {"free": 1000}))

    code = main(["noisy", "--data", str(small_corpus), "--out", str(tmp_path / "out"), "--seconds", "2"])

    assert code == 4
    assert "78 clips need 0.0 GB and 0.0 GB are free; free some space" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_noise_has_to_be_somewhere() -> None:
    with pytest.raises(SettingsError, match="no noise; expected at least one kind or folder"):
        NoisySettings(seconds=2, noise=())


def test_the_written_clip_is_the_mixed_one(noisy: Path) -> None:
    assert read_wav(noisy / "yes" / "00000000_nohash_0.wav").shape == (32_000,)
