"""Keeps freed memory in the process, which training asks for again a moment later.

glibc gives blocks of more than 128 KB to 32 MB back to the system when they are freed, and the system has to clear each
page again. A recurrent student on clips of 8 s spends a third of its time so on one core.
Called by the trainings' own processes: `tkd.cli.train` and `benchmarks.tkd_grid`. Tested in
`tests/tkd/train/test_memory.py`.
"""

from __future__ import annotations

import ctypes
import os
import sys

_TRIM_THRESHOLD = -1
_MAPPED_BLOCKS = -4
"""Parameters of glibc's `mallopt`, from its malloc.h."""


def keep_freed_memory() -> bool:
    """Makes glibc keep what is freed for the rest of the process.

    Returns:
        Whether it does: False without glibc, and where the user has set an allocator's environment variable.
    """
    if not sys.platform.startswith("linux") or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MAPPED_BLOCKS, 0) and mallopt(_TRIM_THRESHOLD, 2**31 - 1))
