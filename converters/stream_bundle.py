"""A stateful model on disk: the contract between what exports a stream and what feeds it hop by hop.

`tkd.export.streams` writes it after `converters.streams`; `tkd.scoring` and `android_bench` read it.
Standard library, numpy and `converters.files` only. Every field is described in docs/formats.md.

    exports/tcresnet8-causal-stream-int8/
      model.tflite  model.onnx  model.json  labels.txt
      golden_hops.npy  golden_logits.npy      a sequence of hops from states of zero, and what the host gave after each

Arrays are in the model's own dtype, ready to feed: hop `i` of a sequence is fed as `array[i : i + 1]`.
Tested in `tests/converters/test_stream_bundle.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converters.bundle_contents import Array, TensorSpec, check_labels, check_synthetic
from converters.bundle_folder import (
    DOCUMENT,
    STREAM_FORMAT,
    bundle_folders,
    check_hash,
    check_overwrite,
    is_stream,
    json_text,
    read_array,
    read_document,
    read_lines,
)
from converters.errors import BundleError
from converters.files import sha256_of, whole_folder

__all__ = ["StateSpec", "StreamBundle", "StreamContents", "StreamHop", "find_stream_bundles", "read_stream_bundle",
           "write_stream_bundle"]  # fmt: skip

FILES = ("model.tflite", "model.onnx", "labels.txt", "golden_hops.npy", "golden_logits.npy")
_PIECES = ("front_end", "ops", "parity", "accuracy", "calibration", "parents", "tools", "git", "data")


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSpec:
    """One state of a stream: what comes out of a hop as `output` goes into the next as `past`.

    Attributes:
        name: of the state.
        past: the input; zeros in real units before the first hop.
        output: the name of the output, whose shape, dtype, scale and zero point are those of the input.
    """

    name: str
    past: TensorSpec
    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamHop:
    """One hop in time.

    Attributes:
        frames: feature frames that are fed at once, at least 1.
        smallest_frames: fewest that the strides allow; `frames` is a multiple of it.
        samples: of audio between two hops.
        window_frames: frames that the head pools; 0 of a recurrence, whose memory has no end.
        sample_rate_hz: of the audio.
    """

    frames: int
    smallest_frames: int
    samples: int
    window_frames: int
    sample_rate_hz: int

    def __post_init__(self) -> None:
        if min(self.frames, self.smallest_frames, self.samples, self.sample_rate_hz) < 1 or self.window_frames < 0:
            raise BundleError(f"the hop is {self}; expected whole numbers of at least 1")
        if self.frames % self.smallest_frames:
            raise BundleError(
                f"a hop of {self.frames} frames does not divide into strides of {self.smallest_frames} frames"
            )

    @property
    def milliseconds(self) -> float:
        """From hop to hop."""
        return 1000 * self.samples / self.sample_rate_hz

    @property
    def warm_up_hops(self) -> int:
        """Hops until the window is full; before that the head sees zeros for what was not heard."""
        return -(-self.window_frames // self.frames)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamContents:
    """Everything that a stream's bundle is written from; checked at birth, so that what is written can be read.

    Attributes:
        name: of the bundle and its folder, `<student>-stream-<precision>` by custom.
        student: the student's name.
        precision: float32, dynamic or int8.
        model: the content of model.tflite.
        onnx: the content of model.onnx.
        input: of one hop: features (1, frames, channels), or audio (1, samples) where the front end is in the graph.
        logits: the output, shape (1, classes).
        states: all of them.
        hop: in time.
        labels: class names in the order of the logits.
        front_end: every parameter of the front end, and whether it is inside the graph.
        ops: operators by type; the shares that are int8.
        parity: the difference of each stage from the stage before it, over sequences of hops.
        accuracy: of whole clips of the test split, from states of zero and with states carried on from clip to clip.
        calibration: as in a bundle; empty for a float model.
        parents: what this was made from.
        tools: versions of the tools that made it.
        git: commit and dirty flag.
        data: the data behind it; `synthetic` is true or false.
        golden_hops: a sequence of hops, shape (hops, *axes of one), in the model's own dtype.
        golden_logits: what the host gave after each, shape (hops, classes).
    """

    name: str
    student: str
    precision: str
    model: bytes
    onnx: bytes
    input: TensorSpec
    logits: TensorSpec
    states: tuple[StateSpec, ...]
    hop: StreamHop
    labels: tuple[str, ...]
    front_end: Mapping[str, Any]
    ops: Mapping[str, Any]
    parity: Mapping[str, Any]
    accuracy: Mapping[str, Any]
    calibration: Mapping[str, Any]
    parents: Mapping[str, Any]
    tools: Mapping[str, Any]
    git: Mapping[str, Any]
    data: Mapping[str, Any]
    golden_hops: Array
    golden_logits: Array

    def __post_init__(self) -> None:
        check_labels(self.labels)
        check_synthetic(self.data)
        _check_golden(self.input, self.logits, self.golden_hops, self.golden_logits)
        expected = self.hop.samples if self.takes_audio else self.hop.frames
        if self.input.shape[1] != expected or not self.states:
            raise BundleError(
                f"a stream of {len(self.states)} states takes {self.input.shape[1]} "
                f"{'samples' if self.takes_audio else 'frames'}, its hop has {expected}; expected the same, and at "
                "least one state"
            )

    @property
    def takes_audio(self) -> bool:
        """Whether the front end is in the graph."""
        return bool(self.front_end.get("in_graph"))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamBundle:
    """A stream on disk whose hashes and shapes agreed when it was read.

    Attributes:
        folder: where it is.
        document: the whole content of model.json.
        input: of one hop: features, or audio where the front end is in the graph.
        logits: the output.
        states: all of them.
        hop: in time.
        labels: class names in the order of the logits.
    """

    folder: Path
    document: Mapping[str, Any]
    input: TensorSpec
    logits: TensorSpec
    states: tuple[StateSpec, ...]
    hop: StreamHop
    labels: tuple[str, ...]

    @property
    def name(self) -> str:
        """The bundle's name, for example tcresnet8-causal-stream-int8."""
        return str(self.document["name"])

    @property
    def precision(self) -> str:
        """float32, dynamic or int8."""
        return str(self.document["precision"])

    @property
    def sha256(self) -> str:
        """The SHA-256 of model.tflite."""
        return str(self.document["sha256"])

    @property
    def synthetic(self) -> bool:
        """Whether the data behind it is synthetic."""
        return bool(self.document["data"]["synthetic"])

    @property
    def takes_audio(self) -> bool:
        """Whether the front end is in the graph, so that a hop is audio."""
        return bool(self.document["front_end"].get("in_graph"))

    @property
    def model(self) -> Path:
        """The path of model.tflite."""
        return self.folder / "model.tflite"

    def golden(self) -> tuple[Array, Array]:
        """A sequence of hops, and the logits after each."""
        return read_array(self.folder, "golden_hops.npy"), read_array(self.folder, "golden_logits.npy")


