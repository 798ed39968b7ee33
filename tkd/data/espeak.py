"""espeak-ng as a function from a voice and a text to samples.

The only file that touches espeak-ng: ctypes over the library that the package `espeakng-loader` carries (GPL-3).
Used by `tkd.data.synth`.

espeak-ng keeps state between utterances (the phase of the flutter, random numbers of the breath), so that the same
word sounds different after another word. `Espeak.restart` unloads and loads the library, 2 ms with its first voice,
and so makes what follows independent of what was said before.
"""

from __future__ import annotations

import _ctypes
import ctypes
from dataclasses import dataclass
from types import TracebackType

import espeakng_loader
import numpy as np

from tkd.audio.wav import Int16
from tkd.errors import DataError

SAMPLE_RATE_HZ = 22_050

# From speak_lib.h, API revision 12.
_SYNCHRONOUS = 2
_POSITION_CHARACTER = 1
_UTF8 = 1
_RATE, _VOLUME, _PITCH = 1, 2, 3

# Louder than this and the loudest variants are clipped inside espeak-ng (its own scale, default 100).
_VOLUME_PERCENT = 30

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """How a speaker speaks.

    Attributes:
        name: espeak-ng's language and variant, for example `en-us+m3`.
        pitch: base pitch on espeak-ng's scale of 0 to 99; 50 is the variant's own.
        rate_wpm: speed in words a minute, 80 to 450; 175 is usual.
    """

    name: str
    pitch: int
    rate_wpm: int


class Espeak:
    """One loaded espeak-ng; a context manager. It is global to the process: hold one at a time."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._callback = _Callback(self._receive)
        self._library: ctypes.CDLL | None = None
        self.restart()

    def __enter__(self) -> Espeak:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._unload()

    @property
    def version(self) -> str:
        """espeak-ng's version, for example `1.52.0`."""
        inform = self._loaded.espeak_Info
        inform.restype = ctypes.c_char_p
        return str(inform(None).decode())

    def restart(self) -> None:
        """Forgets everything that was said, as a fresh process would.

        Raises:
            DataError: the library cannot be loaded or finds no voices.
        """
        self._unload()
        path = espeakng_loader.get_library_path()
        try:
            library = ctypes.CDLL(path)
        except OSError as cause:
            raise DataError(f"espeak-ng at {path} cannot be loaded ({cause}); reinstall espeakng-loader") from cause
        data = espeakng_loader.get_data_path()
        rate_hz = library.espeak_Initialize(_SYNCHRONOUS, 0, str(data).encode(), 0)
        if rate_hz != SAMPLE_RATE_HZ:
            raise DataError(
                f"espeak-ng started with {rate_hz}; expected {SAMPLE_RATE_HZ} Hz; its voices should be at {data}, "
                "reinstall espeakng-loader"
            )
        library.espeak_SetSynthCallback(self._callback)
        # The breath of some voices comes from the C library's generator, which the library does not seed.
        ctypes.CDLL(None).srand(1)
        self._library = library

    def speak(self, text: str, voice: Voice) -> Int16:
        """What a voice says, int16 of shape (samples,) at `SAMPLE_RATE_HZ`, with espeak-ng's pauses around it.

        Raises:
            DataError: there is no such voice, or espeak-ng says nothing.
        """
        library = self._loaded
        if library.espeak_SetVoiceByName(voice.name.encode()) != 0:
            raise DataError(f"espeak-ng has no voice '{voice.name}'; expected language+variant, for example en-us+m3")
        for parameter, value in ((_RATE, voice.rate_wpm), (_PITCH, voice.pitch), (_VOLUME, _VOLUME_PERCENT)):
            library.espeak_SetParameter(parameter, value, 0)
        self._pieces.clear()
        content = text.encode() + b"\0"
        status = library.espeak_Synth(
            content, len(content), 0, _POSITION_CHARACTER, 0, _UTF8, None, None
        )  # fmt: skip
        samples = np.frombuffer(b"".join(self._pieces), dtype=np.int16)
        if status != 0 or not samples.any():
            raise DataError(f"espeak-ng says nothing for '{text}' in voice '{voice.name}' (status {status})")
        return samples

    @property
    def _loaded(self) -> ctypes.CDLL:
        assert self._library is not None, "used after its with block"
        return self._library

    def _receive(self, samples: object, count: int, _events: object) -> int:
        if samples and count:
            self._pieces.append(ctypes.string_at(samples, 2 * count))  # type: ignore[arg-type]
        return 0

    def _unload(self) -> None:
        if self._library is not None:
            library, self._library = self._library, None
            library.espeak_Terminate()
            _ctypes.dlclose(library._handle)
