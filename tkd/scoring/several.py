"""From logits to everything that `tkd-eval` says of models whose clips have several labels each; `tkd.scores/1`.

Before this: `tkd.scoring.clips`. After this: `tkd.cli.evaluate` prints it and `tkd.scoring.plots` draws it.
Its sibling for one label a clip is `tkd.scoring.summary`. Definitions: docs/evaluation.md.
Tested in `tests/tkd/scoring/test_several.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.table import Table

from tkd.errors import SettingsError
from tkd.evaluate import MultiLabelScores, score_several
from tkd.provenance import synthetic_words
from tkd.scoring.bootstrap import PRECISION_RESAMPLES, SEED, Interval, corrected_interval, precision_draws
from tkd.scoring.clips import ClipSet
from tkd.scoring.detection import ranked_last
from tkd.scoring.models import Model
from tkd.scoring.summary import clips_document, model_document, tools_document

_LISTED_CLASSES = 20
_NAMED_COLUMNS = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PrecisionSummary:
    """One model on the clips.

    Attributes:
        model: which.
        scores: mean average precision, and average precision by class.
        interval: 95 %, by bootstrap of clips (of speakers where they are known); None when it says nothing.
        undefined: clips whose logits hold a NaN or an infinity; they rank last in every class.
    """

    model: Model
    scores: MultiLabelScores
    interval: Interval | None
    undefined: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionComparison:
    """A model against the first on the same clips: the difference of their values, and its paired 95 % interval."""

    difference: float
    interval: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PrecisionEvaluation:
    """What one call of `tkd-eval` found on clips with several labels each.

    Attributes:
        clips: what was scored on.
        positives: clips of each class, shape (classes,).
        summaries: one a model, in the order of the call.
        comparisons: each later model against the first.
        are_runs: the models are runs of one network, whose mean is shown too.
    """

    clips: ClipSet
    positives: NDArray[np.int64]
    summaries: tuple[PrecisionSummary, ...]
    comparisons: tuple[PrecisionComparison, ...]
    are_runs: bool

    @property
    def synthetic(self) -> bool:
        """Whether the clips, or what a model was trained on, are synthetic; every output says so."""
        trained = any(summary.model.trained_on_synthetic for summary in self.summaries)
        return bool(self.clips.protocol.get("synthetic")) or trained

    @property
    def values(self) -> list[float]:
        """Mean average precision of each model, in [0, 1]."""
        return [summary.scores.value for summary in self.summaries]


def evaluate_several(
    models: Sequence[Model], logits: Sequence[np.ndarray], clips: ClipSet, *, are_runs: bool = False
) -> PrecisionEvaluation:
    """Scores of each model and comparisons with the first.

    Args:
        models: in the order of the call.
        logits: of each model, shape (clips, classes).
        clips: what they were computed on, with labels of shape (clips, classes).
        are_runs: the models are runs of one network.

    Raises:
        SettingsError: a single run cannot be averaged, or no clip has any label.
    """
    if are_runs and len(models) < 2:
        raise SettingsError("there is one model; expected two or more runs to average")
    truth = np.asarray(clips.labels > 0)
    present = truth.any(axis=0)
    if not present.any():
        raise SettingsError(f"none of the {len(truth)} clips has a label; expected at least one; choose another split")
    summaries, draws = [], []
    for model, values in zip(models, logits, strict=True):
        scores = score_several(values, clips.labels, model.labels)
        drawn = precision_draws(ranked_last(values)[:, present], truth[:, present], clips.speakers)
        draws.append(drawn)
        undefined = int((~np.isfinite(values).all(axis=1)).sum())
        interval = corrected_interval(scores.value, drawn)
        summaries.append(PrecisionSummary(model=model, scores=scores, interval=interval, undefined=undefined))
    comparisons = []
    for summary, drawn in zip(summaries[1:], draws[1:], strict=True):
        difference = summary.scores.value - summaries[0].scores.value
        interval = corrected_interval(difference, drawn - draws[0], lowest=-1.0)
        comparisons.append(PrecisionComparison(difference=difference, interval=interval))
    return PrecisionEvaluation(
        clips=clips,
        positives=truth.sum(axis=0),
        summaries=tuple(summaries),
        comparisons=tuple(comparisons),
        are_runs=are_runs,
    )


def document_of(evaluation: PrecisionEvaluation) -> dict[str, Any]:
    """The content of a `tkd.scores/1` file."""
    clips, labels = evaluation.clips, evaluation.summaries[0].model.labels
    values = evaluation.values
    return {
        **clips_document(clips, synthetic=evaluation.synthetic),
        "method": {
            "metric": "macro average of scikit-learn's average precision over the classes that some clip has",
            "interval": "normal, less the bootstrap's bias",
            "resamples": PRECISION_RESAMPLES,
            "seed": SEED,
            "resampled": "speakers where they are known, else clips",
        },
        "labels": list(labels),
        "positives": dict(zip(labels, evaluation.positives.tolist(), strict=True)),
        "models": [
            {**model_document(summary.model), **summary.scores.to_dict(), "interval_95": summary.interval,
             "undefined": summary.undefined}
            for summary in evaluation.summaries
        ],
        "comparisons": [
            {"candidate": summary.model.name, "baseline": evaluation.summaries[0].model.name,
             "difference": comparison.difference, "interval": comparison.interval}
            for summary, comparison in zip(evaluation.summaries[1:], evaluation.comparisons, strict=True)
        ],
        "average": {"mean_average_precision": float(np.mean(values)), "deviation": float(np.std(values, ddof=1))}
        if evaluation.are_runs
        else None,
        "ids": list(clips.ids),
        "expected": [np.flatnonzero(row).tolist() for row in clips.labels],
        **tools_document(),
    }  # fmt: skip


def render_several(evaluation: PrecisionEvaluation, *, verbose: bool = False) -> Iterator[Table | str]:
    """What to print, part by part; with `verbose` every class, not only the worst."""
    clips = evaluation.clips
    yield f"{len(clips.ids):,} clips: {clips.split} split of {clips.protocol.get('name')} ({clips.source})"
    yield str(clips.protocol.get("protocol") or f"{len(evaluation.positives)} classes, several a clip")
    if clips.protocol.get("synthetic"):
        yield synthetic_words({**clips.protocol, "multi_label": True})
    elif evaluation.synthetic:
        names = [each.model.name for each in evaluation.summaries if each.model.trained_on_synthetic]
        yield f"trained on SYNTHETIC sound events: {', '.join(names)}"
    yield ""
    yield _models(evaluation)
    for summary in evaluation.summaries:
        if summary.undefined:
            yield f"{summary.model.name}: {summary.undefined} answers are not numbers; each ranks last in every class"
    if evaluation.are_runs:
        deviation = 100 * np.std(evaluation.values, ddof=1)
        yield (
            f"mean of {len(evaluation.values)} runs: {100 * np.mean(evaluation.values):.2f} %, standard deviation "
            f"{deviation:.2f} points"
        )
    yield ""
    yield _classes(evaluation, most=len(evaluation.positives) if verbose else _LISTED_CLASSES)
    if len(evaluation.positives) > _LISTED_CLASSES and not verbose:
        yield f"the worst {_LISTED_CLASSES} of {len(evaluation.positives)} classes; -v or --json lists all"
    yield ""
    left_out = evaluation.summaries[0].scores.left_out
    yield (
        f"mAP: mean over {len(evaluation.positives) - left_out} classes of average precision"
        f"{f'; {left_out} classes that no clip has are left out' if left_out else ''}. Intervals: bootstrap of "
        f"{PRECISION_RESAMPLES} draws of {'whole speakers' if _are_grouped(clips) else 'clips'}, less its bias."
    )


def _models(evaluation: PrecisionEvaluation) -> Table:
    table = _table("", "model", "runtime")
    for heading in ("mAP %", "95 %", "points\nagainst 1", "95 %,\npaired"):
        table.add_column(heading, justify="right", no_wrap=True)
    against: list[tuple[str, str]] = [("", "")]
    against += [(f"{100 * each.difference:+.2f}", _span(each.interval, sign="+")) for each in evaluation.comparisons]
    for number, (summary, cells) in enumerate(zip(evaluation.summaries, against, strict=True), start=1):
        model, value = summary.model, f"{100 * summary.scores.value:.2f}"
        table.add_row(
            str(number), model.name, model.runtime.removesuffix(" Runtime"), value, _span(summary.interval), *cells
        )
    return table


def _classes(evaluation: PrecisionEvaluation, most: int) -> Table:
    """Average precision by class, the worst of the first model first; more models than columns show the first ones."""
    shown = evaluation.summaries[:_NAMED_COLUMNS]
    table = _table("class")
    table.add_column("clips", justify="right")
    for number in range(1, len(shown) + 1):
        table.add_column("AP %" if len(shown) == 1 else f"AP %\nof {number}", justify="right")
    first = shown[0].scores.per_class
    order = sorted(first, key=lambda label: (first[label] is None, first[label] or 0.0))
    positives = dict(zip(first, evaluation.positives, strict=True))
    for label in order[:most]:
        cells = [each.scores.per_class[label] for each in shown]
        table.add_row(
            label, str(positives[label]), *("–" if value is None else f"{100 * value:.1f}" for value in cells)
        )
    return table


def _table(*left: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for heading in left:
        table.add_column(heading, overflow="fold", vertical="top")
    return table


def _span(interval: Interval | None, sign: str = "") -> str:
    if interval is None:
        return "unclear"
    low, high = (f"{100 * end:{sign}.1f}" for end in interval)
    return f"{low} to {high}" if sign else f"{low}–{high}"


def _are_grouped(clips: ClipSet) -> bool:
    return len(set(clips.speakers)) < len(clips.speakers)
