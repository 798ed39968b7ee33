"""Families of operators that int8 can serve badly, found by how operators hang together. To add one, add a row.

`converters.mixture` decides which of them a file computes in float. Tested in `tests/converters/test_families.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from converters.lowering.records import Model, Operator

_GATES = ("HARD_SWISH", "LOGISTIC", "SOFTMAX", "TANH")
_BETWEEN_MATRICES = ("ADD", "MUL", "SUB", "MAXIMUM", "MINIMUM", "RELU", "RELU6", "LEAKY_RELU", *_GATES, "SPLIT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One row of the table.

    Attributes:
        name: as reports call it.
        reason: why int8 serves it badly.
        find: its operators in a float32 model; none where the model has no such family.
        always: taken out of int8 without asking what it brings.
    """

    name: str
    reason: str
    find: Callable[[Model], list[Operator]]
    always: bool = False


def recurrence(model: Model) -> list[Operator]:
    """The steps of recurrent cells: matrices that several operators share or that feed a state, and all between them.

    step t:  memory ─► FULLY_CONNECTED (shared weights) ─► ADD ─► LOGISTIC, TANH, MUL … ─► memory ─► step t + 1
    """
    matrices = [each for each in model.operators if each.code == "FULLY_CONNECTED"]
    uses = Counter(each.inputs[1] for each in matrices)
    shared = {each.outputs[0] for each in matrices if uses[each.inputs[1]] > 1}
    fed_back = _fed_back(model, {each.outputs[0] for each in matrices})
    if not shared | fed_back:
        return []
    after = _reached(model.operators, shared)
    before = _reaching(model.operators, shared)
    # The first step has no matrix before it and the last one none after it: their gates are gates all the same.
    # What each step gets of the inputs' product is split in float too: one DEQUANTIZE before it, not three in a step.
    first = _reaching(model.operators, shared, only=_BETWEEN_MATRICES)
    last = _reached(model.operators, shared, only=_BETWEEN_MATRICES)
    members = (after & before) | first | last | fed_back
    return [each for each in model.operators if each.outputs[0] in members]


def _fed_back(model: Model, matrices: set[str]) -> set[str]:
    """Operators between a state that comes in and the same state that goes out, where a matrix is among them.

    That is a recurrence of one step, or few; the state of a convolution only passes CONCATENATION and SLICE.
    """
    found = set[str]()
    for past, following in model.states:
        readers = {each.outputs[0] for each in model.operators if past in each.inputs}
        makers = {each.outputs[0] for each in model.operators if following in each.outputs}
        between = _reached(model.operators, readers) & _reaching(model.operators, makers)
        found |= between if between & matrices else set()
    return found


def attention(model: Model) -> list[Operator]:
    """SOFTMAX, and the products beside it whose operands are all computed."""
    makers = {name: each for each in model.operators for name in each.outputs}
    weights = {each.outputs[0] for each in model.operators if each.code == "SOFTMAX"}
    found = [each for each in model.operators if each.code in ("SOFTMAX", "BATCH_MATMUL")]
    found += [
        each
        for each in model.operators
        if each.code == "MUL" and any(_root(name, makers) in weights for name in each.inputs)
    ]
    return found if weights else []


def affine_maps(model: Model) -> list[Operator]:
    """Products and sums with constants that differ along more than the channels, and what is read or made by them.

    Sub-spectral normalisation is one: each band of frequencies has its own scale, an int8 tensor has one for all.
    """
    found = [
        each
        for each in model.operators
        if each.code in ("MUL", "ADD", "SUB")
        and any(_is_map(model, name) for name in each.inputs if model.tensors[name].data is not None)
    ]
    read = {name for each in found for name in each.inputs}
    made = {name for each in found for name in each.outputs}
    beside = [
        each
        for each in model.operators
        if each.code in ("DEPTHWISE_CONV_2D", "ADD", "MEAN")
        and (each.outputs[0] in read or any(name in made for name in each.inputs))
    ]
    members = {each.outputs[0] for each in (*found, *beside)}
    return [each for each in model.operators if each.outputs[0] in members]


def gates(model: Model) -> list[Operator]:
    """Sigmoids, tanh and the products that they gate."""
    made = {each.outputs[0] for each in model.operators if each.code in _GATES}
    return [
        each
        for each in model.operators
        if each.outputs[0] in made or (each.code == "MUL" and any(name in made for name in each.inputs))
    ]


def residual_sums(model: Model) -> list[Operator]:
    """Sums of two computed maps."""
    return [
        each
        for each in model.operators
        if each.code == "ADD" and all(model.tensors[name].data is None for name in each.inputs)
    ]


def matrices(model: Model) -> list[Operator]:
    """FULLY_CONNECTED operators, whose weights have one scale in int8."""
    return [each for each in model.operators if each.code == "FULLY_CONNECTED"]


def convolutions(model: Model) -> list[Operator]:
    """CONV_2D operators; of float data they multiply int8 weights where that is as fast."""
    return [each for each in model.operators if each.code == "CONV_2D"]


def depthwise(model: Model) -> list[Operator]:
    """Depthwise convolutions, whose channels can differ in size by orders of magnitude."""
    return [each for each in model.operators if each.code == "DEPTHWISE_CONV_2D"]


FAMILIES: tuple[Family, ...] = (
    Family(
        name="recurrence",
        reason="each step would round the memory anew and feed the error back",
        find=recurrence,
        always=True,
    ),
    Family(name="attention", reason="small weights of a softmax fall below one step", find=attention),
    Family(name="affine maps", reason="bands of different size share one step", find=affine_maps),
    Family(name="gates", reason="the steps of a gate are those of its product", find=gates),
    Family(name="residual sums", reason="both branches take the wider one's step", find=residual_sums),
    Family(name="matrices", reason="their input and output are rounded, and all rows share one step", find=matrices),
    Family(name="convolutions", reason="their input and output are rounded", find=convolutions),
    Family(name="depthwise convolutions", reason="channels of different size share one step", find=depthwise),
)


def _is_map(model: Model, name: str) -> bool:
    return sum(length > 1 for length in model.tensors[name].shape) > 1


def _root(name: str, makers: dict[str, Operator]) -> str:
    """The tensor that RESHAPE and TRANSPOSE only passed on."""
    while name in makers and makers[name].code in ("RESHAPE", "TRANSPOSE"):
        name = makers[name].inputs[0]
    return name


def _reached(operators: Iterable[Operator], start: set[str], only: tuple[str, ...] = ()) -> set[str]:
    """First outputs of the operators in `start` and of those that depend on them (through `only`, where given)."""
    names, members = set[str](), set(start)
    for each in operators:
        if each.outputs[0] in start or (names.intersection(each.inputs) and (not only or each.code in only)):
            members.add(each.outputs[0])
            names.update(each.outputs)
    return members


def _reaching(operators: Iterable[Operator], start: set[str], only: tuple[str, ...] = ()) -> set[str]:
    """First outputs of the operators in `start` and of those that they depend on (through `only`, where given)."""
    needed, members = set[str](), set(start)
    for each in reversed(tuple(operators)):
        if each.outputs[0] in start or (needed.intersection(each.outputs) and (not only or each.code in only)):
            members.add(each.outputs[0])
            needed.update(each.inputs)
    return members
