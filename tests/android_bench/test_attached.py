"""What is attached: recorded answers of adb servers, a made-up USB tree, and servers of every temper."""

import socket
import threading
from contextlib import contextmanager

import pytest

from android_bench import attached
from android_bench.attached import look_around, parse_devices, server_address, usb_adb_devices
from android_bench.profiles import load_profile

RECORDED = """\
FA6AB0302345           device usb:1-4 product:sailfish model:Pixel device:sailfish transport_id:1
2f8d3b7c               unauthorized usb:1-1 transport_id:3
emulator-5554          offline transport_id:2
192.168.1.20:5555      device product:gemini model:MI_5 device:gemini transport_id:9
0123456789ABCDEF       no permissions (user in plugdev group; udev rules?); see [http://x/y.html] usb:3-2 transport_id:4
????????????           no permissions usb:1-7
"""


@contextmanager
def server(answer: bytes | None):
    """An adb server on loopback that says `answer` once and hangs up; with None it never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            connection, _ = listening.accept()
            with connection:
                seen.append(connection.recv(100))
                if answer is None:
                    finished.wait(5)
                else:
                    connection.sendall(answer)

        seen: list[bytes] = []
        finished = threading.Event()
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield {"ADB_SERVER_SOCKET": f"tcp:127.0.0.1:{listening.getsockname()[1]}"}, seen
        finished.set()
        thread.join(5)


def okay(text: str) -> bytes:
    return b"OKAY" + f"{len(text):04x}".encode() + text.encode()


def usb_tree(root, **changes):
    interface, device = root / "1-4:1.1", root / "1-4"
    for folder in (interface, device, root / "1-4:1.0", root / "usb1"):
        folder.mkdir(parents=True)
    facts = {"bInterfaceClass": "ff", "bInterfaceSubClass": "42", "bInterfaceProtocol": "01"} | changes
    for name, text in facts.items():
        (interface / name).write_text(text + "\n")
    words = {"manufacturer": "Google", "product": "Pixel", "idVendor": "18d1", "idProduct": "4ee7", "serial": "FA6A"}
    for name, text in words.items():
        (device / name).write_text(text + "\n")
    return root


def test_recorded_lines_become_phones():
    phones = parse_devices(RECORDED)

    assert [(phone.serial, phone.state) for phone in phones] == [
        ("FA6AB0302345", "device"),
        ("2f8d3b7c", "unauthorized"),
        ("emulator-5554", "offline"),
        ("192.168.1.20:5555", "device"),
        ("0123456789ABCDEF", "no permissions"),
        ("????????????", "no permissions"),
    ]
    assert phones[0].facts["model"] == "Pixel"
    assert phones[3].facts == {"product": "gemini", "model": "MI_5", "device": "gemini", "transport_id": "9"}


@pytest.mark.parametrize("text", ["", "\n\n", "List of devices attached\n", "lonely"])
def test_lines_without_a_phone_are_no_phones(text):
    assert parse_devices(text) == []


def test_old_servers_separate_with_a_tab():
    assert [(phone.serial, phone.state) for phone in parse_devices("abc\tdevice\n")] == [("abc", "device")]


def test_profiles_know_their_phones():
    pixel, mi5 = load_profile("pixel1"), load_profile("mi5")

    matches = [(phone.matches(pixel), phone.matches(mi5)) for phone in parse_devices(RECORDED)]

    assert matches == [(True, False), (False, False), (False, False), (False, True), (False, False), (False, False)]


def test_a_pixel_2_is_no_pixel_1():
    (phone,) = parse_devices("x device product:walleye model:Pixel_2 device:walleye\n")

    assert not phone.matches(load_profile("pixel1"))


def test_a_phone_that_cannot_be_used_says_what_to_do():
    sentences = [phone.sentence() for phone in parse_devices(RECORDED)]

    assert sentences[0] == "FA6AB0302345 Pixel: ready"
    assert sentences[1] == "2f8d3b7c: unauthorized (accept this computer's key on the phone's screen)"


@pytest.mark.parametrize(
    ("environment", "address"),
    [
        ({}, ("127.0.0.1", 5037)),
        ({"ANDROID_ADB_SERVER_PORT": "5040"}, ("127.0.0.1", 5040)),
        ({"ANDROID_ADB_SERVER_PORT": "many"}, ("127.0.0.1", 5037)),
        ({"ADB_SERVER_SOCKET": "tcp:5041"}, ("127.0.0.1", 5041)),
        ({"ADB_SERVER_SOCKET": "tcp:lab:5042"}, ("lab", 5042)),
        ({"ADB_SERVER_SOCKET": "tcp:[::1]:5043"}, ("::1", 5043)),
        ({"ADB_SERVER_SOCKET": "localfilesystem:/run/adb"}, None),
    ],
)
def test_the_server_is_where_adb_itself_would_look(environment, address):
    assert server_address(environment) == address


def test_a_running_server_is_asked_in_its_own_words(tmp_path):
    with server(okay(RECORDED)) as (environment, seen):
        found = look_around(environment, tmp_path)

    assert seen == [b"000ehost:devices-l"]
    assert (found.server_answer, len(found.phones)) == ("answered", 6)
    assert found.sentence().startswith("the adb server lists FA6AB0302345 Pixel: ready; 2f8d3b7c: unauthorized")


def test_a_server_without_phones_says_so(tmp_path):
    with server(okay("")) as (environment, _):
        assert "lists no phone; no USB device has an ADB interface" in look_around(environment, tmp_path).sentence()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"FAIL0004nope", "the adb server refused host:devices-l: nope"),
        (b"OKAY00", "hung up in the middle of its answer"),
        (b"OKAYzzzz", "does not speak as an adb server does"),
        (b"", "hung up in the middle of its answer"),
        (b"HTTP/1.1 400 Bad Request", "does not speak as an adb server does: b'HTTP'"),
        (b"FAILzzzz", "the adb server refused host:devices-l"),
    ],
)
def test_a_server_that_talks_nonsense_is_quoted(tmp_path, answer, message):
    with server(answer) as (environment, _):
        found = look_around(environment, tmp_path)

    assert message in found.server_answer
    assert found.phones == ()


def test_a_silent_server_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(attached, "_TIMEOUT_S", 0.05)
    with server(None) as (environment, _):
        assert look_around(environment, tmp_path).server_answer == "no answer within 0.05 s"


def test_no_server_and_no_usb_are_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

    found = look_around({"ADB_SERVER_SOCKET": f"tcp:{port}"}, tmp_path / "none")

    assert found.sentence() == (
        f"no adb server at 127.0.0.1:{port} (connection refused); USB devices are not listed on this computer"
    )


def test_a_server_on_another_kind_of_socket_is_not_guessed(tmp_path):
    found = look_around({"ADB_SERVER_SOCKET": "localfilesystem:/run/adb"}, tmp_path)

    assert found.server_answer == "only tcp:HOST:PORT is understood"


def test_a_usb_phone_is_seen_without_any_server(tmp_path):
    assert usb_adb_devices(usb_tree(tmp_path)) == ["Google Pixel 18d1:4ee7, serial FA6A"]


@pytest.mark.parametrize(
    "changes", [{"bInterfaceClass": "08"}, {"bInterfaceSubClass": "43"}, {"bInterfaceProtocol": ""}]
)
def test_other_usb_interfaces_are_no_phones(tmp_path, changes):
    assert usb_adb_devices(usb_tree(tmp_path, **changes)) == []
