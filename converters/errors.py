"""The errors of `converters`.

ConversionError
├── BundleError          a bundle on disk is missing, damaged or altered
└── GateFailedError      a stage differs from the one before by more than its bound (exit 1)
"""

from __future__ import annotations


class ConversionError(Exception):
    """Anything that keeps a model from being converted; the message says what was seen and what to do."""


class BundleError(ConversionError):
    """A bundle on disk is missing, damaged, altered, or stands in the way of a new one."""


class GateFailedError(ConversionError):
    """A stage differs from the stage before it by more than its bound.

    Attributes:
        stage: what was compared, such as `float32 → int8`.
        measure: what was measured, with its unit.
        seen: the measured value.
        bound: the value that it had to reach or to stay under.
    """

    def __init__(self, *, stage: str, measure: str, seen: float, bound: float, advice: str) -> None:
        self.stage, self.measure, self.seen, self.bound = stage, measure, seen, bound
        super().__init__(f"{stage}: {measure} is {seen:.4g}, the bound is {bound:.4g}; {advice}")
