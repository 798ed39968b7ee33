"""Wav files: reading with every fault named, and writing 16-bit.

The only file that touches soundfile. Comes before `tkd.data`, which reads whole corpora with it.
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

Int16 = npt.NDArray[np.int16]


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
    try:
        content = path.read_bytes()
    except OSError as cause:
        raise AudioError(
            f"{path}: cannot be read ({cause.strerror}); check that it is there and readable", fault="unreadable"
        ) from cause
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
    return _decode(path, content)


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


def _decode(path: Path, content: bytes) -> Int16:
    """Samples of an encoding other than 16-bit integers, rounded to 16 bits."""
    try:
        samples, _ = soundfile.read(io.BytesIO(content), dtype="float32")
    except soundfile.LibsndfileError as cause:
        raise AudioError(
            f"{path}: not a wav file that can be decoded ({cause.error_string.strip()}); convert it first",
            fault="not a wav",
        ) from cause
    if not np.isfinite(samples).all():
        raise AudioError(
            f"{path}: holds NaN or infinite samples; expected values in [-1, 1]; record it again", fault="NaN samples"
        )
    rounded: Int16 = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)
    return rounded
