"""A virtual phone's own shell: it runs scripts on the phone's files, and arm64 programs under emulation.

Nothing of this computer is started but the emulator: the other commands are those of `commands`, written here, and they
reach the phone's files only. It needs neither packages nor privileges. After `script`, `files` and `arm64`.
"""

from __future__ import annotations

import asyncio
import fnmatch
import itertools
import os
import posixpath
import re
import stat
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from android_bench.virtual_phone.arm64 import Emulator
from android_bench.virtual_phone.files import PhoneFiles
from android_bench.virtual_phone.script import (
    Command,
    For,
    Function,
    Group,
    If,
    Redirect,
    Script,
    ScriptError,
    Simple,
    Text,
    Variable,
    While,
    Word,
    parse,
)
from android_bench.virtual_phone.shell import CommandIO, Shell
from android_bench.virtual_phone.twin import Twin

_FIRST_PID = 4001
_MOST_INPUT_BYTES = 256 << 20
NOT_FOUND, NOT_STARTED, SYNTAX = 127, 126, 2
_DEEPEST = 32  # a level takes over ten of the 1,000 frames that Python has by default

Read = Callable[[], Awaitable[bytes]]
Write = Callable[[bytes], Awaitable[None]]


async def nothing() -> bytes:
    """The end of a standard input."""
    return b""


async def nowhere(_data: bytes) -> None:
    """Where what nobody wants is written."""


class ExitShellError(Exception):
    """`exit`, or `exec` that has ended: the script ends with this code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """Standard input, output and error of one command."""

    read: Read
    out: Write
    err: Write


@dataclass(slots=True)
class Frame:
    """What a running script knows: its variables, functions, arguments and last exit code."""

    pid: int
    arguments: tuple[str, ...] = ()
    name: str = "sh"
    variables: dict[str, str] = field(default_factory=dict)
    functions: dict[str, Group] = field(default_factory=dict)
    folder: str = "/"
    code: int = 0
    depth: int = 0

    def value(self, name: str) -> str:
        """What `$name` stands for; empty when it was never set."""
        if name.isdecimal():
            place = int(name)
            return self.name if place == 0 else (self.arguments[place - 1 : place] or ("",))[0]
        special = {"?": str(self.code), "$": str(self.pid), "#": str(len(self.arguments))}
        return special[name] if name in special else self.variables.get(name, "")

    def path(self, word: str) -> str:
        """A path from the root for one that may start in the shell's folder."""
        return posixpath.normpath(posixpath.join(self.folder, word))


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One command on its way: its words, streams, and the shell it runs in."""

    words: tuple[str, ...]
    streams: Streams
    shell: PocketShell
    frame: Frame

    @property
    def files(self) -> PhoneFiles:
        """The phone's files."""
        return self.shell.files

    async def say(self, text: str) -> None:
        """Prints text."""
        await self.streams.out(text.encode("utf-8", "surrogateescape"))

    async def complain(self, text: str) -> int:
        """Prints `command: text` on standard error; the exit code 1."""
        await self.streams.err(f"{self.words[0]}: {text}\n".encode("utf-8", "surrogateescape"))
        return 1

    async def input(self) -> bytes:
        """All of standard input."""
        parts, total = [], 0
        while data := await self.streams.read():
            parts.append(data)
            total += len(data)
            if total > _MOST_INPUT_BYTES:
                raise OSError(12, "Cannot allocate memory")
        return b"".join(parts)


CommandFunction = Callable[[Call], Awaitable[int]]


