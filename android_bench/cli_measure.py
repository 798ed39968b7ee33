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
    from android_bench.measure import Setting
    from android_bench.profiles import DeviceProfile
    from android_bench.records import Block, Rejection, RunPlan, Session
    from android_bench.session_start import SessionStart

PROGRAM = "tkd-bench"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ready:
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
    if not is_host:
        profile = wish_of(arguments).profile  # refuses an unknown device before anything is read
        if profile is not None and profile.transport == "virtual":
            return _bench_virtual(profile, arguments)
    plan = plan_of(arguments)
    own = arguments.runner == "own"
    _check_modules("scipy", *(("ai_edge_litert",) if own and is_host and not arguments.dry_run else ()))
    bundles = _bundles(arguments)
    if arguments.dry_run:
        return _rehearse(arguments, bundles, plan)
    if not own:
        return _bench_with_tool(arguments, bundles, plan)
    with ready_device(arguments, plan) as ready:
        folder = _new_folder(arguments.output, _folder_name(arguments.device))
        session = _measured(arguments, bundles, ready, folder)
        _publish(arguments, session, folder)
    return _exit_code(session)


def _bench_virtual(profile: DeviceProfile, arguments: argparse.Namespace) -> int:
    if arguments.runner != "own":
        raise BenchError(f"{profile.name} counts the instructions of our own runner; leave --runner out")

    def steps(total: int) -> AbstractContextManager[Callable[[], None]]:
        return _still_progress("counting", total, quiet=arguments.quiet or arguments.verbose)

    def folder() -> Path:
        return _new_folder(arguments.output, _folder_name(profile.name))

    return bench_virtual(profile, _bundles(arguments), arguments, folder, steps)


def _resume(arguments: argparse.Namespace) -> int:
    """Goes on with a session that was interrupted, on the same device, with the same models and plan."""
    from android_bench.session_start import check_bundles, differences, read_start, whole_rounds

    folder = arguments.resume
    start = read_start(folder)
    if arguments.device not in (None, start.device):
        raise BenchError(f"cannot resume: the session in {folder} is of {start.device}, not of {arguments.device}")
    arguments.device, arguments.cores = start.device, start.cores
    if start.serial and not (arguments.serial or arguments.connect):
        arguments.serial = start.serial
    _check_modules("scipy", *(("ai_edge_litert",) if start.device == "host" else ()))
    named = arguments.bundles or [Path(path) for path in start.folders]
    bundles = [read_bundle(path) for path in named]
    check_bundles(start, bundles)
    done = whole_rounds(folder, start)
    with ready_device(arguments, start.plan) as ready:
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


@contextmanager
def ready_device(arguments: argparse.Namespace, plan: RunPlan) -> Iterator[_Ready]:
    """The device that is meant, ready to be measured, and left clean at the end."""
    if arguments.device == "host":
        yield _ready_host(arguments, plan)
        return
    from android_bench.adb.choose import find_phone
    from android_bench.engine import cache_folder
    from android_bench.gates import Gate, Limits, blind_spots, dirty_words
    from android_bench.measure import Setting
    from android_bench.phone_setup import prepare

    def waiting(reasons: tuple[str, ...]) -> None:
        print(f"waiting up to {arguments.gate_wait_s:g} s for the phone: {'; '.join(reasons)}", file=sys.stderr)

    with find_phone(wish_of(arguments), os.environ, manners_of(arguments)) as phone:
        prepared = prepare(phone, cache_folder(), arguments.cores)
        try:
            phone.tidy(prepared.keep)  # what a session that was killed has left
            state = phone.state()
            plan = replace(plan, core_mask=prepared.core_mask)
            limits = Limits(patience_s=arguments.gate_wait_s)
            gate = None if arguments.no_gates else Gate(phone, limits, plan.core_mask, waiting)
            setting = Setting(
                gate=gate,
                runner=prepared.facts,
                concerns=(*prepared.concerns, *(blind_spots(state) if gate else ("no gates: measured as it was",))),
                dirty=dirty_words(phone.context(), state, gated=gate is not None),
            )
            yield _Ready(device=phone, plan=plan, setting=setting)
        finally:
            _tidy(phone, prepared.keep)


def _tidy(phone: Phone, keep: Sequence[str]) -> None:
    """Cleans up; a phone that has gone cannot be, and whatever went wrong before stays what is reported."""
    try:
        phone.tidy(keep)
    except DeviceError as error:
        print(f"{PROGRAM}: {phone.serial} was not cleaned up, the next session does it: {error}", file=sys.stderr)


def _ready_host(arguments: argparse.Namespace, plan: RunPlan) -> _Ready:
    from android_bench.cores import core_mask
    from android_bench.device import HostDevice
    from android_bench.measure import Setting

    mask = core_mask(arguments.cores or "any", [])
    return _Ready(device=HostDevice(), plan=replace(plan, core_mask=mask), setting=Setting())


