"""CRNN: two convolutions over time and frequency, then a gated recurrent layer.

Source: Rybakov et al. 2020, "Streaming Keyword Spotting on Mobile Devices", arXiv 2005.06720, and kws_streaming's
published experiment; after Arik et al. 2017, arXiv 1703.05390.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tkd.errors import SettingsError
from tkd.students.gru import Gru
from tkd.students.student import Student
from tkd.students.tensorflow_layers import initialise_glorot

_FILTERS = 16
_FREQUENCIES_LOST = 4  # two kernels of 3, without padding


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
        self.dropout = nn.Dropout(0.1)
        self.dense = nn.Sequential(nn.Linear(units, 128), nn.Linear(128, 256), nn.ReLU(), nn.Linear(256, classes))
        initialise_glorot(self.dense)

    def contexts(self, features: Tensor) -> Tensor:
        """The recurrent layer's state at each step; time is the frames less 6."""
        maps = F.relu(self.second(F.relu(self.first(features[:, None]))))
        states: Tensor = self.gru(maps.transpose(1, 2).flatten(2))
        return states

    def head(self, contexts: Tensor) -> Tensor:
        """Logits of the last state."""
        logits: Tensor = self.dense(self.dropout(contexts[:, -1]))
        return logits
