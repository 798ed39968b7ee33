"""Measures when a convolution gains from int8 weights multiplied as such: dynamic range against float32.

A table of docs/precisions.md comes from:  python -m benchmarks.dynamic_range
"""

from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np

from converters.latency import latency_ratios
from converters.lowering.records import Model, Operator, Tensor
from converters.lowering.writer import write_model
from converters.weight_forms import change_weights

PLACES, INPUTS, OUTPUTS, TAPS = (1, 12, 50, 101, 505, 2020), (8, 16, 24, 40, 64), (8, 16, 32, 64), (1, 3, 9)
BLOCKS = 5


def convolution(places: int, channels: int, outputs: int, taps: int) -> Model:
    """One CONV_2D over time with random weights."""
    weights = np.random.default_rng(0).standard_normal((outputs, 1, taps, channels)).astype(np.float32)
    tensors = (
        Tensor(name="x", shape=(1, 1, places, channels)),
        Tensor(name="weights", shape=weights.shape, data=weights),
        Tensor(name="bias", shape=(outputs,), data=np.zeros(outputs, np.float32)),
        Tensor(name="y", shape=(1, 1, places, outputs)),
    )
    steps = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    operator = Operator(
        code="CONV_2D",
        inputs=("x", "weights", "bias"),
        outputs=("y",),
        options={"padding": "SAME", **steps, "fusedActivationFunction": "NONE"},
    )
    return Model(tensors={each.name: each for each in tensors}, operators=(operator,), inputs=("x",), outputs=("y",))


def main() -> None:
    """Prints the median ratio for each number of weights behind an output."""
    ratios = defaultdict(list)
    for places, channels, outputs, taps in itertools.product(PLACES, INPUTS, OUTPUTS, TAPS):
        if taps > places:
            continue
        model = convolution(places, channels, outputs, taps)
        files = {
            "float32": write_model(model, description="float32"),
            "dynamic": write_model(change_weights(model, {"y": "dynamic"}), description="dynamic"),
        }
        clip = np.random.default_rng(1).standard_normal((1, 1, places, channels)).astype(np.float32)
        ratios[taps * channels].append(latency_ratios(files, clip, blocks=BLOCKS)["dynamic"].ratio)
    print("weights behind each output | convolutions | median latency ratio | quartiles")
    for columns, seen in sorted(ratios.items()):
        low, middle, high = np.quantile(seen, [0.25, 0.5, 0.75])
        print(f"{columns} | {len(seen)} | {middle:.2f} | {low:.2f} – {high:.2f}")


if __name__ == "__main__":
    main()
