import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from rich.console import Console
from sklearn.metrics import average_precision_score

from tests.tkd.scoring.test_summary import model
from tkd.cli.evaluate import main
from tkd.data.events import EventSettings, make_events
from tkd.errors import SettingsError
from tkd.scoring.bootstrap import corrected_interval, precision_draws
from tkd.scoring.clips import ClipSet
from tkd.scoring.plots import draw_precisions
from tkd.scoring.several import document_of, evaluate_several, render_several

CLASSES = ("bell", "dog", "horn")


def clip_set(clips: int = 90, classes: int = 3, *, synthetic: bool = False, share: float = 0.3) -> ClipSet:
    labels = (np.random.default_rng(5).random((clips, classes)) < share).astype(np.float32)
    labels[np.arange(classes), np.arange(classes)] = 1.0
    ids = tuple(f"FSD50K.eval_audio/{place}.wav" for place in range(clips))
    protocol = {"name": "events", "layout": "fsd50k", "synthetic": synthetic, "multi_label": True}
    return ClipSet(source="data set", split="test", ids=ids, speakers=ids, labels=labels, protocol=protocol,
                   waveforms=None)  # fmt: skip


def logits(clips: ClipSet, strength: float = 1.5, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=clips.labels.shape)
    return (clips.labels * strength + noise).astype(np.float32)


def text_of(evaluation: Any, *, verbose: bool = False) -> str:
    console = Console(width=80, highlight=False)
    with console.capture() as capture:
        for part in render_several(evaluation, verbose=verbose):
            console.print(part)
    return capture.get()


def test_the_value_is_scikit_learns_and_lies_in_its_interval() -> None:
    clips = clip_set()
    values = logits(clips)

    (found,) = evaluate_several([model("a", CLASSES)], [values], clips).summaries

    assert average_precision_score(clips.labels, values, average="macro") == pytest.approx(found.scores.value)
    assert found.interval is not None
    low, high = found.interval
    assert 0.0 <= low < found.scores.value < high <= 1.0


@pytest.mark.parametrize("decimals", [0, 1, 5])
def test_a_draw_has_scikit_learns_precision_under_its_weights_ties_included(decimals: int) -> None:
    clips = clip_set(40)
    scores = logits(clips).round(decimals).astype(np.float64)
    truth = clips.labels > 0
    weights = np.random.default_rng(7).multinomial(40, np.full(40, 1 / 40)).astype(float)

    # The first draw of this seed has these very weights, by members in the order of their sorted names.
    _, members = np.unique(np.asarray(clips.speakers), return_inverse=True)
    (drawn,) = precision_draws(scores, truth, clips.speakers, resamples=1, seed=7)

    each = [average_precision_score(truth[:, c], scores[:, c], sample_weight=weights[members]) for c in range(3)]
    assert np.mean(each) == pytest.approx(drawn)


def test_the_interval_covers_the_truth_in_about_19_of_20_samples() -> None:
    """Of 300 clips with a tenth of them in each class; the truth is the value of 200,000 clips."""
    rng = np.random.default_rng(3)

    def sample(clips: int) -> tuple[np.ndarray, np.ndarray]:
        truth = rng.random((clips, 4)) < 0.1
        return rng.normal(size=truth.shape) + 2.0 * truth, truth

    scores, truth = sample(200_000)
    expected = average_precision_score(truth, scores, average="macro")
    covered = 0
    for _ in range(60):
        scores, truth = sample(300)
        value = float(average_precision_score(truth, scores, average="macro"))
        drawn = precision_draws(scores, truth, [str(place) for place in range(300)], resamples=150)
        low, high = corrected_interval(value, drawn) or (2.0, 2.0)
        covered += low <= expected <= high
    assert 51 <= covered <= 60


def test_a_model_that_is_right_about_everything_has_no_interval() -> None:
    clips = clip_set()
    (found,) = evaluate_several([model("a", CLASSES)], [clips.labels * 9.0], clips).summaries
    assert (1.0, None) == (found.scores.value, found.interval)


def test_two_models_are_compared_on_the_same_draws() -> None:
    clips = clip_set(200)
    good, same, bad = logits(clips, 2.0), logits(clips, 2.0) + 1.0, logits(clips, 0.0, seed=9)

    evaluation = evaluate_several([model(name, CLASSES) for name in "abc"], [good, same, bad], clips, are_runs=True)

    first, second = evaluation.comparisons
    assert (0.0, None) == (first.difference, first.interval)
    assert second.interval is not None
    assert second.interval[1] < 0
    assert second.interval[0] < second.difference < second.interval[1]
    assert document_of(evaluation)["average"]["mean_average_precision"] == pytest.approx(np.mean(evaluation.values))
    assert "mean of 3 runs" in text_of(evaluation)


