"""The range of every activation over a set of clips, from which `converters.quantize` takes its scales.

The float TFLite model itself is run with all its tensors kept: the ranges are those of the fused operators
that the file has, and every operator that can be lowered can be calibrated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np

from converters.errors import ConversionError
from converters.runners import Array, TfliteModel

Method = Literal["minmax", "percentile", "mse"]
METHODS: tuple[Method, ...] = get_args(Method)
Range = tuple[float, float]

_BINS = 2048
_PERCENTILE = 99.99
_STEPS = 255
_CANDIDATES = np.linspace(0.3, 1.0, 71)


def calibrate(content: bytes, names: Sequence[str], clips: Array, method: Method) -> dict[str, Range]:
    """(lowest, highest) real value to represent, for each named tensor.

    Args:
        content: the float32 TFLite file.
        names: of the activations, inputs among them.
        clips: float32, shape (clips, *axes of the input).
        method: `minmax` takes the extremes; `percentile` cuts 0.01 % at either end;
            `mse` cuts where rounding and clipping together cost least.

    Raises:
        ConversionError: a tensor becomes NaN or infinite on a clip.
    """
    model = TfliteModel(content, keeps_all=True)
    extremes = _extremes(model, names, clips)
    if method == "minmax":
        return extremes
    histograms = _histograms(model, extremes, clips)
    choose = {"percentile": _percentile_range, "mse": _least_error_range}[method]
    return {name: choose(histograms[name], extremes[name]) for name in names}


def _extremes(model: TfliteModel, names: Sequence[str], clips: Array) -> dict[str, Range]:
    low = dict.fromkeys(names, np.inf)
    high = dict.fromkeys(names, -np.inf)
    for index, tensors in enumerate(model.trace(clips, names)):
        for name, values in tensors.items():
            least, most = float(values.min()), float(values.max())
            if not np.isfinite(least + most):
                raise ConversionError(f"tensor '{name}' is not finite on calibration clip {index}: {least} to {most}")
            low[name], high[name] = min(low[name], least), max(high[name], most)
    return {name: (low[name], high[name]) for name in names}


def _histograms(model: TfliteModel, extremes: Mapping[str, Range], clips: Array) -> dict[str, Array]:
    counts = {name: np.zeros(_BINS, dtype=np.int64) for name in extremes}
    for tensors in model.trace(clips, list(extremes)):
        for name, values in tensors.items():
            low, high = extremes[name]
            factor = _BINS / (high - low) if high > low else 0.0
            places = ((values.reshape(-1) - np.float32(low)) * np.float32(factor)).astype(np.int32)
            counts[name] += np.bincount(np.clip(places, 0, _BINS - 1), minlength=_BINS)
    return counts


def _percentile_range(counts: Array, extremes: Range) -> Range:
    low, high = extremes
    share = np.cumsum(counts) / counts.sum()
    cut = 1.0 - _PERCENTILE / 100.0
    edges = np.linspace(low, high, _BINS + 1)
    return float(edges[np.searchsorted(share, cut, side="right")]), float(edges[np.searchsorted(share, 1.0 - cut) + 1])


def _least_error_range(counts: Array, extremes: Range) -> Range:
    """The range, shrunk towards zero, with the least expected squared error; both ends shrink alike."""
    low, high = min(extremes[0], 0.0), max(extremes[1], 0.0)
    edges = np.linspace(*extremes, _BINS + 1)
    centres = (edges[:-1] + edges[1:]) / 2
    errors = []
    for factor in _CANDIDATES:
        step = (high - low) * factor / _STEPS
        clipped = np.clip(centres, low * factor, high * factor)
        beyond = centres - clipped
        # Inside, rounding costs step²/12 on average; a value that is exactly zero is represented exactly.
        rounding = np.where((beyond == 0) & (np.abs(centres) > step / 2), step**2 / 12, 0.0)
        errors.append(float(np.sum(counts * (beyond**2 + rounding))))
    factor = float(_CANDIDATES[int(np.argmin(errors))])
    return low * factor, high * factor
