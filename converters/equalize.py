"""A float32 model whose channels have more equal ranges and that computes the same: what int8 rounds less.

An int8 tensor has one step for all its channels, so a channel with a small range keeps few of the 256 levels.
Where everything between two layers of weights is positively homogeneous, f(s·x) = s·f(x) for s > 0, a channel
can be divided by s in the one and multiplied by s in the other.

    weights / s ─► bias / s ─► ReLU, ADD, MEAN, … at 1/s ─► weights · s

Between `converters.calibration`, which measures the channels, and `converters.quantize`.
Source: Nagel et al. 2019, "Data-free quantization through weight equalization and bias correction",
arXiv 1906.04721, section 4.1. We equalise the ranges of activations, measured, where the paper equalises weights
(its equation 11), because weights have a scale for each output channel here and activations have not; and tensors
that are added or concatenated share their factors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from converters.lowering.operators import OPERATORS, Int8Rule
from converters.lowering.records import Array, Model, Operator

_KEPT = 0
# Factors come from ranges down to a thousandth of the tensor's; a channel that is always zero counts as that.
_SMALLEST = 1e-3
# The square root shares the inequality between the activations and the weights that read them.
EXPONENT = 0.5
_LINEAR = ("NONE", "RELU")


def channel_scales(model: Model, sizes: Mapping[str, Array], exponent: float = EXPONENT) -> dict[str, Array]:
    """What to divide channels by so that those of one tensor are more alike; without the tensors that must stay.

    Args:
        model: float32.
        sizes: of each activation, the largest absolute value of every channel (its last axis), shape (channels,).
        exponent: 0 leaves all as it is, 1 gives all channels of a tensor one range and the next weights all the
            inequality.
    """
    labels = _labels(model)
    count = max(int(each.max(initial=0)) for each in labels.values()) + 1
    relative = np.full(count, _SMALLEST)
    for name, label in labels.items():
        largest = sizes[name].max(initial=0.0)
        if largest > 0:
            np.maximum.at(relative, label, sizes[name] / largest)
    factors = relative**exponent
    factors[_KEPT] = 1.0
    return {name: factors[label] for name, label in labels.items() if label.any()}


def equalize(model: Model, scales: Mapping[str, Array]) -> Model:
    """The model with each tensor in `scales` divided by them; its inputs and outputs stay what they are.

    Args:
        model: float32.
        scales: what each channel of a tensor is divided by, shape (channels,), from `channel_scales` of this model.
    """
    tensors = dict(model.tensors)
    operators = []
    for operator in model.operators:
        before, after = scales.get(operator.inputs[0]), scales.get(operator.outputs[0])
        if OPERATORS[operator.code].rule is Int8Rule.WEIGHTS and (before is not None or after is not None):
            data, *constants = operator.inputs
            contents = _rescaled(operator, model, before, after)
            names = [f"{operator.outputs[0]}/{part}_equalized" for part in ("weights", "bias")]
            for old, new, content in zip(constants, names, contents, strict=True):
                tensors[new] = replace(tensors[old], name=new, data=content.astype(np.float32))
            operator = replace(operator, inputs=(data, *names))
        operators.append(operator)
    used = {name for operator in operators for name in (*operator.inputs, *operator.outputs)} | set(model.inputs)
    kept = {name: tensor for name, tensor in tensors.items() if name in used}
    return replace(model, tensors=kept, operators=tuple(operators))


def _rescaled(operator: Operator, model: Model, before: Array | None, after: Array | None) -> tuple[Array, Array]:
    """Weights and bias for an input divided by `before` and an output divided by `after`."""
    weights, bias = (model.tensors[name].content.astype(np.float64) for name in operator.inputs[1:])
    is_depthwise = operator.code == "DEPTHWISE_CONV_2D"
    if before is not None:
        if is_depthwise:
            weights = weights * np.repeat(before, weights.shape[-1] // len(before))
        else:
            # Of a grouped convolution, each filter sees the channels of its group.
            groups = before.reshape(-1, weights.shape[-1])
            rows = np.repeat(groups, len(weights) // len(groups), axis=0)
            weights = weights * rows.reshape(len(weights), *[1] * (weights.ndim - 2), -1)
    if after is not None:
        weights = weights / (after if is_depthwise else after.reshape(-1, *[1] * (weights.ndim - 1)))
        bias = bias / after
    return weights, bias


def _labels(model: Model) -> dict[str, Array]:
    """A number for each channel of each activation; channels of one number must have one factor, 0 must have 1."""
    labels: dict[str, Array] = {}
    first = _KEPT + 1
    for name in model.activations():
        labels[name] = np.arange(first, first + _channels(model, name))
        first += len(labels[name])
    ties = []
    uses = Counter(operator.inputs[1] for operator in model.operators if len(operator.inputs) > 1)
    for operator in model.operators:
        # Weights that several operators share, as the steps of a recurrence do, take up nothing: they stay one tensor.
        is_shared = len(operator.inputs) > 1 and uses[operator.inputs[1]] > 1
        found = _ties(operator, model)
        ties += found
        bound = {name for tie in found for name in (tie.source, tie.target)}
        for name in (*operator.inputs, *operator.outputs):
            if name in labels and name not in bound and (is_shared or not _absorbs(operator, model, name)):
                labels[name][:] = _KEPT
    # A state is only carried on: its factors are as free as those inside, as long as it has them at both ends.
    carried = {name for pair in model.states for name in pair}
    ties += [_whole(model, past, following) for past, following in model.states]
    for name in (*model.inputs, *model.outputs):
        if name not in carried:
            labels[name][:] = _KEPT
    # The least number wins until nothing changes, so what is kept spreads like any other number.
    before = -1
    while before != (before := sum(int(label.sum()) for label in labels.values())):
        for tie in ties:
            source, target = labels[tie.source], labels[tie.target]
            np.minimum.at(target, tie.onto, source[tie.places])
            np.minimum.at(source, tie.places, target[tie.onto])
        for label in labels.values():
            if (label == _KEPT).any():
                label[:] = _KEPT
    return labels


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Tie:
    """Channels `places` of `source` and `onto` of `target` must have the same factors, in that order."""

    source: str
    target: str
    places: Array
    onto: Array


def _ties(operator: Operator, model: Model) -> list[_Tie]:
    """What an operator that only passes factors on wants; empty for one that absorbs factors or allows none."""
    output = operator.outputs[0]
    shapes = [model.tensors[name].shape for name in operator.inputs]
    channels = np.arange(_channels(model, output))
    whole = [_whole(model, operator.inputs[0], output)]
    if operator.options.get("fusedActivationFunction", "NONE") not in _LINEAR or not model.tensors[output].shape:
        return []
    match operator.code:
        # What one operand repeats along other axes than the channels repeats its factors with it.
        case "ADD" | "SUB" if shapes[0][-1:] == shapes[1][-1:] and not _has_constant(operator, model):
            return [replace(tie, source=name) for tie in whole for name in operator.inputs]
        case "AVERAGE_POOL_2D" | "LEAKY_RELU" | "MAX_POOL_2D" | "RELU":
            return whole
        case "CONCATENATION" if operator.options["axis"] != len(shapes[0]) - 1 and not _has_constant(operator, model):
            return [replace(tie, source=name) for tie in whole for name in operator.inputs]
        case "SLICE" if shapes[0][-1] == len(channels):
            return whole
        case "CONCATENATION" if not _has_constant(operator, model):
            ends = np.cumsum([shape[-1] for shape in shapes])
            return [
                _Tie(source=name, target=output, places=np.arange(shape[-1]), onto=np.arange(end - shape[-1], end))
                for name, shape, end in zip(operator.inputs, shapes, ends, strict=True)
            ]
        case "CONCATENATION" if operator.options["axis"] != len(shapes[0]) - 1 and not _has_constant(operator, model):
            return [replace(whole[0], source=name) for name in operator.inputs]
        case "SLICE" if shapes[0][-1] == len(channels):
            return whole
        case "MEAN" if len(shapes[0]) - 1 not in model.tensors[operator.inputs[1]].content % len(shapes[0]):
            return whole
        case "PAD" if not model.tensors[operator.inputs[1]].content[-1].any():
            return whole
        # A map that is flattened repeats its channels.
        case "RESHAPE" if shapes[0] and len(channels) % shapes[0][-1] == 0:
            return [replace(whole[0], places=channels % shapes[0][-1])]
    return []


def _whole(model: Model, source: str, target: str) -> _Tie:
    """Both tensors have the same factors, channel by channel."""
    channels = np.arange(_channels(model, target))
    return _Tie(source=source, target=target, places=channels, onto=channels)


def _absorbs(operator: Operator, model: Model, name: str) -> bool:
    """Whether an operator's weights can take up factors of one of its tensors."""
    if OPERATORS[operator.code].rule is not Int8Rule.WEIGHTS:
        return False
    if name == operator.inputs[0]:
        return (
            operator.code != "FULLY_CONNECTED" or _channels(model, name) == model.tensors[operator.inputs[1]].shape[1]
        )
    return operator.options["fusedActivationFunction"] in _LINEAR


def _has_constant(operator: Operator, model: Model) -> bool:
    return any(model.tensors[name].data is not None for name in operator.inputs)


def _channels(model: Model, name: str) -> int:
    shape = model.tensors[name].shape
    return shape[-1] if shape else 1
