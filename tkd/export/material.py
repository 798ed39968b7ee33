"""The audio that an export needs: clips to calibrate on, a pack to score every stage on, the whole test split.

Before this: `tkd.export.choose` has a checkpoint, which says what it was trained on. After this: `tkd.export.bundles`.
Tested in `tests/tkd/export/test_material.py`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from converters.command_line import available_cores
from tkd.audio.batched import features_of
from tkd.audio.features import FeatureConfig, FrontEnd
from tkd.audio.wav import Int16
from tkd.checkpoint import CheckpointSpec
from tkd.data.dataset import Clip, LoadedClips
from tkd.data.fsd50k import may_be_packed
from tkd.data.loading import Loading, load_clips
from tkd.errors import DataError
from tkd.settings import from_table
from tkd.train.config import DataConfig
from tkd.train.corpus import Display, loading_of, open_data_of

_SPOKEN_CLIPS = 4_800


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Labelled clips.

    Attributes:
        inputs: features, shape (clips, frames, channels), float32.
        waveforms: what they were computed from, int16, shape (clips, samples); mapped from disk where cached.
        labels: int64 of shape (clips,), or for several labels a clip float32 of shape (clips, classes).
        ids: one name a clip.
    """

    inputs: Tensor
    waveforms: Int16
    labels: np.ndarray
    ids: tuple[str, ...]

    def at(self, index: Sequence[int]) -> Split:
        """The clips at these places."""
        places = list(index)
        return Split(
            inputs=self.inputs[places],
            waveforms=self.waveforms[places],
            labels=self.labels[places],
            ids=tuple(self.ids[i] for i in places),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What an export is calibrated and scored on.

    Attributes:
        calibration: clips of the training split, stratified.
        test: the whole test split.
        pack: places in `test` of the evaluation pack, stratified.
        description: the data set, as in a checkpoint.
        channel_scale: what the features were divided by, shape (channels,); ones at first.
    """

    calibration: Split
    test: Split
    pack: tuple[int, ...]
    description: dict[str, Any]
    channel_scale: Tensor

    def scaled(self, channel_scale: Tensor) -> Material:
        """The same clips with every feature channel divided by its own number, shape (channels,)."""
        return dataclasses.replace(
            self,
            calibration=dataclasses.replace(self.calibration, inputs=self.calibration.inputs / channel_scale),
            test=dataclasses.replace(self.test, inputs=self.test.inputs / channel_scale),
            channel_scale=self.channel_scale * channel_scale,
        )

    def calibration_record(self) -> dict[str, Any]:
        """What a bundle says of its calibration: data set, split, number and hash of the clips, and their names."""
        listed = "\n".join(self.calibration.ids)
        return {
            "data": self.description["name"],
            "synthetic": self.description["synthetic"],
            "split": "train",
            "clips": len(self.calibration.ids),
            "clip_list_sha256": hashlib.sha256(listed.encode()).hexdigest(),
            "clip_ids": list(self.calibration.ids),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """How many clips are taken.

    Attributes:
        calibration: from the training split.
        pack: from the test split.
        pack_anyway: also clips whose licence forbids a copy in a bundle, or is not known.
        seed: of the draw.
    """

    calibration: int = 512
    pack: int = 480
    pack_anyway: bool = False
    seed: int = 20_211_027


def find_data(spec: CheckpointSpec, told: Path | None, display: Display) -> Path:
    """The data folder of an export.

    Told, or the checkpoint's own where it still is, or, for a checkpoint of synthetic speech, a corpus spoken anew
    by the same recipe into the user's cache.

    Raises:
        DataError: none of these is there.
    """
    if told is not None:
        return told
    recorded = Path(spec.data.get("folder", ""))
    if spec.data.get("folder") and recorded.is_dir():
        return recorded
    if not spec.synthetic:
        raise DataError(
            f"the checkpoint was trained on {spec.data.get('folder', 'unknown data')}, which is not there; "
            "give the folder of the data set with --data"
        )
    if "recipe" not in spec.data or "noisy" in spec.data:
        raise DataError(
            f"the checkpoint was trained on {recorded or 'unknown data'}, which is not there and is no corpus that is "
            "spoken anew; make it again as its manifest says and give it with --data"
        )
    return _spoken_anew(int(spec.data["recipe"]["settings"]["seed"]), display)


def load_material(
    folder: Path, spec: CheckpointSpec, features: FeatureConfig, amounts: Amounts, display: Display
) -> Material:
    """Calibration clips, test split and evaluation pack of a data set, as features.

    Raises:
        DataError, AudioError: the data set or a file of it cannot be used.
    """
    config = data_config(folder, spec)
    data = open_data_of(config, spec.labels)
    drawn = {split: data.clips(split) for split in ("train", "test")}
    places = stratified([clip.label for clip in drawn["train"]], amounts.calibration, amounts.seed)
    calibrating = [drawn["train"][place] for place in places]
    front_end = FrontEnd(features)
    with display("reading clips", len(calibrating) + len(drawn["test"])) as advance:
        calibration = _split(load_clips(data, calibrating, Loading(), advance), front_end)
        loaded = load_clips(data, drawn["test"], loading_of(config), advance)
    return Material(
        calibration=calibration,
        test=_split(loaded, front_end),
        pack=pack_of(loaded.clips, amounts),
        description=data.describe(),
        channel_scale=torch.ones(features.channels),
    )


def pack_of(clips: Sequence[Clip], amounts: Amounts) -> tuple[int, ...]:
    """Places of the clips of the evaluation pack, stratified by their (first) label, in ascending order.

    A clip without a licence of its own is under that of the whole data set, which is the user's to know.

    Raises:
        DataError: the licence of every clip forbids a copy.
    """
    free = [
        place
        for place, clip in enumerate(clips)
        if amounts.pack_anyway or not clip.licence or may_be_packed(clip.licence)
    ]
    if not free:
        raise DataError(
            f"none of the {len(clips)} test clips has a licence that allows a copy in a bundle (CC0 or CC BY), or the "
            "metadata with the licences are missing; unpack FSD50K.metadata, or give --pack-anyway for your own use"
        )
    chosen = stratified([clips[place].label for place in free], amounts.pack, amounts.seed)
    return tuple(free[place] for place in chosen)


def data_config(folder: Path, spec: CheckpointSpec) -> DataConfig:
    """The settings of the data that a checkpoint was trained on, at the place where they are now."""
    recorded = spec.training.get("data", {})
    known = {field.name for field in dataclasses.fields(DataConfig)}
    settings = {
        "silence": spec.data.get("silence", "noise"),
        "seed": int(spec.data.get("seed", 59185)),
        **{key: value for key, value in recorded.items() if key in known},
        "folder": str(folder),
        "on_bad_file": "error",
    }
    return from_table(DataConfig, settings, "the checkpoint's data settings")


def stratified(labels: Sequence[int], wanted: int, seed: int) -> tuple[int, ...]:
    """Places of `wanted` clips with every class as equally present as its size allows, in ascending order.

    The same labels and seed give the same places; fewer clips than wanted gives all of them.

    >>> stratified([0, 0, 0, 0, 1, 2, 2], 3, seed=0) == stratified([0, 0, 0, 0, 1, 2, 2], 3, seed=0)
    True
    """
    rng = np.random.default_rng(seed)
    queues = [list(rng.permutation(np.flatnonzero(np.asarray(labels) == label))) for label in sorted(set(labels))]
    chosen: list[int] = []
    while len(chosen) < min(wanted, len(labels)):
        for queue in queues:
            if queue and len(chosen) < wanted:
                chosen.append(int(queue.pop()))
    return tuple(sorted(chosen))


def _split(loaded: LoadedClips, front_end: FrontEnd) -> Split:
    inputs = features_of(torch.from_numpy(loaded.waveforms), front_end)
    return Split(inputs=inputs, waveforms=loaded.waveforms, labels=loaded.labels, ids=_ids(loaded.clips))


def _ids(clips: Sequence[Clip]) -> tuple[str, ...]:
    return tuple(clip.id for clip in clips)


def _spoken_anew(seed: int, display: Display) -> Path:
    """A synthetic corpus in the user's cache, made when it is not there yet."""
    from tkd.data.synth import SynthSettings, is_made_already, make_corpus

    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tkd"
    settings = SynthSettings(clips=_SPOKEN_CLIPS, seed=seed)
    folder = cache / f"spoken-{_SPOKEN_CLIPS}-seed{seed}"
    if not is_made_already(folder, settings, force=False):
        with display(f"speaking a synthetic corpus into {folder}", settings.clips) as advance:
            make_corpus(folder, settings, jobs=available_cores(), advance=advance)
    return folder
