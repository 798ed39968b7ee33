"""Builds the native runner on first use and keeps it in the user's cache under the hash of its source.

    glibc     arm64 Linux; on a phone it carries its loader and libraries along
    ticks     the same with a clock that counts its readings, for instructions by operator under emulation
    bionic    Android; the NDK when there is one, else any compiler for arm64, with our own prototypes
    host      this computer; for an engine of one's own
    counter   the emulator's plugin that counts instructions between the runner's marks

`make native` builds what the machine can, and says what it lacks.
Before `android_bench.native_install`. The sources and their protocol are in native/.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from android_bench.elf import AARCH64, read_elf
from android_bench.errors import MissingToolError
from converters.files import sha256_of, whole_folder

FORMAT = "tkd.native_build/1"
SOURCES = Path(__file__).parent / "native"
_TIMEOUT_S = 120
_WARNINGS = ("-std=c11", "-O2", "-Wall", "-Wextra")
# Android without the NDK: no headers, no start files, and x18 belongs to the platform (Android ABI, AAPCS64 6.1.1).
_BARE_FLAGS = (
    *("-DTKD_WITHOUT_NDK", "-ffreestanding", "-fno-stack-protector", "-ffixed-x18", "-nostdlib"),
    *("-Wl,--dynamic-linker=/system/bin/linker64", "-Wl,--hash-style=both", "-Wl,--no-as-needed"),
    *("-Wl,-z,max-page-size=16384", "-Wl,-z,relro", "-Wl,-z,now"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Something to build.

    Attributes:
        source: the file in native/.
        output: the name of what is made.
        flags: for the compiler.
        machine: whom it must be for, a number of the ELF ABI; None is whatever this computer is.
        loader: what must start it, "" for a library; None is whatever this computer has.
    """

    source: str
    output: str
    flags: tuple[str, ...]
    machine: int | None = AARCH64
    loader: str | None = None


