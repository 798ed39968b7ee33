import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tkd.errors import SettingsError
from tkd.scoring.clips import ClipSet
from tkd.scoring.models import Model
from tkd.scoring.summary import Evaluation, evaluate, to_document
from tkd.scoring.text import render

CLASSES = ("_silence_", "yes", "no")


def clip_set(clips: int = 60, classes: int = 3, *, synthetic: bool = False) -> ClipSet:
    labels = np.arange(clips) % classes
    spoken = [f"word/{place // 6}_nohash_0.wav" for place in range(clips)]
    ids = tuple(f"_silence_/zeros-{place:04d}" if label == 0 else spoken[place] for place, label in enumerate(labels))
    speakers = tuple(name if name.startswith("_") else f"{place // 6}" for place, name in enumerate(ids))
    protocol = {"name": "voices", "folder": "/x", "silence": "zeros", "split_rule": "hash", "synthetic": synthetic}
    return ClipSet(source="data set", split="test", ids=ids, speakers=speakers, labels=labels, protocol=protocol,
                   waveforms=None)  # fmt: skip


def model(name: str, labels: tuple[str, ...] = CLASSES, *, synthetic: bool | None = None, parent: str = "") -> Model:
    return Model(
        name=name, path=Path(name), sha256="0" * 64, parent_sha256=parent,
        runtime="LiteRT", precision="int8", labels=labels, features=None,
        channel_scale=None, run=lambda inputs: inputs, trained_on={}, trained_on_synthetic=synthetic,
    )  # fmt: skip


def logits(clips: ClipSet, classes: int = 3, strength: float = 1.5, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(len(clips.ids), classes))
    return ((clips.labels[:, None] == np.arange(classes)) * strength + noise).astype(np.float32)


def text_of(evaluation: Evaluation, *, verbose: bool = False, width: int = 80) -> str:
    console = Console(width=width, highlight=False)
    with console.capture() as capture:
        for part in render(evaluation, verbose=verbose):
            console.print(part)
    return capture.get()


def test_counts_of_confusion_predictions_and_scores_agree() -> None:
    clips = clip_set()
    (found,) = evaluate([model("a")], [logits(clips)], clips, 0.01).summaries
    assert found.confusion.sum() == 60
    assert found.confusion.trace() == found.scores.correct == (found.predicted == clips.labels).sum()
    assert found.confusion.sum(axis=1).tolist() == [20, 20, 20]


def test_answers_that_are_not_numbers_are_wrong_in_no_column_and_said_to_be_so() -> None:
    clips = clip_set()
    values = logits(clips, strength=50.0)
    values[:6, 1] = np.nan

    evaluation = evaluate([model("a")], [values], clips, 0.01)

    (found,) = evaluation.summaries
    assert (found.scores.correct, found.undefined, found.confusion.sum()) == (54, 6, 54)
    assert found.predicted[:6].tolist() == [-1] * 6
    assert found.false_reject_rate == pytest.approx(0.1)
    assert "a: 6 answers are not numbers; each counts as wrong" in text_of(evaluation)
    json.dumps(to_document(evaluation), allow_nan=False)


def test_a_model_that_never_answers_has_no_accuracy_and_half_the_area() -> None:
    clips = clip_set()
    evaluation = evaluate([model("a")], [np.full((60, 3), np.nan, np.float32)], clips, 0.01)
    (found,) = evaluation.summaries
    assert (found.scores.correct, found.roc.area, found.false_reject_rate, found.by_speaker) == (0, 0.5, 1.0, None)
    assert "unclear" in text_of(evaluation)


