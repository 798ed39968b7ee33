"""`tkd-train CONFIG.toml`: train a teacher, cache its attention, train and choose students. `--list` shows them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.command_line import ExitCode, parser, progress, run
from converters.files import write_text
from tkd.errors import TkdError
from tkd.train.memory import keep_freed_memory

if TYPE_CHECKING:
    from tkd.train.record import RunResult
    from tkd.train.sweep import Sweep

_PROGRAM = "tkd-train"
_CONFIGS = Path(__file__).parent.parent / "configs"


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of `tkd-train`."""
    return run(_PROGRAM, _command, argv, {TkdError: ExitCode.USAGE})


def _command(argv: Sequence[str]) -> int:
    keep_freed_memory()
    made = _parser()
    options = made.parse_args(argv)
    if options.list:
        return _list_students(options.json)
    if not options.config:
        made.error("a configuration is wanted; --list shows the students")
    # Imports of torch and transformers take seconds: after the arguments, so that --help is instant.
    from tkd.settings import load_settings
    from tkd.train.config import TrainConfig
    from tkd.train.processes import open_processes
    from tkd.train.run import run_training

    if options.sweep:
        return _sweep(options)
    config = load_settings(_config_path(options.config), TrainConfig, options.set)
    with open_processes() as processes:
        result = run_training(
            config,
            lambda title, total: progress(title, total, quiet=options.quiet or not processes.is_first),
            restart=options.restart,
            resume=options.resume,
            processes=processes,
        )
    if not processes.is_first:
        return ExitCode.GOOD
    if options.json == "-":
        print(json.dumps(result.document, indent=2, sort_keys=True))
    else:
        if options.json:
            write_text(Path(options.json), json.dumps(result.document, indent=2, sort_keys=True) + "\n")
        _print_result(result)
    return ExitCode.GOOD


def _parser() -> argparse.ArgumentParser:
    packaged = ", ".join(sorted(path.stem for path in _CONFIGS.glob("*.toml")))
    made = parser(
        _PROGRAM,
        "Trains a teacher, caches its attention, and trains one student for each λ; the best on validation is kept.",
    )
    made.add_argument("config", nargs="?", help=f"a TOML file, or the name of a packaged one: {packaged}")
    made.add_argument("--list", action="store_true", help="show the students: size, work, published accuracy")
    made.add_argument("--set", action="append", default=[], metavar="a.b=c", help="changes one setting; repeatable")
    made.add_argument(
        "--sweep", action="append", default=[], metavar="a.b=c,d",
        help="one run for each value, in folders of the run's; repeatable, for every combination",
    )  # fmt: skip
    again = made.add_mutually_exclusive_group()
    again.add_argument(
        "--resume", action="store_true", help="continue the run or sweep in the folder; a done one is shown"
    )
    again.add_argument("--restart", action="store_true", help="delete the run or sweep in the folder and begin anew")
    made.add_argument("--json", metavar="PATH|-", help="write the result, or the list, as JSON")
    return made


def _sweep(options: argparse.Namespace) -> int:
    from tkd.train.processes import open_processes
    from tkd.train.sweep import plan_sweep, read_axis, run_sweep

    sweep = plan_sweep(_config_path(options.config), options.set, [read_axis(text) for text in options.sweep])
    with open_processes() as processes:
        rows = run_sweep(
            sweep,
            lambda title, total: progress(title, total, quiet=options.quiet),
            restart=options.restart,
            resume=options.resume,
            processes=processes,
        )
    if options.json:
        text = json.dumps(rows, indent=2, sort_keys=True) + "\n"
        sys.stdout.write(text) if options.json == "-" else write_text(Path(options.json), text)
    if options.json != "-":
        _print_sweep(sweep, rows)
    return ExitCode.GOOD


def _print_sweep(sweep: Sweep, rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    from tkd.evaluate import SHORT_NAMES

    metrics = sorted({SHORT_NAMES[row["metric"]] for row in rows})
    keys = list(rows[0]["set"])
    table = Table(title=f"{len(rows)} runs, test in %, by {' or '.join(metrics)}", title_justify="left")
    for heading in (*keys, "λ", "validation", "test", "95 % interval", "seconds"):
        table.add_column(heading, justify="left" if heading in keys else "right")
    for row in rows:
        ends = row["interval_95"]
        table.add_row(
            *(row["set"][key] for key in keys),
            f"{row['lambda']:g}",
            *(f"{100 * row[split]:.1f}" for split in ("validation", "test")),
            "–" if ends is None else f"{100 * ends[0]:.1f} – {100 * ends[1]:.1f}",
            f"{row['seconds']:.0f}",
        )
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    if any(row["synthetic"] for row in rows):
        console.print("SYNTHETIC data: these numbers say nothing about recordings")
    console.print(f"rows {sweep.folder / 'sweep.jsonl'}")


def _list_students(json_path: str | None) -> int:
    from rich.console import Console

    from tkd.students.listing import students_document, students_table

    document = students_document()
    if json_path:
        text = json.dumps(document, indent=2)
        if json_path == "-":
            print(text)
            return ExitCode.GOOD
        write_text(Path(json_path), text + "\n")
    Console().print(students_table(document))
    return ExitCode.GOOD


def _config_path(name: str) -> Path:
    packaged = _CONFIGS / f"{name}.toml"
    return packaged if packaged.exists() and not Path(name).exists() else Path(name)


def _print_result(result: RunResult) -> None:
    from rich.console import Console
    from rich.table import Table

    from tkd.evaluate import SHORT_NAMES
    from tkd.provenance import synthetic_words

    data = result.document["data"]
    metric = SHORT_NAMES[result.metric]
    table = Table(title=f"{result.student} on {data['name']}", title_justify="left")
    for heading in ("", "λ", f"validation {metric} %", f"test {metric} %", "95 % interval", ""):
        table.add_column(heading, justify="left" if not heading else "right")
    rows = [("teacher", "", result.teacher["validation"], result.teacher["test"], "")] if result.teacher else []
    for arm in result.arms:
        led = f"student, {arm.guide}" if arm.weight > 0 and (arm.is_control or arm.guide != "teacher") else "student"
        note = "chosen on validation" if arm == result.chosen else "control" if arm.is_control else ""
        rows.append((led, f"{arm.weight:g}", arm.validation, arm.test, note))
    for what, weight, validation, test, note in rows:
        ends = test["interval_95"]
        interval = "–" if ends is None else f"{100 * ends[0]:.1f} – {100 * ends[1]:.1f}"
        table.add_row(what, weight, f"{100 * validation:.1f}", f"{100 * test[result.metric]:.1f}", interval, note)
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    kind = synthetic_words(data).partition(" (")[0] if data["synthetic"] else "recorded sound"
    counts = ", ".join(f"{count} {split}" for split, count in data["clips"].items())
    protocol = f"silence: {data['silence']}" if "silence" in data else data["protocol"]
    console.print(f"{kind}; {counts} clips; {protocol}; one seed, so a small difference is no finding")
    left_out = result.chosen.test.get("classes_left_out", 0)
    if left_out:
        console.print(f"{left_out} classes without a positive test clip are left out of the mean")
    if data["skipped"]:
        console.print(f"{len(data['skipped'])} unreadable files skipped, the first: {data['skipped'][0]}")
    console.print(f"checkpoint {result.folder / 'student.safetensors'}  ·  log {result.folder / 'log.jsonl'}")


if __name__ == "__main__":
    sys.exit(main())