TARGETS: Mapping[str, Target] = {
    "glibc": Target(
        source="runner.c",
        output="runner",
        flags=("-fPIE", "-pie", "-rdynamic", "-DTKD_OWN_CLOCK", "-ldl"),
        loader="/lib/ld-linux-aarch64.so.1",
    ),
    "ticks": Target(
        source="runner.c",
        output="runner-ticks",
        flags=("-fPIE", "-pie", "-rdynamic", "-DTKD_OWN_CLOCK", "-DTKD_TICKS", "-ldl"),
        loader="/lib/ld-linux-aarch64.so.1",
    ),
    "bionic": Target(source="runner.c", output="runner", flags=("-fPIE", "-pie"), loader="/system/bin/linker64"),
    "host": Target(source="runner.c", output="runner", flags=("-fPIE", "-pie", "-ldl"), machine=None),
    "counter": Target(source="counter.c", output="counter.so", flags=("-fPIC", "-shared"), machine=None, loader=""),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """A compiler that may be here.

    Attributes:
        name: what it is called in results.
        package: what to install to get it.
        target: a row of `TARGETS`.
        find: the command that compiles for the target, None when it is not here.
        bare: whether it has no headers and libraries of the target's libc.
    """

    name: str
    package: str
    target: str
    find: Callable[[Mapping[str, str]], Sequence[str] | None]
    bare: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeBuild:
    """A program or plugin in the cache.

    Attributes:
        path: the file.
        target: a row of `TARGETS`.
        toolchain: what built it.
        compiler: the first line of the compiler's version.
        sha256: of the file.
        source_sha256: of the sources.
        seconds: how long the compiler took.
    """

    path: Path
    target: str
    toolchain: str
    compiler: str
    sha256: str
    source_sha256: str
    seconds: float


def _on_path(*command: str) -> Callable[[Mapping[str, str]], Sequence[str] | None]:
    return lambda environment: command if shutil.which(command[0], path=environment.get("PATH")) else None


def _zig(target: str) -> Callable[[Mapping[str, str]], Sequence[str] | None]:
    def find(environment: Mapping[str, str]) -> Sequence[str] | None:
        if find_spec("ziglang") is not None:
            return (sys.executable, "-m", "ziglang", "cc", "-target", target)
        return _on_path("zig", "cc", "-target", target)(environment)

    return find


def _ndk(environment: Mapping[str, str]) -> Sequence[str] | None:
    for name in ("ANDROID_NDK_HOME", "ANDROID_NDK_ROOT", "ANDROID_NDK"):
        if root := environment.get(name):
            found = sorted(Path(root).glob("toolchains/llvm/prebuilt/*/bin/aarch64-linux-android24-clang"))
            if found:
                return (str(found[-1]),)
    return None


# The first one that is here and succeeds is taken.
TOOLCHAINS = (
    Toolchain(name="gcc", package="gcc-aarch64-linux-gnu", target="glibc", find=_on_path("aarch64-linux-gnu-gcc")),
    Toolchain(name="zig", package="ziglang (PyPI)", target="glibc", find=_zig("aarch64-linux-gnu.2.17")),
    Toolchain(name="gcc", package="gcc-aarch64-linux-gnu", target="ticks", find=_on_path("aarch64-linux-gnu-gcc")),
    Toolchain(name="zig", package="ziglang (PyPI)", target="ticks", find=_zig("aarch64-linux-gnu.2.17")),
    Toolchain(name="ndk", package="Android NDK, with ANDROID_NDK_HOME set", target="bionic", find=_ndk),
    Toolchain(
        name="clang",
        package="clang and lld",
        target="bionic",
        find=_on_path("clang", "--target=aarch64-linux-android24", "-fuse-ld=lld"),
        bare=True,
    ),
    Toolchain(name="zig", package="ziglang (PyPI)", target="bionic", find=_zig("aarch64-linux-android"), bare=True),
    Toolchain(
        name="gcc",
        package="gcc-aarch64-linux-gnu",
        target="bionic",
        find=_on_path("aarch64-linux-gnu-gcc", "-D__ANDROID__", "-mno-outline-atomics"),
        bare=True,
    ),
    Toolchain(name="cc", package="a C compiler", target="host", find=_on_path("cc")),
    Toolchain(name="cc", package="a C compiler", target="counter", find=_on_path("cc")),
)


def build(
    target: str, cache: Path, environment: Mapping[str, str] | None = None, toolchains: Sequence[Toolchain] = TOOLCHAINS
) -> NativeBuild:
    """What `target` names, built now unless the cache has it.

    Args:
        target: a row of `TARGETS`.
        cache: the user's cache (`engine.cache_folder()`).
        environment: where PATH and the NDK are looked up; None is the process's own.
        toolchains: the compilers to try, in order.

    Raises:
        MissingToolError: no compiler for it is here, or none succeeded.
    """
    source_sha256 = _source_sha256(TARGETS[target])
    folder = cache / "native" / f"{target}-{source_sha256[:16]}"
    cached = _cached(folder)
    if cached:
        return cached
    faults = []
    candidates = [row for row in toolchains if row.target == target]
    for row in candidates:
        command = row.find(os.environ if environment is None else environment)
        if command is None:
            continue
        try:
            with whole_folder(folder) as partial:
                record = _compile(row, command, partial, source_sha256)
        except _CompilerError as fault:
            faults.append(f"{row.name}: {fault}")
            continue
        return replace(record, path=folder / record.path.name)
    packages = dict.fromkeys(row.package for row in candidates)
    why = "; ".join(faults) or "no compiler for it is here"
    raise MissingToolError(f"cannot build native/{target}: {why}. Install one of: {', or '.join(packages)}")


class _CompilerError(Exception):
    """A compiler failed; the message is its first complaint."""


def _compile(row: Toolchain, command: Sequence[str], folder: Path, source_sha256: str) -> NativeBuild:
    target = TARGETS[row.target]
    output = folder / target.output
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        bare = (*_BARE_FLAGS, *_stub_libraries(command, Path(scratch))) if row.bare else ()
        _run((*command, *_WARNINGS, "-o", str(output), str(SOURCES / target.source), *target.flags, *bare))
    seconds = time.monotonic() - started
    _check(output, target)
    output.chmod(0o755)
    build = NativeBuild(
        path=output,
        target=row.target,
        toolchain=row.name,
        compiler=(_run((*command, "--version")).splitlines() or ["unknown"])[0],
        sha256=sha256_of(output),
        source_sha256=source_sha256,
        seconds=round(seconds, 2),
    )
    record = {"format": FORMAT, **asdict(build), "path": output.name}
    (folder / "build.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return build


def _stub_libraries(command: Sequence[str], folder: Path) -> tuple[str, ...]:
    """Android's libraries as the linker wants to see them: names only."""
    made = []
    for name, define in (("libc.so", "-DLIBC"), ("libdl.so", "-DLIBDL")):
        flags = ("-ffreestanding", "-fno-builtin", "-w", "-nostdlib", "-shared", "-fPIC", define, f"-Wl,-soname,{name}")
        made.append(str(folder / name))
        _run((*command, *flags, "-o", made[-1], str(SOURCES / "bionic_stub.c")))
    return tuple(made)


def _check(output: Path, target: Target) -> None:
    elf = read_elf(output.read_bytes())
    if target.machine is not None and elf.machine != target.machine:
        raise _CompilerError(f"it made a file for machine {elf.machine}, expected {target.machine}")
    if target.loader is not None and elf.interpreter != target.loader:
        raise _CompilerError(f"it made a program for the loader '{elf.interpreter}', expected '{target.loader}'")


def _run(command: Sequence[str]) -> str:
    """What a compiler printed on stdout."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as cause:
        raise _CompilerError(str(cause)) from cause
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if "error" in line] or result.stderr.splitlines()
        raise _CompilerError((lines or [f"exit code {result.returncode}"])[0][:300])
    return result.stdout


def _cached(folder: Path) -> NativeBuild | None:
    """The build in `folder`; None when there is none or it is damaged, so that it is made anew."""
    try:
        record = json.loads((folder / "build.json").read_text(encoding="utf-8"))
        if record.pop("format") != FORMAT:
            return None
        build = NativeBuild(**{**record, "path": folder / record["path"]})
        return build if sha256_of(build.path) == build.sha256 else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _source_sha256(target: Target) -> str:
    digest = hashlib.sha256(" ".join((*_WARNINGS, *target.flags, *_BARE_FLAGS)).encode())
    for source in sorted(SOURCES.glob("*.[ch]")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()
