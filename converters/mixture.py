"""Which operators an int8 file computes in float, and why: families of operators that int8 serves badly.

    recurrence   always float with int8 weights: each step would round the memory anew and feed the error back
    the others   only where the whole file misses its goal and reaches it so, the family that helps most first

The choice is made by measuring the error on calibration clips, never by time: the same clips give the same file.
Before this: `converters.calibration`. After this: `converters.quantize` and `converters.weight_forms`.
Tested in `tests/converters/test_mixture.py`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from converters.errors import ConversionError
from converters.families import FAMILIES
from converters.lowering.records import Model, Operator
from converters.weight_forms import has_weights

OperatorForm = Literal["float32", "dynamic"]
Plan = Mapping[str, OperatorForm]
"""Operators that are not int8, by the name of their first output."""

RECURRENT_GOAL_DB = 40.0
"""What a network with a recurrence can have at no cost in time: its other matrices are as fast with float data."""

_REST, _REST_REASON = "all the rest", "beside a recurrence, int8 data bring no time and cost what the recurrence keeps"
_LEAST_GAIN_DB = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One family that was taken out of int8.

    Attributes:
        family: a row of `FAMILIES`, or `--keep-float` and its pattern.
        operators: how many.
        reason: in words.
        sqnr_db: of the whole file on calibration clips with this choice and those before it; None where not measured.
    """

    family: str
    operators: int
    reason: str
    sqnr_db: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """The operators of one file that are not int8.

    Attributes:
        plan: how they compute.
        choices: why, in the order in which it was decided.
        uniform_sqnr_db: of the file before any measured choice, on calibration clips.
    """

    plan: Plan
    choices: tuple[Choice, ...]
    uniform_sqnr_db: float | None = None


def kept_float(model: Model, patterns: Sequence[str]) -> Mixture:
    """The operators that a pattern matches; they keep float32 weights.

    Args:
        model: float32.
        patterns: regular expressions, tried with `re.search` against `TYPE name`, such as `CONV_2D /neck/Conv`; the
            name is that of the first output, or of the ONNX node that the operator comes from.

    Raises:
        ConversionError: a pattern is no regular expression, or matches nothing.
    """
    plan: dict[str, OperatorForm] = {}
    choices = []
    for pattern in patterns:
        try:
            compiled = re.compile(pattern)
        except re.error as cause:
            raise ConversionError(f"'{pattern}' is no regular expression: {cause}") from cause
        found = [each for each in model.operators if any(map(compiled.search, _labels(each)))]
        if not found:
            some = ", ".join(f"'{each.code} {each.outputs[0]}'" for each in model.operators[:4])
            raise ConversionError(
                f"no operator matches '{pattern}' (--keep-float); {len(model.operators)} were tried: {some} …"
            )
        plan |= {each.outputs[0]: "float32" for each in found}
        choices.append(Choice(family=f"--keep-float {pattern}", operators=len(found), reason="as told", sqnr_db=None))
    return Mixture(plan=plan, choices=tuple(choices))


def choose_mixture(
    model: Model,
    start: Mixture,
    goal_db: float,
    sqnr_of: Callable[[Plan], float],
    least_db: float = -math.inf,
) -> Mixture:
    """The smallest mixture found that reaches the goal; where none does, int8 if that is sound, else the best one.

    A file that stays below the goal with half of it in float is slower than one in int8, and hardly better.

    Args:
        model: float32.
        start: what stays float in any case.
        goal_db: no family is tried once the file is this good.
        sqnr_of: of the file that a plan gives.
        least_db: a file this good is sound.
    """
    plan, choices = dict(start.plan), list(start.choices)
    left: dict[str, list[Operator]] = {}
    for row in FAMILIES:
        members = [each for each in row.find(model) if each.outputs[0] not in plan]
        if members and row.always:
            plan |= _forms(members)
            choices.append(Choice(family=row.name, operators=len(members), reason=row.reason, sqnr_db=None))
        elif members:
            left[row.name] = members
    if any(choice.family == "recurrence" for choice in choices):
        goal_db = max(goal_db, RECURRENT_GOAL_DB)
        rest = [each for each in model.operators if each.outputs[0] not in plan]
        left = {_REST: rest} if rest else {}
    uniform = sqnr_of(plan)
    first = _Search(plan=plan, choices=tuple(choices), sqnr_db=uniform)
    best = _taken_out(first, left, goal_db, sqnr_of)
    if best.sqnr_db < goal_db and first.sqnr_db >= least_db:
        best = first
    return Mixture(plan=best.plan, choices=best.choices, uniform_sqnr_db=uniform)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """How far a search has come."""

    plan: Plan
    choices: tuple[Choice, ...]
    sqnr_db: float


def _taken_out(
    start: _Search, families: Mapping[str, list[Operator]], goal_db: float, sqnr_of: Callable[[Plan], float]
) -> _Search:
    """The search once families have left int8, the one that helps most first, up to the goal or while one helps."""
    found, left = start, dict(families)
    while left and found.sqnr_db < goal_db:
        trials = {name: sqnr_of({**found.plan, **_forms(members)}) for name, members in left.items()}
        name = max(trials, key=lambda each: trials[each])
        if trials[name] < found.sqnr_db + _LEAST_GAIN_DB:
            break
        members = left.pop(name)
        reason = next((row.reason for row in FAMILIES if row.name == name), _REST_REASON)
        choice = Choice(family=name, operators=len(members), reason=reason, sqnr_db=trials[name])
        plan = {**found.plan, **_forms(members)}
        found = _Search(plan=plan, choices=(*found.choices, choice), sqnr_db=trials[name])
    return found


def _labels(operator: Operator) -> tuple[str, ...]:
    """What a pattern is tried against: the tensor's name, and the ONNX node's where it has another."""
    return tuple(f"{operator.code} {name}" for name in dict.fromkeys((operator.outputs[0], operator.node)) if name)


def _forms(operators: Sequence[Operator]) -> dict[str, OperatorForm]:
    return {each.outputs[0]: "dynamic" if has_weights(each) else "float32" for each in operators}
