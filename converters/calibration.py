"""What every activation is over a set of clips; from it come the scales of `converters.quantize`.

The float TFLite model itself is run with all its activations in sight: the ranges are those of the fused operators
that the file has, and every operator that can be lowered can be calibrated. One run over the clips gives
the extremes of every channel, which `converters.equalize` evens out, and the moments for `converters.rounding`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from converters.errors import ConversionError
from converters.lowering.records import Array, Model, Operator
from converters.rounding import Moments, Sums, can_compensate, columns_of, divide_moments, moment_keys, places_of
from converters.runners import Floats
from converters.watching import WatchedModel

Method = Literal["minmax", "percentile", "mse"]
METHODS: tuple[Method, ...] = get_args(Method)
Range = tuple[float, float]

_BINS = 2048
_PERCENTILE = 99.99
_STEPS = 255
_CANDIDATES = np.linspace(0.3, 1.0, 71)
_BATCH = 16
_MOMENT_CLIPS = 128
# Of every map, so many places a clip at least, and so many in all for each weight behind an output; in turns.
_LEAST_PLACES = 64
_COLUMNS_SEEN = 128
_PLACE_SETS = 4
_PLACES_SEED = 20_211_027
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


def observe(model: Model, clips: Array, *, with_moments: bool = False) -> Observed:
    """The extremes of every channel of every activation, and the moments of what weights multiply.

    Args:
        model: float32.
        clips: float32, shape (clips, *axes of the input); of a model with states a structured array, see
            `converters.streams`.
        with_moments: also collect moments, over at most 128 clips spread over all.

    Raises:
        ConversionError: a tensor becomes NaN or infinite on a clip.
    """
    watched = WatchedModel(model)
    gathered = _Gathered(model, len(clips), watched.values) if with_moments else None
    low = [np.full_like(block, np.inf) for block in watched.blocks]
    high = [np.full_like(block, -np.inf) for block in watched.blocks]
    lowest = watched.inside(low)
    dropped = dropped_by_relu(model)
    # What a ReLU drops is seen by itself: these have two lowest values, of which the first is not used.
    needed = {name: np.full_like(watched.values[name], np.inf) for name in dropped}
    spare = {name: np.empty_like(values) for name, values in needed.items()}
    for clip in watched.each(clips):
        for block, least, most in zip(watched.blocks, low, high, strict=True):
            np.minimum(least, block, out=least)
            np.maximum(most, block, out=most)
        for name, other in dropped.items():
            least = np.negative(watched.values[other], out=spare[name])
            np.maximum(least, watched.values[name], out=least)
            np.minimum(needed[name], least, out=needed[name])
        if gathered is not None:
            gathered.take(clip)
    names = model.activations()
    highest = watched.inside(high)
    if not all(np.isfinite(values[name]).all() for values in (lowest, highest) for name in names):
        raise _not_finite(watched, names, clips)
    lowest |= needed
    return Observed(
        low={name: _by_channel(np.min, lowest[name]) for name in names},
        high={name: _by_channel(np.max, highest[name]) for name in names},
        moments=gathered.moments() if gathered else {},
    )


class _Gathered:
    """What is known of the columns that a model's weights multiply, while it runs.

    Args:
        model: float32.
        clips: how many it will run over; of 128 of them, evenly spread, columns are looked at one by one.
        values: its activations, of the clip that was computed last.
    """

    def __init__(self, model: Model, clips: int, values: Mapping[str, Floats]) -> None:
        self._model = model
        self._clips = clips
        self._chosen = set(np.linspace(0, clips - 1, min(clips, _MOMENT_CLIPS)).astype(int).tolist())
        weighted = [each for each in model.operators if can_compensate(each, model)]
        keys = moment_keys(model)
        self._keys = {each.outputs[0]: keys[each.outputs[0]] for each in weighted}
        rng = np.random.default_rng(_PLACES_SEED)
        self._columns = [_Columns(each, model, len(self._chosen), rng) for each in weighted]
        self._values = {each.inputs[0]: values[each.inputs[0]] for each in weighted}
        self._added = {name: np.zeros_like(each) for name, each in self._values.items()}
        self._sums = {key: Sums() for key in self._keys.values()}
        self._waiting: dict[str, list[Floats]] = {key: [] for key in self._sums}
        self._taken = 0

    def take(self, clip: int) -> None:
        """Looks at the clip of that index, which the model has just computed."""
        for name, values in self._values.items():
            np.add(self._added[name], values, out=self._added[name])
        if clip in self._chosen:
            for columns in self._columns:
                seen = columns.of(self._values[columns.operator.inputs[0]], self._taken)
                self._waiting[self._keys[columns.operator.outputs[0]]].append(seen)
            self._taken += 1
            if self._taken % _BATCH == 0 or self._taken == len(self._chosen):
                self._see()

    def moments(self) -> dict[str, Moments]:
        """By `moment_keys`, once the model has run over all clips."""
        for columns in self._columns:
            operator = columns.operator
            whole = columns_of(operator, self._model, self._added[operator.inputs[0]][None])
            self._sums[self._keys[operator.outputs[0]]].add_whole(whole, self._clips)
        return {key: sums.moments() for key, sums in self._sums.items()}

    def _see(self) -> None:
        for key, waiting in self._waiting.items():
            self._sums[key].see(np.concatenate(waiting, axis=1))
            waiting.clear()


class _Columns:
    """The columns that one operator's weights multiply, at some of the places of its map, others with every clip.

    Neighbours tell the same, and all cost much.

    Args:
        operator: one with weights.
        model: that it is in.
        clips: how many will be taken.
        rng: chooses the places.
    """

    def __init__(self, operator: Operator, model: Model, clips: int, rng: np.random.Generator) -> None:
        self.operator = operator
        places = places_of(operator, model)
        weights = model.tensors[operator.inputs[1]].shape
        enough = max(_LEAST_PLACES, _COLUMNS_SEEN * int(np.prod(weights[1:])) // clips)
        shape = model.tensors[operator.inputs[0]].shape
        # Columns of a map of numbers tell where each of their values lies in it; 0 is what lies outside.
        numbers = np.arange(1, np.prod(shape) + 1, dtype=np.float64).reshape(1, *shape)
        chosen = [None] if places <= enough else [rng.choice(places, enough, replace=False) for _ in range(_PLACE_SETS)]
        self._sources = [columns_of(operator, model, numbers, each).astype(np.int64) - 1 for each in chosen]
        self._outside = [each < 0 if (each < 0).any() else None for each in self._sources]

    def of(self, values: Floats, turn: int) -> Floats:
        """Those of one clip, shape (groups, places, columns).

        Args:
            values: the operator's input.
            turn: how many clips were looked at before it.
        """
        which = turn % len(self._sources)
        columns = values.reshape(-1).take(self._sources[which])
        outside = self._outside[which]
        if outside is not None:
            columns[outside] = 0.0
        return columns


def choose_ranges(observed: Observed, model: Model, method: Method, clips: Array) -> dict[str, Range]:
    """(lowest, highest) real value to represent, for each activation.

    Args:
        observed: on `model`.
        model: float32.
        method: `minmax` takes the extremes, with a margin for tensors with few values; `percentile` cuts 0.01 %
            at either end; `mse` cuts where rounding and clipping together cost least.
        clips: the same that were observed.
    """
    needed = {name: (float(low.min()), float(observed.high[name].max())) for name, low in observed.low.items()}
    if method == "minmax":
        margins = _margins(model)
        return {name: (low * margins.get(name, 1), high * margins.get(name, 1)) for name, (low, high) in needed.items()}
    choose = {"percentile": _percentile_range, "mse": _least_error_range}[method]
    watched = WatchedModel(model)
    extremes = _extremes(watched, list(needed), clips)
    histograms = _histograms(watched, extremes, clips)
    cut = {name: choose(histograms[name], extremes[name]) for name in needed}
    return {name: (max(low, needed[name][0]), high) for name, (low, high) in cut.items()}


def calibrate(model: Model, clips: Array, method: Method) -> dict[str, Range]:
    """The ranges of a model as it stands: `observe` and `choose_ranges`."""
    return choose_ranges(observe(model, clips), model, method, clips)


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


def _not_finite(watched: WatchedModel, names: Sequence[str], clips: Array) -> ConversionError:
    """Which tensor is not finite first, on which clip."""
    for clip in watched.each(clips):
        for name in names:
            values = watched.values[name]
            if not np.isfinite(values).all():
                seen = f"{values.min()} to {values.max()}"
                return ConversionError(f"tensor '{name}' is not finite on calibration clip {clip}: {seen}")
    raise AssertionError("a tensor was not finite before")


def _by_channel(reduce: Callable[..., Array], values: Array) -> Array:
    """The extreme of every channel of shape (*axes, channels), shape (channels,)."""
    return reduce(values.reshape(-1, values.shape[-1] if values.ndim else 1), axis=0)


def _margins(model: Model) -> dict[str, float]:
    """What the extremes of a tensor are multiplied by, for those with another factor than one."""
    vectors = {name for name in model.activations() if np.prod(model.tensors[name].shape[:-1]) == 1}
    means = {each.outputs[0]: _MEAN_MARGIN for each in model.operators if each.code == "MEAN"}
    factors = means | dict.fromkeys(set(model.outputs) - set(model.inputs), _OUTPUT_MARGIN)
    return {name: factor for name, factor in factors.items() if name in vectors}


def _extremes(watched: WatchedModel, names: Sequence[str], clips: Array) -> dict[str, Range]:
    low = dict.fromkeys(names, np.inf)
    high = dict.fromkeys(names, -np.inf)
    for _ in watched.each(clips):
        for name in names:
            low[name] = min(low[name], float(watched.values[name].min()))
            high[name] = max(high[name], float(watched.values[name].max()))
    return {name: (low[name], high[name]) for name in names}


def _histograms(watched: WatchedModel, extremes: Mapping[str, Range], clips: Array) -> dict[str, Array]:
    counts = {name: np.zeros(_BINS, dtype=np.int64) for name in extremes}
    for _ in watched.each(clips):
        for name, (low, high) in extremes.items():
            factor = _BINS / (high - low) if high > low else 0.0
            places = ((watched.values[name].reshape(-1) - np.float32(low)) * np.float32(factor)).astype(np.int32)
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
