"""Stateful networks in TFLite: states by name, the same at both ends, float and int8, and bad states."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from converters.bundle_contents import TensorSpec
from converters.errors import ConversionError
from converters.families import recurrence
from converters.graph import read_graph
from converters.lowering.lower import lower
from converters.onnx_file import read_model
from converters.parity import ParityGates
from converters.runners import TfliteModel
from converters.stream_runners import TfliteStream, check_state
from converters.streams import StreamConversion, StreamRequest, convert_stream, record_feeds

HOP, CHANNELS = 2, 6
STATES = {"ring": (1, 1, 4, CHANNELS), "memory": (1, 5)}


class Listening(nn.Module):
    """A causal convolution with a ring buffer, and a recurrence over what comes out of it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv1d(CHANNELS, 8, 5, stride=2)
        self.step = nn.RNNCell(8, 5)
        self.classifier = nn.Linear(5, 3)

    def forward(self, hop: Tensor, ring: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        joined = torch.cat([ring.movedim(3, 1).squeeze(2), hop.transpose(1, 2)], dim=2)
        kept = joined[:, :, -4:][:, :, None].movedim(1, 3)
        row = F.relu(self.convolution(joined)).squeeze(2)
        memory = torch.tanh(
            F.linear(row, self.step.weight_ih, self.step.bias_ih)
            + F.linear(memory, self.step.weight_hh, self.step.bias_hh)
        )
        return self.classifier(memory), kept, memory


def noise(sequences: int, hops: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((sequences, hops, HOP, CHANNELS)).astype(np.float32)


@pytest.fixture(scope="module")
def request_of_all() -> StreamRequest:
    return StreamRequest(
        module=Listening(),
        states=STATES,
        check=noise(2, 30, seed=1),
        calibration=noise(6, 40, seed=2),
        precisions=("dynamic", "int8"),
        gates=ParityGates(int8_sqnr_db=20.0, int8_top1_agreement=0.8),
    )


@pytest.fixture(scope="module")
def conversion(request_of_all: StreamRequest) -> StreamConversion:
    return convert_stream(request_of_all)


def test_float_stages_agree_over_every_hop_and_int8_within_its_bound(conversion: StreamConversion) -> None:
    errors = {each.stage: each for each in conversion.parity.stages}
    assert [*errors] == ["torch → onnx", "onnx → float32", "float32 → dynamic", "float32 → int8"]
    assert max(errors[stage].relative_error for stage in [*errors][:2]) < 1e-4
    assert all(each.examples == 60 for each in errors.values())
    assert errors["float32 → int8"].sqnr_db > 20


def test_states_are_bound_by_name_and_come_out_as_they_go_in(conversion: StreamConversion) -> None:
    for file in conversion.files.values():
        stream = TfliteStream(file.content)
        assert {name: spec.shape for name, spec in stream.past.items()} == STATES
        for name, past in stream.past.items():
            check_state(name, stream.next[name], past)


def test_a_recurrence_of_one_step_stays_float_and_a_ring_buffer_is_none(request_of_all: StreamRequest) -> None:
    converted = convert_stream(dataclasses.replace(request_of_all, precisions=()))
    model = dataclasses.replace(
        lower(read_graph(read_model(converted.onnx))),
        states=(("past_ring", "next_ring"), ("past_memory", "next_memory")),
    )
    codes = {each.code for each in recurrence(model)}
    assert "FULLY_CONNECTED" in codes
    assert not codes & {"CONV_2D", "CONCATENATION"}
    assert recurrence(dataclasses.replace(model, states=())) == []


def test_an_int8_ring_buffer_is_int8_at_both_ends_with_one_scale() -> None:
    class Ring(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(1)
            self.convolution = nn.Conv1d(CHANNELS, 8, 5, stride=2)
            self.classifier = nn.Linear(8, 3)

        def forward(self, hop: Tensor, ring: Tensor) -> tuple[Tensor, Tensor]:
            joined = torch.cat([ring.movedim(3, 1).squeeze(2), hop.transpose(1, 2)], dim=2)
            logits = self.classifier(F.relu(self.convolution(joined)).squeeze(2))
            return logits, joined[:, :, -4:][:, :, None].movedim(1, 3)

    made = convert_stream(
        StreamRequest(module=Ring(), states={"ring": STATES["ring"]}, check=noise(1, 20, seed=3),
                      calibration=noise(4, 40, seed=4), precisions=("int8",))
    )  # fmt: skip
    ring = made.files["int8"].states["ring"]
    assert ring.dtype == "int8"
    assert made.files["int8"].shares.operators == 1.0
    assert (ring.scale, ring.zero_point) == (made.files["int8"].hop.scale, made.files["int8"].hop.zero_point)


def test_calibration_sees_states_as_they_are_in_use(conversion: StreamConversion) -> None:
    feeds = record_feeds(conversion.files["float32"].content, noise(3, 10, seed=5))
    assert len(feeds) == 30
    assert not feeds["past_memory"][0].any()
    assert feeds["past_memory"][1].any()
    assert not feeds["past_ring"][10].any()  # each sequence begins with zeros
    model = TfliteModel(conversion.files["float32"].content, has_states=True)
    assert model.run(feeds[:4]).shape == (4, 3)


def test_a_reset_in_mid_stream_gives_what_the_first_hops_gave(conversion: StreamConversion) -> None:
    stream = TfliteStream(conversion.files["float32"].content)
    hops = noise(1, 8, seed=6)[0]
    first = stream.run(hops)
    assert not np.allclose(first[0], stream.run(hops[:1])[0])
    stream.reset()
    assert np.array_equal(first, stream.run(hops))


def test_states_saved_and_put_back_go_on_where_they_were(conversion: StreamConversion) -> None:
    stream = TfliteStream(conversion.files["float32"].content)
    hops = noise(1, 8, seed=6)[0]
    stream.run(hops[:4])
    saved = stream.states
    expected = stream.run(hops[4:])
    stream.reset()
    stream.states = saved
    assert np.array_equal(expected, stream.run(hops[4:]))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (np.zeros((1, 6), np.float32), r"'memory' is float32 of shape \[1, 6\]; the model takes float32 .* \[1, 5\]"),
        (np.zeros((1, 5), np.float64), r"'memory' is float64 of shape \[1, 5\]; the model takes float32"),
    ],
)
def test_a_state_of_another_shape_or_dtype_is_refused_and_nothing_changes(
    conversion: StreamConversion, state: np.ndarray, message: str
) -> None:
    stream = TfliteStream(conversion.files["float32"].content)
    stream.run(noise(1, 2, seed=6)[0])
    before = stream.states
    with pytest.raises(ConversionError, match=message):
        stream.states = {**before, "memory": state}
    with pytest.raises(ConversionError, match=r"states \['memory'\] were given; expected \['memory', 'ring'\]"):
        stream.states = {"memory": before["memory"]}
    assert all(np.array_equal(before[name], stream.states[name]) for name in before)


def test_audio_that_ends_inside_a_hop_is_refused_and_the_states_stay(conversion: StreamConversion) -> None:
    stream = TfliteStream(conversion.files["float32"].content)
    with pytest.raises(ConversionError, match=r"shape \[1, 1, 6\]; the model takes .* \[1, 2, 6\]: audio that ends"):
        stream.step(np.zeros((1, 1, CHANNELS), np.float32))
    assert not stream.states["ring"].any()


def test_a_state_that_goes_out_at_another_scale_is_refused() -> None:
    past = TensorSpec(name="past_x", shape=(1, 4), dtype="int8", scale=0.1, zero_point=3)
    with pytest.raises(ConversionError, match=r"goes out with scale 0\.2 and zero point 3 and comes in with 0\.1"):
        check_state("x", dataclasses.replace(past, name="next_x", scale=0.2), past)


def test_a_file_without_states_is_no_stream() -> None:
    class Plain(nn.Module):
        def forward(self, hop: Tensor) -> Tensor:
            return hop.mean(dim=1) * 2

    from converters.pipeline import ConversionRequest, convert

    plain = convert(ConversionRequest(module=Plain(), example=noise(1, 1, seed=0)[0]))
    with pytest.raises(ConversionError, match="expected the same, each as 'past_…' and 'next_…'"):
        TfliteStream(plain.float32.content)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precisions": ("float16",)}, "a stream has no form 'float16'; known: float32, dynamic, int8"),
        ({"calibration": None}, "int8 needs calibration sequences"),
        ({"check": np.zeros((2, HOP), np.float32)}, r"check has shape \(2, 2\); expected finite numbers"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(
    request_of_all: StreamRequest, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConversionError, match=message):
        dataclasses.replace(request_of_all, **changes)
