"""Which phone is taken, and which way to it."""

import os

import pytest

from android_bench.adb.choose import Manners, Wish, find_phone, parse_address
from android_bench.adb.lock import take_phone
from android_bench.attached import Attached, AttachedPhone
from android_bench.errors import BenchError, DeviceError
from android_bench.profiles import load_profile
from tests.android_bench.phone_toys import PIXEL_PROPERTIES, adb_server

PIXEL = {"product": "sailfish", "model": "Pixel", "device": "sailfish"}
NOBODY = {"ADB_SERVER_SOCKET": "tcp:127.0.0.1:1"}


def seen(*phones: tuple[str, str, dict[str, str]], usb: tuple[str, ...] = ()) -> Attached:
    return Attached(
        server="127.0.0.1:1",
        server_answer="answered",
        phones=tuple(AttachedPhone(serial=serial, state=state, facts=facts) for serial, state, facts in phones),
        usb=tuple(f"Maker phone, serial {serial}" for serial in usb),
        usb_readable=True,
        usb_serials=usb,
    )


def test_an_address_is_reached_directly(toy):
    with toy.daemon() as daemon:
        phone = find_phone(
            Wish(profile=load_profile("pixel1"), connect=f"127.0.0.1:{daemon.port}"), NOBODY, Manners(home=toy.home)
        )
        with phone:
            assert (phone.transport, phone.facts().device) == ("TCP", "sailfish")


def test_the_adb_server_is_taken_where_it_holds_the_phone(toy):
    with toy.daemon() as daemon, adb_server(toy) as server:
        serial = server.connect(daemon.port)
        environment = {"ANDROID_ADB_SERVER_PORT": str(server.port)}
        wishes = (Wish(connect=serial), Wish(serial=serial), Wish(profile=load_profile("pixel1")), Wish())
        for wish in wishes:
            with find_phone(wish, environment, Manners(home=toy.home)) as phone:
                assert phone.transport == f"adb server 127.0.0.1:{server.port}"
                assert phone.run(("echo", "hello"), 10).stdout == "hello\n"

        assert server("get-state").stdout == b"device\n"  # and the server is still there


def test_no_server_is_started(toy):
    with toy.daemon() as daemon:
        with find_phone(Wish(connect=f"127.0.0.1:{daemon.port}"), NOBODY, Manners(home=toy.home)) as phone:
            phone.facts()

        with pytest.raises(DeviceError, match=r"no phone is attached\. Seen: no adb server at 127\.0\.0\.1:1"):
            find_phone(Wish(), NOBODY)


def test_another_phone_than_the_one_that_was_meant_is_refused(toy):
    toy.write("recorded/getprop", PIXEL_PROPERTIES.replace("sailfish]", "walleye]").replace("[Pixel]", "[Pixel 2]"))
    with toy.daemon() as daemon, pytest.raises(DeviceError) as caught:
        find_phone(
            Wish(profile=load_profile("pixel1"), connect=f"127.0.0.1:{daemon.port}"), NOBODY, Manners(home=toy.home)
        )

    assert str(caught.value) == (
        f"127.0.0.1:{daemon.port} is Pixel 2 (walleye), expected pixel1: Pixel (sailfish); "
        "take it as it is with: --device auto"
    )


def test_several_phones_are_listed_with_the_option_that_chooses():
    attached = seen(("A", "device", PIXEL), ("B", "device", PIXEL), ("C", "unauthorized", {}))

    with pytest.raises(DeviceError) as caught:
        find_phone(Wish(profile=load_profile("pixel1")), NOBODY, attached=attached)

    assert str(caught.value) == (
        "several phones are attached (A Pixel: ready; B Pixel: ready); choose one with: --serial A"
    )


def test_a_phone_on_usb_counts_too():
    with pytest.raises(DeviceError, match=r"several phones are attached \(A Pixel: ready; USB1\)"):
        find_phone(Wish(), NOBODY, attached=seen(("A", "device", PIXEL), usb=("USB1", "A")))


def test_a_phone_that_cannot_be_used_says_what_to_do():
    attached = seen(("A", "unauthorized", PIXEL))

    for wish in (Wish(), Wish(serial="A"), Wish(profile=load_profile("pixel1"))):
        with pytest.raises(
            DeviceError,
            match=r"the adb server cannot use A Pixel: unauthorized \(accept this computer's key on",
        ):
            find_phone(wish, NOBODY, attached=attached)


