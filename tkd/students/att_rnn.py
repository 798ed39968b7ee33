"""Att-RNN and MHAtt-RNN: two bidirectional recurrent layers and attention asked by the middle frame.

Source: Rybakov et al. 2020, "Streaming Keyword Spotting on Mobile Devices", arXiv 2005.06720, and kws_streaming's
published experiments; after de Andrade et al. 2018, arXiv 1808.08929.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tkd.students.gru import Gru
from tkd.students.student import AttentiveStudent
from tkd.students.tensorflow_layers import TF_EPSILON, SameConv2d, initialise_glorot

_BN_MOMENTUM = 0.01  # Keras's default .99, in PyTorch's convention


class AttRnn(AttentiveStudent):
    """kws_streaming's Att-RNN (one head) and MHAtt-RNN (four).

    Args:
        channels_in: channels of a feature frame (20 MFCC in the paper).
        classes: number of labels.
        heads: queries; each sees all time steps, and what they gather is joined.
        dropout: share of the gathered values dropped in training.
        units: of each recurrent layer, in each direction.
    """

    def __init__(self, channels_in: int, classes: int, *, heads: int, dropout: float, units: int = 128) -> None:
        super().__init__()
        width = 2 * units
        # The convolutions run over time alone, and the last has one channel: the recurrent input is channels_in wide.
        self.convolutions = nn.Sequential(
            SameConv2d(1, 10, (5, 1)), nn.ReLU(), nn.BatchNorm2d(10, eps=TF_EPSILON, momentum=_BN_MOMENTUM),
            SameConv2d(10, 1, (5, 1)), nn.ReLU(), nn.BatchNorm2d(1, eps=TF_EPSILON, momentum=_BN_MOMENTUM),
        )  # fmt: skip
        initialise_glorot(self.convolutions)
        self.recurrent = nn.Sequential(
            Gru(channels_in, units, is_bidirectional=True), Gru(width, units, is_bidirectional=True)
        )
        self.context_channels = width
        self.query = nn.ModuleList(nn.Linear(width, width) for _ in range(heads))
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Sequential(
            nn.Linear(heads * width, 64), nn.ReLU(), nn.Linear(64, 32), nn.Linear(32, classes)
        )  # fmt: skip
        for part in (self.query, self.dense):
            initialise_glorot(part)

    def contexts(self, features: Tensor) -> Tensor:
        """The second recurrent layer's states, both directions joined; time is that of the frames."""
        states: Tensor = self.recurrent(self.convolutions(features[:, None]).squeeze(1))
        return states

    def head(self, contexts: Tensor) -> Tensor:
        """Logits of what the heads gather."""
        gathered = (self._weights(contexts) @ contexts).flatten(1)
        logits: Tensor = self.dense(self.dropout(gathered))
        return logits

    def own_attention(self, contexts: Tensor) -> Tensor:
        """The heads' attention, averaged."""
        return self._weights(contexts).mean(dim=1)

    def _weights(self, contexts: Tensor) -> Tensor:
        """Softmax over time of the middle frame's queries with every frame, unscaled; (batch, heads, time)."""
        middle = contexts[:, contexts.shape[1] // 2]
        queries = torch.stack([query(middle) for query in self.query], dim=1)
        return F.softmax(queries @ contexts.transpose(1, 2), dim=2)
