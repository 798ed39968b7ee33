"""Where the instructions of one inference go, operator by operator: from the marks that an emulator saw.

    BEGIN  … END                  an operator that the engine runs itself; others may be inside (a subgraph's)
    CLOCK CLOCK … FINISHED …      operators of a delegate: it reads the clock before the first and behind each part
                                  of one, and names them, with their number of parts, after the last

Before `android_bench.runner`, which asks a phone for them. The other end is native/counter.c; its marks are in marks.h.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from android_bench.errors import RecordError, RunnerError

_END, _BEGIN, _FINISHED, _CLOCK = range(4)
_POSITION = re.compile(r"^tkd-position (\d+) (\d+) (\d+) (\d+)$", re.MULTILINE)
_Mark = tuple[int, int, int, int]
"""What, the operator's row, its parts, and the position."""
_WHOLE = re.compile(r"^tkd-instructions 4 0 (\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorInstructions:
    """What one operator of a model took in one inference.

    Attributes:
        name: as the engine calls it.
        index: its place in the plan, of the delegate where that ran it.
        subgraph: of the model; a recurrence's step is one of its own.
        calls: how often it ran.
        instructions: altogether, without those of operators inside it; some hundred a call are the reading of a clock.
    """

    name: str
    index: int
    subgraph: int
    calls: int
    instructions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorCounts:
    """One inference with the engine's profiler on: `whole` = the operators' sum + `beside`.

    Attributes:
        whole: all of its instructions, more than without the profiler.
        beside: those of no operator: the engine's own, and the profiler's.
        operators: in the engine's order.
    """

    whole: int
    beside: int
    operators: tuple[OperatorInstructions, ...]

    def __post_init__(self) -> None:
        if self.beside < 0 or self.whole != self.beside + sum(each.instructions for each in self.operators):
            raise RecordError(f"operators take more than the whole inference: {self}")


def parse_operators(stderr: str, ops: Sequence[Mapping[str, Any]], name: str) -> OperatorCounts:
    """The plugin's lines on stderr and the runner's rows (`ops` of its line `operators`) as a record.

    Raises:
        RunnerError: they do not fit together.
    """
    whole = [int(each) for each in _WHOLE.findall(stderr)]
    if len(whole) != 1:
        raise RunnerError(
            f"the emulator counted {len(whole)} inferences of {name} by operators, expected 1: "
            "was it started with the plugin counter?"
        )
    taken = _taken(
        [(int(what), int(row), int(parts), int(at)) for what, row, parts, at in _POSITION.findall(stderr)], name
    )
    try:
        operators = tuple(
            OperatorInstructions(
                name=each["name"],
                index=each["index"],
                subgraph=each["subgraph"],
                calls=each["calls"],
                instructions=taken.pop(each["row"]),
            )
            for each in ops
        )
        if taken:
            raise RunnerError(f"the runner did not name operators {sorted(taken)} of {name}, which the emulator saw")
        return OperatorCounts(
            whole=whole[0], beside=whole[0] - sum(each.instructions for each in operators), operators=operators
        )
    except (KeyError, TypeError, RecordError) as cause:
        raise RunnerError(f"the runner gave impossible operators for {name}: {cause!r}") from cause


def operator_lines(counts: OperatorCounts, inference: int) -> list[str]:
    """The counts for people, line by line; `inference` are the instructions without the profiler."""
    rows = [
        (f"{each.instructions:,}", f"{each.instructions / counts.whole:.1%}", f"{each.calls}", _label(each))
        for each in counts.operators
    ]
    rows.append((f"{counts.beside:,}", f"{counts.beside / counts.whole:.1%}", "", "the engine and its profiler"))
    rows.append((f"{counts.whole:,}", "100.0%", "", f"altogether; {inference:,} without the profiler"))
    return [f"{'instructions':>14} {'share':>7} {'calls':>6}  operator"] + [
        f"{count:>14} {share:>7} {calls:>6}  {label}" for count, share, calls, label in rows
    ]


def _label(operator: OperatorInstructions) -> str:
    where = f"{operator.index}" if operator.subgraph == 0 else f"{operator.subgraph}.{operator.index}"
    return f"{where:<6} {operator.name}"


@dataclass(slots=True)
class _Open:
    """An operator that has begun: its row, where, and what those inside it took."""

    row: int
    begun: int
    inside: int = 0


def _taken(marks: Sequence[_Mark], name: str) -> dict[int, int]:
    """Instructions by row, without those of operators inside."""
    taken: dict[int, int] = {}
    stack = [_Open(-1, 0)]
    clocks: list[int] = []
    finished: list[tuple[int, int]] = []

    def take(row: int, count: int) -> None:
        taken[row] = taken.get(row, 0) + count

    def settle() -> None:
        """Gives the delegate's operators what passed between its readings of the clock."""
        total = sum(parts for _, parts in finished)
        if finished and len(clocks) != total + 1:
            raise RunnerError(
                f"the delegate ran {total} parts of operators of {name} and read the clock {len(clocks)} times, "
                "expected one reading more than parts: this engine cannot be counted by operators"
            )
        place = 0
        for row, parts in finished:
            take(row, clocks[place + parts] - clocks[place])
            stack[-1].inside += clocks[place + parts] - clocks[place]
            place += parts
        clocks.clear()
        finished.clear()

    for what, row, parts, at in marks:
        if what == _FINISHED:
            finished.append((row, parts))
            continue
        if finished or what != _CLOCK:
            settle()
        if what == _CLOCK:
            clocks.append(at)
        elif what == _BEGIN:
            stack.append(_Open(row, at))
        elif what == _END and stack[-1].row == row:
            ended = stack.pop()
            take(row, at - ended.begun - ended.inside)
            stack[-1].inside += at - ended.begun
        else:
            raise RunnerError(f"operator {row} of {name} ended while {stack[-1].row} was running, as none can")
    settle()
    if len(stack) > 1:
        raise RunnerError(f"operator {stack[-1].row} of {name} began and did not end")
    return taken
