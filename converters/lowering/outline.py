"""Steps that repeat, stored once: what a written-out recurrence does again and again becomes a function of the file.

An engine packs the weights of every operator for its own kernels. A matrix that forty-nine operators share is packed
forty-nine times: 105 MB for a network of 2 MB, and every step reads another copy from main memory.
TFLite has no call, but an IF whose condition is constant and whose two branches are the same subgraph is one:

    FULLY_CONNECTED, SPLIT, … ×49                  IF ×49 ──► step: FULLY_CONNECTED, SPLIT, …

Nothing is looped over and no state outlives an inference: the states go in and come out as tensors.
Between the lowering or the quantizer, whose model is flat, and `converters.lowering.writer`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from converters.lowering.operators import OPERATORS, Int8Rule
from converters.lowering.records import Model, Operator, Tensor

FEWEST_STEPS = 4
"""Of fewer steps, copies of the weights cost less than calls."""

FITTING_WEIGHTS = 3 << 20
"""Of copies that an engine makes of the weights of all steps: with so many and fewer, calls cost more than copies.

Measured on networks of 1 s, x86-64: docs/conversion.md, "Recurrent networks".
"""

CONDITION = "always"
_FAR = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """`count` blocks of `length` operators each from `start` on, all alike."""

    start: int
    length: int
    count: int

    @property
    def end(self) -> int:
        return self.start + self.length * self.count

    def block(self, index: int) -> slice:
        first = self.start + index * self.length
        return slice(first, first + self.length)


def outline(model: Model) -> Model:
    """The model with every run of like steps replaced by calls of one; unchanged where no weights repeat."""
    runs = _runs(model)
    if not runs:
        return model
    readers = _readers(model)
    operators: list[Operator] = []
    steps: list[Model] = []
    place = 0
    for run in runs:
        operators += model.operators[place : run.start]
        body, calls = _outlined(model, run, readers, 1 + len(steps))
        steps.append(body)
        operators += calls
        place = run.end
    operators += model.operators[place:]
    used = {name for operator in operators for name in (*operator.inputs, *operator.outputs)}
    tensors = {name: tensor for name, tensor in model.tensors.items() if name in used or name in model.inputs}
    tensors[CONDITION] = Tensor(name=CONDITION, shape=(1,), dtype="bool", data=np.array([True]))
    return replace(model, tensors=tensors, operators=tuple(operators), steps=tuple(steps))


def outline_large(model: Model) -> Model:
    """`outline`, unless so few weights of a flat model would be copied that calls cost more."""
    return model if copied_weights(model) <= FITTING_WEIGHTS else outline(model)


def copied_weights(model: Model) -> int:
    """How many weights an engine has of those that several operators of a flat model share: a copy for each."""
    unpacked = {each.outputs[0]: each.inputs[0] for each in model.operators if each.code == "DEQUANTIZE"}
    copies: dict[str, list[int]] = defaultdict(list)
    for operator in model.operators:
        if OPERATORS[operator.code].rule is Int8Rule.WEIGHTS:
            name = operator.inputs[1]
            copies[unpacked.get(name, name)].append(int(np.prod(model.tensors[name].shape)))
    return sum(sum(sizes) for sizes in copies.values() if len(sizes) > 1)


def _runs(model: Model) -> list[_Run]:
    """Runs in their order, none over another; each is found from operators that share their weights."""
    anchors: dict[str, list[int]] = defaultdict(list)
    makers = {name: place for place, operator in enumerate(model.operators) for name in operator.outputs}
    for place, operator in enumerate(model.operators):
        if OPERATORS[operator.code].rule is Int8Rule.WEIGHTS:
            weights = operator.inputs[1]
            # Each step unpacks smaller weights for itself, and begins with that; what they share is what they unpack.
            if weights in makers:
                anchors[model.operators[makers[weights]].inputs[0]].append(makers[weights])
            else:
                anchors[weights].append(place)
    runs: list[_Run] = []
    for places in sorted(anchors.values()):
        for first, period, count in _evenly_spaced(places):
            run = _widest(model, makers, first, period, count)
            if run is not None and not any(run.start < other.end and other.start < run.end for other in runs):
                runs.append(run)
    return sorted(runs, key=lambda run: run.start)


def _evenly_spaced(places: Sequence[int]) -> list[tuple[int, int, int]]:
    """(first, distance, count) of every long enough stretch of places that are at one distance.

    >>> _evenly_spaced([3, 10, 17, 24, 31, 90])
    [(3, 7, 5)]
    """
    found = []
    start = 0
    while start + 1 < len(places):
        period = places[start + 1] - places[start]
        end = start + 1
        while end + 1 < len(places) and places[end + 1] - places[end] == period:
            end += 1
        if end - start + 1 >= FEWEST_STEPS:
            found.append((places[start], period, end - start + 1))
        start = end
    return found


def _widest(model: Model, makers: Mapping[str, int], anchor: int, period: int, count: int) -> _Run | None:
    """The run with the most steps whose first or second step holds the anchor; None where too few are alike.

    A step may begin at the anchor or at any operator before it, back to the one that the step before ends with.
    """
    first = max(anchor - period + 1, 0)
    last = min(anchor + period * count, len(model.operators) - period)
    if last <= first:
        return None
    reach = np.array([_reach(model, makers, place, place + period) for place in range(first, last)])
    best: _Run | None = None
    for start in range(anchor, first - 1, -1):
        offsets = np.arange(last - start) % period
        differs = np.flatnonzero(offsets >= reach[start - first :])
        alike = (int(differs[0]) if len(differs) else last - start) // period + 1
        if alike >= FEWEST_STEPS and (best is None or alike > best.count):
            best = _Run(start=start, length=period, count=min(alike, count))
    if best is None and count > FEWEST_STEPS:
        # The first step may differ: an exporter leaves out of it what a state of zeros leaves nothing of.
        return _widest(model, makers, anchor + period, period, count - 1)
    return best


def _reach(model: Model, makers: Mapping[str, int], place: int, other: int) -> int:
    """How early in their blocks two operators must stand to do the same there; 0 where they never do.

    Inputs from like places are alike. Others are alike where both come from before the block: a call gives them.
    """
    one, two = model.operators[place], model.operators[other]
    if one.code != two.code or dict(one.options) != dict(two.options) or len(one.inputs) != len(two.inputs):
        return 0
    names = ((*one.inputs, *one.outputs), (*two.inputs, *two.outputs))
    if any(_kind(model.tensors[a]) != _kind(model.tensors[b]) for a, b in zip(*names, strict=True)):
        return 0
    reach = _FAR
    for which, (a, b) in enumerate(zip(one.inputs, two.inputs, strict=True)):
        distances = (place - makers.get(a, -_FAR), other - makers.get(b, -_FAR))
        if a == b or (distances[0] == distances[1] < _FAR):
            continue
        is_weight = which > 0 and OPERATORS[one.code].rule is Int8Rule.WEIGHTS
        if is_weight or model.tensors[a].dtype == "int32":
            return 0
        reach = min(reach, *distances)
    return reach


def _kind(tensor: Tensor) -> tuple[Any, ...]:
    quantization = tensor.quantization
    if quantization is None:
        return tensor.shape, tensor.dtype
    return tensor.shape, tensor.dtype, quantization.scales.tobytes(), quantization.zero_points.tobytes()


def _readers(model: Model) -> dict[str, list[int]]:
    readers: dict[str, list[int]] = defaultdict(list)
    for place, operator in enumerate(model.operators):
        for name in operator.inputs:
            readers[name].append(place)
    for name in model.outputs:
        readers[name].append(len(model.operators))
    return readers


def _outlined(
    model: Model, run: _Run, readers: Mapping[str, Sequence[int]], index: int
) -> tuple[Model, list[Operator]]:
    """The body of a run's steps as a model of its own, and the calls that replace them."""
    blocks = [model.operators[run.block(step)] for step in range(run.count)]
    given = _given(model, blocks)
    arguments = list(dict.fromkeys(given.values()))
    outputs = [
        (place, which)
        for place, operator in enumerate(blocks[0])
        for which in range(len(operator.outputs))
        if any(_leaves(block[place].outputs[which], run, step, readers) for step, block in enumerate(blocks))
    ]
    parameters = {argument: f"step{index}/given{number}" for number, argument in enumerate(arguments)}
    body = [
        replace(
            operator,
            inputs=tuple(
                parameters[given[place, which]] if (place, which) in given else name
                for which, name in enumerate(operator.inputs)
            ),
        )
        for place, operator in enumerate(blocks[0])
    ]
    tensors = {
        parameters[argument]: replace(model.tensors[argument[0]], name=parameters[argument], data=None)
        for argument in arguments
    }
    names = dict.fromkeys(name for operator in body for name in (*operator.inputs, *operator.outputs))
    tensors.update({name: model.tensors[name] for name in names if name not in tensors})
    made = [tuple(block[place].outputs[which] for place, which in outputs) for block in blocks]
    options = {"thenSubgraphIndex": index, "elseSubgraphIndex": index}
    calls = [
        Operator(
            code="IF",
            inputs=(CONDITION, *(argument[step] for argument in arguments)),
            outputs=made[step],
            options=options,
        )
        for step in range(run.count)
    ]
    step_model = Model(tensors=tensors, operators=tuple(body), inputs=tuple(parameters.values()), outputs=made[0])
    return step_model, calls


def _given(model: Model, blocks: Sequence[Sequence[Operator]]) -> dict[tuple[int, int], tuple[str, ...]]:
    """By (operator, which of its inputs): the names of what each call has to give, as it is not the block's own."""
    given = {}
    inside: set[str] = set()
    for place, operator in enumerate(blocks[0]):
        for which, name in enumerate(operator.inputs):
            names = tuple(block[place].inputs[which] for block in blocks)
            is_shared = model.tensors[name].data is not None and len(set(names)) == 1
            if name not in inside and not is_shared:
                given[place, which] = names
        inside.update(operator.outputs)
    return given


def _leaves(name: str, run: _Run, step: int, readers: Mapping[str, Sequence[int]]) -> bool:
    block = run.block(step)
    return any(not block.start <= place < block.stop for place in readers.get(name, ()))
