from dataclasses import replace
from pathlib import Path

import pytest

from tkd.distill import DistillConfig
from tkd.errors import SettingsError
from tkd.settings import load_settings
from tkd.train.config import DataConfig, FitConfig, StudentConfig, TrainConfig

PACKAGED = sorted((Path(__file__).parents[3] / "tkd" / "configs").glob("*.toml"))
CONFIG = TrainConfig(
    run="runs/x", data=DataConfig(folder="d"), student=StudentConfig(name="tcresnet8"), student_fit=FitConfig(steps=3)
)


@pytest.mark.parametrize("path", PACKAGED, ids=lambda path: path.stem)
def test_every_packaged_configuration_loads(path: Path) -> None:
    assert load_settings(path, TrainConfig).run == f"runs/{path.stem}"


def test_the_digest_changes_with_any_setting_but_the_folder() -> None:
    assert replace(CONFIG, run="elsewhere").digest() == CONFIG.digest()
    assert replace(CONFIG, seed=2).digest() != CONFIG.digest()
    assert replace(CONFIG, student_fit=FitConfig(steps=4)).digest() != CONFIG.digest()


def test_a_teacher_is_needed_only_where_a_weight_is_above_zero() -> None:
    assert CONFIG.needs_teacher
    assert not replace(CONFIG, distill=DistillConfig(lambdas=(0.0,))).needs_teacher


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "must be at least 1"),
        ({"steps": 1, "batch_size": 0}, "must be at least 1"),
        ({"steps": 1, "learning_rate": 0.0}, "must be above 0"),
        ({"steps": 1, "warmup_share": 1.0}, r"must be in \[0, 1\)"),
        ({"steps": 1, "weight_decay": -1.0}, "weight_decay at least 0"),
    ],
)
def test_an_impossible_optimisation_is_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        FitConfig(**wrong)  # type: ignore[arg-type]
