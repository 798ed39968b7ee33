"""Files and folders that are written whole or not at all.

The lowest module of the project: everything that leaves a process goes through it.
A reader never sees a half-written result, whatever ended the writer (Ctrl-C, a full disk, a crash):
the content is made under a temporary name beside its destination and renamed at the end.
Tested in `tests/converters/test_files.py`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CHUNK_BYTES = 1 << 20
_FULL_BELOW_BYTES = 64 << 10  # a write that failed for want of space leaves less than this free


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, as 64 lower-case hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed onto it when the block ends well and removed when it does not.

    The parent folder is made when it is missing. An existing file is replaced in one step.

    Raises:
        OSError: with `ENOSPC` when the disk is full, however the library that was writing put it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    partial = Path(name)
    try:
        with _full_disk_named(path):
            yield partial
        partial.chmod(0o666 & ~_umask())
        _flush(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`, renamed onto it when the block ends well and removed when it does not.

    An existing folder is set aside first and removed only after the new one has its name,
    so that a failure at any moment leaves one complete folder: the old or the new.

    Raises:
        OSError: with `ENOSPC` when the disk is full, however the library that was writing put it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part"))
    try:
        with _full_disk_named(path):
            yield partial
        partial.chmod(0o777 & ~_umask())
        _replace_folder(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text to `path`, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def append_lines(path: Path, lines: str) -> None:
    """Adds whole lines to a file of lines, as UTF-8, and waits until they are on the disk; see `drop_cut_line`."""
    drop_cut_line(path)
    with path.open("ab") as stream:
        stream.write(lines.encode())
        stream.flush()
        os.fsync(stream.fileno())


def drop_cut_line(path: Path) -> None:
    """Takes out a last line that was cut off while it was written; a file that is not there is begun."""
    with path.open("ab+") as stream:
        stream.seek(0)
        stream.truncate(stream.read().rfind(b"\n") + 1)


@contextmanager
def _full_disk_named(path: Path) -> Iterator[None]:
    """Turns what libraries say of a full disk into the system's own error.

    PyTorch raises a RuntimeError about a position, numpy an OSError without a number, safetensors its own class.
    """
    try:
        yield
    except Exception as error:
        is_system_error = isinstance(error, OSError) and error.errno is not None
        if is_system_error or shutil.disk_usage(path.parent).free >= _FULL_BELOW_BYTES:
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error


def _replace_folder(partial: Path, path: Path) -> None:
    if not path.exists():
        partial.rename(path)
        return
    aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".old"))
    path.rename(aside / path.name)
    try:
        partial.rename(path)
    except BaseException:
        (aside / path.name).rename(path)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _flush(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _umask() -> int:
    """The process's file mode mask, which the temporary names (0600, 0700) do not follow by themselves."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
