"""What a stream of a virtual phone can be opened for: `shell`, `exec` and `sync`, spoken as a phone speaks them.

Before this `session`, which carries the streams; behind it `shell` and `files`.
Source: AOSP, packages/modules/adb, shell_protocol.h and SYNC.TXT (version 1).
"""

from __future__ import annotations

import asyncio
import errno
import os
from abc import ABC, abstractmethod
from contextlib import suppress

from android_bench.adb import wire
from android_bench.adb.wire import Buffer, WireError
from android_bench.virtual_phone.files import Entry, PhoneFiles
from android_bench.virtual_phone.shell import CommandIO, Shell


class ByteStream(ABC):
    """One stream to a client. When the client closes it, whatever serves it is cancelled."""

    @abstractmethod
    async def read(self) -> bytes:
        """What came next, never empty."""

    @abstractmethod
    async def write(self, data: Buffer) -> None:
        """Sends data and waits until the client has taken them."""


async def serve(service: str, stream: ByteStream, shell: Shell, files: PhoneFiles) -> None:
    """Serves one stream to its end; the caller closes it. The service must be one that `is_served`."""
    head, _, command = service.partition(":")
    name, *options = head.split(",")
    if name == "sync":
        await _Sync(stream, files).serve()
    elif "v2" in options:
        await _shell_v2(command, stream, shell)
    else:
        await _shell_v1(command, stream, shell)


def is_served(service: str, features: frozenset[str]) -> bool:
    """Whether a phone of these features opens a stream for `service`."""
    head, colon, _ = service.partition(":")
    name, *options = head.split(",")
    if not colon or (name == "sync" and options):
        return False
    return name in ("shell", "exec", "sync") and ("v2" not in options or (name == "shell" and "shell_v2" in features))


async def _shell_v1(command: str, stream: ByteStream, shell: Shell) -> None:
    """Standard output and error in one, no exit code."""
    await shell.run(command, CommandIO(read_stdin=stream.read, write_stdout=stream.write, write_stderr=stream.write))


async def _shell_v2(command: str, stream: ByteStream, shell: Shell) -> None:
    """Frames: standard output and error apart, then the exit code."""
    source = _Reader(stream)

    async def read() -> bytes:
        while True:
            kind, length = wire.shell_frame_head(await source.exactly(wire.SHELL_FRAME_BYTES))
            if length > wire.MAX_DATA:
                raise WireError(f"a shell frame of {length} bytes")
            data = bytes(await source.exactly(length))
            if kind == wire.SHELL_CLOSE_STDIN:
                return b""
            if kind == wire.SHELL_STDIN and data:
                return data

    async def write(kind: int, data: bytes) -> None:
        await stream.write(wire.shell_frame(kind, data))

    code = await shell.run(
        command,
        CommandIO(
            read_stdin=read,
            write_stdout=lambda data: write(wire.SHELL_STDOUT, data),
            write_stderr=lambda data: write(wire.SHELL_STDERR, data),
        ),
    )
    await write(wire.SHELL_EXIT, bytes([code & 0xFF]))


