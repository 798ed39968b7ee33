"""Puts the native runner and its engine on a device, and says how they are started there.

    Android's engine   runner  libtensorflowlite_jni.so
    glibc's engine     runner  libLiteRtRuntimeCApi.so  ld-linux-aarch64.so.1  libc.so.6  libm.so.6  libstdc++.so.6 …

After `android_bench.engine` and `android_bench.native_build`; `android_bench.runner` starts what is put here.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from android_bench.device import Device
from android_bench.elf import read_elf
from android_bench.engine import Engine, find_engine
from android_bench.errors import DeviceError, MissingToolError
from android_bench.native_build import NativeBuild, build
from converters.files import sha256_of, whole_folder

_LOADER = "ld-linux-aarch64.so.1"
# Where libraries for arm64 are kept: Debian and Ubuntu's cross packages, Fedora's, an arm64 computer's own.
LIBRARY_FOLDERS = (
    Path("/usr/aarch64-linux-gnu/lib"),
    Path("/usr/aarch64-linux-gnu/sys-root/lib64"),
    Path("/usr/aarch64-linux-gnu/sys-root/usr/lib64"),
    Path("/lib/aarch64-linux-gnu"),
    Path("/usr/lib/aarch64-linux-gnu"),
)
_PACKAGES = "libc6-arm64-cross libstdc++6-arm64-cross libgcc-s1-arm64-cross"


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """A runner that is ready on a device.

    Attributes:
        command: what starts it there, to which `key=value` arguments are added.
        facts: which runner and engine it is, for the session: names and hashes.
    """

    command: tuple[str, ...]
    facts: Mapping[str, str | bool]


def install_runner(device: Device, cache: Path, libcs: Sequence[str] = ("bionic", "glibc")) -> Installation:
    """Pushes the runner, the engine, and for glibc the libraries that it needs.

    Args:
        device: where to.
        cache: the user's cache, with an engine in it; the runner is built into it on first use.
        libcs: which kinds of engine the device can run; the first that the cache has is taken.

    Raises:
        MissingToolError: no engine, no compiler, or no arm64 libraries are here; the message says what to bring.
        DeviceError: the device did not take them.
    """
    engine = find_engine(cache, libcs)
    runner = build(engine.libc, cache)
    files = [runner.path, engine.path]
    if engine.libc == "glibc":
        files += loader_libraries(engine, cache)
    there = {local.name: _pushed(device, local) for local in files}
    start: tuple[str, ...] = (there[runner.path.name],)
    if engine.libc == "glibc":
        folders = dict.fromkeys(str(PurePosixPath(remote).parent) for remote in there.values())
        start = (there[_LOADER], "--library-path", ":".join(folders), *start)
    return Installation(
        command=(*start, f"engine={there[engine.path.name]}"),
        facts=_facts(runner, engine),
    )


def ticking_runner(device: Device, cache: Path, command: tuple[str, ...]) -> tuple[str, ...]:
    """Pushes the build of the runner that counts operators; what starts it, made from what starts the other one.

    Raises:
        MissingToolError: no compiler for it is here.
        DeviceError: the device did not take it.
    """
    ticks = _pushed(device, build("ticks", cache).path)
    return tuple(ticks if PurePosixPath(word).name == "runner" else word for word in command)


def loader_libraries(engine: Engine, cache: Path, folders: Sequence[Path] = LIBRARY_FOLDERS) -> list[Path]:
    """Copies in the cache of the arm64 loader and of every library that the engine needs, each under its own name.

    Raises:
        MissingToolError: one of them is in none of `folders`.
    """
    found: dict[str, Path] = {}
    wanted = [_LOADER, *read_elf(engine.path.read_bytes()).needed]
    while wanted:
        name = wanted.pop()
        if name in found:
            continue
        found[name] = _library(name, folders)
        wanted += read_elf(found[name].read_bytes()).needed
    kept = cache / "arm64-libraries"
    same = all((kept / name).is_file() and sha256_of(kept / name) == sha256_of(path) for name, path in found.items())
    if not same:
        with whole_folder(kept) as partial:
            for name, path in found.items():
                shutil.copyfile(path, partial / name)
                (partial / name).chmod(0o755)
    return [kept / name for name in sorted(found)]


def _library(name: str, folders: Sequence[Path]) -> Path:
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise MissingToolError(
        f"no {name} for arm64 in {', '.join(map(str, folders))}; "
        f"Debian and Ubuntu have it in: {_PACKAGES} (or import an Android build of the engine, which needs none)"
    )


def _pushed(device: Device, local: Path) -> str:
    remote = device.push(local)
    if PurePosixPath(remote).name != local.name:
        raise DeviceError(f"{local.name} is {remote} on the device; expected a file of the same name, as loaders do")
    return remote


def _facts(runner: NativeBuild, engine: Engine) -> Mapping[str, str | bool]:
    return {
        "engine_file": engine.path.name,
        "engine_sha256": engine.sha256,
        "engine_source": engine.source,
        "engine_pinned": engine.pinned,
        "engine_libc": engine.libc,
        "runner_sha256": runner.sha256,
        "runner_toolchain": f"{runner.toolchain} ({runner.compiler})",
    }
