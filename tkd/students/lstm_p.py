"""LSTM-P: a long short-term memory with peepholes and a projection.

Source: Sak, Senior and Beaufays 2014, arXiv 1402.1128, equations 1 to 6; sizes of Rybakov et al. 2020,
"Streaming Keyword Spotting on Mobile Devices", arXiv 2005.06720, and kws_streaming's published experiment.
Tested in `tests/tkd/students/test_recurrent.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tkd.students.causal import Carried
from tkd.students.student import GatedStudent, StreamRule
from tkd.students.tensorflow_layers import initialise_glorot

if TYPE_CHECKING:
    import onnx


class PeepholeLstm(nn.Module):
    """LSTM whose gates see the memory, and whose output is projected before it comes back.

    i = σ(W_i x_t + R_i m + p_i ⊙ c + b_i)        f = σ(W_f x_t + R_f m + p_f ⊙ c + b_f)
    c ← f ⊙ c + i ⊙ tanh(W_g x_t + R_g m + b_g)
    o = σ(W_o x_t + R_o m + p_o ⊙ c + b_o)        m ← P (o ⊙ tanh c)

    Shapes: (batch, time, channels_in) to (batch, time, projected). One bias, as in TensorFlow's LSTMCell.

    Args:
        channels_in: of a step.
        units: of the memory c.
        projected: channels of the output m.
    """

    def __init__(self, channels_in: int, units: int, projected: int) -> None:
        super().__init__()
        self.units = units
        self.projected = projected
        # The gates' order in the rows of both matrices: i, f, o, g.
        self.input_weight = nn.Parameter(torch.empty(4 * units, channels_in))
        self.recurrent_weight = nn.Parameter(torch.empty(4 * units, projected))
        self.bias = nn.Parameter(torch.zeros(4 * units))
        self.peephole = nn.Parameter(torch.empty(3, units))
        self.projection = nn.Parameter(torch.empty(projected, units))
        self.memory = Carried()
        self.output = Carried()
        self._initialise()

    def _initialise(self) -> None:
        """Glorot's uniform weights, for the two matrices as for the one that TensorFlow's cell joins them to."""
        for parameter, fan in (
            (self.input_weight, self.input_weight.shape[1] + self.projected + 4 * self.units),
            (self.recurrent_weight, self.input_weight.shape[1] + self.projected + 4 * self.units),
            (self.peephole, 2 * self.units),
            (self.projection, self.projected + self.units),
        ):
            nn.init.uniform_(parameter, -((6 / fan) ** 0.5), (6 / fan) ** 0.5)
        self.set_forget_bias(1.0)

    def set_forget_bias(self, bias: float) -> None:
        """Makes the forget gate's bias `bias` (TensorFlow adds it at each step; here it is part of the bias)."""
        with torch.no_grad():
            self.bias[self.units : 2 * self.units] = bias

    def forward(self, steps: Tensor) -> Tensor:
        """The projected output of each step; see the class for shapes."""
        # The input's matrix product is taken once for all steps. Joining it to the recurrent one (concatenate, then
        # one product a step) trains a fifth faster on one core, but forces one int8 scale on inputs and outputs.
        rows = F.linear(steps.transpose(0, 1), self.input_weight, self.bias)
        weights = (self.recurrent_weight, self.peephole, self.projection)
        if self.memory.is_streaming:
            return self._streamed(rows).transpose(0, 1)
        is_recorded = torch.jit.is_tracing() and torch.onnx.is_in_onnx_export()  # type: ignore[attr-defined, no-untyped-call]
        outputs: Tensor = (_Recorded.apply if is_recorded else _recurrence)(rows, *weights)
        return outputs.transpose(0, 1)

    def _streamed(self, rows: Tensor) -> Tensor:
        """The outputs of one hop, which goes on where the hop before ended."""
        memory = self.memory.taken((rows.shape[1], self.units), rows)
        output = self.output.taken((rows.shape[1], self.projected), rows)
        outputs = []
        for row in rows.unbind(dim=0):
            memory, output = _step(row, memory, output, self.recurrent_weight, self.peephole, self.projection)
            outputs.append(output)
        self.memory.state, self.output.state = memory, output
        return torch.stack(outputs)

    def onnx_functions(self) -> list[onnx.FunctionProto]:
        """What the operator that stands for all steps in an exported network does; see `converters.to_onnx`."""
        from onnx import parser

        return [parser.parse_function(_ONNX_FUNCTION)]


def _recurrence(rows: Tensor, recurrent_weight: Tensor, peephole: Tensor, projection: Tensor) -> Tensor:
    """The outputs m of all steps, shape (time, batch, projected), from W x + b of each, (time, batch, 4 × units)."""
    projected, units = projection.shape
    memory = rows.new_zeros(rows.shape[1], units)
    output = rows.new_zeros(rows.shape[1], projected)
    outputs = []
    for row in rows.unbind(dim=0):
        memory, output = _step(row, memory, output, recurrent_weight, peephole, projection)
        outputs.append(output)
    return torch.stack(outputs)


