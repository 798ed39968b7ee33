"""Several devices in one call: one process of the bench for each, all of them ended together.

    this process ──► tkd-bench --device pixel1   ──► FOLDER/pixel1/session.json
                 ──► tkd-bench --device mi5      ──► FOLDER/mi5/session.json
                 then, alone, as its load would be in nobody's way and nobody's in its:
                 ──► tkd-bench --device host     ──► FOLDER/host/session.json

Pure decisions and processes; `android_bench.cli_several` prints, `android_bench.joint` makes the table of all.
"""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from android_bench.errors import BenchError
from converters.command_line import ExitCode

# Which of several codes is the whole call's: trouble of our own, then the answers, the worst one first.
WORST_FIRST = (
    ExitCode.INTERNAL,
    ExitCode.INTERRUPTED,
    ExitCode.NO,
    ExitCode.USAGE,
    ExitCode.DEVICE,
    ExitCode.NO_ANSWER,
    ExitCode.GOOD,
)
_ERROR = "tkd-bench: "
# What each process says of its own folder, and of going on; said once for all of them instead.
_NOT_REPEATED = ("saved in ", "go on with: ")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One of several devices.

    Attributes:
        label: its name in tables, and of its folder; no two are equal.
        device: as `--device` takes it.
        serial: of a phone, or None.
        connect: HOST:PORT of a phone, or None.
    """

    label: str
    device: str
    serial: str | None = None
    connect: str | None = None

    @property
    def options(self) -> tuple[str, ...]:
        """What chooses it on the command line."""
        more = {"--serial": self.serial, "--connect": self.connect}
        chosen = (word for name, value in more.items() if value is not None for word in (name, value))
        return ("--device", self.device, *chosen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How the process of one device ended: its exit code, and its last error in one sentence ("" is none)."""

    label: str
    exit_code: int
    error: str = ""


def targets_of(devices: Sequence[str], serials: Sequence[str], connects: Sequence[str]) -> tuple[Target, ...]:
    """The devices that the options name, each once, in their order; none is the default device.

    >>> [target.label for target in targets_of(["pixel1", "mi5"], [], [])]
    ['pixel1', 'mi5']
    >>> targets_of([], ["FA6A", "9b1c"], [])[1]
    Target(label='9b1c', device='auto', serial='9b1c', connect=None)

    Raises:
        BenchError: serials or addresses stand beside several devices, or one name stands there twice.
    """
    devices = list(dict.fromkeys(devices))
    places = [("serial", each) for each in dict.fromkeys(serials)] + [
        ("connect", each) for each in dict.fromkeys(connects)
    ]
    if len(devices) > 1 and places:
        given = " and ".join(f"--{kind} {value}" for kind, value in places)
        raise BenchError(
            f"{given} beside {len(devices)} devices ({', '.join(devices)}): which one is meant? Name the devices alone "
            "(each is found by what it is), or one device, or none, with a --serial or --connect for each phone"
        )
    if not places:
        return tuple(Target(label=device, device=device) for device in devices)
    device = devices[0] if devices else "auto"
    if len(places) > 1 and device == "host":
        raise BenchError("--serial and --connect name phones, --device host this computer; give one of them")
    made = []
    for kind, value in places:
        place = re.sub(r"[^A-Za-z0-9.-]", "_", value)
        label = place if device == "auto" else f"{device}-{place}"
        made.append(Target(label=label, device=device, **{kind: value}))
    return tuple(made)


def worst(codes: Sequence[int]) -> ExitCode:
    """The exit code of a call with several results: 1 before 4 before 3 before 0; a code that is none is 70.

    >>> worst([0, 3, 4]), worst([4, 1, 0])
    (<ExitCode.DEVICE: 4>, <ExitCode.NO: 1>)
    """
    known = set(WORST_FIRST)
    if not set(codes) <= known:
        return ExitCode.INTERNAL
    return next((code for code in WORST_FIRST if code in codes), ExitCode.GOOD)


