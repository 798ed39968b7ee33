"""`tkd-bench compare`: argv, prints and exit codes; `android_bench.cli` calls it.

options → pairs of bundles, devices → each pair on each device (`compare_pairs`) → Holm → table, compare.json, report.md
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from android_bench.cli_measure import DEVICE_DEFAULTS, PROGRAM, check_modules, folder_name, new_folder
from android_bench.cli_phones import add_phone_options
from android_bench.cores import NAMES as CORE_NAMES
from android_bench.errors import BaselineError, BenchError
from converters.bundle import Bundle, find_bundles, read_bundle
from converters.bundle_folder import DOCUMENT
from converters.command_line import parser

if TYPE_CHECKING:
    from android_bench.compare_session import Pair
    from android_bench.verdict import Gate, GateSettings

_EPILOG = """\
examples:
  tkd-bench compare --baseline main/tcresnet8-int8 --candidate exports/tcresnet8-int8
  tkd-bench compare --baseline main/ --candidate exports/ --device pixel1 --device virtual-pixel1
  tkd-bench compare --baseline A --candidate B --max-slowdown 5 --allow size=any --inconclusive pass
  tkd-bench compare old/session.json new/session.json      two recorded results, where they can be compared
"""


def compare(words: Sequence[str]) -> int:
    """Compares two models, or two recorded results; the exit code."""
    from android_bench.verdict import Gate, GateSettings

    arguments = compare_arguments(words)
    check_modules("scipy")
    settings = GateSettings(
        max_slowdown=arguments.max_slowdown / 100,
        min_effect_us=arguments.min_effect_us,
        max_accuracy_drop=arguments.max_accuracy_drop / 100,
        allowances=_allowances(arguments.allow),
        pairs=arguments.pairs,
        inconclusive=arguments.inconclusive,
        report_only=arguments.report_only,
    )
    if arguments.files:
        return _compare_recorded(arguments, settings)
    from android_bench.cli_pairs import check_devices, judge_all
    from android_bench.compare import apply_holm
    from android_bench.device import utc_now
    from android_bench.measure import tool_version

    check_devices(arguments)
    pairs = _pairs(arguments)
    started = utc_now()
    folder = new_folder(arguments.output, f"{folder_name('+'.join(arguments.device))}-compare")
    judgements, interrupted = judge_all(arguments, pairs, settings, folder)
    gate = Gate(
        settings=settings,
        judgements=apply_holm(judgements),
        started_utc=started,
        finished_utc=utc_now(),
        interrupted=interrupted,
        tool={"name": PROGRAM, "version": tool_version()},
    )
    return finish(arguments, gate, folder)


def finish(arguments: argparse.Namespace, gate: Gate, folder: Path) -> int:
    """Saves and shows a gate; the exit code."""
    from rich.console import Console

    from android_bench.verdict_file import gate_to_json, write_gate
    from android_bench.verdict_report import markdown, terminal
    from converters.files import write_text

    write_gate(folder / "compare.json", gate)
    write_text(folder / "report.md", markdown(gate))
    if arguments.json and arguments.json != "-":
        write_gate(Path(arguments.json), gate)
    if arguments.json == "-":
        print(json.dumps(gate_to_json(gate), allow_nan=False, ensure_ascii=False))
    else:
        console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
        console.print(terminal(gate))
    if not arguments.quiet:
        print(f"saved in {folder}/ (compare.json, report.md)", file=sys.stderr)
    return gate.exit_code


def compare_parser() -> argparse.ArgumentParser:
    """The options of `tkd-bench compare`."""
    made = parser(
        f"{PROGRAM} compare",
        "Is the candidate slower than the baseline? Both are measured on one device in one session, in pairs of "
        "processes back to back; the baseline is a file, never a stored number.",
        _EPILOG,
    )
    made.add_argument("files", nargs="*", type=Path, metavar="FILE", help="two recorded results: baseline, candidate")
    made.add_argument(
        "--baseline",
        type=Path,
        action="append",
        metavar="BUNDLE",
        help="the model that stands, a folder of bundles, or a baseline.json; repeat it for several pairs",
    )
    made.add_argument("--candidate", type=Path, action="append", metavar="BUNDLE", help="the model that may replace it")
    made.add_argument(
        "--device",
        action="append",
        metavar="NAME",
        help="host (the default), auto, or a profile; repeat it for several",
    )
    _add_limits(made)
    made.add_argument("--output", type=Path, metavar="DIR", help="a new folder for the results")
    made.add_argument("--json", metavar="PATH", help="write the verdict as JSON there as well; - is stdout")
    add_measuring_options(made)
    return made


def compare_arguments(words: Sequence[str]) -> argparse.Namespace:
    """The options, checked against each other."""
    made = compare_parser()
    arguments = made.parse_args(words)
    models = (arguments.baseline, arguments.candidate)
    if arguments.files and (any(models) or arguments.device):
        made.error("recorded results are compared without --baseline, --candidate and --device")
    if arguments.files and len(arguments.files) != 2:
        made.error(f"{len(arguments.files)} recorded results; expected two: the baseline's, then the candidate's")
    if not arguments.files and not all(models):
        made.error("expected --baseline BUNDLE and --candidate BUNDLE, or two recorded results")
    default = "auto" if arguments.serial or arguments.connect else "host"
    arguments.device = list(dict.fromkeys(arguments.device or [default]))
    if len(arguments.device) > 1 and (arguments.serial or arguments.connect):
        made.error("--serial and --connect choose one phone; leave them out with several --device")
    return arguments


def add_measuring_options(made: argparse.ArgumentParser) -> None:
    """Adds the options that say how a device is measured."""
    made.add_argument("--threads", type=int, metavar="N", help="threads of the engine (default: 1)")
    made.add_argument("--warmup-ms", type=int, metavar="MS", help="untimed inferences before each block (default: 500)")
    made.add_argument("--min-timed-ms", type=int, metavar="MS", help="timed inferences of each block (default: 200)")
    made.add_argument("--cores", metavar="CORES", help=f"{', '.join(CORE_NAMES)} or a mask (default on a phone: big)")
    made.add_argument("--gate-wait-s", type=float, default=120.0, metavar="S", help="patience with an unfit phone")
    made.add_argument("--no-gates", action="store_true", help="measure a phone as it is; the result's name says so")
    made.set_defaults(preset=None, blocks=1, **DEVICE_DEFAULTS)
    add_phone_options(made)


def _add_limits(made: argparse.ArgumentParser) -> None:
    from android_bench.verdict import Policy

    made.add_argument(
        "--max-slowdown", type=float, default=3.0, metavar="PERCENT", help="allowed slowdown (default: 3)"
    )
    made.add_argument(
        "--min-effect-us", type=float, default=0.0, metavar="US", help="slowdowns of fewer microseconds pass"
    )
    made.add_argument(
        "--max-accuracy-drop", type=float, default=0.5, metavar="POINTS", help="allowed drop of accuracy (default: 0.5)"
    )
    made.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="METRIC=PERCENT",
        help="of an exact metric: instructions, size, operators, macs, int8_share (default: 0.5; any lets it be)",
    )
    made.add_argument(
        "--pairs", type=int, default=15, metavar="N", help="pairs at the first look; the second has twice"
    )
    made.add_argument(
        "--inconclusive",
        choices=get_args(Policy),
        default="neutral",
        help="what INCONCLUSIVE ends in: fail 1, neutral 3 (default), pass 0",
    )
    made.add_argument(
        "--report-only", action="store_true", help="no verdict fails the call, trouble with a device does"
    )


def _allowances(words: Sequence[str]) -> dict[str, float | None]:
    from android_bench.metrics import ALLOWANCE, EXACT

    made: dict[str, float | None] = dict.fromkeys(EXACT, ALLOWANCE)
    for word in words:
        name, _, text = word.partition("=")
        value = None
        with suppress(ValueError):
            value = float(text) / 100
        if name not in EXACT or (value is None and text != "any"):
            raise BenchError(f"--allow {word}: expected METRIC=PERCENT or METRIC=any, METRIC one of {', '.join(EXACT)}")
        made[name] = value
    return made


def _pairs(arguments: argparse.Namespace) -> list[Pair]:
    """The pairs of bundles: in the order of the options, and by name where folders of bundles were named."""
    from android_bench.compare_session import Pair

    for path in arguments.baseline:
        if not path.exists():
            raise BaselineError(f"no baseline at {path}; bring the bundle of the model that stands, or name another")
    if len(arguments.baseline) != len(arguments.candidate):
        raise BenchError(
            f"{len(arguments.baseline)} baselines and {len(arguments.candidate)} candidates; expected as many of each"
        )
    made = []
    for old, new in zip(arguments.baseline, arguments.candidate, strict=True):
        if not old.is_file() and ((old / DOCUMENT).exists() or (new / DOCUMENT).exists()):
            made.append(Pair(baseline=read_bundle(old), candidate=read_bundle(new)))
        else:
            made += _pairs_by_name(old, new)
    return made


def _pairs_by_name(old: Path, new: Path) -> list[Pair]:
    from android_bench.baseline import baseline_bundles
    from android_bench.compare_session import Pair

    standing = baseline_bundles(old) if old.is_file() else find_bundles(old)
    coming = [read_bundle(new)] if (new / DOCUMENT).exists() else find_bundles(new)
    held: list[dict[str, Bundle]] = [{bundle.name: bundle for bundle in found} for found in (standing, coming)]
    if not held[0]:
        raise BaselineError(f"no baseline in {old}: it holds no bundles; tkd-export writes them")
    shared = [name for name in held[0] if name in held[1]]
    if not shared:
        raise BenchError(
            f"{old} holds {', '.join(held[0])} and {new} {', '.join(held[1]) or 'no bundles'}; expected equal names"
        )
    alone = sorted({*held[0], *held[1]} - set(shared))
    if alone:
        print(f"{PROGRAM}: not compared, because only one side has them: {', '.join(alone)}", file=sys.stderr)
    return [Pair(baseline=held[0][name], candidate=held[1][name]) for name in shared]


def _compare_recorded(arguments: argparse.Namespace, settings: GateSettings) -> int:
    from android_bench.compare import apply_holm
    from android_bench.device import utc_now
    from android_bench.measure import tool_version
    from android_bench.recorded import compare_files
    from android_bench.verdict import Gate

    started = utc_now()
    judgements = compare_files((arguments.files[0], arguments.files[1]), settings)
    folder = new_folder(arguments.output, f"{folder_name('recorded')}-compare")
    gate = Gate(
        settings=settings,
        judgements=apply_holm(judgements),
        started_utc=started,
        finished_utc=utc_now(),
        tool={"name": PROGRAM, "version": tool_version()},
    )
    return finish(arguments, gate, folder)


def slug(name: str) -> str:
    """A name for a folder.

    >>> slug("tcresnet8-int8 on pixel1")
    'tcresnet8-int8-on-pixel1'
    """
    return re.sub(r"[^\w.-]+", "-", name).strip("-")
