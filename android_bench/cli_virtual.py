"""`tkd-bench phone …` and `--device virtual-…`: argv, prints and exit codes; `android_bench.cli` calls them."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from android_bench.errors import BenchError
from converters.bundle import Bundle
from converters.command_line import ExitCode, parser

if TYPE_CHECKING:
    from android_bench.adb.choose import Manners
    from android_bench.adb.phone import Phone
    from android_bench.profiles import DeviceProfile
    from android_bench.records import RunPlan
    from android_bench.virtual_phones import VirtualPhone

PROGRAM = "tkd-bench phone"
_EPILOG = """\
examples:
  tkd-bench phone serve virtual-pixel1 --port 5585     switch one on, until Ctrl-C
  adb connect 127.0.0.1:5585                           reach it with Android's own adb
  tkd-bench phone list                                 which ones there are, which are on
  tkd-bench phone stop virtual-pixel1                  switch it off
"""


def phone(words: Sequence[str]) -> int:
    """Switches virtual phones on and off."""
    arguments = phone_parser().parse_args(words)
    return {"serve": _serve, "list": _list, "stop": _stop}[arguments.action](arguments)


def phone_parser() -> argparse.ArgumentParser:
    """The options of `tkd-bench phone`."""
    made = parser(PROGRAM, "Virtual phones: reached over ADB on 127.0.0.1, arm64 programs under emulation.", _EPILOG)
    actions = made.add_subparsers(dest="action", required=True, metavar="ACTION")
    serve = actions.add_parser("serve", help="switch one on, until Ctrl-C")
    serve.add_argument("name", help="such as virtual-pixel1")
    serve.add_argument("--port", type=int, default=0, help="where it listens on 127.0.0.1 (default: a free one)")
    serve.add_argument(
        "--way",
        choices=("enclosed", "overlaid"),
        help="how it runs arm64 programs: in namespaces or without (default: the first that works); counts are equal",
    )
    serve.add_argument(
        "--shell",
        choices=("system", "pocket"),
        help="what runs commands: mksh with toybox in namespaces, or our own, which needs neither "
        "(default: the first that works)",
    )
    listed = actions.add_parser("list", help="which ones there are, which are on")
    listed.add_argument("--json", action="store_true", help="print JSON")
    stop = actions.add_parser("stop", help="switch one off")
    stop.add_argument("name", help="such as virtual-pixel1")
    return made


def virtual_state(name: str) -> str:
    """What `tkd-bench devices` says of a virtual phone."""
    import shutil

    from android_bench.engine import cache_folder
    from android_bench.virtual_phone.arm64 import EMULATOR, INSTALL
    from android_bench.virtual_phones import switched_on_phones

    on = [each for each in switched_on_phones(cache_folder()) if each.name == name]
    if on:
        return f"on: {_shown(on[0])}"
    return "ready" if shutil.which(EMULATOR) else f"needs {EMULATOR} ({INSTALL})"


@contextmanager
def connected(profile: DeviceProfile, manners: Manners | None = None) -> Iterator[Phone]:
    """A virtual phone over ADB: the one that is on, else one that is on until the end of the block."""
    from contextlib import ExitStack

    from android_bench.adb.choose import Wish, find_phone
    from android_bench.engine import cache_folder
    from android_bench.virtual_phones import switched_on, switched_on_phones

    with ExitStack() as stack:
        on = [each for each in switched_on_phones(cache_folder()) if each.name == profile.name]
        there = on[0] if on else stack.enter_context(switched_on(profile.name, cache_folder(), os.environ))
        wish = Wish(profile=profile, connect=there.address)
        yield stack.enter_context(find_phone(wish, os.environ, manners))


def bench_virtual(
    profile: DeviceProfile,
    bundles: Sequence[Bundle],
    arguments: argparse.Namespace,
    folder: Callable[[], Path],
    progress: Callable[[int], AbstractContextManager[Callable[[], None]]],
) -> int:
    """Counts the models on a virtual phone, prints and saves what was found.

    Args:
        profile: the virtual phone.
        bundles: the models.
        arguments: of `tkd-bench`.
        folder: makes the new folder for the results, once there is something to measure on.
        progress: a context that is told of each step, for so many steps.
    """
    from android_bench.engine import cache_folder
    from android_bench.native_install import install_runner, ticking_runner
    from android_bench.records import RunPlan
    from android_bench.virtual_session import document, measure_virtual, table
    from converters.files import write_text

    notes = _notes(profile, arguments)
    plan = RunPlan(threads=arguments.threads or 1)
    if plan.threads != 1:
        raise BenchError(f"{profile.name} counts instructions, exactly for one thread only; leave --threads out")
    if arguments.dry_run:
        return _rehearse(bundles, plan, per_operator=arguments.per_op)
    with connected(profile) as reached:
        installed = install_runner(reached, cache_folder(), ("glibc",))
        reached.use_runner(installed.command)
        ticking = ticking_runner(reached, cache_folder(), installed.command) if arguments.per_op else ()
        with progress((3 if ticking else 2) * len(bundles)) as step:
            session = measure_virtual(profile.name, reached, bundles, plan, installed.facts, step, ticking=ticking)
    session = replace(session, concerns=(*session.concerns, *notes))
    place = folder()
    text = json.dumps(document(session), allow_nan=False, ensure_ascii=False) + "\n"
    write_text(place / "instructions.json", text)
    write_text(place / "report.txt", "\n".join(table(session)) + "\n")
    if arguments.json and arguments.json != "-":
        write_text(Path(arguments.json), text)
    print(text.rstrip("\n") if arguments.json == "-" else "\n".join(table(session)))
    if not arguments.quiet:
        print(f"saved in {place}/ (instructions.json, report.txt)", file=sys.stderr)
    kinds = {item.failure.kind for item in session.measurements if item.failure}
    if session.interrupted:
        return ExitCode.INTERRUPTED
    return ExitCode.NO if "golden" in kinds else ExitCode.DEVICE if kinds else ExitCode.GOOD


def _notes(profile: DeviceProfile, arguments: argparse.Namespace) -> tuple[str, ...]:
    """What is to be said of options that a phone obeys and a count does not depend on; wrong ones are refused."""
    from android_bench.cores import core_mask

    if arguments.cores is not None:
        cpus = sum(len(cluster.cpus) for cluster in profile.clusters)
        if int(core_mask(arguments.cores, profile.clusters) or "0", 16) >> cpus:
            raise BenchError(f"--cores {arguments.cores}: {profile.name} has CPUs 0 to {cpus - 1}")
    given = {
        "--cores": arguments.cores,
        "--preset": arguments.preset,
        "--warmup-ms": arguments.warmup_ms,
        "--min-timed-ms": arguments.min_timed_ms,
        "--no-gates": arguments.no_gates or None,
    }
    without_effect = ", ".join(option for option, value in given.items() if value is not None)
    return (f"{without_effect} changed nothing: every core counts the same",) if without_effect else ()


def _rehearse(bundles: Sequence[Bundle], plan: RunPlan, *, per_operator: bool) -> int:
    """Prints what would be pushed and run; no phone is switched on."""
    from android_bench.adb.phone import FOLDER
    from android_bench.engine import cache_folder
    from android_bench.native_install import install_runner, ticking_runner
    from android_bench.rehearsal import Rehearsal, rehearsed_counts

    device = Rehearsal((), FOLDER)
    device.use_runner(install_runner(device, cache_folder(), ("glibc",)).command)
    ticking = ticking_runner(device, cache_folder(), device.runner) if per_operator else ()
    for line in rehearsed_counts(device, bundles, plan, ticking=ticking):
        print(line)
    return ExitCode.GOOD


def _serve(arguments: argparse.Namespace) -> int:
    from android_bench.engine import cache_folder
    from android_bench.virtual_phones import switched_on

    if not 0 <= arguments.port < 65536:
        raise BenchError(f"--port is {arguments.port}; expected 1 to 65535, or 0 for a free one")
    ended = threading.Event()
    before = {number: signal.signal(number, lambda *_: ended.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with switched_on(
            arguments.name,
            cache_folder(),
            os.environ,
            arguments.port,
            arguments.way,
            shell=arguments.shell,
            served=True,
        ) as there:
            print(f"{there.name} is on: {_shown(there)}", flush=True)
            print(f"end it with Ctrl-C, or: {PROGRAM} stop {there.name}", file=sys.stderr, flush=True)
            ended.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return ExitCode.GOOD


def _list(arguments: argparse.Namespace) -> int:
    from android_bench.engine import cache_folder
    from android_bench.virtual_phone.twin import twin_names
    from android_bench.virtual_phones import switched_on_phones

    on = {each.name: each for each in switched_on_phones(cache_folder())}
    if arguments.json:
        rows = [{"name": name, "on": asdict(on[name]) if name in on else None} for name in twin_names()]
        print(json.dumps({"format": "tkd.virtual_phones/1", "phones": rows}))
        return ExitCode.GOOD
    for name in twin_names():
        print(f"{name:<16} {virtual_state(name)}")
    return ExitCode.GOOD


def _stop(arguments: argparse.Namespace) -> int:
    from android_bench.engine import cache_folder
    from android_bench.virtual_phones import switch_off

    ended = switch_off(arguments.name, cache_folder())
    print(f"{ended.name} is off (process {ended.pid})")
    return ExitCode.GOOD


def _shown(there: VirtualPhone) -> str:
    return f"{there.address}, process {there.pid}, qemu {there.emulator.split()[0]}, {there.way}, {there.shell} shell"
