"""The three splits of a run's data set, decoded, with a description that goes into every file made from them.

Before this: `tkd.data`. After this: `tkd.train.stages`.
Tested in `tests/tkd/train/test_corpus.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from converters.command_line import Advance
from tkd.audio.wav import SAMPLE_RATE_HZ
from tkd.augment import noise_bank
from tkd.data.layout import SPLITS
from tkd.data.speech_commands import (
    CLIP_SAMPLES,
    TWELVE_LABELS,
    SpeechCommands,
    load_background,
    load_waveforms,
    open_speech_commands,
)
from tkd.train.batches import ClipStore
from tkd.train.config import DataConfig

Display = Callable[[str, int], AbstractContextManager[Advance]]
"""Opens a progress display with a title and a number of steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """A data set in memory.

    Attributes:
        labels: in the order of the logits.
        stores: `train`, `validation` and `test`.
        description: folder, synthetic or not, protocol, clips by split, files that were skipped.
    """

    labels: tuple[str, ...]
    stores: dict[str, ClipStore]
    description: dict[str, Any]


def load_corpus(config: DataConfig, display: Display) -> Corpus:
    """All three splits of the twelve-class task.

    Raises:
        DataError: the folder is missing or not in the expected layout, or a class is empty.
        AudioError: a file cannot be read and `config.on_bad_file` is `error`.
    """
    folder = Path(config.folder)
    data_set = open_speech_commands(folder)
    drawn = {split: data_set.clips(split, config.seed, silence=config.silence) for split in SPLITS}
    stores, skipped = {}, []
    with display("reading clips", sum(map(len, drawn.values()))) as advance:
        for split, clips in drawn.items():
            loaded = load_waveforms(folder, clips, on_bad=config.on_bad_file, advance=advance)
            skipped += [f"{name}: {reason}" for name, reason in loaded.skipped]
            stores[split] = ClipStore(
                waveforms=torch.from_numpy(loaded.waveforms),
                labels=torch.from_numpy(loaded.labels),
                sample_rate_hz=SAMPLE_RATE_HZ,
                noise=noise_bank(load_background(folder, split), CLIP_SAMPLES) if split == "train" else None,
            )
    description = {
        **describe_data(data_set, config),
        "clips": {split: len(store) for split, store in stores.items()},
        "skipped": skipped,
    }
    return Corpus(labels=TWELVE_LABELS, stores=stores, description=description)


def describe_data(data_set: SpeechCommands, config: DataConfig) -> dict[str, Any]:
    """What every score on this data must carry: where it is, whether it is synthetic, and the protocol."""
    description: dict[str, Any] = {
        "name": data_set.folder.name,
        "folder": config.folder,
        "layout": "speech_commands",
        "task": "12 classes",
        "synthetic": data_set.is_synthetic,
        "silence": config.silence,
        "split_rule": data_set.split_rule,
        "seed": config.seed,
    }
    if data_set.is_synthetic:
        recipe = json.loads((data_set.folder / "synthetic.json").read_text(encoding="utf-8"))
        description["recipe"] = {key: value for key, value in recipe.items() if not isinstance(value, list)}
    return description
