"""A phone behind a link that breaks, stalls, crawls and garbles: a clear error or a clean second try, never a hang.

The sweeps put a fault at each message of a whole session: greeting, facts, a command that must not run twice, a push
and a pull. The quick ones take every thirteenth message, the slow ones take all.
"""

import logging
import random
import socket
import struct
import threading
import time
from pathlib import Path

import pytest
from adb_shell.exceptions import UsbReadFailedError
from adb_shell.transport.base_transport import BaseTransport

from android_bench.adb.direct import DirectConnection, _Guard
from android_bench.adb.phone import Phone
from android_bench.errors import DeviceError, DeviceLostError, DeviceTimeoutError, RefusedError
from tests.android_bench.faulty_link import FaultyLink, faulty_link
from tests.android_bench.phone_toys import ToyPhone, adb_server

STEP = 13
MODEL_BYTES = 300_000
NEW, OLD = frozenset(("shell_v2", "cmd")), frozenset[str]()
# Longer than any test may take: what does not end by its own time-outs fails here instead of hanging.
WATCHDOG_S = 60


def session(phone: Phone, folder: Path) -> list[str]:
    """What each step came to: done, or the error's class."""
    local = folder / "model.tflite"
    if not local.exists():
        local.write_bytes(random.Random(3).randbytes(MODEL_BYTES))

    def once() -> None:
        assert phone.run(("sh", "-c", "echo ran >> /data/local/tmp/count"), 2).exit_code == 0

    def push_and_pull() -> None:
        phone.pull(phone.push(local), folder / "back")
        assert (folder / "back").read_bytes() == local.read_bytes()

    outcomes = []
    for step in (phone.facts, once, push_and_pull, phone.state):
        try:
            step()
            outcomes.append("done")
        except DeviceError as error:
            outcomes.append(type(error).__name__)
    return outcomes


def times_run(toy: ToyPhone) -> int:
    count = toy.root / "data/local/tmp/count"
    return len(count.read_text().splitlines()) if count.exists() else 0


def unfinished(toy: ToyPhone) -> list[Path]:
    """Files of ours that are not whole; one may still carry its temporary name when the link went away for good."""
    return [path for path in toy.ours.rglob("*") if path.is_file() and path.stat().st_size != MODEL_BYTES]


def messages_of_a_sound_session(toy: ToyPhone, port: int, folder: Path) -> int:
    with faulty_link(port) as link:
        phone = toy.phone(link.port)
        assert session(phone, folder) == ["done"] * 4
        phone.close()
        return link.passed


def forget(toy: ToyPhone, folder: Path) -> None:
    """Sets the phone back to how it was."""
    for path in sorted(toy.ours.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (toy.root / "data/local/tmp/count").unlink(missing_ok=True)
    (folder / "back").unlink(missing_ok=True)


def watched(work, *arguments):
    """The result of `work`, which must end by itself long before the watchdog."""
    results = []
    thread = threading.Thread(target=lambda: results.append(work(*arguments)), daemon=True)
    thread.start()
    thread.join(WATCHDOG_S)
    assert not thread.is_alive(), "it hangs"
    assert results, "it raised something that is no DeviceError"
    return results[0]


def sweep_cuts(toy: ToyPhone, folder: Path, features: frozenset[str], step: int, for_good: bool) -> int:
    points = 0
    with toy.daemon(features=features) as daemon:
        total = messages_of_a_sound_session(toy, daemon.port, folder)
        for cut_at in range(0, total, step):
            forget(toy, folder)
            with faulty_link(daemon.port, cut_at=cut_at, for_good=for_good) as link:
                phone = toy.phone(link.port, timeout_s=3)
                outcomes = watched(session, phone, folder)
                phone.close()
            if not link.failed:
                continue  # this session was shorter than the sound one: output comes in pieces of any size
            # A link that broke once costs at most the command that must not be repeated.
            assert for_good or [outcomes[0], *outcomes[2:]] == ["done"] * 3, (cut_at, outcomes)
            assert not for_good or outcomes[-1] != "done" or cut_at > total - 20, (cut_at, outcomes)
            assert times_run(toy) <= 1, cut_at
            assert outcomes[1] != "done" or times_run(toy) == 1, cut_at
            wait_for_the_phone_to_notice(toy)
            assert unfinished(toy) == [], cut_at
            # The phone itself is none the worse.
            sound = toy.phone(daemon.port)
            assert watched(session, sound, folder)[2] == "done"
            sound.close()
            assert list(toy.ours.rglob("*.part")) == []
            points += 1
    return points


def wait_for_the_phone_to_notice(toy: ToyPhone) -> None:
    """A phone clears up when it notices that its client has gone, a moment later."""
    end = time.monotonic() + 5
    while unfinished(toy) and time.monotonic() < end:
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("features", "for_good"),
    [(NEW, False), (OLD, False), (NEW, True)],
    ids=["shell_v2 once", "before-7 once", "shell_v2 for good"],
)
def test_a_link_that_breaks(toy, tmp_path, features, for_good):
    assert sweep_cuts(toy, tmp_path, features, STEP, for_good) > 5


