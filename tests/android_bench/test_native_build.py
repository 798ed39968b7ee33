"""Building the runner: the table of toolchains, the cache, and failures that say what to install."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from android_bench import native_build
from android_bench.cli import main
from android_bench.elf import AARCH64, read_elf
from android_bench.errors import MissingToolError
from android_bench.native_build import SOURCES, TARGETS, TOOLCHAINS, build
from tests.android_bench.elf_toys import elf_library

GLIBC = "/lib/ld-linux-aarch64.so.1"


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A copy of native/, so that a test may change it."""
    folder = shutil.copytree(SOURCES, tmp_path / "native")
    monkeypatch.setattr(native_build, "SOURCES", folder)
    return folder


@pytest.fixture
def compiler(tmp_path):
    """A stand-in for a compiler: makes a program of the wanted kind and counts its calls.

    A test double: it compiles nothing.
    """
    script = tmp_path / "compiler.py"
    calls = tmp_path / "calls"

    def made(content: bytes = b"", code: int = 0, stderr: str = ""):
        (tmp_path / "content").write_bytes(content or elf_library(interpreter=GLIBC))
        script.write_text(
            "import shutil, sys\n"
            f"open({str(calls)!r}, 'a').write(' '.join(sys.argv[1:]) + chr(10))\n"
            "if '--version' in sys.argv: print('pretend cc 1.0'); sys.exit()\n"
            f"if {code}: sys.exit({stderr!r})\n"
            f"shutil.copy({str(tmp_path / 'content')!r}, sys.argv[sys.argv.index('-o') + 1])\n"
        )
        row = next(row for row in TOOLCHAINS if (row.name, row.target) == ("gcc", "glibc"))
        return replace(row, name="pretend", find=lambda _: (sys.executable, str(script)))

    made.calls = lambda: calls.read_text().splitlines() if calls.exists() else []
    return made


def rows():
    return [pytest.param(row, id=f"{row.target}-{row.name}") for row in TOOLCHAINS]


@pytest.mark.parametrize("row", rows())
def test_every_toolchain_that_is_here_makes_a_program_of_its_target(row, tmp_path):
    if row.find(dict(native_build.os.environ)) is None:
        pytest.skip(f"{row.package} is not here")

    made = build(row.target, tmp_path, toolchains=[row])
    elf = read_elf(made.path.read_bytes())
    target = TARGETS[row.target]

    assert (made.toolchain, made.path.name) == (row.name, target.output)
    assert made.path.stat().st_mode & 0o111
    if row.target == "glibc":
        assert (elf.machine, elf.interpreter, elf.libc) == (AARCH64, GLIBC, "glibc")
        assert set(elf.needed) <= {"libc.so.6", "libdl.so.2", "ld-linux-aarch64.so.1"}
    if row.target == "bionic":
        assert (elf.machine, elf.interpreter) == (AARCH64, "/system/bin/linker64")
        assert elf.needed == ("libc.so", "libdl.so")
    if row.target == "counter":
        assert elf.defined >= {"qemu_plugin_version", "qemu_plugin_install"}


def test_a_build_is_kept_until_its_source_changes(tmp_path, sources, compiler):
    first = build("glibc", tmp_path / "cache", toolchains=[compiler()])
    calls = len(compiler.calls())
    again = build("glibc", tmp_path / "cache", toolchains=[compiler()])

    assert again == first
    assert len(compiler.calls()) == calls > 0

    (sources / "runner.c").write_text("int main(void) { return 1; }\n")
    changed = build("glibc", tmp_path / "cache", toolchains=[compiler()])

    assert changed.source_sha256 != first.source_sha256
    assert changed.path != first.path
    assert len(compiler.calls()) > calls


@pytest.mark.parametrize(
    "damage",
    [lambda folder: (folder / "runner").write_bytes(b"x"), lambda folder: (folder / "build.json").write_text("{")],
)
def test_a_damaged_build_is_made_anew(tmp_path, compiler, damage):
    first = build("glibc", tmp_path, toolchains=[compiler()])
    damage(first.path.parent)

    again = build("glibc", tmp_path, toolchains=[compiler()])

    assert again.path.read_bytes() == elf_library(interpreter=GLIBC)
    assert json.loads((again.path.parent / "build.json").read_text())["format"] == "tkd.native_build/1"


def test_the_next_toolchain_is_tried_when_one_fails(tmp_path, compiler):
    good = compiler()
    bad = replace(good, name="broken", find=lambda _: ("/nowhere/cc",))

    assert build("glibc", tmp_path, toolchains=[bad, good]).toolchain == "pretend"


@pytest.mark.parametrize(
    ("content", "code", "stderr", "message"),
    [
        (b"", 1, "note: x\nrunner.c:1: error: no such thing", "pretend: runner.c:1: error: no such thing"),
        (elf_library(interpreter="/lib64/ld.so"), 0, "", f"loader '/lib64/ld.so', expected '{GLIBC}'"),
        (elf_library(machine=62, interpreter=GLIBC), 0, "", "for machine 62, expected 183"),
    ],
)
def test_a_compiler_that_fails_says_why_and_leaves_nothing(tmp_path, compiler, content, code, stderr, message):
    with pytest.raises(MissingToolError, match="cannot build native/glibc") as caught:
        build("glibc", tmp_path / "cache", toolchains=[compiler(content, code, stderr)])

    assert message in str(caught.value)
    assert list((tmp_path / "cache").rglob("runner")) == []


def test_without_a_compiler_the_error_names_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(native_build, "find_spec", lambda name: None)

    with pytest.raises(MissingToolError, match=r"Install one of: gcc-aarch64-linux-gnu, or ziglang"):
        build("glibc", tmp_path, environment={"PATH": str(tmp_path)}, toolchains=TOOLCHAINS[:2])


def test_the_ndk_is_found_by_its_variable(tmp_path):
    ndk = next(row for row in TOOLCHAINS if row.name == "ndk")
    clang = tmp_path / "toolchains/llvm/prebuilt/linux-x86_64/bin/aarch64-linux-android24-clang"
    clang.parent.mkdir(parents=True)
    clang.touch()

    assert ndk.find({"ANDROID_NDK_ROOT": str(tmp_path)}) == (str(clang),)
    assert ndk.find({"ANDROID_NDK_HOME": "/nowhere"}) is None
    assert ndk.find({}) is None


def test_the_command_builds_what_it_can_and_says_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(native_build, "find_spec", lambda name: None)

    assert main(["engine", "build"]) == 4

    out = capsys.readouterr().out
    assert "glibc    missing: cannot build native/glibc: no compiler for it is here" in out
    assert "bionic   missing: " in out


def test_every_source_is_in_the_package():
    assert {path.name for path in Path(SOURCES).iterdir()} >= {target.source for target in TARGETS.values()}
