"""What an ELF file says of itself: machine, loader, libraries, names. Pure, and safe on damaged files.

`android_bench.engine` looks into engines with it, `android_bench.native_build` into what a compiler made.
Source: System V ABI, chapters 4 and 5; only 64-bit little-endian files are read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

AARCH64 = 183
X86_64 = 62

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NULL, _DT_NEEDED, _DT_STRTAB = 0, 1, 5
_SHT_DYNSYM = 11


@dataclass(frozen=True, slots=True, kw_only=True)
class Elf:
    """One program or library.

    Attributes:
        machine: the processor it is for, `AARCH64` or another number of the ABI.
        interpreter: the loader that starts it, "" for a library.
        needed: names of the libraries it is linked with.
        defined: names that it offers to others.
    """

    machine: int
    interpreter: str
    needed: tuple[str, ...]
    defined: frozenset[str]

    @property
    def libc(self) -> str:
        """glibc, bionic (Android's), or "" when its libraries do not tell."""
        if "libc.so.6" in self.needed:
            return "glibc"
        return "bionic" if "libc.so" in self.needed else ""


def read_elf(content: bytes) -> Elf:
    """What is in the file.

    Raises:
        ValueError: it is no 64-bit little-endian ELF file, or its tables point outside of it.
    """
    if content[:6] != b"\x7fELF\x02\x01":
        raise ValueError("it is no 64-bit ELF file")
    try:
        return _read(content)
    except (struct.error, IndexError, OverflowError, UnicodeDecodeError) as cause:
        raise ValueError("it is a damaged ELF file") from cause


def _read(content: bytes) -> Elf:
    machine = struct.unpack_from("<H", content, 18)[0]
    program_at, section_at = struct.unpack_from("<QQ", content, 32)
    program_size, programs, section_size, sections = struct.unpack_from("<4H", content, 54)
    segments = [struct.unpack_from("<II6Q", content, program_at + i * program_size) for i in range(programs)]
    loads = [(virtual, offset, size) for kind, _, offset, virtual, _, size, *_ in segments if kind == _PT_LOAD]
    interpreter = "".join(_text(content, offset) for kind, _, offset, *_ in segments if kind == _PT_INTERP)
    dynamic = [(offset, size) for kind, _, offset, _, _, size, *_ in segments if kind == _PT_DYNAMIC]
    tags = [tag for offset, size in dynamic for tag in _tags(content, offset, size)]
    strings = next((_offset(loads, value) for tag, value in tags if tag == _DT_STRTAB), 0)
    needed = tuple(_text(content, strings + value) for tag, value in tags if tag == _DT_NEEDED)
    headers = (struct.unpack_from("<II4Q", content, section_at + i * section_size) for i in range(sections))
    tables = [(offset, size) for _, kind, _, _, offset, size in headers if kind == _SHT_DYNSYM]
    defined = frozenset(name for offset, size in tables for name in _defined(content, offset, size, strings))
    return Elf(machine=machine, interpreter=interpreter, needed=needed, defined=defined)


def _tags(content: bytes, offset: int, size: int) -> Iterator[tuple[int, int]]:
    for at in range(offset, offset + size, 16):
        tag, value = struct.unpack_from("<QQ", content, at)
        if tag == _DT_NULL:
            return
        yield tag, value


def _defined(content: bytes, offset: int, size: int, strings: int) -> Iterator[str]:
    for name, _, _, section, _, _ in struct.iter_unpack("<IBBHQQ", content[offset : offset + size]):
        if section and name:
            yield _text(content, strings + name)


def _offset(loads: list[tuple[int, int, int]], address: int) -> int:
    """Where in the file an address of the running program is."""
    for virtual, offset, size in loads:
        if virtual <= address < virtual + size:
            return offset + address - virtual
    raise IndexError(address)


def _text(content: bytes, at: int) -> str:
    end = content.find(b"\0", at)
    if at < 0 or end < 0:
        raise IndexError(at)
    return content[at:end].decode("utf-8")
