"""The daemon against clients that break the protocol, packet by packet."""

import random
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from android_bench.adb import wire
from android_bench.adb.wire import Packet, checksum, parse_header, shell_frame, sync_request
from tests.android_bench.phone_toys import ToyPhone


class RawClient:
    """Packets as they are, without any manners."""

    def __init__(self, port: int, toy: ToyPhone, version: int = wire.VERSION_WITHOUT_CHECKSUMS) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._toy, self.version = toy, version

    def send(self, command: bytes, arg0: int = 0, arg1: int = 0, data: bytes = b"", total: int | None = None) -> None:
        head = bytearray(Packet(command, arg0, arg1, data).pack())
        if total is not None:
            head[16:20] = struct.pack("<I", total)
        self.socket.sendall(bytes(head) + data)

    def receive(self) -> Packet | None:
        """The next packet; None when the phone has hung up."""
        head = self._exactly(wire.HEADER_BYTES)
        if head is None:
            return None
        header = parse_header(head, wire.MAX_DATA)
        data = self._exactly(header.length) if header.length else b""
        if self.version < wire.VERSION_WITHOUT_CHECKSUMS:
            assert header.total == checksum(data or b"")
        return None if data is None else Packet(header.command, header.arg0, header.arg1, data)

    def greet(self, max_data: int = wire.MAX_DATA) -> Packet:
        """Connects with a key that the phone knows; its greeting."""
        self.send(wire.CNXN, self.version, max_data, b"host::test\0")
        token = self.receive()
        self.send(wire.AUTH, wire.AUTH_SIGNATURE, 0, self._toy.keys[0].Sign(token.data))
        return self.receive()

    def open(self, service: str, local: int = 1) -> int:
        """Opens a stream; the phone's number of it, 0 when it was refused."""
        self.send(wire.OPEN, local, 0, service.encode() + b"\0")
        answer = self.receive()
        assert answer.command in (wire.OKAY, wire.CLSE)
        return answer.arg0 if answer.command == wire.OKAY else 0

    def _exactly(self, count: int) -> bytes | None:
        received = b""
        while len(received) < count:
            try:
                part = self.socket.recv(count - len(received))
            except ConnectionResetError:
                return None
            if not part:
                return None
            received += part
        return received


@contextmanager
def client(toy: ToyPhone, version: int = wire.VERSION_WITHOUT_CHECKSUMS, **settings: object) -> Iterator[RawClient]:
    with toy.daemon(**settings) as daemon:
        made = RawClient(daemon.port, toy, version)
        with made.socket:
            yield made


def test_the_greeting_says_what_the_phone_is(toy):
    with client(toy) as raw:
        hello = raw.greet()

    assert hello.command == wire.CNXN
    assert hello.arg1 == wire.MAX_DATA
    assert hello.data == (
        b"device::ro.product.name=sailfish;ro.product.model=Pixel;ro.product.device=sailfish;features=cmd,shell_v2"
    )


def test_packets_are_as_long_as_the_smaller_end_takes(toy):
    with client(toy) as raw:
        raw.greet(max_data=4096)
        stream = raw.open("exec:head -c 10000 /dev/zero")
        lengths = []
        while (packet := raw.receive()).command == wire.WRTE:
            lengths.append(len(packet.data))
            raw.send(wire.OKAY, 1, stream)

    assert sum(lengths) == 10_000
    assert max(lengths) <= 4096


def test_an_old_client_gets_checksums_and_must_send_them(toy):
    with client(toy, version=wire.VERSION_WITH_CHECKSUMS) as raw:
        raw.greet()
        assert raw.open("exec:echo checked") == 1
        assert raw.receive().data == b"checked\n"
        raw.send(wire.OPEN, 2, 0, b"exec:true\0", total=12345)
        assert (raw.receive() or Packet(b"", 0, 0)).command != wire.OKAY


def test_a_new_client_need_not_send_checksums(toy):
    with client(toy) as raw:
        raw.greet()
        raw.send(wire.OPEN, 2, 0, b"exec:true\0", total=12345)

        assert raw.receive().command == wire.OKAY


