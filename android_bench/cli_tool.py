"""`tkd-bench --runner benchmark_model`: prints and saves a session with TensorFlow's own tool, here or on a phone."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from android_bench.cli_measure import folder_name, left_clean, new_folder, say_waiting, still_progress, worst_of
from android_bench.cli_phones import manners_of, wish_of
from android_bench.elf import AARCH64, read_elf
from android_bench.errors import BenchError
from converters.command_line import ExitCode
from converters.files import write_text

if TYPE_CHECKING:
    from android_bench.benchmark_model import ToolOutput
    from android_bench.device import Device
    from android_bench.gates import Answer
    from android_bench.records import Rejection, RunPlan
    from android_bench.tool_session import ToolSession
    from converters.bundle import Bundle

_DOCUMENT, _JOURNAL = "benchmark_model.json", "blocks.jsonl"
_Ready = tuple["Device", "RunPlan", "Callable[[], Answer] | None", Sequence[str]]


def bench_with_tool(arguments: argparse.Namespace, bundles: Sequence[Bundle], plan: RunPlan) -> int:
    """Measures with the tool, saves and prints; the exit code."""
    from android_bench.tool_session import ToolWatcher, measure_with_tool

    tool = arguments.runner_path
    check_tool(tool, arguments.device)
    with _ready(arguments, plan) as (device, chosen, gate, concerns):
        folder = new_folder(arguments.output, folder_name(arguments.device))
        quiet = arguments.quiet or arguments.verbose
        with still_progress("measuring", len(bundles) * (plan.blocks + 1), quiet=quiet) as step:

            def keep(name: str, index: int, block: ToolOutput) -> None:
                _append(folder, "block", {"bundle": name, "index": index, **asdict(block)})
                if arguments.verbose:
                    print(f"{name}, block {index + 1}: {block.value_us:g} µs", file=sys.stderr)

            def rejected(rejection: Rejection) -> None:
                _append(folder, "rejected", asdict(rejection))

            watcher = ToolWatcher(gate=gate, keep=keep, step=step, rejected=rejected)
            session = measure_with_tool(arguments.device, device, tool, bundles, chosen, watcher, concerns)
    _publish(arguments, session, folder)
    code = worst_of({item.failure.kind for item in session.measurements if item.failure}, session.interrupted)
    return ExitCode.NO_ANSWER if code == ExitCode.GOOD and session.many_rejected else code


def check_tool(tool: Path, device: str) -> None:
    """Refuses a file that cannot be the tool for this device.

    Raises:
        BenchError: it is no program, or one for another kind of processor.
    """
    if not tool.is_file() or not os.access(tool, os.X_OK):
        raise BenchError(f"{tool} is no program; expected a benchmark_model for {device} (chmod +x?)")
    with tool.open("rb") as stream:
        magic = stream.read(4)
    if device == "host" or magic[:2] == b"#!":
        return
    try:
        machine = read_elf(tool.read_bytes()).machine if magic == b"\x7fELF" else None
    except ValueError as cause:
        raise BenchError(f"{tool} is damaged: {cause}") from cause
    if machine != AARCH64:
        seen = "no ELF program" if machine is None else f"built for machine {machine} of the ELF ABI"
        raise BenchError(
            f"{tool} is {seen}; expected android_aarch64's benchmark_model for a phone (machine {AARCH64})"
        )


@contextmanager
def _ready(arguments: argparse.Namespace, plan: RunPlan) -> Iterator[_Ready]:
    """The device, the plan with its cores, the gate, and what is not clean; a phone is left clean at the end."""
    from android_bench.cores import core_mask
    from android_bench.device import HostDevice

    if arguments.device == "host":
        yield HostDevice(), replace(plan, core_mask=core_mask(arguments.cores or "any", [])), None, ()
        return
    from android_bench.adb.choose import find_phone
    from android_bench.gates import Gate, Limits, blind_spots
    from android_bench.phone_setup import choose_cores

    with find_phone(wish_of(arguments), os.environ, manners_of(arguments)) as phone:
        mask, concerns = choose_cores(phone, arguments.cores)
        limits = Limits(patience_s=arguments.gate_wait_s)
        gate = None if arguments.no_gates else Gate(phone, limits, mask, say_waiting(limits))
        more = ("no gates: measured as it was",) if gate is None else blind_spots(phone.state())
        try:
            yield phone, replace(plan, core_mask=mask), gate, (*concerns, *more)
        finally:
            left_clean(phone, ())


def _publish(arguments: argparse.Namespace, session: ToolSession, folder: Path) -> None:
    from android_bench.tool_session import document, table

    text = json.dumps(document(session), allow_nan=False, ensure_ascii=False)
    write_text(folder / _DOCUMENT, text + "\n")
    if arguments.json and arguments.json != "-":
        write_text(Path(arguments.json), text + "\n")
    print(text if arguments.json == "-" else "\n".join(table(session)))
    if not arguments.quiet:
        print(f"saved in {folder}/ ({_DOCUMENT}, {_JOURNAL})", file=sys.stderr)


def _append(folder: Path, kind: str, fields: Mapping[str, Any]) -> None:
    """Adds one line to the journal; it is on the disk when this returns."""
    from android_bench.tool_session import FORMAT

    line = json.dumps({"format": FORMAT, "record": kind, **fields}, allow_nan=False, ensure_ascii=False)
    with (folder / _JOURNAL).open("a", encoding="utf-8") as journal:
        journal.write(line + "\n")
        journal.flush()
        os.fsync(journal.fileno())
