"""Measures what each step of the int8 conversion is worth on trained checkpoints, as SQNR of their logits.

A table of docs/conversion.md comes from:  python -m benchmarks.int8_fidelity DATA CHECKPOINT...
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from converters import calibration, int8_builder, pipeline
from converters.parity import sqnr_db
from converters.runners import Floats, TfliteModel
from tkd.audio.features import FeatureConfig
from tkd.checkpoint import load_student, read_checkpoint
from tkd.export.bundles import input_scale
from tkd.export.material import Amounts, load_material

CLIPS = 512
# name: (options of the request, what takes the place of a step)
VARIANTS: dict[str, tuple[dict[str, Any], dict[tuple[Any, str], Any]]] = {
    "as it is": ({}, {}),
    "nearest rounding": ({"rounding": "nearest"}, {}),
    "not equalized": ({}, {(int8_builder, "channel_scales"): lambda *_: {}}),
    "ranges also of what ReLU drops": ({}, {(calibration, "dropped_by_relu"): lambda _: {}}),
    "no margins": ({}, {(calibration, "_margins"): lambda _: {}}),
    "mse": ({"method": "mse"}, {}),
    "none of these": (
        {"rounding": "nearest"},
        {
            (int8_builder, "channel_scales"): lambda *_: {},
            (calibration, "dropped_by_relu"): lambda _: {},
            (calibration, "_margins"): lambda _: {},
        },
    ),
}


@contextmanager
def replaced(steps: dict[tuple[Any, str], Any]) -> Iterator[None]:
    """Inside the block, each (module, name) is something else."""
    kept = {place: getattr(*place) for place in steps}
    try:
        for (module, name), step in steps.items():
            setattr(module, name, step)
        yield
    finally:
        for (module, name), step in kept.items():
            setattr(module, name, step)


@contextmanager
def silent(_total: int, _label: str) -> Iterator[Any]:
    """A display of progress that shows nothing."""
    yield lambda _done: None


def main() -> None:
    """Prints one row for each variant, with the evaluation pack and the whole test split of each checkpoint."""
    data, *checkpoints = map(Path, sys.argv[1:])
    rows: dict[str, list[str]] = {name: [] for name in VARIANTS}
    for path in checkpoints:
        checkpoint = read_checkpoint(path)
        front_end = FeatureConfig.from_dict(checkpoint.spec.features)
        material = load_material(data, checkpoint.spec, front_end, Amounts(calibration=CLIPS), silent)
        student = load_student(checkpoint)
        material = material.scaled(input_scale(student, material))
        inputs, pack = material.test.inputs.numpy(), list(material.pack)
        for name, (options, steps) in VARIANTS.items():
            with replaced(steps):
                conversion = pipeline.convert(
                    pipeline.ConversionRequest(
                        module=student,
                        example=inputs[:1],
                        calibration=material.calibration.inputs.numpy(),
                        check=inputs[:8],
                        gates=None,
                        **options,
                    )
                )
            assert conversion.int8 is not None
            reference, seen = (TfliteModel(each.content).run(inputs) for each in (conversion.float32, conversion.int8))
            rows[name].append(f"{sqnr_db(reference[pack], seen[pack]):.1f} / {sqnr_db(reference, seen):.1f}")
            if name == "as it is":
                print(path, "seconds:", {step: round(value, 3) for step, value in conversion.seconds.items()})
                print(path, "best possible:", best_possible(reference[pack], conversion.int8))
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(cells)} |")


def best_possible(logits: Floats, file: pipeline.TfliteFile) -> str:
    """The SQNR that rounding the logits to the file's own output scale alone leaves."""
    rounded = file.output.dequantize(file.output.quantize(logits))
    return f"{sqnr_db(logits, np.asarray(rounded, np.float32)):.1f} dB"


if __name__ == "__main__":
    main()
