"""Reading ELF files: what they need and offer, and damage of every kind."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from android_bench.elf import AARCH64, X86_64, read_elf
from tests.android_bench.elf_toys import ENGINE_NAMES, elf_library


def test_a_library_tells_machine_needs_and_names():
    elf = read_elf(elf_library())

    assert (elf.machine, elf.interpreter, elf.libc) == (AARCH64, "", "glibc")
    assert elf.needed == ("libm.so.6", "libc.so.6")
    assert elf.defined == set(ENGINE_NAMES)


def test_a_program_tells_its_loader():
    elf = read_elf(elf_library(machine=X86_64, needed=("libc.so",), interpreter="/system/bin/linker64"))

    assert (elf.machine, elf.interpreter, elf.libc) == (X86_64, "/system/bin/linker64", "bionic")


def test_a_library_without_a_libc_says_so():
    assert read_elf(elf_library(needed=("libfoo.so",))).libc == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no 64-bit ELF"),
        (b"PK\x03\x04", "no 64-bit ELF"),
        (b"\x7fELF\x01\x01" + bytes(60), "no 64-bit ELF"),
        (b"\x7fELF\x02\x01", "damaged"),
        (elf_library()[:100], "damaged"),
    ],
)
def test_what_is_no_elf_file_is_an_error(content, message):
    with pytest.raises(ValueError, match=message):
        read_elf(content)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damage_is_a_value_error_or_nothing(data):
    content = bytearray(elf_library(interpreter="/lib/ld.so"))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ValueError):  # any other error fails the test
        read_elf(bytes(content[: data.draw(st.integers(0, len(content)))]))