@pytest.mark.slow
@pytest.mark.parametrize("features", [NEW, OLD], ids=["shell_v2", "before-7"])
@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for-good"])
def test_a_link_that_breaks_at_every_message(toy, tmp_path, features, for_good):
    points = sweep_cuts(toy, tmp_path, features, 1, for_good)

    logging.getLogger(__name__).info("%d fault points", points)  # shown by --log-cli-level=INFO
    assert points > 50


def sweep_stalls(toy: ToyPhone, folder: Path, step: int) -> int:
    points = 0
    with toy.daemon() as daemon:
        total = messages_of_a_sound_session(toy, daemon.port, folder)
        for stall_at in range(1, total, step):
            forget(toy, folder)
            with faulty_link(daemon.port, stall_at=stall_at) as link:
                phone = toy.phone(link.port, timeout_s=1, stall_s=1, read_s=1)
                outcomes = watched(session, phone, folder)
                phone.close()
            assert outcomes.count("done") >= 2, (stall_at, outcomes)
            assert set(outcomes) <= {"done", "DeviceTimeoutError", "DeviceLostError", "DeviceError"}
            assert times_run(toy) <= 1, stall_at
            wait_for_the_phone_to_notice(toy)
            assert unfinished(toy) == [], stall_at
            points += 1
    return points


@pytest.mark.slow
def test_a_link_that_stalls_at_every_message(toy, tmp_path):
    points = sweep_stalls(toy, tmp_path, 1)

    logging.getLogger(__name__).info("%d fault points", points)  # shown by --log-cli-level=INFO
    assert points > 50


def test_a_link_that_stalls(toy, tmp_path):
    assert sweep_stalls(toy, tmp_path, 3 * STEP) > 1


def wrong_checksum(number: int, header: bytes, data: bytes) -> bytes:
    (total,) = struct.unpack_from("<I", header, 16)
    return header[:16] + struct.pack("<I", total ^ 1) + header[20:] + data


def oversized(number: int, header: bytes, data: bytes) -> bytes:
    return header[:12] + struct.pack("<I", 0xFFFFFFF0) + header[16:] + data


def nonsense(number: int, header: bytes, data: bytes) -> bytes:
    return b"HTTP/1.1 400 Bad Request\r\n\r\n"


def cut_short(number: int, header: bytes, data: bytes) -> bytes:
    return header + data[:-1]


