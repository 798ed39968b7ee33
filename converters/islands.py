"""Where float and int8 operators meet in one file: the bridges between them.

    int8 ─► DEQUANTIZE ─► float ─► float ─► QUANTIZE ─► int8

Before this: `converters.mixture` says which operators stay float. After this: `converters.quantize` gives what is
on the int8 side its scales.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from converters.calibration import Range
from converters.lowering.operators import OPERATORS, Int8Rule
from converters.lowering.records import Model, Operator, Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bridged:
    """A model, all of it still in real numbers, that is cut into a float and an int8 side.

    Attributes:
        model: with a DEQUANTIZE or a QUANTIZE wherever data cross; float32 throughout.
        stored: names of the tensors, constants included, that are to be int8. Weights and biases are not among them:
            those follow their operator.
        ranges: those given, and those of the tensors that were added.
    """

    model: Model
    stored: frozenset[str]
    ranges: Mapping[str, Range]


def bridge(model: Model, ranges: Mapping[str, Range], keep_float: Collection[str]) -> Bridged:
    """The model with bridges around the operators whose first output is in `keep_float`.

    An input that only int8 operators read is int8; an output is what the operator that makes it is, and a state that
    comes in is what it is when it goes out.

    Args:
        model: float32.
        ranges: (lowest, highest) of every activation.
        keep_float: names of tensors.
    """
    if not keep_float:
        constants = {name for operator in model.operators for name in free_inputs(model, operator)}
        return Bridged(model=model, stored=frozenset({*model.activations(), *constants}), ranges=ranges)
    return _Bridging(model, ranges, keep_float).result()


def with_movers(model: Model, keep_float: Collection[str]) -> set[str]:
    """`keep_float` and the operators that only move numbers between float ones, which would else cost two bridges each.

        float ─► QUANTIZE ─► CONCATENATION          float ─► CONCATENATION ─► QUANTIZE
        float ─► QUANTIZE ───┘                      float ───┘

    Args:
        model: float32.
        keep_float: names of tensors.
    """
    kept = set(keep_float)
    if not kept:
        return kept
    readers: dict[str, list[Operator]] = defaultdict(list)
    for operator in model.operators:
        for name in operator.inputs:
            readers[name].append(operator)
    makers = {name: operator.outputs[0] for operator in model.operators for name in operator.outputs}

    def is_surrounded(operator: Operator) -> bool:
        sources = [name for name in free_inputs(model, operator) if model.tensors[name].data is None]
        leads_to_float = all(each.outputs[0] in kept for name in operator.outputs for each in readers[name])
        comes_from_float = bool(sources) and all(makers.get(name, name) in kept for name in sources)
        is_given = all(name in model.inputs for name in sources)
        if leads_to_float and any(name in model.outputs for name in operator.outputs):
            return comes_from_float
        return (leads_to_float and (comes_from_float or is_given)) or (comes_from_float and len(operator.outputs) == 1)

    while True:
        found = {
            each.outputs[0]
            for each in model.operators
            if OPERATORS[each.code].rule is Int8Rule.SAME_SCALE and each.outputs[0] not in kept and is_surrounded(each)
        }
        if not found:
            return kept
        kept |= found


def free_inputs(model: Model, operator: Operator) -> list[str]:
    """The float inputs of an operator that are no weights."""
    count = 1 if OPERATORS[operator.code].rule is Int8Rule.WEIGHTS else len(operator.inputs)
    return [name for name in operator.inputs[:count] if model.tensors[name].dtype == "float32"]


class _Bridging:
    """Walks the operators once; a tensor crosses at most once, whoever reads it."""

    def __init__(self, model: Model, ranges: Mapping[str, Range], keep_float: Collection[str]) -> None:
        self.model, self.keep_float = model, keep_float
        self.tensors: dict[str, Tensor] = dict(model.tensors)
        self.ranges = dict(ranges)
        self.operators: list[Operator] = []
        self.stored: set[str] = set()
        self.twins: dict[str, str] = {}
        sides = Counter((name, self._is_float(each)) for each in model.operators for name in free_inputs(model, each))
        self.read_in_float = {name for (name, is_float) in sides if is_float}
        self.stored.update(name for name in model.inputs if name not in self.read_in_float and (name, False) in sides)
        # A state comes in as it goes out: it is carried on as it is.
        makers = {name: each for each in model.operators for name in each.outputs}
        for past, following in model.states:
            (self.stored.discard if self._is_float(makers[following]) else self.stored.add)(past)

    def result(self) -> Bridged:
        for operator in self.model.operators:
            is_float = self._is_float(operator)
            crossing = {name: self._on_side(name, is_float=is_float) for name in free_inputs(self.model, operator)}
            inputs = tuple(crossing.get(name, name) for name in operator.inputs)
            self.operators.append(replace(operator, inputs=inputs))
            if not is_float:
                self.stored.update(operator.outputs)
        model = replace(self.model, tensors=self.tensors, operators=tuple(self.operators))
        return Bridged(model=model, stored=frozenset(self.stored), ranges=self.ranges)

    def _is_float(self, operator: Operator) -> bool:
        return operator.outputs[0] in self.keep_float

    def _on_side(self, name: str, *, is_float: bool) -> str:
        """The tensor that holds `name` for a float or an int8 reader."""
        if self.tensors[name].data is not None:
            return name if is_float else self._stored_constant(name)
        if (name not in self.stored) == is_float:
            return name
        if name not in self.twins:
            twin = f"{name}/{'float' if is_float else 'int8'}"
            self.tensors[twin], self.ranges[twin] = replace(self.tensors[name], name=twin), self.ranges[name]
            code = "DEQUANTIZE" if is_float else "QUANTIZE"
            self.operators.append(Operator(code=code, inputs=(name,), outputs=(twin,)))
            if not is_float:
                self.stored.add(twin)
            self.twins[name] = twin
        return self.twins[name]

    def _stored_constant(self, name: str) -> str:
        if name in self.read_in_float:
            twin = f"{name}/int8"
            self.tensors[twin] = replace(self.tensors[name], name=twin)
            name = twin
        self.stored.add(name)
        return name
