"""The same hops through PyTorch, ONNX Runtime and TFLite, with the states carried on from hop to hop by name.

A stateful network has a tensor `past_x` in and a tensor `next_x` out for each state x; all states start as zeros.
Used by `converters.streams` for parity and by whoever scores a stream. One hop at a time, one thread, as on a phone.
Tested in `tests/converters/test_streams.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from converters.bundle_contents import TensorSpec
from converters.errors import ConversionError
from converters.runners import Array, Floats, TfliteModel, evaluating, onnxruntime_errors

if TYPE_CHECKING:
    import torch

PAST, NEXT = "past_", "next_"


def run_torch_stream(module: torch.nn.Module, hops: Floats, shapes: Mapping[str, tuple[int, ...]]) -> Floats:
    """The logits after every hop, shape (hops, classes).

    Args:
        module: takes a hop and the states, gives logits and the states; see `tkd.students.streaming`.
        hops: float32, shape (hops, *axes of one hop without the batch).
        shapes: of the states, in the order of the arguments.
    """
    import torch

    outputs = []
    with evaluating(module):
        states = [torch.zeros(shape) for shape in shapes.values()]
        for hop in hops:
            logits, *states = module(torch.from_numpy(hop[None]), *states)
            outputs.append(logits.numpy())
    return np.concatenate(outputs)


def run_onnx_stream(content: bytes, hops: Floats) -> Floats:
    """The logits after every hop in ONNX Runtime, shape (hops, classes).

    Raises:
        ConversionError: ONNX Runtime refuses the model or a hop.
    """
    import onnxruntime

    refusals: tuple[type[Exception], ...] = (RuntimeError, ValueError, *onnxruntime_errors())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    outputs = []
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        hop_input, *past = session.get_inputs()
        first_output, *following = session.get_outputs()
        states = {each.name: np.zeros(each.shape, np.float32) for each in past}
        names = [first_output.name, *(each.name for each in following)]
        for hop in hops:
            logits, *kept = session.run(names, {hop_input.name: hop[None], **states})
            states = {PAST + name.removeprefix(NEXT): value for name, value in zip(names[1:], kept, strict=True)}
            outputs.append(logits)
    except refusals as cause:
        raise ConversionError(f"ONNX Runtime cannot run the model hop by hop: {cause}") from cause
    return np.concatenate(outputs)


class TfliteStream:
    """A stateful TFLite file in LiteRT with XNNPACK, and the states of one stream.

    Attributes:
        hop: the input that is no state.
        logits: the output that is no state.
        past: the state inputs by the state's name.
        next: the state outputs by the state's name.

    Args:
        model: the file's bytes or its path.

    Raises:
        ConversionError: LiteRT refuses the file, or its states do not come out as they go in.
    """

    def __init__(self, model: bytes | Path) -> None:
        self._model = TfliteModel(model, has_states=True)
        self.hop = _only([spec for spec in self._model.inputs if not spec.name.startswith(PAST)], "input")
        self.logits = _only([spec for spec in self._model.outputs if not spec.name.startswith(NEXT)], "output")
        self.past = {s.name.removeprefix(PAST): s for s in self._model.inputs if s.name.startswith(PAST)}
        self.next = {s.name.removeprefix(NEXT): s for s in self._model.outputs if s.name.startswith(NEXT)}
        if not self.past or set(self.past) != set(self.next):
            raise ConversionError(
                f"the model takes the states {sorted(self.past)} and gives {sorted(self.next)}; expected the same, "
                f"each as '{PAST}…' and '{NEXT}…': export it with tkd-export --streaming"
            )
        for name, spec in self.past.items():
            check_state(name, self.next[name], spec)
        self._states: dict[str, Array] = {}
        self.reset()

    def reset(self) -> None:
        """Forgets all that was heard: the next hop is the first of a stream."""
        self._states = {name: spec.quantize(np.zeros(spec.shape)) for name, spec in self.past.items()}

    @property
    def states(self) -> dict[str, Array]:
        """What the next hop will be given, by the states' names; copies, in the model's own dtypes."""
        return {name: state.copy() for name, state in self._states.items()}

    @states.setter
    def states(self, states: Mapping[str, Array]) -> None:
        if set(states) != set(self.past):
            raise ConversionError(f"states {sorted(states)} were given; expected {sorted(self.past)}")
        for name, state in states.items():
            seen = (tuple(state.shape), state.dtype.name)
            spec = self.past[name]
            if seen != (spec.shape, spec.dtype):
                raise ConversionError(_mismatch(name, *seen, spec))
        self._states = {name: np.array(state) for name, state in states.items()}

    def step(self, hop: Array) -> Array:
        """The logits after one hop, shape (1, classes), both in the model's own dtypes; the states move on.

        Raises:
            ConversionError: the hop has another shape or dtype than the model's; the states stay what they were.
        """
        if (hop.shape, hop.dtype.name) != (self.hop.shape, self.hop.dtype):
            raise ConversionError(
                f"a hop is {hop.dtype.name} of shape {list(hop.shape)}; the model takes {self.hop.dtype} of shape "
                f"{list(self.hop.shape)}: audio that ends inside a hop is fed no further"
            )
        fed = {PAST + name: state for name, state in self._states.items()}
        given = self._model.step({self.hop.name: hop, **fed})
        self._states = {name: given[NEXT + name] for name in self.past}
        return given[self.logits.name]

    def run(self, hops: Floats) -> Floats:
        """The logits after every hop in real units, shape (hops, classes), from where the stream stands.

        Args:
            hops: real units, shape (hops, *axes of one hop without the batch).
        """
        stored = self.hop.quantize(hops)
        return self.logits.dequantize(np.concatenate([self.step(stored[i : i + 1]) for i in range(len(stored))]))


def check_state(name: str, seen: TensorSpec, expected: TensorSpec) -> None:
    """Raises ConversionError unless a state goes out as it comes in: shape, dtype, scale and zero point."""
    if (seen.shape, seen.dtype) != (expected.shape, expected.dtype):
        raise ConversionError(_mismatch(name, seen.shape, seen.dtype, expected))
    if (seen.scale, seen.zero_point) != (expected.scale, expected.zero_point):
        raise ConversionError(
            f"state '{name}' goes out with scale {seen.scale} and zero point {seen.zero_point} and comes in with "
            f"{expected.scale} and {expected.zero_point}; expected the same: it is carried on as it is"
        )


def _mismatch(name: str, shape: tuple[int, ...], dtype: str, expected: TensorSpec) -> str:
    return (
        f"state '{name}' is {dtype} of shape {list(shape)}; "
        f"the model takes {expected.dtype} of shape {list(expected.shape)}"
    )


def _only(specs: list[TensorSpec], what: str) -> TensorSpec:
    if len(specs) != 1:
        raise ConversionError(f"the model has {len(specs)} {what}s that are no states; expected one")
    return specs[0]
