from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from converters.command_line import Advance
from tkd.audio.wav import write_wav
from tkd.data.synth import SynthSettings, make_corpus
from tkd.distill import DistillConfig
from tkd.train.config import DataConfig, FitConfig, StudentConfig, TrainConfig
from tkd.train.run import run_training


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


CORPUS_SETTINGS = SynthSettings(clips=600, seed=0)


@pytest.fixture(scope="session")
def spoken_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic corpus of 600 clips; read it only, all tests share it."""
    folder = tmp_path_factory.mktemp("spoken") / "corpus"
    make_corpus(folder, CORPUS_SETTINGS, jobs=2, advance=lambda _clips: None)
    return folder


WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go", "bed", "cat")


@pytest.fixture
def small_corpus(tmp_path: Path) -> Path:
    """A data set of noise: twelve words, four speakers in training, one each in validation and test; free to damage."""
    folder = tmp_path / "corpus"
    rng = np.random.default_rng(0)
    lists: dict[str, list[str]] = {"validation_list.txt": [], "testing_list.txt": []}
    for word in WORDS:
        (folder / word).mkdir(parents=True)
        for speaker in range(6):
            path = f"{word}/0000000{speaker}_nohash_0.wav"
            write_wav(folder / path, rng.integers(-9000, 9000, 16_000).astype(np.int16))
            if speaker >= 4:
                lists[("validation_list.txt", "testing_list.txt")[speaker - 4]].append(path)
    for name, paths in lists.items():
        (folder / name).write_text("\n".join(paths) + "\n")
    (folder / "_background_noise_").mkdir()
    for name in ("rain.wav", "street.wav"):
        write_wav(folder / "_background_noise_" / name, rng.integers(-900, 900, 20 * 16_000).astype(np.int16))
    return folder


def _damage_rate(path: Path) -> None:
    write_wav(path, np.ones(8_000, dtype=np.int16), sample_rate_hz=8_000)


def _damage_stereo(path: Path) -> None:
    import soundfile

    soundfile.write(path, np.ones((16_000, 2), dtype=np.int16), 16_000, subtype="PCM_16", format="WAV")


def _damage_nan(path: Path) -> None:
    import soundfile

    soundfile.write(path, np.full(16_000, np.nan, dtype=np.float32), 16_000, subtype="FLOAT", format="WAV")


def _damage_length(path: Path) -> None:
    write_wav(path, np.arange(20_000, dtype=np.int16))


def _cut(path: Path, kept_bytes: int) -> None:
    path.write_bytes(path.read_bytes()[:kept_bytes])


# name: (what to do to a good wav file, the fault it then has, a part of the message)
DAMAGES: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "wrong rate": (_damage_rate, "wrong rate", "8000 Hz; expected 16000 Hz; resample it first"),
    "stereo": (_damage_stereo, "stereo", "2 channels; expected mono; mix it down first"),
    "NaN": (_damage_nan, "NaN samples", "holds NaN or infinite samples"),
    "cut samples": (
        lambda path: _cut(path, 20_000), "truncated", "promises 32000 bytes of data and 19956 are there; copy it again"
    ),
    "cut header": (lambda path: _cut(path, 30), "truncated", "promises 16 bytes of fmt and 10 are there"),
    "no samples": (lambda path: _cut(path, 44), "truncated", "promises 32000 bytes of data and 0 are there"),
    "not a wav": (lambda path: path.write_bytes(b"<html>404</html>"), "not a wav", "it starts with b'<htm'"),
    "nothing": (lambda path: path.write_bytes(b""), "not a wav", "it starts with b''"),
    "gone": (Path.unlink, "unreadable", "cannot be read (No such file or directory)"),
}  # fmt: skip


@contextmanager
def silent(_title: str, _total: int) -> Iterator[Advance]:
    """A display that shows nothing."""
    yield lambda _steps: None


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory, spoken_corpus: Path) -> Path:
    """The folder of a completed run of TC-ResNet8, trained for seconds: good enough to convert, not to quote."""
    folder = tmp_path_factory.mktemp("trained") / "runs" / "quick"
    config = TrainConfig(
        run=str(folder),
        data=DataConfig(folder=str(spoken_corpus)),
        student=StudentConfig(name="tcresnet8"),
        student_fit=FitConfig(steps=160, batch_size=32, learning_rate=5e-3, label_smoothing=0.1, validate_every=80),
        distill=DistillConfig(lambdas=(0.0,)),
    )
    run_training(config, silent)
    return folder
