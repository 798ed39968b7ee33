"""The errors of `android_bench`, and the exit code that each one ends in.

BenchError                  2   wrong usage or input: an unknown device, an unreadable profile, no models
├── BaselineError           3   the model that a candidate is to be compared with is not there
├── RecordError             2   a record or a file of records that cannot be (damaged, of another version)
├── DeviceError             4   the device is not there, or stopped answering
│   ├── DeviceTimeoutError  4   it did not answer in time
│   ├── DeviceLostError     4   its connection was cut or talked nonsense; nothing was repeated
│   ├── RefusedError        4   it is there and said no (unknown key, no such file, disk full)
│   ├── RunnerError         4   the runner on the device failed or spoke out of turn
│   └── MissingToolError    4   what is to run on the device (engine, runner, its libraries) is not here
└── GoldenMismatchError     1   the device computes another function than the bundle says
"""

from __future__ import annotations


class BenchError(Exception):
    """Anything that keeps `tkd-bench` from an answer; the message says what was seen and what to do."""


class BaselineError(BenchError):
    """The baseline is missing: there is nothing to compare with, so there is no answer."""


class RecordError(BenchError):
    """A record, or a file of records, is damaged, impossible, or of another version."""


class DeviceError(BenchError):
    """The device is not there, or stopped answering."""


class DeviceTimeoutError(DeviceError):
    """The device did not answer in time."""


class DeviceLostError(DeviceError):
    """The connection to the device was cut, or carried what the protocol does not know."""


class RefusedError(DeviceError):
    """The device is there and said no: an unknown key, a missing file, a full disk."""


class RunnerError(DeviceError):
    """The runner on the device failed, or printed what the protocol does not know."""


class MissingToolError(DeviceError):
    """What is to run on the device is not here and could not be made; the message says what to bring."""


class GoldenMismatchError(BenchError):
    """The device computes another function than the bundle says: its time would mean nothing."""
