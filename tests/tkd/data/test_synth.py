import errno
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.tkd.conftest import CORPUS_SETTINGS
from tkd.audio.wav import SAMPLE_RATE_HZ, Int16, read_wav
from tkd.data import workers
from tkd.data.espeak import Espeak, Voice
from tkd.data.layout import SPLITS, read_layout, speaker_of
from tkd.data.noise import NOISES, at_unit_rms
from tkd.data.render import RECORDINGS, Levels, Utterance, render_clip, trim
from tkd.data.speech_commands import load_waveforms, open_speech_commands
from tkd.data.synth import SynthSettings, is_made_already, make_corpus, make_plan
from tkd.data.voices import ACCENTS, BABBLE_WORDS, FAMILIES, KEYWORDS, UNKNOWN_WORDS, make_speakers
from tkd.errors import DataError, SettingsError


def _sounds(folder: Path) -> list[Int16]:
    return [read_wav(folder / path) for path in read_layout(folder).clips()]


def test_one_job_makes_the_same_bytes_as_two(spoken_corpus: Path, tmp_path: Path) -> None:
    settings = ["--clips", str(CORPUS_SETTINGS.clips), "--seed", str(CORPUS_SETTINGS.seed), "--jobs", "1", "-q"]
    command = [sys.executable, "-m", "tkd.cli.data", "synth", "--out", str(tmp_path / "again"), *settings]
    subprocess.run(command, check=True, capture_output=True, timeout=300)

    files = {path.relative_to(spoken_corpus) for path in spoken_corpus.rglob("*") if path.is_file()}
    again = {path.relative_to(tmp_path / "again") for path in (tmp_path / "again").rglob("*") if path.is_file()}
    assert files == again
    assert [
        name for name in files if (spoken_corpus / name).read_bytes() != (tmp_path / "again" / name).read_bytes()
    ] == []


def test_every_clip_is_one_second_at_a_random_level_without_clipping(spoken_corpus: Path) -> None:
    sounds = np.stack(_sounds(spoken_corpus)).astype(np.float64) / 32_768

    level_dbfs = 10 * np.log10(np.square(sounds).mean(axis=1))
    assert sounds.shape == (600, 16_000)
    assert level_dbfs.min() > -30.5
    assert level_dbfs.max() < -17.9
    assert level_dbfs.std() > 2
    assert np.abs(sounds).max() < 0.98


def test_the_offset_of_a_clip_does_not_tell_silence_from_words(spoken_corpus: Path) -> None:
    data = open_speech_commands(spoken_corpus)
    loaded = load_waveforms(spoken_corpus, data.clips("train", silence_share=0.5))
    offset = np.abs(loaded.waveforms.astype(np.float64).mean(axis=1)) / loaded.waveforms.std(axis=1)

    quartiles = [
        np.percentile(offset[is_silent], [25, 50, 75]) for is_silent in (loaded.labels == 0, loaded.labels != 0)
    ]

    assert offset.max() < 0.05
    assert (quartiles[0] < 10 * quartiles[1]).all()
    assert (quartiles[1] < 10 * quartiles[0]).all()


def test_noise_covers_every_clip_from_edge_to_edge(spoken_corpus: Path) -> None:
    sounds = np.stack(_sounds(spoken_corpus))

    assert (np.abs(sounds[:, :400]).max(axis=1) > 0).all()
    assert (np.abs(sounds[:, -400:]).max(axis=1) > 0).all()


def test_each_word_is_where_chance_puts_it_and_complete() -> None:
    speaker = make_speakers(0)["train"][0]
    quiet = Levels(snr_db=(80.0, 80.0))
    noise = [at_unit_rms(np.random.default_rng(0).standard_normal(20_000))]
    starts, lengths = [], []
    with Espeak() as engine:
        for number in range(20):
            utterance = Utterance(number=number, path="yes/a_nohash_0.wav", word="yes", speaker=speaker)
            clip = render_clip(engine, utterance, noise, quiet, seed=0).astype(np.float32)
            energy = np.square(clip.reshape(-1, 80)).mean(axis=1)
            loud = np.flatnonzero(energy > energy.max() * 10**-3.5)
            starts.append(loud[0] * 0.005)
            lengths.append((loud[-1] - loud[0] + 1) * 0.005)

    # The first and the last 5 ms of a word are quiet: nothing was cut off at the edge of the clip.
    assert min(starts) > 0.0
    assert max(start + length for start, length in zip(starts, lengths, strict=True)) <= 1.0
    assert np.std(starts) > 0.05
    assert 0.2 < min(lengths) < max(lengths) < 0.96


