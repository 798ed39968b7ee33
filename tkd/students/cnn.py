"""CNN-1 and CNN-2: the plain convolutional baselines of TC-ResNet's table.

cnn-trad-fpool3 and cnn-one-fstride4 of Sainath and Parada 2015, "Convolutional Neural Networks for Small-footprint
Keyword Spotting" (Interspeech), in the form of TC-ResNet's published code (arXiv 1904.03814, table 2): no biases.
Both see exactly one second. On longer clips the layer that spans the second slides over time, and what it gives is
averaged (ours), so that one second gives the published network.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tkd.errors import SettingsError
from tkd.students.student import Student

_FRAMES = 49  # one second at a hop of 20 ms
_FILTERS_1, _FILTERS_2 = 64, 186
_KERNEL_1, _KERNEL_1_SECOND, _POOL = (20, 8), (10, 4), (1, 3)
_LOW_RANK, _HIDDEN = 32, 128


class Cnn1(Student):
    """cnn-trad-fpool3: two convolutions, a low-rank layer, a dense one.

    Args:
        channels_in: channels of a feature frame (40 MFCC in the paper), at least 17.
        classes: number of labels.

    Raises:
        SettingsError: too few channels for the kernels.
    """

    def __init__(self, channels_in: int, classes: int) -> None:
        super().__init__()
        bands = (channels_in - _KERNEL_1[1] + 1) // _POOL[1] - _KERNEL_1_SECOND[1] + 1
        _expect_bands(bands, "CNN-1", channels_in)
        self.first = nn.Conv2d(1, _FILTERS_1, _KERNEL_1, bias=False)
        self.pool = nn.MaxPool2d(_POOL)
        self.second = nn.Conv2d(_FILTERS_1, _FILTERS_1, _KERNEL_1_SECOND, bias=False)
        self.dropout = nn.Dropout(0.5)
        self.context_channels = _FILTERS_1 * bands
        steps = _FRAMES - _KERNEL_1[0] - _KERNEL_1_SECOND[0] + 2
        self.low_rank = nn.Conv1d(self.context_channels, _LOW_RANK, steps, bias=False)
        self.hidden = nn.Linear(_LOW_RANK, _HIDDEN, bias=False)
        self.classifier = nn.Linear(_HIDDEN, classes, bias=False)
        _initialise(self)

    def contexts(self, features: Tensor) -> Tensor:
        """The second convolution's map, frequencies folded into channels; time is the frames less 28."""
        maps = self.pool(self.dropout(F.relu(self.first(features[:, None]))))
        return F.relu(self.second(maps)).transpose(1, 2).flatten(2)

    def head(self, contexts: Tensor) -> Tensor:
        """Logits of every second of the contexts, averaged."""
        seconds: Tensor = self.low_rank(self.dropout(contexts).transpose(1, 2))
        logits: Tensor = self.classifier(self.hidden(seconds.mean(dim=2)))
        return logits


class Cnn2(Student):
    """cnn-one-fstride4: one convolution over a whole second, a low-rank layer, two dense ones.

    Args:
        channels_in: channels of a feature frame (40 MFCC in the paper), at least 8.
        classes: number of labels.

    Raises:
        SettingsError: too few channels for the kernel.
    """

    def __init__(self, channels_in: int, classes: int) -> None:
        super().__init__()
        bands = (channels_in - 8) // 4 + 1
        _expect_bands(bands, "CNN-2", channels_in)
        self.first = nn.Conv2d(1, _FILTERS_2, (_FRAMES, 8), stride=(1, 4), bias=False)
        self.dropout = nn.Dropout(0.5)
        self.context_channels = _FILTERS_2 * bands
        self.low_rank = nn.Linear(self.context_channels, _LOW_RANK, bias=False)
        self.hidden = nn.Linear(_LOW_RANK, _HIDDEN, bias=False)
        self.second_hidden = nn.Linear(_HIDDEN, _HIDDEN, bias=False)
        self.classifier = nn.Linear(_HIDDEN, classes, bias=False)
        _initialise(self)

    def contexts(self, features: Tensor) -> Tensor:
        """The convolution's map, frequencies folded into channels; one second of features is one step of time."""
        return F.relu(self.first(features[:, None])).transpose(1, 2).flatten(2)

    def head(self, contexts: Tensor) -> Tensor:
        """Logits of the contexts' mean over time."""
        hidden = self.dropout(self.hidden(self.low_rank(self.dropout(contexts.mean(dim=1)))))
        logits: Tensor = self.classifier(self.dropout(self.second_hidden(hidden)))
        return logits


def _expect_bands(bands: int, title: str, channels_in: int) -> None:
    if bands < 1:
        raise SettingsError(
            f"{title} convolves over frequency and {channels_in} channels are too few for its kernels; "
            "take the front end 'cnn-baseline'"
        )


def _initialise(network: nn.Module) -> None:
    """Truncated normal weights of deviation .01, as in the published code."""
    for parameter in network.parameters():
        nn.init.trunc_normal_(parameter, std=0.01, a=-0.02, b=0.02)
