import json
import sys

import pytest
import torch
from matplotlib.image import imread

from tests.tkd.conftest import silent
from tkd.train.config import TrainConfig
from tkd.train.looking import clips_to_fit
from tkd.train.pictures import Looker, Shown, clips_to_show, draw_attention
from tkd.train.run import run_training


def test_a_run_with_a_teacher_says_and_shows_where_everyone_looks(tiny_config: TrainConfig) -> None:
    result = run_training(tiny_config, silent)
    looks = [arm["looks"] for arm in json.loads((result.folder / "run.json").read_text())["arms"]]
    assert all(look["kl_nats"] > 0 and look["mass_inside"] is None for look in looks)  # one second: no intervals
    picture = imread(result.folder / "attention.png")
    assert picture.shape[0] > 300
    assert picture.std() > 0.05
    board = b"".join(path.read_bytes() for path in (result.folder / "tensorboard").iterdir())
    assert b"\x89PNG" in board


def test_a_query_is_fitted_to_clips_drawn_from_all_of_a_corpus_that_lies_word_by_word() -> None:
    labels = torch.arange(12).repeat_interleave(800)
    drawn = clips_to_fit(len(labels))
    assert len(drawn) == len(drawn.unique()) == 400
    assert torch.bincount(labels[drawn], minlength=12).min() > 15
    assert torch.equal(drawn, clips_to_fit(len(labels)))
    assert torch.equal(clips_to_fit(7), torch.arange(7))


def test_without_matplotlib_the_numbers_are_there(tiny_config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = run_training(tiny_config, silent)
    assert not (result.folder / "attention.png").exists()
    assert json.loads((result.folder / "run.json").read_text())["arms"][1]["looks"]["kl_nats"] > 0


def test_one_clip_of_each_of_three_labels_is_shown_of_those_with_a_known_keyword() -> None:
    labels = torch.tensor([3, 1, 1, 2, 0, 3])
    names = ("no", "yes", "up", "_silence_")
    assert clips_to_show(labels, None, names).tolist() == [4, 1, 3]
    assert clips_to_show(labels, None, ("_silence_", "yes", "up", "no")).tolist() == [1, 3, 0]
    spans = torch.zeros(6, 2)
    spans[torch.tensor([4, 1])] = torch.nan
    assert clips_to_show(labels, spans, names).tolist() == [2, 3, 0]


def test_the_line_peaks_where_the_attention_does() -> None:
    shown = Shown(
        index=torch.tensor([0]),
        waveforms=torch.ones(1, 16_000, dtype=torch.int16),
        intervals_s=torch.tensor([[0.2, 0.4]]),
        words=("yes",),
        sample_rate_hz=16_000,
    )
    attention = torch.full((1, 10), 0.05)
    attention[0, 3] = 0.55
    figure = draw_attention(shown, [Looker(name="teacher", kind="teacher", attention=attention)], "title")
    (axes,) = figure.axes
    seconds, heights = axes.lines[-1].get_data()
    assert seconds[heights.argmax()] == pytest.approx(0.35)
    assert axes.patches
