"""The teacher's attention over a split, computed once and kept on disk.

The file's name is a hash of the teacher and of the clips, so that a change of either makes a new one.
Before this: a trained `tkd.teacher.Teacher`. After this: `tkd.train.objectives` reads rows of it.
Tested in `tests/tkd/train/test_attention_cache.py`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from converters.command_line import Advance
from converters.files import whole_file
from tkd.errors import TeacherError
from tkd.teacher import Teacher
from tkd.train.batches import ClipStore

_BATCH = 200


def cached_attention(
    folder: Path, teacher: Teacher, teacher_sha256: str, store: ClipStore, advance: Advance
) -> tuple[Tensor, bool]:
    """The teacher's attention for every clip of a store, and whether it was there already.

    Args:
        folder: of the cache.
        teacher: trained.
        teacher_sha256: of the teacher's checkpoint.
        store: the clips, unaugmented.
        advance: called with the number of clips done.

    Returns:
        Shape (clips, frames), float32, rows summing to 1.

    Raises:
        TeacherError: a cached file is damaged.
    """
    path = folder / f"attention-{_key(teacher_sha256, store)}.npy"
    if path.exists():
        advance(len(store))
        return _load(path, len(store)), True
    rows = []
    for first in range(0, len(store), _BATCH):
        clips = store.clips(slice(first, first + _BATCH)).to(next(teacher.parameters()).device)
        attention, _ = teacher.attend(clips)
        rows.append(attention.float().cpu())
        advance(len(attention))
    attention = torch.cat(rows)
    with whole_file(path) as partial, partial.open("wb") as stream:
        np.save(stream, attention.numpy())
    return attention, False


def _key(teacher_sha256: str, store: ClipStore) -> str:
    digest = hashlib.sha256(teacher_sha256.encode())
    digest.update(str(tuple(store.waveforms.shape)).encode())
    digest.update(store.waveforms.numpy().data)  # in place: the waveforms may be larger than the memory
    return digest.hexdigest()[:16]


def _load(path: Path, clips: int) -> Tensor:
    try:
        loaded = np.load(path, mmap_mode="c", allow_pickle=False)
    except (ValueError, OSError, EOFError) as cause:
        raise TeacherError(f"the attention cache {path} is damaged ({cause}); delete it and run again") from cause
    if loaded.ndim != 2 or len(loaded) != clips:
        raise TeacherError(f"the attention cache {path} has shape {loaded.shape}, expected {clips} rows; delete it")
    return torch.from_numpy(loaded)
