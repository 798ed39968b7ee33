"""Makes the two models of `tkd-bench selftest`: a plain one, and one with a tenth more of the very same layers.

    input (1, 1, 32, 32) ── 1×1 conv to 24 ── 20 or 22 × (1×1 conv 24 → 24, ReLU) ── mean ── 4 classes

The layers are equal in shape, so that the extra work is known from their number; weights are random, and the labels
of the evaluation pack are what the plain model answers. Needs the extra `export`; a bench machine does not.

    python benchmarks/selftest_models.py android_bench/selftest
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from converters.bundle import BundleContents, EvaluationPack, write_bundle
from converters.pipeline import convert
from converters.report import report_document, shares_document
from converters.request import ConversionRequest
from converters.runners import TfliteModel

LAYERS = {"plain": 20, "more": 22}
CHANNELS, SIDE, CLASSES, CLIPS, GOLDEN = 24, 32, 4, 8, 2


class Stack(nn.Module):
    """The first `layers` of one fixed series of equal layers."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first = nn.Conv2d(1, CHANNELS, 1)
        series = [nn.Conv2d(CHANNELS, CHANNELS, 1) for _ in range(max(LAYERS.values()))]
        self.last = nn.Linear(CHANNELS, CLASSES)
        for layer in series:
            nn.init.orthogonal_(layer.weight, gain=2**0.5)  # keeps the size of what passes through its ReLU
            nn.init.constant_(layer.bias, 0.01)
        self.middle = nn.Sequential(*(nn.Sequential(layer, nn.ReLU()) for layer in series[:layers]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (batch, classes) of images (batch, 1, side, side)."""
        return self.last(self.middle(self.first(images)).mean(dim=(2, 3)))


def macs(layers: int) -> int:
    """Multiply-accumulates of one inference."""
    return SIDE * SIDE * (CHANNELS + layers * CHANNELS * CHANNELS) + CHANNELS * CLASSES


def main() -> None:
    """Writes both bundles."""
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("folder", type=Path)
    folder = made.parse_args().folder
    images = np.random.default_rng(1).uniform(0, 1, (CLIPS, 1, SIDE, SIDE)).astype(np.float32)
    labels = None
    for name, layers in LAYERS.items():
        module = Stack(layers).eval()
        conversion = convert(ConversionRequest(module=module, example=images[:1]))
        file = conversion.files["float32"]
        model = TfliteModel(file.content)
        outputs = model.run_stored(images)
        labels = outputs.argmax(axis=1) if labels is None else labels
        write_bundle(
            folder / name,
            BundleContents(
                name=f"selftest-{name}",
                student="selftest",
                precision="float32",
                model=file.content,
                onnx=conversion.onnx,
                inputs=(file.input,),
                outputs=(file.output,),
                labels=tuple("abcd"),
                front_end={},
                ops={
                    "by_type": dict(file.operators),
                    "versions": dict(file.op_versions),
                    "int8_share": shares_document(file.shares),
                    "macs": macs(layers),
                },
                parity=report_document(conversion)["parity"],
                accuracy={},
                calibration={},
                parents={"made_by": "benchmarks/selftest_models.py", "layers": layers},
                tools={},
                git={},
                data={"synthetic": True, "name": "random numbers"},
                golden_input=images[:GOLDEN],
                golden_output=outputs[:GOLDEN],
                evaluation=EvaluationPack(
                    inputs=images, labels=labels, ids=tuple(f"noise{number}" for number in range(CLIPS))
                ),
                report_markdown=f"# selftest-{name}\n\n{layers} equal layers of random weights.\n",
                report={},
            ),
            force=True,
        )
        print(f"{name}: {layers} layers, {macs(layers)} MACs, {len(file.content)} bytes, largest {abs(outputs).max()}")
    print(f"extra work: {macs(LAYERS['more']) / macs(LAYERS['plain']) - 1:.4f}")


if __name__ == "__main__":
    main()
