import numpy as np
import pytest
from torch import nn

from converters.errors import ConversionError
from converters.metadata import BUFFER, Card, metadata_buffer, read_metadata
from converters.pipeline import Conversion, ConversionRequest, convert
from converters.runners import TfliteModel
from converters.tflite_file import add_metadata, read_tflite
from tests.converters.toys import inputs

SHAPE = (1, 6, 21)


@pytest.fixture(scope="module")
def conversion() -> Conversion:
    network = nn.Sequential(nn.Conv1d(6, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(152, 4))
    clips = inputs(SHAPE, 32)
    return convert(ConversionRequest(module=network, example=clips[:1], calibration=clips, gates=None))


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_file_that_was_written_is_read_back_as_what_it_was(conversion: Conversion, precision: str) -> None:
    file = conversion.files[precision]  # type: ignore[index]
    model, versions = read_tflite(file.content)
    loaded = TfliteModel(file.content)
    assert dict(file.operators) == model.counts()
    assert dict(file.op_versions) == versions
    assert [loaded.input.name] == list(model.inputs)
    given = model.tensors[model.inputs[0]]
    assert (loaded.input.shape, loaded.input.dtype) == (given.shape, given.dtype)
    scales = None if given.quantization is None else float(given.quantization.scales[0])
    assert loaded.input.scale == scales
    assert {each.options.get("fusedActivationFunction") for each in model.operators if each.code == "CONV_2D"} == {
        "RELU"
    }


def test_constants_keep_their_values(conversion: Conversion) -> None:
    model, _ = read_tflite(conversion.float32.content)
    dense = next(each for each in model.operators if each.code == "FULLY_CONNECTED")
    weights = model.tensors[dense.inputs[1]].content
    assert (weights.shape, weights.dtype) == ((4, 152), np.float32)
    assert 0 < np.abs(weights).max() < 1


def test_metadata_can_be_added_and_change_no_output(conversion: Conversion) -> None:
    clips = inputs(SHAPE, 3, seed=1)
    content = conversion.float32.content
    card = Card(name="toy", labels=("a", "b"))
    written = add_metadata(content, BUFFER, metadata_buffer(card, ["input"], ["output"]))
    read = read_metadata(written)
    assert read is not None
    assert read.name == "toy"
    assert np.array_equal(TfliteModel(content).run(clips), TfliteModel(written).run(clips))


def test_what_is_no_tflite_file_is_refused() -> None:
    with pytest.raises(ConversionError, match="no TFLite file: it starts with b'PK"):
        read_tflite(b"PK\x03\x04 and so on")
