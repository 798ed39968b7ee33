"""A phone as a `Device`, over either transport.

One command at a time. A connection that was lost is made again before the next command, never by repeating one:
only what may be done twice (reading, pushing, pulling) is tried a second time.
Everything of ours on a phone lies in one folder, and only there anything is written or removed.
"""

from __future__ import annotations

import hashlib
import shlex
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from android_bench.adb.readings import FACTS_SCRIPT, STATE_SCRIPT, PhoneFacts, facts_from, state_from
from android_bench.adb.services import Running, receive_file, run_command, send_file
from android_bench.adb.streams import Connection, Deadline
from android_bench.device import CommandResult, Device, utc_now
from android_bench.errors import DeviceError, DeviceLostError, DeviceTimeoutError, RefusedError
from android_bench.records import DeviceContext, DeviceState
from converters.files import whole_file

FOLDER = "/data/local/tmp/tkd"
_READ_S = 40.0  # `dumpsys` gives a silent service up to ten seconds each
_HASHED_BYTES_PER_S = 10e6  # a slow phone does ten times as much
_TURN_S = 60.0  # how long a push or a pull waits for another command
_STALL_S = 20.0  # a transfer ends when nothing moved for so long
_CONNECT_S = 10.0
_PATIENCE_S = 4.0  # a cable that is touched, or a radio that nods off
_END_S = 5.0  # for ending what took too long
_LOW_BATTERY_PERCENT = 25
_SILENT = ("absent", "denied", "unclear")
_PAUSE_S = 0.2  # between tries to reach a phone again
_SHOWN = 60  # letters of a command in an error

Advance = Callable[[str, int, int], None]
_T = TypeVar("_T")


