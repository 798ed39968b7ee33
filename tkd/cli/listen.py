"""`tkd-eval MODEL … --stream DIR`: what is printed of models that listen to minutes of sound."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from converters.command_line import ExitCode, progress
from converters.files import write_text
from tkd.scoring.alarms import AlarmSettings, operation_at
from tkd.scoring.listening import Listening, delay_percentiles, listen, listening_document, open_listener


def listen_to_stream(options: argparse.Namespace) -> int:
    """Listens with every model, prints, writes, and gives the exit code."""
    if options.output:
        # Before the work, so that a missing matplotlib is known at once.
        import tkd.scoring.det_plot  # noqa: F401
    settings = AlarmSettings(
        smoothing_s=options.smoothing_s, refractory_s=options.refractory_s, tolerance_s=options.tolerance_s
    )
    listeners = [open_listener(path, options.hop_frames) for path in options.models]
    results = []
    with progress("listening", len(listeners), quiet=options.quiet) as advance:
        for listener in listeners:
            results.append(listen(listener, options.stream, settings))
            advance(1)
    bound = options.false_alarms_per_hour
    text = json.dumps(listening_document(results, bound), indent=1, allow_nan=False) + "\n"
    if options.output:
        from tkd.scoring.det_plot import draw_det

        write_text(options.output / "listening.json", text)
        draw_det(results, bound, options.output / "det.png")
    if options.json == "-":
        sys.stdout.write(text)
        return ExitCode.GOOD
    if options.json:
        write_text(Path(options.json), text)
    _print(results, bound, options)
    return ExitCode.GOOD


def _print(results: list[Listening], bound: float, options: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table

    # A pipe has no width of its own: the table is not folded there.
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False, soft_wrap=True)
    table = Table("model", "runtime", "hop ms", "threshold", "missed %", "false alarms/h", "delay ms p50", "p95")
    table.columns[0].no_wrap = True
    for column in table.columns[2:]:
        column.justify = "right"
    for each in results:
        config = each.listener.features
        table.add_row(
            each.listener.name,
            each.listener.runtime,
            f"{each.listener.hop_frames * config.hop_ms:g}",
            *_cells(each, bound),
        )
    console.print(table)
    first = results[0]
    minutes = first.manifest["seconds"] / 60
    console.print(
        f"{minutes:.1f} minutes, {first.operations[0].keywords} keywords; at no more than {bound:g} false alarms an "
        f"hour, where one alarm in this recording is {3600 / first.manifest['seconds']:.2g} an hour"
    )
    if first.synthetic:
        console.print("SYNTHETIC speech: these numbers say nothing about people's voices")
    left = first.seconds_left_out
    if left:
        console.print(f"the last {1000 * left:.0f} ms of the recording fill no hop and were left out")
    if options.output:
        console.print(f"wrote {options.output}/listening.json, det.png")


def _cells(each: Listening, bound: float) -> tuple[Any, ...]:
    operation = operation_at(each.operations, bound)
    if operation is None:
        return ("none keeps to it", "", "", "", "")
    delays = delay_percentiles(operation)
    spread = ("", "") if delays is None else (f"{1000 * delays[0]:.0f}", f"{1000 * delays[1]:.0f}")
    return (
        f"{operation.threshold:g}",
        f"{100 * operation.miss_rate:.1f}",
        f"{operation.false_alarms_per_hour:.1f}",
        *spread,
    )
