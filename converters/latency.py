"""Latency on this computer: files against each other, and single operators.

A ratio is taken between neighbours in time, block by block, so that what slows the computer slows both. It holds for
this computer; phones are measured by `tkd-bench`. Tested in `tests/converters/test_latency.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from converters.lowering.records import Array, Model, Operator, Tensor
from converters.lowering.writer import write_model
from converters.runners import TfliteModel, TfliteTimer
from converters.runtimes import DEFAULT_RUNTIME, Runtime

_BLOCKS = 15
_BLOCK_S = 0.006
_AGREEMENT = 1.5  # upper quartile over lower: beyond it, other work on the computer decided
_OPERATOR_BLOCKS = 3
_OPERATOR_S = 0.0006


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """The latency of a file divided by that of another.

    Attributes:
        ratio: median over the blocks.
        low: their lower quartile.
        high: their upper quartile.
        us: median time of one inference, in microseconds; on a busy computer far above what a quiet one needs.
    """

    ratio: float
    low: float
    high: float
    us: float

    @property
    def is_slower(self) -> bool:
        """Whether the blocks agree that the file takes longer than the one that it is compared with."""
        return self.low > 1 and str(self) != "unclear"

    def __str__(self) -> str:
        """The ratio with two digits, or that the blocks do not agree on one."""
        return f"{self.ratio:.2f}" if self.high <= _AGREEMENT * self.low else "unclear"


def latency_ratios(
    files: Mapping[str, bytes],
    clip: Array,
    *,
    clock: Callable[[], float] = time.perf_counter,
    blocks: int = _BLOCKS,
    runtime: Runtime = DEFAULT_RUNTIME,
) -> dict[str, Ratio]:
    """Each file against the first one, on one thread, in turns.

    Args:
        files: TFLite files by name.
        clip: one input in real units, shape (1, *axes).
        clock: seconds; for tests.
        blocks: how many turns.
        runtime: what runs them.
    """
    models = {name: TfliteModel(content, runtime=runtime) for name, content in files.items()}
    timers = {name: TfliteTimer(model, model.input.quantize(clip)) for name, model in models.items()}
    for timer in timers.values():
        timer.seconds(_BLOCK_S, clock)
    order = list(timers.values())
    seen = np.empty((blocks, len(order)))
    for block in range(blocks):
        # There and back: whoever is first in one half is last in the other.
        halves = [[each.seconds(_BLOCK_S / 2, clock) for each in turn] for turn in (order, order[::-1])]
        seen[block] = (np.array(halves[0]) + np.array(halves[1][::-1])) / 2
    ratios = seen / seen[:, :1]
    return {
        name: Ratio(
            ratio=float(np.median(ratios[:, place])),
            low=float(np.quantile(ratios[:, place], 0.25)),
            high=float(np.quantile(ratios[:, place], 0.75)),
            us=float(np.median(seen[:, place]) * 1e6),
        )
        for place, name in enumerate(timers)
    }


def operator_times_us(model: Model, *, clock: Callable[[], float] = time.perf_counter) -> dict[str, float]:
    """What each operator costs when it is alone in a file, in microseconds, by the name of its first output.

    Each runs with the engine's own kernels (XNNPACK) on one thread, on noise; the time of a file that only copies one
    number is taken off. In the whole file neighbours can be merged, so the sum is not the file's latency.
    Operators of one kind, shape and precision are measured once.
    """
    known: dict[object, float] = {}
    empty = _seconds(_copy_of_one_number(), clock)
    times: dict[str, float] = {}
    for operator in model.operators:
        key = _kind(operator, model)
        if key not in known:
            known[key] = max(_seconds(_alone(operator, model), clock) - empty, 0.0) * 1e6
        times[operator.outputs[0]] = known[key]
    return times


def _seconds(model: Model, clock: Callable[[], float]) -> float:
    timer = TfliteTimer(TfliteModel(write_model(model, description="timed"), only_time=True), None)
    return min(timer.seconds(_OPERATOR_S, clock) for _ in range(_OPERATOR_BLOCKS))


def _alone(operator: Operator, model: Model) -> Model:
    names = list(dict.fromkeys((*operator.inputs, *operator.outputs)))
    tensors = {name: model.tensors[name] for name in names}
    inputs = tuple(name for name in names if name in operator.inputs and tensors[name].data is None)
    if not inputs:
        # What only constants go into is computed once, when the file is loaded; a copy stands for it.
        return _copy_of_one_number()
    return replace(model, tensors=tensors, operators=(operator,), inputs=inputs, outputs=operator.outputs)


def _copy_of_one_number() -> Model:
    shape = Tensor(name="shape", shape=(2,), dtype="int32", data=np.array([1, 1], np.int32))
    tensors = {"x": Tensor(name="x", shape=(1, 1)), "shape": shape, "y": Tensor(name="y", shape=(1, 1))}
    copy = Operator(code="RESHAPE", inputs=("x", "shape"), outputs=("y",), options={"newShape": [1, 1]})
    return Model(tensors=tensors, operators=(copy,), inputs=("x",), outputs=("y",))


def _kind(operator: Operator, model: Model) -> object:
    tensors = [model.tensors[name] for name in (*operator.inputs, *operator.outputs)]
    return (
        operator.code,
        repr(sorted(operator.options.items())),
        tuple((tensor.shape, tensor.dtype, tensor.data is None) for tensor in tensors),
    )
