import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from converters.command_line import Advance, progress
from converters.parity import ParityGates
from tkd.audio.features import FEATURES
from tkd.checkpoint import CheckpointSpec, read_checkpoint, write_checkpoint
from tkd.data.speech_commands import TWELVE_LABELS
from tkd.export.bundles import Gates, Wanted, export_student
from tkd.export.choose import Choice
from tkd.export.material import Amounts, Material, load_material
from tkd.students import Student, build_student

FEATURE_DICT = FEATURES["tcresnet-paper"].to_dict()


def silent(title: str, total: int) -> AbstractContextManager[Advance]:
    return progress(title, total, quiet=True)


@dataclass(frozen=True)
class Exported:
    """A student that learned a little, in all its forms, and the corpus that it learned from."""

    checkpoint: Path
    float32: Path
    int8: Path
    corpus: Path


@pytest.fixture(scope="session")
def exported(spoken_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("exported")
    spec = student_spec(data={"folder": str(spoken_corpus), "name": "corpus", "synthetic": True, "silence": "noise"})
    material = load_material(spoken_corpus, spec, FEATURES["tcresnet-paper"], Amounts(calibration=120, pack=48), silent)
    path = folder / "student.safetensors"
    write_checkpoint(path, spec, _learn(material).state_dict())
    gates = Gates(parity=ParityGates(int8_sqnr_db=0.0, int8_top1_agreement=0.0), max_accuracy_drop=100.0)
    choice = Choice(checkpoint=read_checkpoint(path), reason="as told")
    made = export_student(choice, material, gates, folder / "exports", Wanted(precisions=("int8",)))
    return Exported(checkpoint=path, float32=made.bundles[0].folder, int8=made.bundles[1].folder, corpus=spoken_corpus)


@pytest.fixture
def altered_bundle(exported: Exported, tmp_path: Path) -> Path:
    """A bundle whose evaluation pack was touched after the export."""
    folder = tmp_path / "altered"
    shutil.copytree(exported.float32, folder)
    (folder / "eval_ids.txt").write_text("yes/somebody_nohash_0.wav\n" * 48)
    return folder


def student_spec(**changes: object) -> CheckpointSpec:
    values = {"kind": "student", "name": "tcresnet8", "labels": TWELVE_LABELS, "features": FEATURE_DICT, **changes}
    return CheckpointSpec(**values)  # type: ignore[arg-type]


def _learn(material: Material) -> Student:
    """A student after a few steps on the calibration clips: some answers are right, some are wrong."""
    torch.manual_seed(0)
    student = build_student("tcresnet8", 40, 12)
    optimiser = torch.optim.Adam(student.parameters(), lr=3e-3)
    labels = torch.from_numpy(material.calibration.labels)
    for _ in range(25):
        optimiser.zero_grad()
        functional.cross_entropy(student(material.calibration.inputs), labels).backward()
        optimiser.step()
    return student
