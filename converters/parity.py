"""How far each stage of a conversion is from the one before, and the gates that it has to pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from converters.errors import ConversionError, GateFailedError
from converters.quant_report import Shares
from converters.runners import Floats

INT8_STAGE = "float32 → int8"


def stage_of(precision: str) -> str:
    """The stage that leads from float32 to another precision.

    >>> stage_of("int8") == INT8_STAGE
    True
    """
    return f"float32 → {precision}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageComparison:
    """One stage against the one before, over the same inputs.

    Attributes:
        stage: `torch → onnx`, `onnx → float32`, or `float32 →` another precision.
        examples: inputs compared, at least 1.
        max_abs_error: largest difference of any output value, in the outputs' unit.
        relative_error: the same divided by the largest absolute reference value.
        sqnr_db: 10 · log10(signal energy / error energy), over all outputs; infinite where nothing differs.
        top1_agreement: share of inputs with the same largest output, 0 to 1.
    """

    stage: str
    examples: int
    max_abs_error: float
    relative_error: float
    sqnr_db: float
    top1_agreement: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityReport:
    """Every stage of one conversion, in order.

    Attributes:
        stages: one comparison for each step.
        inputs: what was fed, in words, for reports.
    """

    stages: tuple[StageComparison, ...]
    inputs: str

    def stage(self, name: str) -> StageComparison | None:
        """The comparison of that stage; None where the conversion had no such step."""
        return next((each for each in self.stages if each.stage == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityGates:
    """The bounds that a conversion has to keep.

    Attributes:
        float_relative_error: upper bound for the float stages. 1e-4 is some hundred times what float32 rounding
            costs, and far below what any wrong padding or axis costs.
        float16_sqnr_db: lower bound for float16 weights, which cost 50 to 70 dB.
        int8_sqnr_db: lower bound for int8 and dynamic. A sound conversion of a trained convolutional network gives 35
            to 42 dB, of an untrained one some 31; a wrong scale or bias leaves less than 15. At 25 dB the error is 6 %.
        int8_top1_agreement: lower bound for int8 and dynamic, share of inputs; 0 leaves it to the accuracy gate of the
            export.
        int8_macs: lower bound for the share of multiply-accumulates of the int8 file whose factors are int8, 0 to 1;
            of its operators where it has no multiply-accumulates. A file that computes in float is not int8.
    """

    float_relative_error: float = 1e-4
    float16_sqnr_db: float = 40.0
    int8_sqnr_db: float = 25.0
    int8_top1_agreement: float = 0.95
    int8_macs: float = 0.5


def compare(stage: str, reference: Floats, candidate: Floats) -> StageComparison:
    """The comparison of two runs over the same inputs.

    Args:
        stage: its name in reports.
        reference: outputs of the earlier stage, shape (examples, *axes).
        candidate: outputs of the later stage, the same shape.

    Raises:
        ConversionError: the shapes differ, or a value is NaN or infinite.
    """
    if reference.shape != candidate.shape:
        raise ConversionError(f"{stage}: outputs have shapes {reference.shape} and {candidate.shape}")
    if not (np.isfinite(reference).all() and np.isfinite(candidate).all()):
        raise ConversionError(f"{stage}: an output is NaN or infinite; check the weights and the inputs")
    difference = candidate.astype(np.float64) - reference
    largest = float(np.abs(difference).max())
    scale = float(np.abs(reference).max())
    rows = len(reference)
    best = reference.reshape(rows, -1).argmax(axis=1) == candidate.reshape(rows, -1).argmax(axis=1)
    return StageComparison(
        stage=stage,
        examples=rows,
        max_abs_error=largest,
        relative_error=largest / scale if scale else (0.0 if largest == 0 else float("inf")),
        sqnr_db=sqnr_db(reference, candidate),
        top1_agreement=float(best.mean()),
    )


def sqnr_db(reference: Floats, candidate: Floats) -> float:
    """Signal to quantization noise ratio, 10 · log10(Σ reference² / Σ (candidate − reference)²), in dB.

    >>> sqnr_db(np.float32([3.0, 4.0]), np.float32([3.0, 4.5]))
    20.0
    """
    noise = float(np.sum((candidate.astype(np.float64) - reference) ** 2))
    signal = float(np.sum(reference.astype(np.float64) ** 2))
    if noise == 0:
        return float("inf")
    return float(10 * np.log10(signal / noise)) if signal else float("-inf")


def check_gates(
    report: ParityReport, gates: ParityGates, *, shares: Mapping[str, Shares] = MappingProxyType({}), advice: str = ""
) -> None:
    """Passes in silence, or names the first stage that breaks its bound.

    Args:
        report: of one conversion.
        gates: the bounds.
        shares: how much of each file is int8, by precision.
        advice: for the int8 stage, what to look at.

    Raises:
        GateFailedError: with stage, seen value and bound.
    """
    if "int8" in shares:
        seen, of_what = shares["int8"].multiplied
        if not seen >= gates.int8_macs:
            raise GateFailedError(
                stage=INT8_STAGE,
                measure=f"share of {of_what} that are int8",
                seen=seen,
                bound=gates.int8_macs,
                advice="keep fewer operators in float, or take a smaller share with --min-int8-share",
            )
    for each in report.stages:
        for measure, seen, bound, is_kept, hint in _bounds(each, gates):
            if not is_kept:
                chosen = advice if advice and each.stage == INT8_STAGE else hint
                raise GateFailedError(stage=each.stage, measure=measure, seen=seen, bound=bound, advice=chosen)


_Bound = tuple[str, float, float, bool, str]


def _bounds(each: StageComparison, gates: ParityGates) -> Iterator[_Bound]:
    """What was measured, its value, its bound, whether that is kept, and what to do if not."""
    precision = each.stage.rpartition(" ")[2]
    if precision in ("onnx", "float32"):
        seen, bound = each.relative_error, gates.float_relative_error
        hint = "the converted graph computes something else; please report the model"
        yield "largest error relative to the largest output", seen, bound, seen <= bound, hint
        return
    hints = {
        "int8": "calibrate on real clips of the data set",
        "dynamic": "some weights spread too far for int8; take --fp16",
        "float16": "some weights are too small or too large for float16; take --float32 alone",
    }
    bound = gates.float16_sqnr_db if precision == "float16" else gates.int8_sqnr_db
    yield "SQNR in dB", each.sqnr_db, bound, each.sqnr_db >= bound, hints[precision]
    seen, bound = each.top1_agreement, gates.int8_top1_agreement
    yield "share of inputs with the same winner", seen, bound, seen >= bound, hints[precision]
