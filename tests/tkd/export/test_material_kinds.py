from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.tkd.conftest import silent
from tkd.audio.features import FeatureConfig
from tkd.audio.wav import write_wav
from tkd.checkpoint import CheckpointSpec, read_checkpoint
from tkd.data.noisy import NoisySettings, make_noisy, plan_noisy
from tkd.distill import DistillConfig
from tkd.errors import DataError
from tkd.export.material import Amounts, find_data, load_material
from tkd.train.config import DataConfig, FitConfig, StudentConfig, TrainConfig
from tkd.train.run import run_training


def _trained(tmp_path: Path, data: DataConfig) -> CheckpointSpec:
    config = TrainConfig(
        run=str(tmp_path / "run"),
        data=data,
        student=StudentConfig(name="tcresnet8"),
        student_fit=FitConfig(steps=1, batch_size=8, validate_every=1),
        distill=DistillConfig(lambdas=(0.0,)),
    )
    run_training(config, silent)
    return read_checkpoint(tmp_path / "run" / "student.safetensors").spec


def test_an_export_reads_the_data_as_the_training_did(tmp_path: Path) -> None:
    for label in ("dog", "horn"):
        (tmp_path / "sounds" / label).mkdir(parents=True)
        for number in range(20):
            sound = np.random.default_rng([number, len(label)]).integers(-999, 999, 4_000).astype(np.int16)
            write_wav(tmp_path / "sounds" / label / f"{number}.wav", sound)
    spec = _trained(tmp_path, DataConfig(folder=str(tmp_path / "sounds"), kind="folder", clip_seconds=0.5, pad="loop"))

    material = load_material(
        find_data(spec, None, silent), spec, FeatureConfig.from_dict(spec.features), Amounts(calibration=6), silent
    )

    assert spec.labels == ("dog", "horn")
    assert len(material.calibration.ids) == 6
    assert tuple(material.test.inputs.shape) == (4, 48, 40)
    assert material.description == {key: spec.data[key] for key in material.description}


def test_words_in_noise_are_never_replaced_by_words_spoken_anew(small_corpus: Path, tmp_path: Path) -> None:
    plan = plan_noisy(small_corpus, NoisySettings(seconds=2, noise=("own",)))
    make_noisy(tmp_path / "noisy", plan, jobs=1, advance=lambda _done: None)
    spec = _trained(tmp_path, DataConfig(folder=str(tmp_path / "noisy")))
    synthetic = replace(spec, data={**spec.data, "synthetic": True, "folder": "gone"})

    material = load_material(
        tmp_path / "noisy", spec, FeatureConfig.from_dict(spec.features), Amounts(calibration=6), silent
    )

    assert tuple(material.test.inputs.shape) == (12, 198, 40)
    with pytest.raises(DataError, match="make it again as its manifest says and give it with --data"):
        find_data(synthetic, None, silent)


def test_data_with_other_labels_is_refused(small_corpus: Path, tmp_path: Path) -> None:
    spec = replace(_trained(tmp_path, DataConfig(folder=str(small_corpus))), labels=("yes", "tortoise"))

    with pytest.raises(DataError, match="class 'tortoise' has no clips in split 'train'"):
        load_material(small_corpus, spec, FeatureConfig.from_dict(spec.features), Amounts(), silent)
