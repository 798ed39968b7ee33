"""`tkd-bench`: reads argv, prints, chooses the exit code; everything else is in the modules it calls."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from android_bench.cli_engine import engine
from android_bench.cli_phones import devices, doctor
from android_bench.cli_virtual import bench_virtual, phone
from android_bench.errors import BenchError, DeviceError, GoldenMismatchError
from converters.bundle import Bundle, find_bundles, read_bundle
from converters.command_line import ExitCode, parser, progress, run
from converters.errors import BundleError

if TYPE_CHECKING:
    from android_bench.profiles import DeviceProfile
    from android_bench.records import Block, RunPlan, Session

PROGRAM = "tkd-bench"
ERRORS: Mapping[type[Exception], ExitCode] = {
    BenchError: ExitCode.USAGE,
    DeviceError: ExitCode.DEVICE,
    GoldenMismatchError: ExitCode.NO,
    BundleError: ExitCode.USAGE,
}
_EPILOG = """\
examples:
  tkd-bench --device host                          measure everything in exports/ on this computer
  tkd-bench --device host exports/tcresnet8-int8   measure one model
  tkd-bench --device virtual-pixel1                count instructions on a phone without a phone
  tkd-bench devices                                what can be measured on, and what is attached
  tkd-bench doctor                                 is this computer fit to measure on
  tkd-bench engine fetch                           get the engine that phones run
  tkd-bench doctor --device pixel1                 is that phone
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of `tkd-bench`; `argv` without the program's name, None reads the real one."""
    return run(PROGRAM, _command, argv, ERRORS)


def _command(words: Sequence[str]) -> int:
    if words and words[0] in _SUBCOMMANDS:
        return _SUBCOMMANDS[words[0]](words[1:])
    return _bench(_arguments(words))


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    made = parser(PROGRAM, "Measure exported models on a device: latency, memory and accuracy.", _EPILOG)
    made.add_argument("bundles", nargs="*", type=Path, metavar="BUNDLE", help="folders written by tkd-export")
    made.add_argument(
        "--device", default="host", help="host (this computer, the default), or a phone: see tkd-bench devices"
    )
    made.add_argument(
        "--exports",
        type=Path,
        default=Path("exports"),
        metavar="DIR",
        help="where bundles are looked for when none is named (default: exports)",
    )
    made.add_argument(
        "--output", type=Path, metavar="DIR", help="a new folder for the results (default: runs/bench/TIME-DEVICE)"
    )
    made.add_argument(
        "--json", metavar="PATH", help="write the session as JSON there as well; - is stdout, then without the table"
    )
    made.add_argument("--threads", type=int, default=1, metavar="N", help="threads of the engine (default: 1)")
    made.add_argument(
        "--blocks", type=int, default=9, metavar="N", help="processes per model (default: 9; ratios need 6)"
    )
    made.add_argument(
        "--warmup-ms", type=int, default=500, metavar="MS", help="untimed inferences before each block (default: 500)"
    )
    made.add_argument(
        "--min-timed-ms", type=int, default=200, metavar="MS", help="timed inferences of each block (default: 200)"
    )
    made.add_argument(
        "--runner",
        choices=("own", "benchmark_model"),
        default="own",
        help="our own runner (default), or TensorFlow's benchmark_model, which keeps no samples",
    )
    made.add_argument("--runner-path", type=Path, metavar="FILE", help="the benchmark_model built for the device")
    arguments = made.parse_args(words)
    if (arguments.runner == "benchmark_model") != (arguments.runner_path is not None):
        made.error("--runner benchmark_model and --runner-path FILE go together")
    return arguments


def _bench(arguments: argparse.Namespace) -> int:
    from android_bench.profiles import load_profile
    from android_bench.records import RunPlan

    profile = load_profile(arguments.device)
    plan = RunPlan(
        threads=arguments.threads,
        blocks=arguments.blocks,
        warmup_ms=arguments.warmup_ms,
        min_timed_ms=arguments.min_timed_ms,
    )
    if profile.transport == "virtual":
        return _bench_virtual(profile, arguments)
    if profile.transport != "local":
        raise _no_phone(profile)
    own = arguments.runner == "own"
    for module in ("scipy", *(("ai_edge_litert",) if own else ())):
        if find_spec(module) is None:
            raise ModuleNotFoundError(f"No module named '{module}'", name=module)
    bundles = _bundles(arguments)
    if not own:
        return _bench_with_tool(arguments, bundles, plan)
    session, folder = _measured(arguments, bundles, plan)
    _publish(arguments, session, folder)
    return _exit_code(session)


