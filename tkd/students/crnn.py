"""CRNN: two convolutions over time and frequency, then a gated recurrent layer.

Source: Rybakov et al. 2020, "Streaming Keyword Spotting on Mobile Devices", arXiv 2005.06720, and kws_streaming's
published experiment; after Arik et al. 2017, arXiv 1703.05390.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tkd.errors import SettingsError
from tkd.students.causal import Carried
from tkd.students.gru import Gru
from tkd.students.student import StreamRule, Student
from tkd.students.tensorflow_layers import initialise_glorot

_FILTERS = 16
_FREQUENCIES_LOST = 4  # two kernels of 3, without padding
_FRAMES_LOST = 6  # kernels of 3 and 5


class Crnn(Student):
    """kws_streaming's CRNN.

    Args:
        channels_in: channels of a feature frame (20 MFCC in the paper), at least 5.
        classes: number of labels.
        units: of the recurrent layer.

    Raises:
        SettingsError: too few channels for the kernels.
    """

    def __init__(self, channels_in: int, classes: int, *, units: int = 256) -> None:
        super().__init__()
        if channels_in <= _FREQUENCIES_LOST:
            raise SettingsError(
                f"CRNN convolves over frequency and {channels_in} channels are too few for its kernels; "
                "take the front end 'kws-streaming'"
            )
        self.first = nn.Conv2d(1, _FILTERS, (3, 3))
        self.second = nn.Conv2d(_FILTERS, _FILTERS, (5, 3))
        initialise_glorot(self)
        self.context_channels = units
        self.gru = Gru((channels_in - _FREQUENCIES_LOST) * _FILTERS, self.context_channels)
        self.before_first, self.before_second, self.frames_seen = Carried(), Carried(), Carried()
        self.dropout = nn.Dropout(0.1)
        self.dense = nn.Sequential(nn.Linear(units, 128), nn.Linear(128, 256), nn.ReLU(), nn.Linear(256, classes))
        initialise_glorot(self.dense)

    def contexts(self, features: Tensor) -> Tensor:
        """The recurrent layer's state at each step; time is the frames less 6."""
        is_streaming = self.frames_seen.is_streaming
        joined = self.before_first.join(features[:, None], self.first.kernel_size[0] - 1, axis=2, pads=False)
        lower = F.relu(self.first(joined))
        joined = self.before_second.join(lower, self.second.kernel_size[0] - 1, axis=2, pads=False)
        steps = F.relu(self.second(joined)).transpose(1, 2).flatten(2)
        states: Tensor = self.gru.stream(steps, self._open(steps)) if is_streaming else self.gru(steps)
        return states

    def _open(self, steps: Tensor) -> list[Tensor]:
        """Whether each step of a hop counts, 0 or 1: the first six of a stream lack frames before them."""
        seen = self.frames_seen.taken((len(steps), 1), steps)
        self.frames_seen.state = F.relu6(seen + steps.shape[1])
        return [F.relu6(6 * (seen + (step + 1 - _FRAMES_LOST))) / 6 for step in range(steps.shape[1])]

    def stream_rule(self) -> StreamRule | None:
        """Each frame is a step; convolutions without padding see past frames alone as they are."""
        return StreamRule(frames_per_context=1, pools=False)

    def head(self, contexts: Tensor) -> Tensor:
        """Logits of the last state."""
        logits: Tensor = self.dense(self.dropout(contexts[:, -1]))
        return logits
