"""The gated recurrent unit as Keras has it: two biases, reset after the matrix product, which is PyTorch's form too.

Training runs PyTorch's kernel. A converted network has no loops, so an exported one is unrolled over its fixed
number of steps, with the input's matrix product taken once for all steps.
Used by `tkd.students.crnn` and `tkd.students.att_rnn`. Tested in `tests/tkd/students/test_recurrent.py`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
        for name, parameter in self.named_parameters():
            if name.startswith("weight_ih"):
                nn.init.xavier_uniform_(parameter)
            elif name.startswith("weight_hh"):
                nn.init.orthogonal_(parameter)
            else:
                nn.init.zeros_(parameter)

    def forward(self, input: Tensor) -> Tensor:  # type: ignore[override]  # noqa: A002 - the parent's name; no state
        """The hidden state of each step; see the class for shapes."""
        if torch.onnx.is_in_onnx_export():
            return self.unrolled(input)
        states: Tensor = super().forward(input)[0]
        return states

    def unrolled(self, steps: Tensor) -> Tensor:
        """What `forward` gives, step by step in elementary operations; see the class for shapes.

        r, z = σ(W x_t + b + U h + c); n = tanh(W_n x_t + b_n + r ⊙ (U_n h + c_n)); h ← (1-z) ⊙ n + z ⊙ h
        """
        suffixes = ("_l0", "_l0_reverse") if self.bidirectional else ("_l0",)
        return torch.cat([self._direction(steps, suffix) for suffix in suffixes], dim=2)

    def _direction(self, steps: Tensor, suffix: str) -> Tensor:
        weights = dict(self.named_parameters())
        recurrent, recurrent_bias = weights["weight_hh" + suffix], weights["bias_hh" + suffix]
        projected = F.linear(steps, weights["weight_ih" + suffix], weights["bias_ih" + suffix]).unbind(dim=1)
        units, time = self.hidden_size, steps.shape[1]
        state = steps.new_zeros(len(steps), units)
        states: list[Tensor] = [state] * time
        for step in reversed(range(time)) if suffix.endswith("reverse") else range(time):
            gates_x, candidate_x = torch.split_with_sizes(projected[step], [2 * units, units], dim=1)
            from_state = F.linear(state, recurrent, recurrent_bias)
            gates_h, candidate_h = torch.split_with_sizes(from_state, [2 * units, units], dim=1)
            reset, update = torch.split_with_sizes(torch.sigmoid(gates_x + gates_h), [units, units], dim=1)
            candidate = torch.tanh(candidate_x + reset * candidate_h)
            state = candidate + update * (state - candidate)
            states[step] = state
        return torch.stack(states, dim=1)
