"""What a file says of itself comes back as it was given, and no engine minds it."""

from __future__ import annotations

import io
import zipfile

import flatbuffers
import numpy as np
import pytest
from torch import nn

from converters.errors import ConversionError
from converters.flat_tables import read_table, write_table
from converters.lowering.writer import write_model
from converters.metadata import BUFFER, TABLES, Card, metadata_buffer, read_metadata, with_files
from converters.pipeline import ConversionRequest, convert
from converters.runners import run_tflite
from tests.converters.toys import inputs

CARD = Card(
    name="toy",
    description="three classes",
    author="nobody",
    license="CC0",
    labels=("yes", "no", "übrig"),
    axes=("batch", "features"),
    input_description="features, each divided by its channel_scale",
    output_description="logits",
    channel_scale=tuple(float(np.float32(0.5 + place)) for place in range(6)),
    documents={"front_end.json": {"hop_ms": 10.0, "kind": "log mel"}, "provenance.json": {"git": {"dirty": False}}},
)
EXAMPLES = inputs((1, 6), 64)


@pytest.fixture(scope="module")
def conversion():
    precisions = ("float16", "dynamic", "int8")
    return convert(
        ConversionRequest(
            module=nn.Linear(6, 3),
            example=EXAMPLES[:1],
            calibration=EXAMPLES,
            precisions=precisions,
            card=CARD,
            gates=None,
        )
    )


@pytest.mark.parametrize("precision", ["float32", "float16", "dynamic", "int8"])
def test_every_file_gives_back_what_it_was_given_and_still_runs(conversion, precision):
    content = conversion.files[precision].content
    seen = read_metadata(content)
    assert (CARD.name, CARD.description, CARD.author, CARD.license) == (
        seen.name, seen.description, seen.author, seen.license,
    )  # fmt: skip
    assert (CARD.labels, CARD.channel_scale, dict(CARD.documents)) == (seen.labels, seen.channel_scale, seen.documents)
    assert ["batch", "features"] == seen.input["dimension_names"]
    assert ("input", "output") == (seen.input["name"], seen.output["name"])
    assert (4, 3) == run_tflite(content, EXAMPLES[:4]).shape


def test_the_files_behind_the_model_are_an_ordinary_zip(conversion):
    with zipfile.ZipFile(io.BytesIO(conversion.float32.content)) as archive:
        assert ["front_end.json", "provenance.json", "labels.txt"] == archive.namelist()
        assert "yes\nno\nübrig\n" == archive.read("labels.txt").decode()
        assert archive.testzip() is None


def test_the_buffer_has_the_identifier_that_readers_look_for():
    assert b"M001" == metadata_buffer(CARD, ["input"], ["output"])[4:8]


def test_an_audio_input_says_its_rate_where_readers_of_audio_models_look():
    card = Card(name="ear", sample_rate_hz=16_000)
    buffer = metadata_buffer(card, ["waveform"], ["logits"])
    table = read_table(buffer, TABLES, "ModelMetadata")
    (subgraph,) = table["subgraph_metadata"]
    assert "1.3.0" == table["min_parser_version"]
    assert subgraph["input_tensor_metadata"][0]["content"] == {
        "content_properties_type": 4, "content_properties": {"sample_rate": 16_000, "channels": 1},
    }  # fmt: skip
    assert {} == subgraph["output_tensor_metadata"][0]["content"]["content_properties"]


def test_content_of_a_kind_that_nothing_here_knows_is_read_over():
    builder = flatbuffers.Builder(64)
    table = write_table(builder, {"Content": (("content_properties_type", "byte"),)}, "Content",
                        {"content_properties_type": 2})  # fmt: skip
    builder.Finish(table)
    assert {"content_properties_type": 2} == read_table(bytes(builder.Output()), TABLES, "Content")


def test_a_card_without_labels_or_documents_adds_no_zip():
    bare = Card(name="bare")
    assert b"model" == with_files(b"model", bare)


def test_a_file_without_metadata_says_nothing():
    plain = convert(ConversionRequest(module=nn.Linear(6, 3), example=EXAMPLES[:1]))
    assert read_metadata(plain.float32.content) is None


def test_metadata_of_another_kind_or_damaged_or_no_model_are_refused(conversion):
    from converters.graph import read_graph
    from converters.lowering.lower import lower
    from converters.onnx_file import read_model

    model = lower(read_graph(read_model(conversion.onnx)))
    other = write_model(model, description="toy", metadata={BUFFER: b"....M999....."})
    with pytest.raises(ConversionError, match="the metadata are of a kind that this module does not know"):
        read_metadata(other)
    with pytest.raises(ConversionError, match="no TFLite file: it starts with"):
        read_metadata(b"PK\x03\x04 something else")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"documents": {"labels.txt": {}}}, "cannot be called 'labels.txt'"),
        ({"documents": {"a/b.json": {}}}, "cannot be called 'a/b.json'"),
        ({"labels": ("yes\nno",)}, "holds a line break"),
    ],
)
def test_a_card_that_could_not_be_read_back_is_refused(fields, message):
    with pytest.raises(ConversionError, match=message):
        Card(name="toy", **fields)


def test_a_document_that_is_no_json_is_named():
    with pytest.raises(ConversionError, match=r"front_end.json of the metadata is no JSON value"):
        with_files(b"model", Card(name="toy", documents={"front_end.json": {"scale": float("nan")}}))


def test_states_are_told_apart_from_what_is_fed_and_answered():
    buffer = metadata_buffer(CARD, ["past_a", "hop"], ["logits", "next_a"], [("past_a", "next_a")])
    (graph,) = read_table(buffer, TABLES, "ModelMetadata")["subgraph_metadata"]
    came, went = graph["input_tensor_metadata"], graph["output_tensor_metadata"]
    assert ["past_a", "hop"] == [each["name"] for each in came]
    assert "zeros in real units before the first hop, then what next_a gave" in came[0]["description"]
    assert CARD.input_description == came[1]["description"]
    assert ["logits", "next_a"] == [each["name"] for each in went]
    assert "goes into past_a" in went[1]["description"]
