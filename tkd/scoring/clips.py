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

from tkd.audio.features import FeatureConfig, FrontEnd
from tkd.data.layout import NOISE_FOLDER, speaker_of
from tkd.data.loading import load_clips
from tkd.data.speech_commands import SILENCE, SilenceKind
from tkd.errors import SettingsError
from tkd.export.material import data_config, find_data
from tkd.scoring.models import Model
from tkd.train.config import DataConfig
from tkd.train.corpus import Display, loading_of, open_data_of

_BATCH = 500
# What a score is comparable under; anything else of a data set's description is left out.
_PROTOCOL = ("name", "folder", "layout", "task", "synthetic", "silence", "split_rule", "seed", "protocol")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClipSet:
    """Labelled clips, the same for every model.

    Attributes:
        source: `data set` or `evaluation pack`.
        split: `train`, `validation` or `test`.
        ids: one name a clip.
        speakers: one a clip; a clip of silence has its own name here.
        labels: class indices, int64, shape (clips,).
        protocol: name and folder of the data, silence protocol, split rule, seed, whether synthetic.
        waveforms: int16, shape (clips, samples); None for a pack, whose features lie in the bundles.
    """

    source: str
    split: str
    ids: tuple[str, ...]
    speakers: tuple[str, ...]
    labels: NDArray[np.int64]
    protocol: Mapping[str, Any]
    waveforms: NDArray[np.int16] | None

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
        SettingsError: a model answers with another number of classes, or its front end cannot be computed here.
        ConversionError: a runtime refuses the model or the shape of its input.
    """
    found = []
    features: dict[FeatureConfig, np.ndarray] = {}
    with display("scoring models", len(models)) as advance:
        for model in models:
            if clips.waveforms is None:
                assert model.pack is not None
                logits = model.run(model.pack.inputs)
            else:
                config = _front_end(model)
                if config not in features:
                    features[config] = _features(clips.waveforms, config)
                logits = model.logits(features[config])
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
    if first.labels.ndim != 1:
        raise SettingsError(f"the clips of {models[0].path} have several labels each; expected one label a clip")
    return ClipSet(
        source="evaluation pack",
        split="test",
        ids=first.ids,
        speakers=tuple(group_of(name) for name in first.ids),
        labels=first.labels.astype(np.int64),
        protocol={key: models[0].trained_on.get(key) for key in _PROTOCOL},
        waveforms=None,
    )


def _loaded(
    models: Sequence[Model], folder: Path, split: str, silence: SilenceKind | None, display: Display
) -> ClipSet:
    known = models[0].trained_on
    checkpoint = models[0].checkpoint
    usual = DataConfig(folder=str(folder)) if checkpoint is None else data_config(folder, checkpoint)
    seed = known.get("seed")
    config = dataclasses.replace(
        usual,
        silence=silence or known.get("silence") or usual.silence,
        seed=usual.seed if seed is None else int(seed),
    )
    data_set = open_data_of(config, models[0].labels)
    if data_set.is_multi_label:
        raise SettingsError(f"the clips of {folder} have several labels each; expected one label a clip")
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


def _check_labels(models: Sequence[Model]) -> None:
    for model in models[1:]:
        if model.labels != models[0].labels:
            differing = sorted({*model.labels} ^ {*models[0].labels})
            what = f"differ in {', '.join(differing[:6])}" if differing else "have them in another order"
            raise SettingsError(
                f"{models[0].path} and {model.path} have different labels ({what}); score them one by one"
            )


def _front_end(model: Model) -> FeatureConfig:
    if model.features is None:
        raise SettingsError(
            f"{model.path} has its front end inside the graph; this version scores such a bundle on its evaluation "
            "pack only: leave --data out"
        )
    return model.features


def _features(waveforms: NDArray[np.int16], config: FeatureConfig) -> np.ndarray:
    front_end = FrontEnd(config)
    with torch.inference_mode():
        parts = [front_end(part.float() / 32768.0) for part in torch.split(torch.from_numpy(waveforms), _BATCH)]
    return torch.cat(parts).numpy()


def group_of(name: str) -> str:
    """The speaker of a clip; a clip of silence is a group of its own."""
    return name if _is_silence(name) else speaker_of(name)


def _is_silence(name: str) -> bool:
    return name.startswith((f"{NOISE_FOLDER}/", f"{SILENCE}/"))
