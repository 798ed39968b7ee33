"""A stateful network to ONNX and TFLite, each step proved over sequences of hops.

module ─► ONNX ─► float32 ─┬─► dynamic (int8 weights)
                           └─ run over sequences ─► hops with the states before them ─► int8
front (where there is one) ─► ONNX ─► float32, put in front of each of them

Calibration needs states as they are in use: the float32 file runs over the calibration sequences, and some hops are
recorded together with the states that came with them, as a structured array with a field for each input.
Before this: `tkd.students.streaming` makes the module. After this: `converters.stream_bundle` puts it on disk.
Tested in `tests/converters/test_streams.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from converters.bundle_contents import TensorSpec
from converters.calibration import Method
from converters.errors import ConversionError
from converters.float_front import put_in_front
from converters.graph import read_graph
from converters.int8_builder import Int8Builder
from converters.lowering.choices import Choices
from converters.lowering.lower import lower
from converters.lowering.operators import versions_of
from converters.lowering.outline import outline
from converters.lowering.records import Array, Model
from converters.metadata import Card, write_described
from converters.mixture import Mixture, choose_mixture, kept_float
from converters.onnx_file import read_model
from converters.parity import ParityGates, ParityReport, check_gates, compare, stage_of
from converters.quant_report import Shares, shares_of
from converters.runners import Floats
from converters.stream_runners import NEXT, PAST, TfliteStream, run_onnx_stream, run_torch_stream
from converters.to_onnx import to_onnx_of_several
from converters.weight_forms import change_weights, dynamic_forms

if TYPE_CHECKING:
    import torch

PRECISIONS = ("float32", "dynamic", "int8")
HOP, LOGITS = "features", "logits"
_MARGIN_DB = 2.0
_RECORDED_HOPS = 512


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Front:
    """A stateful network in front of another one.

    Attributes:
        module: takes what it is fed and its state, and gives the other's hop and its state for the next hop.
        whole: both as one network: takes what the front takes, then the other's states; gives logits, the front's
            state, then the other's.
        state: the name and shape of its one state.
        hop: the shape of one hop of the other network.
        input_name: of what it is fed.
    """

    module: torch.nn.Module
    whole: torch.nn.Module
    state: tuple[str, tuple[int, ...]]
    hop: tuple[int, ...]
    input_name: str = "waveform"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamRequest:
    """What is to be converted.

    Attributes:
        module: takes a hop and the states, gives logits and the states of the next hop.
        states: the shape of each state by its name, in the order of the module's arguments.
        check: float32, shape (sequences, hops, *axes of a hop without the batch): what every stage is compared on.
            States start as zeros in each sequence. With a front they are hops of what the front takes.
        calibration: float32, (sequences, hops, *axes of a hop), as the module gets them in use; int8 needs it.
        front: what makes the module's hops of something else, float32 in every file; None for nothing.
        precisions: of the files, besides float32.
        method: how calibration chooses ranges.
        keep_float: regular expressions, as in a `ConversionRequest`.
        gates: bounds of parity.
        card: what the files say of themselves; None for nothing.
    """

    module: torch.nn.Module
    states: Mapping[str, tuple[int, ...]]
    check: Floats
    calibration: Floats | None = None
    front: Front | None = None
    precisions: tuple[str, ...] = ()
    method: Method = "minmax"
    keep_float: tuple[str, ...] = ()
    gates: ParityGates = field(default_factory=ParityGates)
    card: Card | None = None

    def __post_init__(self) -> None:
        unknown = [each for each in self.precisions if each not in PRECISIONS]
        if unknown:
            raise ConversionError(f"a stream has no form '{unknown[0]}'; known: {', '.join(PRECISIONS)}")
        if "int8" in self.precisions and self.calibration is None:
            raise ConversionError("int8 needs calibration sequences; give some, or ask for dynamic")
        for name, given in (("check", self.check), ("calibration", self.calibration)):
            if given is not None and (given.ndim < 3 or 0 in given.shape or not np.isfinite(given).all()):
                raise ConversionError(
                    f"{name} has shape {given.shape}; expected finite numbers, (sequences, hops, *axes of a hop)"
                )

    @property
    def hop(self) -> tuple[int, ...]:
        """The shape of one hop of the module, the batch first."""
        return self.front.hop if self.front is not None else (1, *self.check.shape[2:])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamFile:
    """One stateful TFLite file.

    Attributes:
        precision: float32, dynamic or int8.
        content: its bytes.
        hop: the input of one hop.
        logits: the output of logits.
        states: of each state its name, and what it is at both ends.
        operators: how many of each TFLite name.
        op_versions: the highest operator version that the file asks an engine for, by TFLite name.
        shares: how much of it is int8.
    """

    precision: str
    content: bytes
    hop: TensorSpec
    logits: TensorSpec
    states: Mapping[str, TensorSpec]
    operators: Mapping[str, int]
    op_versions: Mapping[str, int]
    shares: Shares


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamConversion:
    """The result of one conversion.

    Attributes:
        onnx: the ONNX model, with the states as inputs and outputs.
        files: by precision, float32 first.
        parity: every stage against the one before, or against float32, over all hops of the check.
        mixture: which operators of the int8 file are not int8, and why; None without one.
    """

    onnx: bytes
    files: Mapping[str, StreamFile]
    parity: ParityReport
    mixture: Mixture | None


def convert_stream(request: StreamRequest) -> StreamConversion:
    """Converts, runs every written file over the check's sequences, and holds it against the stage before.

    Raises:
        ConversionError: the network has no ONNX or TFLite form, or a state does not come out as it goes in.
        GateFailedError: a stage differs from the one before by more than its bound.
    """
    body = _onnx_of(request.module, request.states, request.hop)
    model = _lowered(body, request.states)
    bare = _file("float32", model, body)
    onnx, front = body, None
    if request.front is not None:
        fed = (1, *request.check.shape[2:])
        name, shape = request.front.state
        onnx = _onnx_of(request.front.whole, {name: shape, **request.states}, fed, request.front.input_name)
        front = _lowered(
            _onnx_of(request.front.module, {name: shape}, fed, request.front.input_name, HOP), {name: shape}
        )

    bodies = {"float32": model}
    if "dynamic" in request.precisions:
        bodies["dynamic"] = change_weights(model, dynamic_forms(model))
    mixture = None
    if "int8" in request.precisions:
        assert request.calibration is not None
        feeds = record_feeds(bare.content, request.calibration)
        int8_way = _lowered(body, request.states, Choices().for_int8())
        builder = Int8Builder(int8_way, feeds, request.method, "compensated")
        kept = kept_float(int8_way, request.keep_float)
        mixture = choose_mixture(builder.equalized, kept, request.gates.int8_sqnr_db + _MARGIN_DB, builder.sqnr_of)
        bodies["int8"] = builder.build(mixture.plan)
    files = {
        precision: _file(precision, each if front is None else _joined(front, each), onnx, request.card)
        for precision, each in bodies.items()
    }
    parity = _parity(request, onnx, files)
    # A front is float whatever the file is called, and says nothing of what is behind it.
    shares = {precision: shares_of(each) for precision, each in bodies.items()}
    check_gates(parity, request.gates, shares=shares, advice="calibrate on more clips, or take --dynamic")
    return StreamConversion(onnx=onnx, files=files, parity=parity, mixture=mixture)


def record_feeds(content: bytes, sequences: Floats) -> Array:
    """Hops and the states before them, as a float32 file sees them in use.

    Args:
        content: the float32 file.
        sequences: shape (sequences, hops, *axes of a hop).

    Returns:
        A structured array of at most 512 feeds, spread over all hops, with a field for each input of the file.
    """
    stream = TfliteStream(content)
    kept = set(np.linspace(0, len(sequences) * sequences.shape[1] - 1, _RECORDED_HOPS).astype(int).tolist())
    fields = [(spec.name, np.float32, spec.shape[1:]) for spec in (stream.hop, *stream.past.values())]
    feeds = np.zeros(len(kept), fields)
    place = 0
    for number, sequence in enumerate(sequences):
        stream.reset()
        for index, hop in enumerate(sequence):
            if number * len(sequence) + index in kept:
                feeds[place][stream.hop.name] = hop
                for name, state in stream.states.items():
                    feeds[place][PAST + name] = state[0]
                place += 1
            stream.step(hop[None])
    return feeds


def _onnx_of(
    module: torch.nn.Module,
    states: Mapping[str, tuple[int, ...]],
    hop: tuple[int, ...],
    input_name: str = HOP,
    output_name: str = LOGITS,
) -> bytes:
    import torch

    model = to_onnx_of_several(
        module,
        (torch.zeros(hop), *(torch.zeros(shape) for shape in states.values())),
        input_names=[input_name, *(PAST + name for name in states)],
        output_names=[output_name, *(NEXT + name for name in states)],
    )
    written: bytes = model.SerializeToString()
    return written


def _lowered(onnx: bytes, states: Mapping[str, tuple[int, ...]], choices: Choices | None = None) -> Model:
    pairs = tuple((PAST + name, NEXT + name) for name in states)
    return replace(lower(read_graph(read_model(onnx)), choices or Choices()), states=pairs)


def _joined(front: Model, body: Model) -> Model:
    return replace(put_in_front(front, body), states=(*front.states, *body.states))


def _file(precision: str, model: Model, onnx: bytes, card: Card | None = None) -> StreamFile:
    source = hashlib.sha256(onnx).hexdigest()[:16]
    stored = outline(model)
    description = f"{precision} stream, lowered by tkd's converters from ONNX sha256 {source}"
    content = write_described(stored, description, card, told=model)
    loaded = TfliteStream(content)
    return StreamFile(
        precision=precision,
        content=content,
        hop=loaded.hop,
        logits=loaded.logits,
        states=loaded.past,
        operators=stored.counts(),
        op_versions=versions_of(stored),
        shares=shares_of(model),
    )


def _parity(request: StreamRequest, onnx: bytes, files: Mapping[str, StreamFile]) -> ParityReport:
    front = request.front
    module = request.module if front is None else front.whole
    states = request.states if front is None else {front.state[0]: front.state[1], **request.states}
    from_torch = np.concatenate([run_torch_stream(module, hops, states) for hops in request.check])
    from_onnx = np.concatenate([run_onnx_stream(onnx, hops) for hops in request.check])
    from_files = {precision: run_sequences(file.content, request.check) for precision, file in files.items()}
    stages = [
        compare("torch → onnx", from_torch, from_onnx),
        compare("onnx → float32", from_onnx, from_files["float32"]),
    ]
    stages += [
        compare(stage_of(precision), from_files["float32"], logits)
        for precision, logits in from_files.items()
        if precision != "float32"
    ]
    sequences, hops = request.check.shape[:2]
    return ParityReport(stages=tuple(stages), inputs=f"{sequences} sequences of {hops} hops")


def run_sequences(content: bytes, sequences: Floats) -> Floats:
    """The logits of a file after every hop of every sequence, shape (sequences · hops, classes), each from zeros."""
    stream = TfliteStream(content)
    outputs = []
    for hops in sequences:
        stream.reset()
        outputs.append(stream.run(hops))
    return np.concatenate(outputs)
