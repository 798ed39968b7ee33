import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from converters.errors import BundleError, ConversionError
from tests.tkd.scoring.conftest import Exported, silent, student_spec
from tkd.checkpoint import write_checkpoint
from tkd.errors import CheckpointError, SettingsError
from tkd.scoring.clips import choose_clips, logits_of
from tkd.scoring.models import open_model, open_models
from tkd.students import build_student


def test_all_float_forms_give_the_same_answers_and_int8_nearly_so(exported: Exported) -> None:
    models = open_models([
        exported.checkpoint, exported.float32 / "model.onnx", exported.float32, exported.float32 / "model.tflite",
        exported.int8,
    ])  # fmt: skip
    clips = choose_clips(models, exported.corpus, None, None, silent)

    first, *others, integers = logits_of(models, clips, silent)

    for logits in others:
        assert np.abs(logits - first).max() < 1e-4 * np.abs(first).max()
        assert (logits.argmax(axis=1) == first.argmax(axis=1)).all()
    assert (integers.argmax(axis=1) == first.argmax(axis=1)).mean() > 0.8
    assert [model.runtime for model in models] == ["PyTorch", "ONNX Runtime", "LiteRT", "LiteRT", "LiteRT"]
    assert [model.precision for model in models] == ["float32"] * 4 + ["int8"]


def test_a_pack_gives_the_answers_that_its_clips_give_when_they_are_read_again(exported: Exported) -> None:
    for folder in (exported.float32, exported.int8):
        model = open_model(folder)
        packed = choose_clips([model], None, None, None, silent)
        read = choose_clips([model], exported.corpus, None, None, silent)

        (from_pack,), (from_audio,) = logits_of([model], packed, silent), logits_of([model], read, silent)

        places = [read.ids.index(name) for name in packed.ids]
        assert (read.labels[places] == packed.labels).all()
        assert [read.speakers[place] for place in places] == list(packed.speakers)
        assert from_audio[places] == pytest.approx(from_pack, abs=1e-5 * float(np.abs(from_pack).max()))


def test_models_of_one_name_are_told_apart_by_their_paths(exported: Exported, tmp_path: Path) -> None:
    copy = tmp_path / "copy.safetensors"
    shutil.copy(exported.checkpoint, copy)
    names = [model.name for model in open_models([exported.checkpoint, copy, exported.int8])]
    assert names == [str(exported.checkpoint), str(copy), "tcresnet8-int8"]


def test_a_file_in_no_bundle_needs_the_name_of_its_front_end(exported: Exported, tmp_path: Path) -> None:
    file = tmp_path / "model.tflite"
    shutil.copy(exported.float32 / "model.tflite", file)

    with pytest.raises(SettingsError, match="lies in no bundle, so its front end is unknown; name the bundle's folder"):
        open_model(file)
    with pytest.raises(SettingsError, match="did you mean 'tcresnet-paper'"):
        open_model(file, features="tcresnet-papers")

    model = open_model(file, features="tcresnet-paper")
    assert (model.channel_scale, model.pack, model.trained_on_synthetic, len(model.labels)) == (None, None, None, 12)


def test_a_wrong_front_end_and_wrong_labels_are_named(exported: Exported, tmp_path: Path) -> None:
    file = tmp_path / "mine.onnx"
    shutil.copy(exported.float32 / "model.onnx", file)

    for features, labels, error, message in (
        ("kws-streaming", (), ConversionError, "ONNX Runtime cannot run the model"),
        ("tcresnet-paper", ("yes", "no"), SettingsError, r"answers with shape \[12\]; expected 2 classes \(yes, no"),
    ):
        model = open_model(file, features=features, labels=labels)
        clips = choose_clips([model], exported.corpus, None, None, silent)
        with pytest.raises(error, match=message):
            logits_of([model], clips, silent)


@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
def test_a_damaged_model_file_is_refused(exported: Exported, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"cut{suffix}"
    file.write_bytes((exported.float32 / f"model{suffix}").read_bytes()[:1000])
    with pytest.raises(ConversionError, match=r"refuses the model|cannot run the model"):
        model = open_model(file, features="tcresnet-paper")
        logits_of([model], choose_clips([model], exported.corpus, None, None, silent), silent)


def test_an_altered_bundle_is_refused_whichever_of_its_files_is_named(altered_bundle: Path) -> None:
    for path in (altered_bundle, altered_bundle / "model.tflite", altered_bundle / "model.onnx"):
        with pytest.raises(BundleError, match=r"eval_ids.txt was altered after the export"):
            open_model(path)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"is no bundle: it has no model.json"):
        open_model(tmp_path)


@pytest.mark.parametrize("name", ["none.safetensors", "none.tflite", "none"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises((CheckpointError, SettingsError), match=f"there is no (checkpoint|file) .*{name}"):
        open_model(tmp_path / name, features="tcresnet-paper")


def test_a_teacher_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "teacher.safetensors"
    write_checkpoint(path, student_spec(kind="teacher", name="small", features={}), {"weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="holds a teacher; expected a student"):
        open_model(path)


def test_damaged_and_foreign_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "student.safetensors"
    write_checkpoint(path, student_spec(), build_student("tcresnet8", 40, 12).state_dict())
    path.write_bytes(path.read_bytes()[:5000])
    foreign = tmp_path / "foreign.safetensors"
    save_file({"x": torch.zeros(1)}, foreign)

    with pytest.raises(CheckpointError, match="is damaged or no safetensors file"):
        open_model(path)
    with pytest.raises(CheckpointError, match="not a checkpoint of ours"):
        open_model(foreign)


def test_a_checkpoint_of_another_front_end_than_its_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "student.safetensors"
    write_checkpoint(path, student_spec(features={}), build_student("tcresnet8", 40, 12).state_dict())
    with pytest.raises(SettingsError, match="the front end lacks window_ms"):
        open_model(path)
