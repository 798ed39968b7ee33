"""Which operators of an int8 file are worth keeping in float: found by trying, not by guessing.

The layers that lose most are not always those whose loss reaches the output, so each candidate is put into float in a
file of its own and the whole file is measured: SQNR on calibration clips, latency against the int8 file in turns.
Before this: `converters.quant_report` ranks the layers. Tested in `tests/converters/test_advice.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from converters.int8_builder import Int8Builder
from converters.latency import Ratio, latency_ratios
from converters.lowering.operators import OPERATORS, Int8Rule
from converters.lowering.outline import outline_large
from converters.lowering.records import Array, Model, Operator
from converters.lowering.writer import write_model
from converters.mixture import OperatorForm, Plan
from converters.quant_report import LayerError

_CANDIDATES = 24
_LEAST_GAIN_DB = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One or two operators put into float.

    Attributes:
        operators: `TYPE name` of each.
        gain_db: SQNR of the whole file minus that of the file as it is, on calibration clips.
        latency: against the int8 file as it is, on this computer; None where the gain was too small to ask.
    """

    operators: tuple[str, ...]
    gain_db: float
    latency: Ratio | None = None

    @property
    def option(self) -> str:
        """The options that do it."""
        patterns = (re.escape(each).replace("\\ ", " ") for each in self.operators)
        return " ".join(f"--keep-float '^{pattern}$'" for pattern in patterns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What was tried.

    Attributes:
        sqnr_db: of the file as it is, on calibration clips.
        trials: every operator and pair that was put into float, the best first.
        best: what is worth it; None where nothing brings 1 dB.
    """

    sqnr_db: float
    trials: tuple[Trial, ...]
    best: Trial | None

    def sentence(self) -> str:
        """One line for people, ending in the option to type."""
        if not self.trials:
            return "nothing is left to keep in float: no operator has int8 data"
        if self.best is None or self.best.latency is None:
            tried = len(self.trials)
            return f"nothing is worth keeping in float: of {tried} trials, none brings {_LEAST_GAIN_DB:.0f} dB"
        what = "this operator" if len(self.best.operators) == 1 else "these two operators"
        return f"keep {what} in float: {self.best.gain_db:+.1f} dB, {_cost(self.best.latency)}: {self.best.option}"


def advise(
    builder: Int8Builder,
    plan: Plan,
    layers: Sequence[LayerError],
    *,
    measure: Callable[[Mapping[str, bytes], Array], dict[str, Ratio]] = latency_ratios,
) -> Advice:
    """The one or two operators whose place in float helps most: tried alone, with their reader, the best two together.

    Args:
        builder: of the int8 file.
        plan: what is in float already.
        layers: the errors of the int8 file's tensors.
        measure: of latency; for tests.
    """
    model = builder.equalized
    base = builder.sqnr_of(plan)
    worst = _candidates(model, plan, layers)
    groups = [(each,) for each in worst] + [pair for each in worst for pair in _with_reader(model, plan, each)]
    trials = sorted((_Tried(group, builder.sqnr_of(_in_float(plan, group)) - base) for group in groups), key=_gain)
    singles = [each for each in trials if len(each.group) == 1]
    if len(singles) > 1:
        group = (*singles[0].group, *singles[1].group)
        trials.append(_Tried(group, builder.sqnr_of(_in_float(plan, group)) - base))
    told = tuple(
        Trial(operators=tuple(map(_label, each.group)), gain_db=each.gain_db) for each in sorted(trials, key=_gain)
    )
    best = _worth_it(trials)
    if best is None:
        return Advice(sqnr_db=base, trials=told, best=None)
    plans = {"as it is": plan, "in float": _in_float(plan, best.group)}
    files = {name: write_model(outline_large(builder.build(each)), description=name) for name, each in plans.items()}
    latency = measure(files, builder.trial_clips[:1])["in float"]
    operators = tuple(map(_label, best.group))
    return Advice(sqnr_db=base, trials=told, best=Trial(operators=operators, gain_db=best.gain_db, latency=latency))


@dataclass(frozen=True, slots=True)
class _Tried:
    group: tuple[Operator, ...]
    gain_db: float


def _gain(tried: _Tried) -> float:
    """The best first."""
    return -tried.gain_db


def _worth_it(trials: Sequence[_Tried]) -> _Tried | None:
    """The best single operator, or the best two where the second brings half a decibel more."""
    single = min((each for each in trials if len(each.group) == 1), key=_gain, default=None)
    pair = min((each for each in trials if len(each.group) == 2), key=_gain, default=None)
    best = single
    if pair is not None and (single is None or pair.gain_db >= single.gain_db + _LEAST_GAIN_DB / 2):
        best = pair
    return best if best is not None and best.gain_db >= _LEAST_GAIN_DB else None


def _in_float(plan: Plan, operators: Sequence[Operator]) -> dict[str, OperatorForm]:
    return {**plan, **{each.outputs[0]: "float32" for each in operators}}


def _with_reader(model: Model, plan: Plan, operator: Operator) -> list[tuple[Operator, ...]]:
    """An operator and the one that alone reads it: what int8 loses between two is kept only when both are float."""
    readers = [each for each in model.operators if operator.outputs[0] in each.inputs]
    if len(readers) != 1 or readers[0].outputs[0] in plan:
        return []
    return [(operator, readers[0])]


def _candidates(model: Model, plan: Plan, layers: Sequence[LayerError]) -> list[Operator]:
    """The int8 operators that add most to the error that reaches them, at most 24; none that only move numbers."""
    errors = {each.tensor: each.sqnr_db for each in layers}
    int8 = [
        each
        for each in model.operators
        if each.outputs[0] not in plan
        and each.outputs[0] in errors
        and OPERATORS[each.code].rule is not Int8Rule.SAME_SCALE
    ]

    def loss(operator: Operator) -> float:
        before = min((errors[name] for name in operator.inputs if name in errors), default=float("inf"))
        after = errors[operator.outputs[0]]
        return float("inf") if after == before else after - min(before, 100.0)

    worst = sorted(int8, key=loss)[:_CANDIDATES]
    return [each for each in int8 if each in worst]


def _cost(latency: Ratio) -> str:
    """What a trial costs, in words; nothing is claimed where the blocks do not agree on a direction."""
    if latency.low <= 1 <= latency.high or str(latency) == "unclear":
        return "no difference in latency seen on this computer"
    return f"{100 * (latency.ratio - 1):+.0f} % latency on this computer"


def _label(operator: Operator) -> str:
    return f"{operator.code} {operator.outputs[0]}"
