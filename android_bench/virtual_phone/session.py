"""One client of a virtual phone: greeting, authentication, and its streams.

    client  CNXN ─►          ◄─ AUTH token
            AUTH signature ─► ◄─ CNXN           known keys only
            OPEN ─►           ◄─ OKAY | CLSE
            WRTE ◄─► OKAY                       one unacknowledged WRTE a stream, each way
            CLSE ◄─► CLSE

Above it `daemon`, below it `services`. A client that breaks the protocol is cut off; it cannot make us keep more than
a few packets. Source: AOSP, packages/modules/adb, protocol.txt.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from android_bench.adb import wire
from android_bench.adb.keys import is_signed_by
from android_bench.adb.wire import Buffer, Header, Packet, WireError
from android_bench.virtual_phone.files import PhoneFiles
from android_bench.virtual_phone.services import ByteStream, ended, is_served, serve
from android_bench.virtual_phone.shell import Shell


@dataclass(frozen=True, slots=True, kw_only=True)
class PhoneSettings:
    """What a virtual phone is, and what it puts up with.

    Attributes:
        shell: runs its commands.
        files: its files.
        known_keys: who may connect; with none nobody may.
        properties: what it says of itself in its greeting, such as `ro.product.model`.
        features: shell_v2 and cmd, or fewer for the manners of an older phone.
        version: of the protocol.
        max_data: the most that one packet may carry.
        greeting_s: how long a client may take until it is authenticated.
        stall_s: how long it may take over one packet, or over taking one of ours.
        streams: how many it may have open.
    """

    shell: Shell
    files: PhoneFiles
    known_keys: tuple[RSAPublicKey, ...]
    properties: Mapping[str, str] = field(default_factory=dict)
    features: frozenset[str] = frozenset(("shell_v2", "cmd"))
    version: int = wire.VERSION_WITHOUT_CHECKSUMS
    max_data: int = wire.MAX_DATA
    greeting_s: float = 60.0
    stall_s: float = 60.0
    streams: int = 64

    def banner(self) -> bytes:
        """The greeting: who we are and what we can do."""
        facts = [f"{name}={value}" for name, value in self.properties.items()]
        if self.features:
            facts.append(f"features={','.join(sorted(self.features))}")
        return f"device::{';'.join(facts)}".encode()


class Session:
    """One client, from its first byte to its last."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, settings: PhoneSettings) -> None:
        self._reader, self._writer, self._settings = reader, writer, settings
        self._peer_version = wire.VERSION_WITH_CHECKSUMS
        self._max_data = wire.LEAST_MAX_DATA
        self._streams: dict[int, _Stream] = {}
        self._last_id = 0

    async def serve(self) -> None:
        """Serves the client until it goes or breaks the protocol; everything it started is ended."""
        try:
            async with asyncio.timeout(self._settings.greeting_s):
                await self._greet()
            while True:
                await self._take(await self._packet())
        except (WireError, TimeoutError, asyncio.IncompleteReadError, OSError):
            return  # cut off: a phone gives no reason either
        finally:
            for stream in list(self._streams.values()):
                await stream.end()

    async def send(self, packet: Packet) -> None:
        """Sends one packet, waiting for room no longer than is reasonable."""
        checked = self._peer_version < wire.VERSION_WITHOUT_CHECKSUMS
        self._writer.write(packet.pack(with_checksum=checked))
        if len(packet.data):
            self._writer.write(packet.data)
        async with asyncio.timeout(self._settings.stall_s):
            await self._writer.drain()

    async def _greet(self) -> None:
        first = await self._packet()
        if first.command != wire.CNXN:
            raise WireError(f"{first.command!r} before any greeting")
        self._peer_version = first.arg0
        most = min(first.arg1, self._settings.max_data)
        if most < wire.LEAST_MAX_DATA:
            raise WireError(f"packets of {first.arg1} bytes are less than every end takes")
        token = os.urandom(wire.TOKEN_BYTES)
        await self.send(Packet(wire.AUTH, wire.AUTH_TOKEN, 0, token))
        while True:
            answer = await self._packet()
            if answer.command != wire.AUTH:
                raise WireError(f"{answer.command!r} before authentication")
            if answer.arg0 == wire.AUTH_SIGNATURE:
                signature = bytes(answer.data)
                if any(is_signed_by(key, token, signature) for key in self._settings.known_keys):
                    break
                token = os.urandom(wire.TOKEN_BYTES)
                await self.send(Packet(wire.AUTH, wire.AUTH_TOKEN, 0, token))
            # A public key is a question to the phone's owner, who never answers here: known keys only.
        self._max_data = most
        await self.send(Packet(wire.CNXN, self._settings.version, self._settings.max_data, self._settings.banner()))

    async def _packet(self) -> Packet:
        """The next packet, whole and checked."""
        header: Header = wire.parse_header(await self._reader.readexactly(wire.HEADER_BYTES), self._max_data)
        data = b""
        if header.length:
            async with asyncio.timeout(self._settings.stall_s):
                data = await self._reader.readexactly(header.length)
        version = header.arg0 if header.command == wire.CNXN else self._peer_version
        if version < wire.VERSION_WITHOUT_CHECKSUMS and wire.checksum(data) != header.total:
            raise WireError(f"the checksum of a {header.command!r} is wrong")
        return Packet(header.command, header.arg0, header.arg1, data)

    async def _take(self, packet: Packet) -> None:
        if packet.command == wire.OPEN:
            await self._open(packet)
            return
        if packet.command not in (wire.OKAY, wire.WRTE, wire.CLSE):
            raise WireError(f"{packet.command!r} within a session")
        stream = self._streams.get(packet.arg1)
        if stream is None or stream.peer_id != packet.arg0:
            return  # on its way while the stream ended
        if packet.command == wire.OKAY:
            stream.acknowledged()
        elif packet.command == wire.WRTE:
            stream.feed(bytes(packet.data))
        else:
            await stream.end()
            await self._finish(stream)  # a service that was ended before its first step could not do it itself

    async def _open(self, packet: Packet) -> None:
        service = bytes(packet.data).rstrip(b"\0").decode("utf-8", "surrogateescape")
        allowed = len(self._streams) < self._settings.streams and is_served(service, self._settings.features)
        if not packet.arg0 or not allowed:
            await self.send(Packet(wire.CLSE, 0, packet.arg0))
            return
        self._last_id = self._last_id % 0xFFFFFFFF + 1
        stream = _Stream(self, self._last_id, packet.arg0, self._max_data)
        self._streams[stream.our_id] = stream
        await self.send(Packet(wire.OKAY, stream.our_id, stream.peer_id))
        stream.task = asyncio.create_task(self._serve_stream(stream, service))

    async def _serve_stream(self, stream: _Stream, service: str) -> None:
        settings = self._settings
        try:
            await serve(service, stream, settings.shell, settings.files)
        except (WireError, TimeoutError, OSError):
            pass  # the client has gone, or talked nonsense: its stream ends here
        finally:
            await self._finish(stream)

    async def _finish(self, stream: _Stream) -> None:
        """Says CLSE, once, whoever ended the stream: a client waits for ours also after its own."""
        if self._streams.pop(stream.our_id, None) is not None:
            with suppress(OSError, TimeoutError):
                await self.send(Packet(wire.CLSE, stream.our_id, stream.peer_id))