@pytest.mark.parametrize("garble", [wrong_checksum, oversized, nonsense])
@pytest.mark.parametrize("every", [range(0, 400, 11), range(5, 400, 13)], ids=["a", "b"])
def test_what_is_garbled_is_noticed(toy, tmp_path, garble, every):
    numbers = set(every)
    noticed = []

    def some(number: int, header: bytes, data: bytes) -> bytes:
        if number in numbers and data:
            numbers.clear()  # once
            noticed.append(number)
            return garble(number, header, data)
        return header + data

    with toy.daemon() as daemon, faulty_link(daemon.port, garble=some) as link:
        outcomes = watched(session, toy.phone(link.port, timeout_s=2, stall_s=2), tmp_path)

    assert noticed
    assert outcomes.count("done") >= 3
    assert times_run(toy) <= 1
    assert unfinished(toy) == []


def test_a_phone_that_always_garbles_is_given_up(toy, tmp_path):
    wanted = pytest.raises(DeviceLostError, match=r"does not speak ADB as expected: Received checksum")
    with toy.daemon() as daemon, faulty_link(daemon.port, garble=wrong_checksum) as link, wanted:
        toy.phone(link.port).run(("true",), 5)


def test_a_greeting_that_is_damaged_where_nobody_looks_is_noticed(toy):
    def wrong_complement(number: int, header: bytes, data: bytes) -> bytes:
        return header[:20] + b"\0\0\0\0" + data

    wanted = pytest.raises(DeviceLostError, match=r"does not speak ADB as expected: .* starts no packet")
    with toy.daemon() as daemon, faulty_link(daemon.port, garble=wrong_complement) as link, wanted:
        toy.phone(link.port).run(("true",), 5)


def test_a_link_of_one_megabyte_a_second_takes_its_time_and_all_of_it(toy, tmp_path):
    local = tmp_path / "model.tflite"
    local.write_bytes(random.Random(1).randbytes(1_500_000))
    with toy.daemon() as daemon, faulty_link(daemon.port, bytes_per_s=1_000_000) as link:
        remote = watched(toy.phone(link.port).push, local)

    assert toy.files.host_path(remote).read_bytes() == local.read_bytes()


class LittleAtATime(BaseTransport):
    """A link that takes only some bytes of each write, as USB and small buffers do."""

    def __init__(self, port: int) -> None:
        self._port, self.writes = port, 0

    def connect(self, transport_timeout_s: float | None) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self._port), transport_timeout_s)

    def close(self) -> None:
        if hasattr(self, "_socket"):
            self._socket.close()

    def bulk_read(self, numbytes: int, transport_timeout_s: float | None) -> bytes:
        return self._socket.recv(min(numbytes, 5000))

    def bulk_write(self, data: memoryview, transport_timeout_s: float | None) -> int:
        self.writes += 1
        return self._socket.send(data[:777])


class AsUsb(LittleAtATime):
    """A link whose time-outs are errors of reading, as adb-shell's USB transport has them."""

    def bulk_read(self, numbytes: int, transport_timeout_s: float | None) -> bytes:
        self._socket.settimeout(transport_timeout_s)
        try:
            return self._socket.recv(numbytes)
        except TimeoutError as cause:
            raise UsbReadFailedError("Could not receive data", cause) from cause


def test_a_time_out_on_usb_is_a_time_out(toy):
    with toy.daemon() as daemon:
        made = Phone(
            "the phone", lambda limit_s: DirectConnection(AsUsb(daemon.port), "the phone", toy.keys, limit_s), "USB"
        )
        with made as phone:
            phone.facts()
            with pytest.raises(DeviceTimeoutError, match=r"'sleep 30' on the phone took longer than 1 s and was ended"):
                phone.run(("sleep", "30"), 1)


def test_what_a_link_does_not_take_at_once_is_sent_after_it(toy, tmp_path):
    local = tmp_path / "model.tflite"
    local.write_bytes(random.Random(1).randbytes(400_000))
    with toy.daemon() as daemon:
        link = LittleAtATime(daemon.port)
        with Phone("the phone", lambda limit_s: DirectConnection(link, "the phone", toy.keys, limit_s), "") as phone:
            remote = phone.push(local)

    assert link.writes > 400_000 // 777
    assert toy.files.host_path(remote).read_bytes() == local.read_bytes()


