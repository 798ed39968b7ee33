"""What a transport is: a connection to one phone, streams over it, and a deadline for each.

`direct` and `server` implement it, `services` speaks over it.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod

from android_bench.adb.wire import Buffer
from android_bench.errors import DeviceLostError, DeviceTimeoutError

_ROUNDING_S = 0.005


class Deadline:
    """The moment by which a whole operation must have ended, however many steps it takes.

    Args:
        seconds: from now.
        doing: the operation, for the error: "reading /proc/cpuinfo on FA6AB0302345".
    """

    def __init__(self, seconds: float, doing: str) -> None:
        self.seconds, self.doing = seconds, doing
        self._end = time.monotonic() + seconds

    def left_s(self) -> float:
        """Seconds that are left, more than 0.

        Raises:
            DeviceTimeoutError: none are.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise self.error()
        return left

    @property
    def is_over(self) -> bool:
        """Whether time is up, give or take the few milliseconds by which others round their time-outs."""
        return time.monotonic() >= self._end - _ROUNDING_S

    def extend(self, seconds: float) -> None:
        """Sets the end `seconds` from now: something was answered, and a person is asked next."""
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def error(self) -> DeviceTimeoutError:
        """What is raised when time is up."""
        return DeviceTimeoutError(f"{self.doing} took longer than {self.seconds:g} s")


class Stream(ABC):
    """Bytes to and from one service of a phone, until its deadline."""

    @abstractmethod
    def write(self, data: Buffer) -> None:
        """Sends all of it.

        Raises:
            DeviceError: the phone closed the stream, the connection broke, or time is up.
        """

    @abstractmethod
    def read(self) -> bytes:
        """What came next; empty when the phone has closed the stream. Raises as `write` does otherwise."""

    @abstractmethod
    def has_input(self) -> bool:
        """Whether something has come already, so that `read` would not wait."""

    @abstractmethod
    def close(self) -> None:
        """Ends the stream from our side; never raises."""


class Connection(ABC):
    """A live connection to one phone."""

    @property
    @abstractmethod
    def features(self) -> frozenset[str]:
        """What the phone can do, such as `shell_v2`."""

    @abstractmethod
    def open(self, service: str, deadline: Deadline) -> Stream:
        """A stream to a service, such as `sync:`.

        Raises:
            RefusedError: the phone does not offer it.
            DeviceError: the connection broke, or time is up.
        """

    @abstractmethod
    def is_alive(self) -> bool:
        """Whether it still stands, as far as that can be told without sending anything."""

    @abstractmethod
    def close(self) -> None:
        """Ends it; never raises."""


class Exactly:
    """Exact counts of bytes from a stream."""

    def __init__(self, stream: Stream) -> None:
        self._stream, self._data, self._at = stream, b"", 0

    def take(self, count: int, *, end_is_fine: bool = False) -> memoryview:
        """The next `count` bytes; with `end_is_fine` nothing when the stream ends right here.

        Raises:
            DeviceLostError: the stream ended before.
            DeviceError: as `Stream.read`.
        """
        have = len(self._data) - self._at
        if have < count:
            parts = [self._data[self._at :]]
            while have < count:
                part = self._stream.read()
                if not part:
                    if end_is_fine and have == 0:
                        return memoryview(b"")
                    raise DeviceLostError("the phone closed the stream in the middle of its answer")
                parts.append(part)
                have += len(part)
            self._data, self._at = b"".join(parts), 0
        self._at += count
        return memoryview(self._data)[self._at - count : self._at]