class PocketShell(Shell):
    """Runs command lines on a virtual phone.

    Args:
        files: the phone's files.
        twin: what the phone is.
        emulator: runs arm64 programs.
        commands: the commands by name.
    """

    def __init__(
        self, files: PhoneFiles, twin: Twin, emulator: Emulator, commands: Mapping[str, CommandFunction]
    ) -> None:
        self.files, self.twin, self.commands = files, twin, commands
        self._emulator = emulator
        self._pids = itertools.count(_FIRST_PID)
        self._running: dict[int, asyncio.Task[int]] = {}

    async def run(self, command: str, io: CommandIO) -> int:
        """The exit code of a command line; an empty one is a shell that reads its commands from standard input."""
        frame = Frame(pid=next(self._pids))
        streams = Streams(read=io.read_stdin, out=io.write_stdout, err=io.write_stderr)
        work = self._interactive(frame, streams) if not command else self.script(command, frame, streams)
        task = asyncio.ensure_future(work)
        self._running[frame.pid] = task
        try:
            return await task
        except asyncio.CancelledError:
            if not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise
            return 137  # ended by `kill`
        finally:
            del self._running[frame.pid]

    def kill(self, pid: int) -> bool:
        """Ends a command with all that it started; whether there was one."""
        task = self._running.get(abs(pid))
        if task is not None:
            task.cancel()
        return task is not None

    async def script(self, text: str, frame: Frame, streams: Streams) -> int:
        """Runs a script to its end."""
        try:
            return await self._list(parse(text), frame, streams)
        except ScriptError as error:
            await streams.err(f"sh: {error}\n".encode("utf-8", "surrogateescape"))
            return SYNTAX
        except ExitShellError as end:
            return end.code

    async def _interactive(self, frame: Frame, streams: Streams) -> int:
        pending = b""
        while data := await streams.read():
            pending += data.replace(b"\r", b"\n")
            while b"\n" in pending:
                line, pending = pending.split(b"\n", 1)
                try:
                    frame.code = await self._list(
                        parse(line.decode("utf-8", "surrogateescape")), frame, replace(streams, read=nothing)
                    )
                except ScriptError as error:
                    await streams.err(f"sh: {error}\n".encode("utf-8", "surrogateescape"))
                    frame.code = SYNTAX
                except ExitShellError as end:
                    return end.code
        return frame.code

    async def _list(self, script: Script, frame: Frame, streams: Streams) -> int:
        for step in script:
            if (step.connector == "&&" and frame.code) or (step.connector == "||" and not frame.code):
                continue
            frame.code = await self._pipeline(step.pipeline, frame, streams)
            if step.negated:
                frame.code = int(not frame.code)
            await asyncio.sleep(0)  # a loop of commands that never wait can be ended too
        return frame.code

    async def _pipeline(self, commands: tuple[Command, ...], frame: Frame, streams: Streams) -> int:
        """Runs the commands one after the other, each on all that the one before it printed."""
        read = streams.read
        for command in commands[:-1]:
            kept: list[bytes] = []

            async def keep(data: bytes, kept: list[bytes] = kept) -> None:
                kept.append(data)

            inner = replace(frame, variables=dict(frame.variables))
            with suppress(ExitShellError):
                await self._command(command, inner, Streams(read=read, out=keep, err=streams.err))
            read = _reading(b"".join(kept))
        return await self._command(commands[-1], frame, replace(streams, read=read))

    async def _command(self, command: Command, frame: Frame, streams: Streams) -> int:
        match command:
            case Simple():
                return await self._simple(command, frame, streams)
            case Group():
                return await self._redirected(
                    command.redirects, frame, streams, lambda inner: self._list(command.body, frame, inner)
                )
            case If():
                for condition, body in command.branches:
                    if await self._nested(condition, frame, streams) == 0:
                        return await self._nested(body, frame, streams)
                return await self._nested(command.otherwise, frame, streams) if command.otherwise else 0
            case For():
                code = 0
                for word in self._expanded(command.words, frame):
                    frame.variables[command.name] = word
                    code = await self._nested(command.body, frame, streams)
                return code
            case While():
                code = 0
                while (await self._nested(command.condition, frame, streams) == 0) == command.holds:
                    code = await self._nested(command.body, frame, streams)
                return code
            case Function():
                frame.functions[command.name] = command.body
                return 0

    async def _nested(self, script: Script, frame: Frame, streams: Streams) -> int:
        frame.code = 0
        return await self._list(script, frame, streams)

    async def _simple(self, command: Simple, frame: Frame, streams: Streams) -> int:
        for name, word in command.assignments:
            frame.variables[name] = self._joined(word, frame)
        words = self._expanded(command.words, frame)

        async def work(inner: Streams) -> int:
            return await self.call(tuple(words), frame, inner) if words else 0

        return await self._redirected(command.redirects, frame, streams, work)

    async def call(self, words: tuple[str, ...], frame: Frame, streams: Streams) -> int:
        """Runs one command by its words."""
        name = words[0]
        if frame.depth >= _DEEPEST:
            await streams.err(f"sh: {name}: called itself too often\n".encode())
            return SYNTAX
        if body := frame.functions.get(name):
            inner = replace(frame, arguments=words[1:], depth=frame.depth + 1)
            return await self._command(body, inner, streams)
        call = Call(words=words, streams=streams, shell=self, frame=frame)
        if known := self.commands.get(name.removeprefix("/system/bin/")):
            try:
                return await known(call)
            except OSError as error:
                return await call.complain(error.strerror or str(error))
        return await self._program(call)

    async def _program(self, call: Call) -> int:
        """Runs an arm64 program of the phone under emulation."""
        name = call.words[0]
        if "/" not in name:
            await call.streams.err(f"sh: {name}: not found (this virtual phone has few commands)\n".encode())
            return NOT_FOUND
        path = call.frame.path(name)
        try:
            entry = self.files.stat(path)
        except OSError as error:
            await call.streams.err(f"sh: {name}: {error.strerror}\n".encode("utf-8", "surrogateescape"))
            return NOT_FOUND
        if not (stat.S_ISREG(entry.mode) and entry.mode & 0o100):
            await call.streams.err(f"sh: {name}: can't execute: Permission denied\n".encode())
            return NOT_STARTED
        io = CommandIO(read_stdin=call.streams.read, write_stdout=call.streams.out, write_stderr=call.streams.err)
        return await self._emulator.run(self.files, (path, *call.words[1:]), io)

    async def _redirected(
        self, redirects: tuple[Redirect, ...], frame: Frame, streams: Streams, work: Callable[[Streams], Awaitable[int]]
    ) -> int:
        written: list[tuple[str, list[bytes]]] = []
        for redirect in redirects:
            target = self._joined(redirect.target, frame)
            path = frame.path(target)
            try:
                if redirect.kind == ">&" and target in "12":
                    sink = streams.out if target == "1" else streams.err
                    streams = _with_output(streams, redirect.handle, sink)
                elif redirect.kind == "<" and redirect.handle == 0:
                    streams = replace(
                        streams, read=nothing if path == "/dev/null" else _reading(read_whole(self.files, path))
                    )
                elif redirect.kind in (">", ">>") and redirect.handle in (1, 2):
                    kept = [read_whole(self.files, path)] if redirect.kind == ">>" and self._exists(path) else []
                    written.append((path, kept))
                    sink = nowhere if path == "/dev/null" else _keeping(kept)
                    streams = _with_output(streams, redirect.handle, sink)
                    if path != "/dev/null":
                        write_whole(self.files, path, b"".join(kept))
                else:
                    raise ScriptError(f"'{redirect.handle}{redirect.kind}{target}' is not among what this shell knows")
            except OSError as error:
                await streams.err(f"sh: {target}: {error.strerror}\n".encode("utf-8", "surrogateescape"))
                return 1
        try:
            return await work(streams)
        finally:
            for path, kept in written:
                if path != "/dev/null":
                    write_whole(self.files, path, b"".join(kept))

    def _exists(self, path: str) -> bool:
        try:
            self.files.stat(path)
        except OSError:
            return False
        return True

    def _joined(self, word: Word, frame: Frame) -> str:
        """A word that is never split."""
        return "".join(
            part.text
            if isinstance(part, Text)
            else " ".join(frame.arguments)
            if part.name in "@*"
            else frame.value(part.name)
            for part in word
        )

    def _expanded(self, words: tuple[Word, ...], frame: Frame) -> list[str]:
        """Words with their variables replaced, split where they are not quoted, and matched against file names."""
        found: list[str] = []
        for word in words:
            for pattern, plain in _fields(word, frame):
                found += self._matching(pattern, frame) or [plain] if pattern else [plain]
        return found

    def _matching(self, pattern: str, frame: Frame) -> list[str]:
        """The paths that a pattern matches, sorted."""
        absolute = pattern.startswith("/")
        paths = ["/" if absolute else ""]
        for part in pattern.split("/"):
            if not part:
                continue
            if re.search(r"[*?[]", part):
                paths = [
                    posixpath.join(path, name)
                    for path in paths
                    for name in self._names(frame.path(path))
                    if fnmatch.fnmatchcase(name, part) and (not name.startswith(".") or part.startswith("."))
                ]
            else:
                paths = [posixpath.join(path, part) for path in paths]
        return sorted(path for path in paths if self._exists(frame.path(path)))

    def _names(self, folder: str) -> list[str]:
        try:
            return [entry.name.decode("utf-8", "surrogateescape") for entry in self.files.entries(folder)]
        except OSError:
            return []


