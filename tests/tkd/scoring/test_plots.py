from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from tests.tkd.scoring.test_summary import clip_set, logits, model
from tkd.scoring.plots import draw_confusion, draw_roc
from tkd.scoring.summary import evaluate


@pytest.mark.parametrize(("models", "classes", "are_runs"), [(1, 3, False), (4, 3, True), (1, 35, False)])
def test_pictures_have_ink_and_are_written_whole(models: int, classes: int, are_runs: bool, tmp_path: Path) -> None:
    clips = clip_set(70, classes)
    names = tuple(f"word{place}" for place in range(classes))
    values = [logits(clips, classes, seed=seed) for seed in range(models)]
    evaluation = evaluate([model(str(place), names) for place in range(models)], values, clips, 0.01, are_runs=are_runs)

    draw_confusion(evaluation, tmp_path / "confusion.png")
    draw_roc(evaluation, tmp_path / "roc.png")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["confusion.png", "roc.png"]
    for path in tmp_path.iterdir():
        assert np.unique(imread(path)[..., 0]).size > 20


def test_a_perfect_model_and_one_that_never_answers_can_be_drawn(tmp_path: Path) -> None:
    clips = clip_set()
    values = [logits(clips, strength=99.0), np.full((60, 3), np.nan, np.float32)]
    evaluation = evaluate([model("good"), model("mute")], values, clips, 0.01)

    draw_confusion(evaluation, tmp_path / "confusion.png")
    draw_roc(evaluation, tmp_path / "roc.png")

    assert (tmp_path / "roc.png").stat().st_size > 10_000