def _measured(
    arguments: argparse.Namespace,
    bundles: Sequence[Bundle],
    ready: _Ready,
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
    with _still_progress("measuring", total, quiet=arguments.quiet or arguments.verbose) as step:

        def keep(block: Block) -> None:
            append_block(journal, block)
            if arguments.verbose:
                shown = f"{block.median_ns / 1e3:.2f} µs, {len(block.samples_ns)} samples, load {block.load_1min}"
                print(f"{block.bundle}, block {block.index + 1}: median {shown}", file=sys.stderr)

        def rejected(rejection: Rejection) -> None:
            append_rejection(journal, rejection)

        watcher = Watcher(keep=keep, step=step, rejected=rejected)
        return measure(arguments.device, ready.device, bundles, ready.plan, watcher, ready.setting)


def _start(arguments: argparse.Namespace, bundles: Sequence[Bundle], ready: _Ready) -> SessionStart:
    from android_bench.device import utc_now
    from android_bench.session_start import SessionStart

    context = ready.device.context()
    return SessionStart(
        device=arguments.device,
        serial=context.serial,
        model=context.model,
        fingerprint=context.fingerprint,
        cores=arguments.cores,
        plan=ready.plan,
        folders=tuple(str(bundle.folder.resolve()) for bundle in bundles),
        sha256={bundle.name: bundle.sha256 for bundle in bundles},
        runner=dict(ready.setting.runner),
        started_utc=utc_now(),
    )


def _rehearse(arguments: argparse.Namespace, bundles: Sequence[Bundle], plan: RunPlan) -> int:
    """Prints what would be done; no device is asked for anything."""
    from android_bench.adb.phone import FOLDER
    from android_bench.cores import core_mask
    from android_bench.device import HostDevice
    from android_bench.engine import cache_folder
    from android_bench.native_install import install_runner
    from android_bench.phone_setup import DEFAULT_CORES
    from android_bench.profiles import load_profile
    from android_bench.rehearsal import Rehearsal, rehearse

    is_host = arguments.device == "host"
    device = Rehearsal(HostDevice().runner, None) if is_host else Rehearsal((), FOLDER)
    clusters = () if arguments.device in ("host", "auto") else load_profile(arguments.device).clusters
    # Without a phone an unnamed one has no cores that could be named; its own are taken when it is there.
    default = DEFAULT_CORES if clusters else "any"
    plan = replace(plan, core_mask=core_mask(arguments.cores or default, clusters))
    if not is_host:
        device.use_runner(install_runner(device, cache_folder()).command)
    for line in rehearse(device, bundles, plan, gated=not (is_host or arguments.no_gates)):
        print(line)
    return ExitCode.GOOD


def _check_modules(*names: str) -> None:
    for name in names:
        if find_spec(name) is None:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)


def _bundles(arguments: argparse.Namespace) -> list[Bundle]:
    if arguments.bundles:
        return [read_bundle(folder) for folder in dict.fromkeys(path.resolve() for path in arguments.bundles)]
    found = find_bundles(arguments.exports)
    if not found:
        raise BenchError(
            f"no models in {arguments.exports}/; make some with: tkd-export --student tcresnet --int8"
            f"{'' if str(arguments.exports) == 'exports' else f' --output {arguments.exports}'}"
        )
    return found


def _bench_with_tool(arguments: argparse.Namespace, bundles: Sequence[Bundle], plan: RunPlan) -> int:
    """Measures with TensorFlow's benchmark_model."""
    from android_bench.device import HostDevice
    from android_bench.tool_session import document, measure_with_tool, table
    from converters.files import write_text

    if arguments.device != "host":
        raise BenchError("--runner benchmark_model measures on host only; on phones our own runner does (no --runner)")
    tool = arguments.runner_path
    if not tool.is_file() or not os.access(tool, os.X_OK):
        raise BenchError(f"{tool} is no program; expected a benchmark_model for {arguments.device} (chmod +x?)")
    folder = _new_folder(arguments.output, _folder_name(arguments.device))
    total = len(bundles) * (plan.blocks + 1)
    with _still_progress("measuring", total, quiet=arguments.quiet or arguments.verbose) as step:
        session = measure_with_tool(arguments.device, HostDevice(), tool, bundles, plan, step)
    text = json.dumps(document(session), allow_nan=False, ensure_ascii=False)
    write_text(folder / "benchmark_model.json", text + "\n")
    if arguments.json and arguments.json != "-":
        write_text(Path(arguments.json), text + "\n")
    print(text if arguments.json == "-" else "\n".join(table(session)))
    if not arguments.quiet:
        print(f"saved in {folder}/benchmark_model.json", file=sys.stderr)
    return _worst({item.failure.kind for item in session.measurements if item.failure}, session.interrupted)


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
    worst = _worst(failures, session.interrupted)
    return ExitCode.NO_ANSWER if worst == ExitCode.GOOD and session.many_rejected else worst


def _worst(failures: AbstractSet[str], interrupted: bool) -> ExitCode:
    if interrupted:
        return ExitCode.INTERRUPTED
    if "golden" in failures:
        return ExitCode.NO
    return ExitCode.DEVICE if failures else ExitCode.GOOD


def _folder_name(device: str) -> str:
    from android_bench.device import utc_now

    return f"{re.sub('[-:]', '', utc_now())}-{device}"


def _new_folder(wanted: Path | None, name: str) -> Path:
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
def _still_progress(title: str, total: int, *, quiet: bool) -> Iterator[Callable[[], None]]:
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
