"""What is shown while files go to a phone; `android_bench.cli_phones` hands it to the phone."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress

_PATIENCE_S = 2.0
_PAUSE_S = 5.0  # after so long without a byte the next file is a new matter
_LINE_EVERY_S = 5.0


class Pushing:
    """Called with (file, bytes just sent, bytes in all); silent for the first two seconds of a row of files.

    On a terminal it draws a bar with sizes and speed, elsewhere it prints a line every five seconds.

    Args:
        stream: where to; None is standard error.
        clock: seconds, monotonic.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = sys.stderr if stream is None else stream
        self._clock = clock
        self._begun = self._last = self._said = float("-inf")
        self._name, self._done = "", 0
        self._bar: Progress | None = None

    def __call__(self, name: str, count: int, total: int) -> None:
        """Takes note of bytes that have left, and shows what is due."""
        now = self._clock()
        if now - self._last > _PAUSE_S:
            self._begun = self._said = now
        self._last = now
        if name != self._name or self._done >= total:  # the next file, or the same one again
            self._close()
            self._name, self._done = name, 0
        self._done += count
        if now - self._begun < _PATIENCE_S:
            return
        if self._out.isatty():
            self._draw(total)
        elif now - self._said >= _LINE_EVERY_S or (now - self._said >= _PATIENCE_S and self._done >= total):
            self._said = now
            print(f"pushing {name}: {self._done / 1e6:.1f} of {total / 1e6:.1f} MB", file=self._out, flush=True)

    def _draw(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        if self._bar is None:
            columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
            self._bar = Progress(*columns, console=Console(file=self._out), auto_refresh=False, transient=True)
            self._bar.add_task(f"pushing {self._name}", total=total)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=self._done, refresh=True)
        if self._done >= total:
            self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
