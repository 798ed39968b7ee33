import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.tkd.conftest import DAMAGES
from tkd.audio.wav import read_wav, write_wav
from tkd.errors import AudioError

SOUND = np.random.default_rng(0).integers(-32_768, 32_768, 16_000).astype(np.int16)


def test_what_was_written_is_read_bit_for_bit_here_and_by_libsndfile(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"

    write_wav(path, SOUND)

    theirs, rate_hz = soundfile.read(path, dtype="int16")
    assert rate_hz == 16_000
    np.testing.assert_array_equal(read_wav(path), SOUND)
    np.testing.assert_array_equal(theirs, SOUND)


def test_what_libsndfile_wrote_is_read_with_its_extra_chunks(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with soundfile.SoundFile(path, "w", 16_000, 1, subtype="PCM_16", format="WAV") as sound:
        sound.title = "odd"
        sound.write(SOUND)

    np.testing.assert_array_equal(read_wav(path), SOUND)


@pytest.mark.parametrize("subtype", ["FLOAT", "PCM_24", "DOUBLE"])
def test_other_encodings_are_rounded_to_sixteen_bits(tmp_path: Path, subtype: str) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, SOUND / 32_768, 16_000, subtype=subtype, format="WAV")

    np.testing.assert_array_equal(read_wav(path), SOUND)


@pytest.mark.parametrize("name", sorted(DAMAGES))
def test_each_damage_is_named_with_what_was_seen_and_expected(tmp_path: Path, name: str) -> None:
    damage, fault, message = DAMAGES[name]
    path = tmp_path / "a.wav"
    write_wav(path, SOUND)
    damage(path)

    with pytest.raises(AudioError) as error:
        read_wav(path)

    assert (error.value.fault, message in str(error.value)) == (fault, True)
    assert str(error.value).startswith(f"{path}: ")


def test_a_wav_that_promises_no_samples_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(0, dtype=np.int16), 16_000, subtype="PCM_16", format="WAV")

    with pytest.raises(AudioError, match="holds no samples; expected sound; remove it"):
        read_wav(path)


@pytest.mark.parametrize("samples", [np.zeros(4), np.zeros((4, 2), np.int16), np.zeros(0, np.int16)])
def test_only_sixteen_bit_mono_is_written(tmp_path: Path, samples: np.ndarray) -> None:
    with pytest.raises(AudioError, match=r"expected int16 of shape \(samples,\)"):
        write_wav(tmp_path / "a.wav", samples)

    assert list(tmp_path.iterdir()) == []


def test_the_fault_of_an_error_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(AudioError("a.wav: 2 channels", fault="stereo")))

    assert (str(error), error.fault) == ("a.wav: 2 channels", "stereo")
