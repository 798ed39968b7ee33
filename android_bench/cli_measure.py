"""`tkd-bench` itself: from options to a measured session on disk; `android_bench.cli` reads the options.

options → bundles, plan → a device that is ready → measure → session.json, report.md → the device left clean
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from android_bench.cli_phones import manners_of, wish_of
from android_bench.cli_virtual import bench_virtual
from android_bench.errors import BenchError, DeviceError
from android_bench.plans import plan_of
from converters.bundle import Bundle, find_bundles, read_bundle
from converters.command_line import ExitCode, progress

if TYPE_CHECKING:
    from android_bench.adb.phone import Phone
    from android_bench.device import Device
    from android_bench.gates import Limits
    from android_bench.measure import Setting
    from android_bench.profiles import DeviceProfile
    from android_bench.records import Block, Rejection, RunPlan, Session
    from android_bench.rehearsal import Rehearsal
    from android_bench.session_start import SessionStart

PROGRAM = "tkd-bench"

DEFAULT_RUNTIME = "ai-edge-litert"
MODULES_OF_RUNTIMES = {
    DEFAULT_RUNTIME: "ai_edge_litert",
    "tensorflow": "tensorflow",
    "tflite-runtime": "tflite_runtime",
}
# What `ready_device` asks of the arguments and only `tkd-bench` itself has options for.
DEVICE_DEFAULTS = {"keep_files": False, "runtime": DEFAULT_RUNTIME}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyDevice:
    """A device that is ready, the plan with its cores, and what the session stands on."""

    device: Device
    plan: RunPlan
    setting: Setting


def bench(arguments: argparse.Namespace) -> int:
    """Measures, saves and prints; the exit code."""
    if arguments.resume:
        return _resume(arguments)
    is_host = arguments.device == "host"
    if is_host and (arguments.serial or arguments.connect):
        raise BenchError("--serial and --connect name a phone, --device host this computer; give one of them")
    if arguments.per_op and not str(arguments.device).startswith("virtual-"):
        raise BenchError(
            f"--per-op counts instructions, and {arguments.device} has none to count: take a virtual phone"
        )
    plan = plan_of(arguments)
    if not is_host:
        profile = wish_of(arguments).profile  # refuses an unknown device before anything is read
        if profile is not None and profile.transport == "virtual":
            return _bench_virtual(profile, arguments)
    own = arguments.runner == "own"
    engine = MODULES_OF_RUNTIMES[arguments.runtime]
    check_modules("scipy", *((engine,) if own and is_host and not arguments.dry_run else ()))
    if arguments.dry_run:
        return rehearse(arguments, plan)
    bundles = chosen_bundles(arguments)
    if not own:
        from android_bench.cli_tool import bench_with_tool

        return bench_with_tool(arguments, bundles, plan)
    with ready_device(arguments, plan) as ready:
        folder = new_folder(arguments.output, folder_name(arguments.device))
        session = _measured(arguments, bundles, ready, folder)
        _publish(arguments, session, folder)
    return _exit_code(session)


def _bench_virtual(profile: DeviceProfile, arguments: argparse.Namespace) -> int:
    if arguments.runner != "own":
        raise BenchError(f"{profile.name} counts the instructions of our own runner; leave --runner out")

    def steps(total: int) -> AbstractContextManager[Callable[[], None]]:
        return still_progress("counting", total, quiet=arguments.quiet or arguments.verbose)

    def folder() -> Path:
        return new_folder(arguments.output, folder_name(profile.name))

    return bench_virtual(profile, chosen_bundles(arguments), arguments, folder, steps)


def _resume(arguments: argparse.Namespace) -> int:
    """Goes on with a session that was interrupted, on the same device, with the same models and plan."""
    from android_bench.session_start import check_bundles, differences, read_start, whole_rounds

    folder = arguments.resume
    start = read_start(folder)
    if arguments.device not in (None, start.device):
        raise BenchError(f"cannot resume: the session in {folder} is of {start.device}, not of {arguments.device}")
    arguments.device, arguments.cores = start.device, start.cores
    arguments.runtime = start.runner.get("runtime", DEFAULT_RUNTIME)
    if start.serial and not (arguments.serial or arguments.connect):
        arguments.serial = _attached_as(start)
    check_modules("scipy", *((MODULES_OF_RUNTIMES[arguments.runtime],) if start.device == "host" else ()))
    named = arguments.bundles or [Path(path) for path in start.folders]
    bundles = [read_bundle(path) for path in named]
    check_bundles(start, bundles)
    done = whole_rounds(folder, start)
    best_probe_ns = min((block.probe_ns for block in done if block.probe_ns is not None), default=None)
    with ready_device(arguments, start.plan, best_probe_ns) as ready:
        changed = differences(start, ready.device.context(), ready.setting.runner)
        if ready.plan != start.plan:
            changed.append(f"the core mask was {start.plan.core_mask or 'any'} and is {ready.plan.core_mask or 'any'}")
        if changed:
            raise BenchError(f"cannot resume {folder}: {'; '.join(changed)}; begin a new session (without --resume)")
        total = len(bundles) * start.plan.blocks
        parts = f"in two parts or more, the first begun {start.started_utc}: {len(done)} of {total} blocks are older"
        setting = replace(ready.setting, done=done, concerns=(*ready.setting.concerns, parts))
        session = _measured(arguments, bundles, replace(ready, setting=setting), folder, start)
        _publish(arguments, session, folder)
    return _exit_code(session)


def _attached_as(start: SessionStart) -> str:
    """The serial under which the session's phone is attached now; as it was where it is not listed."""
    from android_bench.attached import look_around

    seen = look_around(os.environ)
    listed = {phone.serial for phone in seen.phones} | set(seen.usb_serials)
    return next((name for name in start.names if name in listed), start.serial)


