"""Virtual phones of this user: switched on, listed, switched off.

One process for each name at a time, held by a lock of the kernel that ends with the process however that ends; what it
left behind is replaced at the next start. Above `virtual_phone`, beside `adb`; `virtual_session` measures on one.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from android_bench.adb.keys import user_keys
from android_bench.errors import BenchError, DeviceError, MissingToolError, RecordError
from android_bench.native_build import build
from android_bench.virtual_phone.arm64 import Emulator, Way, find_emulator
from android_bench.virtual_phone.commands import COMMANDS
from android_bench.virtual_phone.daemon import running
from android_bench.virtual_phone.files import PhoneFiles
from android_bench.virtual_phone.pocket_shell import PocketShell
from android_bench.virtual_phone.root import lay_out
from android_bench.virtual_phone.session import PhoneSettings
from android_bench.virtual_phone.shell import Shell
from android_bench.virtual_phone.system_shell import find_system_shell
from android_bench.virtual_phone.twin import Twin, load_twin, twin_names
from converters.files import write_text

FORMAT = "tkd.virtual_phone/1"
ShellName = Literal["system", "pocket"]
SHELLS: tuple[ShellName, ...] = ("system", "pocket")
_STOP_S = 10.0
_PAUSE_S = 0.05
_STATE, _LOCK = "state.json", "lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualPhone:
    """A virtual phone that is switched on.

    Attributes:
        name: what `--device` calls it.
        pid: the process that it lives in.
        port: where it listens on 127.0.0.1.
        way: how it runs arm64 programs, enclosed or overlaid.
        emulator: the emulator's version.
        shell: what runs its command lines, system or pocket.
        served: by `tkd-bench phone serve`; else it is on for a measurement, and ends with it.
    """

    name: str
    pid: int
    port: int
    way: str
    emulator: str
    shell: str
    served: bool

    @property
    def address(self) -> str:
        """For --connect."""
        return f"127.0.0.1:{self.port}"


@contextmanager
def switched_on(
    name: str,
    cache: Path,
    environment: Mapping[str, str],
    port: int = 0,
    way: Way | None = None,
    *,
    shell: ShellName | None = "pocket",
    served: bool = False,
) -> Iterator[VirtualPhone]:
    """A virtual phone, on until the end of the block; it knows the keys of this user and nobody else's.

    Args:
        name: which one.
        cache: the user's cache; the phone's folders are in it.
        environment: where keys are looked for, as adb does.
        port: where it listens; 0 takes a free one.
        way: how it runs arm64 programs; None takes the first that works.
        shell: what runs command lines; `pocket` works everywhere, None takes the first of `SHELLS` that works.
        served: whether `switch_off` may end it.

    Raises:
        BenchError: there is no such virtual phone.
        DeviceError: it is on already, the port is taken, or something that it needs is not here.
    """
    twin = load_twin(name)
    place = _place(cache, name)
    with ExitStack() as stack:
        stack.enter_context(_held(place, name))
        counter = build("counter", cache)
        folders = lay_out(twin, place)
        emulator = find_emulator(folders, twin.emulated_cpu, counter.path, way)
        told = _told(twin, emulator, counter.source_sha256)
        files = PhoneFiles(folders.root)
        kind, runs_commands = _shell(told, emulator, files, shell)
        settings = _settings(told, files, runs_commands, environment)
        try:
            daemon = stack.enter_context(running(settings, port))
        except OSError as cause:
            if cause.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            raise DeviceError(
                f"port {port} on 127.0.0.1 cannot be had ({cause.strerror}); "
                "choose another with --port, or leave it out for a free one"
            ) from cause
        phone = VirtualPhone(
            name=name,
            pid=os.getpid(),
            port=daemon.port,
            way=emulator.way,
            emulator=emulator.version,
            shell=kind,
            served=served,
        )
        write_text(place / _STATE, json.dumps({"format": FORMAT, **asdict(phone)}) + "\n")
        stack.callback((place / _STATE).unlink, missing_ok=True)
        yield phone


def switched_on_phones(cache: Path) -> list[VirtualPhone]:
    """The virtual phones that are on; what a process that died has left is not among them."""
    found = []
    for name in twin_names():
        place = _place(cache, name)
        if _is_held(place):
            try:
                found.append(_read_state(place))
            except RecordError:
                continue  # it is being switched on or off at this moment
    return found


def switch_off(name: str, cache: Path) -> VirtualPhone:
    """Switches a virtual phone off, with all that runs on it, and waits for its end.

    Raises:
        BenchError: there is no such virtual phone, or it is not on.
        DeviceError: its process does not end.
    """
    load_twin(name)
    phone = next((each for each in switched_on_phones(cache) if each.name == name), None)
    if phone is None:
        raise BenchError(f"{name} is not on; see: tkd-bench phone list")
    if not phone.served:
        raise BenchError(
            f"{name} is on for a measurement by process {phone.pid}; wait for its end, or interrupt it there"
        )
    try:
        os.kill(phone.pid, signal.SIGTERM)
    except ProcessLookupError:
        return phone
    except PermissionError as cause:
        raise DeviceError(f"{name} belongs to process {phone.pid} of another user, who has to end it") from cause
    deadline = time.monotonic() + _STOP_S
    while _is_held(_place(cache, name)):
        if time.monotonic() > deadline:
            raise DeviceError(
                f"{name} (process {phone.pid}) did not end in {_STOP_S:g} s; end it with: kill -9 {phone.pid}"
            )
        time.sleep(_PAUSE_S)
    return phone


def _shell(twin: Twin, emulator: Emulator, files: PhoneFiles, wanted: ShellName | None) -> tuple[ShellName, Shell]:
    if wanted != "pocket":
        try:
            return "system", find_system_shell(twin, emulator)
        except MissingToolError:
            if wanted == "system":
                raise
    return "pocket", PocketShell(files, twin, emulator, COMMANDS)


def _settings(twin: Twin, files: PhoneFiles, shell: Shell, environment: Mapping[str, str]) -> PhoneSettings:
    greeting = ("ro.product.name", "ro.product.model", "ro.product.device")
    return PhoneSettings(
        shell=shell,
        files=files,
        known_keys=tuple(key.private.public_key() for key in user_keys(environment)),
        properties={key: twin.properties[key] for key in greeting if key in twin.properties},
    )


def _told(twin: Twin, emulator: Emulator, counter_sha256: str) -> Twin:
    """The twin with what its own emulation is, for `getprop`."""
    ours = {
        "tkd.counter.sha256": counter_sha256,
        "tkd.emulator.cpu": emulator.cpu,
        "tkd.emulator.version": f"qemu {emulator.version}",
        "tkd.emulator.way": emulator.way,
    }
    return replace(twin, properties={**twin.properties, **ours})


@contextmanager
def _held(place: Path, name: str) -> Iterator[None]:
    """Holds the phone's name for this process."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        handle = os.open(place / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as cause:
        raise DeviceError(f"cannot keep {name} in {place}: {cause.strerror} ({cause.filename})") from cause
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as cause:
        os.close(handle)
        raise DeviceError(f"{name} is on already{_where(place)}; end it with: tkd-bench phone stop {name}") from cause
    try:
        yield
    finally:
        os.close(handle)


def _where(place: Path) -> str:
    try:
        phone = _read_state(place)
    except RecordError:
        return ""
    return f" (process {phone.pid}, {phone.address})"


def _is_held(place: Path) -> bool:
    try:
        handle = os.open(place / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _read_state(place: Path) -> VirtualPhone:
    try:
        record = json.loads((place / _STATE).read_text(encoding="utf-8"))
        if record.pop("format") != FORMAT:
            raise RecordError(f"{place / _STATE} was written by another version")
        return VirtualPhone(**record)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as cause:
        raise RecordError(f"{place / _STATE} cannot be read: {cause}") from cause


def _place(cache: Path, name: str) -> Path:
    return cache / "virtual" / name