def _bench_virtual(profile: DeviceProfile, arguments: argparse.Namespace) -> int:
    from android_bench.device import utc_now

    if arguments.runner != "own":
        raise BenchError(f"{profile.name} counts the instructions of our own runner; leave --runner out")

    def folder() -> Path:
        return _new_folder(arguments.output, f"{re.sub('[-:]', '', utc_now())}-{arguments.device}")

    def steps(total: int) -> AbstractContextManager[Callable[[], None]]:
        return _still_progress("counting", total, quiet=arguments.quiet or arguments.verbose)

    return bench_virtual(profile, _bundles(arguments), arguments, folder, steps)


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


def _measured(arguments: argparse.Namespace, bundles: Sequence[Bundle], plan: RunPlan) -> tuple[Session, Path]:
    from android_bench.device import HostDevice, utc_now
    from android_bench.measure import Watcher, measure, steps
    from android_bench.session_file import append_block

    folder = _new_folder(arguments.output, f"{re.sub('[-:]', '', utc_now())}-{arguments.device}")
    journal = folder / "blocks.jsonl"
    with _still_progress("measuring", steps(bundles, plan), quiet=arguments.quiet or arguments.verbose) as step:

        def keep(block: Block) -> None:
            append_block(journal, block)
            if arguments.verbose:
                shown = f"{block.median_ns / 1e3:.2f} µs, {len(block.samples_ns)} samples, load {block.load_1min}"
                print(f"{block.bundle}, block {block.index + 1}: median {shown}", file=sys.stderr)

        watcher = Watcher(keep=keep, step=step)
        return measure(arguments.device, HostDevice(), bundles, plan, watcher), folder


def _bench_with_tool(arguments: argparse.Namespace, bundles: Sequence[Bundle], plan: RunPlan) -> int:
    """Measures with TensorFlow's benchmark_model."""
    from android_bench.device import HostDevice, utc_now
    from android_bench.tool_session import document, measure_with_tool, table
    from converters.files import write_text

    tool = arguments.runner_path
    if not tool.is_file() or not os.access(tool, os.X_OK):
        raise BenchError(f"{tool} is no program; expected a benchmark_model for {arguments.device} (chmod +x?)")
    folder = _new_folder(arguments.output, f"{re.sub('[-:]', '', utc_now())}-{arguments.device}")
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


def _exit_code(session: Session) -> ExitCode:
    return _worst({item.failure.kind for item in session.measurements if item.failure}, session.interrupted)


def _worst(failures: AbstractSet[str], interrupted: bool) -> ExitCode:
    if interrupted:
        return ExitCode.INTERRUPTED
    if "golden" in failures:
        return ExitCode.NO
    return ExitCode.DEVICE if failures else ExitCode.GOOD


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


def _no_phone(profile: DeviceProfile) -> DeviceError:
    """Why nothing is measured on a phone: none is there, or this version cannot reach it."""
    from android_bench.attached import look_around

    attached = look_around(os.environ)
    advice = f"Without a phone: {PROGRAM} --device host"
    here = [phone for phone in attached.phones if phone.matches(profile)]
    if here:
        return DeviceError(
            f"{profile.name} is attached ({here[0].sentence()}), but this version measures on host only, "
            f"measuring over ADB comes in a next one. {advice}"
        )
    return DeviceError(
        f"no {profile.name} ({profile.title}) is attached. Seen: {attached.sentence()}. "
        f"Expected model {profile.model}, device {profile.device}, with USB debugging on "
        f"(this version would find it but not yet measure on it). {advice}"
    )


_SUBCOMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = {
    "devices": devices,
    "doctor": doctor,
    "engine": engine,
    "phone": phone,
}

if __name__ == "__main__":
    sys.exit(main())
