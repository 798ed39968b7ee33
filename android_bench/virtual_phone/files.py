"""The files of a virtual phone: a folder of this computer that no path leads out of.

Paths are walked node by node from an open root, and no symbolic link is followed: neither `..` nor a link that a
command made a moment ago leads elsewhere. After this comes `services`.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from android_bench.adb.wire import SYNC_PATH_BYTES

WRITABLE = ("/data/local/tmp", "/sdcard")
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What `stat` says of one name: mode, size and time of modification (s since 1970)."""

    name: bytes
    mode: int
    size: int
    modified_s: int


class PhoneFiles:
    """Files below `root`, under the paths that a phone would give them.

    Args:
        root: the folder that stands for `/`; the writable folders are made in it.
        largest_file_bytes: a longer file ends as on a phone whose storage is full.

    Every method raises OSError with the number that a phone's own system would give.
    """

    def __init__(self, root: Path, largest_file_bytes: int = 4 << 30) -> None:
        self.root = root.resolve()
        self.largest_file_bytes = largest_file_bytes
        for folder in WRITABLE:
            self.host_path(folder).mkdir(parents=True, exist_ok=True)

    def host_path(self, path: str) -> Path:
        """Where a path of the phone lies on this computer, by name only: nothing is looked up."""
        return self.root.joinpath(*_parts(path))

    def stat(self, path: str) -> Entry:
        """The entry of one path; links are described, not followed."""
        with self._parent(path) as (folder, name):
            return _entry(name, os.stat(name or ".", dir_fd=folder, follow_symlinks=False))

    def entries(self, path: str) -> list[Entry]:
        """The entries of a folder, sorted by name."""
        with self._folder(_parts(path)) as folder:
            names = sorted(os.listdir(folder))  # noqa: PTH208 - an open folder has no path
            return [_entry(name, os.stat(name, dir_fd=folder, follow_symlinks=False)) for name in names]

    def open_for_reading(self, path: str) -> int:
        """A file descriptor of a regular file."""
        with self._parent(path) as (folder, name):
            handle = os.open(name or ".", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        kind = os.fstat(handle).st_mode
        if not stat.S_ISREG(kind):
            os.close(handle)
            raise OSError(errno.EISDIR if stat.S_ISDIR(kind) else errno.EINVAL, "not a regular file")
        return handle

    def open_for_writing(self, path: str, mode: int) -> int:
        """A file descriptor of a new or emptied file in a writable folder; folders above it are made."""
        parts = _writable_parts(path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with self._folder(parts[:-1], make=True) as folder:
            handle = os.open(parts[-1], flags, 0o600, dir_fd=folder)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise OSError(errno.EINVAL, "not a regular file")
        os.fchmod(handle, mode & 0o777)
        return handle

    def remove(self, path: str) -> None:
        """Removes a file in a writable folder, if it is there."""
        try:
            with self._parent(path) as (folder, name):
                os.unlink(name, dir_fd=folder)
        except FileNotFoundError:
            return

    def make_folder(self, path: str) -> None:
        """Makes a folder in a writable one, with those above it."""
        if is_writable_root(path):
            return
        with self._folder(_writable_parts(path), make=True):
            pass

    def remove_folder(self, path: str) -> None:
        """Removes an empty folder below a writable one."""
        parts = _writable_parts(path)
        with self._folder(parts[:-1]) as folder:
            os.rmdir(parts[-1], dir_fd=folder)

    def rename(self, old: str, new: str) -> None:
        """Gives a file or folder of a writable folder another name there; what had that name is replaced."""
        old_parts, new_parts = _writable_parts(old), _writable_parts(new)
        with self._folder(old_parts[:-1]) as source, self._folder(new_parts[:-1]) as target:
            os.rename(old_parts[-1], new_parts[-1], src_dir_fd=source, dst_dir_fd=target)

    def set_mode(self, path: str, mode: int) -> None:
        """Changes who may read, write and start a file of a writable folder."""
        _writable_parts(path)
        handle = self.open_for_reading(path)
        try:
            os.fchmod(handle, mode & 0o777)
        finally:
            os.close(handle)

    @contextmanager
    def _parent(self, path: str) -> Iterator[tuple[int, str]]:
        parts = _parts(path)
        with self._folder(parts[:-1]) as folder:
            yield folder, parts[-1] if parts else ""

    @contextmanager
    def _folder(self, parts: tuple[str, ...], *, make: bool = False) -> Iterator[int]:
        handle = os.open(self.root, _FOLDER_FLAGS)
        try:
            for part in parts:
                if make:
                    with suppress(FileExistsError):  # it may also be a file: the next line finds out
                        os.mkdir(part, 0o755, dir_fd=handle)
                below = os.open(part, _FOLDER_FLAGS, dir_fd=handle)
                os.close(handle)
                handle = below
            yield handle
        finally:
            os.close(handle)


def _parts(path: str) -> tuple[str, ...]:
    """The names in an absolute path; `..` never leads above the root, as on any system."""
    if "\0" in path or len(os.fsencode(path)) > SYNC_PATH_BYTES:
        raise OSError(errno.EINVAL, "Invalid argument")
    return tuple(part for part in posixpath.normpath(f"/{path}").split("/") if part)


def is_writable(path: str) -> bool:
    """Whether Android lets a shell make names in this folder, or change this file."""
    parts = _parts(path)
    return any(parts[: len(_parts(allowed))] == _parts(allowed) for allowed in WRITABLE)


def is_writable_root(path: str) -> bool:
    """Whether a path is one of the writable folders themselves, which are always there."""
    return any(_parts(path) == _parts(allowed) for allowed in WRITABLE)


def _writable_parts(path: str) -> tuple[str, ...]:
    """The names in the path of something below a writable folder."""
    if not is_writable(path) or is_writable_root(path):
        raise OSError(errno.EACCES, "Permission denied")
    return _parts(path)


def _entry(name: str, found: os.stat_result) -> Entry:
    return Entry(
        name=os.fsencode(name),
        mode=found.st_mode,
        size=min(found.st_size, 0xFFFFFFFF),
        modified_s=int(found.st_mtime) & 0xFFFFFFFF,
    )