def test_nothing_is_opened_before_authentication(toy):
    witness = toy.root / "data/local/tmp/witness"
    with client(toy) as raw:
        raw.send(wire.CNXN, raw.version, wire.MAX_DATA, b"host::\0")
        raw.receive()
        raw.send(wire.OPEN, 1, 0, b"exec:echo > /data/local/tmp/witness\0")

        assert raw.receive() is None
    assert not witness.exists()


def test_a_greeting_comes_first(toy):
    with client(toy) as raw:
        raw.send(wire.OPEN, 1, 0, b"exec:true\0")

        assert raw.receive() is None


@pytest.mark.parametrize("signature", [b"", b"x" * 256, b"\xff" * 256, b"x" * 4096])
def test_a_wrong_signature_gets_another_token(toy, signature):
    with client(toy) as raw:
        raw.send(wire.CNXN, raw.version, wire.MAX_DATA, b"host::\0")
        first = raw.receive()
        raw.send(wire.AUTH, wire.AUTH_SIGNATURE, 0, signature)
        second = raw.receive()

    assert (first.command, second.command) == (wire.AUTH, wire.AUTH)
    assert first.data != second.data
    assert len(second.data) == wire.TOKEN_BYTES


def test_a_signature_of_an_old_token_does_not_count(toy):
    with client(toy) as raw:
        raw.send(wire.CNXN, raw.version, wire.MAX_DATA, b"host::\0")
        old = toy.keys[0].Sign(raw.receive().data)
        raw.send(wire.AUTH, wire.AUTH_SIGNATURE, 0, b"wrong")
        raw.receive()
        raw.send(wire.AUTH, wire.AUTH_SIGNATURE, 0, old)

        assert raw.receive().command == wire.AUTH


def test_showing_a_public_key_opens_nothing(toy):
    with client(toy, greeting_s=0.5) as raw:
        raw.send(wire.CNXN, raw.version, wire.MAX_DATA, b"host::\0")
        raw.receive()
        raw.send(wire.AUTH, wire.AUTH_PUBLIC_KEY, 0, toy.keys[0].public + b"\0")

        assert raw.receive() is None  # nobody accepts it, so the phone hangs up when its time is over


def test_a_client_that_never_greets_is_cut_off(toy):
    with client(toy, greeting_s=0.2) as raw:
        assert raw.receive() is None


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: phone\r\n\r\n",
        b"\0" * 24,
        b"\xff" * 24,
        struct.pack("<4sIIII4s", b"CNXN", 0, 0, 0, 0, b"CNXN"),
        struct.pack("<4sIIII4s", b"CNXN", 1 << 24, 4096, 0xFFFFFFFF, 0, bytes(b ^ 0xFF for b in b"CNXN")),
        struct.pack("<4sIIII4s", b"CNXN", 1 << 24, 4096, 4097, 0, bytes(b ^ 0xFF for b in b"CNXN")),
        struct.pack("<4sIIII4s", b"SYNC", 0, 0, 0, 0, bytes(b ^ 0xFF for b in b"SYNC")),
    ],
    ids=["http", "zeros", "ones", "magic", "4 GB", "a byte too long", "unknown"],
)
def test_garbage_is_cut_off_at_once_and_harms_nobody_else(toy, garbage):
    with toy.daemon() as daemon:
        raw = RawClient(daemon.port, toy)
        with raw.socket:
            raw.socket.sendall(garbage)
            assert raw.receive() is None

        assert toy.phone(daemon.port).run(("echo", "alive"), 10).stdout == "alive\n"


@pytest.mark.parametrize("seed", range(8))
def test_random_packets_of_a_known_client_harm_nobody(toy, seed):
    draw = random.Random(seed)
    with toy.daemon() as daemon:
        for _ in range(25):
            raw = RawClient(daemon.port, toy)
            raw.greet()
            stream = raw.open(draw.choice(["sync:", "exec:cat", "shell,v2,raw:cat"]))
            with raw.socket, suppress(OSError):
                for _ in range(draw.randrange(1, 6)):
                    command = draw.choice(sorted(wire.COMMANDS))
                    data = draw.randbytes(draw.choice([0, 1, 8, 100, 5000]))
                    raw.send(command, draw.choice([0, 1, 2]), draw.choice([0, stream, stream + 1]), data)
                raw.socket.sendall(draw.randbytes(draw.choice([0, 10, 24, 100])))

        assert toy.phone(daemon.port).run(("echo", "alive"), 10).stdout == "alive\n"
    assert [path.name for path in (toy.root / "data/local/tmp").iterdir()] == []