def test_the_longest_words_of_the_slowest_speakers_fit() -> None:
    with Espeak() as engine:
        for word in ("backward", "forward", "marvin"):
            speaker = make_speakers(0)["train"][0]
            slow = Voice(name=speaker.voice.name, pitch=50, rate_wpm=80)
            slowest = type(speaker)(id="a", variant="m1", accent="en", voice=slow, split="train")
            utterance = Utterance(number=1, path="x", word=word, speaker=slowest)
            assert len(render_clip(engine, utterance, [np.ones(20_000, np.float32)], Levels(), 0)) == 16_000


def test_the_corpus_is_in_the_layout_of_speech_commands(spoken_corpus: Path) -> None:
    layout = read_layout(spoken_corpus)

    assert set(layout.words) == {*KEYWORDS, *UNKNOWN_WORDS}
    assert layout.noises == tuple(sorted(RECORDINGS))
    assert all(len(read_wav(spoken_corpus / "_background_noise_" / name)) >= 30 * SAMPLE_RATE_HZ for name in RECORDINGS)
    assert layout.has_lists
    assert {split: sum(layout.split(clip) == split for clip in layout.clips()) for split in SPLITS} == {
        "train": 480, "validation": 60, "test": 60,
    }  # fmt: skip


def test_the_manifest_says_synthetic_and_tells_who_speaks(spoken_corpus: Path) -> None:
    manifest = json.loads((spoken_corpus / "synthetic.json").read_text())

    speakers = {row["id"]: row for row in manifest["speaker_table"]}
    assert (manifest["format"], manifest["synthetic"]) == ("tkd.synth/1", True)
    assert "SYNTHETIC" in manifest["notice"]
    assert manifest["versions"]["espeak-ng"].startswith("1.")
    assert {speaker_of(clip) for clip in read_layout(spoken_corpus).clips()} == set(speakers)
    assert sum(row["clips"] for row in speakers.values()) == 600
    assert "SYNTHETIC" in (spoken_corpus / "README.md").read_text()


def test_no_variant_and_no_speaker_is_in_two_splits() -> None:
    for seed in range(3):
        speakers = make_speakers(seed)
        for key in ("id", "variant"):
            seen = [{getattr(speaker, key) for speaker in speakers[split]} for split in SPLITS]
            assert seen[0] & seen[1] == seen[0] & seen[2] == seen[1] & seen[2] == set()
        assert all(len({speaker.id for speaker in people}) == len(people) for people in speakers.values())


def test_validation_and_test_have_twenty_variants_or_nearly() -> None:
    counts = {split: sum(map(len, families)) for split, families in FAMILIES.items()}

    assert counts["validation"] >= 20
    assert counts["test"] >= 19


def test_babble_says_no_word_of_the_task() -> None:
    assert set(BABBLE_WORDS) & {*KEYWORDS, *UNKNOWN_WORDS} == set()
    assert (len(UNKNOWN_WORDS), len(set(BABBLE_WORDS))) == (25, len(BABBLE_WORDS))


@pytest.mark.parametrize("clips", [120, 121, 999, 12_000])
def test_every_plan_has_all_keywords_in_each_split_and_no_file_twice(clips: int) -> None:
    settings = SynthSettings(clips=clips, seed=5)

    plan = make_plan(settings, make_speakers(5))

    assert len(plan) == len({utterance.path for utterance in plan}) == clips
    for split in SPLITS:
        words = {utterance.word for utterance in plan if utterance.speaker.split == split}
        assert set(KEYWORDS) <= words
        assert words & set(UNKNOWN_WORDS)


def test_what_espeak_says_after_a_restart_does_not_depend_on_what_it_said_before() -> None:
    voices = [Voice(name=f"{accent}+{family[0]}", pitch=40, rate_wpm=150)
              for accent, family in zip(ACCENTS * 3, FAMILIES["train"], strict=False)]  # fmt: skip
    with Espeak() as engine:
        for voice in voices:
            engine.restart()
            first = engine.speak("yes", voice)
            engine.speak("marvin", voice)
            engine.restart()
            np.testing.assert_array_equal(engine.speak("yes", voice), first)


