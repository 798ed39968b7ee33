"""Which phones are attached right now, without any phone library.

Two places are asked: a running adb server (which normally holds a developer's phones) over its smart socket,
and the kernel's list of USB interfaces. Parsers are pure. `android_bench.cli` turns the answer into a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from android_bench.adb.server import ask
from android_bench.adb.streams import Deadline
from android_bench.errors import DeviceError, DeviceTimeoutError
from android_bench.profiles import DeviceProfile

_DEFAULT_PORT = 5037
_TIMEOUT_S = 1.0
# An ADB interface on USB: vendor-specific class, subclass and protocol (AOSP, adb/adb.h).
_ADB_INTERFACE = ("ff", "42", "01")
_ADVICE_OF_STATE = {
    "unauthorized": "accept this computer's key on the phone's screen",
    "offline": "unplug it and plug it in again",
    "no permissions": "add a udev rule for it or join the group plugdev",
    "recovery": "reboot it into Android",
    "sideload": "reboot it into Android",
    "bootloader": "reboot it into Android",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachedPhone:
    """One line of `adb devices -l`.

    Attributes:
        serial: its serial number or address.
        state: device (usable), unauthorized, offline, no permissions …
        facts: product, model, device, transport_id, as far as the server knows them.
    """

    serial: str
    state: str
    facts: Mapping[str, str]

    def matches(self, profile: DeviceProfile) -> bool:
        """Whether this is the phone of `profile`; the server writes spaces in names as underscores."""
        model = self.facts.get("model", "").replace("_", " ")
        return profile.is_of(model, self.facts.get("device", ""))

    def sentence(self) -> str:
        """What it is, how it is, and what to do about it."""
        model = f" {self.facts['model']}" if "model" in self.facts else ""
        advice = f" ({_ADVICE_OF_STATE[self.state]})" if self.state in _ADVICE_OF_STATE else ""
        state = "ready" if self.state == "device" else self.state  # adb's own word says nothing
        return f"{self.serial}{model}: {state}{advice}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """Everything that was seen.

    Attributes:
        server: the adb server's address.
        server_answer: "answered", or why it did not.
        phones: what it listed.
        usb: descriptions of USB devices with an ADB interface.
        usb_readable: whether the kernel lists USB devices here at all.
        usb_serials: serial numbers of those USB devices that have one.
    """

    server: str
    server_answer: str
    phones: tuple[AttachedPhone, ...]
    usb: tuple[str, ...]
    usb_readable: bool
    usb_serials: tuple[str, ...] = ()

    def sentence(self) -> str:
        """What was seen, for an error or a report."""
        if self.server_answer != "answered":
            server = f"no adb server at {self.server} ({self.server_answer})"
        elif self.phones:
            server = f"the adb server lists {'; '.join(phone.sentence() for phone in self.phones)}"
        else:
            server = f"the adb server at {self.server} lists no phone"
        if self.usb:
            usb = f"USB devices with an ADB interface: {'; '.join(self.usb)}"
        elif self.usb_readable:
            usb = "no USB device has an ADB interface"
        else:
            usb = "USB devices are not listed on this computer"
        return f"{server}; {usb}"


def look_around(environment: Mapping[str, str], usb_root: Path = Path("/sys/bus/usb/devices")) -> Attached:
    """What is attached; `environment` may name the server as adb itself takes it."""
    address = server_address(environment)
    shown = f"{address[0]}:{address[1]}" if address else environment.get("ADB_SERVER_SOCKET", "")
    answer, phones = _ask_server(address) if address else ("only tcp:HOST:PORT is understood", ())
    return Attached(
        server=shown,
        server_answer=answer,
        phones=phones,
        usb=tuple(usb_adb_devices(usb_root)),
        usb_readable=usb_root.is_dir(),
        usb_serials=tuple(serial for folder in _usb_folders(usb_root) if (serial := _word(folder / "serial"))),
    )


def server_address(environment: Mapping[str, str]) -> tuple[str, int] | None:
    """Host and port of the adb server; None when it is on another kind of socket.

    >>> server_address({"ADB_SERVER_SOCKET": "tcp:5038"})
    ('127.0.0.1', 5038)
    """
    named = environment.get("ADB_SERVER_SOCKET")
    port = environment.get("ANDROID_ADB_SERVER_PORT", "")
    if named is None:
        return "127.0.0.1", int(port) if port.isdecimal() else _DEFAULT_PORT
    match = re.fullmatch(r"tcp:(?:(?P<host>.+):)?(?P<port>\d+)", named)
    if match is None:
        return None
    return (match["host"] or "127.0.0.1").strip("[]"), int(match["port"])


def parse_devices(text: str) -> list[AttachedPhone]:
    """The phones in the answer to `host:devices-l`.

    A state may hold spaces and punctuation ("no permissions (user in plugdev group; …)"), so the facts, which are
    `key:value` words at the end, are taken off first.
    """
    phones = []
    for line in text.splitlines():
        serial, _, rest = line.strip().partition(" " if "\t" not in line else "\t")
        if not serial or not rest.strip() or serial == "List":
            continue
        match = re.search(r"((?:\s+|^)(?:usb|product|model|device|transport_id):\S+)+\s*$", rest)
        facts = dict(word.split(":", 1) for word in match[0].split()) if match else {}
        state = (rest[: match.start()] if match else rest).strip()
        if state.startswith("no permissions"):
            state = "no permissions"
        phones.append(AttachedPhone(serial=serial, state=state or "unknown", facts=facts))
    return phones


def usb_adb_devices(root: Path) -> list[str]:
    """Descriptions of the USB devices with an ADB interface; `root` is the kernel's folder of USB devices."""
    found = []
    for device in _usb_folders(root):
        maker, product = _word(device / "manufacturer"), _word(device / "product")
        ids = f"{_word(device / 'idVendor')}:{_word(device / 'idProduct')}"
        serial = _word(device / "serial")
        title = " ".join(part for part in (maker, product, ids) if part)
        found.append(f"{title}, serial {serial}" if serial else title)
    return found


def _usb_folders(root: Path) -> list[Path]:
    """The kernel's folders of USB devices with an ADB interface."""
    names = ("bInterfaceClass", "bInterfaceSubClass", "bInterfaceProtocol")
    return [
        root / interface.name.partition(":")[0]
        for interface in sorted(root.glob("*:*"))
        if tuple(_word(interface / name) for name in names) == _ADB_INTERFACE
    ]


def _ask_server(address: tuple[str, int]) -> tuple[str, tuple[AttachedPhone, ...]]:
    try:
        text = ask(address, "host:devices-l", Deadline(_TIMEOUT_S, "asking the adb server"))
    except DeviceTimeoutError:
        return f"no answer within {_TIMEOUT_S:g} s", ()
    except DeviceError as error:
        refused = isinstance(error.__cause__, ConnectionRefusedError)
        return "connection refused" if refused else str(error), ()
    return "answered", tuple(parse_devices(text))


def _word(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
