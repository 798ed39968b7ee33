"""What an exported file is fed: features that the app computes, or the waveform, with the front end inside the graph.

    features    waveform ─► front end, in the app ─► each channel ÷ its size ─► file
    waveform    waveform ─► file (front end, float32 ─► student, any precision)

Before this: `tkd.export.material` has both for every clip. After this: `tkd.export.bundles` converts and scores.
Tested in `tests/tkd/export/test_waveform.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from tkd.audio.features import FeatureConfig
from tkd.audio.graph_front_end import GraphFrontEnd
from tkd.audio.wav import SAMPLE_RATE_HZ, as_floats
from tkd.errors import SettingsError
from tkd.export.material import Material, Split

InputKind = Literal["features", "waveform"]
INPUT_KINDS: tuple[InputKind, ...] = get_args(InputKind)

_AT_ONCE = 512  # clips of a second that are 32 MB as floats


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontEndPlace(ABC):
    """Where the front end of a file is, and so what the file is given.

    Attributes:
        config: the front end, wherever it is.
        channel_scale: what each feature channel is divided by.
    """

    config: FeatureConfig
    channel_scale: tuple[float, ...]

    @property
    @abstractmethod
    def samples(self) -> int:
        """Of audio at once; 0 where features are fed."""

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the input's axes."""
        return ("batch", "frames", "channels") if not self.samples else ("batch", "samples")

    @property
    def description(self) -> str:
        """The input in words, with units."""
        if not self.samples:
            return "features as front_end.json says, each channel divided by its channel_scale"
        return f"mono audio at {self.config.sample_rate_hz} Hz: 16-bit samples divided by 32768"

    def document(self) -> dict[str, Any]:
        """The front end for `model.json`: every parameter, where it is computed, and what the file is given."""
        if not self.samples:
            return {"in_graph": False, **self.config.to_dict(), "channel_scale": list(self.channel_scale)}
        given = {
            "sample_rate_hz": self.config.sample_rate_hz,
            "samples": self.samples,
            "channels": 1,
            "full_scale": 1.0,
            "from_int16": 1 / 32768,
        }
        return {"in_graph": True, "input": given, **self.config.to_dict()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Feeding(FrontEndPlace):
    """How clips become the input of a file.

    Attributes:
        kind: features or waveform.
        front: the front end as a network; None where the app computes it.
    """

    kind: InputKind
    front: GraphFrontEnd | None

    @property
    def samples(self) -> int:
        """Of audio at once; 0 where features are fed."""
        return 0 if self.front is None else self.front.samples

    def name_of(self, student: str) -> str:
        """What the student is called in this form: two forms of one student can lie side by side."""
        return student if self.front is None else f"{student}-waveform"

    def inputs(self, split: Split) -> np.ndarray:
        """What the file gets for each clip, float32, shape (clips, frames, channels) or (clips, samples)."""
        return split.inputs.numpy() if self.front is None else as_floats(split.waveforms)

    def run(self, model: Callable[[np.ndarray], np.ndarray], split: Split) -> np.ndarray:
        """A model's outputs, shape (clips, classes), over a split of any size."""
        return np.concatenate([model(part) for part in self._parts(split)])

    def _parts(self, split: Split) -> Iterator[np.ndarray]:
        for first in range(0, len(split.ids), _AT_ONCE):
            yield self.inputs(split.at(range(first, min(first + _AT_ONCE, len(split.ids)))))


def feeding_of(kind: InputKind, config: FeatureConfig, material: Material) -> Feeding:
    """How the clips of `material`, whose features are scaled already, are fed.

    Raises:
        SettingsError: the front end is for another sample rate than the clips', or has no form inside a graph.
        AudioError: the clips are shorter than one window.
    """
    scale = material.channel_scale
    # Rounded to what `model.json` holds, so that a reader of that file computes the same.
    listed = tuple(round(value, 9) for value in scale.tolist())
    if kind == "features":
        return Feeding(kind=kind, config=config, channel_scale=listed, front=None)
    if config.sample_rate_hz != SAMPLE_RATE_HZ:
        raise SettingsError(
            f"the front end is for {config.sample_rate_hz} Hz and the clips have {SAMPLE_RATE_HZ} Hz; "
            "export with --input features, or train at the clips' rate"
        )
    front = GraphFrontEnd(config, material.test.waveforms.shape[1], scale)
    return Feeding(kind=kind, config=config, channel_scale=listed, front=front.eval())