def _fields(word: Word, frame: Frame) -> list[tuple[str, str]]:
    """The fields of one word: the pattern that it is, "" where it is none, and its plain text."""
    made: list[tuple[str, str]] = []
    plain, pattern, is_pattern, begun = "", "", False, False
    for part in word:
        if isinstance(part, Variable) and part.quoted and part.name == "@":
            for place, argument in enumerate(frame.arguments):
                if place:
                    made.append((pattern if is_pattern else "", plain))
                    plain, pattern, is_pattern = "", "", False
                plain, pattern, begun = plain + argument, pattern + _escaped(argument), True
            continue
        if isinstance(part, Text):
            text, split = part.text, False
        else:
            text = " ".join(frame.arguments) if part.name in "@*" else frame.value(part.name)
            split = not part.quoted
        pieces = re.split(r"[ \t\n]+", text) if split else [text]
        for place, piece in enumerate(pieces):
            if place:
                if begun:
                    made.append((pattern if is_pattern else "", plain))
                plain, pattern, is_pattern, begun = "", "", False, False
            plain += piece
            pattern += _escaped(piece) if part.quoted else piece
            is_pattern = is_pattern or (not part.quoted and bool(re.search(r"[*?[]", piece)))
            begun = begun or bool(piece) or part.quoted
    if begun:
        made.append((pattern if is_pattern else "", plain))
    return made


def _escaped(text: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", text)


def _with_output(streams: Streams, handle: int, sink: Write) -> Streams:
    return replace(streams, out=sink) if handle == 1 else replace(streams, err=sink)


def _reading(data: bytes) -> Read:
    left = [data] if data else []

    async def read() -> bytes:
        return left.pop() if left else b""

    return read


def _keeping(kept: list[bytes]) -> Write:
    async def write(data: bytes) -> None:
        kept.append(data)

    return write


def read_whole(files: PhoneFiles, path: str) -> bytes:
    """What a file of the phone holds; raises OSError."""
    with os.fdopen(files.open_for_reading(path), "rb") as stream:
        return stream.read(_MOST_INPUT_BYTES)


def write_whole(files: PhoneFiles, path: str, data: bytes) -> None:
    """Makes a file of the phone; raises OSError."""
    with os.fdopen(files.open_for_writing(path, 0o660), "wb") as stream:
        stream.write(data)
