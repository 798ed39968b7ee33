"""Weights rounded to int8 so that the error of one is made up for by those that are rounded after it.

Rounding each weight to its nearest level makes each weight's error small; what counts is the layer's output.

    error of a layer's outputs = (W − Ŵ) · H · (W − Ŵ)ᵀ,   H = E[(x − μ)(x − μ)ᵀ] of the columns x it multiplies
    bias                       = b + (W − Ŵ) · μ

Between `converters.quantize`, which chooses the scales, and `converters.lowering.writer`.
Source: Frantar et al. 2022, "GPTQ: Accurate post-training quantization for generative pre-trained transformers",
arXiv 2210.17323, algorithm 1, with columns in the order of falling H_jj, in the form of Chee et al. 2023, "QuIP",
arXiv 2307.13304, which rounds to the same levels without H's inverse; the bias: Nagel et al. 2019, arXiv 1906.04721,
section 4.2, with measured means.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from converters.lowering.operators import OPERATORS, Int8Rule
from converters.lowering.padding import same_padding
from converters.lowering.records import Array, Model, Operator

Rounding = Literal["compensated", "nearest"]
ROUNDINGS: tuple[Rounding, ...] = get_args(Rounding)

_LIMIT = 127
# The factorisation costs their cube, and their products have to be kept.
_MAX_COLUMNS = 1024
# Scales are tried from the finest to this many times as coarse, at most so many, and while their work is small.
_COARSEST = 1.5
_MOST_SCALES = 64
_TRIAL_WORK = 2e6
# Of the mean of H_jj, added to each of them (Frantar et al., section 3.3, step 3).
_DAMPING = 0.01


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moments:
    """First and second moments of what a layer's weights multiply, one set for each group of a convolution.

    Attributes:
        count: how many columns were seen.
        total: their sum, shape (groups, columns).
        products: the sum of their outer products, shape (groups, columns, columns).
        mean: μ of all columns, seen or not, shape (groups, columns).
    """

    count: int
    total: Array
    products: Array
    mean: Array

    @property
    def covariance(self) -> Array:
        """H, shape (groups, columns, columns), as far as this many columns tell it.

        Of n columns seen k times, some agree by chance; products of different ones shrink by k / (k + 2 · n),
        which leaves nearest rounding where little was seen.
        Simpler than Ledoit and Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices",
        whose intensity needs fourth moments.
        """
        mean = self.total / self.count
        covariance: Array = self.products / self.count - mean[:, :, None] * mean[:, None, :]
        own = np.eye(covariance.shape[1], dtype=bool)
        covariance[:, ~own] *= self.count / (self.count + 2 * covariance.shape[1])
        return covariance


def moment_keys(model: Model) -> dict[str, str]:
    """Under which name the moments of an operator are kept, by its first output: that name itself, or its weights'.

    Weights that several operators share, as the steps of a recurrence do, are rounded for all that they multiply.
    """
    weighted = [each for each in model.operators if OPERATORS[each.code].rule is Int8Rule.WEIGHTS]
    uses = Counter(each.inputs[1] for each in weighted)
    return {each.outputs[0]: each.inputs[1] if uses[each.inputs[1]] > 1 else each.outputs[0] for each in weighted}


def can_compensate(operator: Operator, model: Model) -> bool:
    """Whether an operator has weights, and few enough for each output that their covariance is worth its cost."""
    return (
        OPERATORS[operator.code].rule is Int8Rule.WEIGHTS
        and by_group(model.tensors[operator.inputs[1]].content, operator, model).shape[2] <= _MAX_COLUMNS
    )


def by_group(weights: Array, operator: Operator, model: Model) -> Array:
    """Weights as matrices, shape (groups, outputs of a group, columns); the columns are (height, width, channels)."""
    channels = model.tensors[operator.inputs[0]].shape[-1]
    if operator.code == "DEPTHWISE_CONV_2D":
        return weights.reshape(-1, channels, weights.shape[-1] // channels).transpose(1, 2, 0)
    groups = channels // weights.shape[-1] if operator.code == "CONV_2D" else 1
    return weights.reshape(groups, len(weights) // groups, -1)


def from_groups(matrices: Array, operator: Operator, model: Model) -> Array:
    """The inverse of `by_group`."""
    shape = model.tensors[operator.inputs[1]].shape
    return (matrices.transpose(2, 0, 1) if operator.code == "DEPTHWISE_CONV_2D" else matrices).reshape(shape)


def places_of(operator: Operator, model: Model) -> int:
    """At how many places of a map the weights of an operator are multiplied; of a matrix, with how many rows."""
    if operator.code == "FULLY_CONNECTED":
        rows = np.prod(model.tensors[operator.inputs[0]].shape)
        return int(rows // model.tensors[operator.inputs[1]].shape[1])
    return int(np.prod(model.tensors[operator.outputs[0]].shape[-3:-1]))


def columns_of(operator: Operator, model: Model, values: Array, places: Array | None = None) -> Array:
    """What the weights multiply, shape (groups, clips · places, columns), of the operator's input over some clips.

    Args:
        operator: one with weights.
        model: that it is in.
        values: float32, shape (clips, *axes of its input).
        places: which of `places_of` of each map or clip, shape (places,); None takes all.
    """
    weights = model.tensors[operator.inputs[1]].shape
    if operator.code == "FULLY_CONNECTED":
        rows = values.reshape(len(values), -1, weights[1])
        return (rows if places is None else rows[:, places]).reshape(1, -1, weights[1])
    options = operator.options
    values = values.reshape(-1, *values.shape[-3:])
    strides = options["strideH"], options["strideW"]
    dilations = options["dilationHFactor"], options["dilationWFactor"]
    if options["padding"] == "SAME":
        zeros = map(same_padding, values.shape[1:3], weights[1:3], strides, dilations)
        values = np.pad(values, ((0, 0), *zeros, (0, 0)))
    reach = tuple((taps - 1) * dilation + 1 for taps, dilation in zip(weights[1:3], dilations, strict=True))
    windows = np.lib.stride_tricks.sliding_window_view(values, reach, axis=(1, 2))
    windows = windows[:, :: strides[0], :: strides[1], :, :: dilations[0], :: dilations[1]]
    if places is not None:
        windows = windows[:, *np.divmod(places, windows.shape[2])][:, :, None]
    # (clips, height, width, channels, taps, taps) → (groups, clips · height · width, taps · taps · channels of a group)
    groups = values.shape[3] // (1 if operator.code == "DEPTHWISE_CONV_2D" else weights[3])
    split = windows.reshape(*windows.shape[:3], groups, -1, *windows.shape[4:])
    return split.transpose(3, 0, 1, 2, 5, 6, 4).reshape(groups, -1, weights[1] * weights[2] * split.shape[4])


@dataclass(slots=True, kw_only=True, eq=False)
class Sums:
    """What moments are made from, while columns are being seen.

    Attributes:
        count: how many columns were seen.
        total: their sum, shape (groups, columns).
        products: the sum of their outer products, shape (groups, columns, columns).
        whole_count: how many columns there were.
        whole_total: the sum of all columns, shape (groups, columns).
    """

    count: int = 0
    total: Array | float = 0.0
    products: Array | float = 0.0
    whole_count: int = 0
    whole_total: Array | float = 0.0

    def see(self, columns: Array) -> None:
        """Takes in some columns, float32, shape (groups, places, columns)."""
        self.count += columns.shape[1]
        self.total = self.total + (np.ones((1, columns.shape[1]), np.float32) @ columns)[:, 0].astype(np.float64)
        self.products = self.products + (columns.transpose(0, 2, 1) @ columns).astype(np.float64)

    def add_whole(self, columns: Array, clips: int) -> None:
        """Takes in all columns of some clips, added up over the clips, shape (groups, places, columns)."""
        self.whole_count += clips * columns.shape[1]
        self.whole_total = self.whole_total + columns.sum(axis=1, dtype=np.float64)

    def moments(self) -> Moments:
        """As far as they are known."""
        total, products, whole = (np.asarray(each) for each in (self.total, self.products, self.whole_total))
        return Moments(count=self.count, total=total, products=products, mean=whole / self.whole_count)


def divide_moments(moments: Moments, operator: Operator, model: Model, scales: Array) -> Moments:
    """The moments of an operator whose input's channels are divided by `scales`, shape (channels,)."""
    weights = model.tensors[operator.inputs[1]].shape
    groups, columns = moments.total.shape
    taps = 1 if operator.code == "FULLY_CONNECTED" else weights[1] * weights[2]
    factors = np.tile(scales.reshape(groups, 1, -1), (1, taps, 1)).reshape(groups, columns)
    return Moments(
        count=moments.count,
        total=moments.total / factors,
        products=moments.products / (factors[:, :, None] * factors[:, None, :]),
        mean=moments.mean / factors,
    )


