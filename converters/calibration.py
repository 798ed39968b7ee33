"""What every activation is over a set of clips; from it come the scales of `converters.quantize`.

The float TFLite model itself is run with all its tensors kept: the ranges are those of the fused operators
that the file has, and every operator that can be lowered can be calibrated. One run over the clips gives
the extremes of every channel, which `converters.equalize` evens out, and the moments for `converters.rounding`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from converters.errors import ConversionError
from converters.lowering.records import Array, Model
from converters.rounding import Moments, add_moments, can_compensate, columns_of, divide_moments, moment_keys
from converters.runners import TfliteModel

Method = Literal["minmax", "percentile", "mse"]
METHODS: tuple[Method, ...] = get_args(Method)
Range = tuple[float, float]

_BINS = 2048
_PERCENTILE = 99.99
_STEPS = 255
_CANDIDATES = np.linspace(0.3, 1.0, 71)
_BATCH = 16
_MOMENT_CLIPS = 128
# Of vectors, one value a channel and clip, the clips have shown few values: an unusual clip leaves the range.
# Coarser steps cost little in a mean, whose steps are fine beside those of what it averages, and more in an output.
_MEAN_MARGIN = 1.3
_OUTPUT_MARGIN = 1.1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Observed:
    """What the activations of a float32 model were over the calibration clips.

    Attributes:
        low: lowest value of each channel (the last axis) by tensor, shape (channels,), as far down as it matters.
        high: highest value, the same.
        moments: of what weights multiply, by `moment_keys`; empty where not asked for.
    """

    low: Mapping[str, Array]
    high: Mapping[str, Array]
    moments: Mapping[str, Moments]

    def sizes(self) -> dict[str, Array]:
        """The largest absolute value of each channel."""
        return {name: np.maximum(np.abs(self.low[name]), np.abs(self.high[name])) for name in self.low}

    def divided(self, model: Model, scales: Mapping[str, Array]) -> Observed:
        """What the model shows once its tensors are divided by `scales`, as `converters.equalize` does."""
        moments = dict(self.moments)
        for operator in model.operators:
            name, source = operator.outputs[0], operator.inputs[0]
            if name in moments and source in scales:
                moments[name] = divide_moments(moments[name], operator, model, scales[source])
        return Observed(
            low={name: values / scales.get(name, 1.0) for name, values in self.low.items()},
            high={name: values / scales.get(name, 1.0) for name, values in self.high.items()},
            moments=moments,
        )


def observe(content: bytes, model: Model, clips: Array, *, with_moments: bool = False) -> Observed:
    """The extremes of every channel of every activation, and the moments of what weights multiply.

    Args:
        content: the float32 TFLite file of `model`.
        model: float32.
        clips: float32, shape (clips, *axes of the input); of a model with states a structured array, see
            `converters.streams`.
        with_moments: also collect moments, over at most 128 clips spread over all.

    Raises:
        ConversionError: a tensor becomes NaN or infinite on a clip.
    """
    names = model.activations()
    others = dropped_by_relu(model)
    weighted = [each for each in model.operators if with_moments and can_compensate(each, model)]
    keys = moment_keys(model)
    chosen = set(np.linspace(0, len(clips) - 1, min(len(clips), _MOMENT_CLIPS)).astype(int).tolist())
    low: dict[str, Array] = {}
    high: dict[str, Array] = {}
    moments: dict[str, Moments] = {}
    for start, tensors in _batches(_runner(content, model), names, clips):
        for name, values in tensors.items():
            needed = np.maximum(values, -tensors[others[name]]) if name in others else values
            least, most = _by_channel(np.min, needed), _by_channel(np.max, values)
            if not (np.isfinite(least).all() and np.isfinite(most).all()):
                raise _not_finite(name, values, start)
            low[name] = np.minimum(low.get(name, least), least)
            high[name] = np.maximum(high.get(name, most), most)
        taken = [index for index in range(_BATCH) if start + index in chosen]
        for operator in weighted if taken else ():
            columns = columns_of(operator, model, tensors[operator.inputs[0]][taken])
            key = keys[operator.outputs[0]]
            moments[key] = add_moments(moments.get(key), columns)
    return Observed(low=low, high=high, moments=moments)


def choose_ranges(
    observed: Observed, model: Model, method: Method, content: Callable[[], bytes], clips: Array
) -> dict[str, Range]:
    """(lowest, highest) real value to represent, for each activation.

    Args:
        observed: on `model`.
        model: float32.
        method: `minmax` takes the extremes, with a margin for tensors with few values; `percentile` cuts 0.01 %
            at either end; `mse` cuts where rounding and clipping together cost least.
        content: gives the float32 TFLite file of `model`, where the method needs a second run.
        clips: the same that were observed.
    """
    needed = {name: (float(low.min()), float(observed.high[name].max())) for name, low in observed.low.items()}
    if method == "minmax":
        margins = _margins(model)
        return {name: (low * margins.get(name, 1), high * margins.get(name, 1)) for name, (low, high) in needed.items()}
    choose = {"percentile": _percentile_range, "mse": _least_error_range}[method]
    runner = _runner(content(), model)
    extremes = _extremes(runner, list(needed), clips)
    histograms = _histograms(runner, extremes, clips)
    cut = {name: choose(histograms[name], extremes[name]) for name in needed}
    return {name: (max(low, needed[name][0]), high) for name, (low, high) in cut.items()}


def calibrate(content: bytes, model: Model, clips: Array, method: Method) -> dict[str, Range]:
    """The ranges of a model as it stands: `observe` and `choose_ranges`."""
    return choose_ranges(observe(content, model, clips), model, method, lambda: content, clips)


def dropped_by_relu(model: Model) -> dict[str, str]:
    """Tensors that are only read by a sum with ReLU, and what they are added to there.

    Where a + b is negative the ReLU drops it, so a need be right down to −b only: max(a, −b) gives the same.
    In a residual block that takes a third to a half off the range of the branch.
    """
    readers = Counter(name for operator in model.operators for name in operator.inputs)
    readers.update(model.outputs)
    computed = set(model.activations())
    pairs: dict[str, str] = {}
    for operator in model.operators:
        if operator.code == "ADD" and operator.options.get("fusedActivationFunction") == "RELU":
            first, second = operator.inputs
            # Where one operand is repeated, any of its sums may be the one that counts: only the other is cut.
            whole = model.tensors[operator.outputs[0]].shape
            if first != second and {first, second} <= computed:
                both = ((first, second), (second, first))
                pairs |= {a: b for a, b in both if readers[a] == 1 and model.tensors[a].shape == whole}
    return pairs


def _runner(content: bytes, model: Model) -> TfliteModel:
    return TfliteModel(content, keeps_all=True, has_states=bool(model.states))


def _batches(runner: TfliteModel, names: Sequence[str], clips: Array) -> Iterator[tuple[int, dict[str, Array]]]:
    """The index of the first of every sixteen clips, and the named tensors, shape (clips, *axes with the batch)."""
    for start in range(0, len(clips), _BATCH):
        each = list(runner.trace(clips[start : start + _BATCH], names))
        tensors = {name: np.stack([tensors[name] for tensors in each]) for name in names}
        yield start, tensors


def _not_finite(name: str, values: Array, start: int) -> ConversionError:
    axes = tuple(range(1, values.ndim))
    index = int(np.flatnonzero(~np.isfinite(values).all(axis=axes))[0])
    seen = f"{values[index].min()} to {values[index].max()}"
    return ConversionError(f"tensor '{name}' is not finite on calibration clip {start + index}: {seen}")


def _by_channel(reduce: Callable[..., Array], values: Array) -> Array:
    """The extreme of every channel of shape (clips, *axes), shape (channels,); NaN where there is one.

    Over the clips first: numpy reduces wide rows many times as fast as rows of a few channels.
    """
    of_clips = reduce(values, axis=0)
    return reduce(of_clips.reshape(-1, of_clips.shape[-1] if of_clips.ndim else 1), axis=0)


def _margins(model: Model) -> dict[str, float]:
    """What the extremes of a tensor are multiplied by, for those with another factor than one."""
    vectors = {name for name in model.activations() if np.prod(model.tensors[name].shape[:-1]) == 1}
    means = {each.outputs[0]: _MEAN_MARGIN for each in model.operators if each.code == "MEAN"}
    factors = means | dict.fromkeys(set(model.outputs) - set(model.inputs), _OUTPUT_MARGIN)
    return {name: factor for name, factor in factors.items() if name in vectors}


def _extremes(model: TfliteModel, names: Sequence[str], clips: Array) -> dict[str, Range]:
    low = dict.fromkeys(names, np.inf)
    high = dict.fromkeys(names, -np.inf)
    for tensors in model.trace(clips, names):
        for name, values in tensors.items():
            low[name], high[name] = min(low[name], float(values.min())), max(high[name], float(values.max()))
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
