"""Straight to a phone over TCP or USB, with adb-shell; the only file that names it.

adb-shell brings USB, the greeting and the authentication. Streams are our own on its packets, because its calls
 - give no exit code, and lose a refusal that comes in the middle of a push;
 - wait for ever for a service that the phone refuses, and spin on a connection that was closed;
 - send a packet by one `send()`, whose rest is lost when the link is slow;
 - have time-outs for each read, none for the whole.
Its packet layer is private, so setup.cfg pins its version.
"""

from __future__ import annotations

import select
import socket
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from adb_shell.adb_device import AdbDevice
from adb_shell.exceptions import (
    AdbTimeoutError,
    DeviceAuthError,
    InvalidChecksumError,
    InvalidCommandError,
    InvalidResponseError,
    TcpTimeoutException,
    UsbDeviceNotFoundError,
    UsbReadFailedError,
    UsbWriteFailedError,
)
from adb_shell.hidden_helpers import _AdbTransactionInfo
from adb_shell.transport.base_transport import BaseTransport
from adb_shell.transport.tcp_transport import TcpTransport

from android_bench.adb import wire
from android_bench.adb.keys import Signer
from android_bench.adb.streams import Connection, Deadline, Stream
from android_bench.adb.wire import Buffer, Packet, WireError
from android_bench.errors import DeviceError, DeviceLostError, RefusedError

try:  # part of the extra `usb`; without it no USB error can come
    from usb1 import USBError
except (ImportError, OSError):
    USBError = OSError

_TIMEOUTS = (AdbTimeoutError, TcpTimeoutException, TimeoutError)
_NONSENSE = (InvalidChecksumError, InvalidCommandError, InvalidResponseError, WireError, ValueError)
_BROKEN = (UsbReadFailedError, UsbWriteFailedError, USBError, OSError)
_FAULTS = (*_TIMEOUTS, *_NONSENSE, *_BROKEN, DeviceAuthError, DeviceError)
_USB_ADVICE = "add a udev rule for it or join the group plugdev, and end other programs that hold it"
_LATE_PACKET_S = 2.0
_LEAST_TIMEOUT_S = 0.001  # libusb counts in whole milliseconds, and takes 0 for no time-out at all


