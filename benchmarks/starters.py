"""Packs students as starter checkpoints, and teachers of benchmarks: weights in half precision, scored as packed.

    tkd-data synth --out data/starter --clips 24000 --seed 1
    tkd-train starter --set student.name=crnn --set run=runs/starter-crnn …     (docs/students.md has every line)
    python -m benchmarks.starters --data data/starter runs/starter-crnn …       → tkd/starter/crnn.safetensors
    python -m benchmarks.starters --data data/grid/noisy-8 --output benchmarks/teachers TEACHER.safetensors

The header keeps where a student comes from; the scores in it are those of the rounded weights, on the same splits.
Tested in `tests/tkd/test_starters.py`, which also holds what is packaged against the limits.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from converters.command_line import progress
from tkd.audio.batched import features_of
from tkd.audio.features import FeatureConfig, FrontEnd
from tkd.checkpoint import STARTERS, Checkpoint, load_student, read_checkpoint, write_checkpoint
from tkd.evaluate import MultiLabelScores, Scores, predict, score_any
from tkd.train.config import DataConfig
from tkd.train.corpus import Corpus, load_corpus
from tkd.train.objectives import on_pcm
from tkd.train.teaching import load_teacher


def pack(source: Checkpoint, corpus: Corpus, path: Path) -> str:
    """Writes the starter, whole or not at all; the line that a table of starters has for it."""
    rounded = replace(source, state={name: _half(value) for name, value in source.state.items()})
    scores = {split: _scores(rounded, corpus, split) for split in ("validation", "test")}
    spec = replace(
        source.spec,
        scores={**source.spec.scores, "validation": scores["validation"].value, "test": scores["test"].to_dict()},
        parents={**source.spec.parents, "rounded_from_sha256": source.sha256},
    )
    write_checkpoint(path, spec, rounded.state)
    before = source.spec.scores["test"]["accuracy"]
    return (
        f"{source.spec.name}: validation {100 * scores['validation'].value:.1f} %, test {scores['test']} "
        f"(before rounding {100 * before:.1f} %), {path.stat().st_size / 1e3:.0f} kB"
    )


def _scores(stored: Checkpoint, corpus: Corpus, split: str) -> Scores | MultiLabelScores:
    store = corpus.stores[split]
    if stored.spec.kind == "teacher":
        logits = predict(on_pcm(load_teacher(stored, corpus.labels)), store.waveforms)
    else:
        front_end = FrontEnd(FeatureConfig.from_dict(stored.spec.features))
        logits = predict(load_student(stored), features_of(store.waveforms, front_end))
    return score_any(logits, store.labels.numpy(), corpus.labels)


def _half(value: Tensor) -> Tensor:
    return value.half() if value.is_floating_point() else value


def main(argv: Sequence[str] | None = None) -> None:
    """Packs the checkpoints that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="completed runs, or checkpoints")
    parser.add_argument("--data", type=Path, required=True, help="the corpus that they were trained on")
    parser.add_argument("--output", type=Path, default=STARTERS, help="default: %(default)s")
    options = parser.parse_args(argv)
    corpus = load_corpus(DataConfig(folder=str(options.data), silence="noise"), progress)
    for run in options.runs:
        source = read_checkpoint(run / "student.safetensors" if run.is_dir() else run)
        known = {key: source.spec.data[key] for key in ("clips", "fingerprint") if key in source.spec.data}
        if any(corpus.description[key] != value for key, value in known.items()):
            raise SystemExit(f"{run} was trained on {known}, {options.data} has others")
        name = source.spec.name if source.spec.kind == "student" else f"teacher-{corpus.description['clip_seconds']:g}s"
        print(pack(source, corpus, options.output / f"{name}.safetensors"))


if __name__ == "__main__":
    main()