def write_stream_bundle(folder: Path, contents: StreamContents, *, force: bool = False) -> StreamBundle:
    """Writes a stream's bundle at `folder`, whole or not at all, and reads it back.

    Raises:
        BundleError: as `converters.bundle.write_bundle`.
    """
    check_overwrite(folder, contents.parents, FILES, STREAM_FORMAT, force=force)
    with whole_folder(folder) as partial:
        (partial / "model.tflite").write_bytes(contents.model)
        (partial / "model.onnx").write_bytes(contents.onnx)
        (partial / "labels.txt").write_text("".join(f"{label}\n" for label in contents.labels), encoding="utf-8")
        np.save(partial / "golden_hops.npy", contents.golden_hops, allow_pickle=False)
        np.save(partial / "golden_logits.npy", contents.golden_logits, allow_pickle=False)
        hashes = {name: sha256_of(partial / name) for name in FILES}
        (partial / DOCUMENT).write_text(json_text(_document_of(contents, hashes), DOCUMENT), encoding="utf-8")
        read_stream_bundle(partial)
    return read_stream_bundle(folder)


def read_stream_bundle(folder: Path) -> StreamBundle:
    """The stream at `folder`, after every file's hash and every array's shape and dtype agreed with model.json.

    Raises:
        BundleError: it is missing, incomplete, altered, damaged, or no stream.
    """
    document = read_document(folder, STREAM_FORMAT)
    try:
        hashes = {name: str(document["files"][name]) for name in FILES}
        bundle = StreamBundle(
            folder=folder,
            document=document,
            input=_spec(document["input"]),
            logits=_spec(document["logits"]),
            states=tuple(
                StateSpec(name=str(each["name"]), past=_spec(each["input"]), output=str(each["output"]))
                for each in document["states"]
            ),
            hop=StreamHop(**{name: int(document["hop"][name]) for name in StreamHop.__dataclass_fields__}),
            labels=tuple(document["labels"]),
        )
        is_whole = isinstance(document["data"]["synthetic"], bool) and document["sha256"] == hashes["model.tflite"]
    except (KeyError, TypeError, AttributeError, ValueError) as cause:
        raise BundleError(f"{folder / DOCUMENT} is damaged ({cause!r}); export the stream again") from cause
    if not is_whole:
        raise BundleError(f"{folder / DOCUMENT} is damaged (a hash or flag is wrong); export the stream again")
    for name, expected in hashes.items():
        check_hash(folder / name, expected)
    try:
        check_labels(bundle.labels)
        _check_golden(bundle.input, bundle.logits, *bundle.golden())
    except BundleError as cause:
        raise BundleError(f"{folder}: {cause}; export the stream again") from cause
    if list(bundle.labels) != read_lines(folder / "labels.txt"):
        raise BundleError(f"{folder}: labels.txt and model.json differ; export the stream again")
    return bundle