def test_the_document_can_be_counted_again_from_its_predictions() -> None:
    clips = clip_set()
    evaluation = evaluate([model("a"), model("b")], [logits(clips), logits(clips, seed=1)], clips, 0.02)

    document = json.loads(json.dumps(to_document(evaluation), allow_nan=False))

    assert (document["format"], document["synthetic"], document["labels"]) == ("tkd.scores/1", False, list(CLASSES))
    assert document["clips"] | {"list_sha256": ""} == {
        "source": "data set", "split": "test", "total": 60, "speakers": 10, "silence_clips": 20, "list_sha256": "",
        "name": "voices", "folder": "/x", "silence": "zeros", "split_rule": "hash", "synthetic": False,
    }  # fmt: skip
    for entry in document["models"]:
        right = sum(a == b for a, b in zip(entry["predicted"], document["expected"], strict=True))
        assert (right, 60) == (entry["correct"], entry["total"])
    (compared,) = document["comparisons"]
    accuracies = [entry["accuracy"] for entry in document["models"]]
    assert compared["difference"] == pytest.approx(accuracies[1] - accuracies[0], abs=1e-6)
    assert (compared["candidate"], compared["baseline"]) == ("b", "a")


def test_runs_are_averaged_and_a_single_one_is_not() -> None:
    clips = clip_set()
    runs = [model(f"run{seed}") for seed in range(3)]
    evaluation = evaluate(runs, [logits(clips, seed=seed) for seed in range(3)], clips, 0.01, are_runs=True)

    assert evaluation.average is not None
    assert evaluation.average.accuracy == pytest.approx(np.mean([s.scores.accuracy for s in evaluation.summaries]))
    assert evaluation.average.area == pytest.approx(np.mean([s.roc.area for s in evaluation.summaries]))
    assert "mean of 3 runs: " in text_of(evaluation)
    assert to_document(evaluation)["average"]["roc"]["area"] == evaluation.average.area
    with pytest.raises(SettingsError, match="expected two or more runs"):
        evaluate(runs[:1], [logits(clips)], clips, 0.01, are_runs=True)


def test_the_text_states_the_protocol_and_fits_80_columns() -> None:
    clips = clip_set()
    names = ["tcresnet8-float32", "a-student-with-a-rather-long-name-int8", "x"]
    values = [logits(clips, seed=seed) for seed in range(3)]

    text = text_of(evaluate([model(name) for name in names], values, clips, 0.05), verbose=True)

    assert text.startswith("60 clips: test split of voices (data set)\n10 speakers, 20 clips of silence; "
                           "silence: zeros; split by hash\n")  # fmt: skip
    assert "FRR % at" in text
    assert "5 % FA" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text


@pytest.mark.parametrize(("data", "trained", "sentence"), [
    (True, None, "SYNTHETIC speech (espeak-ng): these numbers say nothing about people's voices"),
    (False, True, "trained on SYNTHETIC speech (espeak-ng): a"),
    (False, False, ""),
])  # fmt: skip
def test_synthetic_speech_is_named_wherever_it_is(data: bool, trained: bool | None, sentence: str) -> None:
    clips = clip_set(synthetic=data)
    evaluation = evaluate([model("a", synthetic=trained)], [logits(clips)], clips, 0.01)
    text = text_of(evaluation)
    assert (sentence in text, "SYNTHETIC" in text) == (True, bool(sentence))
    assert to_document(evaluation)["synthetic"] is bool(sentence)


@pytest.mark.parametrize(("parents", "others"), [("aba", "2"), ("abc", "2, 3"), ("aa", ""), ("", "")])
def test_models_of_another_checkpoint_than_the_first_are_named(parents: str, others: str) -> None:
    clips = clip_set()
    models = [model(str(place), parent=parent) for place, parent in enumerate(parents or ("", "b"))]

    text = text_of(evaluate(models, [logits(clips)] * len(models), clips, 0.01))

    assert (f"made from another checkpoint than 1: {others}\n" in text) is bool(others)


def test_many_classes_list_their_confusions_instead_of_a_matrix() -> None:
    names = tuple(f"word{place}" for place in range(35))
    clips = dataclasses.replace(clip_set(350, 35))
    values = logits(clips, 35, strength=20.0)
    values[clips.labels == 4, 7] = 99.0

    text = text_of(evaluate([model("a", names)], [values], clips, 0.01))

    assert "a: most frequent confusions\n  word4 heard as word7: 10\n" in text
    assert max(map(len, text.splitlines())) <= 80
