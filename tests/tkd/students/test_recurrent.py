import numpy as np
import pytest
import torch
from torch import Tensor

from converters.runners import run_onnx
from converters.to_onnx import to_onnx
from tkd.students import build_student
from tkd.students.gru import Gru
from tkd.students.lstm_p import PeepholeLstm


def lstm_step_by_step(cell: PeepholeLstm, steps: Tensor) -> Tensor:
    """Equations 1 to 6 of arXiv 1402.1128, one gate at a time."""
    admit_w, forget_w, emit_w, candidate_w = cell.input_weight.split(cell.units)
    admit_r, forget_r, emit_r, candidate_r = cell.recurrent_weight.split(cell.units)
    admit_b, forget_b, emit_b, candidate_b = cell.bias.split(cell.units)
    memory, output, outputs = torch.zeros(len(steps), cell.units), torch.zeros(len(steps), cell.projected), []
    for t in range(steps.shape[1]):
        x = steps[:, t]
        i = torch.sigmoid(x @ admit_w.T + output @ admit_r.T + memory * cell.peephole[0] + admit_b)
        f = torch.sigmoid(x @ forget_w.T + output @ forget_r.T + memory * cell.peephole[1] + forget_b)
        g = torch.tanh(x @ candidate_w.T + output @ candidate_r.T + candidate_b)
        memory = f * memory + i * g
        o = torch.sigmoid(x @ emit_w.T + output @ emit_r.T + memory * cell.peephole[2] + emit_b)
        output = (o * torch.tanh(memory)) @ cell.projection.T
        outputs.append(output)
    return torch.stack(outputs, dim=1)


def test_the_lstm_with_peepholes_follows_its_equations_in_values_and_gradients() -> None:
    torch.manual_seed(0)
    cell = PeepholeLstm(4, 6, 3)
    steps = torch.randn(5, 9, 4)
    expected, seen = lstm_step_by_step(cell, steps), cell(steps)
    torch.testing.assert_close(seen, expected)
    parameters = list(cell.parameters())
    for one, other in zip(
        torch.autograd.grad(seen.square().sum(), parameters),
        torch.autograd.grad(expected.square().sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_a_forget_bias_of_four_remembers_longer_than_tensorflows_one() -> None:
    torch.manual_seed(0)
    cell = PeepholeLstm(4, 64, 16)
    steps = torch.zeros(1, 100, 4)
    steps[:, 0] = 3.0
    kept = []
    for bias in (1.0, 4.0):
        cell.set_forget_bias(bias)
        with torch.no_grad():
            kept.append(cell(steps)[0, -1].abs().sum().item())
    assert kept[1] > 10 * kept[0]


def gru_step_by_step(layer: Gru, steps: Tensor, suffix: str) -> Tensor:
    """tf.keras.layers.GRU with `reset_after`, one gate at a time."""
    weights = dict(layer.named_parameters())
    units = layer.hidden_size
    reset_w, update_w, new_w = weights["weight_ih" + suffix].split(units)
    reset_u, update_u, new_u = weights["weight_hh" + suffix].split(units)
    reset_b, update_b, new_b = weights["bias_ih" + suffix].split(units)
    reset_c, update_c, new_c = weights["bias_hh" + suffix].split(units)
    state, states = torch.zeros(len(steps), units), []
    for t in range(steps.shape[1]):
        x = steps[:, t]
        reset = torch.sigmoid(x @ reset_w.T + reset_b + state @ reset_u.T + reset_c)
        update = torch.sigmoid(x @ update_w.T + update_b + state @ update_u.T + update_c)
        new = torch.tanh(x @ new_w.T + new_b + reset * (state @ new_u.T + new_c))
        state = update * state + (1 - update) * new
        states.append(state)
    return torch.stack(states, dim=1)


@pytest.mark.parametrize("is_bidirectional", [False, True])
def test_the_gated_recurrent_unit_follows_keras_equations(is_bidirectional: bool) -> None:
    torch.manual_seed(0)
    layer = Gru(4, 6, is_bidirectional=is_bidirectional)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    steps = torch.randn(5, 9, 4)
    parts = [gru_step_by_step(layer, steps, "_l0")]
    if is_bidirectional:
        parts.append(gru_step_by_step(layer, steps.flip(1), "_l0_reverse").flip(1))
    expected = torch.cat(parts, dim=2)
    torch.testing.assert_close(layer(steps), expected, rtol=1e-4, atol=1e-5)


def test_a_gated_recurrent_unit_counts_both_biases_of_keras() -> None:
    assert sum(parameter.numel() for parameter in Gru(20, 128).parameters()) == 3 * 128 * (20 + 128) + 2 * 3 * 128


@pytest.mark.parametrize(("name", "layer"), [("lstm-p", "PeepholeLstm"), ("crnn", "GRU"), ("mhatt-rnn", "GRU")])
def test_a_recurrent_student_exports_layers_not_steps_and_computes_the_same(name: str, layer: str) -> None:
    torch.manual_seed(0)
    student = build_student(name, 20, 12).eval()
    inputs = torch.randn(2, 12, 20)
    model = to_onnx(student, inputs[:1])
    assert layer in {node.op_type for node in model.graph.node}
    assert len(model.graph.node) < 150
    with torch.no_grad():
        expected = student(inputs).numpy()
    np.testing.assert_allclose(run_onnx(model.SerializeToString(), inputs.numpy()), expected, rtol=1e-4, atol=1e-5)
