"""ONNX models from elsewhere: every kind of file that is none, and the message that it gets."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, defs, helper, numpy_helper

from converters.errors import ConversionError
from converters.graph import read_graph
from converters.lowering.lower import lower
from converters.lowering.outline import outline
from converters.lowering.writer import write_model
from converters.onnx_file import load_onnx, read_model
from converters.runners import run_onnx, run_tflite


def linear(*, opset: int = 17, batch: int | str = 1) -> onnx.ModelProto:
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 300])
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 4])
    weights = numpy_helper.from_array(np.linspace(-1, 1, 1200, dtype=np.float32).reshape(300, 4), "weights")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "weights"], ["y"])], "g", [given], [made], [weights])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def tflite(content: bytes, input_shape: tuple[int, ...] | None = None) -> bytes:
    return write_model(outline(lower(read_graph(read_model(content), input_shape))), description="toy")


@pytest.fixture
def folder(tmp_path):
    """A model whose weights are in a file beside it."""
    (tmp_path / "model").mkdir()
    onnx.save_model(
        linear(), tmp_path / "model" / "m.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    return tmp_path / "model"


def moved(folder, location: str) -> None:
    """Makes the model say that its weights are at `location`."""
    model = onnx.load_model(folder / "m.onnx", load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = location
    (folder / "m.onnx").write_bytes(model.SerializeToString())


def test_weights_in_a_file_beside_the_model_are_brought_in(folder):
    content = load_onnx(folder / "m.onnx")
    fed = np.random.default_rng(0).standard_normal((3, 300)).astype(np.float32)
    expected = run_onnx(linear().SerializeToString(), fed)
    np.testing.assert_allclose(run_tflite(tflite(content), fed), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "link.bin"])
def test_weights_outside_the_folder_are_not_read(folder, location):
    (folder.parent / "secret.bin").write_bytes(bytes(4800))
    (folder / "link.bin").symlink_to(folder.parent / "secret.bin")
    moved(folder, location)
    with pytest.raises(ConversionError, match=f"keeps 'weights' in '{location}', outside of its folder"):
        load_onnx(folder / "m.onnx")


def test_weights_that_are_missing_or_cut_short_are_named(folder):
    (folder / "weights.bin").write_bytes(bytes(17))
    with pytest.raises(ConversionError, match=r"the weights that .*m.onnx keeps in other files cannot be read"):
        tflite(load_onnx(folder / "m.onnx"))
    (folder / "weights.bin").unlink()
    with pytest.raises(ConversionError, match=r"keeps 'weights' in 'weights.bin', which is not in"):
        load_onnx(folder / "m.onnx")


def test_bytes_that_leave_their_weights_elsewhere_are_refused_with_advice(folder):
    with pytest.raises(
        ConversionError, match=r"'weights' in another file; read it with converters.onnx_file.load_onnx"
    ):
        read_model((folder / "m.onnx").read_bytes())


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConversionError, match=r"cannot read the ONNX model .*none.onnx: No such file"):
        load_onnx(tmp_path / "none.onnx")


def test_a_file_cut_short_at_any_place_is_refused():
    content = linear().SerializeToString()
    for end in (0, 1, 20, len(content) // 2, len(content) - 1):
        with pytest.raises(ConversionError, match="not a valid ONNX model"):
            tflite(content[:end])


@pytest.mark.parametrize("opset", [7, 10, defs.onnx_opset_version() + 1])
def test_an_opset_that_is_too_old_or_too_new_is_refused_with_what_to_do(opset):
    with pytest.raises(ConversionError, match=rf"opset {opset}; expected 11 to .*: export the model again with"):
        read_model(linear(opset=opset).SerializeToString())


@pytest.mark.parametrize("opset", range(11, 23))
def test_every_opset_from_11_on_is_read(opset):
    fed = np.ones((1, 300), np.float32)
    content = linear(opset=opset).SerializeToString()
    np.testing.assert_allclose(run_tflite(tflite(content), fed), [fed[0] @ weights_of(linear())], atol=1e-4)


def weights_of(model: onnx.ModelProto) -> np.ndarray:
    return numpy_helper.to_array(model.graph.initializer[0])


def test_a_free_batch_takes_the_length_of_the_example():
    content = linear(batch="n").SerializeToString()
    assert (1, 4) == run_tflite(tflite(content, (1, 300)), np.ones((1, 300), np.float32)).shape
    with pytest.raises(ConversionError, match=r"value 'x' has the shape \['n', 300\]"):
        tflite(content)


def test_a_graph_that_runs_in_a_circle_is_refused():
    model = linear()
    model.graph.node[0].input[0] = "z"
    model.graph.node.append(helper.make_node("Relu", ["y"], ["z"]))
    with pytest.raises(ConversionError, match="not a valid ONNX model"):
        read_model(model.SerializeToString())


@pytest.mark.parametrize("shape", [[1 << 16, 1 << 16, 300], [1 << 40, 300]])
def test_a_shape_that_fits_no_memory_is_refused_before_anything_is_made(shape):
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("Add", ["x", "zeros"], ["y"]),
    ]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 300])
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    stored = numpy_helper.from_array(np.array(shape, np.int64), "shape")
    model = helper.make_model(
        helper.make_graph(nodes, "g", [given], [made], [stored]), opset_imports=[helper.make_opsetid("", 17)]
    )
    with pytest.raises(ConversionError, match=r"more than the 1,073,741,824 bytes allowed"):
        read_graph(model)


def test_a_softmax_of_opset_11_over_several_axes_is_refused_and_over_one_is_read():
    def model(shape, axis):
        given = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
        made = helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)
        graph = helper.make_graph([helper.make_node("Softmax", ["x"], ["y"], axis=axis)], "g", [given], [made])
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=7).SerializeToString()

    fed = np.random.default_rng(0).standard_normal((1, 6, 5)).astype(np.float32)
    with pytest.raises(ConversionError, match=r"runs over axis 1 .* and all axes after it, as before opset 13"):
        tflite(model([1, 6, 5], 1))
    content = model([1, 6, 5], 2)
    np.testing.assert_allclose(run_tflite(tflite(content), fed), run_onnx(content, fed), atol=1e-6)
