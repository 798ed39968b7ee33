"""Average pools of the int8 file as depthwise convolutions, which engines have fast int8 kernels for.

XNNPACK leaves an int8 AVERAGE_POOL_2D to the engine's plain kernel, five times as slow as the float one; a depthwise
convolution whose weights are all 1 / taps computes the same, and rounds once as well.
Between the lowering and `converters.calibration`. Tested in `tests/converters/test_pools.py`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from converters.lowering.records import Model, Operator, Tensor

_MOST_TAPS = 64


def pools_as_convolutions(model: Model) -> Model:
    """The float32 model with every average pool of at most 64 taps that pads nothing as a depthwise convolution."""
    if not any(_fits(each) for each in model.operators):
        return model
    tensors = dict(model.tensors)
    operators = tuple(_convolution(each, tensors) if _fits(each) else each for each in model.operators)
    return replace(model, tensors=tensors, operators=operators)


def _fits(operator: Operator) -> bool:
    if operator.code != "AVERAGE_POOL_2D" or operator.options["padding"] != "VALID":
        return False
    return bool(operator.options["filterHeight"] * operator.options["filterWidth"] <= _MOST_TAPS)


def _convolution(pool: Operator, tensors: dict[str, Tensor]) -> Operator:
    """The operator, whose weights and bias are added to `tensors`."""
    options = dict(pool.options)
    height, width = options.pop("filterHeight"), options.pop("filterWidth")
    channels = tensors[pool.inputs[0]].shape[3]
    weights = np.full((1, height, width, channels), 1 / (height * width), np.float32)
    names = (f"{pool.outputs[0]}/pool_weights", f"{pool.outputs[0]}/pool_bias")
    for name, data in zip(names, (weights, np.zeros(channels, np.float32)), strict=True):
        tensors[name] = Tensor(name=name, shape=data.shape, data=data)
    options |= {"depthMultiplier": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    return replace(pool, code="DEPTHWISE_CONV_2D", inputs=(pool.inputs[0], *names), options=options)
