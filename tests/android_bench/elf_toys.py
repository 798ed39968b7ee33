"""Small ELF files made byte by byte, so that tests need no compiler for another machine."""

import struct

from android_bench.elf import AARCH64

ENGINE_NAMES = ("TfLiteModelCreateFromFile", "TfLiteInterpreterCreate", "TfLiteInterpreterInvoke")
_BASE = 0x10000  # addresses differ from file offsets, as in real libraries


def elf_library(*, machine=AARCH64, needed=("libm.so.6", "libc.so.6"), names=ENGINE_NAMES, interpreter="") -> bytes:
    """A library that offers `names` and is linked with `needed`; a program when it has an interpreter."""
    texts = ["", *needed, *names, "undefined", interpreter]
    strings, at = b"", {}
    for text in texts:
        at.setdefault(text, len(strings))
        strings += text.encode() + b"\0"
    tags = [(1, at[name]) for name in needed] + [(5, 0), (0, 0)]
    program_headers = 3 if interpreter else 2
    tags_at = 64 + program_headers * 56
    symbols_at = tags_at + 16 * len(tags)
    symbols = bytes(24) + struct.pack("<IBBHQQ", at["undefined"], 0x12, 0, 0, 0, 0)
    symbols += b"".join(struct.pack("<IBBHQQ", at[name], 0x12, 0, 7, 0x40, 8) for name in names)
    strings_at = symbols_at + len(symbols)
    sections_at = strings_at + len(strings)
    tags = [(tag, _BASE + strings_at if tag == 5 else value) for tag, value in tags]

    def segment(kind, offset, size):
        return struct.pack("<II6Q", kind, 5, offset, _BASE + offset, _BASE + offset, size, size, 8)

    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, sections_at, 0, 64, 56, program_headers, 64, 2, 0
    )
    programs = segment(1, 0, sections_at) + segment(2, tags_at, 16 * len(tags))
    if interpreter:
        programs += segment(3, strings_at + at[interpreter], len(interpreter) + 1)
    section = struct.pack("<II4QIIQQ", 0, 11, 2, _BASE + symbols_at, symbols_at, len(symbols), 0, 1, 8, 24)
    return (
        header + programs + b"".join(struct.pack("<QQ", *tag) for tag in tags) + symbols + strings + bytes(64) + section
    )
