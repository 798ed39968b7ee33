"""`tkd-bench devices` and `tkd-bench doctor`: argv, prints and exit codes; `android_bench.cli` calls them."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from android_bench.cli_pushing import Pushing
from android_bench.cli_virtual import connected, virtual_state
from android_bench.errors import BenchError, DeviceError
from converters.command_line import ExitCode, Once, did_you_mean, parser

if TYPE_CHECKING:
    from android_bench.adb.choose import Manners, Wish
    from android_bench.adb.phone import Phone
    from android_bench.attached import Attached
    from android_bench.doctor import Check
    from android_bench.profiles import DeviceProfile

PROGRAM = "tkd-bench"


def add_phone_options(made: argparse.ArgumentParser, *, several: bool = False) -> None:
    """Adds the options that choose among phones, each once or `several` times."""
    action, more = ("append", "; several times for several phones") if several else ("store", "")
    made.add_argument(
        "--serial", action=action, metavar="SERIAL", help=f"the phone with this serial number (or ANDROID_SERIAL){more}"
    )
    made.add_argument(
        "--connect",
        action=action,
        metavar="HOST:PORT",
        help=f"a phone that listens on the network (adb tcpip 5555){more}",
    )
    _add_authorize_option(made)


def _add_authorize_option(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--authorize-s",
        type=float,
        default=30.0,
        metavar="S",
        help="how long to wait for the phone's owner to accept this computer's key (default: 30)",
    )


def wish_of(arguments: argparse.Namespace) -> Wish:
    """Which phone the options mean; `--device auto` is any."""
    from android_bench.adb.choose import Wish
    from android_bench.profiles import load_profile, profile_names

    name = arguments.device
    if name not in ("auto", None) and name not in profile_names():
        raise BenchError(did_you_mean(name, [*profile_names(), "auto"], "device"))
    profile = None if name in ("auto", None) else load_profile(name)
    return Wish(profile=profile, serial=arguments.serial, connect=arguments.connect)


def manners_of(arguments: argparse.Namespace) -> Manners:
    """How the commands deal with phones: they say on stderr when the owner has to do something."""
    from android_bench.adb.choose import Manners

    def ask(name: str) -> None:
        wait = f"(waiting {arguments.authorize_s:g} s)"
        print(f"{name} asks whether this computer may debug it: unlock it and accept {wait}", file=sys.stderr)

    if arguments.quiet:
        return Manners(ask=ask, authorize_s=arguments.authorize_s)
    return Manners(ask=ask, authorize_s=arguments.authorize_s, advance=Pushing())


def devices(words: Sequence[str]) -> int:
    """Prints what `--device` knows and what is attached; phones that can be used are asked who they are."""
    from android_bench.attached import look_around
    from android_bench.profiles import load_profile, profile_names

    arguments = devices_parser().parse_args(words)
    attached = look_around(os.environ)
    profiles = [load_profile(name) for name in profile_names()]
    rows = _phone_rows(arguments, attached)
    if arguments.json:
        known = [{"name": profile.name, "title": profile.title, "transport": profile.transport} for profile in profiles]
        record = {"format": "tkd.devices/1", "known": known, "attached": asdict(attached), "phones": rows}
        print(json.dumps(record))
        return ExitCode.GOOD
    for profile in profiles:
        if profile.transport == "local":
            state = "ready"
        elif profile.transport == "virtual":
            state = virtual_state(profile.name)
        else:
            told = {row["serial"]: row["facts"] for row in rows if row["facts"] and _is_of(profile, row["facts"])}
            here = {phone.serial: phone.sentence() for phone in attached.phones if phone.matches(profile)}
            here |= {serial: f"{serial}: reached" for serial in told if serial not in here}
            shown = [
                f"{text} (emulated)" if told.get(serial, {}).get("emulated") else text for serial, text in here.items()
            ]
            state = "; ".join(shown) or "not attached"
        print(f"{profile.name:<14} {profile.title:<16} {state}")
    for row in rows:
        print(f"\n{row['serial']}: {row['error'] or row['sentence']}")
    print(f"\n{attached.sentence()}")
    return ExitCode.GOOD


def doctor(words: Sequence[str]) -> int:
    """Prints whether this computer, or the phone that is named, is fit to measure on."""
    arguments = doctor_parser().parse_args(words)
    named = arguments.device or arguments.serial or arguments.connect
    if named and arguments.device != "host":
        checks, record = _phone_checks(arguments)
    else:
        from android_bench.doctor import examine

        checks, record = examine(os.environ), {"device": "host"}
    if arguments.json:
        print(json.dumps({"format": "tkd.doctor/1", **record, "checks": [asdict(check) for check in checks]}))
    else:
        for check in checks:
            print(f"{check.verdict:<5} {check.sentence}")
    return ExitCode.DEVICE if any(check.verdict == "no" for check in checks) else ExitCode.GOOD


def devices_parser() -> argparse.ArgumentParser:
    """The options of `tkd-bench devices`."""
    made = parser(f"{PROGRAM} devices", "What --device knows, and what is attached right now.")
    made.add_argument("--connect", metavar="HOST:PORT", help="also look at a phone that listens on the network")
    _add_authorize_option(made)
    made.add_argument("--json", action="store_true", help="print JSON")
    return made


def doctor_parser() -> argparse.ArgumentParser:
    """The options of `tkd-bench doctor`."""
    made = parser(
        f"{PROGRAM} doctor",
        "Is this computer fit to measure on, or the phone that is named? Exit code 4 when it is not.",
    )
    made.add_argument(
        "--device", action=Once, help="host (the default), auto (the one attached phone), or a phone's profile"
    )
    add_phone_options(made)
    made.add_argument("--json", action="store_true", help="print JSON")
    return made


def _is_of(profile: DeviceProfile, facts: Mapping[str, Any]) -> bool:
    return profile.is_of(facts["model"], facts["device"])


def _phone_checks(arguments: argparse.Namespace) -> tuple[list[Check], dict[str, Any]]:
    from android_bench.adb.choose import find_phone
    from android_bench.adb.examine import examine_phone

    wish = wish_of(arguments)
    manners = manners_of(arguments)
    virtual = wish.profile is not None and wish.profile.transport == "virtual" and not (wish.serial or wish.connect)
    with (
        connected(wish.profile, manners)
        if wish.profile is not None and virtual
        else find_phone(wish, os.environ, manners)
    ) as phone:
        checks = examine_phone(phone, wish.profile)
        record = {
            "device": wish.profile.name if wish.profile else "auto",
            "serial": phone.serial,
            "transport": phone.transport,
            "facts": asdict(phone.facts()),
            "state": asdict(phone.state()),
        }
    return checks, record


def _phone_rows(arguments: argparse.Namespace, attached: Attached) -> list[dict[str, Any]]:
    """One row for each phone in reach: who it is, or why that is not known."""
    from android_bench.adb.choose import Wish, find_phone, through_server

    kind = manners_of(arguments)
    reach: list[tuple[str, Any]] = [
        (listed.serial, lambda listed=listed: through_server(listed, os.environ, kind)) for listed in attached.phones
    ]
    serials = {listed.serial for listed in attached.phones}
    others = [Wish(serial=serial) for serial in attached.usb_serials if serial not in serials]
    if arguments.connect and arguments.connect not in serials:
        others.append(Wish(connect=arguments.connect))
    reach += [
        (wish.serial or wish.connect or "", lambda wish=wish: find_phone(wish, os.environ, kind, attached))
        for wish in others
    ]
    rows = []
    for serial, open_phone in reach:
        row: dict[str, Any] = {"serial": serial, "error": None, "transport": None, "facts": None, "sentence": None}
        try:
            _fill(row, open_phone())
        except DeviceError as error:
            row["error"] = str(error)
        rows.append(row)
    return rows


def _fill(row: dict[str, Any], phone: Phone) -> None:
    from android_bench.adb.examine import describe

    with phone:
        facts = phone.facts()
    row.update(
        transport=phone.transport,
        facts=asdict(facts),
        sentence=f"{facts.model} ({facts.device}), Android {facts.android}, {facts.abi}, {describe(facts.clusters)}, "
        f"through {phone.transport}",
    )
