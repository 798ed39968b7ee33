"""The gated recurrent unit as Keras has it: two biases, reset after the matrix product, which is PyTorch's form too.

Training runs PyTorch's kernel, and an export has ONNX's operator of the same name.
Used by `tkd.students.crnn` and `tkd.students.att_rnn`. Tested in `tests/tkd/students/test_recurrent.py`.
"""

from __future__ import annotations

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
        states: Tensor = super().forward(input)[0]
        return states