class _Reader:
    """Exact counts of bytes from a stream, without moving what was received."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream, self._data, self._at = stream, b"", 0

    async def exactly(self, count: int) -> memoryview:
        """The next `count` bytes."""
        if len(self._data) - self._at < count:
            parts = [memoryview(self._data)[self._at :]]
            have = len(parts[0])
            while have < count:
                parts.append(memoryview(await self._stream.read()))
                have += len(parts[-1])
            self._data, self._at = (bytes(parts[-1]) if not len(parts[0]) and len(parts) == 2 else b"".join(parts)), 0
        self._at += count
        return memoryview(self._data)[self._at - count : self._at]


class _Sync:
    """The file service."""

    def __init__(self, stream: ByteStream, files: PhoneFiles) -> None:
        self._stream, self._files, self._source = stream, files, _Reader(stream)

    async def serve(self) -> None:
        """Answers requests until QUIT; an unknown one is answered and ends the stream."""
        while True:
            name, length = wire.sync_head(await self._source.exactly(wire.SYNC_BYTES))
            if name == b"QUIT":
                return
            if name not in (b"STAT", b"LIST", b"SEND", b"RECV") or length > wire.SYNC_PATH_BYTES:
                await self._fail(f"unknown request {name!r} of {length} bytes")
                return
            path = os.fsdecode(bytes(await self._source.exactly(length)))
            if name == b"STAT":
                await self._stat(path)
            elif name == b"LIST":
                await self._list(path)
            elif name == b"SEND":
                await self._receive(path)
            else:
                await self._send(path)

    async def _stat(self, path: str) -> None:
        try:
            found = self._files.stat(path)
        except OSError:
            found = Entry(name=b"", mode=0, size=0, modified_s=0)
        await self._stream.write(wire.SYNC_STAT.pack(b"STAT", found.mode, found.size, found.modified_s))

    async def _list(self, path: str) -> None:
        try:
            entries = self._files.entries(path)
        except OSError:  # a phone answers with an empty list
            entries = []
        answer = b"".join(
            wire.SYNC_ENTRY.pack(b"DENT", item.mode, item.size, item.modified_s, len(item.name)) + item.name
            for item in entries
        )
        await self._stream.write(answer + wire.SYNC_ENTRY.pack(b"DONE", 0, 0, 0, 0))

    async def _send(self, path: str) -> None:
        """RECV: the client receives, we send."""
        try:
            handle = self._files.open_for_reading(path)
        except OSError as error:
            await self._fail(_reason(error))
            return
        with os.fdopen(handle, "rb", buffering=0) as file:
            while chunk := file.read(15 * wire.SYNC_CHUNK_BYTES):
                parts = memoryview(chunk)
                frames = [
                    wire.sync_request(b"DATA", bytes(parts[start : start + wire.SYNC_CHUNK_BYTES]))
                    for start in range(0, len(parts), wire.SYNC_CHUNK_BYTES)
                ]
                await self._stream.write(b"".join(frames))
        await self._stream.write(wire.sync_request(b"DONE", 0))

    async def _receive(self, path_and_mode: str) -> None:
        """SEND: the client sends, we receive. What is cut off is removed, as on a phone."""
        path, _, mode = path_and_mode.rpartition(",")
        refusal = ""
        handle = -1
        complete = False
        try:
            try:
                if not mode.isdecimal():
                    raise OSError(errno.EINVAL, "Invalid argument")
                handle = self._files.open_for_writing(path, _as_a_phone_sets_it(int(mode)))
            except OSError as error:
                refusal = _reason(error)
                await self._fail(refusal)
            written = 0
            while True:
                name, number = wire.sync_head(await self._source.exactly(wire.SYNC_BYTES))
                if name == b"DONE":
                    break
                if name != b"DATA" or number > wire.SYNC_CHUNK_BYTES:
                    raise WireError(f"{name!r} of {number} bytes within a file")
                data = await self._source.exactly(number)
                if refusal:
                    continue  # what follows a refusal is still read, so that the client sees it
                try:
                    if written + number > self._files.largest_file_bytes:
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    _write_all(handle, data)
                    written += number
                except OSError as error:
                    refusal = _reason(error)
                    await self._fail(refusal)
            complete = not refusal
            if complete:
                os.utime(handle, (number, number))
        finally:
            if handle >= 0:
                os.close(handle)
                if not complete:
                    with suppress(OSError):
                        self._files.remove(path)
        if complete:
            await self._stream.write(wire.sync_request(b"OKAY", 0))

    async def _fail(self, message: str) -> None:
        await self._stream.write(wire.sync_request(b"FAIL", message.encode()))


def _write_all(handle: int, data: memoryview) -> None:
    while data:
        data = data[os.write(handle, data) :]


def _as_a_phone_sets_it(mode: int) -> int:
    """A phone gives the group and all others what the owner has."""
    owner = (mode >> 6) & 7
    return mode & 0o777 | owner << 3 | owner


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)


async def ended(task: asyncio.Task[None]) -> None:
    """Cancels a task and waits for it."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