@contextmanager
def ready_device(
    arguments: argparse.Namespace, plan: RunPlan, best_probe_ns: int | None = None
) -> Iterator[ReadyDevice]:
    """The device that is meant, ready to be measured, and left clean at the end.

    `best_probe_ns` is the fastest probe of an earlier part of the session.
    """
    if arguments.device == "host":
        yield _ready_host(arguments, plan)
        return
    from android_bench.adb.choose import find_phone
    from android_bench.engine import cache_folder
    from android_bench.gates import Gate, Limits, blind_spots, dirty_words
    from android_bench.measure import Setting
    from android_bench.phone_setup import prepare
    from android_bench.runner import run_probe

    with find_phone(wish_of(arguments), os.environ, manners_of(arguments)) as phone:
        prepared = prepare(phone, cache_folder(), arguments.cores)
        try:
            if not arguments.keep_files:
                phone.tidy(prepared.keep)  # what a session that was killed has left
            state = phone.state()
            plan = replace(plan, core_mask=prepared.core_mask)
            limits = Limits(patience_s=arguments.gate_wait_s)
            # An emulated phone's times say nothing, of throttling neither.
            probe = None if phone.facts().emulated else partial(run_probe, phone, plan)
            gate = Gate(phone, limits, plan.core_mask, say_waiting(limits), probe=probe, best_ns=best_probe_ns)
            blind = blind_spots(state, probed=probe is not None)
            setting = Setting(
                gate=None if arguments.no_gates else gate,
                runner=prepared.facts,
                concerns=(*prepared.concerns, *(("no gates: measured as it was",) if arguments.no_gates else blind)),
                dirty=dirty_words(phone.context(), state, gated=not arguments.no_gates),
            )
            yield ReadyDevice(device=phone, plan=plan, setting=setting)
        finally:
            if not arguments.keep_files:
                left_clean(phone, prepared.keep)


def say_waiting(limits: Limits) -> Callable[[tuple[str, ...]], None]:
    """Says on stderr that a round waits, and why."""

    def waiting(reasons: tuple[str, ...]) -> None:
        print(f"waiting up to {limits.patience_s:g} s for the phone: {'; '.join(reasons)}", file=sys.stderr)

    return waiting


def left_clean(phone: Phone, keep: Sequence[str]) -> None:
    """Cleans up; a phone that has gone cannot be, and whatever went wrong before stays what is reported."""
    try:
        phone.tidy(keep)
    except DeviceError as error:
        print(f"{PROGRAM}: {phone.serial} was not cleaned up, the next session does it: {error}", file=sys.stderr)


