"""`tkd-bench report`, `baseline` and `history`: argv, prints and exit codes; `android_bench.cli` calls them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from android_bench.errors import BenchError
from converters.command_line import ExitCode, add_common_options, parser

if TYPE_CHECKING:
    from android_bench.evidence import Evidence

PROGRAM = "tkd-bench"
_REPORT_EPILOG = """\
examples:
  tkd-bench report                                             the newest session and exports/ as report.html
  tkd-bench report compare.json history.jsonl --html gate.html verdicts, and the trend
  tkd-bench report compare.json --junit gate.xml               for services that show test results
"""
_BASELINE_EPILOG = """\
examples:
  tkd-bench baseline set exports/tcresnet8-float32 exports/tcresnet8-int8 --origin 'release 1.2'
  tkd-bench baseline show
"""
_HISTORY_EPILOG = """\
examples:
  tkd-bench history add runs/compare/DIR/compare.json --commit "$(git rev-parse HEAD)"
  tkd-bench history show
"""


def report(words: Sequence[str]) -> int:
    """Writes what was found in the forms that were asked for."""
    from android_bench.evidence import gather

    arguments = report_parser().parse_args(words)
    wanted = {"--html": arguments.html, "--junit": arguments.junit, "--action-benchmark": arguments.action_benchmark}
    if not any(wanted.values()):
        arguments.html = Path("report.html")
    paths = arguments.paths or _newest(arguments.exports)
    evidence = gather(paths)
    for note in evidence.notes:
        print(f"{PROGRAM}: {note}", file=sys.stderr)
    if evidence.is_empty:
        print(f"{PROGRAM}: nothing to report: {', '.join(map(str, paths))} hold no result yet", file=sys.stderr)
        return ExitCode.NO_ANSWER
    if arguments.junit and not evidence.gates:
        raise BenchError("--junit wants verdicts: name a compare.json, which tkd-bench compare writes")
    for written in _write(arguments, evidence):
        print(f"wrote {written}")
    return ExitCode.GOOD


def report_parser() -> argparse.ArgumentParser:
    """The options of `tkd-bench report`."""
    made = parser(
        f"{PROGRAM} report", "Sessions, verdicts, histories and exports as a page or as files.", _REPORT_EPILOG
    )
    made.add_argument(
        "paths",
        nargs="*",
        type=Path,
        metavar="PATH",
        help="session.json, instructions.json, compare.json, history.jsonl, bundles, or folders that hold them "
        "(default: the newest session under runs/ and the exports)",
    )
    made.add_argument("--html", type=Path, metavar="FILE", help="one page that loads nothing (default: report.html)")
    made.add_argument("--junit", type=Path, metavar="FILE", help="the verdicts as JUnit's XML")
    made.add_argument(
        "--action-benchmark", type=Path, metavar="FILE", help="numbers as github-action-benchmark reads them"
    )
    made.add_argument("--title", default="Benchmark report", help="of the page")
    made.add_argument(
        "--exports", type=Path, default=Path("exports"), metavar="DIR", help="where bundles are (exports)"
    )
    return made


def baseline(words: Sequence[str]) -> int:
    """Names the artifacts that a project compares with, or says which they are."""
    arguments = baseline_parser().parse_args(words)
    return _set_baseline(arguments) if arguments.verb == "set" else _show_baseline(arguments)


def baseline_parser() -> argparse.ArgumentParser:
    """The options of `tkd-bench baseline`."""
    made = parser(
        f"{PROGRAM} baseline", "The bundles that candidates are compared with, by their hashes.", _BASELINE_EPILOG
    )
    verbs = made.add_subparsers(dest="verb", required=True, metavar="VERB")
    name = verbs.add_parser("set", help="name bundles as the baseline")
    name.add_argument("bundles", nargs="+", type=Path, metavar="BUNDLE", help="folders written by tkd-export")
    name.add_argument("--origin", default="", metavar="TEXT", help="where they are from: a release, a commit")
    show = verbs.add_parser("show", help="which they are, and whether they are still there")
    show.add_argument("--json", action="store_true", help="print JSON")
    for verb in (name, show):
        verb.add_argument(
            "--file", type=Path, default=Path("baseline.json"), metavar="FILE", help="(default: baseline.json)"
        )
        add_common_options(verb)
    return made


def history(words: Sequence[str]) -> int:
    """Adds verdicts to a history, or shows what it holds."""
    arguments = history_parser().parse_args(words)
    return _add_to_history(arguments) if arguments.verb == "add" else _show_history(arguments)


def history_parser() -> argparse.ArgumentParser:
    """The options of `tkd-bench history`."""
    made = parser(
        f"{PROGRAM} history", "Verdicts over time, one JSON line each; lines are only added.", _HISTORY_EPILOG
    )
    verbs = made.add_subparsers(dest="verb", required=True, metavar="VERB")
    add = verbs.add_parser("add", help="add the verdicts of comparisons; those that are in it stay as they are")
    add.add_argument("verdicts", nargs="+", type=Path, metavar="COMPARE", help="written by tkd-bench compare")
    add.add_argument("--commit", default="", help="what the candidate was made from")
    show = verbs.add_parser("show", help="the rows, oldest first")
    for verb in (add, show):
        verb.add_argument(
            "--file", type=Path, default=Path("history.jsonl"), metavar="FILE", help="(default: history.jsonl)"
        )
        add_common_options(verb)
    return made


def _newest(exports: Path) -> list[Path]:
    """The newest session or comparison under runs/, and the exports."""
    names = ("session.json", "instructions.json", "compare.json")
    folders = {path.parent for name in names for path in Path("runs/bench").glob(f"*/{name}")}
    newest = max(folders, key=lambda folder: folder.stat().st_mtime, default=None)
    if newest is None:
        raise BenchError("no session under runs/bench/; measure one with tkd-bench, or name files")
    return [newest, exports] if any(exports.glob("*/model.json")) else [newest]


def _write(arguments: argparse.Namespace, evidence: Evidence) -> list[Path]:
    from android_bench.action_benchmark import action_benchmark
    from android_bench.device import utc_now
    from android_bench.junit import junit
    from android_bench.measure import tool_version
    from android_bench.page.whole import Imprint, page
    from converters.files import write_text

    # All is made before anything is written: an error leaves none of them behind.
    texts: dict[Path, str] = {}
    if arguments.html:
        imprint = Imprint(title=arguments.title, written_utc=utc_now(), version=tool_version())
        texts[arguments.html] = page(evidence, imprint)
    if arguments.junit:
        texts[arguments.junit] = junit(evidence.gates)
    if arguments.action_benchmark:
        entries = action_benchmark(evidence)
        texts[arguments.action_benchmark] = json.dumps(entries, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    for path, text in texts.items():
        write_text(path, text)
    return list(texts)


def _set_baseline(arguments: argparse.Namespace) -> int:
    from android_bench.baseline import write_baseline
    from android_bench.device import utc_now
    from android_bench.measure import tool_version
    from converters.bundle import read_bundle

    bundles = [read_bundle(folder) for folder in arguments.bundles]
    made = write_baseline(arguments.file, bundles, arguments.origin, utc_now(), f"tkd-bench {tool_version()}")
    for model in made.models:
        print(f"{model.name}  {model.sha256[:12]}  {model.folder}")
    print(f"wrote {arguments.file}")
    return ExitCode.GOOD


def _show_baseline(arguments: argparse.Namespace) -> int:
    from android_bench.baseline import FORMAT, baseline_bundles, read_baseline

    named = read_baseline(arguments.file)
    if arguments.json:
        print(json.dumps({"format": FORMAT, **asdict(named)}, ensure_ascii=False))
    else:
        origin = f", from {named.origin}" if named.origin else ""
        print(f"{arguments.file}: set {named.set_utc}{origin}")
        for model in named.models:
            synthetic = ", SYNTHETIC data" if model.synthetic else ""
            print(f"{model.name}  sha256 {model.sha256}  {model.folder}{synthetic}")
    baseline_bundles(arguments.file)
    return ExitCode.GOOD


def _add_to_history(arguments: argparse.Namespace) -> int:
    from android_bench.history import append, rows_of
    from android_bench.verdict_file import content_sha256, read_gate

    rows = []
    for path in arguments.verdicts:
        rows += rows_of(read_gate(path), content_sha256(path), arguments.commit)
    added = append(arguments.file, rows)
    known = f"; {len(rows) - added} were in it" if added < len(rows) else ""
    print(f"added {added} of {len(rows)} verdicts to {arguments.file}{known}")
    return ExitCode.GOOD


def _show_history(arguments: argparse.Namespace) -> int:
    from android_bench.history import read_history

    read = read_history(arguments.file)
    if read.is_cut:
        print(f"{PROGRAM}: the last line of {arguments.file} was cut off while it was written", file=sys.stderr)
    for row in read.rows:
        ratio = "–" if row.ratio is None else f"{row.ratio:.4f} ×"
        interval = f"({row.interval[0]:.4f} – {row.interval[1]:.4f})" if row.interval else ""
        metric = "instructions, emulated" if row.metric == "instructions" else row.metric
        print(
            f"{row.finished_utc}  {row.verdict:<14} {ratio:>10} {interval:<19} {metric or 'nothing'}  "
            f"{row.candidate} on {row.device} to {row.baseline_sha256[:12]}  {row.commit[:12]}".rstrip()
        )
    if not read.rows:
        print(f"{PROGRAM}: {arguments.file} holds no verdict yet", file=sys.stderr)
        return ExitCode.NO_ANSWER
    return ExitCode.GOOD