def test_a_phone_that_is_not_there_is_not_replaced_by_another():
    attached = seen(("A", "device", PIXEL))

    with pytest.raises(DeviceError, match=r"no phone with serial B is attached\. Seen: the adb server lists A Pixel"):
        find_phone(Wish(serial="B"), NOBODY, attached=attached)
    with pytest.raises(DeviceError, match=r"no phone with serial B is attached"):
        find_phone(Wish(), {**NOBODY, "ANDROID_SERIAL": "B"}, attached=attached)
    with pytest.raises(DeviceError, match=r"no mi5 \(Xiaomi Mi 5\) is attached.*Expected model MI 5, device gemini"):
        find_phone(Wish(profile=load_profile("mi5")), NOBODY, attached=attached)


def test_a_phone_on_usb_needs_libusb(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "usb1", None)
    monkeypatch.delitem(sys.modules, "adb_shell.transport.usb_transport", raising=False)
    with pytest.raises(DeviceError, match=r"through a running adb server \(adb start-server\) or through libusb"):
        find_phone(Wish(serial="USB1"), NOBODY, Manners(home=tmp_path), seen(usb=("USB1",)))


def test_a_phone_by_another_address_is_the_same_phone(toy, tmp_path):
    environment = {**NOBODY, "XDG_RUNTIME_DIR": str(tmp_path)}
    toy.write("recorded/getprop", PIXEL_PROPERTIES + "[ro.serialno]: [FA6A]\n")
    with toy.daemon() as one, toy.daemon() as two:
        with find_phone(Wish(connect=f"127.0.0.1:{one.port}"), environment, Manners(home=toy.home)):
            other = Wish(connect=f"127.0.0.1:{two.port}")
            with pytest.raises(DeviceError, match=rf"127\.0\.0\.1:{two.port} is FA6A: FA6A is in use by another"):
                find_phone(other, environment, Manners(home=toy.home))
        with find_phone(other, environment, Manners(home=toy.home)) as phone:
            assert phone.facts().serial_number == "FA6A"


def test_a_phone_is_one_processs_at_a_time(toy, tmp_path):
    environment = {**NOBODY, "XDG_RUNTIME_DIR": str(tmp_path)}
    with toy.daemon() as daemon:
        wish = Wish(connect=f"127.0.0.1:{daemon.port}")
        with find_phone(wish, environment, Manners(home=toy.home)) as phone:
            with pytest.raises(DeviceError) as caught:
                find_phone(wish, environment, Manners(home=toy.home))
            assert phone.facts().model == "Pixel"
        with find_phone(wish, environment, Manners(home=toy.home)) as phone:
            assert phone.facts().model == "Pixel"

    assert str(caught.value) == (
        f"127.0.0.1:{daemon.port} is in use by another tkd-bench (process {os.getpid()}); wait for its end, "
        "or take another phone with --serial"
    )


def test_a_refused_phone_is_let_go(toy, tmp_path):
    environment = {**NOBODY, "XDG_RUNTIME_DIR": str(tmp_path)}
    with toy.daemon() as daemon:
        for _ in range(2):
            with pytest.raises(DeviceError, match=r"expected mi5: MI 5 \(gemini\)"):
                find_phone(
                    Wish(profile=load_profile("mi5"), connect=f"127.0.0.1:{daemon.port}"),
                    environment,
                    Manners(home=toy.home),
                )


def test_locks_lie_in_a_folder_of_ours_only(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"tkd-{os.getuid()}").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(DeviceError, match="belongs to somebody else"):
        take_phone("A", {"XDG_RUNTIME_DIR": str(tmp_path)})
    with pytest.raises(DeviceError, match=r"cannot make .*none.* for the locks of phones: No such file"):
        take_phone("A", {"XDG_RUNTIME_DIR": str(tmp_path / "none")})


def test_two_names_for_one_phone_are_one_too_many():
    with pytest.raises(BenchError, match="--connect and --serial both name a phone"):
        find_phone(Wish(serial="A", connect="b"), NOBODY, attached=seen())


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("phone", ("phone", 5555)),
        ("10.0.0.7:41234", ("10.0.0.7", 41234)),
        ("[fe80::1]", ("fe80::1", 5555)),
        ("[::1]:5556", ("::1", 5556)),
    ],
)
def test_addresses(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", ":5555", "phone:", "phone:0", "phone:70000", "phone:x", "a b", "fe80::1"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(BenchError, match="is no address; expected HOST or HOST:PORT"):
        parse_address(text)
