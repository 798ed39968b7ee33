import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tkd.audio.wav import write_wav
from tkd.cli.data import main
from tkd.data.check_sets import kind_of
from tkd.data.events import EventSettings, make_events
from tkd.data.noisy import NoisySettings, make_noisy, plan_noisy
from tkd.data.speech_commands import TWELVE_LABELS


def _quiet(_done: int) -> None:
    pass


def test_a_synthetic_fsd50k_is_recognised_and_its_licences_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_events(tmp_path / "events", EventSettings(clips=160), _quiet)

    code = main(["check", "-q", str(tmp_path / "events")])

    out = capsys.readouterr().out
    assert code == 0
    assert "SYNTHETIC sounds, 8 classes, 0 speakers, split by ground truth" in out
    assert "licence http://creativecommons.org/licenses/by-nc/3.0/: 40 clips" in out
    next((tmp_path / "events" / "FSD50K.eval_audio").iterdir()).write_bytes(b"<html>")
    assert main(["check", "-q", str(tmp_path / "events")]) == 1
    assert "not a wav: 1" in capsys.readouterr().out


def test_words_in_noise_are_checked_at_their_own_length(
    small_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_noisy(small_corpus, NoisySettings(seconds=2, noise=("own",)))
    make_noisy(tmp_path / "noisy", plan, jobs=1, advance=_quiet)

    code = main(["check", "-q", str(tmp_path / "noisy")])

    out = capsys.readouterr().out
    assert (code, out.endswith("nothing is wrong\n")) == (0, True)
    assert "12 words in 2 s of noise, 6 speakers, split by lists" in out


def test_the_test_archive_is_recognised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for word in TWELVE_LABELS:
        (tmp_path / "archive" / word).mkdir(parents=True)
        write_wav(tmp_path / "archive" / word / "1.wav", rng.integers(-99, 99, 16_000).astype(np.int16))

    code = main(["check", "-q", str(tmp_path / "archive")])

    assert (code, kind_of(tmp_path / "archive")) == (0, "test_archive")
    assert "12 words, 0 speakers, split by archive" in capsys.readouterr().out


def test_a_folder_of_labels_is_recognised_and_its_faults_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for label in ("dog", "horn"):
        (tmp_path / "sounds" / label).mkdir(parents=True)
        for number in range(10):
            sound = np.random.default_rng([number, len(label)]).uniform(-0.5, 0.5, 4_410)
            soundfile.write(tmp_path / "sounds" / label / f"{number}.flac", sound, 44_100)
    command = ["check", "-q", str(tmp_path / "sounds")]

    codes = [main(command), main([*command, "--convert"])]
    soundfile.write(tmp_path / "sounds" / "dog" / "0.flac", np.zeros(4_410), 44_100)
    soundfile.write(tmp_path / "sounds" / "dog" / "1.wav", np.full(900, np.nan, np.float32), 44_100, subtype="FLOAT")
    soundfile.write(tmp_path / "sounds" / "dog" / "2.flac", np.full(900, 0.1), 44_100)
    codes.append(main([*command, "--convert"]))

    out = capsys.readouterr().out
    assert codes == [1, 0, 1]
    assert "wrong rate: 20" in out
    assert "class missing in a split: 6" in out
    assert "all zeros: 1" in out
    assert "NaN samples: 1" in out
    assert "wrong length: 1" in out


def test_every_disagreement_of_a_list_is_listed_and_the_rest_is_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    rows = ["path,label,split"]
    for label in ("dog", "horn"):
        (tmp_path / label).mkdir()
        for split in ("train", "validation", "test", "spare"):
            write_wav(tmp_path / label / f"{split}.wav", rng.integers(-99, 99, 9_000).astype(np.int16))
            rows += [f"{label}/{split}.wav,{label},{split}"] if split != "spare" else []
    rows += ["dog/gone.wav,dog,train", "dog/train.wav,dog,train", "horn/spare.wav,,train", "horn/test.wav,horn,eval"]
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "dog" / "train.mp3").write_bytes(b"ID3")
    (tmp_path / "horn" / "train.wav").write_bytes((tmp_path / "horn" / "train.wav").read_bytes()[:5_000])

    code = main(["check", "-q", str(tmp_path), "--labels", "labels.csv", "--json", "-"])

    report = json.loads(capsys.readouterr().out)
    assert code == 1
    assert report["fault_counts"] == {
        "listed but missing": 1, "there but not listed": 1, "listed twice": 2, "no label": 1, "unknown split": 1,
        "extra file": 1, "truncated": 1, "class missing in a split": 2,
    }  # fmt: skip
    paths = {fault["kind"]: fault["path"] for fault in report["faults"]}
    assert ("dog/gone.wav", "dog/spare.wav", "dog/train.mp3") == (
        paths["listed but missing"], paths["there but not listed"], paths["extra file"]
    )  # fmt: skip


def test_every_fault_of_an_fsd50k_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "events"
    make_events(folder, EventSettings(clips=160), _quiet)
    audio, truth = folder / "FSD50K.dev_audio", folder / "FSD50K.ground_truth"
    gone, broken, endless, cut = sorted(audio.iterdir())[:4]
    gone.unlink()
    soundfile.write(broken, np.array([0.1, np.nan] * 9_000, np.float32), 44_100, subtype="FLOAT")
    soundfile.write(endless, np.array([0.1, np.inf] * 9_000, np.float32), 44_100, subtype="FLOAT")
    cut.write_bytes(cut.read_bytes()[:3_000])
    write_wav(audio / "stranger.wav", np.arange(9_000, dtype=np.int16))
    (folder / "FSD50K.eval_audio" / "notes.mp3").write_bytes(b"ID3")
    lines = (truth / "eval.csv").read_text().splitlines()
    odd = lines[1].split(",")[0]
    lines[1] = f"{odd},Sirne,/m/1"
    (truth / "eval.csv").write_text("\n".join([*lines, lines[2], "123"]) + "\n")

    code = main(["check", "-q", str(folder), "--json", "-"])

    report = json.loads(capsys.readouterr().out)
    assert code == 1
    assert report["fault_counts"] == {
        "listed but missing": 1, "there but not listed": 1, "bad line": 1, "listed twice": 1, "unknown label": 1,
        "extra file": 1, "NaN samples": 2, "truncated": 1,
    }  # fmt: skip
    detail = "eval.csv gives it the label 'Sirne'; expected labels of vocabulary.csv"
    assert {"kind": "unknown label", "path": f"FSD50K.eval_audio/{odd}.wav", "detail": detail} in report["faults"]


def test_a_class_without_a_clip_in_a_split_of_an_fsd50k_is_a_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_events(tmp_path / "events", EventSettings(clips=160), _quiet)
    path = tmp_path / "events" / "FSD50K.ground_truth" / "eval.csv"
    path.write_text(path.read_text().replace("Wind", "Rain"))

    assert main(["check", "-q", str(tmp_path / "events")]) == 1
    assert "Wind: has no readable clips in split 'test'" in capsys.readouterr().out


def test_an_unknown_kind_is_answered_with_the_kinds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["check", "-q", str(tmp_path), "--kind", "fsd"])

    assert code == 2
    assert "kind is 'fsd'; expected one of speech_commands, test_archive, fsd50k, folder" in capsys.readouterr().err
