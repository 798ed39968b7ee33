"""Processes that do one job for each of many items, and are gone when the work is done, failed or was interrupted.

Used by `tkd.data.workers` (espeak-ng) and `tkd.data.noisy` (mixing).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

from tkd.errors import DataError

Each = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]]
"""Does a job for each item and yields the results in the order in which they come."""


@contextmanager
def processes(jobs: int, start: Callable[..., None], *arguments: Any) -> Iterator[Each]:
    """An `Each` over `jobs` fresh processes, in each of which `start(*arguments)` has run.

    Raises:
        DataError: a process died.
    """
    # Spawned, not forked: the caller may have threads (PyTorch's), and espeak-ng's state must not be inherited.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(start, arguments))
    try:
        _wake(pool, jobs)
        yield lambda job, items: (
            future.result() for future in as_completed([pool.submit(job, item) for item in items])
        )
    except BrokenProcessPool as cause:
        raise DataError("a worker process died, perhaps for lack of memory; run it again with fewer --jobs") from cause
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _wake(pool: ProcessPoolExecutor, jobs: int) -> None:
    """Starts the processes with SIGINT blocked: Ctrl-C is the parent's to handle, also while they import."""
    resource_tracker.ensure_running()  # first, because the start of the tracker would unblock SIGINT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        for _ in range(jobs):  # each submission starts one process
            pool.submit(_do_nothing)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _do_nothing() -> None:
    pass


def _begin(start: Callable[..., None], arguments: Sequence[Any]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    start(*arguments)


def _end_with_parent() -> None:
    """Ends this process when its parent has been killed: nobody would read its results."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
