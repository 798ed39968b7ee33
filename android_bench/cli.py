"""`tkd-bench`: reads argv, prints, chooses the exit code; everything else is in the modules it calls."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from android_bench.cli_compare import compare
from android_bench.cli_engine import engine
from android_bench.cli_measure import DEFAULT_RUNTIME, MODULES_OF_RUNTIMES, bench
from android_bench.cli_phones import add_phone_options, devices, doctor
from android_bench.cli_report import baseline, history, report
from android_bench.cli_selftest import selftest
from android_bench.cli_several import bench_several, is_joint, resume_several
from android_bench.cli_stream import stream
from android_bench.cli_virtual import phone
from android_bench.cores import NAMES as CORE_NAMES
from android_bench.errors import BaselineError, BenchError, DeviceError, GoldenMismatchError
from android_bench.plans import PRESETS
from android_bench.several import targets_of
from converters.command_line import ExitCode, parser, run
from converters.errors import BundleError

PROGRAM = "tkd-bench"
ERRORS: Mapping[type[Exception], ExitCode] = {
    BenchError: ExitCode.USAGE,
    BaselineError: ExitCode.NO_ANSWER,
    DeviceError: ExitCode.DEVICE,
    GoldenMismatchError: ExitCode.NO,
    BundleError: ExitCode.USAGE,
}
_EPILOG = """\
examples:
  tkd-bench --device host                          measure everything in exports/ on this computer
  tkd-bench --device host exports/tcresnet8-int8   measure one model
  tkd-bench --device pixel1 --cores little         measure on a phone, on its little cores
  tkd-bench --device pixel1 --device mi5           measure on two phones at once, with one table
  tkd-bench --resume runs/bench/DIR                go on with a session that was interrupted
  tkd-bench --device virtual-pixel1                count instructions on a phone without a phone
  tkd-bench compare --baseline A --candidate B     is B slower than A, and may a job fail for it
  tkd-bench selftest --device pixel1               can such a verdict pass and fail on that device
  tkd-bench stream --device host                   what streams cost, hop by hop
  tkd-bench devices                                what can be measured on, and what is attached
  tkd-bench doctor                                 is this computer fit to measure on
  tkd-bench engine fetch                           get the engine that phones run
  tkd-bench doctor --device pixel1                 is that phone
  tkd-bench report                                 the newest session as a page
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of `tkd-bench`; `argv` without the program's name, None reads the real one."""
    return run(PROGRAM, _command, argv, ERRORS)


def _command(words: Sequence[str]) -> int:
    if words and words[0] in _SUBCOMMANDS:
        return _SUBCOMMANDS[words[0]](words[1:])
    _refuse_mistyped(words)
    arguments = _arguments(words)
    if arguments.resume and is_joint(arguments.resume):
        return resume_several(arguments)
    if len(arguments.targets) > 1:
        return bench_several(_parser(), arguments, arguments.targets)
    return bench(arguments)


def _refuse_mistyped(words: Sequence[str]) -> None:
    """Refuses a first word that is nearly a command's name and names no folder."""
    first = words[0] if words else ""
    near = get_close_matches(first, _SUBCOMMANDS, n=1, cutoff=0.75)
    if near and not first.startswith("-") and not Path(first).exists():
        known = ", ".join(_SUBCOMMANDS)
        raise BenchError(f"no bundle and no command is called '{first}'; did you mean '{near[0]}'? commands: {known}")


def _parser() -> argparse.ArgumentParser:
    made = parser(PROGRAM, "Measure exported models on a device: latency, memory and accuracy.", _EPILOG)
    made.add_argument("bundles", nargs="*", type=Path, metavar="BUNDLE", help="folders written by tkd-export")
    made.add_argument(
        "--device",
        action="append",
        help="host (this computer, the default), auto (the one attached phone), or a phone's profile; "
        "several times for several, which are measured at once",
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
    made.add_argument("--threads", type=int, metavar="N", help="threads of the engine (default: 1)")
    made.add_argument(
        "--blocks", type=int, default=9, metavar="N", help="processes per model (default: 9; ratios need 6)"
    )
    made.add_argument("--warmup-ms", type=int, metavar="MS", help="untimed inferences before each block (default: 500)")
    made.add_argument("--min-timed-ms", type=int, metavar="MS", help="timed inferences of each block (default: 200)")
    made.add_argument(
        "--preset",
        choices=tuple(PRESETS),
        help="a published protocol: tcresnet-paper is one little core, one thread, 10 warm-ups, the mean of 50 runs",
    )
    made.add_argument(
        "--cores",
        metavar="CORES",
        help=f"{', '.join(CORE_NAMES)} or a hexadecimal mask for taskset (default on a phone: big)",
    )
    made.add_argument(
        "--gate-wait-s",
        type=float,
        default=120.0,
        metavar="S",
        help="how long a round waits for a phone that is hot, low on charge or busy (default: 120)",
    )
    made.add_argument("--no-gates", action="store_true", help="measure a phone as it is; the result's name says so")
    made.add_argument(
        "--per-op", action="store_true", help="on a virtual phone: also the instructions of each operator of a model"
    )
    made.add_argument(
        "--keep-files", action="store_true", help="leave models and clips on the phone: the next session sends nothing"
    )
    made.add_argument("--resume", type=Path, metavar="DIR", help="go on with the interrupted session in this folder")
    made.add_argument("--dry-run", action="store_true", help="print what would be pushed and run, and end")
    add_phone_options(made, several=True)
    made.add_argument(
        "--runner",
        choices=("own", "benchmark_model"),
        default="own",
        help="our own runner (default), or TensorFlow's benchmark_model, which keeps no samples",
    )
    made.add_argument(
        "--runtime",
        choices=tuple(MODULES_OF_RUNTIMES),
        default=DEFAULT_RUNTIME,
        help="what runs the models on host (ai-edge-litert)",
    )
    made.add_argument("--runner-path", type=Path, metavar="FILE", help="the benchmark_model built for the device")
    return made


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    made = _parser()
    arguments = made.parse_args(words)
    devices = arguments.device or ()
    arguments.targets = targets_of(devices, arguments.serial or (), arguments.connect or ())
    first = arguments.targets[0] if arguments.targets else None
    # A session that goes on knows its device, however the phone is reached now.
    arguments.device = (devices[0] if devices else None) if arguments.resume else first.device if first else "host"
    arguments.serial, arguments.connect = (first.serial, first.connect) if first else (None, None)
    if (arguments.runner == "benchmark_model") != (arguments.runner_path is not None):
        made.error("--runner benchmark_model and --runner-path FILE go together")
    if arguments.resume and (arguments.runner != "own" or arguments.output or arguments.dry_run):
        made.error("--resume goes on in the folder that it names: leave out --runner, --output and --dry-run")
    if arguments.runtime != DEFAULT_RUNTIME and (arguments.runner != "own" or arguments.device not in ("host", None)):
        made.error("--runtime is for our own runner on this computer: --device host, without --runner")
    return arguments


_SUBCOMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = {
    "baseline": baseline,
    "compare": compare,
    "devices": devices,
    "doctor": doctor,
    "engine": engine,
    "history": history,
    "phone": phone,
    "report": report,
    "selftest": selftest,
    "stream": stream,
}

if __name__ == "__main__":
    sys.exit(main())
