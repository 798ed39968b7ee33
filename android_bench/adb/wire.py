"""The bytes of the Android Debug Bridge: packets, shell-v2 frames, sync requests.

Pure: no sockets. Both ends read it: `android_bench.adb` is this computer's, `android_bench.virtual_phone` a phone's.
Source: AOSP, packages/modules/adb, protocol.txt, SYNC.TXT and shell_protocol.h.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np

Buffer = bytes | bytearray | memoryview

# Versions of the protocol: from the second on, nobody looks at checksums.
VERSION_WITH_CHECKSUMS: Final = 0x01000000
VERSION_WITHOUT_CHECKSUMS: Final = 0x01000001
# The most that one packet may carry: what every end takes, and what today's ends take.
LEAST_MAX_DATA: Final = 4096
MAX_DATA: Final = 1 << 20

CNXN: Final = b"CNXN"
AUTH: Final = b"AUTH"
OPEN: Final = b"OPEN"
OKAY: Final = b"OKAY"
WRTE: Final = b"WRTE"
CLSE: Final = b"CLSE"
COMMANDS: Final = frozenset((CNXN, AUTH, OPEN, OKAY, WRTE, CLSE))

AUTH_TOKEN: Final = 1
AUTH_SIGNATURE: Final = 2
AUTH_PUBLIC_KEY: Final = 3
TOKEN_BYTES: Final = 20

_HEADER = struct.Struct("<4sIIII4s")
HEADER_BYTES: Final = _HEADER.size

# Frames of shell v2: one byte of kind, four of length, then the data.
SHELL_STDIN: Final = 0
SHELL_STDOUT: Final = 1
SHELL_STDERR: Final = 2
SHELL_EXIT: Final = 3
SHELL_CLOSE_STDIN: Final = 4
SHELL_WINDOW_SIZE: Final = 5
_SHELL_FRAME = struct.Struct("<BI")
SHELL_FRAME_BYTES: Final = _SHELL_FRAME.size

# Requests and answers of the sync service: four letters, then a length (or a time, or nothing).
_SYNC = struct.Struct("<4sI")
SYNC_BYTES: Final = _SYNC.size
SYNC_STAT: Final = struct.Struct("<4sIII")
SYNC_ENTRY: Final = struct.Struct("<4sIIII")
SYNC_CHUNK_BYTES: Final = 64 << 10
SYNC_PATH_BYTES: Final = 1024


class WireError(Exception):
    """Bytes that the protocol does not know; the message says which."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet.

    Attributes:
        command: four letters, one of `COMMANDS`.
        arg0: the sender's stream, or the version, or the kind of AUTH.
        arg1: the receiver's stream, or the sender's max data.
        data: at most the receiver's max data.
    """

    command: bytes
    arg0: int
    arg1: int
    data: Buffer = b""

    def pack(self, *, with_checksum: bool = True) -> bytes:
        """The header; the data follow it."""
        total = checksum(self.data) if with_checksum else 0
        return _HEADER.pack(self.command, self.arg0, self.arg1, len(self.data), total, _magic(self.command))


@dataclass(frozen=True, slots=True)
class Header:
    """What a packet says of itself before its data."""

    command: bytes
    arg0: int
    arg1: int
    length: int
    total: int


def parse_header(header: bytes, max_data: int) -> Header:
    """The header in 24 bytes.

    Raises:
        WireError: the command or its complement is unknown, or the data would be longer than `max_data`.
    """
    command, arg0, arg1, length, total, magic = _HEADER.unpack(header)
    if command not in COMMANDS or magic != _magic(command):
        raise WireError(f"{header[:8]!r}… starts no packet")
    if length > max_data:
        raise WireError(f"a packet of {length} bytes; at most {max_data} were agreed")
    return Header(command, arg0, arg1, length, total)


def checksum(data: Buffer) -> int:
    """The sum of all bytes, modulo 2³²; numpy's is ten times faster than Python's own."""
    return int(np.frombuffer(data, np.uint8).sum(dtype=np.uint32)) if len(data) else 0


def shell_frame(kind: int, data: Buffer) -> bytes:
    """One frame of shell v2."""
    return _SHELL_FRAME.pack(kind, len(data)) + bytes(data)


def shell_frame_head(head: Buffer) -> tuple[int, int]:
    """(kind, length of the data) in the five bytes that start a frame."""
    kind, length = _SHELL_FRAME.unpack(head)
    return int(kind), int(length)


def sync_request(name: bytes, number_or_data: int | bytes) -> bytes:
    """One sync request or answer: with data its length stands before them, else the number stands there."""
    if isinstance(number_or_data, int):
        return _SYNC.pack(name, number_or_data)
    return _SYNC.pack(name, len(number_or_data)) + number_or_data


def sync_head(head: Buffer) -> tuple[bytes, int]:
    """(four letters, number) in the eight bytes that start a sync request or answer."""
    name, number = _SYNC.unpack(head)
    return bytes(name), int(number)


def _magic(command: bytes) -> bytes:
    return bytes(letter ^ 0xFF for letter in command)
