"""From logits to everything that `tkd-eval` says of a model and of pairs of models; format `tkd.scores/1`.

Before this: `tkd.scoring.clips`. After this: `tkd.cli.evaluate` prints it and `tkd.scoring.plots` draws it.
Tested in `tests/tkd/scoring/test_summary.py`. Definitions: docs/evaluation.md.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tkd.errors import SettingsError
from tkd.evaluate import Scores, score
from tkd.provenance import git_state, tool_versions
from tkd.scoring.bootstrap import CONFIDENCE, RESAMPLES, SEED, Comparison, Interval, compare, interval_by_group
from tkd.scoring.clips import ClipSet
from tkd.scoring.detection import Roc, log_posteriors, one_hot, roc, vertical_average
from tkd.scoring.models import Model

FORMAT = "tkd.scores/1"
# False-alarm rates that a curve is written at: zero, then twenty a decade.
CURVE_GRID = np.concatenate([[0.0], np.geomspace(1e-4, 1.0, 81)])
_TOOLS = ("torch", "onnxruntime", "ai-edge-litert", "numpy", "scipy")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Summary:
    """One model on the clips.

    Attributes:
        model: which.
        scores: counts and Wilson interval.
        by_speaker: bootstrap interval of the accuracy by speaker; None when it says nothing.
        predicted: class indices, shape (clips,); -1 where the answer is undefined.
        confusion: clips by (label, prediction), shape (classes, classes); undefined answers are in no column.
        roc: pooled over classes.
        false_reject_rate: at the false-alarm rate that was asked for.
    """

    model: Model
    scores: Scores
    by_speaker: Interval | None
    predicted: NDArray[np.int64]
    confusion: NDArray[np.int64]
    roc: Roc
    false_reject_rate: float

    @property
    def undefined(self) -> int:
        """Clips whose logits hold a NaN or an infinity; each counts as wrong."""
        return int((self.predicted < 0).sum())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Average:
    """Several runs of one network, as papers report them.

    Attributes:
        accuracy: mean over runs, in [0, 1].
        deviation: sample standard deviation of the accuracies over runs.
        area: mean area over runs, which is the area of the vertical average.
        roc: the vertical average at `CURVE_GRID`.
    """

    accuracy: float
    deviation: float
    area: float
    roc: Roc


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """What one call of `tkd-eval` found.

    Attributes:
        clips: what was scored on.
        summaries: one a model, in the order of the call.
        comparisons: each later model against the first.
        false_alarm_rate: what false rejects were read at.
        average: what the models have in common when they are runs of one network; None when they are not.
    """

    clips: ClipSet
    summaries: tuple[Summary, ...]
    comparisons: tuple[Comparison, ...]
    false_alarm_rate: float
    average: Average | None

    @property
    def synthetic(self) -> bool:
        """Whether the clips, or what a model was trained on, are synthetic; every output says so."""
        trained = any(summary.model.trained_on_synthetic for summary in self.summaries)
        return bool(self.clips.protocol.get("synthetic")) or trained


def evaluate(
    models: Sequence[Model],
    logits: Sequence[np.ndarray],
    clips: ClipSet,
    false_alarm_rate: float,
    *,
    are_runs: bool = False,
) -> Evaluation:
    """Scores of each model and comparisons with the first.

    Args:
        models: in the order of the call.
        logits: of each model, shape (clips, classes).
        clips: what they were computed on.
        false_alarm_rate: in [0, 1].
        are_runs: the models are runs of one network, and are averaged too.

    Raises:
        SettingsError: a single run cannot be averaged.
    """
    if are_runs and len(models) < 2:
        raise SettingsError("there is one model; expected two or more runs to average")
    summaries = tuple(
        summarise(model, values, clips, false_alarm_rate) for model, values in zip(models, logits, strict=True)
    )
    right = [summary.predicted == clips.labels for summary in summaries]
    return Evaluation(
        clips=clips,
        summaries=summaries,
        comparisons=tuple(compare(candidate, right[0], clips.speakers) for candidate in right[1:]),
        false_alarm_rate=false_alarm_rate,
        average=_average(summaries) if are_runs else None,
    )


def summarise(model: Model, logits: np.ndarray, clips: ClipSet, false_alarm_rate: float) -> Summary:
    """Everything that is said of one model; logits of shape (clips, classes)."""
    classes = len(model.labels)
    defined = np.isfinite(logits).all(axis=1)
    predicted = np.where(defined, np.where(defined[:, None], logits, 0).argmax(axis=1), -1)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (clips.labels[defined], predicted[defined]), 1)
    curve = roc(log_posteriors(logits), one_hot(clips.labels, classes))
    return Summary(
        model=model,
        scores=score(logits, clips.labels, model.labels),
        by_speaker=interval_by_group(predicted == clips.labels, clips.speakers),
        predicted=predicted,
        confusion=confusion,
        roc=curve,
        false_reject_rate=float(curve.false_reject_at(np.array(false_alarm_rate))),
    )


def to_document(evaluation: Evaluation) -> dict[str, Any]:
    """The content of a `tkd.scores/1` file, every prediction included."""
    clips = evaluation.clips
    return {
        **clips_document(clips, synthetic=evaluation.synthetic),
        "method": {
            "confidence": CONFIDENCE,
            "resamples": RESAMPLES,
            "seed": SEED,
            "resampled": "speakers; each clip of silence is one of its own",
            "roc": "micro-average over classes of the softmax; false rejects over false alarms, less area is better",
            "false_alarm_rate": evaluation.false_alarm_rate,
        },
        "labels": list(evaluation.summaries[0].model.labels),
        "models": [_of_summary(summary) for summary in evaluation.summaries],
        "comparisons": [
            {
                "candidate": summary.model.name,
                "baseline": evaluation.summaries[0].model.name,
                **dataclasses.asdict(comparison),
            }
            for summary, comparison in zip(evaluation.summaries[1:], evaluation.comparisons, strict=True)
        ],
        "average": _of_average(evaluation.average) if evaluation.average else None,
        "ids": list(clips.ids),
        "expected": clips.labels.tolist(),
        **tools_document(),
    }


def clips_document(clips: ClipSet, *, synthetic: bool) -> dict[str, Any]:
    """The beginning of every `tkd.scores/1` file: its format, and what was scored on."""
    return {
        "format": FORMAT,
        "synthetic": synthetic,
        "clips": {
            "source": clips.source,
            "split": clips.split,
            "total": len(clips.ids),
            "speakers": clips.people,
            "silence_clips": clips.silent,
            "list_sha256": hashlib.sha256("\n".join(clips.ids).encode()).hexdigest(),
            **clips.protocol,
        },
    }


def tools_document() -> dict[str, Any]:
    """Its end: what wrote it."""
    return {"tools": tool_versions(_TOOLS), "git": git_state()}


def model_document(model: Model) -> dict[str, Any]:
    """What such a file says of a model beside its scores."""
    return {
        "name": model.name,
        "path": str(model.path),
        "sha256": model.sha256,
        "checkpoint_sha256": model.parent_sha256 or None,
        "runtime": model.runtime,
        "precision": model.precision,
        "front_end": model.features.to_dict() if model.features else {"in_graph": True},
        "channel_scale": None if model.channel_scale is None else model.channel_scale.tolist(),
        "trained_on": model.trained_on.get("name"),
        "trained_on_synthetic": model.trained_on_synthetic,
    }


def _of_summary(summary: Summary) -> dict[str, Any]:
    return {
        **model_document(summary.model),
        **summary.scores.to_dict(),
        "interval_95_by_speaker": summary.by_speaker,
        "undefined": summary.undefined,
        "roc": {
            "area": summary.roc.area,
            **_curve(summary.roc),
        },
        "false_reject_rate": summary.false_reject_rate,
        "confusion": summary.confusion.tolist(),
        "predicted": summary.predicted.tolist(),
    }


def _average(summaries: Sequence[Summary]) -> Average:
    accuracies = [summary.scores.accuracy for summary in summaries]
    return Average(
        accuracy=float(np.mean(accuracies)),
        deviation=float(np.std(accuracies, ddof=1)),
        area=float(np.mean([summary.roc.area for summary in summaries])),
        roc=vertical_average([summary.roc for summary in summaries], CURVE_GRID),
    )


def _of_average(average: Average) -> dict[str, Any]:
    return {
        "accuracy": average.accuracy,
        "deviation": average.deviation,
        "roc": {"area": average.area, **_curve(average.roc)},
    }


def _curve(curve: Roc) -> dict[str, list[float]]:
    return {
        "false_alarm": CURVE_GRID.round(8).tolist(),
        "false_reject": curve.false_reject_at(CURVE_GRID).round(8).tolist(),
    }
