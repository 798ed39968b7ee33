"""int8 models of one network for any mixture: calibrated and equalized once, rounded once, built many times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

import numpy as np

from converters.calibration import Method, Observed, Range, choose_ranges, observe
from converters.equalize import channel_scales, equalize
from converters.families import recurrence
from converters.islands import with_movers
from converters.lowering.outline import outline
from converters.lowering.records import Array, Model, Tensor
from converters.lowering.writer import write_model
from converters.mixture import Plan
from converters.parity import sqnr_db
from converters.quantize import quantize
from converters.rounding import Rounding, round_weights
from converters.runners import Floats, TfliteModel
from converters.weight_forms import change_weights, dynamic_forms

_TRIAL_CLIPS = 64


class Int8Builder:
    """Builds int8 models of one float32 model.

    Args:
        model: float32, flat.
        clips: to calibrate on, float32, shape (clips, *axes of the input).
        method: how ranges are chosen.
        rounding: how weights are rounded.
    """

    def __init__(self, model: Model, clips: Floats, method: Method, rounding: Rounding) -> None:
        content = write_model(model, description="flat")
        observed = observe(content, model, clips, with_moments=rounding == "compensated")
        # Matrices have one scale, so what equalizing moves into them is lost; beside a recurrence they stay float.
        scales = {} if recurrence(model) else channel_scales(model, observed.sizes())
        self.equalized: Model = equalize(model, scales)
        self._observed: Observed = observed.divided(model, scales)
        clips_as_fed = _divided(clips, scales)
        self._ranges: Mapping[str, Range] = choose_ranges(
            self._observed,
            self.equalized,
            method,
            lambda: write_model(self.equalized, description="equalized"),
            clips_as_fed,
        )
        self._forms = dynamic_forms(self.equalized)
        trials = np.linspace(0, len(clips) - 1, min(len(clips), _TRIAL_CLIPS)).astype(int)
        self.trial_clips: Floats = clips_as_fed[trials]
        self._expected = _run(model, "float32", clips[trials])

    def build(self, plan: Plan) -> Model:
        """The int8 model in which the operators of a plan compute in float."""
        known = self._observed.moments
        moments = {name: seen for name, seen in known.items() if name not in plan}
        int8 = round_weights(self._quantized(plan), self.equalized, moments)
        return self._with_forms(int8, plan)

    def sqnr_of(self, plan: Plan) -> float:
        """SQNR in dB of the file that a plan gives, on 64 calibration clips, against the float32 file.

        Weights are taken from the uniform int8 model where their scales are the same: rounding is most of the work.
        """
        int8 = self._quantized(plan)
        tensors = {name: self._rounded_like(tensor) for name, tensor in int8.tensors.items()}
        return self.sqnr_db_of(self._with_forms(replace(int8, tensors=tensors), plan))

    def sqnr_db_of(self, model: Model) -> float:
        """SQNR in dB of a model's file on the trial clips, against the float32 file."""
        return sqnr_db(self._expected, _run(model, "trial", self.trial_clips))

    @cached_property
    def _uniform(self) -> Model:
        return self.build({})

    def _quantized(self, plan: Plan) -> Model:
        return quantize(self.equalized, self._ranges, with_movers(self.equalized, plan))

    def _rounded_like(self, tensor: Tensor) -> Tensor:
        known = self._uniform.tensors.get(tensor.name)
        if tensor.data is None or known is None or known.quantization is None or tensor.quantization is None:
            return tensor
        is_same = np.array_equal(known.quantization.scales, tensor.quantization.scales)
        return known if is_same else tensor

    def _with_forms(self, int8: Model, plan: Plan) -> Model:
        dynamic = {name: self._forms[name] for name, form in plan.items() if form == "dynamic"}
        return change_weights(int8, dynamic, self._observed.moments)


def _run(model: Model, description: str, clips: Floats) -> Floats:
    content = write_model(outline(model), description=description)
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
