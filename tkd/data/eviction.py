"""Keeps the cache of decoded clips within a bound: what was not opened for longest goes first, what is in use never.

    <cache>/<key>/index.json     its time of change is the last opening; a shared lock on it says that it is in use
    <cache>/.<key>.….part        left by a process that was killed; it goes when it is a day old

Only folders that `tkd.data.loading` made are ever removed. Used by it; tested in `tests/tkd/data/test_eviction.py`.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shutil
import time
import weakref
from pathlib import Path
from typing import Any

INDEX = "index.json"
LIMIT_BYTES = 50_000_000_000
"""All of FSD50K at 10 s takes 16 GB, all of Speech Commands v2 takes 3.4 GB."""

_KEY = re.compile(r"[0-9a-f]{24}")
_LEFT_BEHIND = re.compile(r"\.[0-9a-f]{24}\..*\.part")
_DAY_S = 86_400.0


def hold(folder: Path, rows: Any) -> None:
    """Marks a cache as opened now, and as in use for as long as its rows are in memory, or to the process's end."""
    try:
        handle = os.open(folder / INDEX, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        os.utime(folder / INDEX)
    except OSError:  # somebody else's cache that we may read and not mark, or one that is going this moment
        return
    weakref.finalize(rows, os.close, handle)


def evict(cache: Path, keep: Path, limit_bytes: int) -> None:
    """Removes caches, the longest unopened first, until all of them together take `limit_bytes` at most.

    Args:
        cache: the folder of caches.
        keep: the one that was just made; it stays, were it alone above the limit.
        limit_bytes: the bound.
    """
    for left in cache.glob(".*.part"):
        if _LEFT_BEHIND.fullmatch(left.name) and time.time() - _newest(left) > _DAY_S:
            shutil.rmtree(left, ignore_errors=True)
    found = [path for path in cache.iterdir() if _KEY.fullmatch(path.name) and (path / INDEX).is_file()]
    sizes = {path: sum(file.stat().st_size for file in path.iterdir()) for path in found}
    total = sum(sizes.values())
    for path in sorted(found, key=_newest_index):
        if total <= limit_bytes:
            break
        if path != keep and _remove(path):
            total -= sizes[path]
            logging.getLogger(__name__).info("removed %s, the cache of clips unused for longest", path)


def _remove(path: Path) -> bool:
    """Whether a cache that nobody uses was removed."""
    try:
        handle = os.open(path / INDEX, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(handle)


def _newest_index(path: Path) -> float:
    try:
        return (path / INDEX).stat().st_mtime
    except OSError:
        return 0.0


def _newest(folder: Path) -> float:
    """When something in a folder was last written, seconds since 1970; now when it is going this moment."""
    try:
        return max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
    except OSError:
        return time.time()