def test_a_packet_longer_than_agreed_is_cut_off(toy):
    with client(toy) as raw:
        raw.greet()
        raw.socket.sendall(Packet(wire.OPEN, 1, 0, b"").pack()[:12] + struct.pack("<I", wire.MAX_DATA + 1) + b"\0" * 4)
        raw.socket.sendall(bytes(b ^ 0xFF for b in wire.OPEN))

        assert raw.receive() is None


def test_half_a_packet_is_not_waited_for_for_ever(toy):
    with client(toy, stall_s=0.2) as raw:
        raw.greet()
        raw.socket.sendall(Packet(wire.OPEN, 1, 0, b"exec:true\0").pack() + b"exe")

        assert raw.receive() is None


def test_a_second_write_before_the_first_is_taken_is_cut_off(toy):
    with client(toy) as raw:
        raw.greet()
        stream = raw.open("exec:sleep 30")
        for _ in range(40):  # the pipe to a command that reads nothing fills up
            try:
                raw.send(wire.WRTE, 1, stream, b"x" * 100_000)
            except OSError:
                break
        packets = []
        while packet := raw.receive():  # until it hangs up
            packets.append(packet.command)

    assert packets.count(wire.OKAY) < 4, "what filled the pipe was acknowledged, and what came after it"


def test_a_close_is_answered_with_a_close_and_ends_the_command(toy):
    witness = toy.root / "data/local/tmp/witness"
    with client(toy) as raw:
        raw.greet()
        stream = raw.open("shell:sleep 1; echo > /data/local/tmp/witness")
        raw.send(wire.CLSE, 1, stream)
        answer = raw.receive()
        again = raw.open("exec:sleep 1.2; echo late", local=2)
        late = raw.receive()

    assert (answer.command, answer.arg0, answer.arg1) == (wire.CLSE, stream, 1)
    assert again
    assert late.data == b"late\n"
    assert not witness.exists()


def test_a_stream_that_is_closed_in_the_same_breath_is_answered_too(toy):
    with client(toy, streams=1) as raw:
        raw.greet()
        for local in (1, 2, 3):
            service = b"exec:sleep 30\0"
            opening = Packet(wire.OPEN, local, 0, service).pack() + service
            raw.socket.sendall(opening + Packet(wire.CLSE, local, local).pack())

            assert [raw.receive().command, raw.receive().command] == [wire.OKAY, wire.CLSE]


def test_what_comes_for_a_stream_that_is_gone_is_ignored(toy):
    with client(toy) as raw:
        raw.greet()
        for command in (wire.OKAY, wire.WRTE, wire.CLSE):
            raw.send(command, 7, 99, b"stale" if command == wire.WRTE else b"")

        assert raw.open("exec:true")


def test_the_command_ends_when_the_client_hangs_up(toy):
    witness = toy.root / "data/local/tmp/witness"
    with toy.daemon() as daemon:
        raw = RawClient(daemon.port, toy)
        raw.greet()
        raw.open("shell:(sleep 1; echo > /data/local/tmp/witness) & sleep 30")
        raw.socket.close()
        toy.phone(daemon.port).run(("sleep", "1.2"), 10)

    assert not witness.exists()


@pytest.mark.parametrize(
    "service", ["", "shell", "sync", "reboot:", "tcp:22", "framebuffer:", "root:", "exec,v2:true", "sync,v2:", "x:"]
)
def test_services_that_are_not_there_are_refused(toy, service):
    with client(toy) as raw:
        raw.greet()

        assert raw.open(service) == 0
        assert raw.open("exec:true", local=2)


def test_a_phone_without_shell_v2_refuses_it(toy):
    with client(toy, features=frozenset()) as raw:
        hello = raw.greet()

        assert b"features" not in hello.data
        assert raw.open("shell,v2,raw:true") == 0