def round_weights(int8: Model, float32: Model, moments: Mapping[str, Moments]) -> Model:
    """The int8 model with the weights and biases of every operator that has moments rounded anew.

    Args:
        int8: what `quantize` made of `float32`.
        float32: the model with the weights that are to be rounded.
        moments: of the columns in `float32`, by the name of the operator's output.
    """
    tensors = dict(int8.tensors)
    sources = {operator.outputs[0]: operator for operator in float32.operators}
    for operator in int8.operators:
        name = operator.outputs[0]
        if name not in moments:
            continue
        source, seen = sources[name], moments[name]
        data, weights, bias = (int8.tensors[each] for each in operator.inputs)
        assert data.quantization is not None
        assert weights.quantization is not None
        assert bias.quantization is not None
        exact = by_group(float32.tensors[source.inputs[1]].content.astype(np.float64), source, float32)
        # The input's own rounding, white with a variance of step² / 12, is multiplied by the weights too.
        noise = float(data.quantization.scales[0]) ** 2 / 12
        covariance = seen.covariance + noise * np.eye(exact.shape[2])
        stored, scales = round_and_scale(exact, weights.quantization.scales, covariance)
        shift = (exact - stored * _wide(scales, exact)) @ seen.mean[:, :, None]
        offset = float32.tensors[source.inputs[2]].content + shift.reshape(-1)
        for_bias = replace(bias.quantization, scales=scales * np.float32(data.quantization.scales[0]))
        levels = from_groups(stored, source, float32).astype(np.int8)
        tensors[weights.name] = replace(weights, data=levels, quantization=replace(weights.quantization, scales=scales))
        tensors[bias.name] = replace(bias, data=for_bias.quantize(offset, bits=32), quantization=for_bias)
    return replace(int8, tensors=tensors)


