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
from converters.lowering.operators import OPERATORS, Int8Rule
from converters.lowering.outline import outline
from converters.lowering.records import Model, Quantization, Tensor
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
        self._ranges: Mapping[str, Range] = choose_ranges(
            self._observed, self.equalized, method, lambda: write_model(self.equalized, description="equalized"), clips
        )
        self._forms = dynamic_forms(self.equalized)
        self.trial_clips: Floats = clips[np.linspace(0, len(clips) - 1, min(len(clips), _TRIAL_CLIPS)).astype(int)]
        self._expected = TfliteModel(write_model(outline(model), description="float32")).run(self.trial_clips)

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
        return self.sqnr_db_of(self._with_forms(self._rounded_as_known(self._quantized(plan)), plan))

    def sqnr_db_of(self, model: Model) -> float:
        """SQNR in dB of a model's file on the trial clips, against the float32 file."""
        content = write_model(outline(model), description="trial")
        return sqnr_db(self._expected, TfliteModel(content).run(self.trial_clips))

    @cached_property
    def _uniform(self) -> tuple[Model, Model]:
        """All in int8, with the nearest levels and as it is built."""
        return self._quantized({}), self.build({})

    def _quantized(self, plan: Plan) -> Model:
        return quantize(self.equalized, self._ranges, with_movers(self.equalized, plan))

    def _rounded_as_known(self, int8: Model) -> Model:
        """The model with the weights that were rounded for the uniform one, wherever their scales were the same."""
        plain, rounded = self._uniform
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
        return change_weights(int8, dynamic, self._observed.moments)


def _at_scale(bias: Tensor, data: Quantization, weights: Quantization) -> Tensor:
    """A bias, int32, at the scale of the products that it is added to."""
    assert bias.quantization is not None
    scales = weights.scales * np.float32(data.scales[0])
    quantization = Quantization(scales=scales, zero_points=np.zeros(len(scales), np.int64))
    real = bias.quantization.dequantize(bias.content)
    return replace(bias, data=quantization.quantize(real, bits=32), quantization=quantization)
