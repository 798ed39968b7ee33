"""Listens on loopback and gives each client a session; the entry to `android_bench.virtual_phone`."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from android_bench.virtual_phone.session import PhoneSettings, Session

_MOST_CLIENTS = 16
_READ_AHEAD_BYTES = 4 << 20


class Daemon:
    """A virtual phone that listens on 127.0.0.1 and nowhere else.

    Args:
        settings: what it is.
        port: where it listens; 0 takes a free one.
    """

    def __init__(self, settings: PhoneSettings, port: int = 0) -> None:
        self._settings, self._port = settings, port
        self._clients: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        """Starts listening; the port."""
        self._server = await asyncio.start_server(
            self._client, "127.0.0.1", self._port, limit=_READ_AHEAD_BYTES, backlog=_MOST_CLIENTS
        )
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stops listening, and ends every client with all that it started."""
        if self._server is not None:
            self._server.close()
        await self.drop_clients()

    async def drop_clients(self) -> None:
        """Cuts every client off, as when a cable is pulled."""
        clients = list(self._clients)
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            if len(self._clients) < _MOST_CLIENTS:
                self._clients.add(task)
                writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await Session(reader, writer, self._settings).serve()
        except asyncio.CancelledError:
            pass  # by `drop_clients`; asyncio itself would report it as an error of ours
        finally:
            self._clients.discard(task)
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()


class RunningDaemon:
    """A daemon in a thread of this process: its port, and the two things that a test or a session does to it."""

    def __init__(self, port: int, daemon: Daemon, loop: asyncio.AbstractEventLoop) -> None:
        self.port = port
        self._daemon, self._loop = daemon, loop

    def drop_clients(self) -> None:
        """Cuts every client off, and waits until all that they started has ended."""
        asyncio.run_coroutine_threadsafe(self._daemon.drop_clients(), self._loop).result(30)


@contextmanager
def running(settings: PhoneSettings, port: int = 0) -> Iterator[RunningDaemon]:
    """A daemon in a thread of its own, stopped at the end of the block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="virtual phone", daemon=True)
    thread.start()
    daemon = Daemon(settings, port)
    try:
        bound = asyncio.run_coroutine_threadsafe(daemon.start(), loop).result(30)
        yield RunningDaemon(bound, daemon, loop)
    finally:
        asyncio.run_coroutine_threadsafe(daemon.stop(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()