def round_to(scales: Array, operator: Operator, model: Model, moments: Moments) -> tuple[Array, Array]:
    """int8 weights of an operator whose data are float, and their scales, of shape (outputs,) or (1,).

    Args:
        scales: real units of one level that reach the largest weights.
        operator: one with weights.
        model: float32.
        moments: of what the weights multiply.
    """
    exact = by_group(model.tensors[operator.inputs[1]].content.astype(np.float64), operator, model)
    mean = moments.mean
    # Nothing takes up what is left in the mean here, so that products count, not covariances.
    products = moments.covariance + mean[:, :, None] * mean[:, None, :]
    levels, chosen = round_and_scale(exact, scales, products)
    return from_groups(levels, operator, model).astype(np.int8), chosen


def round_and_scale(weights: Array, scales: Array, covariance: Array) -> tuple[Array, Array]:
    """Levels of weights, as `compensated`, and their scales: those of a few coarser ones that leave the least error.

    Of few columns, some scale puts all weights near a level: a depthwise kernel of three taps gains 10 dB.

    Args:
        weights: float64, shape (groups, outputs, columns).
        scales: of one level, float32, shape (groups · outputs,), or (1,) for one scale of all.
        covariance: H, shape (groups, columns, columns).
    """
    groups, outputs, columns = weights.shape
    count = int(np.clip(_TRIAL_WORK / (groups * outputs * columns**2), 1, _MOST_SCALES))
    factors = np.linspace(1.0, _COARSEST, count, endpoint=False)
    tried = _wide(scales, weights)[:, :, None] * factors[:, None]
    repeated = np.repeat(weights[:, :, None], count, axis=2).reshape(groups, outputs * count, columns)
    levels = compensated(repeated, tried.reshape(groups, outputs * count, 1), covariance)
    left = repeated - levels * tried.reshape(groups, outputs * count, 1)
    errors = output_error(left, covariance).reshape(groups, outputs, count)
    if len(scales) == 1:
        errors = np.broadcast_to(errors.sum(axis=(0, 1)), errors.shape)
    best = errors.argmin(axis=2)
    chosen = np.take_along_axis(levels.reshape(groups, outputs, count, columns), best[:, :, None, None], 2)[:, :, 0]
    factor = factors[best].reshape(-1)[: len(scales)]
    return chosen, (scales * factor).astype(np.float32)


