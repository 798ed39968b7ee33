"""What a TFLite file says of itself: TensorFlow's model metadata in a buffer, and files in a zip behind the model.

    model.tflite = flatbuffer (with the buffer TFLITE_METADATA) + zip (labels.txt, front_end.json, provenance.json)

Engines read the flatbuffer and never see the zip; `unzip model.tflite` and TensorFlow's support libraries read both.
Between `converters.lowering.writer`, which puts the buffer into the file, and whoever gets a bare `.tflite`.
Tested in `tests/converters/test_metadata.py`.

Source: `metadata_schema.fbs` of tensorflow/tflite-support 0.4.4, file identifier M001.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from converters.errors import ConversionError
from converters.flat_tables import OneOf, read_table, write_table
from converters.lowering.records import Model
from converters.lowering.writer import write_model

BUFFER = "TFLITE_METADATA"
_IDENTIFIER = b"M001"
# What a reader has to know; audio came later.
_PARSER_VERSION, _AUDIO_PARSER_VERSION = "1.0.0", "1.3.0"
_LABELS = "labels.txt"
_FEATURE, _AUDIO = 1, 4
_UNKNOWN, _DESCRIPTIONS, _AXIS_LABELS = 0, 1, 2
# A zip dates its files; one date for all keeps the bytes of an export a function of what is exported.
_DATE = (1980, 1, 1, 0, 0, 0)

# Fields of the schema in their order; those that nothing here writes are read over. A list holds tables of its entry.
TABLES: dict[str, tuple[tuple[str, Any], ...]] = {
    "ModelMetadata": (
        ("name", "string"), ("description", "string"), ("version", "string"),
        ("subgraph_metadata", ["SubGraphMetadata"]), ("author", "string"), ("license", "string"),
        ("associated_files", ["AssociatedFile"]), ("min_parser_version", "string"),
    ),
    "SubGraphMetadata": (
        ("name", "string"), ("description", "string"), ("input_tensor_metadata", ["TensorMetadata"]),
        ("output_tensor_metadata", ["TensorMetadata"]), ("associated_files", ["AssociatedFile"]),
    ),
    "TensorMetadata": (
        ("name", "string"), ("description", "string"), ("dimension_names", ["string"]), ("content", "Content"),
        ("process_units", ["ProcessUnit"]), ("stats", "Stats"), ("associated_files", ["AssociatedFile"]),
    ),
    "AssociatedFile": (("name", "string"), ("description", "string"), ("type", "byte"), ("locale", "string")),
    "Content": (
        ("content_properties_type", "byte"),
        ("content_properties", OneOf("content_properties_type", {1: "FeatureProperties", 4: "AudioProperties"})),
    ),
    "FeatureProperties": (),
    "AudioProperties": (("sample_rate", "uint"), ("channels", "uint")),
    "ProcessUnit": (("options_type", "byte"), ("options", "NormalizationOptions")),
    "NormalizationOptions": (("mean", ["float"]), ("std", ["float"])),
    "Stats": (("max", ["float"]), ("min", ["float"])),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a file is to say of itself, the same for every precision.

    Attributes:
        name: of the model.
        description: one or two sentences.
        version: of the model, in its maker's counting.
        author: who made it; empty where nobody says.
        license: of the weights; empty where nobody says.
        labels: class names in the order of the outputs; empty where there are none.
        axes: names of the input's axes, the batch first.
        input_description: what the input is, with units.
        output_description: what the output is.
        channel_scale: what each channel of the input has to be divided by before it is fed; empty for nothing.
        sample_rate_hz: of an input that is mono audio; 0 where it is none.
        documents: JSON values by file name, such as `front_end.json`, that are put into the zip.
    """

    name: str
    description: str = ""
    version: str = "1"
    author: str = ""
    license: str = ""
    labels: tuple[str, ...] = ()
    axes: tuple[str, ...] = ()
    input_description: str = ""
    output_description: str = ""
    channel_scale: tuple[float, ...] = ()
    sample_rate_hz: int = 0
    documents: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        reserved = [name for name in self.documents if name == _LABELS or "/" in name or not name]
        if reserved:
            raise ConversionError(
                f"a document of the metadata cannot be called '{reserved[0]}'; take a plain file name"
            )
        if any("\n" in label for label in self.labels):
            raise ConversionError("a label of the metadata holds a line break; expected one line for each")


def write_described(model: Model, description: str, card: Card | None, *, told: Model) -> bytes:
    """The model's TFLite file, which says of itself what the card says.

    Args:
        model: as it is written.
        description: of the flatbuffer.
        card: None writes none of it.
        told: the same before its steps were stored once: its inputs, outputs and states are told.

    Raises:
        ConversionError: a document of the card is no JSON value.
    """
    if card is None:
        return write_model(model, description=description)
    buffer = metadata_buffer(card, told.inputs, told.outputs, told.states)
    return with_files(write_model(model, description=description, metadata={BUFFER: buffer}), card)


