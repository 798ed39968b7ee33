"""Which operators leave int8, and by whose word."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from converters.errors import ConversionError
from converters.families import FAMILIES
from converters.graph import read_graph
from converters.lowering.lower import lower
from converters.mixture import Mixture, choose_mixture, kept_float
from converters.to_onnx import to_onnx

NOTHING = Mixture(plan={}, choices=())


def lowered(module, shape):
    torch.manual_seed(1)
    return lower(read_graph(to_onnx(module, torch.zeros(shape))))


class Cell(nn.Module):
    """A recurrent cell, unrolled: one matrix for the inputs, then a shared matrix at each step."""

    def __init__(self, steps=4):
        super().__init__()
        self.given, self.memory, self.out, self.steps = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3), steps

    def forward(self, x):
        hoisted = self.given(x).mean(dim=1)
        state = torch.tanh(hoisted)
        for _ in range(1, self.steps):
            gate = torch.sigmoid(self.memory(state) + hoisted)
            state = gate * state + torch.tanh(self.memory(state))
        return self.out(state)


def test_a_recurrence_is_found_from_its_first_gate_to_its_last_and_no_further():
    model = lowered(Cell(), (1, 5, 6))
    family = next(row for row in FAMILIES if row.name == "recurrence")
    found = {each.outputs[0] for each in family.find(model)}
    left = [each.code for each in model.operators if each.outputs[0] not in found]
    assert ["FULLY_CONNECTED", "MEAN", "FULLY_CONNECTED"] == left


def test_a_recurrence_leaves_int8_unasked_with_dynamic_matrices():
    model = lowered(Cell(), (1, 5, 6))
    mixture = choose_mixture(model, NOTHING, 40.0, lambda plan: 50.0)
    assert ["recurrence"] == [choice.family for choice in mixture.choices]
    forms = {mixture.plan[each.outputs[0]] for each in model.operators if each.outputs[0] in mixture.plan}
    assert {"dynamic", "float32"} == forms


def test_a_network_without_recurrence_that_is_good_enough_stays_int8_throughout():
    model = lowered(nn.Sequential(nn.Linear(6, 8), nn.Sigmoid(), nn.Linear(8, 3)), (1, 6))
    mixture = choose_mixture(model, NOTHING, 30.0, lambda plan: 31.0)
    assert ({}, (), 31.0) == (mixture.plan, mixture.choices, mixture.uniform_sqnr_db)


def test_the_family_that_helps_most_goes_first_and_the_search_ends_at_the_goal():
    model = lowered(nn.Sequential(nn.Linear(6, 8), nn.Sigmoid(), nn.Linear(8, 3)), (1, 6))
    gate = next(each.outputs[0] for each in model.operators if each.code == "LOGISTIC")
    mixture = choose_mixture(model, NOTHING, 30.0, lambda plan: 31.0 if gate in plan else 20.0 + len(plan))
    assert [("gates", 31.0)] == [(choice.family, choice.sqnr_db) for choice in mixture.choices]
    assert 20.0 == mixture.uniform_sqnr_db


def test_families_that_bring_nothing_stay_int8():
    model = lowered(nn.Sequential(nn.Linear(6, 8), nn.Sigmoid(), nn.Linear(8, 3)), (1, 6))
    mixture = choose_mixture(model, NOTHING, 30.0, lambda plan: 20.0)
    assert ({}, ()) == (mixture.plan, mixture.choices)


def test_patterns_are_searched_in_type_and_name():
    model = lowered(nn.Sequential(nn.Linear(6, 8), nn.Sigmoid(), nn.Linear(8, 3)), (1, 6))
    kept = kept_float(model, ["^LOGISTIC", "output"])
    assert {"float32"} == set(kept.plan.values())
    assert [1, 3] == [choice.operators for choice in kept.choices]


def test_a_pattern_may_name_the_node_that_an_operator_comes_from():
    model = lowered(nn.Sequential(nn.Linear(6, 8), nn.Sigmoid(), nn.Linear(8, 3)), (1, 6))
    first = model.operators[0]
    assert first.node != first.outputs[0]
    assert {first.outputs[0]: "float32"} == kept_float(model, [f"^FULLY_CONNECTED {first.node}$"]).plan


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("CONV_3D", r"no operator matches 'CONV_3D' \(--keep-float\); 3 were tried: 'FULLY_CONNECTED "),
        ("(", r"'\(' is no regular expression"),
    ],
)
def test_a_pattern_that_matches_nothing_or_cannot_be_read_is_refused(pattern, message):
    model = lowered(nn.Sequential(nn.Linear(6, 8), nn.Sigmoid(), nn.Linear(8, 3)), (1, 6))
    with pytest.raises(ConversionError, match=message):
        kept_float(model, [pattern])


def test_where_no_mixture_reaches_the_goal_a_sound_file_stays_in_int8():
    model = lowered(nn.Sequential(nn.Linear(6, 8), nn.Sigmoid(), nn.Linear(8, 3), nn.Sigmoid()), (1, 6))
    sqnr_of = lambda plan: 20.0 + 2 * len(plan)  # noqa: E731
    assert ({}, ()) == (mixed(model, sqnr_of, 19.0).plan, mixed(model, sqnr_of, 19.0).choices)
    assert mixed(model, sqnr_of, 21.0).choices


def mixed(model, sqnr_of, least_db):
    return choose_mixture(model, NOTHING, 90.0, sqnr_of, least_db)