def _wide(scales: Array, weights: Array) -> Array:
    """Scales of shape (outputs,) or (1,) as they multiply weights, float64, shape (groups, outputs of a group, 1)."""
    groups, outputs = weights.shape[:2]
    return np.broadcast_to(scales.astype(np.float64), groups * outputs).reshape(groups, outputs, 1)


def compensated(weights: Array, scales: Array, covariance: Array) -> Array:
    """Levels of weights, −127 … 127, no worse at the outputs than the nearest ones.

    Args:
        weights: float64, shape (groups, outputs, columns).
        scales: of one level, shape (groups, outputs, 1).
        covariance: H, shape (groups, columns, columns).
    """
    order = np.argsort(-np.diagonal(covariance, axis1=1, axis2=2), axis=1, kind="stable")
    ordered = np.take_along_axis(np.take_along_axis(covariance, order[:, :, None], 1), order[:, None, :], 2)
    size = np.trace(ordered, axis1=1, axis2=2)[:, None, None] / ordered.shape[1]
    damped = ordered + (_DAMPING * size + np.finfo(np.float32).tiny) * np.eye(ordered.shape[1])
    # H = U Uᵀ with U upper triangular: Cholesky's factor of H read from its last row and column.
    upper = np.linalg.cholesky(damped[:, ::-1, ::-1])[:, ::-1, ::-1]
    upper = upper / np.diagonal(upper, axis1=1, axis2=2)[:, None, :]
    # From here in levels, column by column: shape (groups, columns, outputs).
    exact = weights / scales
    wanted = np.take_along_axis(exact, order[:, None, :], 2).transpose(0, 2, 1).copy()
    chosen = np.empty_like(wanted)
    left = np.empty_like(wanted)
    for column in range(wanted.shape[1]):
        owed = (upper[:, None, :column, column] @ left[:, :column])[:, 0]
        chosen[:, column] = np.clip(np.rint(wanted[:, column] + owed), -_LIMIT, _LIMIT)
        left[:, column] = wanted[:, column] - chosen[:, column]
    compensating = np.take_along_axis(chosen.transpose(0, 2, 1), np.argsort(order, axis=1)[:, None, :], 2)
    nearest = np.clip(np.rint(exact), -_LIMIT, _LIMIT)
    is_better = output_error(exact - compensating, covariance) < output_error(exact - nearest, covariance)
    return np.where(is_better[:, :, None], compensating, nearest)


def output_error(difference: Array, covariance: Array) -> Array:
    """Mean squared error at each output of weights that are off by `difference`, shape (groups, outputs)."""
    errors: Array = np.sum((difference @ covariance) * difference, axis=2)
    return errors
