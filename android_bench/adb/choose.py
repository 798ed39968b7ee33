"""Which phone, and which transport reaches it.

A running adb server is asked first, since it normally holds a developer's phones; what it does not hold is reached
directly, over USB or TCP. Nothing here starts a server or ends one. After `phone`; the commands come in here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from android_bench.adb.lock import take_phone
from android_bench.adb.phone import Advance, Phone
from android_bench.adb.server import ServerConnection
from android_bench.adb.streams import Connection
from android_bench.attached import Attached, AttachedPhone, look_around, server_address
from android_bench.errors import BenchError, DeviceError
from android_bench.profiles import DeviceProfile

_DEFAULT_PORT = 5555
_USABLE = "device"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Which phone is meant.

    Attributes:
        profile: it must be such a phone; None takes any.
        serial: its serial number, or the address under which an adb server knows it.
        connect: HOST or HOST:PORT of a phone that listens on the network.
    """

    profile: DeviceProfile | None = None
    serial: str | None = None
    connect: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """How a phone is dealt with.

    Attributes:
        ask: called with a phone's name when its owner has to accept our key on its screen.
        authorize_s: how long to wait for that.
        advance: told while files are pushed, as `Phone` says.
        home: where `.android/adbkey` is, by default the user's home.
    """

    ask: Callable[[str], None] = lambda _name: None
    authorize_s: float = 30.0
    advance: Advance = lambda _name, _bytes, _total: None
    home: Path | None = None


def find_phone(
    wish: Wish, environment: Mapping[str, str], manners: Manners | None = None, attached: Attached | None = None
) -> Phone:
    """The one phone that is meant, connected and checked against the profile.

    Args:
        wish: which one.
        environment: `ADB_SERVER_SOCKET`, `ANDROID_ADB_SERVER_PORT`, `ANDROID_SERIAL` and the keys' variables.
        manners: how to deal with it.
        attached: what was seen already; None looks around.

    Raises:
        BenchError: the wish cannot be understood.
        DeviceError: there is none, there are several, it cannot be used, another process has it, or it is another
            phone than the profile's.
    """
    manners = manners or Manners()
    seen = attached or look_around(environment)
    phone = _reach(wish, environment, manners, seen)
    try:
        _take_itself(phone, environment)
        if wish.profile is not None:
            facts = phone.facts()
            if not wish.profile.is_of(facts.model, facts.device):
                raise DeviceError(
                    f"{phone.serial} is {facts.model} ({facts.device}), expected {wish.profile.name}: "
                    f"{wish.profile.model} ({wish.profile.device}); take it as it is with: --device auto"
                )
    except BaseException:
        phone.close()
        raise
    return phone


def _take_itself(phone: Phone, environment: Mapping[str, str]) -> None:
    """Takes the phone by its own number too: another process may hold it over another transport."""
    number = phone.facts().serial_number
    if number and number != phone.serial:
        try:
            phone.also_let_go(take_phone(number, environment))
        except DeviceError as error:
            raise DeviceError(f"{phone.serial} is {number}: {error}") from error


def through_server(listed: AttachedPhone, environment: Mapping[str, str], manners: Manners) -> Phone:
    """A phone that an adb server lists.

    Raises:
        DeviceError: the server cannot use it, or another process has it; the message says what to do.
    """
    if listed.state != _USABLE:
        raise DeviceError(f"the adb server cannot use {listed.sentence()}")
    address = server_address(environment)
    assert address is not None, "it listed a phone"

    def connect(timeout_s: float) -> Connection:
        return ServerConnection(address, listed.serial, timeout_s)

    transport = f"adb server {address[0]}:{address[1]}"
    return Phone(
        listed.serial,
        connect,
        transport,
        advance=manners.advance,
        let_go=take_phone(listed.serial, environment),
    )


def _reach(wish: Wish, environment: Mapping[str, str], manners: Manners, seen: Attached) -> Phone:
    if wish.connect is not None and wish.serial is not None:
        raise BenchError("--connect and --serial both name a phone; give one of them")
    listed = {phone.serial: phone for phone in seen.phones}
    if wish.connect is not None:
        host, port = parse_address(wish.connect)
        shown = f"{host}:{port}"
        return (
            through_server(listed[shown], environment, manners)
            if shown in listed
            else _tcp(host, port, environment, manners)
        )
    serial = wish.serial or environment.get("ANDROID_SERIAL") or None
    if serial is None:
        serial = _only_one(wish, seen)
    if serial in listed:
        return through_server(listed[serial], environment, manners)
    if serial in seen.usb_serials:
        return _usb(serial, environment, manners)
    if ":" in serial:
        return _tcp(*parse_address(serial), environment, manners)
    raise DeviceError(f"no phone with serial {serial} is attached. Seen: {seen.sentence()}")


def _only_one(wish: Wish, seen: Attached) -> str:
    """The serial of the one phone that can be meant."""
    profile = wish.profile
    fitting = [phone for phone in seen.phones if profile is None or phone.matches(profile)]
    # Of a phone that no server holds nothing is known before it is opened.
    unheld = [serial for serial in seen.usb_serials if serial not in {phone.serial for phone in seen.phones}]
    usable = [phone.serial for phone in fitting if phone.state == _USABLE] + unheld
    if len(usable) == 1:
        return usable[0]
    if usable:
        phones = "; ".join([phone.sentence() for phone in fitting if phone.state == _USABLE] + unheld)
        raise DeviceError(f"several phones are attached ({phones}); choose one with: --serial {usable[0]}")
    if fitting:
        return fitting[0].serial  # it cannot be used, and the error about it says why
    what = f"no {profile.name} ({profile.title})" if profile else "no phone"
    expected = f" Expected model {profile.model}, device {profile.device}, with USB debugging on." if profile else ""
    raise DeviceError(
        f"{what} is attached. Seen: {seen.sentence()}.{expected} Without a phone: tkd-bench --device host"
    )


def _tcp(host: str, port: int, environment: Mapping[str, str], manners: Manners) -> Phone:
    from android_bench.adb import direct
    from android_bench.adb.keys import user_keys

    name = f"{host}:{port}"
    keys = user_keys(environment, manners.home)

    def connect(timeout_s: float) -> Connection:
        transport = direct.tcp_transport(host, port)
        return direct.DirectConnection(transport, name, keys, timeout_s, manners.authorize_s, manners.ask)

    return Phone(name, connect, "TCP", advance=manners.advance, let_go=take_phone(name, environment))


def _usb(serial: str, environment: Mapping[str, str], manners: Manners) -> Phone:
    from android_bench.adb import direct
    from android_bench.adb.keys import user_keys

    keys = user_keys(environment, manners.home)

    def connect(timeout_s: float) -> Connection:
        transport = direct.usb_transport(serial)
        return direct.DirectConnection(transport, serial, keys, timeout_s, manners.authorize_s, manners.ask)

    return Phone(serial, connect, "USB", advance=manners.advance, let_go=take_phone(serial, environment))


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of a phone on the network.

    >>> parse_address("192.168.1.20"), parse_address("[fe80::1]:5556")
    (('192.168.1.20', 5555), ('fe80::1', 5556))

    Raises:
        BenchError: it is no address.
    """
    match = re.fullmatch(r"(\[[^\]]+\]|[^:\s]+)(?::(\d{1,5}))?", text)
    port = int(match[2] or _DEFAULT_PORT) if match else 0
    if match is None or not 0 < port < 65536:
        raise BenchError(f"'{text}' is no address; expected HOST or HOST:PORT, such as 192.168.1.20:5555")
    return match[1].strip("[]"), port
