"""A corpus with several labels a clip, from training to a bundle."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import average_precision_score

from converters.command_line import ExitCode
from converters.errors import GateFailedError
from converters.parity import ParityGates
from tests.tkd.conftest import silent
from tkd.audio.features import FeatureConfig
from tkd.checkpoint import read_checkpoint
from tkd.cli.train import main
from tkd.data.events import EventSettings, make_events
from tkd.distill import DistillConfig
from tkd.evaluate import score_several
from tkd.export.bundles import Gates, Wanted, export_student
from tkd.export.choose import Choice
from tkd.export.material import Amounts, Material, load_material
from tkd.teacher import TeacherConfig
from tkd.train.config import DataConfig, FitConfig, StudentConfig, TrainConfig
from tkd.train.objectives import classification_loss
from tkd.train.record import RunResult
from tkd.train.run import run_training

INT8 = Wanted(precisions=("int8",))
LOOSE = ParityGates(int8_sqnr_db=5.0)


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("several") / "events"
    make_events(folder, EventSettings(clips=160), lambda _done: None)
    return folder


@pytest.fixture(scope="module")
def result(events: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A tiny teacher, TC-ResNet8 without and with it."""
    config = TrainConfig(
        run=str(tmp_path_factory.mktemp("runs") / "events"),
        data=DataConfig(folder=str(events), kind="fsd50k", cache="off"),
        student=StudentConfig(name="tcresnet8"),
        student_fit=FitConfig(steps=30, batch_size=16, validate_every=15, learning_rate=5e-3),
        teacher=TeacherConfig(layers=2, hidden=32, heads=2, feed_forward=64),
        teacher_fit=FitConfig(steps=2, batch_size=16, validate_every=2),
        distill=DistillConfig(lambdas=(0.0, 0.5), accept_any_teacher=True),  # of two steps
    )
    return run_training(config, silent)


@pytest.fixture(scope="module")
def choice(result: RunResult) -> Choice:
    return Choice(checkpoint=read_checkpoint(result.folder / "student.safetensors"), reason="as told")


@pytest.fixture(scope="module")
def material(choice: Choice, events: Path) -> Material:
    spec = choice.checkpoint.spec
    amounts = Amounts(calibration=32, pack=24, pack_anyway=True)
    return load_material(events, spec, FeatureConfig.from_dict(spec.features), amounts, silent)


def test_teacher_and_students_are_scored_by_mean_average_precision(result: RunResult) -> None:
    assert "mean_average_precision" == result.metric == result.teacher["metric"]
    for arm in result.arms:
        assert "accuracy" not in arm.test
        assert (8, 0, 24) == (arm.test["classes"], arm.test["classes_left_out"], arm.test["total"])
        assert 0.0 < arm.test["mean_average_precision"] <= 1.0
    assert result.chosen.validation > 0.3  # chance is the share of positives, near 0.16
    logged = (result.folder / "log.jsonl").read_text()
    assert "validation_mean_average_precision" in logged
    assert "validation_accuracy" not in logged


def test_the_checkpoint_names_its_metric(choice: Choice) -> None:
    assert "mean_average_precision" == choice.checkpoint.spec.scores["metric"]


def test_an_export_packs_every_label_and_scores_every_stage(choice: Choice, material: Material, tmp_path: Path) -> None:
    export = export_student(choice, material, Gates(parity=LOOSE, max_accuracy_drop=100.0), tmp_path, INT8)

    pack = export.bundles[1].evaluation()
    assert (len(pack.ids), 8) == pack.labels.shape
    assert np.array_equal(material.test.labels[list(material.pack)], pack.labels)
    scores = export.bundles[1].document["accuracy"]["test_split"]
    assert {"clips", "torch", "onnx", "float32", "int8"} == set(scores)
    assert choice.checkpoint.spec.scores["test"] == scores["torch"]
    assert "scored by: mAP" in (export.bundles[1].folder / "report.md").read_text()


def test_a_loss_of_precision_beyond_the_gate_leaves_no_bundle(
    choice: Choice, material: Material, tmp_path: Path
) -> None:
    with pytest.raises(GateFailedError, match="loss of mAP in points"):
        export_student(choice, material, Gates(parity=LOOSE, max_accuracy_drop=-100.0), tmp_path / "e", INT8)
    assert not (tmp_path / "e").exists()


def test_the_table_says_mean_average_precision_and_never_accuracy(
    result: RunResult, events: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "events.toml"
    config.write_text(
        f'run = "{tmp_path / "run"}"\n[data]\nfolder = "{events}"\nkind = "fsd50k"\n[student]\nname = "tcresnet8"\n'
        "[student_fit]\nsteps = 2\nvalidate_every = 2\n[distill]\nlambdas = [0.0]\n"
    )
    assert ExitCode.GOOD == main([str(config), "-q"])
    out = capsys.readouterr().out
    assert "mAP %" in out
    assert "SYNTHETIC sound events" in out
    assert "accuracy" not in out


def test_scores_leave_out_and_count_a_class_without_a_positive_clip() -> None:
    logits = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    labels = np.zeros((20, 3), np.float32)
    labels[:7, 0] = labels[5:9, 2] = 1

    scores = score_several(logits, labels, ("bell", "dog", "horn"))

    expected = [average_precision_score(labels[:, place], logits[:, place]) for place in (0, 2)]
    assert np.mean(expected) == pytest.approx(scores.value)
    assert (1, None) == (scores.left_out, scores.per_class["dog"])
    assert json.loads(json.dumps(scores.to_dict()))["classes_left_out"] == 1


def test_an_undefined_answer_ranks_last_in_every_class() -> None:
    logits = np.array([[np.nan, 9.0], [1.0, 0.0], [0.0, 1.0]], np.float32)
    labels = np.array([[1, 0], [0, 1], [0, 1]], np.float32)

    scores = score_several(logits, labels, ("bell", "dog"))

    assert {"bell": pytest.approx(1 / 3), "dog": 1.0} == scores.per_class


def test_the_loss_of_several_labels_is_binary_cross_entropy() -> None:
    logits, labels = torch.tensor([[2.0, -1.0]]), torch.tensor([[1.0, 0.0]])
    expected = -(torch.log(torch.sigmoid(torch.tensor([2.0, 1.0])))).mean()
    torch.testing.assert_close(classification_loss(logits, labels, 0.0), expected)
    smooth = F.binary_cross_entropy_with_logits(logits, torch.tensor([[0.95, 0.05]]))
    torch.testing.assert_close(classification_loss(logits, labels, 0.1), smooth)