class DirectConnection(Connection):
    """A phone over TCP or USB.

    Args:
        transport: how its bytes travel.
        name: what to call it in errors.
        keys: who we are.
        timeout_s: for the greeting.
        authorize_s: for its owner to accept our key on its screen.
        ask: called when the phone asks its owner.
    """

    def __init__(
        self,
        transport: BaseTransport,
        name: str,
        keys: Sequence[Signer],
        timeout_s: float = 10.0,
        authorize_s: float = 30.0,
        ask: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self._name, self._broken = name, False
        self._guard = _Guard(transport)
        self._device = AdbDevice(self._guard, banner="tkd")
        self._last_id = 0
        deadline = Deadline(timeout_s, f"the greeting of {name}")
        asked = False

        def owner_is_asked(_device: object) -> None:
            nonlocal asked
            asked = True
            deadline.extend(authorize_s)
            ask(name)

        self._guard.start(deadline)
        try:
            with self._packets(deadline):
                self._device.connect(
                    rsa_keys=list(keys),
                    transport_timeout_s=timeout_s,
                    read_timeout_s=timeout_s,
                    auth_timeout_s=authorize_s,
                    auth_callback=owner_is_asked,
                )
        except DeviceError as cause:
            if not asked:
                raise
            raise RefusedError(
                f"{name} does not know this computer's key: unlock it, accept “Allow USB debugging” "
                "on its screen (with “always”), and run this again"
            ) from cause
        with self._packets(deadline):
            features = _banner(self._guard.recorded()).get("features", "")
        self._features = frozenset(features.split(",")) - {""}

    @property
    def features(self) -> frozenset[str]:
        """From the phone's greeting; phones before Android 7 name none."""
        return self._features

    def open(self, service: str, deadline: Deadline) -> Stream:
        """A stream of our own on adb-shell's packets."""
        request = service.encode("utf-8", "surrogateescape") + b"\0"
        if len(request) > self.max_data():
            raise DeviceError(f"a command of {len(request)} bytes; {self._name} takes at most {self.max_data()}")
        self._last_id += 1
        info = _AdbTransactionInfo(self._last_id, None, deadline.left_s(), deadline.left_s(), None)
        self._guard.start(deadline)
        with self._packets(deadline):
            manager = self._device._io_manager
            manager.send(Packet(wire.OPEN, self._last_id, 0, request), info)
            command, info.remote_id, _, _ = manager.read([wire.OKAY, wire.CLSE], info, allow_zeros=True)
        if command == wire.CLSE:
            raise RefusedError(f"{self._name} offers no service '{service.partition(':')[0]}'")
        return _DirectStream(self, info, deadline)

    def is_alive(self) -> bool:
        """Whether nothing went wrong and nobody has hung up; on USB the latter is not known before something is sent.

        What has come since the last stream ended (the answer to its end) is taken out of the way.
        """
        deadline = Deadline(_LATE_PACKET_S, f"a late packet of {self._name}")
        self._guard.start(deadline)
        info = _AdbTransactionInfo(None, None, _LATE_PACKET_S, _LATE_PACKET_S, None)
        with suppress(DeviceError), self._packets(deadline):
            while not self._broken and self._guard.input_waits():
                self._device._io_manager._read_packet_from_device(info)
        return not self._broken

    def close(self) -> None:
        """Hangs up."""
        self._broken = True
        with suppress(*_BROKEN):
            self._device.close()

    def send(self, packet: Packet, info: _AdbTransactionInfo, deadline: Deadline) -> None:
        """Sends one packet of a stream; none over a broken connection."""
        if self._broken:
            raise DeviceLostError(f"the connection to {self._name} broke before")
        with self._packets(deadline):
            self._device._io_manager.send(packet, info)

    def receive(self, info: _AdbTransactionInfo, deadline: Deadline) -> tuple[bytes, bytes]:
        """(command, data) of the next packet of a stream."""
        info.read_timeout_s = info.transport_timeout_s = deadline.left_s()
        with self._packets(deadline):
            command, _, _, data = self._device._io_manager.read(
                [wire.OKAY, wire.WRTE, wire.CLSE], info, allow_zeros=True
            )
        return command, data

    def max_data(self) -> int:
        """The most that one packet may carry."""
        return int(min(max(self._device._maxdata, wire.LEAST_MAX_DATA), wire.MAX_DATA))

    @contextmanager
    def _packets(self, deadline: Deadline) -> Iterator[None]:
        """Packets pass whole within this block, or the connection is given up: what follows would be misread."""
        try:
            yield
        except _FAULTS as cause:
            self.close()
            raise self._error(cause, deadline) from cause
        except BaseException:  # Ctrl-C
            self.close()
            raise

    def _error(self, cause: Exception, deadline: Deadline) -> DeviceError:
        if isinstance(cause, DeviceError):
            return cause
        if isinstance(cause, _TIMEOUTS) or (isinstance(cause, _BROKEN) and deadline.is_over):
            return deadline.error()
        if isinstance(cause, DeviceAuthError):
            return RefusedError(f"{self._name} wants a key, and there is none")
        if isinstance(cause, ConnectionRefusedError):
            return DeviceError(f"nothing listens at {self._name} (connection refused)")
        if USBError is not OSError and isinstance(cause, USBError):
            return DeviceError(f"{self._name} on USB cannot be opened ({cause}); {_USB_ADVICE}")
        if isinstance(cause, _BROKEN):
            return DeviceLostError(f"the connection to {self._name} broke: {cause}")
        return DeviceLostError(f"{self._name} does not speak ADB as expected: {str(cause)[:120]}")


class _DirectStream(Stream):
    """One stream: a WRTE goes out when the last one was acknowledged, and each that comes is acknowledged."""

    def __init__(self, connection: DirectConnection, info: _AdbTransactionInfo, deadline: Deadline) -> None:
        self._connection, self._info, self._deadline = connection, info, deadline
        self._received: deque[bytes] = deque()
        self._ended = False

    def write(self, data: Buffer) -> None:
        """Sends data in pieces as long as the phone takes them."""
        view = memoryview(data)
        size = self._connection.max_data()
        for start in range(0, len(view), size):
            if self._ended:
                raise DeviceLostError("the phone closed the stream while it was sent something")
            self._send(wire.WRTE, view[start : start + size])
            while not self._ended and self._take() != wire.OKAY:
                pass

    def read(self) -> bytes:
        """What came next; empty at the end."""
        while not self._received and not self._ended:
            self._take()
        return self._received.popleft() if self._received else b""

    def has_input(self) -> bool:
        """Whether something was received while we were sending."""
        return bool(self._received)

    def close(self) -> None:
        """Tells the phone, unless it has ended the stream itself."""
        if not self._ended:
            self._ended = True
            with suppress(DeviceError):
                self._send(wire.CLSE)

    def _take(self) -> bytes:
        """Takes one packet in; its command."""
        command, data = self._connection.receive(self._info, self._deadline)
        if command == wire.CLSE:
            self._ended = True
            self._send(wire.CLSE)
        elif command == wire.WRTE:
            self._send(wire.OKAY)
            if data:
                self._received.append(data)
        return command

    def _send(self, command: bytes, data: Buffer = b"") -> None:
        packet = Packet(command, self._info.local_id, self._info.remote_id, data)
        self._connection.send(packet, self._info, self._deadline)


class _Guard(BaseTransport):  # type: ignore[misc]
    """A transport that sends all or fails, ends at the deadline, and takes no packet that is too long."""

    def __init__(self, inner: BaseTransport) -> None:
        self._inner = inner
        self._deadline: Deadline | None = None
        self._record: bytearray | None = bytearray()

    def start(self, deadline: Deadline) -> None:
        """Sets when everything from here on must have ended."""
        self._deadline = deadline

    def recorded(self) -> bytes:
        """What was received so far; nothing is recorded any more."""
        record, self._record = bytes(self._record or b""), None
        return record

    def connect(self, transport_timeout_s: float | None) -> None:
        """Connects; a small packet does not wait for the acknowledgement of the one before it."""
        self._inner.connect(self._left_s(transport_timeout_s))
        if isinstance(self._inner, TcpTransport):
            self._inner._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        """Hangs up."""
        self._inner.close()

    def bulk_read(self, numbytes: int, transport_timeout_s: float | None) -> bytes:
        """Some of the bytes that were asked for, at least one."""
        if numbytes > wire.MAX_DATA:
            raise ValueError(f"a packet of {numbytes} bytes; at most {wire.MAX_DATA} were agreed")
        data = bytes(self._inner.bulk_read(numbytes, self._left_s(transport_timeout_s)))
        if not data and isinstance(self._inner, TcpTransport):
            raise ConnectionResetError("it hung up")
        if self._record is not None:
            self._record += data
        return data

    def bulk_write(self, data: Buffer, transport_timeout_s: float | None) -> int:
        """Sends all of it, however little the link takes at once."""
        view = memoryview(data)
        while len(view):
            view = view[self._inner.bulk_write(view, self._left_s(transport_timeout_s)) :]
        return len(data)

    def input_waits(self) -> bool:
        """Whether bytes, or the end of the connection, wait in the kernel; on USB that is not known."""
        connection = self._inner._connection if isinstance(self._inner, TcpTransport) else None
        return connection is not None and bool(select.select([connection], [], [], 0)[0])

    def _left_s(self, timeout_s: float | None) -> float:
        assert self._deadline is not None
        left = self._deadline.left_s()
        wanted = left if timeout_s is None else min(left, timeout_s)
        return max(wanted, _LEAST_TIMEOUT_S)


def tcp_transport(host: str, port: int) -> BaseTransport:
    """A phone that listens on the network (`adb tcpip 5555`)."""
    return TcpTransport(host, port)


def usb_transport(serial: str | None) -> BaseTransport:
    """A phone on USB that no adb server holds.

    Raises:
        DeviceError: libusb is not installed, the phone is not there, or may not be opened.
    """
    try:
        from adb_shell.transport.usb_transport import UsbTransport
    except (ImportError, OSError) as cause:
        raise DeviceError(
            "a phone on USB is reached through a running adb server (adb start-server) or through libusb, "
            f"which is not installed ({cause}); in a checkout of the project: pip install '.[usb]'"
        ) from cause
    try:
        return UsbTransport.find_adb(serial=serial)
    except UsbDeviceNotFoundError as cause:
        raise DeviceError(f"no phone with serial {serial} is on USB; is USB debugging on?") from cause
    except USBError as cause:
        raise DeviceError(f"the phone {serial} on USB cannot be opened ({cause}); {_USB_ADVICE}") from cause


def _banner(received: bytes) -> dict[str, str]:
    """The facts in the greeting, found among the packets that were received while connecting."""
    while len(received) >= wire.HEADER_BYTES:
        header = wire.parse_header(received[: wire.HEADER_BYTES], wire.MAX_DATA)
        end = wire.HEADER_BYTES + header.length
        if header.command == wire.CNXN:
            return parse_banner(received[wire.HEADER_BYTES : end])
        received = received[end:]
    return {}


def parse_banner(banner: bytes) -> dict[str, str]:
    """The facts in a greeting.

    >>> parse_banner(b"device::ro.product.model=Pixel;features=shell_v2,cmd")["features"]
    'shell_v2,cmd'
    """
    facts = banner.rstrip(b"\\0").decode("utf-8", "replace").split("::", 1)[-1].split(";")
    return dict(fact.split("=", 1) for fact in facts if "=" in fact)
