from dataclasses import replace
from pathlib import Path

import pytest

from tkd.audio.features import find_features
from tkd.augment import AugmentConfig
from tkd.distill import DistillConfig
from tkd.errors import SettingsError
from tkd.settings import load_settings
from tkd.students import build_student, find_student
from tkd.teacher import TeacherConfig
from tkd.train.config import DataConfig, FitConfig, StudentConfig, TrainConfig
from tkd.train.fit import learning_rate

PACKAGED = sorted((Path(__file__).parents[3] / "tkd" / "configs").glob("*.toml"))
CONFIG = TrainConfig(
    run="runs/x", data=DataConfig(folder="d"), student=StudentConfig(name="tcresnet8"), student_fit=FitConfig(steps=3)
)


@pytest.mark.parametrize("path", PACKAGED, ids=lambda path: path.stem)
def test_every_packaged_configuration_loads(path: Path) -> None:
    assert load_settings(path, TrainConfig).run == f"runs/{path.stem}"


def test_the_digest_changes_with_any_setting_that_changes_what_is_trained() -> None:
    assert replace(CONFIG, run="elsewhere").digest() == CONFIG.digest()
    assert replace(CONFIG, data=DataConfig(folder="d", cache="off")).digest() == CONFIG.digest()
    accepting = replace(CONFIG.distill, accept_any_teacher=True)
    assert replace(CONFIG, distill=accepting).digest() == CONFIG.digest()
    assert replace(CONFIG, data=DataConfig(folder="other")).digest() != CONFIG.digest()
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
        ({"steps": 1, "learning_rate": float("nan")}, "learning_rate must be above 0 and finite, saw nan"),
        ({"steps": 1, "clip_norm": float("nan")}, "or 0 for no clipping, saw nan"),
        ({"steps": 1, "warmup_share": 1.0}, r"must be in \[0, 1\)"),
        ({"steps": 1, "weight_decay": -1.0}, "weight_decay at least 0"),
        ({"steps": 1, "clip_norm": -1.0}, "or 0 for no clipping"),
        ({"steps": 1, "momentum": 1.0}, r"momentum must be in \[0, 1\)"),
        ({"steps": 1, "final_rate": 1.0}, "between 0 and learning_rate"),
        ({"steps": 1, "schedule": "exponential"}, "never reaches 0"),
        ({"steps": 1, "schedule": "constant", "final_rate": 1e-4}, "constant schedule has no final_rate"),
        ({"steps": 9, "schedule": "step"}, "it needs both"),
        ({"steps": 9, "step_starts": (3,), "step_rates": (0.1,)}, "belong to the step schedule"),
        ({"steps": 9, "schedule": "step", "step_starts": (3, 5), "step_rates": (0.1,)}, "2 entries and step_rates 1"),
        ({"steps": 9, "schedule": "step", "step_starts": (5, 3), "step_rates": (0.1, 0.1)}, "must rise"),
        ({"steps": 9, "schedule": "step", "step_starts": (5,), "step_rates": (0.0,)}, "be above 0"),
    ],
)
def test_an_impossible_optimisation_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        FitConfig(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("layer", [4, -5])
def test_a_layer_that_a_teacher_from_scratch_will_not_have_is_refused(layer: int) -> None:
    distill = DistillConfig(aggregation="layer", layer=layer)
    with pytest.raises(SettingsError, match=f"the teacher has 4 layers, -4 to 3; saw {layer}"):
        replace(CONFIG, distill=distill)
    elsewhere = replace(CONFIG, distill=distill, teacher=TeacherConfig(checkpoint="owner/model"))
    assert elsewhere.distill.layer == layer


def test_a_shift_is_shorter_than_a_clip() -> None:
    data = DataConfig(folder="data")
    with pytest.raises(SettingsError, match="expected less than a clip, 1000, saw 1000"):
        TrainConfig(
            run="runs/x", data=data, student=StudentConfig(name="tcresnet8"), student_fit=FitConfig(steps=1),
            augment=AugmentConfig(max_shift_ms=1000.0),
        )  # fmt: skip


def test_a_seed_of_the_data_is_no_negative_number() -> None:
    with pytest.raises(SettingsError, match=r"data\.seed: expected 0 or more, saw -1"):
        DataConfig(folder="data", seed=-1)


def test_resampling_and_a_teacher_exclude_each_other() -> None:
    stretched = replace(CONFIG, augment=AugmentConfig(max_resample=0.1), distill=DistillConfig(lambdas=(0.0,)))
    with pytest.raises(SettingsError, match="cached attention"):
        replace(stretched, distill=DistillConfig(lambdas=(0.0, 0.5)))


def test_a_lead_in_and_a_teacher_exclude_each_other() -> None:
    led_in = replace(CONFIG, augment=AugmentConfig(max_lead_in_clips=2), distill=DistillConfig(lambdas=(0.0,)))
    with pytest.raises(SettingsError, match="hear other clips first"):
        replace(led_in, distill=DistillConfig(lambdas=(0.0, 0.5)))


@pytest.mark.parametrize(("recipe", "rates"), [
    ("tcresnet-paper", {0: 0.1, 9_999: 0.1, 10_000: 0.01, 19_999: 0.01, 20_000: 0.001, 29_999: 0.001}),
    ("bcresnet", {0: 0.1 / 1845, 1844: 0.1, 1845: 0.1, 73_799: 0.0}),
    ("kws-streaming", {0: 1e-3, 40_000: (1e-3 * 2e-5) ** 0.5, 79_999: 2e-5}),
    ("kws-streaming-tcresnet", {0: 0.1, 40_000: 0.001**0.5, 79_999: 0.01}),
    ("mlperf-tiny", {0: 5e-4, 10_260: 1e-4, 20_519: 1e-4, 20_520: 2e-5}),
])  # fmt: skip
def test_a_published_recipe_has_the_published_rates_and_a_student_that_fits(
    recipe: str, rates: dict[int, float]
) -> None:
    config = load_settings(PACKAGED[0].parent / f"{recipe}.toml", TrainConfig)
    seen = {step: learning_rate(config.student_fit, step) for step in rates}
    assert seen == pytest.approx(rates, rel=1e-3, abs=1e-9)
    assert not config.needs_teacher
    build_student(config.student.name, find_features(find_student(config.student.name).features).channels, 12)
