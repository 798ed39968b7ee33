"""Sound files: reading wav (and flac) with every fault named, and writing 16-bit wav.

The only file that touches soundfile. Comes before `tkd.audio.sound` (conversion) and `tkd.data` (whole corpora).
"""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from tkd.errors import AudioError

SAMPLE_RATE_HZ = 16_000
"""What every reader of the project expects."""

_PCM = 1
"""The code of plain integers in a wav file's header."""

Float32 = npt.NDArray[np.float32]
Int16 = npt.NDArray[np.int16]


def as_floats(samples: Int16) -> Float32:
    """16-bit samples of any shape in [-1, 1): divided by 32768, as every model here is fed."""
    return np.asarray(samples, np.float32) / np.float32(32768)


def read_wav(path: Path, *, sample_rate_hz: int = SAMPLE_RATE_HZ) -> Int16:
    """The samples of a mono wav file as 16-bit integers, shape (samples,).

    16-bit files come back bit for bit; other encodings are rounded to 16 bits.

    Args:
        path: a RIFF/WAVE file.
        sample_rate_hz: the rate that it must have; nothing is resampled in silence.

    Raises:
        AudioError: the file is missing, not a wav, truncated, empty, not mono, at another rate, or holds NaN.
            `error.fault` says which, in a few words.
    """
    content = _content(path)
    chunks = _chunks(path, content)
    encoding, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", chunks[b"fmt "])
    if channels != 1:
        raise AudioError(f"{path}: {channels} channels; expected mono; mix it down first", fault="stereo")
    if rate_hz != sample_rate_hz:
        raise AudioError(f"{path}: {rate_hz} Hz; expected {sample_rate_hz} Hz; resample it first", fault="wrong rate")
    if not chunks[b"data"]:
        raise AudioError(f"{path}: holds no samples; expected sound; remove it", fault="empty")
    if (encoding, bits) == (_PCM, 16):
        # The common case needs no decoder: 12 µs a clip here, 50 µs through libsndfile.
        return np.frombuffer(chunks[b"data"], "<i2", count=len(chunks[b"data"]) // 2).astype(np.int16)
    samples, _ = _decode(path, content)
    rounded: Int16 = np.clip(np.rint(samples[:, 0] * 32768.0), -32768, 32767).astype(np.int16)
    return rounded


def decode(path: Path) -> tuple[Float32, int]:
    """The samples of a wav or flac file in [-1, 1], shape (samples, channels), and their rate in hertz.

    Raises:
        AudioError: the file is missing, cannot be decoded, truncated, empty, or holds NaN; `error.fault` says which.
    """
    content = _content(path)
    if content[:4] == b"fLaC":
        return _decode(path, content)
    chunks = _chunks(path, content)
    encoding, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", chunks[b"fmt "])
    if not chunks[b"data"]:
        raise AudioError(f"{path}: holds no samples; expected sound; remove it", fault="empty")
    if (encoding, bits) != (_PCM, 16) or channels < 1:
        return _decode(path, content)
    whole = len(chunks[b"data"]) // (2 * channels)
    integers = np.frombuffer(chunks[b"data"], "<i2", count=whole * channels).reshape(whole, channels)
    return integers.astype(np.float32) / np.float32(32768.0), rate_hz


def write_wav(path: Path, samples: Int16, *, sample_rate_hz: int = SAMPLE_RATE_HZ) -> None:
    """Writes mono samples, shape (samples,), as a 16-bit wav file.

    Raises:
        AudioError: the samples are not 16-bit integers in one dimension, or there are none.
        OSError: the file cannot be written.
    """
    if samples.dtype != np.int16 or samples.ndim != 1 or samples.size == 0:
        raise AudioError(
            f"{path}: asked to write {samples.dtype} of shape {samples.shape}; expected int16 of shape (samples,)"
        )
    # A header of 44 bytes and the samples: written here, since libsndfile hides a full disk behind a "System error".
    size = 2 * samples.size
    header = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, 1, sample_rate_hz, 2 * sample_rate_hz, 2, 16, b"data", size,
    )  # fmt: skip
    path.write_bytes(header + samples.astype("<i2", copy=False).tobytes())


def _chunks(path: Path, content: bytes) -> dict[bytes, memoryview]:
    """The chunks of a RIFF file by name, up to the samples; libsndfile would shorten a cut file in silence."""
    if len(content) < 12 or content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise AudioError(
            f"{path}: not a wav file (it starts with {content[:4]!r}); expected RIFF/WAVE; convert it first",
            fault="not a wav",
        )
    found: dict[bytes, memoryview] = {}
    position, name, size, there = 12, b"data", 0, 0
    while b"data" not in found and position + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, position)
        there = len(content) - position - 8
        if size > there:
            break
        found[name] = memoryview(content)[position + 8 : position + 8 + size]
        position += 8 + size + size % 2
    if b"data" not in found or len(found.get(b"fmt ", b"")) < 16:
        raise AudioError(
            f"{path}: truncated, the header promises {size} bytes of {name.decode('latin-1').strip()} "
            f"and {there} are there; copy it again",
            fault="truncated",
        )
    return found


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as cause:
        raise AudioError(
            f"{path}: cannot be read ({cause.strerror}); check that it is there and readable", fault="unreadable"
        ) from cause


def _decode(path: Path, content: bytes) -> tuple[Float32, int]:
    """What libsndfile reads: samples of shape (samples, channels), and their rate in hertz."""
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            promised, rate_hz = file.frames, int(file.samplerate)
            samples: Float32 = file.read(dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as cause:
        raise AudioError(
            f"{path}: not a sound file that can be decoded ({cause.error_string.strip()}); convert it first",
            fault="not a sound file",
        ) from cause
    if len(samples) < promised:
        raise AudioError(
            f"{path}: truncated, the header promises {promised} samples and {len(samples)} are there; copy it again",
            fault="truncated",
        )
    if not len(samples):
        raise AudioError(f"{path}: holds no samples; expected sound; remove it", fault="empty")
    if not np.isfinite(samples).all():
        raise AudioError(
            f"{path}: holds NaN or infinite samples; expected values in [-1, 1]; record it again", fault="NaN samples"
        )
    return samples, rate_hz
