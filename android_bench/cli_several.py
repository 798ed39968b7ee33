"""`tkd-bench` on several devices at once: argv, prints and exit code; `android_bench.cli` calls it."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from android_bench.cli_measure import chosen_bundles, new_folder, rehearse
from android_bench.cli_phones import wish_of
from android_bench.errors import BenchError, RecordError
from android_bench.plans import plan_of
from android_bench.several import Outcome, Target, run_together, worst
from converters.command_line import ExitCode
from converters.files import write_text

if TYPE_CHECKING:
    from android_bench.joint import Part

PROGRAM = "tkd-bench"
START = "devices.json"
# Said once for all, or meant for this process alone.
_OURS = ("help", "device", "serial", "connect", "bundles", "exports", "output", "json", "resume", "dry_run", "quiet")
_PROGRESS = re.compile(r"(\w+): (\d+)/(\d+)")


def bench_several(made: argparse.ArgumentParser, arguments: argparse.Namespace, targets: Sequence[Target]) -> int:
    """Measures on every device, prints the table of all and saves it; the exit code.

    Args:
        made: the parser that read `arguments`; its options are handed on.
        arguments: of `tkd-bench`.
        targets: the devices.
    """
    from android_bench.device import utc_now

    _check(arguments, targets)
    bundles = chosen_bundles(arguments)
    if arguments.dry_run:
        return _rehearse_all(arguments, targets)
    folder = new_folder(arguments.output, f"{re.sub('[-:]', '', utc_now())}-{len(targets)}-devices")
    words = [*(str(bundle.folder.resolve()) for bundle in bundles), *_spelled(made, arguments)]
    record: dict[str, Any] = {
        "format": _format(),
        "started_utc": utc_now(),
        "words": words,
        "devices": [{"label": each.label, "options": list(each.options), "folder": each.label} for each in targets],
    }
    _save(folder, record)
    commands = {each.label: [*each.options, "--output", str(folder / each.label), *words] for each in targets}
    return _run_and_publish(arguments, folder, record, targets, commands)


def is_joint(folder: Path) -> bool:
    """Whether a folder holds a session on several devices."""
    return (folder / START).is_file()


def resume_several(arguments: argparse.Namespace) -> int:
    """Goes on with a session on several devices: what is whole stays, the rest is resumed or begun."""
    if arguments.device or arguments.serial or arguments.connect or arguments.bundles:
        raise BenchError("--resume of several devices goes on with all of them: leave out devices and models")
    folder = arguments.resume
    record = _read(folder)
    targets, commands, kept = [], {}, {}
    for each in record["devices"]:
        label, place = each["label"], folder / each["folder"]
        if each.get("exit_code") in (ExitCode.GOOD, ExitCode.NO, ExitCode.NO_ANSWER):
            kept[label] = Outcome(label=label, exit_code=each["exit_code"])
            continue
        targets.append(_target(each))
        if (place / "start.json").is_file():
            commands[label] = ["--resume", str(place)]
            continue
        number = 2
        while place.exists() and any(place.iterdir()):
            place = folder / f"{label}-{number}"
            number += 1
        each["folder"] = place.name
        commands[label] = [*each["options"], "--output", str(place), *record["words"]]
    if not targets:
        raise BenchError(f"nothing is left to do in {folder}: every device was measured to its end")
    return _run_and_publish(arguments, folder, record, targets, commands, kept)


def _run_and_publish(
    arguments: argparse.Namespace,
    folder: Path,
    record: dict[str, Any],
    targets: Sequence[Target],
    commands: Mapping[str, Sequence[str]],
    kept: Mapping[str, Outcome] | None = None,
) -> int:
    from rich.console import Console

    from android_bench.joint import markdown, read_part, terminal

    with _watched([each.label for each in targets], quiet=arguments.quiet) as tell:
        outcomes = run_together(targets, lambda each: commands[each.label], tell)
    found = {**(kept or {}), **{outcome.label: outcome for outcome in outcomes}}
    parts = []
    for each in record["devices"]:
        outcome = found[each["label"]]
        each |= {"exit_code": outcome.exit_code, "error": outcome.error}
        parts.append(read_part(outcome.label, outcome.exit_code, outcome.error, folder / each["folder"]))
    _save(folder, record)
    write_text(folder / "report.md", markdown(parts, record["started_utc"]))
    whole = json.dumps(_document(record, parts), allow_nan=False, ensure_ascii=False) if arguments.json else ""
    if arguments.json == "-":
        print(whole)
    else:
        if arguments.json:
            write_text(Path(arguments.json), whole + "\n")
        # A pipe has no width of its own: the table is not folded there.
        console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
        console.print(terminal(parts, console.width))
    code = worst([part.exit_code for part in parts])
    if not arguments.quiet:
        print(f"saved in {folder}/ (devices.json, report.md, and a folder for each device)", file=sys.stderr)
        if code in (ExitCode.INTERRUPTED, ExitCode.DEVICE):
            print(f"go on with: {PROGRAM} --resume {folder}", file=sys.stderr)
    return code


def _document(record: Mapping[str, Any], parts: Sequence[Part]) -> dict[str, Any]:
    """The record with every device's own document inside."""
    devices = [{**each, "session": part.document} for each, part in zip(record["devices"], parts, strict=True)]
    return {**record, "devices": devices}


