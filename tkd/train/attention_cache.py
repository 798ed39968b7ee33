"""What the teacher has to say about a split, computed once and kept on disk.

    attention/<key>.npy      one row a clip: attention over the frames, then the logits; float32
    attention/<key>.partial  the same while it is made; its length says how many rows are whole

The key is a hash of the teacher, of which of its attention is taken, and of every sample of the clips, so that a
change of any makes a new file. A row is appended when it is computed: what was interrupted goes on where it was.
Runs may share a folder: the second to want the same file waits until the first has made it.
Before this: a trained `tkd.teacher.Teacher`. After this: `tkd.train.lesson` reads rows of it, mapped from disk.
Tested in `tests/tkd/train/test_attention_cache.py`.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from converters.command_line import Advance
from tkd.errors import TeacherError
from tkd.teacher import Teacher
from tkd.train.batches import ClipStore
from tkd.train.lesson import Knowledge

_BATCH = 50
_FLOAT_BYTES = 4


def cached_knowledge(
    folder: Path,
    teacher: Teacher,
    teacher_sha256: str,
    store: ClipStore,
    advance: Advance,
    *,
    layer: int | None = None,
) -> tuple[Knowledge, bool]:
    """The teacher's attention and logits for every clip of a store, and whether they were there already.

    Args:
        folder: of the cache.
        teacher: trained.
        teacher_sha256: of the teacher's checkpoint.
        store: the clips, unaugmented.
        advance: called with the number of clips done.
        layer: see `Teacher.attend`.

    Raises:
        TeacherError: a cached file is damaged or of another teacher, or the clips are too short for this one.
    """
    classes = teacher.classifier.out_features
    columns = teacher.frames(store.waveforms.shape[1]) + classes
    path = folder / f"{_key(teacher_sha256, store, layer)}.npy"
    was_there = path.exists()
    if was_there:
        advance(len(store))
    else:
        teacher.check_length(store.waveforms.shape[1])
        device = next(teacher.parameters()).device

        def rows_from(first: int) -> np.ndarray:
            attention, logits = teacher.attend(store.clips(slice(first, first + _BATCH)).to(device), layer=layer)
            return torch.cat([attention.float(), logits.float()], dim=1).cpu().numpy()

        _fill(path, (len(store), columns), rows_from, advance)
    rows = _load(path, (len(store), columns))
    return Knowledge(attention=rows[:, : columns - classes], logits=rows[:, columns - classes :]), was_there


def _fill(path: Path, shape: tuple[int, int], rows_from: Callable[[int], np.ndarray], advance: Advance) -> None:
    """Writes the rows behind a header for all of them, goes on where an earlier attempt ended, and names it last."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": np.lib.format.dtype_to_descr(np.dtype("<f4")), "fortran_order": False, "shape": shape}
    )
    start, row_bytes = len(header.getvalue()), shape[1] * _FLOAT_BYTES
    partial = path.with_suffix(".partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    with partial.open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        if path.exists():  # another process made it meanwhile; what was opened here may be its file, renamed
            if os.fstat(stream.fileno()).st_ino != path.stat().st_ino:
                partial.unlink(missing_ok=True)
            advance(shape[0])
            return
        done = max(0, stream.tell() - start) // row_bytes
        if done == 0 or not _begins_with(partial, header.getvalue()):
            stream.truncate(0)
            stream.write(header.getvalue())
            done = 0
        done -= done % _BATCH  # batches as in a run that was not interrupted: their rounding depends on who is in them
        stream.truncate(start + done * row_bytes)  # a row that was cut short is computed again
        advance(done)
        while done < shape[0]:
            rows = rows_from(done)
            stream.write(np.ascontiguousarray(rows, dtype="<f4").data)
            stream.flush()
            done += len(rows)
            advance(len(rows))
        os.fsync(stream.fileno())
        partial.replace(path)  # before the lock is given up


def _begins_with(path: Path, header: bytes) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(header)) == header


def _key(teacher_sha256: str, store: ClipStore, layer: int | None) -> str:
    digest = hashlib.sha256(f"{teacher_sha256} {layer} {tuple(store.waveforms.shape)}".encode())
    digest.update(store.waveforms.numpy().data)  # in place: the waveforms may be larger than the memory
    return digest.hexdigest()[:16]


def _load(path: Path, shape: tuple[int, int]) -> Tensor:
    try:
        loaded = np.load(path, mmap_mode="c", allow_pickle=False)
    except (ValueError, OSError, EOFError) as cause:
        raise TeacherError(f"the attention cache {path} is damaged ({cause}); delete it and run again") from cause
    if loaded.shape != shape or loaded.dtype != np.float32:
        raise TeacherError(
            f"the attention cache {path} has {loaded.dtype} of shape {loaded.shape}, expected float32 of {shape}: it "
            "belongs to another teacher; delete it and run again"
        )
    return torch.from_numpy(loaded)
