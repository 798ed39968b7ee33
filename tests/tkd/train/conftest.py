from pathlib import Path

import pytest

from tkd.distill import DistillConfig
from tkd.teacher import TeacherConfig
from tkd.train.config import DataConfig, FitConfig, StudentConfig, TrainConfig


@pytest.fixture
def tiny_config(tmp_path: Path, spoken_corpus: Path) -> TrainConfig:
    """A whole run in seconds: a tiny teacher, TC-ResNet8 without and with it, a few steps each."""
    return TrainConfig(
        run=str(tmp_path / "runs" / "tiny"),
        data=DataConfig(folder=str(spoken_corpus)),
        student=StudentConfig(name="tcresnet8"),
        student_fit=FitConfig(steps=6, batch_size=16, validate_every=3),
        teacher=TeacherConfig(layers=2, hidden=32, heads=2, feed_forward=64),
        teacher_fit=FitConfig(steps=4, batch_size=16, validate_every=2),
        distill=DistillConfig(lambdas=(0.0, 0.5), accept_any_teacher=True),  # four steps teach nobody where to look
    )