def test_a_stranger_is_told_what_to_do(toy):
    asked: list[str] = []
    with toy.daemon(known_keys=()) as daemon:
        phone = Phone(
            "the phone", lambda limit_s: toy.direct(daemon.port, timeout_s=5, authorize_s=0.3, ask=asked.append), "TCP"
        )
        with pytest.raises(RefusedError, match="does not know this computer's key: unlock it, accept"):
            phone.run(("true",), 5)

    assert asked == [f"127.0.0.1:{daemon.port}"]


def test_a_phone_that_goes_away_in_mid_command_is_not_asked_twice(toy):
    script = "echo ran >> /data/local/tmp/count; sleep 30"
    with toy.daemon() as daemon:
        phone = toy.phone(daemon.port)
        phone.facts()
        timer = threading.Timer(0.5, daemon.drop_clients)
        timer.start()
        with pytest.raises(DeviceLostError, match=r"may or may not have run on 127\.0\.0\.1:\d+, and was not repeated"):
            phone.run(("sh", "-c", script), 20)
        timer.join()

        assert phone.run(("echo", "back"), 5).stdout == "back\n"
    assert times_run(toy) == 1


def test_a_phone_that_was_restarted_between_commands_is_found_again(toy, tmp_path):
    (tmp_path / "a").write_bytes(b"a")
    with toy.daemon() as daemon:
        phone = toy.phone(daemon.port)
        remote = phone.push(tmp_path / "a")
        daemon.drop_clients()
        toy.files.host_path(remote).unlink()  # and its storage was cleared

        assert phone.push(tmp_path / "a") == remote
        assert toy.files.host_path(remote).read_bytes() == b"a"
        assert phone.connections == 2


def test_a_phone_that_comes_back_in_a_moment_is_waited_for(toy):
    with toy.daemon() as daemon:
        phone = toy.phone(daemon.port, patience_s=20.0)
        phone.facts()
    came_back = threading.Event()

    def come_back() -> None:
        with toy.daemon(port=daemon.port):
            came_back.wait(30)

    returning = threading.Timer(0.6, come_back)
    returning.start()
    state = phone.state()
    came_back.set()
    returning.join()

    assert state.battery_percent == 87


@pytest.mark.parametrize("features", [NEW, OLD], ids=["shell_v2", "before-7"])
def test_a_full_disk_is_named_and_nothing_is_left(toy, tmp_path, features):
    local = tmp_path / "large.bin"
    local.write_bytes(bytes(9_000_000))
    toy.files.largest_file_bytes = 3_000_000
    with toy.daemon(features=features) as daemon:
        phone = toy.phone(daemon.port)
        with pytest.raises(RefusedError, match=r"refused to write .*large\.bin\.part: No space left on device"):
            phone.push(local)

        assert phone.run(("echo", "alive"), 5).stdout == "alive\n"
        assert phone.connections == 1
    assert list(toy.ours.rglob("*")) == []


def test_a_push_that_is_interrupted_leaves_nothing(toy, tmp_path):
    local = tmp_path / "large.bin"
    local.write_bytes(bytes(9_000_000))

    def interrupt(name: str, count: int, total: int) -> None:
        raise KeyboardInterrupt

    with toy.daemon() as daemon:
        with pytest.raises(KeyboardInterrupt):
            toy.phone(daemon.port, advance=interrupt).push(local)
        wait_for_the_phone_to_notice(toy)

    assert list(toy.ours.rglob("*")) == []


def test_a_command_that_is_interrupted_is_ended(toy, monkeypatch):
    witness = toy.root / "data/local/tmp/witness"
    with toy.daemon() as daemon:
        phone = toy.phone(daemon.port)
        phone.facts()

        whole = _Guard.bulk_read

        def interrupted(guard: _Guard, count: int, timeout_s: float) -> bytes:
            data = whole(guard, count, timeout_s)
            if b"halfway" in data:
                raise KeyboardInterrupt
            return data

        monkeypatch.setattr(_Guard, "bulk_read", interrupted)
        with pytest.raises(KeyboardInterrupt):
            phone.run(("sh", "-c", "echo halfway; sleep 1; echo late > /data/local/tmp/witness"), 20)
        toy.phone(daemon.port).run(("sleep", "1.2"), 5)

    assert not witness.exists()


