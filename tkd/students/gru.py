"""The gated recurrent unit as Keras has it: two biases, reset after the matrix product, which is PyTorch's form too.

Training runs PyTorch's kernel, and an export has ONNX's operator of the same name.
Used by `tkd.students.crnn` and `tkd.students.att_rnn`. Tested in `tests/tkd/students/test_recurrent.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tkd.students.causal import Carried


class Gru(nn.GRU):
    """One layer of gated recurrent units, in one direction or both.

    Shapes: (batch, time, channels_in) to (batch, time, units), or (batch, time, 2 × units) in both directions.

    Args:
        channels_in: of a step.
        units: of each direction.
        is_bidirectional: whether a second layer reads backwards.

    Source: Cho et al. 2014, arXiv 1406.1078; `reset_after` as in tf.keras.layers.GRU.
    """

    def __init__(self, channels_in: int, units: int, *, is_bidirectional: bool = False) -> None:
        super().__init__(channels_in, units, batch_first=True, bidirectional=is_bidirectional)
        self.before = Carried()
        for name, parameter in self.named_parameters():
            if name.startswith("weight_ih"):
                nn.init.xavier_uniform_(parameter)
            elif name.startswith("weight_hh"):
                nn.init.orthogonal_(parameter)
            else:
                nn.init.zeros_(parameter)

    def forward(self, input: Tensor) -> Tensor:  # type: ignore[override]  # noqa: A002 - the parent's name; no state
        """The hidden state of each step; see the class for shapes."""
        states: Tensor = super().forward(input)[0]
        return states

    def stream(self, steps: Tensor, is_open: Sequence[Tensor]) -> Tensor:
        """The hidden state of each step of one hop, which goes on where the hop before ended.

        r, z = σ(…);  n = tanh(W_n x + b_n + r ⊙ (R_n h + c_n));  h ← g ⊙ (n + z ⊙ (h − n))

        Args:
            steps: shape (batch, time, channels_in).
            is_open: g of each step, shape (batch, 1): 0 keeps the state at zero, 1 lets the step through.
        """
        input_weight, state_weight, input_bias, state_bias = (weight for weight in self.all_weights[0])
        state = self.before.taken((len(steps), self.hidden_size), steps)
        outputs = []
        for row, passes in zip(F.linear(steps, input_weight, input_bias).unbind(1), is_open, strict=True):
            row_reset, row_update, row_new = row.chunk(3, dim=1)
            reset, update, new = F.linear(state, state_weight, state_bias).chunk(3, dim=1)
            candidate = torch.tanh(row_new + torch.sigmoid(row_reset + reset) * new)
            state = passes * (candidate + torch.sigmoid(row_update + update) * (state - candidate))
            outputs.append(state)
        self.before.state = state
        return torch.stack(outputs, dim=1)
