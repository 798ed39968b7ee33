"""The three splits of a run's data set, decoded, with a description that goes into every file made from them.

Before this: `tkd.data`. After this: `tkd.train.stages`.
Tested in `tests/tkd/train/test_corpus.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from converters.command_line import Advance, available_cores
from tkd.audio.sound import Fit
from tkd.audio.wav import SAMPLE_RATE_HZ
from tkd.augment import noise_bank
from tkd.data.dataset import Clip, DataSet
from tkd.data.folder import FolderSettings, open_folder
from tkd.data.fsd50k import open_fsd50k
from tkd.data.keywords import KeywordSettings, KeywordTask, open_keywords
from tkd.data.layout import NOISE_FOLDER, SPLITS
from tkd.data.loading import Loading, checksums, default_cache, load_clips
from tkd.data.noisy import INTERVALS, read_intervals
from tkd.errors import DataError
from tkd.train.batches import ClipStore
from tkd.train.config import DataConfig

Display = Callable[[str, int], AbstractContextManager[Advance]]
"""Opens a progress display with a title and a number of steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """A data set, decoded.

    Attributes:
        labels: in the order of the logits.
        is_multi_label: a clip may have several; its labels are then zeros and ones, float32 of shape (clips, classes).
        stores: `train`, `validation` and `test`.
        description: folder, synthetic or not, protocol, clips by split, files that were skipped, and a fingerprint: 16
            digits that change with any clip's name, label or sound.
    """

    labels: tuple[str, ...]
    is_multi_label: bool
    stores: dict[str, ClipStore]
    description: dict[str, Any]

    @property
    def samples(self) -> int:
        """Length of a clip."""
        return int(self.stores["train"].waveforms.shape[1])


def open_data(config: DataConfig) -> DataSet:
    """The data set that the settings name; reads no clip.

    Raises:
        DataError, SettingsError, AudioError: see `open_keywords`, `open_folder`, `open_fsd50k`.
    """
    folder = Path(config.folder)
    if config.kind != "speech_commands":
        samples = round(config.clip_seconds * SAMPLE_RATE_HZ)
        fit = Fit(samples=samples, crop=config.crop, pad=config.pad, seed=config.seed)
        if config.kind == "fsd50k":
            return open_fsd50k(folder, fit)
        return open_folder(
            folder,
            FolderSettings(
                fit=fit,
                convert=config.convert,
                label_file=config.label_file,
                speaker_pattern=config.speaker_pattern,
                seed=config.seed,
            ),
        )
    return open_keywords(
        folder,
        KeywordSettings(
            task=config.task,
            silence=config.silence,
            split_rule=config.split_rule,
            test_archive=Path(config.test_archive) if config.test_archive else None,
            seed=config.seed,
        ),
    )


def open_data_of(config: DataConfig, labels: tuple[str, ...]) -> DataSet:
    """The data set, drawn for the labels of a model in their order.

    Raises:
        DataError: it has other labels; a keyword that is not there is named when its clips are drawn.
    """
    data = open_data(config)
    if isinstance(data, KeywordTask):
        return replace(data, labels=labels)
    if data.labels != labels:
        raise DataError(
            f"{data.folder} has the labels {', '.join(data.labels[:12])}; the model was trained on "
            f"{', '.join(labels[:12])}; give the data set that it was trained on with --data"
        )
    return data


def loading_of(config: DataConfig) -> Loading:
    """How the clips of a run are loaded."""
    return Loading(
        on_bad=config.on_bad_file,
        cache=None if config.cache == "off" else Path(config.cache) if config.cache else default_cache(),
        jobs=available_cores(),
    )


def load_corpus(config: DataConfig, display: Display) -> Corpus:
    """All three splits of the task.

    Raises:
        DataError: the folder is missing or not in the expected layout, a class is empty, or the intervals of the
            keywords do not fit the clips.
        AudioError: a file cannot be read and `config.on_bad_file` is `error`.
    """
    data = open_data(config)
    drawn = {split: data.clips(split) for split in SPLITS}
    loading = loading_of(config)
    stores, skipped = {}, []
    fingerprint = hashlib.blake2b("\n".join(data.labels).encode(), digest_size=8)
    with display("reading clips", sum(map(len, drawn.values()))) as advance:
        for split, clips in drawn.items():
            loaded = load_clips(data, clips, loading, advance)
            skipped += [f"{name}: {reason}" for name, reason in loaded.skipped]
            fingerprint.update("\n".join((split, *(clip.id for clip in loaded.clips))).encode())
            fingerprint.update(loaded.labels.tobytes() + checksums(loaded.waveforms).tobytes())
            stores[split] = ClipStore(
                waveforms=torch.from_numpy(loaded.waveforms),
                labels=torch.from_numpy(loaded.labels),
                sample_rate_hz=SAMPLE_RATE_HZ,
                noise=noise_bank(data.background(split), data.clip_samples) if split == "train" else None,
                intervals_s=intervals_of(data, loaded.clips),
            )
    description = {
        **data.describe(),
        "clips": {split: len(store) for split, store in stores.items()},
        "skipped": skipped,
        "fingerprint": fingerprint.hexdigest(),
    }
    return Corpus(labels=data.labels, is_multi_label=data.is_multi_label, stores=stores, description=description)


def intervals_of(data: DataSet, clips: Sequence[Clip]) -> Tensor | None:
    """Start and end of each clip's keyword, in seconds: float64 of shape (clips, 2), NaN for a clip without one.

    None where the data set does not say: it has no `intervals.csv`, see `tkd.data.noisy`.

    Raises:
        DataError: a clip with a word is not in the file, or its interval is not inside the clip.
    """
    path = data.folder / INTERVALS
    if not path.exists():
        return None
    known = read_intervals(data.folder)
    seconds = data.clip_samples / SAMPLE_RATE_HZ
    rows = []
    for clip in clips:
        is_noise = not clip.path or clip.path.startswith(NOISE_FOLDER)
        if not is_noise and clip.path not in known:
            raise DataError(
                f"{path} does not name {clip.path}; the file and the clips do not belong together: make the data set "
                "again with tkd-data noisy"
            )
        interval = None if is_noise else known[clip.path]
        if interval is not None and not 0 <= interval[0] < interval[1] <= seconds + 1e-3:
            raise DataError(
                f"{path}: the word of {clip.path} is at {interval[0]:g} to {interval[1]:g} s, and the clip is "
                f"{seconds:g} s long; make the data set again with tkd-data noisy"
            )
        rows.append(interval or (float("nan"), float("nan")))
    return torch.tensor(rows, dtype=torch.float64)
