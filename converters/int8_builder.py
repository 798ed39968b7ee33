"""int8 models of one network for any mixture: calibrated and equalized once, rounded once, built many times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from converters.calibration import Method, Observed, Range, choose_ranges, observe
from converters.equalize import channel_scales, equalize
from converters.families import recurrence
from converters.islands import with_movers
from converters.lowering.operators import OPERATORS, Int8Rule
from converters.lowering.outline import outline_large
from converters.lowering.records import Array, Model, Quantization, Tensor
from converters.lowering.writer import write_model
from converters.mixture import Plan
from converters.parity import sqnr_db
from converters.pools import pools_as_convolutions
from converters.quantize import quantize
from converters.rounding import Rounding, round_weights
from converters.runners import Floats, TfliteModel
from converters.weight_forms import change_weights, dynamic_forms

_TRIAL_CLIPS = 64
# A recurrence is calibrated for its weights alone, which every step of every clip shows: so many operators are run.
_RECURRENT_WORK = 128_000
_FEWEST_CLIPS = 16


class Int8Builder:
    """Builds int8 models of one float32 model.

    Args:
        model: float32, flat.
        clips: to calibrate on, float32, shape (clips, *axes of the input).
        method: how ranges are chosen.
        rounding: how weights are rounded.

    Attributes:
        equalized: the float32 model that is quantized.
        calibrated_on: how many clips were looked at; of a network with a recurrence as few as tell its weights.
        trial_clips: what `sqnr_of` runs over.
    """

    def __init__(self, model: Model, clips: Floats, method: Method, rounding: Rounding) -> None:
        model = pools_as_convolutions(model)
        is_recurrent = bool(recurrence(model))
        if is_recurrent:
            clips = _spread(clips, max(_RECURRENT_WORK // len(model.operators), _FEWEST_CLIPS))
        self.calibrated_on = len(clips)
        observed = observe(model, clips, with_moments=rounding == "compensated")
        # Matrices have one scale, so what equalizing moves into them is lost; beside a recurrence they stay float.
        scales = {} if is_recurrent else channel_scales(model, observed.sizes())
        self.equalized: Model = equalize(model, scales)
        self._observed: Observed = observed.divided(model, scales)
        clips_as_fed = _divided(clips, scales)
        self._ranges: Mapping[str, Range] = choose_ranges(self._observed, self.equalized, method, clips_as_fed)
        self._forms = dynamic_forms(self.equalized)
        self._packed: dict[str, Tensor] = {}
        # The first plan that was asked for: in int8 with the nearest levels, and rounded as it is built.
        self._first: tuple[Plan, Model, Model] | None = None
        self.trial_clips: Floats = _spread(clips_as_fed, _TRIAL_CLIPS)
        self._expected = _run(model, "float32", _spread(clips, _TRIAL_CLIPS))

    def build(self, plan: Plan) -> Model:
        """The int8 model in which the operators of a plan compute in float."""
        if self._first is not None and self._first[0] == plan:
            rounded = self._first[2]
        else:
            rounded = self._rounded(self._quantized(plan), plan)
        return self._with_forms(rounded, plan)

    def sqnr_of(self, plan: Plan) -> float:
        """SQNR in dB of the file that a plan gives, on 64 calibration clips, against the float32 file.

        Weights are taken from the first file that was asked for where their scales are the same: rounding is most of
        the work.
        """
        int8 = self._quantized(plan)
        if self._first is None:
            self._first = dict(plan), int8, self._rounded(int8, plan)
        return self.sqnr_db_of(self._with_forms(self._rounded_as_known(int8), plan))

    def sqnr_db_of(self, model: Model) -> float:
        """SQNR in dB of a model's file on the trial clips, against the float32 file."""
        return sqnr_db(self._expected, _run(model, "trial", self.trial_clips))

    def _quantized(self, plan: Plan) -> Model:
        return quantize(self.equalized, self._ranges, with_movers(self.equalized, plan))

    def _rounded(self, int8: Model, plan: Plan) -> Model:
        known = self._observed.moments
        moments = {name: seen for name, seen in known.items() if name not in plan}
        return round_weights(int8, self.equalized, moments)

    def _rounded_as_known(self, int8: Model) -> Model:
        """The model with the weights that were rounded for the first one, wherever their scales were the same."""
        assert self._first is not None
        _, plain, rounded = self._first
        tensors = dict(int8.tensors)
        for operator in int8.operators:
            if OPERATORS[operator.code].rule is not Int8Rule.WEIGHTS or operator.inputs[1] not in plain.tensors:
                continue
            data, weights, bias = (int8.tensors[name] for name in operator.inputs)
            source, known = plain.tensors[weights.name].quantization, rounded.tensors[weights.name]
            if data.quantization is None or source is None or known.quantization is None:
                continue
            assert weights.quantization is not None
            if np.array_equal(source.scales, weights.quantization.scales):
                tensors[weights.name] = known
                tensors[bias.name] = _at_scale(rounded.tensors[bias.name], data.quantization, known.quantization)
        return replace(int8, tensors=tensors)

    def _with_forms(self, int8: Model, plan: Plan) -> Model:
        dynamic = {name: self._forms[name] for name, form in plan.items() if form == "dynamic"}
        return change_weights(int8, dynamic, self._observed.moments, self._packed)


def _spread(clips: Floats, count: int) -> Floats:
    """At most so many of the clips, evenly spread."""
    chosen: Floats = clips[np.linspace(0, len(clips) - 1, min(len(clips), count)).astype(int)]
    return chosen


def _at_scale(bias: Tensor, data: Quantization, weights: Quantization) -> Tensor:
    """A bias, int32, at the scale of the products that it is added to."""
    assert bias.quantization is not None
    scales = weights.scales * np.float32(data.scales[0])
    quantization = Quantization(scales=scales, zero_points=np.zeros(len(scales), np.int64))
    real = bias.quantization.dequantize(bias.content)
    return replace(bias, data=quantization.quantize(real, bits=32), quantization=quantization)


def _run(model: Model, description: str, clips: Floats) -> Floats:
    content = write_model(outline_large(model), description=description)
    return TfliteModel(content, has_states=bool(model.states)).run(clips)


def _divided(clips: Array, scales: Mapping[str, Array]) -> Array:
    """Clips for a model whose tensors are divided by `scales`: its states among the inputs are."""
    names = [name for name in clips.dtype.names or () if name in scales]
    if not names:
        return clips
    divided = clips.copy()
    for name in names:
        divided[name] /= scales[name]
    return divided
