"""Measures the conversion of TC-ResNet8: seconds, operators, SQNR by calibration method, latency on this computer.

The tables of docs/conversion.md come from:  python -m benchmarks.conversion
The data are synthetic (twelve noisy, shifted, smooth patterns), the network is trained on them for eight epochs.
"""

from __future__ import annotations

import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from converters.calibration import METHODS
from converters.parity import INT8_STAGE
from converters.pipeline import Conversion, ConversionRequest, convert
from converters.runners import Array, Floats, TfliteModel
from tkd.students import build_student

FRAMES, COEFFICIENTS, CLASSES = 98, 40, 12
EPOCHS, BATCH = 8, 100
SIZES = np.exp(-np.arange(COEFFICIENTS) / 12) * 8 + 0.5  # coefficients fall off as those of MFCC do
INVOKES = 10_000


def patterns() -> Array:
    """One smooth pattern for each class, shape (classes, frames, coefficients)."""
    rough = np.random.default_rng(0).standard_normal((CLASSES, FRAMES, COEFFICIENTS))
    taps = np.hanning(11)[1:-1] / np.hanning(11).sum()
    return 3 * np.apply_along_axis(lambda row: np.convolve(row, taps, "same"), 1, rough)


def clips(count: int, seed: int) -> tuple[Floats, Array]:
    """Features, shape (count, frames, coefficients), and labels, shape (count,)."""
    rng = np.random.default_rng(seed)
    known, labels = patterns(), rng.integers(0, CLASSES, count)
    shifted = [np.roll(known[label], rng.integers(-12, 13), axis=0) * rng.uniform(0.6, 1.4) for label in labels]
    features = (np.stack(shifted) + rng.standard_normal((count, FRAMES, COEFFICIENTS)) * 0.6) * SIZES
    features[:, :, 0] -= 25 + 5 * rng.standard_normal((count, 1))
    return features.astype(np.float32), labels


def trained() -> nn.Module:
    """TC-ResNet8 after eight epochs; seeded."""
    torch.manual_seed(0)
    features, labels = (torch.from_numpy(each) for each in clips(3000, 1))
    network = build_student("tcresnet8", COEFFICIENTS, CLASSES)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.momentum = 0.05
    optimiser = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, weight_decay=1e-3)
    for epoch in range(EPOCHS):
        optimiser.param_groups[0]["lr"] = 0.1 * (1 - epoch / EPOCHS)
        for batch in torch.randperm(len(features)).split(BATCH):
            optimiser.zero_grad()
            F.cross_entropy(network(features[batch]), labels[batch]).backward()
            optimiser.step()
    return network.eval()


def latency_us(content: bytes, clip: Floats) -> float:
    """The median time of one inference on one thread, feeding and fetching included, in microseconds."""
    model = TfliteModel(content)
    stored = model.input.quantize(clip[None])
    times = []
    for _ in range(INVOKES):
        start = time.perf_counter_ns()
        model.run_stored(stored)
        times.append(time.perf_counter_ns() - start)
    return float(np.median(times)) / 1e3


def main() -> None:
    """Prints what the tables show."""
    network = trained()
    calibration, held_out = clips(512, 1)[0], clips(600, 2)[0]

    with_outlier = calibration.copy()
    with_outlier[5] *= 10

    def converted(count: int, method: str, known: Floats = calibration) -> Conversion:
        request = ConversionRequest(
            module=network,
            example=held_out[:1],
            calibration=known[:count],
            method=method,  # type: ignore[arg-type]
            check=held_out,
            input_name="features",
            output_name="logits",
            gates=None,
        )
        return convert(request)

    converted(8, "minmax")  # the first export imports what later ones have
    conversion = converted(256, "minmax")
    print("seconds:", {name: round(value, 3) for name, value in conversion.seconds.items()})
    for stage in conversion.parity.stages:
        print(f"{stage.stage}: relative error {stage.relative_error:.2g}, SQNR {stage.sqnr_db:.1f} dB")
    for file in (conversion.float32, conversion.int8):
        assert file is not None
        print(
            f"{file.precision}: {sum(file.operators.values())} operators {dict(file.operators)}, "
            f"{len(file.content):,} bytes, {latency_us(file.content, held_out[0]):.1f} µs"
        )
    for method in METHODS:
        seen = [converted(count, method).parity.stage(INT8_STAGE) for count in (128, 256, 512)]
        # A clip ten times too loud among 256, as a broken recording is.
        seen.append(converted(256, method, with_outlier).parity.stage(INT8_STAGE))
        print(f"{method}:", " ".join(f"{stage.sqnr_db:.1f} dB" for stage in seen if stage is not None))


if __name__ == "__main__":
    main()
