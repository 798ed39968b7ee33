"""How a virtual phone runs commands: an interface, and processes of this computer behind it.

Before `services`, which speak the wire protocol around it. A virtual phone brings a `Shell` of its own, or the
command line that puts its own system around each command.
"""

from __future__ import annotations

import asyncio
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_CHUNK_BYTES = 256 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandIO:
    """The three streams of one command.

    Attributes:
        read_stdin: the next bytes of standard input; empty at its end.
        write_stdout: takes bytes, and returns when there is room for more.
        write_stderr: the same for standard error.
    """

    read_stdin: Callable[[], Awaitable[bytes]]
    write_stdout: Callable[[bytes], Awaitable[None]]
    write_stderr: Callable[[bytes], Awaitable[None]]


class Shell(ABC):
    """Runs command lines."""

    @abstractmethod
    async def run(self, command: str, io: CommandIO) -> int:
        """The exit code, 0–255, of a command line; an empty one is a shell that reads its commands from stdin.

        When it is cancelled (the client has gone), everything that it started is ended before it returns.
        """


class ProcessShell(Shell):
    """Runs each command as a process of this computer, in a session of its own.

    Args:
        argv: the process that runs a given command line.
        folder: where it starts.
        environment: its environment variables.
    """

    def __init__(
        self, argv: Callable[[str], Sequence[str]], folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._argv, self._folder, self._environment = argv, folder, environment

    async def run(self, command: str, io: CommandIO) -> int:
        """The exit code of the process; 128 and the signal's number when one ended it."""
        starting = asyncio.ensure_future(self._start(command))
        try:
            process = await asyncio.shield(starting)
        except asyncio.CancelledError:  # it is on its way, and nobody else would end it
            await _end(await starting)
            raise
        except (OSError, ValueError) as error:  # ValueError: a zero byte in the command
            await io.write_stderr(f"sh: {error}\n".encode())
            return 126
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        feeding = asyncio.ensure_future(_feed(io.read_stdin, process.stdin))
        try:
            await asyncio.gather(_drain(process.stdout, io.write_stdout), _drain(process.stderr, io.write_stderr))
            code = await process.wait()
        finally:
            feeding.cancel()
            await _end(process)
        return code if code >= 0 else 128 - code

    async def _start(self, command: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self._argv(command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self._folder,
            env=self._environment,
            start_new_session=True,
        )


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ends whatever is left of a process's session; it is its own group's leader."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for stream in range(3):  # before the wait: a pipe that nobody reads any more would never come to its end
        pipe = process._transport.get_pipe_transport(stream)  # type: ignore[attr-defined]
        if pipe is not None:
            pipe.close()
    await process.wait()


async def _feed(read: Callable[[], Awaitable[bytes]], stdin: asyncio.StreamWriter) -> None:
    with suppress(BrokenPipeError, ConnectionResetError):
        while data := await read():
            stdin.write(data)
            await stdin.drain()
        stdin.close()


async def _drain(source: asyncio.StreamReader, write: Callable[[bytes], Awaitable[None]]) -> None:
    while data := await source.read(_CHUNK_BYTES):
        await write(data)