def _ready_host(arguments: argparse.Namespace, plan: RunPlan) -> ReadyDevice:
    from android_bench.cores import core_mask
    from android_bench.device import HostDevice
    from android_bench.measure import Setting

    mask = core_mask(arguments.cores or "any", [])
    device = HostDevice(runner=_host_runner(arguments))
    facts = {} if arguments.runtime == DEFAULT_RUNTIME else {"runtime": arguments.runtime}
    return ReadyDevice(device=device, plan=replace(plan, core_mask=mask), setting=Setting(runner=facts))


def _host_runner(arguments: argparse.Namespace) -> tuple[str, ...]:
    """The command of the runner on this computer where the runtime is not the usual one; () for that."""
    if arguments.runtime == DEFAULT_RUNTIME:
        return ()
    return (sys.executable, "-m", "android_bench.host_runner", f"runtime={arguments.runtime}")


def _measured(
    arguments: argparse.Namespace,
    bundles: Sequence[Bundle],
    ready: ReadyDevice,
    folder: Path,
    start: SessionStart | None = None,
) -> Session:
    """The session, each block on disk as it ends; `start` is that of a resumed one."""
    from android_bench.measure import Watcher, measure, steps
    from android_bench.session_file import append_block, append_rejection
    from android_bench.session_start import JOURNAL, write_start

    if start is None:
        write_start(folder, _start(arguments, bundles, ready))
    journal = folder / JOURNAL
    total = steps(bundles, ready.plan)
    with still_progress("measuring", total, quiet=arguments.quiet or arguments.verbose) as step:

        def keep(block: Block) -> None:
            append_block(journal, block)
            if arguments.verbose:
                shown = f"{block.median_ns / 1e3:.2f} µs, {len(block.samples_ns)} samples, load {block.load_1min}"
                print(f"{block.bundle}, block {block.index + 1}: median {shown}", file=sys.stderr)

        def rejected(rejection: Rejection) -> None:
            append_rejection(journal, rejection)

        watcher = Watcher(keep=keep, step=step, rejected=rejected)
        return measure(arguments.device, ready.device, bundles, ready.plan, watcher, ready.setting)


def _start(arguments: argparse.Namespace, bundles: Sequence[Bundle], ready: ReadyDevice) -> SessionStart:
    from android_bench.device import utc_now
    from android_bench.session_start import SessionStart

    context = ready.device.context()
    return SessionStart(
        device=arguments.device,
        serial=context.serial,
        serial_number=context.serial_number,
        model=context.model,
        fingerprint=context.fingerprint,
        cores=arguments.cores,
        plan=ready.plan,
        folders=tuple(str(bundle.folder.resolve()) for bundle in bundles),
        sha256={bundle.name: bundle.sha256 for bundle in bundles},
        runner=dict(ready.setting.runner),
        started_utc=utc_now(),
    )


def rehearse(arguments: argparse.Namespace, plan: RunPlan) -> int:
    """Prints what would be done; no device is asked for anything."""
    from android_bench.engine import cache_folder
    from android_bench.native_install import install_runner
    from android_bench.profiles import load_profile
    from android_bench.rehearsal import rehearsed

    profile = None if arguments.device in ("host", "auto") else load_profile(arguments.device)
    if profile is not None and profile.transport == "virtual":
        return _bench_virtual(profile, arguments)
    bundles = chosen_bundles(arguments)
    if arguments.runner != "own":
        from android_bench.cli_tool import bench_with_tool

        return bench_with_tool(arguments, bundles, plan)
    device, plan, gated = rehearsal_of(arguments, plan)
    if arguments.device != "host":
        device.use_runner(install_runner(device, cache_folder(), ("bionic", "glibc")).command)
    for line in rehearsed(device, bundles, plan, gated=gated):
        print(line)
    return ExitCode.GOOD