def find_stream_bundles(folder: Path) -> list[StreamBundle]:
    """The streams directly inside `folder`, by name; none when `folder` is missing."""
    return [read_stream_bundle(path) for path in bundle_folders(folder) if is_stream(path)]


def _document_of(contents: StreamContents, hashes: Mapping[str, str]) -> dict[str, Any]:
    document: dict[str, Any] = {
        "format": STREAM_FORMAT,
        "name": contents.name,
        "student": contents.student,
        "precision": contents.precision,
        "sha256": hashes["model.tflite"],
        "hop": {
            **{name: getattr(contents.hop, name) for name in StreamHop.__dataclass_fields__},
            "milliseconds": contents.hop.milliseconds,
            "warm_up_hops": contents.hop.warm_up_hops,
        },
        "input": contents.input.to_json(),
        "logits": contents.logits.to_json(),
        "states": [
            {"name": each.name, "input": each.past.to_json(), "output": each.output, "initial": 0.0}
            for each in contents.states
        ],
        "labels": list(contents.labels),
    }
    document |= {piece: dict(getattr(contents, piece)) for piece in _PIECES}
    document["files"] = dict(hashes)
    return document


def _check_golden(hop: TensorSpec, logits: TensorSpec, hops: Array, expected: Array) -> None:
    for name, array, spec in (("golden_hops", hops, hop), ("golden_logits", expected, logits)):
        if array.shape[1:] != spec.shape[1:] or array.dtype != np.dtype(spec.dtype):
            raise BundleError(
                f"{name} is {array.dtype} of shape {list(array.shape)}; "
                f"expected {spec.dtype} of shape {['n', *spec.shape[1:]]} as tensor '{spec.name}' says"
            )
    if not len(hops) == len(expected) > 0:
        raise BundleError(f"there are {len(hops)} golden hops and {len(expected)} golden logits; expected as many")


def _spec(item: Mapping[str, Any]) -> TensorSpec:
    return TensorSpec(
        name=str(item["name"]),
        shape=tuple(int(axis) for axis in item["shape"]),
        dtype=str(item["dtype"]),
        scale=item["scale"],
        zero_point=item["zero_point"],
    )