def run_together(
    targets: Sequence[Target],
    command: Callable[[Target], Sequence[str]],
    tell: Callable[[str, str], None],
    environment: Mapping[str, str] | None = None,
) -> list[Outcome]:
    """Runs one process for each device and waits for all; this computer's own runs last, alone.

    Ctrl-C, and what a terminal that closes sends, is passed on to each of them once: every one ends its block, keeps
    what it has and leaves its phone clean.

    Args:
        targets: the devices.
        command: what measures one of them.
        tell: called with (label, line) for each line that a process says on standard error.
        environment: of the processes; None is this one's. `ANDROID_SERIAL` names one phone and is left out.
    """
    together = [target for target in targets if target.device != "host"]
    alone = [target for target in targets if target.device == "host"]
    found: dict[str, Outcome] = {}
    with _passed_on() as group:
        for some in (together, alone):
            if some and not group.interrupted:
                found |= {outcome.label: outcome for outcome in _run(some, command, tell, environment, group)}
    return [
        found.get(target.label, Outcome(label=target.label, exit_code=ExitCode.INTERRUPTED, error="was not begun"))
        for target in targets
    ]


class _Group:
    """The processes that are on, and whether they were told to end."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[str]] = []
        self.interrupted = False

    def end(self) -> None:
        """Tells each to end as Ctrl-C does."""
        self.interrupted = True
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)


@contextmanager
def _passed_on() -> Iterator[_Group]:
    """A group that is told of signals instead of this process, until the end of the block."""
    group = _Group()
    before = {number: signal.signal(number, lambda *_: group.end()) for number in _SIGNALS}
    try:
        yield group
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(
    targets: Sequence[Target],
    command: Callable[[Target], Sequence[str]],
    tell: Callable[[str, str], None],
    environment: Mapping[str, str] | None,
    group: _Group,
) -> Iterator[Outcome]:
    lines: queue.Queue[tuple[str, str | None]] = queue.Queue()
    started: list[tuple[Target, subprocess.Popen[str]]] = []
    for target in targets:
        process = _start(command(target), environment)
        group.processes.append(process)
        started.append((target, process))
        threading.Thread(target=_read, args=(target.label, process, lines), daemon=True).start()
    if group.interrupted:  # it came while they were started
        group.end()
    errors: dict[str, str] = {}
    open_ends = len(started)
    while open_ends:
        label, line = lines.get()
        if line is None:
            open_ends -= 1
            continue
        if line.startswith(_ERROR):
            errors[label] = line.removeprefix(_ERROR)
        if not line.startswith(_NOT_REPEATED):
            tell(label, line)
    for target, process in started:
        code, error = process.wait(), errors.get(target.label, "")
        if code < 0:
            error = error or f"its process was ended by signal {-code}"
            code = ExitCode.INTERRUPTED if group.interrupted else ExitCode.INTERNAL
        yield Outcome(label=target.label, exit_code=code, error=error)
    group.processes.clear()


def _start(command: Sequence[str], environment: Mapping[str, str] | None) -> subprocess.Popen[str]:
    ours = {name: value for name, value in (environment or os.environ).items() if name != "ANDROID_SERIAL"}
    root = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(part for part in (root, ours.get("PYTHONPATH", "")) if part)
    return subprocess.Popen(
        [sys.executable, "-m", "android_bench.cli", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**ours, "PYTHONPATH": path},
        text=True,
        errors="replace",
        start_new_session=True,  # a terminal's Ctrl-C comes through this process, once
    )


def _read(label: str, process: subprocess.Popen[str], lines: queue.Queue[tuple[str, str | None]]) -> None:
    assert process.stderr is not None, "it was started with a pipe"
    with process.stderr:
        for line in process.stderr:
            lines.put((label, line.rstrip("\n")))
    lines.put((label, None))
