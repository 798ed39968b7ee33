"""A link between a phone and a computer that does what links do: it breaks, stalls, crawls and garbles."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

HEADER_BYTES = 24
SMALL_BUFFER_BYTES = 8192


@dataclass
class FaultyLink:
    """Forwards connections on `port` to `target`, message by message.

    Attributes:
        target: the port that it leads to.
        framed: whether what passes are ADB packets; else each piece that comes counts as one message.
        cut_at: hang up instead of forwarding this message (0 is the first of all).
        stall_at: stop forwarding at this message, without hanging up.
        garble: what becomes of a message from the phone: (number, header, data) → bytes.
        bytes_per_s: how fast it is; 0 is as fast as it goes.
        for_good: whether the link stays down after its fault; else the next connection is sound.
        passed: messages forwarded so far, of all connections.
    """

    target: int
    framed: bool = True
    cut_at: int | None = None
    stall_at: int | None = None
    garble: Callable[[int, bytes, bytes], bytes] = lambda _number, header, data: header + data
    bytes_per_s: int = 0
    for_good: bool = False
    passed: int = 0
    failed: bool = False
    port: int = 0
    _sockets: list[socket.socket] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def serve(self, listening: socket.socket) -> None:
        while not self._stopped.is_set():
            try:
                client, _ = listening.accept()
            except OSError:
                return
            if self.failed and self.for_good:
                client.close()
                continue
            if self.bytes_per_s:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
            phone = socket.create_connection(("127.0.0.1", self.target))
            self._sockets += [client, phone]
            for source, sink, from_phone in ((client, phone, False), (phone, client, True)):
                sink.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._pump, args=(source, sink, from_phone), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, from_phone: bool) -> None:
        with suppress(OSError):
            while (message := self._message(source)) is not None:
                header, data = message
                with self._lock:
                    number, sound = self.passed, self.failed
                    self.passed += 1
                    fault = not sound and number in (self.cut_at, self.stall_at)
                    self.failed = self.failed or fault
                if fault and number == self.stall_at:
                    self._stopped.wait()
                if fault:
                    break
                whole = self.garble(number, header, data) if from_phone else header + data
                self._send(sink, whole)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _message(self, source: socket.socket) -> tuple[bytes, bytes] | None:
        if not self.framed:
            data = source.recv(1 << 16)
            return (b"", data) if data else None
        header = _exactly(source, HEADER_BYTES)
        return None if header is None else (header, _exactly(source, struct.unpack_from("<I", header, 12)[0]) or b"")

    def _send(self, sink: socket.socket, data: bytes) -> None:
        if not self.bytes_per_s:
            sink.sendall(data)
            return
        step = 16384
        for start in range(0, len(data), step):
            time.sleep(step / self.bytes_per_s)
            sink.sendall(data[start : start + step])

    def stop(self) -> None:
        self._stopped.set()
        for end in self._sockets:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads from it, which closing does not
            end.close()


def _exactly(source: socket.socket, count: int) -> bytes | None:
    received = bytearray()
    while len(received) < count:
        part = source.recv(min(count - len(received), 1 << 20))
        if not part:
            return None
        received += part
    return bytes(received)


@contextmanager
def faulty_link(target: int, **faults: object) -> Iterator[FaultyLink]:
    link = FaultyLink(target=target, **faults)
    listening = socket.socket()
    if link.bytes_per_s:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    link.port = listening.getsockname()[1]
    thread = threading.Thread(target=link.serve, args=(listening,), daemon=True)
    thread.start()
    try:
        yield link
    finally:
        link.stop()
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(10)
