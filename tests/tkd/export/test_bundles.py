from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from converters.bundle import find_bundles, read_bundle
from converters.errors import BundleError, GateFailedError
from converters.metadata import read_metadata
from converters.parity import ParityGates
from converters.runners import run_tflite
from tests.tkd.conftest import silent
from tkd.audio.features import FEATURES
from tkd.checkpoint import load_student, read_checkpoint
from tkd.export.bundles import Export, Gates, Wanted, export_student
from tkd.export.choose import Choice
from tkd.export.material import Amounts, Material, load_material

INT8 = Wanted(precisions=("int8",))
LOOSE = Gates(parity=ParityGates(int8_sqnr_db=15.0, int8_top1_agreement=0.0), max_accuracy_drop=100.0)


@pytest.fixture(scope="module")
def choice(trained_run: Path) -> Choice:
    return Choice(checkpoint=read_checkpoint(trained_run / "student.safetensors"), reason="as told")


@pytest.fixture(scope="module")
def material(choice: Choice, spoken_corpus: Path) -> Material:
    amounts = Amounts(calibration=48, pack=24)
    return load_material(spoken_corpus, choice.checkpoint.spec, FEATURES["tcresnet-paper"], amounts, silent)


@pytest.fixture(scope="module")
def export(choice: Choice, material: Material, tmp_path_factory: pytest.TempPathFactory) -> Export:
    return export_student(choice, material, LOOSE, tmp_path_factory.mktemp("exports"), INT8)


def test_int8_writes_the_float_bundle_beside_it(export: Export) -> None:
    folder = export.bundles[0].folder.parent
    assert [bundle.name for bundle in find_bundles(folder)] == ["tcresnet8-float32", "tcresnet8-int8"]
    assert [stage.name for stage in export.stages] == ["torch", "onnx", "float32", "int8"]


def test_every_float_stage_scores_exactly_as_torch(export: Export) -> None:
    torch_stage, *others = export.stages
    assert all(stage.test == torch_stage.test for stage in others if stage.name != "int8")


def test_a_device_that_follows_the_bundle_gets_the_checkpoints_logits(
    export: Export, choice: Choice, material: Material
) -> None:
    bundle = export.bundles[0]
    scale = torch.tensor(bundle.document["front_end"]["channel_scale"])
    features = material.test.inputs[:5]
    expected = load_student(choice.checkpoint)(features).detach().numpy()
    assert np.allclose(
        run_tflite(bundle.model, (features / scale).numpy()), expected, atol=1e-4 * np.abs(expected).max()
    )


@pytest.mark.parametrize("place", [0, 1])
def test_the_golden_pair_and_the_pack_belong_to_the_model(export: Export, place: int) -> None:
    bundle = export.bundles[place]
    golden_input, golden_output = bundle.golden()
    spec_in, spec_out = bundle.inputs[0], bundle.outputs[0]
    assert np.array_equal(spec_out.quantize(run_tflite(bundle.model, spec_in.dequantize(golden_input))), golden_output)
    pack = bundle.evaluation()
    logits = run_tflite(bundle.model, spec_in.dequantize(pack.inputs))
    correct = int((logits.argmax(axis=1) == pack.labels).sum())
    assert correct == bundle.document["accuracy"]["evaluation_pack"][bundle.precision]["correct"]


def test_the_document_says_where_it_comes_from_and_that_it_is_synthetic(export: Export, choice: Choice) -> None:
    document = export.bundles[1].document
    assert document["parents"]["checkpoint_sha256"] == choice.checkpoint.sha256
    assert (document["data"]["synthetic"], document["data"]["silence"]) == (True, "noise")
    assert document["ops"]["macs"] > 0
    assert document["ops"]["int8_share"] == {"operators": 1.0, "macs": 1.0, "weight_bytes": 1.0}
    assert len(document["calibration"]["clip_list_sha256"]) == 64
    assert "SYNTHETIC" in (export.bundles[1].folder / "report.md").read_text()


@pytest.mark.parametrize("place", [0, 1])
def test_the_file_alone_says_labels_front_end_and_origin(export: Export, choice: Choice, place: int) -> None:
    bundle = export.bundles[place]
    seen = read_metadata(bundle.model)
    assert seen is not None
    assert (seen.name, seen.labels) == ("tcresnet8", bundle.labels)
    assert seen.documents["front_end.json"] == bundle.document["front_end"]
    assert seen.documents["provenance.json"]["parents"] == bundle.document["parents"]
    assert np.allclose(seen.channel_scale, bundle.document["front_end"]["channel_scale"])
    assert "SYNTHETIC" in seen.description


def test_every_file_is_compared_with_torch_clip_by_clip(export: Export) -> None:
    against = export.bundles[1].document["accuracy"]["against_torch"]
    assert list(against) == ["onnx", "float32", "int8"]
    test = export.bundles[1].document["accuracy"]["test_split"]
    gained, lost = against["int8"]["gained"], against["int8"]["lost"]
    assert test["int8"]["correct"] - test["torch"]["correct"] == gained - lost


def test_the_same_clips_and_settings_give_the_same_int8_file(
    export: Export, choice: Choice, material: Material, tmp_path: Path
) -> None:
    again = export_student(choice, material, LOOSE, tmp_path, INT8)
    assert [bundle.sha256 for bundle in export.bundles] == [bundle.sha256 for bundle in again.bundles]
    recorded = [bundle.document["calibration"].get("clip_list_sha256") for bundle in (*export.bundles, *again.bundles)]
    assert recorded[:2] == recorded[2:]


def test_the_query_of_distillation_is_in_no_file(export: Export) -> None:
    for bundle in export.bundles:
        for name in ("model.tflite", "model.onnx"):
            assert b"query" not in (bundle.folder / name).read_bytes()


def test_a_failed_parity_gate_leaves_no_bundle(choice: Choice, material: Material, tmp_path: Path) -> None:
    strict = Gates(parity=ParityGates(int8_sqnr_db=99.0))
    with pytest.raises(GateFailedError, match=r"SQNR.* bound is 99"):
        export_student(choice, material, strict, tmp_path / "exports", INT8)
    assert not (tmp_path / "exports").exists()


def test_a_failed_accuracy_gate_leaves_no_bundle(choice: Choice, material: Material, tmp_path: Path) -> None:
    strict = replace(LOOSE, max_accuracy_drop=-100.0)
    with pytest.raises(GateFailedError, match="loss of top-1 accuracy in points"):
        export_student(choice, material, strict, tmp_path / "exports", INT8)
    assert not (tmp_path / "exports").exists()


def test_the_same_export_again_overwrites_in_silence(choice: Choice, material: Material, tmp_path: Path) -> None:
    first = export_student(choice, material, LOOSE, tmp_path, Wanted())
    second = export_student(choice, material, LOOSE, tmp_path, Wanted())
    assert first.bundles[0].sha256 == second.bundles[0].sha256


def test_a_bundle_of_other_parents_is_overwritten_only_by_force(
    choice: Choice, material: Material, tmp_path: Path
) -> None:
    export_student(choice, material, LOOSE, tmp_path, Wanted())
    other = replace(choice, checkpoint=replace(choice.checkpoint, sha256="0" * 64))
    with pytest.raises(BundleError, match="--force"):
        export_student(other, material, LOOSE, tmp_path, Wanted())
    assert read_bundle(tmp_path / "tcresnet8-float32").document["parents"]["checkpoint_sha256"] != "0" * 64
    export_student(other, material, LOOSE, tmp_path, Wanted(), force=True)
    assert read_bundle(tmp_path / "tcresnet8-float32").document["parents"]["checkpoint_sha256"] == "0" * 64