def _check(arguments: argparse.Namespace, targets: Sequence[Target]) -> None:
    """Refuses what would fail on every device, or on one that is named wrongly, before anything is begun."""
    for target in targets:
        one = argparse.Namespace(**{**vars(arguments), "device": target.device, "serial": None, "connect": None})
        if target.device != "host":
            wish_of(one)
        plan_of(one)


def _rehearse_all(arguments: argparse.Namespace, targets: Sequence[Target]) -> int:
    for target in targets:
        print(f"# {target.label}")
        one = argparse.Namespace(
            **{**vars(arguments), "device": target.device, "serial": target.serial, "connect": target.connect}
        )
        rehearse(one, plan_of(one))
    return ExitCode.GOOD


def _spelled(made: argparse.ArgumentParser, arguments: argparse.Namespace) -> list[str]:
    """The options that are not at their defaults, as they would be typed."""
    words = []
    for action in made._actions:
        value = getattr(arguments, action.dest, action.default)
        if not action.option_strings or action.dest in _OURS or value == action.default:
            continue
        words += [action.option_strings[-1]] if action.nargs == 0 else [action.option_strings[-1], str(value)]
    return words


def _format() -> str:
    from android_bench.joint import FORMAT

    return FORMAT


def _save(folder: Path, record: Mapping[str, Any]) -> None:
    write_text(folder / START, json.dumps(record, ensure_ascii=False, indent=1) + "\n")


def _read(folder: Path) -> dict[str, Any]:
    path = folder / START
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        seen = record.get("format")
        for each in record["devices"]:
            _target(each)
        list(record["words"])
    except (ValueError, KeyError, TypeError, AttributeError) as cause:
        raise RecordError(f"{path} is damaged ({cause!r})") from cause
    if seen != _format():
        raise RecordError(f"{path} has format {seen!r}, expected '{_format()}'; begin a new session")
    return dict(record)


def _target(record: Mapping[str, Any]) -> Target:
    options = dict(zip(record["options"][::2], record["options"][1::2], strict=True))
    return Target(
        label=record["label"],
        device=options["--device"],
        serial=options.get("--serial"),
        connect=options.get("--connect"),
    )


@contextmanager
def _watched(labels: Sequence[str], *, quiet: bool) -> Iterator[Callable[[str, str], None]]:
    """A function that shows a line of one device on stderr: a bar for each on a terminal, plain lines elsewhere."""
    widest = max(map(len, labels))
    if quiet or not sys.stderr.isatty():

        def say(label: str, line: str) -> None:
            if not (quiet and _PROGRESS.fullmatch(line)):
                print(f"{label:<{widest}}  {line}", file=sys.stderr, flush=True)

        yield say
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks = {label: bar.add_task(f"{label:<{widest}}", total=None) for label in labels}

        def draw(label: str, line: str) -> None:
            seen = _PROGRESS.fullmatch(line)
            if seen:
                bar.update(tasks[label], completed=int(seen[2]), total=int(seen[3]))
            else:
                bar.console.print(f"{label:<{widest}}  {line}", markup=False, highlight=False)

        yield draw