def rehearsal_of(arguments: argparse.Namespace, plan: RunPlan) -> tuple[Rehearsal, RunPlan, bool]:
    """A stand-in for the device that is meant, the plan with its cores, and whether gates would be asked."""
    from android_bench.adb.phone import FOLDER
    from android_bench.cores import core_mask
    from android_bench.device import HostDevice
    from android_bench.phone_setup import DEFAULT_CORES
    from android_bench.profiles import load_profile
    from android_bench.rehearsal import Rehearsal

    is_host = arguments.device == "host"
    device = Rehearsal(HostDevice(runner=_host_runner(arguments)).runner, None) if is_host else Rehearsal((), FOLDER)
    profile = None if arguments.device in ("host", "auto") else load_profile(arguments.device)
    clusters = () if profile is None or profile.transport == "virtual" else profile.clusters
    # Without a phone an unnamed one has no cores that could be named; its own are taken when it is there.
    default = DEFAULT_CORES if clusters else "any"
    chosen = replace(plan, core_mask=core_mask(arguments.cores or default, clusters))
    return device, chosen, not (is_host or arguments.no_gates)


def check_modules(*names: str) -> None:
    """Refuses to begin when a package is missing that is needed later."""
    for name in names:
        if find_spec(name) is None:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)


def chosen_bundles(arguments: argparse.Namespace) -> list[Bundle]:
    """The bundles that are named, or all that were exported; every file is checked."""
    if arguments.bundles:
        return [read_bundle(folder) for folder in dict.fromkeys(path.resolve() for path in arguments.bundles)]
    found = find_bundles(arguments.exports)
    if not found:
        raise BenchError(
            f"no models in {arguments.exports}/; make some with: tkd-export --student tcresnet --int8"
            f"{'' if str(arguments.exports) == 'exports' else f' --output {arguments.exports}'}"
        )
    return found


def _publish(arguments: argparse.Namespace, session: Session, folder: Path) -> None:
    """Saves the session and its report, and shows the table, or the JSON where it was asked for on stdout."""
    from rich.console import Console

    from android_bench.report import markdown, terminal
    from android_bench.session_file import session_to_json, write_session
    from converters.files import write_text

    write_session(folder / "session.json", session)
    write_text(folder / "report.md", markdown(session))
    if arguments.json == "-":
        json.dump(session_to_json(session), sys.stdout, allow_nan=False, ensure_ascii=False)
        print()
    else:
        if arguments.json:
            write_session(Path(arguments.json), session)
        # A pipe has no width of its own: the table is not folded there.
        console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
        console.print(terminal(session, console.width))
    if not arguments.quiet:
        print(f"saved in {folder}/ (session.json, report.md, blocks.jsonl)", file=sys.stderr)
    lost = any(item.failure and item.failure.kind == "device" for item in session.measurements)
    if (session.interrupted or lost) and not arguments.quiet:
        print(f"go on with: {PROGRAM} --resume {folder}", file=sys.stderr)


def _exit_code(session: Session) -> ExitCode:
    failures = {item.failure.kind for item in session.measurements if item.failure}
    worst = worst_of(failures, session.interrupted)
    return ExitCode.NO_ANSWER if worst == ExitCode.GOOD and session.many_rejected else worst


def worst_of(failures: AbstractSet[str], interrupted: bool) -> ExitCode:
    """The exit code of a session whose models failed in these ways."""
    if interrupted:
        return ExitCode.INTERRUPTED
    if "golden" in failures:
        return ExitCode.NO
    return ExitCode.DEVICE if failures else ExitCode.GOOD


def folder_name(device: str) -> str:
    """A name for a folder of results: when, and on what."""
    from android_bench.device import utc_now

    return f"{re.sub('[-:]', '', utc_now())}-{device}"


def new_folder(wanted: Path | None, name: str) -> Path:
    """A new, empty folder for the results."""
    folder = wanted or Path("runs/bench") / name
    number = 2
    while wanted is None and folder.exists():
        folder = Path("runs/bench") / f"{name}-{number}"
        number += 1
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BenchError(f"{folder} is not empty; expected a new folder for --output, so that nothing is overwritten")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def still_progress(title: str, total: int, *, quiet: bool) -> Iterator[Callable[[], None]]:
    """A bar on stderr that is drawn between blocks only: one that redraws itself would disturb what is timed."""
    if quiet or not sys.stderr.isatty():
        with progress(title, total, quiet=quiet) as advance:
            yield lambda: advance(1)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True) as bar:
        task = bar.add_task(title, total=total)
        bar.refresh()

        def step() -> None:
            bar.advance(task)
            bar.refresh()

        yield step