def test_a_class_that_no_clip_has_is_left_out_and_said_to_be() -> None:
    clips = clip_set()
    clips.labels[:, 1] = 0.0
    evaluation = evaluate_several([model("a", CLASSES)], [logits(clips)], clips)

    document = json.loads(json.dumps(document_of(evaluation), allow_nan=False))

    assert (1, None) == (document["models"][0]["classes_left_out"], document["models"][0]["per_class"]["dog"])
    assert "1 classes that no clip has are left out" in " ".join(text_of(evaluation).split())


def test_clips_without_any_label_are_refused() -> None:
    clips = clip_set()
    clips.labels[:] = 0.0
    with pytest.raises(SettingsError, match="none of the 90 clips has a label; expected at least one"):
        evaluate_several([model("a", CLASSES)], [logits(clips)], clips)


def test_answers_that_are_not_numbers_rank_last_and_are_counted() -> None:
    clips = clip_set()
    values = logits(clips, 50.0)
    values[:4, 0] = np.nan

    evaluation = evaluate_several([model("a", CLASSES)], [values], clips)

    assert (4, True) == (evaluation.summaries[0].undefined, evaluation.summaries[0].scores.value < 1.0)
    assert "a: 4 answers are not numbers; each ranks last in every class" in text_of(evaluation)


def test_many_classes_show_the_worst_and_verbose_shows_all() -> None:
    clips = clip_set(classes=30)
    names = tuple(f"class{place}" for place in range(30))
    evaluation = evaluate_several([model("a", names)], [logits(clips)], clips)
    assert "the worst 20 of 30 classes; -v or --json lists all" in text_of(evaluation)
    assert all(f"{name} " in text_of(evaluation, verbose=True) for name in names)


def test_the_picture_has_ink(tmp_path: Path) -> None:
    clips = clip_set()
    evaluation = evaluate_several([model("a", CLASSES), model("b", CLASSES)], [logits(clips)] * 2, clips)
    draw_precisions(evaluation, tmp_path / "precision.png")
    assert np.unique(imread(tmp_path / "precision.png")[..., 0]).size > 20


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scored") / "events"
    make_events(folder, EventSettings(clips=160), lambda _done: None)
    return folder


def test_a_checkpoint_and_its_bundles_are_scored_end_to_end(
    events: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tkd.cli.export import main as export
    from tkd.cli.train import main as train

    config = tmp_path / "events.toml"
    config.write_text(
        f'run = "{tmp_path / "run"}"\n[data]\nfolder = "{events}"\nkind = "fsd50k"\ncrop = "start"\n'
        '[student]\nname = "tcresnet8"\n[student_fit]\nsteps = 40\nbatch_size = 32\nvalidate_every = 20\n'
        "learning_rate = 5e-3\n[distill]\nlambdas = [0.0]\n"
    )
    assert 0 == train([str(config), "-q"])
    checkpoint, exports = tmp_path / "run" / "student.safetensors", tmp_path / "exports"
    loose = ["--min-sqnr-db", "5", "--max-accuracy-drop", "100"]
    assert 0 == export(["--checkpoint", str(checkpoint), "--int8", "--output", str(exports), "--pack-anyway", *loose])
    packed, read = exports / "tcresnet8-int8", exports / "tcresnet8-float32"
    capsys.readouterr()

    # On the pack, then on the data set, whose crop the bundle remembers.
    assert 0 == main([str(packed), "-q", "--json", "-"])
    document = json.loads(capsys.readouterr().out)
    recorded = json.loads((packed / "model.json").read_text())["accuracy"]["evaluation_pack"]["int8"]
    assert recorded["mean_average_precision"] == document["models"][0]["mean_average_precision"]
    assert 0 == main([str(read), str(read / "model.onnx"), "--data", str(events), "--output", str(tmp_path / "out")])
    out = capsys.readouterr().out
    assert "SYNTHETIC sound events" in out
    assert "cut (start)" in " ".join(out.split())
    assert ["precision.png", "scores.json"] == sorted(path.name for path in (tmp_path / "out").iterdir())
    assert 0 == main([str(checkpoint), "-q", "--json", str(tmp_path / "s.json")])
    whole = json.loads((tmp_path / "s.json").read_text())["models"][0]
    floats = json.loads((tmp_path / "out" / "scores.json").read_text())["models"][0]
    assert floats["mean_average_precision"] == pytest.approx(whole["mean_average_precision"], abs=1e-6)
    assert 2 == main([str(checkpoint), "--silence", "zeros", "-q"])
    assert "has no clips of silence; leave --silence out" in capsys.readouterr().err
