"""One process at a time in a run's folder.

    runs/.demo.lock      {"pid": 4711, "host": "desk", "since": "2026-01-01 12:00 UTC"}; beside the folder, which a
                         restart deletes

The system gives up the lock when its process ends, however it ends: what a dead process left is simply taken.
Used by `tkd.train.run`. Tested in `tests/tkd/train/test_lock.py`.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tkd.errors import SettingsError


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """The block has the run's folder to itself.

    Raises:
        SettingsError: another process works there; the message names it and its host.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = folder.parent / f".{folder.name}.lock"
    handle = _taken(path, folder)
    try:
        owner = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": time.strftime("%F %H:%M UTC", time.gmtime()),
        }
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(owner).encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is still ours
        os.close(handle)


def _taken(path: Path, folder: Path) -> int:
    """An open, locked file at `path`."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as cause:
            owner = _owner(os.pread(handle, 4096, 0))
            os.close(handle)
            raise SettingsError(
                f"another tkd-train works in {folder} ({owner}); wait for its end, or choose another folder with "
                "--set run=FOLDER"
            ) from cause
        # Its former owner may have removed the file between our opening and our locking it.
        try:
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except FileNotFoundError:
            pass
        os.close(handle)


def _owner(content: bytes) -> str:
    try:
        owner = json.loads(content)
        return f"process {owner['pid']} on {owner['host']}, since {owner['since']}"
    except (ValueError, KeyError, TypeError):  # caught in the moment between locking and writing
        return "it has only just begun"
