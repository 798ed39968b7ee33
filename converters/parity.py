"""How far each stage of a conversion is from the one before, and the gates that it has to pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from converters.errors import ConversionError, GateFailedError
from converters.runners import Floats

INT8_STAGE = "float32 → int8"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageComparison:
    """One stage against the one before, over the same inputs.

    Attributes:
        stage: `torch → onnx`, `onnx → float32` or `float32 → int8`.
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
        int8_sqnr_db: lower bound for int8. A sound conversion of a trained convolutional network gives 35 to 42 dB,
            of an untrained one some 31; a wrong scale or bias leaves less than 15. At 25 dB the error is 6 %.
        int8_top1_agreement: lower bound for int8, share of inputs; 0 leaves it to the accuracy gate of the export.
    """

    float_relative_error: float = 1e-4
    int8_sqnr_db: float = 25.0
    int8_top1_agreement: float = 0.95


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


def check_gates(report: ParityReport, gates: ParityGates, *, advice: str = "") -> None:
    """Passes in silence, or names the first stage that breaks its bound.

    Args:
        report: of one conversion.
        gates: the bounds.
        advice: for the int8 stage, what to look at.

    Raises:
        GateFailedError: with stage, seen value and bound.
    """
    for each in report.stages:
        if each.stage != INT8_STAGE:
            if not each.relative_error <= gates.float_relative_error:
                raise GateFailedError(
                    stage=each.stage,
                    measure="largest error relative to the largest output",
                    seen=each.relative_error,
                    bound=gates.float_relative_error,
                    advice="the converted graph computes something else; please report the model",
                )
        elif not each.sqnr_db >= gates.int8_sqnr_db:
            raise GateFailedError(
                stage=each.stage,
                measure="SQNR in dB",
                seen=each.sqnr_db,
                bound=gates.int8_sqnr_db,
                advice=advice or "calibrate on real clips of the data set",
            )
        elif not each.top1_agreement >= gates.int8_top1_agreement:
            raise GateFailedError(
                stage=each.stage,
                measure="share of inputs with the same winner",
                seen=each.top1_agreement,
                bound=gates.int8_top1_agreement,
                advice=advice or "calibrate on real clips of the data set",
            )
