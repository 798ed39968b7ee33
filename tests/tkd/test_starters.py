"""The packaged starter checkpoints, and how they are packed."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.starters import pack
from tests.tkd.conftest import silent
from tkd.audio.features import FeatureConfig
from tkd.checkpoint import STARTERS, load_student, read_checkpoint
from tkd.students import find_student
from tkd.train.config import DataConfig
from tkd.train.corpus import load_corpus

PACKAGED = sorted(STARTERS.glob("*.safetensors"))
DOCS = Path(__file__).parents[2] / "docs" / "students.md"


def test_all_students_of_the_paper_and_bcresnet_have_a_starter_and_together_they_are_small() -> None:
    names = {path.stem for path in PACKAGED}
    assert names >= {"tcresnet8", "tcresnet-kws", "lstm-p", "crnn", "att-rnn", "mhatt-rnn", "bcresnet1"}
    assert sum(path.stat().st_size for path in PACKAGED) < 10e6


@pytest.mark.parametrize("path", PACKAGED, ids=lambda path: path.stem)
def test_a_starter_is_a_whole_student_in_half_precision_that_says_what_it_was_trained_on(path: Path) -> None:
    stored = read_checkpoint(path)
    assert {value.dtype for value in stored.state.values()} <= {torch.float16, torch.int64}
    assert stored.spec.name == path.stem
    assert stored.spec.synthetic
    assert FeatureConfig.from_dict(stored.spec.features).channels > 0
    assert stored.spec.scores["test"]["accuracy"] > 0.9
    features = FeatureConfig.from_dict(stored.spec.features)
    logits = load_student(stored)(torch.zeros(1, features.frames(16_000), features.channels))
    assert logits.isfinite().all()


@pytest.mark.parametrize("path", PACKAGED, ids=lambda path: path.stem)
def test_the_docs_tell_the_accuracy_that_stands_in_the_file(path: Path) -> None:
    scores = read_checkpoint(path).spec.scores
    low, high = scores["test"]["interval_95"]
    tested = f"{100 * scores['test']['accuracy']:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
    (row,) = [line for line in DOCS.read_text().splitlines() if line.startswith(f"| `{path.stem}` |")]
    assert f"| {100 * scores['validation']:.1f} | {tested} |" in row
    assert f"{find_student(path.stem).parameters_with_statistics:,}" in row


def test_packing_rounds_the_weights_and_scores_what_it_packs(trained_run: Path, tmp_path: Path) -> None:
    source = read_checkpoint(trained_run / "student.safetensors")
    corpus = load_corpus(DataConfig(folder=source.spec.data["folder"]), silent)
    told = pack(source, corpus, tmp_path / "packed.safetensors")
    packed = read_checkpoint(tmp_path / "packed.safetensors")
    assert packed.spec.parents["rounded_from_sha256"] == source.sha256
    assert all(torch.equal(packed.state[name], value.half()) for name, value in source.state.items() if value.ndim)
    assert packed.spec.scores["test"]["total"] == len(corpus.stores["test"])
    assert replace(packed.spec, scores={}, parents={}) == replace(source.spec, scores={}, parents={})
    assert told.startswith("tcresnet8: validation ")
