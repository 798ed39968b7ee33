"""The clips that all models of one call are scored on: a split of a data set, or the evaluation pack of bundles.

Before this: `tkd.scoring.models` opened the models. After this: `tkd.scoring.summary` scores their logits.
Tested in `tests/tkd/scoring/test_clips.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tkd.audio.batched import features_of
from tkd.audio.features import FeatureConfig, FrontEnd
from tkd.audio.wav import SAMPLE_RATE_HZ, as_floats
from tkd.data.layout import NOISE_FOLDER, speaker_of
from tkd.data.loading import load_clips
from tkd.data.speech_commands import SILENCE, SilenceKind
from tkd.errors import SettingsError
from tkd.export.material import data_config, find_data
from tkd.scoring.models import AudioInput, Model
from tkd.settings import from_table
from tkd.train.config import DataConfig
from tkd.train.corpus import Display, loading_of, open_data_of

# What a score is comparable under; anything else of a data set's description is left out.
_PROTOCOL = (
    "name", "folder", "layout", "task", "synthetic", "multi_label", "silence", "split_rule", "seed", "protocol",
)  # fmt: skip

_CLIPS_AT_ONCE = 512


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClipSet:
    """Labelled clips, the same for every model.

    Attributes:
        source: `data set` or `evaluation pack`.
        split: `train`, `validation` or `test`.
        ids: one name a clip.
        speakers: one a clip; a clip of silence has its own name here.
        labels: class indices, int64 of shape (clips,), or for several labels a clip zeros and ones, float32 of shape
            (clips, classes).
        protocol: name and folder of the data, silence protocol, split rule, seed, whether synthetic.
        waveforms: int16, shape (clips, samples); None for a pack, whose features lie in the bundles.
    """

    source: str
    split: str
    ids: tuple[str, ...]
    speakers: tuple[str, ...]
    labels: NDArray[Any]
    protocol: Mapping[str, Any]
    waveforms: NDArray[np.int16] | None

    @property
    def is_multi_label(self) -> bool:
        """Whether a clip may have several labels, so that models are scored by mean average precision."""
        return self.labels.ndim == 2

    @property
    def silent(self) -> int:
        """Clips that nobody speaks."""
        return sum(map(_is_silence, self.ids))

    @property
    def people(self) -> int:
        """Different speakers."""
        spoken = [not _is_silence(name) for name in self.ids]
        return len({speaker for speaker, is_spoken in zip(self.speakers, spoken, strict=True) if is_spoken})


def choose_clips(
    models: Sequence[Model], data: Path | None, split: str | None, silence: SilenceKind | None, display: Display
) -> ClipSet:
    """The clips for a call: the named data, else the bundles' common pack, else the data of the first checkpoint.

    Args:
        models: at least one; all with the same labels.
        data: a data set's folder.
        split: by default `test`.
        silence: the silence protocol; by default that of the first model.
        display: shows progress.

    Raises:
        SettingsError: the models differ in labels, no data is known, or what is asked for contradicts a pack.
        DataError, AudioError: the data set lacks a label or a split, or cannot be used.
    """
    _check_labels(models)
    checkpoint = next((model.checkpoint for model in models if model.checkpoint is not None), None)
    if data is None and checkpoint is None:
        if split not in (None, "test") or silence is not None:
            raise SettingsError("an evaluation pack is fixed and of the test split; name a data set with --data")
        return _packed(models)
    if data is None and checkpoint is not None:
        data = find_data(checkpoint, None, display)
    assert data is not None
    return _loaded(models, data, split or "test", silence, display)


def logits_of(models: Sequence[Model], clips: ClipSet, display: Display) -> list[np.ndarray]:
    """Logits of each model, shape (clips, classes) float32; each front end is computed once.

    Raises:
        SettingsError: a model answers with another number of classes, or takes audio of another length or rate.
        ConversionError: a runtime refuses the model or the shape of its input.
    """
    found = []
    features: dict[FeatureConfig, np.ndarray] = {}
    with display("scoring models", len(models)) as advance:
        for model in models:
            if clips.waveforms is None:
                assert model.pack is not None
                logits = model.run(model.pack.inputs)
            elif model.features is None:
                logits = _of_audio(model, clips.waveforms)
            else:
                if model.features not in features:
                    computed = features_of(torch.from_numpy(clips.waveforms), FrontEnd(model.features))
                    features[model.features] = computed.numpy()
                logits = model.logits(features[model.features])
            if logits.shape != (len(clips.ids), len(model.labels)):
                raise SettingsError(
                    f"{model.path} answers with shape {list(logits.shape[1:])}; expected {len(model.labels)} classes "
                    f"({', '.join(model.labels[:4])} …); name its own with --labels FILE"
                )
            found.append(logits)
            advance(1)
    return found


def _packed(models: Sequence[Model]) -> ClipSet:
    first = models[0].pack
    for model in models:
        if model.pack is None or first is None:
            raise SettingsError(f"{model.path} has no evaluation pack; name a data set with --data")
        if model.pack.ids != first.ids or not np.array_equal(model.pack.labels, first.labels):
            raise SettingsError(
                f"the evaluation packs of {models[0].path} and {model.path} hold different clips, so their scores "
                "cannot be compared; name a data set with --data"
            )
    assert first is not None
    several = first.labels.ndim == 2
    return ClipSet(
        source="evaluation pack",
        split="test",
        ids=first.ids,
        # Only names of keywords tell a speaker.
        speakers=first.ids if several else tuple(group_of(name) for name in first.ids),
        labels=first.labels.astype(np.float32 if several else np.int64),
        protocol={key: models[0].trained_on.get(key) for key in _PROTOCOL},
        waveforms=None,
    )


def _loaded(
    models: Sequence[Model], folder: Path, split: str, silence: SilenceKind | None, display: Display
) -> ClipSet:
    known = models[0].trained_on
    checkpoint = models[0].checkpoint
    usual = _recorded(folder, known) if checkpoint is None else data_config(folder, checkpoint)
    seed = known.get("seed")
    config = dataclasses.replace(
        usual,
        silence=silence or known.get("silence") or usual.silence,
        seed=usual.seed if seed is None else int(seed),
    )
    if silence is not None and config.kind != "speech_commands":
        raise SettingsError(f"{folder} is no data set of keywords and has no clips of silence; leave --silence out")
    data_set = open_data_of(config, models[0].labels)
    drawn = data_set.clips(split)
    with display("reading clips", len(drawn)) as advance:
        loaded = load_clips(data_set, drawn, loading_of(config), advance)
    described = data_set.describe()
    return ClipSet(
        source="data set",
        split=split,
        ids=tuple(clip.id for clip in loaded.clips),
        speakers=tuple(clip.speaker or clip.id for clip in loaded.clips),
        labels=loaded.labels,
        protocol={key: described.get(key) for key in _PROTOCOL},
        waveforms=loaded.waveforms,
    )


def _recorded(folder: Path, known: Mapping[str, Any]) -> DataConfig:
    """The settings of a data set as a bundle records them; those of Speech Commands where it records none."""
    if known.get("layout") not in ("fsd50k", "folder"):
        return DataConfig(folder=str(folder))
    names = ("clip_seconds", "crop", "pad", "convert", "label_file", "speaker_pattern")
    settings = {name: known[name] for name in names if known.get(name) is not None}
    return from_table(DataConfig, {"folder": str(folder), "kind": known["layout"], **settings}, "the bundle's data")


def _check_labels(models: Sequence[Model]) -> None:
    for model in models[1:]:
        if model.labels != models[0].labels:
            differing = sorted({*model.labels} ^ {*models[0].labels})
            what = f"differ in {', '.join(differing[:6])}" if differing else "have them in another order"
            raise SettingsError(
                f"{models[0].path} and {model.path} have different labels ({what}); score them one by one"
            )


def _of_audio(model: Model, waveforms: NDArray[np.int16]) -> np.ndarray:
    """Logits, shape (clips, classes), of a model with its front end inside the graph.

    Raises:
        SettingsError: it takes clips of another length or sample rate.
    """
    there = AudioInput(samples=waveforms.shape[1], sample_rate_hz=SAMPLE_RATE_HZ)
    if model.audio != there:
        raise SettingsError(
            f"{model.path} has its front end inside the graph and takes clips of {model.audio}; the data set's have "
            f"{there}; name data of the model's length, or export the model with --input features"
        )
    parts = range(0, len(waveforms), _CLIPS_AT_ONCE)
    return np.concatenate([model.run(as_floats(waveforms[first : first + _CLIPS_AT_ONCE])) for first in parts])


def group_of(name: str) -> str:
    """The speaker of a clip; a clip of silence is a group of its own."""
    return name if _is_silence(name) else speaker_of(name)


def _is_silence(name: str) -> bool:
    return name.startswith((f"{NOISE_FOLDER}/", f"{SILENCE}/"))
