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
    """A stage differs from the stage before it by more than its bound."""