def metadata_buffer(
    card: Card, inputs: Sequence[str], outputs: Sequence[str], states: Sequence[tuple[str, str]] = ()
) -> bytes:
    """The content of the buffer TFLITE_METADATA.

    Args:
        card: what it says.
        inputs: names of the inputs, in the file's order; of those that are no states the card speaks.
        outputs: names of the outputs, likewise.
        states: (input, output) of everything that is carried on.
    """
    came_from = dict(states)
    goes_to = {following: past for past, following in states}
    (input_name,) = (name for name in inputs if name not in came_from)
    (output_name,) = (name for name in outputs if name not in goes_to)
    feature = {"content_properties_type": _FEATURE, "content_properties": {}}
    given: dict[str, Any] = {
        "name": input_name,
        "description": card.input_description,
        "dimension_names": list(card.axes),
        "content": feature,
    }
    if card.sample_rate_hz:
        audio = {"sample_rate": card.sample_rate_hz, "channels": 1}
        given["content"] = {"content_properties_type": _AUDIO, "content_properties": audio}
    if card.channel_scale:
        options = {"mean": [0.0], "std": list(card.channel_scale)}
        given["process_units"] = [{"options_type": 1, "options": options}]
    answer: dict[str, Any] = {"name": output_name, "description": card.output_description, "content": feature}
    if card.labels:
        answer["associated_files"] = [
            {"name": _LABELS, "description": "one label a line, in the order of the outputs", "type": _AXIS_LABELS}
        ]
    came = [
        given
        if name == input_name
        else {
            "name": name,
            "description": f"a state: zeros in real units before the first hop, then what {came_from[name]} gave",
            "content": feature,
        }
        for name in inputs
    ]
    went = [
        answer
        if name == output_name
        else {"name": name, "description": f"a state: goes into {goes_to[name]} with the next hop", "content": feature}
        for name in outputs
    ]
    model = {
        "name": card.name,
        "description": card.description,
        "version": card.version,
        "subgraph_metadata": [{"name": "main", "input_tensor_metadata": came, "output_tensor_metadata": went}],
        "author": card.author,
        "license": card.license,
        "associated_files": [
            {"name": name, "description": "JSON", "type": _DESCRIPTIONS} for name in sorted(card.documents)
        ],
        "min_parser_version": _AUDIO_PARSER_VERSION if card.sample_rate_hz else _PARSER_VERSION,
    }
    builder = flatbuffers.Builder(1 << 12)
    builder.Finish(write_table(builder, TABLES, "ModelMetadata", model), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def with_files(content: bytes, card: Card) -> bytes:
    """A TFLite file with the zip of labels and documents behind it; the same card gives the same bytes.

    Raises:
        ConversionError: a document is no JSON value.
    """
    files = {name: _json(name, document) for name, document in sorted(card.documents.items())}
    if card.labels:
        files[_LABELS] = "".join(f"{label}\n" for label in card.labels)
    if not files:
        return content
    stream = io.BytesIO(content)
    with zipfile.ZipFile(stream, "a") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name, _DATE), text.encode())
    return stream.getvalue()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMetadata:
    """What a TFLite file says of itself.

    Attributes:
        name: of the model.
        description: what it is.
        version: of the model.
        author: who made it.
        license: of the weights.
        input: the first input's fields as the schema calls them.
        output: the first output's fields as the schema calls them.
        labels: in the order of the outputs; empty where the file has none.
        channel_scale: what each input channel has to be divided by; empty for nothing.
        documents: the JSON documents by file name.
    """

    name: str
    description: str
    version: str
    author: str
    license: str
    input: Mapping[str, Any]
    output: Mapping[str, Any]
    labels: tuple[str, ...]
    channel_scale: tuple[float, ...]
    documents: Mapping[str, Any]


def read_metadata(model: bytes | Path) -> FileMetadata | None:
    """What a TFLite file says of itself; None where it has no metadata buffer.

    Reads any file with TensorFlow's metadata, not only ours.

    Raises:
        ConversionError: it is no TFLite file, or its metadata are damaged.
    """
    content = model.read_bytes() if isinstance(model, Path) else model
    if content[4:8] != b"TFL3":
        raise ConversionError(f"no TFLite file: it starts with {content[:8]!r}; expected TFL3 at byte 4")
    buffer = _find_buffer(content)
    if buffer is None:
        return None
    if buffer[4:8] != _IDENTIFIER:
        raise ConversionError(f"the metadata are of a kind that this module does not know: {buffer[4:8]!r}")
    try:
        table = read_table(buffer, TABLES, "ModelMetadata")
        subgraph = table["subgraph_metadata"][0]
        given, answer = subgraph["input_tensor_metadata"][0], subgraph["output_tensor_metadata"][0]
    except (IndexError, KeyError, ValueError, TypeError) as cause:
        raise ConversionError(f"the metadata are damaged: {cause!r}") from cause
    labels = [each["name"] for each in answer.get("associated_files", ()) if each.get("type") == _AXIS_LABELS]
    files = _files(content)
    units = [each["options"] for each in given.get("process_units", ()) if each.get("options_type") == 1]
    return FileMetadata(
        **{key: table.get(key, "") for key in ("name", "description", "version", "author", "license")},
        input=given,
        output=answer,
        labels=tuple(files[labels[0]].splitlines()) if labels and labels[0] in files else (),
        channel_scale=tuple(units[0].get("std", ())) if units else (),
        documents={name: json.loads(text) for name, text in files.items() if name.endswith(".json")},
    )


def _find_buffer(content: bytes) -> bytes | None:
    model = schema.Model.GetRootAs(content, 0)
    for index in range(model.MetadataLength()):
        entry = model.Metadata(index)
        if entry.Name() == BUFFER.encode():
            stored = model.Buffers(entry.Buffer())
            return b"" if stored.DataIsNone() else stored.DataAsNumpy().tobytes()
    return None


def _files(content: bytes) -> dict[str, str]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {name: archive.read(name).decode() for name in archive.namelist()}
    except zipfile.BadZipFile:
        return {}


def _json(name: str, document: Any) -> str:
    try:
        return json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n"
    except (TypeError, ValueError) as cause:
        raise ConversionError(f"{name} of the metadata is no JSON value: {cause}") from cause
