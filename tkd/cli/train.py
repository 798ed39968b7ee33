"""`tkd-train CONFIG.toml`: train a teacher, cache its attention, train and choose students. `--list` shows them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from converters.command_line import ExitCode, parser, progress, run
from converters.files import write_text
from tkd.errors import TkdError

if TYPE_CHECKING:
    from tkd.train.record import RunResult

_PROGRAM = "tkd-train"
_CONFIGS = Path(__file__).parent.parent / "configs"


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of `tkd-train`."""
    return run(_PROGRAM, _command, argv, {TkdError: ExitCode.USAGE})


def _command(argv: Sequence[str]) -> int:
    made = _parser()
    options = made.parse_args(argv)
    if options.list:
        return _list_students(options.json)
    if not options.config:
        made.error("a configuration is wanted; --list shows the students")
    # Imports of torch and transformers take seconds: after the arguments, so that --help is instant.
    from tkd.settings import load_settings
    from tkd.train.config import TrainConfig
    from tkd.train.run import run_training

    config = load_settings(_config_path(options.config), TrainConfig, options.set)
    result = run_training(
        config,
        lambda title, total: progress(title, total, quiet=options.quiet),
        restart=options.restart,
        resume=options.resume,
    )
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
    made.add_argument("--resume", action="store_true", help="continue the run in the folder; a completed one is shown")
    made.add_argument("--restart", action="store_true", help="delete the run in the folder and begin anew")
    made.add_argument("--json", metavar="PATH|-", help="write the result, or the list, as JSON")
    return made


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

    data = result.document["data"]
    table = Table(title=f"{result.student} on {data['name']}", title_justify="left")
    for heading in ("", "λ", "validation %", "test %", "95 % interval", ""):
        table.add_column(heading, justify="left" if not heading else "right")
    rows = [("teacher", "", result.teacher["validation"], result.teacher["test"], "")] if result.teacher else []
    rows += [
        ("student", f"{arm.weight:g}", arm.validation, arm.test, "chosen on validation" if arm == result.chosen else "")
        for arm in result.arms
    ]
    for what, weight, validation, test, note in rows:
        low, high = test["interval_95"]
        interval = f"{100 * low:.1f} – {100 * high:.1f}"
        table.add_row(what, weight, f"{100 * validation:.1f}", f"{100 * test['accuracy']:.1f}", interval, note)
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    kind = "SYNTHETIC speech" if data["synthetic"] else "recorded speech"
    counts = ", ".join(f"{count} {split}" for split, count in data["clips"].items())
    console.print(f"{kind}; {counts} clips; silence: {data['silence']}; one seed, so a small difference is no finding")
    if data["skipped"]:
        console.print(f"{len(data['skipped'])} unreadable files skipped, the first: {data['skipped'][0]}")
    console.print(f"checkpoint {result.folder / 'student.safetensors'}  ·  log {result.folder / 'log.jsonl'}")


if __name__ == "__main__":
    sys.exit(main())
