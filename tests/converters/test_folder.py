"""Calibration files and the folder of a conversion, good and bad."""

from __future__ import annotations

import json

import numpy as np
import pytest
from torch import nn

from converters.errors import BundleError, ConversionError
from converters.folder import read_clips, write_conversion
from converters.pipeline import ConversionRequest, convert
from converters.runners import run_tflite
from tests.converters.toys import inputs

CLIPS = inputs((1, 6), 32)


def converted(seed=0):
    import torch

    torch.manual_seed(seed)
    return convert(ConversionRequest(module=nn.Linear(6, 3), example=CLIPS[:1], calibration=CLIPS, gates=None))


def test_clips_come_from_the_named_array_the_only_array_or_an_npy_file(tmp_path):
    np.savez(tmp_path / "named.npz", calibration=CLIPS, check=CLIPS[:4])
    np.savez(tmp_path / "only.npz", features=CLIPS)
    np.save(tmp_path / "plain.npy", CLIPS)
    assert 4 == len(read_clips(tmp_path / "named.npz").check)
    for name in ("named.npz", "only.npz", "plain.npy"):
        assert np.array_equal(CLIPS, read_clips(tmp_path / name).calibration)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": CLIPS, "b": CLIPS}, "holds a, b; expected 'calibration' of shape"),
        ({"calibration": CLIPS, "labels": CLIPS}, "holds calibration, labels; expected"),
        ({"calibration": np.array([{}], dtype=object)}, "is no .npz file of plain arrays"),
    ],
)
def test_a_file_that_does_not_say_what_is_meant_is_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "clips.npz", **arrays)
    with pytest.raises(ConversionError, match=message):
        read_clips(tmp_path / "clips.npz")


def test_a_missing_or_damaged_file_is_named(tmp_path):
    with pytest.raises(ConversionError, match=r"there is no calibration file .*none.npz"):
        read_clips(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no zip")
    with pytest.raises(ConversionError, match=r"text.npz is no .npz file"):
        read_clips(tmp_path / "text.npz")


def test_the_folder_holds_every_file_and_the_report(tmp_path):
    conversion = converted()
    written = write_conversion(tmp_path / "toy", conversion, title="toy")
    assert ["model-float32.tflite", "model-int8.tflite"] == [path.name for path in written]
    assert (32, 3) == run_tflite(written[1], CLIPS).shape
    document = json.loads((tmp_path / "toy" / "report.json").read_text())
    assert ("tkd.conversion/1", "toy") == (document["format"], document["name"])
    assert (tmp_path / "toy" / "report.md").read_text().startswith("# toy\n")
    assert conversion.onnx == (tmp_path / "toy" / "model.onnx").read_bytes()


def test_the_same_model_is_overwritten_in_silence_another_by_force_and_a_strange_folder_never(tmp_path):
    write_conversion(tmp_path / "toy", converted(), title="toy")
    write_conversion(tmp_path / "toy", converted(), title="toy")
    with pytest.raises(BundleError, match="holds the conversion of another model; give --force"):
        write_conversion(tmp_path / "toy", converted(seed=1), title="toy")
    write_conversion(tmp_path / "toy", converted(seed=1), title="toy", force=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(BundleError, match="is no conversion of ours"):
        write_conversion(tmp_path / "mine", converted(), title="toy", force=True)
    assert "keep" == (tmp_path / "mine" / "notes.txt").read_text()
