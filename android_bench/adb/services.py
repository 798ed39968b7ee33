"""Commands and files of a phone, over the streams of any transport.

Commands, from Android 7 on (shell v2):  stdout, stderr and exit code come in frames.
Before that (`exec`):                    one stream, so the shell itself puts marks into it:

    MARK:pid ⏎ stdout … MARK:code ⏎ stderr

Both start with the shell's process number, which is what a command that takes too long is ended by.
After `streams`, before `phone`.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from android_bench.adb import wire
from android_bench.adb.streams import Connection, Deadline, Exactly, Stream
from android_bench.errors import DeviceError, DeviceLostError, RefusedError

_MOST_OUTPUT_BYTES = 256 << 20
_SEND_AT_ONCE = 15  # chunks with their heads that fit into one packet of the largest size
_NO_INPUT = "</dev/null"


@dataclass(slots=True)
class Running:
    """A command on its way: what is known of it when it has to be given up."""

    pid: int | None = None


def run_command(
    connection: Connection, command: str, deadline: Deadline, running: Running | None = None
) -> tuple[int, bytes, bytes]:
    """(exit code, stdout, stderr) of one command line; its standard input is empty.

    Args:
        connection: to the phone.
        command: a simple command, quoted for the phone's shell.
        deadline: by which it must have ended.
        running: is told the command's process number as soon as it is known.

    Raises:
        DeviceError: it printed more than 256 MB, time is up, or the connection broke. It may or may not have run.
    """
    known = running or Running()
    mark = f"tkd-{secrets.token_hex(8)}"
    if "shell_v2" in connection.features:
        # `exec` puts the command in the shell's place, so that its number is the command's.
        line = f"echo {mark}:$$ >&2; exec {command} {_NO_INPUT}"
        return _framed(connection.open(f"shell,v2,raw:{line}", deadline), mark, known)
    # stderr is caught in a variable while stdout goes past it: both stay whole and apart in one stream.
    # The x keeps the shell from taking stderr's last line breaks away.
    line = (
        f"echo {mark}:$$; exec 3>&1; E=$({command} {_NO_INPUT} 2>&1 >&3 3>&-; C=$?; printf x; exit $C); "
        f'echo "{mark}:$?"; printf %s "${{E%x}}"'
    )
    return _marked(connection.open(f"exec:{line}", deadline), mark.encode(), known)


def _framed(stream: Stream, mark: str, running: Running) -> tuple[int, bytes, bytes]:
    source = Exactly(stream)
    parts: dict[int, list[bytes]] = {wire.SHELL_STDOUT: [], wire.SHELL_STDERR: []}
    total = 0
    first = re.compile(rf"{mark}:(\d+)\r?\n".encode())
    try:
        while True:
            head = source.take(wire.SHELL_FRAME_BYTES, end_is_fine=True)
            if not head:
                raise DeviceLostError("the phone ended the command's stream without an exit code")
            kind, length = wire.shell_frame_head(head)
            total += length
            if total > _MOST_OUTPUT_BYTES:
                raise DeviceError(f"the command printed more than {_MOST_OUTPUT_BYTES >> 20} MB")
            data = bytes(source.take(length))
            if kind == wire.SHELL_EXIT:
                if not data:
                    raise DeviceLostError("the phone sent an empty exit code")
                break
            if kind in parts:
                parts[kind].append(data)
            if kind == wire.SHELL_STDERR and running.pid is None:
                found = first.search(b"".join(parts[kind]))
                running.pid = int(found[1]) if found else None
    finally:
        stream.close()
    stderr = first.sub(b"", b"".join(parts[wire.SHELL_STDERR]), count=1)
    return data[0], b"".join(parts[wire.SHELL_STDOUT]), stderr


def _marked(stream: Stream, mark: bytes, running: Running) -> tuple[int, bytes, bytes]:
    received = bytearray()
    first = re.compile(re.escape(mark) + rb":(\d+)\r?\n")
    try:
        while data := stream.read():
            received += data
            if len(received) > _MOST_OUTPUT_BYTES:
                raise DeviceError(f"the command printed more than {_MOST_OUTPUT_BYTES >> 20} MB")
            if running.pid is None and (found := first.search(received)):
                running.pid = int(found[1])
    finally:
        stream.close()
    marks = list(first.finditer(received))
    if len(marks) < 2:
        raise DeviceLostError("the phone ended the command's stream without an exit code")
    start, end = marks[0], marks[-1]
    return int(end[1]), bytes(received[start.end() : end.start()]), bytes(received[end.end() :])


def send_file(
    connection: Connection,
    source: BinaryIO,
    remote: str,
    mode: int,
    modified_s: int,
    deadline: Deadline,
    advance: Callable[[int], None] = lambda _bytes: None,
) -> None:
    """Writes a file on the phone; `advance` is told of bytes as they leave.

    Raises:
        RefusedError: the phone said no (permission, disk full, …).
        DeviceError: time is up, or the connection broke; a part of the file may be there.
    """
    stream = connection.open("sync:", deadline)
    answers = Exactly(stream)
    try:
        path = f"{remote},{mode}".encode("utf-8", "surrogateescape")
        if len(path) > wire.SYNC_PATH_BYTES:
            raise RefusedError(f"the path {remote[:60]}… is longer than {wire.SYNC_PATH_BYTES} bytes")
        stream.write(wire.sync_request(b"SEND", path))
        batch = memoryview(bytearray(_SEND_AT_ONCE * (wire.SYNC_BYTES + wire.SYNC_CHUNK_BYTES)))
        while not stream.has_input():  # only a refusal comes before the end
            filled, taken = _fill(batch, source)
            if not taken:
                break
            stream.write(batch[:filled])
            advance(taken)
        if not stream.has_input():
            stream.write(wire.sync_request(b"DONE", modified_s & 0xFFFFFFFF))
        name, length = wire.sync_head(answers.take(wire.SYNC_BYTES))
        if name == b"FAIL":
            raise RefusedError(f"the phone refused to write {remote}: {_text(answers, length)}")
        if name != b"OKAY":
            raise DeviceLostError(f"the phone answered a push with {name!r}")
    finally:
        stream.close()


def _fill(batch: memoryview, source: BinaryIO) -> tuple[int, int]:
    """Reads a file's next chunks into `batch`, each after its head; (bytes filled, bytes of the file)."""
    filled = taken = 0
    while len(batch) - filled >= wire.SYNC_BYTES + wire.SYNC_CHUNK_BYTES:
        start = filled + wire.SYNC_BYTES
        count = source.readinto(batch[start : start + wire.SYNC_CHUNK_BYTES])  # type: ignore[attr-defined]
        if not count:
            break
        batch[filled:start] = wire.sync_request(b"DATA", count)
        filled, taken = start + count, taken + count
    return filled, taken


def receive_file(connection: Connection, remote: str, take: Callable[[memoryview], object], deadline: Deadline) -> int:
    """Gives a file of the phone to `take`, part by part; its size.

    Raises:
        RefusedError: it is missing or may not be read.
        DeviceError: time is up, or the connection broke.
    """
    stream = connection.open("sync:", deadline)
    answers = Exactly(stream)
    total = 0
    try:
        stream.write(wire.sync_request(b"RECV", remote.encode("utf-8", "surrogateescape")))
        while True:
            name, length = wire.sync_head(answers.take(wire.SYNC_BYTES))
            if name == b"DONE":
                return total
            if name == b"FAIL":
                raise RefusedError(f"the phone refused to read {remote}: {_text(answers, length)}")
            if name != b"DATA" or length > wire.SYNC_CHUNK_BYTES:
                raise DeviceLostError(f"the phone sent {name!r} of {length} bytes within a file")
            take(answers.take(length))
            total += length
    finally:
        stream.close()


def _text(answers: Exactly, length: int) -> str:
    return bytes(answers.take(min(length, wire.SYNC_CHUNK_BYTES))).decode("utf-8", "replace")
