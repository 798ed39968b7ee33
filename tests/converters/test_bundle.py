"""The bundle on disk: written whole, read back equal, and every damage named."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from converters.bundle import (
    BundleContents,
    EvaluationPack,
    TensorSpec,
    find_bundles,
    read_bundle,
    write_bundle,
)
from converters.errors import BundleError
from converters.files import sha256_of

INPUT = TensorSpec(name="features", shape=(1, 4, 3), dtype="int8", scale=0.5, zero_point=-2)
OUTPUT = TensorSpec(name="logits", shape=(1, 2), dtype="float32")


def contents(**changes) -> BundleContents:
    clips = 6
    made = BundleContents(
        name="toy-int8",
        student="toy",
        precision="int8",
        model=b"a model",
        onnx=b"an onnx",
        inputs=(INPUT,),
        outputs=(OUTPUT,),
        labels=("yes", "no"),
        front_end={"n_mels": 3, "inside_graph": False},
        ops={"FULLY_CONNECTED": {"int8": np.int64(1)}},
        parity={"onnx": {"max_abs": np.float32(0.25)}},
        accuracy={"evaluation_pack": {"clips": clips, "torch": {"correct": 5, "total": 6, "interval": [0.4, 0.9]}}},
        calibration={"clips": 2},
        parents={"checkpoint": "c" * 64, "teacher": None},
        tools={"numpy": np.__version__},
        git={"commit": None, "dirty": False},
        data={"synthetic": True},
        golden_input=np.zeros((2, 4, 3), np.int8),
        golden_output=np.ones((2, 2), np.float32),
        evaluation=EvaluationPack(
            inputs=np.arange(clips * 12, dtype=np.int8).reshape(clips, 4, 3),
            labels=np.array([0, 1] * 3),
            ids=tuple(f"clip {i}" for i in range(clips)),
        ),
        report_markdown="# toy\n",
        report={"rows": []},
    )
    return dataclasses.replace(made, **changes)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def edit_document(folder: Path, **changes) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def put(folder: Path, name: str, write) -> None:
    """Changes a file of a bundle and its recorded hash, as a faulty writer would."""
    write(folder / name)
    hashes = json.loads((folder / "model.json").read_text())["files"]
    edit_document(folder, files=hashes | {name: sha256_of(folder / name)})


@pytest.fixture
def bundle(tmp_path):
    return write_bundle(tmp_path / "toy-int8", contents())


def test_a_bundle_reads_back_as_it_was_written(bundle):
    again = read_bundle(bundle.folder)

    assert again.name == "toy-int8"
    assert (again.student, again.precision, again.synthetic) == ("toy", "int8", True)
    assert again.inputs == (INPUT,)
    assert again.outputs == (OUTPUT,)
    assert again.labels == ("yes", "no")
    assert again.sha256 == sha256_of(again.model)
    assert again.document["parity"] == {"onnx": {"max_abs": 0.25}}
    np.testing.assert_array_equal(again.golden()[1], np.ones((2, 2), np.float32))
    pack = again.evaluation()
    np.testing.assert_array_equal(pack.inputs, contents().evaluation.inputs)
    np.testing.assert_array_equal(pack.labels, [0, 1] * 3)
    assert pack.ids == contents().evaluation.ids


def test_the_same_parents_overwrite_in_silence(bundle):
    write_bundle(bundle.folder, contents(model=b"another model"))

    assert bundle.model.read_bytes() == b"another model"


def test_other_parents_need_force_and_the_message_names_what_differs(bundle):
    other = contents(parents={"checkpoint": "d" * 64, "teacher": None}, model=b"another model")

    with pytest.raises(
        BundleError, match=r"made from something else \(checkpoint cccccccccccc… → dddddddddddd…\); --fo"
    ):
        write_bundle(bundle.folder, other)

    assert bundle.model.read_bytes() == b"a model"
    write_bundle(bundle.folder, other, force=True)
    assert bundle.model.read_bytes() == b"another model"


def test_a_folder_that_is_no_bundle_is_never_replaced(tmp_path):
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter1.tex").write_text("years of work")

    with pytest.raises(BundleError, match="thesis is in the way: it is no bundle"):
        write_bundle(folder, contents(), force=True)

    assert names(folder) == ["chapter1.tex"]
    assert names(tmp_path) == ["thesis"]


def test_a_file_of_the_owner_inside_a_bundle_is_never_lost(bundle):
    (bundle.folder / "notes.txt").write_text("mine")

    with pytest.raises(BundleError, match=r"no part of a bundle: notes\.txt; move them away"):
        write_bundle(bundle.folder, contents(), force=True)

    assert (bundle.folder / "notes.txt").read_text() == "mine"


def test_a_file_where_the_bundle_should_go_is_named(tmp_path):
    (tmp_path / "toy").write_text("a file")

    with pytest.raises(BundleError, match="toy is in the way: expected a bundle or nothing"):
        write_bundle(tmp_path / "toy", contents())


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "toy").mkdir()

    assert write_bundle(tmp_path / "toy", contents()).name == "toy-int8"


def test_a_damaged_bundle_is_overwritten_with_force_only(bundle):
    (bundle.folder / "model.json").write_text("{")

    with pytest.raises(BundleError, match=r"model\.json is damaged \(not JSON: .*\); --force overwrites it"):
        write_bundle(bundle.folder, contents())

    write_bundle(bundle.folder, contents(), force=True)
    assert read_bundle(bundle.folder).name == "toy-int8"


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_json_cannot_hold_leaves_nothing_behind(tmp_path, number):
    with pytest.raises(BundleError, match=r"model\.json cannot be written as JSON"):
        write_bundle(tmp_path / "toy", contents(parity={"sqnr_db": number}))
    with pytest.raises(BundleError, match=r"report\.json cannot be written as JSON"):
        write_bundle(tmp_path / "toy", contents(report={"sqnr_db": number}))

    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["model.tflite", "model.onnx", "eval_inputs.npy", "labels.txt", "report.md"])
def test_an_altered_file_is_named_with_both_hashes(bundle, name):
    expected = sha256_of(bundle.folder / name)
    content = bytearray((bundle.folder / name).read_bytes())
    content[-1] ^= 1
    (bundle.folder / name).write_bytes(content)
    seen = sha256_of(bundle.folder / name)

    with pytest.raises(BundleError, match=f"{name} was altered after the export: sha256 {seen}, expected {expected}"):
        read_bundle(bundle.folder)


def test_a_missing_file_is_named(bundle):
    (bundle.folder / "eval_ids.txt").unlink()

    with pytest.raises(BundleError, match=r"misses eval_ids\.txt; export the model again"):
        read_bundle(bundle.folder)


def test_a_folder_without_document_is_no_bundle(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(BundleError, match=r"is no bundle: it has no model\.json; tkd-export writes one"):
            read_bundle(folder)


@pytest.mark.parametrize("text", ["", "{", "\xff"])
def test_a_document_that_is_not_json_is_damaged(bundle, text):
    (bundle.folder / "model.json").write_text(text, encoding="latin-1")

    with pytest.raises(BundleError, match=r"model\.json is damaged \(not JSON"):
        read_bundle(bundle.folder)


@pytest.mark.parametrize(
    ("seen", "message"),
    [
        ("tkd.bundle/2", "has format tkd.bundle/2, expected tkd.bundle/1; update this toolkit"),
        ("tkd.bench/1", "is no bundle document: format 'tkd.bench/1', expected 'tkd.bundle/1'"),
        (None, "is no bundle document: format None"),
    ],
)
def test_another_format_is_named(bundle, seen, message):
    edit_document(bundle.folder, format=seen)

    with pytest.raises(BundleError, match=message):
        read_bundle(bundle.folder)


@pytest.mark.parametrize("key", ["inputs", "labels", "files", "data", "sha256", "name"])
def test_a_document_without_a_key_is_damaged(bundle, key):
    edit_document(bundle.folder, **{key: None})

    with pytest.raises(BundleError, match=r"model\.json is damaged"):
        read_bundle(bundle.folder)


def test_an_array_that_does_not_fit_its_tensor_is_named(bundle):
    put(bundle.folder, "eval_inputs.npy", lambda path: np.save(path, np.zeros((6, 4, 4), np.int8)))

    with pytest.raises(
        BundleError, match=r"eval_inputs is int8 of shape \[6, 4, 4\]; expected int8 of shape \['n', 4, 3"
    ):
        read_bundle(bundle.folder)


def test_an_array_that_is_none_is_named(bundle):
    put(bundle.folder, "golden_input.npy", lambda path: path.write_bytes(b"not an array"))

    with pytest.raises(BundleError, match=r"golden_input\.npy is no numpy array"):
        read_bundle(bundle.folder)


def test_a_pickle_is_never_loaded(bundle):
    put(bundle.folder, "eval_labels.npy", lambda path: np.save(path, np.array([{}] * 6), allow_pickle=True))

    with pytest.raises(BundleError, match=r"eval_labels\.npy is no numpy array"):
        read_bundle(bundle.folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"golden_input": np.zeros((2, 4, 3), np.float32)}, "golden_input is float32 .* expected int8"),
        ({"golden_output": np.zeros((1, 2), np.float32)}, "golden_input has 2 examples and golden_output 1"),
        ({"labels": ()}, "labels are .* expected at least one"),
        ({"labels": ("yes",)}, "evaluation labels run from 0 to 1; expected 0 to 0"),
        ({"data": {}}, "data.synthetic is None; expected true or false"),
        ({"inputs": (INPUT, INPUT)}, "the model has 2 inputs; a bundle holds models with exactly one"),
        ({"outputs": ()}, "the model has 0 outputs"),
        ({"model": b""}, "empty model.tflite"),
        ({"name": "../toy"}, "cannot be called '../toy'"),
    ],
)
def test_contents_that_do_not_fit_together_are_refused_at_birth(changes, message):
    with pytest.raises(BundleError, match=message):
        contents(**changes)


def test_an_evaluation_pack_of_unequal_counts_is_refused():
    with pytest.raises(BundleError, match="has 2 inputs, 3 labels and 1 ids; expected the same number of each"):
        EvaluationPack(inputs=np.zeros((2, 1)), labels=np.zeros(3, int), ids=("a",))


def test_an_evaluation_id_with_a_line_break_is_refused():
    with pytest.raises(BundleError, match="holds a line break"):
        EvaluationPack(inputs=np.zeros((1, 1)), labels=np.zeros(1, int), ids=("a\nb",))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": "float16"}, "has dtype 'float16'; expected one of float32"),
        ({"dtype": "int8", "scale": 0.0, "zero_point": 0}, "expected a positive scale"),
        ({"dtype": "int8"}, "expected a positive scale"),
        ({"dtype": "float32", "scale": 1.0}, "is float32 and has a scale"),
        ({"dtype": "float32", "shape": (2, 3)}, "batch 1 first"),
        ({"dtype": "float32", "shape": (1, -1)}, "fixed axes"),
    ],
)
def test_a_tensor_that_cannot_be_fed_is_refused(changes, message):
    with pytest.raises(BundleError, match=message):
        TensorSpec(**({"name": "x", "shape": (1, 3)} | changes))


def test_quantize_rounds_ties_to_even_and_saturates():
    seen = INPUT.quantize(np.array([0.0, 0.25, 0.75, 1000.0, -np.inf], np.float32))

    assert seen.dtype == np.int8
    assert seen.tolist() == [-2, -2, 0, 127, -128]


def test_dequantize_undoes_quantize_within_half_a_step():
    values = np.linspace(-60, 60, 777, dtype=np.float32)

    assert np.abs(INPUT.dequantize(INPUT.quantize(values)) - values).max() <= 0.25


def test_a_float_tensor_passes_values_through():
    values = np.array([1.5, -2.0], np.float32)

    assert OUTPUT.quantize(values).tolist() == OUTPUT.dequantize(values).tolist() == [1.5, -2.0]


def test_nan_cannot_be_quantized():
    with pytest.raises(BundleError, match="seen NaN"):
        INPUT.quantize(np.array([np.nan]))


def test_bundles_are_found_by_name_and_half_written_ones_are_not(bundle):
    exports = bundle.folder.parent
    write_bundle(exports / "a-float32", contents(name="a-float32"))
    shutil.copytree(bundle.folder, exports / ".toy-int8.x.part")
    (exports / "other").mkdir()

    assert [found.name for found in find_bundles(exports)] == ["a-float32", "toy-int8"]
    assert find_bundles(exports / "nowhere") == []
