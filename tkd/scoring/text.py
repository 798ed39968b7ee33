"""An evaluation as text for a terminal of 80 columns.

Before this: `tkd.scoring.summary`. After this: `tkd.cli.evaluate` prints it.
Tested in `tests/tkd/scoring/test_summary.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from rich import box
from rich.table import Table

from tkd.provenance import synthetic_words
from tkd.scoring.bootstrap import RESAMPLES, Comparison, Interval
from tkd.scoring.summary import Evaluation, Summary

# More classes do not fit into 80 columns; the most frequent confusions are listed instead.
_LARGEST_MATRIX = 14
_LISTED_CONFUSIONS = 8
_MOST_COLUMNS = 6


def render(evaluation: Evaluation, *, verbose: bool = False) -> Iterator[Table | str]:
    """What to print, part by part; with `verbose` the confusions of every model, not of a single one only."""
    yield from _heading(evaluation)
    yield ""
    yield _models(evaluation)
    for summary in evaluation.summaries:
        if summary.undefined:
            yield f"{summary.model.name}: {summary.undefined} answers are not numbers; each counts as wrong"
    if evaluation.average:
        average = evaluation.average
        yield (
            f"mean of {len(evaluation.summaries)} runs: {100 * average.accuracy:.2f} %, standard deviation "
            f"{100 * average.deviation:.2f} points; ROC area {average.area:.5f}"
        )
    if len(evaluation.summaries) <= _MOST_COLUMNS:
        yield ""
        yield _per_class(evaluation)
    if verbose or len(evaluation.summaries) == 1:
        for summary in evaluation.summaries:
            yield ""
            yield from _confusions(summary)
    if evaluation.comparisons:
        yield ""
        yield _comparisons(evaluation)
        yield from _strangers(evaluation)
    yield ""
    yield from _notes(evaluation)


def _heading(evaluation: Evaluation) -> Iterator[str]:
    clips = evaluation.clips
    protocol = clips.protocol
    yield f"{len(clips.ids):,} clips: {clips.split} split of {protocol.get('name') or 'unknown data'} ({clips.source})"
    if protocol.get("layout") == "folder":
        yield str(protocol.get("protocol"))
    else:
        yield (
            f"{clips.people:,} speakers, {clips.silent:,} clips of silence; silence: {protocol.get('silence')}; "
            f"split by {protocol.get('split_rule')}"
        )
    if protocol.get("synthetic"):
        yield synthetic_words(protocol)
    elif evaluation.synthetic:
        names = [each.model.name for each in evaluation.summaries if each.model.trained_on_synthetic]
        yield f"trained on SYNTHETIC speech (espeak-ng): {', '.join(names)}"


def _models(evaluation: Evaluation) -> Table:
    table = _table("", "model", "runtime")
    for heading in ("\ntop-1 %", "95 %\nWilson", "95 % by\nspeaker", "ROC\narea", f"FRR % at\n{_rate(evaluation)} FA"):
        table.add_column(heading, justify="right", no_wrap=True)
    for number, summary in enumerate(evaluation.summaries, start=1):
        scores = summary.scores
        table.add_row(
            str(number),
            summary.model.name,
            summary.model.runtime.removesuffix(" Runtime"),
            f"{100 * scores.accuracy:.2f}",
            _percent((scores.low, scores.high)),
            _percent(summary.by_speaker),
            f"{summary.roc.area:.5f}",
            f"{100 * summary.false_reject_rate:.2f}",
        )
    return table


def _per_class(evaluation: Evaluation) -> Table:
    """Recall and precision by class for one model, recall alone for several, which are named by their numbers."""
    single = len(evaluation.summaries) == 1
    table = _table("class")
    numbered = [f"recall %\nof {number}" for number in range(1, len(evaluation.summaries) + 1)]
    for heading in ("clips", *(("right", "recall %", "precision %") if single else numbered)):
        table.add_column(heading, justify="right")
    for place, label in enumerate(evaluation.summaries[0].model.labels):
        cells = []
        for summary in evaluation.summaries:
            right, total = summary.scores.per_class[label]
            answered = int(summary.confusion[:, place].sum())
            cells += [str(right), _share(right, total), _share(right, answered)] if single else [_share(right, total)]
        table.add_row(label, str(evaluation.summaries[0].scores.per_class[label][1]), *cells)
    return table


def _confusions(summary: Summary) -> Iterator[Table | str]:
    labels = summary.model.labels
    if len(labels) <= _LARGEST_MATRIX:
        yield f"{summary.model.name}: rows are labels, columns are answers"
        table = Table(box=None, padding=(0, 1, 0, 0))
        for heading in ("", *(label[:5] for label in labels)):
            table.add_column(heading, justify="right", no_wrap=True)
        for label, row in zip(labels, summary.confusion, strict=True):
            table.add_row(label, *(str(count) if count else "·" for count in row))
        yield table
        return
    wrong = summary.confusion - np.diag(summary.confusion.diagonal())
    yield f"{summary.model.name}: most frequent confusions"
    for place in np.argsort(-wrong, axis=None, kind="stable")[:_LISTED_CONFUSIONS]:
        label, answer = np.unravel_index(place, wrong.shape)
        if wrong[label, answer]:
            yield f"  {labels[label]} heard as {labels[answer]}: {wrong[label, answer]}"


def _comparisons(evaluation: Evaluation) -> Table:
    table = _table("", "against 1, on the\nsame clips")
    for heading in ("\npoints", "95 % by\nspeaker", "\nMcNemar p", "only it\nright", "only 1\nright"):
        table.add_column(heading, justify="right", no_wrap=True)
    pairs = zip(evaluation.summaries[1:], evaluation.comparisons, strict=True)
    for number, (summary, comparison) in enumerate(pairs, start=2):
        table.add_row(
            str(number),
            summary.model.name,
            f"{100 * comparison.difference:+.2f}",
            _points(comparison),
            f"{comparison.p_value:.3g}",
            str(comparison.gained),
            str(comparison.lost),
        )
    return table


def _strangers(evaluation: Evaluation) -> Iterator[str]:
    """Models of another checkpoint than the first: what separates them is not the form that they are stored in."""
    parents = [summary.model.parent_sha256 for summary in evaluation.summaries]
    others = [str(place) for place, parent in enumerate(parents, start=1) if parent and parent != parents[0]]
    if parents[0] and others and not evaluation.average:
        yield f"made from another checkpoint than 1: {', '.join(others)}"


def _notes(evaluation: Evaluation) -> Iterator[str]:
    yield (
        f"by speaker: bootstrap of {RESAMPLES:,} draws of whole speakers. ROC area: false rejects over false alarms, "
        f"pooled over classes; 0 is perfect, 0.5 is chance. FRR: share of clips whose own class is rejected where "
        f"{_rate(evaluation)} of the wrong classes are accepted."
    )


def _table(*left: str) -> Table:
    """A table whose first columns, left-aligned, may break anywhere."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for heading in left:
        table.add_column(heading, overflow="fold", vertical="top")
    return table


def _rate(evaluation: Evaluation) -> str:
    return f"{100 * evaluation.false_alarm_rate:g} %"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}" if whole else "–"


def _percent(interval: Interval | None) -> str:
    return "unclear" if interval is None else f"{100 * interval[0]:.1f}–{100 * interval[1]:.1f}"


def _points(comparison: Comparison) -> str:
    if comparison.interval is None:
        return "unclear"
    low, high = comparison.interval
    return f"{100 * low:+.2f} to {100 * high:+.2f}"