class Phone(Device):
    """A phone.

    Args:
        serial: its serial number or address, for errors.
        connect: makes a connection to it within so many seconds.
        transport: how it is reached, for results: "adb server 127.0.0.1:5037", "TCP", "USB".
        runner: the command that starts the runner on it.
        advance: told (file name, bytes just sent, bytes in all) while a file is pushed.
        folder: the one folder that is ours.
        let_go: called once when the phone is closed.
        stall_s: how long a transfer may stand still.
        read_s: how long the phone may take to say what it is and how it is.
        patience_s: how long a phone that was there and has gone may take to come back.
    """

    def __init__(
        self,
        serial: str,
        connect: Callable[[float], Connection],
        transport: str,
        runner: tuple[str, ...] = (),
        advance: Advance = lambda _name, _bytes, _total: None,
        folder: str = FOLDER,
        let_go: Callable[[], None] = lambda: None,
        stall_s: float = _STALL_S,
        read_s: float = _READ_S,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self.serial, self.transport = serial, transport
        self._connect, self._runner, self._advance = connect, runner, advance
        self._folder, self._stall_s, self._read_s, self._patience_s = folder, stall_s, read_s, patience_s
        self._let_go = let_go
        self._connection: Connection | None = None
        self._turn = threading.RLock()
        self._facts: PhoneFacts | None = None
        self._there: set[str] = set()
        self._locals: dict[tuple[Path, int, int], _Local] = {}
        self._cleared = False
        self.connections = 0

    @property
    def runner(self) -> tuple[str, ...]:
        """The command that starts the runner on it."""
        if not self._runner:
            raise DeviceError(f"{self.serial} was given no runner")
        return self._runner

    @property
    def folder(self) -> str:
        """The one folder that is ours on it."""
        return self._folder

    def use_runner(self, command: tuple[str, ...]) -> None:
        """Says what starts the runner that was put on it."""
        self._runner = command

    def tidy(self, keep: Sequence[str] = ()) -> None:
        """Removes what is in our folder, and then the folder, but for these folders in it.

        Raises:
            DeviceError: the phone cannot be reached, or refused.
        """
        script = (
            'top=$1; shift; [ -d "$top" ] || exit 0; rm -f "$top"/*/*.part; for f in "$top"/*; do mine=; '
            'for k; do [ "$f" = "$k" ] && mine=1; done; [ -n "$mine" ] || rm -rf "$f"; done; '
            'rmdir "$top" 2>/dev/null; exit 0'
        )
        with self._my_turn(_TURN_S):
            self._there.intersection_update(keep)
            self._twice(lambda: self._shell("clearing up", script, self._folder, *keep))

    def run(self, command: Sequence[str], timeout_s: float) -> CommandResult:
        """Runs a command to its end; it is started once, whatever happens to the connection.

        Raises:
            DeviceTimeoutError: it took longer than `timeout_s` (then up to 5 s more are spent on ending it).
            DeviceLostError: the connection broke; the command may or may not have run.
            DeviceError: the phone cannot be reached.
        """
        words = " ".join(" ".join(command).split())
        return self._run(command, timeout_s, repr(words if len(words) <= _SHOWN else f"{words[:_SHOWN]}…"))

    def _run(self, command: Sequence[str], timeout_s: float, shown: str) -> CommandResult:
        with self._my_turn(timeout_s):
            deadline = Deadline(timeout_s, f"{shown} on {self.serial}")
            connection = self._connected(deadline)
            running = Running()
            started = time.monotonic()
            try:
                code, stdout, stderr = run_command(connection, shlex.join(command), deadline, running)
            except DeviceTimeoutError as cause:
                end = "and was ended" if self._end(running) else "and may still be running: it could not be ended"
                raise DeviceTimeoutError(f"{cause} {end}") from cause
            except DeviceLostError as cause:
                self._end(running)
                raise DeviceLostError(
                    f"{cause}; {shown} may or may not have run on {self.serial}, and was not repeated"
                ) from cause
            except BaseException:  # Ctrl-C too: nothing that was started here outlives this call
                self._end(running)
                raise
            seconds = time.monotonic() - started
        return CommandResult(exit_code=code, stdout_bytes=stdout, stderr_bytes=stderr, seconds=seconds)

    def push(self, local: Path) -> str:
        """Puts a file on the phone unless the very same is there; its path there."""
        return f"{self.push_files({local.name: local})}/{local.name}"

    def push_files(self, files: Mapping[str, Path]) -> str:
        """Puts files beside each other on the phone, under the names given; their folder there.

        The folder is named after what is in it, so equal files are sent once and different ones never meet.
        A file that cannot be finished leaves nothing behind.

        Raises:
            DeviceError: the phone refused a file, or it arrived damaged twice.
            OSError: a local file cannot be read.
        """
        wanted = {name: self._local(path) for name, path in files.items()}
        for name in wanted:
            if not name or name.startswith(".") or any(letter in name for letter in "/\n\r\0"):
                raise DeviceError(f"{name!r} is no name for a file on a phone")
        identity = "".join(f"{name}\0{local.sha256}\0" for name, local in sorted(wanted.items()))
        folder = f"{self._folder}/{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
        with self._my_turn(_TURN_S):
            if folder in self._there and self._connection is not None and self._connection.is_alive():
                return folder
            present = self._twice(lambda: self._same(folder, wanted))
            for name in wanted:
                if name not in present:
                    self._put(folder, name, wanted[name])
            self._there.add(folder)
        return folder

    def pull(self, remote: str, local: Path) -> None:
        """Copies a file of the phone; `local` is written whole or not at all.

        Raises:
            RefusedError: it is missing or may not be read.
            DeviceError: the connection broke twice, or nothing moved for 20 s.
        """

        def copy() -> None:
            deadline = Deadline(self._stall_s, f"the next part of {remote} from {self.serial}")

            def take(chunk: memoryview) -> None:
                deadline.extend(self._stall_s)
                sink.write(chunk)

            with whole_file(local) as partial, partial.open("wb") as sink:
                receive_file(self._connected(deadline), remote, take, deadline)

        with self._my_turn(_TURN_S):
            self._twice(copy)

    def facts(self) -> PhoneFacts:
        """What does not change on it; asked once."""
        if self._facts is None:
            result = self._read("asking what it is", FACTS_SCRIPT)
            self._facts = facts_from(result.stdout, result.stderr)
        return self._facts

    def state(self) -> DeviceState:
        """Battery, temperatures, clocks, screen and load, as far as the phone tells."""
        result = self._read("asking how it is", STATE_SCRIPT)
        return state_from(result.stdout, result.stderr, utc_now())

    def context(self) -> DeviceContext:
        """The phone, for a session."""
        facts = self.facts()
        highest = [group.max_khz for group in facts.clusters if isinstance(group.max_khz, int)]
        return DeviceContext(
            kind="phone",
            model=facts.model,
            fingerprint=facts.fingerprint,
            cpu_count=facts.cpu_count,
            max_frequency_khz=max(highest) if highest else "denied" if facts.denied else "absent",
            clocks_locked="unknown",
            memory_total_kb=facts.memory_total_kb,
            stands_for=f"EMULATED {facts.model}, Android {facts.android}: its times are no latency"
            if facts.emulated
            else f"wall-clock time on {facts.model}, Android {facts.android}, in a shell process, not in an app",
            serial=self.serial,
            serial_number=facts.serial_number,
            transport=self.transport,
            abi=facts.abi,
            android=facts.android,
            sdk=facts.sdk,
            emulated=facts.emulated,
        )

    def concerns(self, state: DeviceState) -> tuple[str, ...]:
        """A low battery, throttling, clocks that move, CPUs that are off."""
        found = []
        if self.facts().emulated:
            found.append("EMULATED: this is no real phone, and its times are no latency")
        if isinstance(state.battery_percent, int) and state.battery_percent < _LOW_BATTERY_PERCENT:
            found.append(f"battery at {state.battery_percent} %: a phone may save power; charge it to 25 % or more")
        if str(state.thermal_status).endswith("(set by hand)"):
            found.append("the thermal status was set by hand: undo it with: adb shell cmd thermalservice reset")
        elif state.thermal_status not in ("none", *_SILENT):
            found.append(f"thermal status {state.thermal_status}: it is throttling; let it cool down")
        moving = sorted({str(name) for name in state.governor.values()} - {"performance", "userspace", *_SILENT})
        if moving:
            found.append(f"clock governor {', '.join(moving)}: clocks move with the load, as on any stock phone")
        if state.screen == "off":
            found.append("screen off: the phone may doze; keep it on with: adb shell svc power stayon true")
        return tuple(found)

    def __enter__(self) -> Phone:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hangs up, and lets the phone go."""
        self._hang_up()
        let_go, self._let_go = self._let_go, lambda: None
        let_go()

    def also_let_go(self, more: Callable[[], None]) -> None:
        """Adds to what is called once when the phone is closed."""
        before = self._let_go

        def both() -> None:
            before()
            more()

        self._let_go = both

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _read(self, doing: str, script: str) -> CommandResult:
        return self._twice(lambda: self._run(("sh", "-c", script), self._read_s, doing))

    @contextmanager
    def _my_turn(self, timeout_s: float) -> Iterator[None]:
        """One command at a time: others wait, no longer than they would for their own command."""
        if not self._turn.acquire(timeout=timeout_s):
            raise DeviceTimeoutError(f"{self.serial} was busy with another command for {timeout_s:g} s")
        try:
            yield
        finally:
            self._turn.release()

    def _connected(self, deadline: Deadline) -> Connection:
        """The connection, made again if it was lost; nothing has been sent over it yet."""
        if self._connection is not None and self._connection.is_alive():
            return self._connection
        self._hang_up()
        self._there.clear()  # the phone may have been restarted, or be another one
        patience = time.monotonic() + (self._patience_s if self.connections else 0.0)
        while self._connection is None:
            try:
                self._connection = self._connect(min(_CONNECT_S, deadline.left_s()))
            except RefusedError:
                raise
            except DeviceError:
                if time.monotonic() >= patience:
                    raise
                time.sleep(_PAUSE_S)
        self.connections += 1
        return self._connection

    def _twice(self, work: Callable[[], _T]) -> _T:
        """The result of what may be done twice: it is, over a new connection, when the first was lost."""
        try:
            return work()
        except DeviceLostError:
            self._hang_up()
            return work()

    def _end(self, running: Running) -> bool:
        """Ends a command that was given up, with all that it started; whether that worked."""
        self._hang_up()  # what is still on its way for the old command must not be taken for an answer
        if running.pid is None:
            return False
        # Its group, else itself; the phone may have ended it when we hung up, which is as good.
        pid = running.pid
        script = f"kill -9 -{pid} 2>/dev/null || kill -9 {pid} 2>/dev/null || ! kill -0 {pid} 2>/dev/null"
        deadline = Deadline(_END_S, f"ending a command on {self.serial}")
        try:
            code, _, _ = run_command(self._connected(deadline), shlex.join(("sh", "-c", script)), deadline)
        except DeviceError:
            self._hang_up()
            return False
        return code == 0

    def _shell(self, doing: str, script: str, *words: str, more_s: float = 0.0) -> str:
        """What a script of ours printed, within the time of a stall and `more_s`.

        Raises:
            DeviceError: it failed; the message is what it said.
        """
        result = self._run(("sh", "-c", script, "sh", *words), self._stall_s + more_s, doing)
        if result.exit_code != 0:
            said = result.stderr.strip() or f"exit code {result.exit_code}"
            raise DeviceError(f"{doing} on {self.serial} failed: {said}")
        return result.stdout

    def _local(self, path: Path) -> _Local:
        """A local file with its hash, which is computed again when the file has changed."""
        found = path.stat()
        key = (path.resolve(), found.st_size, found.st_mtime_ns)
        if key not in self._locals:
            self._locals[key] = _Local(path)
        return self._locals[key]

    def _hash_tool(self) -> str:
        """sha256sum (Android 8 on), md5sum (6 on), or nothing."""
        return next((tool for tool in ("sha256sum", "md5sum") if tool in self.facts().tools), "")

    def _same(self, folder: str, wanted: Mapping[str, _Local]) -> set[str]:
        """The names in `folder` that hold what they should; what an earlier call left unfinished is removed."""
        if not self._cleared:
            ours = shlex.quote(self._folder)
            self._shell("clearing up", f"rm -f {ours}/*/*.part; rmdir {ours}/* 2>/dev/null; exit 0")
            self._cleared = True
        return {name for name, local in wanted.items() if self._holds(folder, name, local)}

    def _holds(self, folder: str, name: str, local: _Local) -> bool:
        """Whether a file of the phone is the local one, byte for byte as far as its hash tells."""
        path = f"{folder}/{name}"
        tool = self._hash_tool()
        script = 'if [ -f "$1" ]; then ' + (f'{tool} < "$1"' if tool else "echo there") + "; else echo none; fi"
        seen = (self._shell(f"hashing {name}", script, path, more_s=local.size / _HASHED_BYTES_PER_S).split() or [""])[
            0
        ]
        if seen != "there":
            return seen == (local.md5() if tool == "md5sum" else local.sha256)
        back = hashlib.sha256()
        deadline = Deadline(self._stall_s, f"the next part of {path} from {self.serial}")

        def take(chunk: memoryview) -> None:
            deadline.extend(self._stall_s)
            back.update(chunk)

        receive_file(self._connected(deadline), path, take, deadline)
        return back.hexdigest() == local.sha256

    def _put(self, folder: str, name: str, local: _Local) -> None:
        """Sends one file under a name of its own, proves it, and gives it its name."""
        part = f"{name}.part"

        def send() -> bool:
            self._shell("making a folder", 'mkdir -p "$1"', folder)
            deadline = Deadline(self._stall_s, f"the next part of {name} to {self.serial}")

            def moved(count: int) -> None:
                deadline.extend(self._stall_s)
                self._advance(name, count, local.size)

            with local.path.open("rb") as source:
                send_file(
                    self._connected(deadline), source, f"{folder}/{part}", local.mode, local.modified_s, deadline, moved
                )
            return self._holds(folder, part, local)

        try:
            if not (self._twice(send) or self._twice(send)):
                raise DeviceError(f"{name} arrived damaged on {self.serial}, twice; try another cable or port")
            # May be done twice: the second time the file may have its name already.
            rename = 'if [ -f "$1/$2" ]; then mv -f "$1/$2" "$1/$3"; else [ -f "$1/$3" ]; fi'
            self._twice(lambda: self._shell(f"renaming {part}", rename, folder, part, name))
        except BaseException:
            self._cleared = False  # should this not get through, it is done before the next push or at the end
            with suppress(DeviceError):
                self._shell("clearing up", 'rm -f "$1/$2"; rmdir "$1" 2>/dev/null; exit 0', folder, part)
                self._cleared = True
            raise


class _Local:
    """A local file, hashed once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        found = path.stat()
        self.size, self.modified_s = found.st_size, int(found.st_mtime)
        self.mode = 0o755 if found.st_mode & 0o100 else 0o644
        with path.open("rb") as stream:
            self.sha256 = hashlib.file_digest(stream, "sha256").hexdigest()

    def md5(self) -> str:
        """For phones that have nothing better; it guards against damage, not against malice."""
        with self.path.open("rb") as stream:
            return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