def test_every_variant_and_accent_of_the_tables_speaks() -> None:
    with Espeak() as engine:
        for families in FAMILIES.values():
            for variant in (variant for family in families for variant in family):
                assert engine.speak("go", Voice(name=f"en-us+{variant}", pitch=50, rate_wpm=175)).any()
        for accent in ACCENTS:
            assert engine.speak("go", Voice(name=f"{accent}+m1", pitch=50, rate_wpm=175)).any()


def test_an_unknown_voice_is_named() -> None:
    with Espeak() as engine, pytest.raises(DataError, match=r"espeak-ng has no voice 'en-gb\+m1'; expected"):
        engine.speak("go", Voice(name="en-gb+m1", pitch=50, rate_wpm=175))


def test_nothing_to_say_is_an_error() -> None:
    with Espeak() as engine, pytest.raises(DataError, match=r"espeak-ng says nothing for '' in voice 'en-us\+m1'"):
        engine.speak("", Voice(name="en-us+m1", pitch=50, rate_wpm=175))


@pytest.mark.parametrize("name", sorted(NOISES))
def test_every_noise_has_unit_level_no_offset_and_the_seeds_own_sound(name: str) -> None:
    sounds = [NOISES[name](np.random.default_rng(seed), 32_000, 16_000) for seed in (0, 0, 1)]

    assert abs(float(np.square(sounds[0]).mean()) - 1) < 1e-3
    assert abs(float(sounds[0].mean())) < 1e-3
    np.testing.assert_array_equal(sounds[0], sounds[1])
    assert not np.array_equal(sounds[0], sounds[2])


def test_trimming_keeps_the_word_and_a_margin_of_fifteen_milliseconds() -> None:
    sound = np.zeros(16_000, dtype=np.float32)
    sound[4_000:8_000] = 1000

    assert len(trim(sound)) == 4_000 + 2 * 240


@pytest.mark.parametrize(("values", "message"), [
    ({"clips": 119}, "clips is 119; expected 120 or more"),
    ({"seed": -1}, "seed is -1; expected 0 or more"),
    ({"levels": Levels(snr_db=(30, 5))}, "snr_db is 30 to 5; expected the lower number first"),
    ({"levels": Levels(snr_db=(float("nan"), 5))}, "snr_db is nan to 5"),
])  # fmt: skip
def test_impossible_settings_are_refused(values: dict, message: str) -> None:
    with pytest.raises(SettingsError) as error:
        SynthSettings(**values)

    assert message in str(error.value)


def test_the_same_settings_are_there_already_and_other_ones_want_force(spoken_corpus: Path) -> None:
    assert is_made_already(spoken_corpus, CORPUS_SETTINGS, force=False)
    assert not is_made_already(spoken_corpus, CORPUS_SETTINGS, force=True)
    assert not is_made_already(spoken_corpus, SynthSettings(clips=601), force=True)
    with pytest.raises(DataError, match=r"holds a data set of other settings \(clips 600\); give another"):
        is_made_already(spoken_corpus, SynthSettings(clips=601), force=False)


def test_a_folder_with_somebodys_files_is_refused_without_force(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")

    with pytest.raises(
        DataError, match=r"is not empty and was not made by tkd-data like this; give another --out, or --force"
    ):
        is_made_already(tmp_path, CORPUS_SETTINGS, force=False)
    assert not is_made_already(tmp_path, CORPUS_SETTINGS, force=True)


def test_the_folder_one_stands_in_is_not_replaced_even_with_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")

    with pytest.raises(DataError, match=r"is not replaced, even with --force: the work happens in it"):
        is_made_already(tmp_path, CORPUS_SETTINGS, force=True)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")

    with pytest.raises(DataError, match=r"file is a file; expected a folder"):
        is_made_already(tmp_path / "file", CORPUS_SETTINGS, force=True)


def test_a_full_disk_leaves_the_old_folder_and_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old.txt").write_text("old")

    def full(path: Path, _samples: Int16) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(workers, "write_wav", full)

    with pytest.raises(OSError, match=r"No space left"):
        make_corpus(tmp_path / "out", SynthSettings(clips=120), jobs=1, advance=lambda _clips: None)

    assert [path.name for path in tmp_path.rglob("*")] == ["out", "old.txt"]
