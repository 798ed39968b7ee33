"""Zeros around a convolution taken into it: a PAD whose zeros TFLite's SAME can give once the kernel has zero taps.

PAD copies the whole map, which for small kernels costs more than the convolution behind it.

    98 frames, 9 taps, stride 2, zeros 4/4        98 frames, 9 + 1 taps, stride 2, SAME: zeros 4/4

A pass over the lowered model, after `converters.lowering.swap`. Tested in `tests/converters/test_taps.py`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from converters.lowering.padding import same_padding
from converters.lowering.records import Model, Operator, Tensor

_MOST_EXTRA_TAPS = 2


def extend_taps(model: Model) -> Model:
    """The model without the PADs that one or two zero taps more for each axis make superfluous."""
    reads = Counter(name for operator in model.operators for name in operator.inputs)
    reads.update(model.outputs)
    pads = {each.outputs[0]: each for each in model.operators if each.code == "PAD" and reads[each.outputs[0]] == 1}
    tensors, gone, operators = dict(model.tensors), set[str](), []
    for operator in model.operators:
        pad = pads.get(operator.inputs[0])
        extra = None if pad is None else _extra_taps(model, pad, operator)
        if pad is not None and extra is not None:
            weights = model.tensors[operator.inputs[1]]
            data = np.pad(weights.content, ((0, 0), *extra, (0, 0)))
            name = f"{operator.outputs[0]}/extended"
            tensors[name] = Tensor(name=name, shape=data.shape, dtype=weights.dtype, data=data)
            gone.add(pad.outputs[0])
            operator = replace(
                operator,
                inputs=(pad.inputs[0], name, *operator.inputs[2:]),
                options={**operator.options, "padding": "SAME"},
            )
        operators.append(operator)
    left = tuple(operator for operator in operators if operator.outputs[0] not in gone)
    used = {name for operator in left for name in (*operator.inputs, *operator.outputs)} | set(model.inputs)
    return replace(model, operators=left, tensors={name: tensor for name, tensor in tensors.items() if name in used})


def _extra_taps(model: Model, pad: Operator, conv: Operator) -> list[tuple[int, int]] | None:
    """Zero taps before and after the kernel along height and width; None where SAME cannot give the zeros."""
    if conv.code not in ("CONV_2D", "DEPTHWISE_CONV_2D") or conv.options["padding"] != "VALID":
        return None
    amounts = model.tensors[pad.inputs[1]].content
    if len(amounts) != 4 or amounts[0].any() or amounts[3].any():
        return None
    found = []
    for axis, side in ((1, "H"), (2, "W")):
        before, after = (int(zeros) for zeros in amounts[axis])
        taps = _taps_of_axis(
            length=model.tensors[pad.inputs[0]].shape[axis],
            kernel=model.tensors[conv.inputs[1]].shape[axis],
            stride=conv.options[f"stride{side}"],
            dilation=conv.options[f"dilation{side}Factor"],
            zeros=(before, after),
        )
        if taps is None:
            return None
        found.append(taps)
    return found


def _taps_of_axis(
    *, length: int, kernel: int, stride: int, dilation: int, zeros: tuple[int, int]
) -> tuple[int, int] | None:
    """The fewest zero taps (before, after) with which SAME starts where `zeros` start and makes as many steps.

    >>> _taps_of_axis(length=98, kernel=9, stride=2, dilation=1, zeros=(4, 4))
    (0, 1)
    """
    steps = (length + sum(zeros) - (kernel - 1) * dilation - 1) // stride + 1
    if steps != -(-length // stride):
        return None
    choices = sorted(
        ((first, last) for first in range(_MOST_EXTRA_TAPS + 1) for last in range(_MOST_EXTRA_TAPS + 1)), key=sum
    )
    for first, last in choices:
        before, _ = same_padding(length, kernel + first + last, stride, dilation)
        reach = (kernel + first + last - 1) * dilation + 1
        # `same_padding` never counts below zero; where it would, SAME starts at the edge all the same.
        if before == zeros[0] + first * dilation and (steps - 1) * stride + reach >= length:
            return first, last
    return None
