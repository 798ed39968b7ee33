"""One process at a time on one phone: what a second one does there would be in the first one's numbers.

A lock of the kernel on a file named after the phone, so that it ends with the process however that ends.
Before `choose`, which takes it for each phone.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from android_bench.errors import DeviceError


def take_phone(serial: str, environment: Mapping[str, str]) -> Callable[[], None]:
    """Takes a phone for this process; call what comes back to let it go.

    Raises:
        DeviceError: another process has it, or the lock's folder is not ours.
    """
    folder = _folder(environment)
    name = re.sub(r"[^A-Za-z0-9.-]", "_", serial)[:80]
    path = folder / f"{name}-{hashlib.sha256(serial.encode()).hexdigest()[:8]}.lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as cause:
        owner = os.read(handle, 20).decode("ascii", "replace").strip() or "unknown"
        os.close(handle)
        raise DeviceError(
            f"{serial} is in use by another tkd-bench (process {owner}); wait for its end, or take another phone "
            "with --serial"
        ) from cause
    os.ftruncate(handle, 0)
    os.write(handle, f"{os.getpid()}\n".encode())
    return lambda: os.close(handle)


def _folder(environment: Mapping[str, str]) -> Path:
    """A folder that only this user can write to."""
    above = environment.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    folder = Path(above) / f"tkd-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        owner = folder.lstat().st_uid
    except OSError as cause:
        raise DeviceError(f"cannot make {folder} for the locks of phones: {cause.strerror}") from cause
    if owner != os.getuid() or folder.is_symlink():
        raise DeviceError(f"{folder} belongs to somebody else; expected a folder of ours for the locks of phones")
    return folder