def test_streams_are_not_endless(toy):
    with client(toy, streams=3) as raw:
        raw.greet()

        opened = [bool(raw.open("exec:sleep 30", local=number)) for number in range(1, 6)]

    assert opened == [True, True, True, False, False]


def test_clients_are_not_endless(toy):
    with toy.daemon() as daemon:
        clients = [RawClient(daemon.port, toy) for _ in range(20)]
        first = clients[0].greet()
        late = clients[-1].receive()
        for raw in clients:
            raw.socket.close()

    assert (first.command, late) == (wire.CNXN, None)


def test_several_streams_run_beside_each_other(toy):
    with client(toy) as raw:
        raw.greet()
        slow = raw.open("exec:sleep 0.5; echo slow", local=1)
        fast = raw.open("exec:echo fast", local=2)
        order = []
        while len(order) < 2:
            packet = raw.receive()
            if packet.command == wire.WRTE:
                order.append(bytes(packet.data))
                raw.send(wire.OKAY, packet.arg1, packet.arg0)

    assert slow != fast
    assert order == [b"fast\n", b"slow\n"]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"SEND" + struct.pack("<I", 0xFFFFFFFF),
        b"NOPE" + struct.pack("<I", 0),
        sync_request(b"SEND", b"/data/local/tmp/x,33188") + sync_request(b"DATA", 65_537),
        sync_request(b"SEND", b"/data/local/tmp/x,33188") + sync_request(b"NOPE", 1),
        sync_request(b"RECV", b"/data/local/tmp/\0x"),
        sync_request(b"STAT", b"\xff\xfe"),
        sync_request(b"LIST", b""),
    ],
    ids=["4 GB path", "unknown", "large chunk", "not data", "zero byte", "no utf-8", "empty"],
)
def test_nonsense_to_the_file_service_leaves_nothing_and_harms_nobody(toy, request_bytes):
    with client(toy) as raw:
        raw.greet()
        stream = raw.open("sync:")
        raw.send(wire.WRTE, 1, stream, request_bytes)
        raw.receive()
        raw.send(wire.CLSE, 1, stream)
        while raw.receive().command != wire.CLSE:
            pass

        assert raw.open("exec:true", local=2)
    assert not (toy.root / "data/local/tmp/x").exists()


def test_a_shell_frame_that_is_too_long_ends_the_stream(toy):
    with client(toy) as raw:
        raw.greet()
        stream = raw.open("shell,v2,raw:cat")
        raw.send(wire.WRTE, 1, stream, struct.pack("<BI", wire.SHELL_STDIN, 0xFFFFFFFF))
        raw.receive()
        raw.send(wire.CLSE, 1, stream)

        assert raw.receive().command == wire.CLSE


def test_typed_input_reaches_the_command_until_it_is_closed(toy):
    with client(toy) as raw:
        raw.greet()
        stream = raw.open("shell,v2,raw:cat; exit 3")
        raw.send(
            wire.WRTE, 1, stream, shell_frame(wire.SHELL_STDIN, b"typed") + shell_frame(wire.SHELL_CLOSE_STDIN, b"")
        )
        received = b""
        while (packet := raw.receive()).command != wire.CLSE:
            if packet.command == wire.WRTE:
                received += packet.data
                raw.send(wire.OKAY, 1, stream)

    assert received == shell_frame(wire.SHELL_STDOUT, b"typed") + shell_frame(wire.SHELL_EXIT, b"\x03")


def test_only_loopback_is_listened_on(toy):
    with toy.daemon() as daemon, socket.socket() as other:
        other.settimeout(1)
        name = socket.gethostbyname(socket.gethostname())
        reached = other.connect_ex((name, daemon.port)) == 0 if not name.startswith("127.") else False

    assert not reached


def test_stopping_ends_every_thread_and_command(toy):
    before = threading.active_count()
    with toy.daemon() as daemon:
        raw = RawClient(daemon.port, toy)
        raw.greet()
        raw.open("exec:sleep 60")

    while raw.receive() is not None:
        pass
    raw.socket.close()
    assert threading.active_count() <= before
