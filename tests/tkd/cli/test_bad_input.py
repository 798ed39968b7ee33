"""What users bring that is not as it should be, through the commands: the exit code, the sentence, nothing written."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file

from converters.command_line import ExitCode
from tkd.audio.wav import write_wav
from tkd.checkpoint import read_checkpoint, write_checkpoint
from tkd.cli import data, evaluate, export, train
from tkd.data.events import EventSettings, make_events
from tkd.train import fit

CONFIG = """
run = "{run}"
[data]
folder = "{folder}"
{more}
[student]
name = "tcresnet8"
[student_fit]
steps = 2
batch_size = 8
validate_every = 1
[distill]
lambdas = [0.0]
"""
YES = "yes/00000001_nohash_0.wav"

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def made_events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad") / "events"
    make_events(folder, EventSettings(clips=160), lambda _done: None)
    return folder


@pytest.fixture
def events(made_events: Path, tmp_path: Path) -> Path:
    """A data set in the layout of FSD50K, free to damage."""
    shutil.copytree(made_events, tmp_path / "events")
    return tmp_path / "events"


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """A folder of two labels with a list of splits, free to damage."""
    folder, rng = tmp_path / "sounds", np.random.default_rng(0)
    rows = ["path,label,split"]
    for label in ("dog", "horn"):
        (folder / label).mkdir(parents=True)
        for split, count in (("train", 4), ("validation", 1), ("test", 1)):
            for number in range(count):
                write_wav(folder / label / f"{split}{number}.wav", rng.integers(-99, 99, 16_000).astype(np.int16))
                rows.append(f"{label}/{split}{number}.wav,{label},{split}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def settings(folder: Path, more: str = "") -> Path:
    """A configuration whose run goes beside the data set."""
    path = folder.parent / "config.toml"
    path.write_text(CONFIG.format(run=folder.parent / "run", folder=folder, more=more))
    return path


def without(path: Path, text: str) -> None:
    """Removes the lines of a list that begin with a text."""
    kept = [line for line in path.read_text().splitlines() if not line.startswith(text)]
    path.write_text("\n".join(kept) + "\n")


def nan(path: Path, rate_hz: int) -> None:
    sound = np.zeros(rate_hz, np.float32)
    sound[7] = np.nan
    soundfile.write(path, sound, rate_hz, subtype="FLOAT", format="WAV")


LISTED = 'kind = "folder"\nlabel_file = "labels.csv"'
EVENTS = 'kind = "fsd50k"'


def _first_event(folder: Path) -> Path:
    return sorted((folder / "FSD50K.dev_audio").iterdir())[0]


# what is wrong: (data set, the damage, settings of the data, a part of the sentence)
REFUSED: dict[str, tuple[str, Callable[[Path], object], str, str]] = {
    "a list names a recording that is not there": (
        "sounds", lambda folder: (folder / "dog" / "test0.wav").unlink(), LISTED,
        "1 are listed and not there, the first is dog/test0.wav; mend the list",
    ),
    "a recording is in no list": (
        "sounds", lambda folder: without(folder / "labels.csv", "horn/train3"), LISTED,
        "1 are there and not listed, the first is horn/train3.wav; mend the list",
    ),
    "a ground truth without its recording": (
        "events", lambda folder: _first_event(folder).unlink(), EVENTS, "1 clips are listed and not there",
    ),
    "a list of Speech Commands names a missing clip": (
        "small_corpus", lambda folder: (folder / "yes" / "00000005_nohash_0.wav").unlink(), "",
        "name 1 clips that are not there, the first is yes/00000005_nohash_0.wav; copy the data set again, or mend",
    ),
    "a class missing in a split of keywords": (
        "small_corpus", lambda folder: without(folder / "validation_list.txt", "go/"), "",
        "class 'go' has no clips in split 'validation'",
    ),
    "a class missing in a split of a folder": (
        "sounds", lambda folder: (folder / "labels.csv").write_text(
            (folder / "labels.csv").read_text().replace("horn,test", "horn,train")
        ), LISTED, "class 'horn' has no clips in split 'test'",
    ),
    "a class missing in a split of events": (
        "events", lambda folder: (folder / "FSD50K.ground_truth" / "eval.csv").write_text(
            (folder / "FSD50K.ground_truth" / "eval.csv").read_text().replace("Wind", "Rain")
        ), EVENTS, "have no clips in split 'test', the first: Wind",
    ),
    "NaN in a word": ("small_corpus", lambda folder: nan(folder / YES, 16_000), "", f"{YES}: holds NaN or infinite"),
    "NaN in an event": ("events", lambda folder: nan(_first_event(folder), 44_100), EVENTS, "holds NaN or infinite"),
    "a cut event": (
        "events", lambda folder: _first_event(folder).write_bytes(_first_event(folder).read_bytes()[:4_000]), EVENTS,
        "truncated, the header promises",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_training_on_bad_data_is_one_sentence_and_exit_2_and_leaves_nothing(
    case: str, request: pytest.FixtureRequest, capsys: Captured
) -> None:
    name, damage, more, sentence = REFUSED[case]
    folder: Path = request.getfixturevalue(name)
    damage(folder)

    code = train.main([str(settings(folder, more)), "-q"])

    out, err = capsys.readouterr()
    assert (ExitCode.USAGE, "") == (code, out)
    assert sentence in err
    assert err.startswith("tkd-train: ")
    assert 1 == err.count("\n")
    assert not (folder.parent / "run").exists()
    assert not list(folder.parent.glob(".*.lock"))


def test_bad_files_are_skipped_when_told_and_named(events: Path, capsys: Captured) -> None:
    nan(_first_event(events), 44_100)

    code = train.main([str(settings(events, f'{EVENTS}\non_bad_file = "skip"')), "-q"])

    assert ExitCode.GOOD == code
    assert f"1 unreadable files skipped, the first: FSD50K.dev_audio/{_first_event(events).name}" in (
        capsys.readouterr().out
    )


def test_clips_shorter_than_a_window_are_filled_and_longer_ones_cut_and_the_check_lists_both(
    small_corpus: Path, capsys: Captured
) -> None:
    rng = np.random.default_rng(0)
    write_wav(small_corpus / YES, rng.integers(-99, 99, 300).astype(np.int16))
    write_wav(small_corpus / "no" / "00000002_nohash_0.wav", rng.integers(-99, 99, 90_000).astype(np.int16))

    codes = [train.main([str(settings(small_corpus)), "-q"]), data.main(["check", "-q", str(small_corpus)])]

    out = capsys.readouterr().out
    assert [ExitCode.GOOD, ExitCode.NO] == codes
    assert f"{YES}: 0.019 s; expected 0.1 to 1 s" in out
    assert "no/00000002_nohash_0.wav: 5.625 s; expected 0.1 to 1 s" in out


@pytest.mark.parametrize("name", ["waveforms.npy", "crc32.npy", "index.json"])
def test_a_truncated_cache_is_named_and_made_anew(
    name: str, small_corpus: Path, capsys: Captured, caplog: pytest.LogCaptureFixture
) -> None:
    cache = small_corpus.parent / "clips"
    path = settings(small_corpus, f'cache = "{cache}"')
    assert ExitCode.GOOD == train.main([str(path), "-q"])
    whole = read_checkpoint(small_corpus.parent / "run" / "student.safetensors").state
    for file in cache.glob(f"*/{name}"):
        file.write_bytes(file.read_bytes()[:-9])

    assert ExitCode.GOOD == train.main([str(path), "-q", "--restart"])

    assert 3 == caplog.text.count("is damaged (")
    assert 3 == caplog.text.count("it is made anew")
    again = read_checkpoint(small_corpus.parent / "run" / "student.safetensors").state
    assert all(torch.equal(again[key], whole[key]) for key in whole)


def test_a_checkpoint_of_another_student_is_refused_by_every_reader(
    small_corpus: Path, tmp_path: Path, capsys: Captured
) -> None:
    assert ExitCode.GOOD == train.main([str(settings(small_corpus)), "-q"])
    mine = tmp_path / "run" / "student.safetensors"
    stored = read_checkpoint(mine)
    other = dict(list(stored.state.items())[:-2])
    write_checkpoint(tmp_path / "other.safetensors", stored.spec, other)
    save_file({"weight": torch.zeros(2)}, tmp_path / "somebodys.safetensors")
    capsys.readouterr()
    exports = str(tmp_path / "exports")

    codes = [
        export.main(["--student", "ds-cnn-s", "--checkpoint", str(mine), "--output", exports]),
        export.main(["--checkpoint", str(tmp_path / "other.safetensors"), "--output", exports]),
        evaluate.main([str(tmp_path / "other.safetensors"), "-q"]),
        evaluate.main([str(tmp_path / "somebodys.safetensors"), "-q"]),
    ]

    err = capsys.readouterr().err
    assert [ExitCode.USAGE] * 4 == codes
    assert "holds tcresnet8" in err
    assert "ds-cnn-s" in err
    assert 2 == err.count("does not fit tcresnet8")
    assert "somebodys.safetensors is a safetensors file, but not a checkpoint of ours" in err
    assert "Traceback" not in err
    assert not (tmp_path / "exports").exists()


def interrupted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begins a run that ends at its second step, after its first state was saved."""
    update, seen = fit._update, []

    def second(*arguments: object) -> None:
        seen.append(1)
        if len(seen) == 2:
            raise KeyboardInterrupt
        update(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(fit, "_update", second)
        assert ExitCode.INTERRUPTED == train.main([str(path), "-q"])


def test_a_resume_with_changed_settings_is_refused(
    small_corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    path = settings(small_corpus)
    interrupted(path, monkeypatch)
    capsys.readouterr()

    code = train.main([str(path), "-q", "--resume", "--set", "student_fit.learning_rate=0.5"])

    err = capsys.readouterr().err
    assert ExitCode.USAGE == code
    assert "holds an unfinished run of other settings; --restart deletes it, --set run=FOLDER leaves it alone" in err
    assert ExitCode.GOOD == train.main([str(path), "-q", "--resume"])


def test_resume_and_restart_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        train.main(["demo", "--resume", "--restart"])
    assert end.value.code == ExitCode.USAGE
    assert "not allowed with argument --resume" in capsys.readouterr().err


def test_a_resume_from_a_cut_state_is_refused_and_leaves_it(
    small_corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    path = settings(small_corpus)
    interrupted(path, monkeypatch)
    (state,) = (small_corpus.parent / "run").glob("state-*.pt")
    state.write_bytes(state.read_bytes()[:2_000])
    capsys.readouterr()

    code = train.main([str(path), "-q", "--resume"])

    assert ExitCode.USAGE == code
    assert f"{state} is damaged (" in capsys.readouterr().err
    assert 2_000 == state.stat().st_size