def test_nobody_listening_is_said(toy, tmp_path):
    with toy.daemon() as daemon:
        port = daemon.port

    with pytest.raises(DeviceError, match=rf"nothing listens at 127\.0\.0\.1:{port} \(connection refused\)"):
        toy.phone(port).run(("true",), 5)


def test_a_host_that_never_answers_is_not_waited_for(toy):
    wanted = pytest.raises(DeviceTimeoutError, match=r"the greeting of 127\.0\.0\.1:\d+ took longer than 0\.\d+ s")
    with toy.daemon() as daemon, faulty_link(daemon.port, stall_at=0) as link, wanted:
        toy.phone(link.port, timeout_s=0.3).run(("true",), 5)


def test_a_command_cannot_wait_longer_than_it_may(toy):
    with toy.daemon() as daemon:
        phone = toy.phone(daemon.port)
        thread = threading.Thread(target=lambda: phone.run(("sleep", "1"), 5))
        thread.start()
        time.sleep(0.3)
        with pytest.raises(DeviceTimeoutError, match=r"was busy with another command for 0\.1 s"):
            phone.run(("true",), 0.1)
        thread.join()


def test_an_adb_server_that_loses_the_phone(toy, tmp_path):
    """The link between server and phone breaks at some message; the server may or may not find the phone again."""
    with toy.daemon() as daemon, adb_server(toy) as server:
        with faulty_link(daemon.port) as sound:
            phone = server.phone(server.connect(sound.port))
            assert session(phone, tmp_path) == ["done"] * 4
            total = sound.passed
        for cut_at in range(6, total, 2 * STEP):
            forget(toy, tmp_path)
            with faulty_link(daemon.port, cut_at=cut_at) as link:
                phone = server.phone(server.connect(link.port), stall_s=3.0)
                watched(session, phone, tmp_path)
            assert times_run(toy) <= 1, cut_at
            wait_for_the_phone_to_notice(toy)
            assert unfinished(toy) == [], cut_at


def sweep_server(toy: ToyPhone, folder: Path, step: int) -> int:
    points = 0
    with toy.daemon() as daemon, adb_server(toy) as server:
        serial = server.connect(daemon.port)
        real = server.port
        with faulty_link(real, framed=False) as sound:
            server.port = sound.port
            assert session(server.phone(serial), folder) == ["done"] * 4
            total = sound.passed
        for cut_at in range(0, total, step):
            forget(toy, folder)
            with faulty_link(real, framed=False, cut_at=cut_at) as link:
                server.port = link.port
                outcomes = watched(session, server.phone(serial), folder)
                assert outcomes.count("done") >= 3, (cut_at, outcomes)
            server.port = real
            assert times_run(toy) <= 1, cut_at
            wait_for_the_phone_to_notice(toy)
            assert unfinished(toy) == [], cut_at
            points += 1
        server.port = real
    return points


def test_an_adb_server_that_hangs_up(toy, tmp_path):
    assert sweep_server(toy, tmp_path, STEP) > 2  # how many pieces the system makes of the stream is up to it


@pytest.mark.slow
def test_an_adb_server_that_hangs_up_at_every_piece(toy, tmp_path):
    points = sweep_server(toy, tmp_path, 1)

    logging.getLogger(__name__).info("%d fault points", points)  # shown by --log-cli-level=INFO
    assert points > 50


def test_the_link_forwards_what_it_gets(toy):
    with toy.daemon() as daemon, faulty_link(daemon.port) as link:
        assert isinstance(link, FaultyLink)
        assert toy.phone(link.port).run(("echo", "through"), 5).stdout == "through\n"
        assert link.passed > 8