def _step(
    row: Tensor, memory: Tensor, output: Tensor, recurrent_weight: Tensor, peephole: Tensor, projection: Tensor
) -> tuple[Tensor, Tensor]:
    """The memory c and output m after one step, from W x + b of it, (batch, 4 × units)."""
    peephole_admit, peephole_forget, peephole_emit = peephole.unbind()
    # One split, not four slices: the gradient of a slice is a whole matrix of zeros around it.
    gates = row + F.linear(output, recurrent_weight)
    admit, forget, emit, candidate = torch.split_with_sizes(gates, [memory.shape[1]] * 4, dim=1)
    admit = torch.sigmoid(admit + peephole_admit * memory)
    forget = torch.sigmoid(forget + peephole_forget * memory)
    memory = forget * memory + admit * torch.tanh(candidate)
    emit = torch.sigmoid(emit + peephole_emit * memory)
    return memory, F.linear(emit * torch.tanh(memory), projection)


class _Recorded(torch.autograd.Function):
    """`_recurrence` as one operator of the exported graph, where its steps would be thousands.

    A recording takes names and shapes only, and would record the thousands if they were computed.
    """

    @staticmethod
    def forward(_ctx: Any, rows: Tensor, *weights: Tensor) -> Tensor:
        return rows.new_zeros(len(rows), rows.shape[1], len(weights[-1]))

    @staticmethod
    def symbolic(graph: Any, rows: Any, *weights: Any) -> Any:
        time, batch, _ = rows.type().sizes()
        made = graph.op("tkd::PeepholeLstm", rows, *weights)
        made.setType(rows.type().with_sizes([time, batch, weights[-1].type().sizes()[0]]))
        return made


# ONNX's LSTM has peepholes and no projection. The order of the gates is that of `PeepholeLstm`.
_ONNX_FUNCTION = """
<domain: "tkd", opset_import: ["" : 17]>
PeepholeLstm (rows, recurrent_weight, peephole, projection) => (outputs)
{
    weight = Transpose <perm = [1, 0]> (recurrent_weight)
    to_output = Transpose <perm = [1, 0]> (projection)
    peep_admit, peep_forget, peep_emit = Split <axis = 0> (peephole)
    batch = Shape <start = 1, end = 2> (rows)
    projected = Shape <start = 0, end = 1> (projection)
    units = Shape <start = 1, end = 2> (projection)
    output_shape = Concat <axis = 0> (batch, projected)
    memory_shape = Concat <axis = 0> (batch, units)
    first_output = ConstantOfShape (output_shape)
    first_memory = ConstantOfShape (memory_shape)
    last_output, last_memory, outputs = Scan <num_scan_inputs = 1, body = step
        (float[batch, projected] output, float[batch, units] memory, float[batch, gates] row) =>
        (float[batch, projected] new_output, float[batch, units] new_memory, float[batch, projected] emitted)
    {
        product = MatMul (output, weight)
        gates = Add (row, product)
        sum_admit, sum_forget, sum_emit, candidate = Split <axis = 1> (gates)
        seen_admit = Mul (peep_admit, memory)
        seen_forget = Mul (peep_forget, memory)
        all_admit = Add (sum_admit, seen_admit)
        all_forget = Add (sum_forget, seen_forget)
        admit = Sigmoid (all_admit)
        forget = Sigmoid (all_forget)
        squashed = Tanh (candidate)
        new = Mul (admit, squashed)
        kept = Mul (forget, memory)
        new_memory = Add (kept, new)
        seen_emit = Mul (peep_emit, new_memory)
        all_emit = Add (sum_emit, seen_emit)
        emit = Sigmoid (all_emit)
        shown = Tanh (new_memory)
        hidden = Mul (emit, shown)
        new_output = MatMul (hidden, to_output)
        emitted = Identity (new_output)
    }> (first_output, first_memory, rows)
}
"""


class LstmP(GatedStudent):
    """kws_streaming's LSTM-P: 500 units, projected to 200.

    Args:
        channels_in: channels of a feature frame (20 MFCC in the paper).
        classes: number of labels.
        units: of the memory.
        projected: channels of an output.
    """

    def __init__(self, channels_in: int, classes: int, *, units: int = 500, projected: int = 200) -> None:
        super().__init__()
        self.context_channels = projected
        self.lstm = PeepholeLstm(channels_in, units, projected)
        self.dropout = nn.Dropout(0.3)
        self.classifier = nn.Linear(self.context_channels, classes)
        initialise_glorot(self.classifier)

    def contexts(self, features: Tensor) -> Tensor:
        """The projected output of each step; time is that of the frames."""
        outputs: Tensor = self.lstm(features)
        return outputs

    def head(self, contexts: Tensor) -> Tensor:
        """Logits of the last output."""
        logits: Tensor = self.classifier(self.dropout(contexts[:, -1]))
        return logits

    def stream_rule(self) -> StreamRule | None:
        """Each frame is a step."""
        return StreamRule(frames_per_context=1, pools=False)

    def absorb_input_scale(self, scale: Tensor) -> bool:
        """Multiplies the input weights."""
        with torch.no_grad():
            self.lstm.input_weight.mul_(scale)
        return True

    def set_forget_bias(self, bias: float) -> None:
        """Sets the bias of the one recurrent layer."""
        self.lstm.set_forget_bias(bias)