class _Stream(ByteStream):
    """One stream; `feed` and `acknowledged` come from the session, `read` and `write` from the service."""

    def __init__(self, session: Session, our_id: int, peer_id: int, max_data: int) -> None:
        self.our_id, self.peer_id = our_id, peer_id
        self.task: asyncio.Task[None] | None = None
        self._session, self._max_data = session, max_data
        self._received: bytes | None = None
        self._came = asyncio.Event()
        self._taken = asyncio.Event()
        self._taken.set()
        self._sending = asyncio.Lock()

    def feed(self, data: bytes) -> None:
        """Data of the client, which must have waited for our last OKAY."""
        if self._received is not None:
            raise WireError("a WRTE before the last one was acknowledged")
        self._received = data
        self._came.set()

    def acknowledged(self) -> None:
        """The client has taken our last WRTE."""
        self._taken.set()

    async def read(self) -> bytes:
        """What came next; only now is it acknowledged, so that a slow service holds the client back."""
        while True:
            await self._came.wait()
            data, self._received = self._received or b"", None
            self._came.clear()
            await self._session.send(Packet(wire.OKAY, self.our_id, self.peer_id))
            if data:
                return data

    async def write(self, data: Buffer) -> None:
        """Sends data in pieces, each after the last one's acknowledgement."""
        view = memoryview(data)
        async with self._sending:
            for start in range(0, len(view), self._max_data):
                await self._taken.wait()
                self._taken.clear()
                await self._session.send(
                    Packet(wire.WRTE, self.our_id, self.peer_id, view[start : start + self._max_data])
                )

    async def end(self) -> None:
        """Ends the service behind it."""
        if self.task is not None:
            await ended(self.task)
