"""The errors of `tkd`.

TkdError
├── AudioError           a sound file or waveform cannot be used
├── DataError            a data set on disk is missing, damaged, or not in the expected layout
├── SettingsError        a configuration or an option has an unknown key, a wrong type or an impossible value
├── CheckpointError      a checkpoint is missing, damaged, or belongs to something else
├── DeviceFailedError    a device that was to be measured on did not answer
└── TeacherError         a teacher cannot teach (no attention maps, wrong classes)
"""

from __future__ import annotations


class TkdError(Exception):
    """Anything that a user of `tkd` can mend; the message says what was seen, what was expected and what to do."""


class AudioError(TkdError):
    """A sound file or a waveform cannot be used.

    Attributes:
        fault: the kind of trouble in a few words, for counting: "not a wav", "truncated", "stereo" …
    """

    def __init__(self, message: str, *, fault: str = "unusable") -> None:
        super().__init__(message)
        self.fault = fault


class DataError(TkdError):
    """A data set on disk is missing, damaged, or not in the expected layout."""


class SettingsError(TkdError):
    """A configuration or an option has an unknown key, a wrong type or an impossible value."""


class CheckpointError(TkdError):
    """A checkpoint is missing, damaged, or belongs to something else."""


class TeacherError(TkdError):
    """A teacher cannot teach: it has no attention maps, or other classes than the data."""


class DeviceFailedError(TkdError):
    """A device that was to be measured on did not answer."""
