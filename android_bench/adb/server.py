"""A phone through a running adb server, over its smart socket.

The server holds the phone: it has done the greeting and the authentication, and carries USB, TCP and TLS alike.
Nothing here starts a server or ends one. Source: AOSP, packages/modules/adb, SERVICES.TXT and OVERVIEW.TXT.
"""

from __future__ import annotations

import select
import socket
from contextlib import suppress

from android_bench.adb.streams import Connection, Deadline, Stream
from android_bench.adb.wire import Buffer
from android_bench.errors import DeviceError, DeviceLostError, RefusedError

_READ_BYTES = 1 << 20
_LONGEST_ANSWER_BYTES = 1 << 20


class ServerConnection(Connection):
    """One phone of an adb server; every stream is a connection to the server.

    Args:
        address: host and port of the server.
        serial: the phone's serial number, as the server lists it.
        timeout_s: for each question to the server itself.
    """

    def __init__(self, address: tuple[str, int], serial: str, timeout_s: float = 10.0) -> None:
        self._address, self._serial, self._closed = address, serial, False
        deadline = Deadline(timeout_s, f"asking the adb server about {serial}")
        try:
            answer = ask(address, f"host-serial:{serial}:features", deadline)
        except RefusedError as cause:
            raise self._lost(cause) from cause
        self._features = frozenset(answer.split(",")) - {""}

    @property
    def features(self) -> frozenset[str]:
        """As the server tells them."""
        return self._features

    def open(self, service: str, deadline: Deadline) -> Stream:
        """A connection to the server that it has switched to the phone, and then to the service."""
        connection = _connect(self._address, deadline)
        try:
            try:
                _request(connection, f"host:transport:{self._serial}", self._address, deadline)
            except RefusedError as cause:
                raise self._lost(cause) from cause
            _request(connection, service, self._address, deadline)
        except BaseException:
            connection.close()
            raise
        return _ServerStream(connection, self._serial, deadline)

    def _lost(self, refusal: RefusedError) -> DeviceError:
        """A phone that the server does not have (any more) may come back; one that it may not use will not."""
        if "unauthorized" in str(refusal):
            return refusal
        return DeviceLostError(f"the adb server does not reach {self._serial}: {refusal}")

    def is_alive(self) -> bool:
        """There is nothing that could have ended: each stream connects anew."""
        return not self._closed

    def close(self) -> None:
        """Forgets the server."""
        self._closed = True


class _ServerStream(Stream):
    """A socket that the server has switched to a service of the phone."""

    def __init__(self, connection: socket.socket, serial: str, deadline: Deadline) -> None:
        self._connection, self._serial, self._deadline = connection, serial, deadline

    def write(self, data: Buffer) -> None:
        """Sends all of it."""
        self._connection.settimeout(self._deadline.left_s())
        try:
            self._connection.sendall(data)
        except TimeoutError as cause:
            raise self._deadline.error() from cause
        except OSError as cause:
            raise DeviceLostError(f"the adb server hung up on {self._serial}: {cause.strerror}") from cause

    def read(self) -> bytes:
        """What came next; empty at the end."""
        self._connection.settimeout(self._deadline.left_s())
        try:
            return self._connection.recv(_READ_BYTES)
        except TimeoutError as cause:
            raise self._deadline.error() from cause
        except OSError as cause:
            raise DeviceLostError(f"the adb server hung up on {self._serial}: {cause.strerror}") from cause

    def has_input(self) -> bool:
        """Whether bytes wait in the kernel."""
        return bool(select.select([self._connection], [], [], 0)[0])

    def close(self) -> None:
        """Hangs up, which the server takes for the end of the stream."""
        with suppress(OSError):
            self._connection.close()


def ask(address: tuple[str, int], question: str, deadline: Deadline) -> str:
    """The server's answer to a question about itself or a phone.

    Raises:
        RefusedError: it said no.
        DeviceError: it is not there, hung up, or did not answer in time.
    """
    with _connect(address, deadline) as connection:
        _request(connection, question, address, deadline)
        try:
            length = int(_exactly(connection, 4, address, deadline), 16)
        except ValueError as cause:
            raise DeviceLostError(f"{address[0]}:{address[1]} does not speak as an adb server does") from cause
        return _exactly(connection, min(length, _LONGEST_ANSWER_BYTES), address, deadline).decode("utf-8", "replace")


def _connect(address: tuple[str, int], deadline: Deadline) -> socket.socket:
    where = f"{address[0]}:{address[1]}"
    try:
        connection = socket.create_connection(address, timeout=deadline.left_s())
    except TimeoutError as cause:
        raise deadline.error() from cause
    except OSError as cause:
        raise DeviceError(
            f"no adb server at {where} ({cause.strerror or cause}); start it with: adb start-server"
        ) from cause
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _request(connection: socket.socket, request: str, address: tuple[str, int], deadline: Deadline) -> None:
    """Sends a request and takes its OKAY."""
    data = request.encode("utf-8", "surrogateescape")
    if len(data) > 0xFFFF:
        raise DeviceError(f"a command of {len(data)} bytes; an adb server takes at most {0xFFFF}")
    connection.settimeout(deadline.left_s())
    try:
        connection.sendall(f"{len(data):04x}".encode() + data)
    except TimeoutError as cause:
        raise deadline.error() from cause
    except OSError as cause:
        raise DeviceLostError(f"the adb server at {address[0]}:{address[1]} hung up: {cause.strerror}") from cause
    status = _exactly(connection, 4, address, deadline)
    if status == b"OKAY":
        return
    if status != b"FAIL":
        raise DeviceLostError(f"{address[0]}:{address[1]} does not speak as an adb server does: {status!r}")
    try:
        length = int(_exactly(connection, 4, address, deadline), 16)
    except ValueError:
        length = 0
    reason = _exactly(connection, length, address, deadline).decode("utf-8", "replace")
    what = request if request.startswith("host") else request.partition(":")[0]
    raise RefusedError(f"the adb server refused {what}: {reason}")


def _exactly(connection: socket.socket, count: int, address: tuple[str, int], deadline: Deadline) -> bytes:
    received = bytearray()
    while len(received) < count:
        connection.settimeout(deadline.left_s())
        try:
            part = connection.recv(count - len(received))
        except TimeoutError as cause:
            raise deadline.error() from cause
        except OSError as cause:
            raise DeviceLostError(f"the adb server at {address[0]}:{address[1]} hung up: {cause.strerror}") from cause
        if not part:
            raise DeviceLostError(f"the adb server at {address[0]}:{address[1]} hung up in the middle of its answer")
        received += part
    return bytes(received)
