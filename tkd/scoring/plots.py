"""Confusion matrices, ROC curves and average precisions as PNG.

Before this: `tkd.scoring.summary` and `tkd.scoring.several`. After this: `tkd.cli.evaluate --output`.
Colours keep their order without hue: one-hue shades for matrices, Okabe and Ito's palette with line styles for curves.
Tested in `tests/tkd/scoring/test_plots.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

# Its own figures and its own canvas, not pyplot: nothing global changes and no display is asked for.
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from converters.files import whole_file
from tkd.scoring.detection import Floats
from tkd.scoring.several import PrecisionEvaluation
from tkd.scoring.summary import CURVE_GRID, Evaluation, Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DPI = 130
_COLUMNS = 3
# Okabe and Ito 2008, Color Universal Design; yellow is left out, it is too pale for a line.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
STYLES = ("-", "--", "-.", ":")
# Counts are written into the cells while they can be read.
_LARGEST_WITH_COUNTS = 20


def draw_confusion(evaluation: Evaluation, path: Path) -> None:
    """Writes one matrix a model: rows are labels and are shaded by their share, cells hold counts of clips."""
    summaries = evaluation.summaries
    columns = min(len(summaries), _COLUMNS)
    rows = -(-len(summaries) // columns)
    side = 2.2 + 0.36 * len(summaries[0].model.labels)
    figure = Figure(figsize=(columns * side, rows * side + 0.8), dpi=_DPI, layout="constrained")
    for place, summary in enumerate(summaries, start=1):
        _matrix(figure.add_subplot(rows, columns, place), summary)
    figure.suptitle(_caption(evaluation), fontsize=9)
    save(figure, path)


def draw_roc(evaluation: Evaluation, path: Path) -> None:
    """Writes the curves of all models: false rejects over false alarms, both axes logarithmic."""
    figure = Figure(figsize=(7.2, 5.6), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    for place, summary in enumerate(evaluation.summaries):
        colour = COLOURS[place % len(COLOURS)]
        label = f"{_name(summary)}: area {summary.roc.area:.5f}"
        style = STYLES[place % len(STYLES)]
        axes.step(*_visible(summary), style, where="post", color=colour, label=label, linewidth=1.8)
        axes.plot(evaluation.false_alarm_rate, summary.false_reject_rate, "o", color=colour, markersize=6)
    if evaluation.average:
        average = evaluation.average
        label = f"mean of {len(evaluation.summaries)} runs: area {average.area:.5f}"
        axes.step(CURVE_GRID, average.roc.false_reject, where="post", color="black", linewidth=2.6, label=label)
    axes.axvline(evaluation.false_alarm_rate, color="0.6", linewidth=0.8)
    axes.annotate(
        f"{100 * evaluation.false_alarm_rate:g} % false alarms", (evaluation.false_alarm_rate, 0.98),
        xycoords=("data", "axes fraction"), rotation=90, va="top", ha="right", fontsize=8, color="0.35",
    )  # fmt: skip
    smallest = 0.5 / len(evaluation.clips.ids)
    axes.set(
        xscale="log", yscale="log", xlim=(1e-4, 1), ylim=(smallest, 1),
        xlabel="false-alarm rate (wrong classes accepted)", ylabel="false-reject rate (own class rejected)",
    )  # fmt: skip
    axes.set_title(_caption(evaluation), fontsize=9)
    axes.grid(which="major", color="0.85", linewidth=0.6)
    axes.legend(loc="lower left", fontsize=8, title="less area is better", title_fontsize=8)
    save(figure, path)


def draw_precisions(evaluation: PrecisionEvaluation, path: Path) -> None:
    """Writes a dot for each class and model: its average precision, the best class of the first model on top."""
    first = evaluation.summaries[0]
    classes = [label for label, value in first.scores.per_class.items() if value is not None]
    classes.sort(key=lambda label: first.scores.per_class[label] or 0.0)
    figure = Figure(figsize=(7.2, 1.6 + 0.2 * len(classes)), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    for place, summary in enumerate(evaluation.summaries):
        colour, scores = COLOURS[place % len(COLOURS)], summary.scores
        label = f"{summary.model.name} ({summary.model.runtime}): mAP {100 * scores.value:.1f} %"
        values = [100 * (scores.per_class[name] or 0.0) for name in classes]
        axes.plot(values, range(len(classes)), "o", color=colour, label=label, markersize=5 - min(place, 3))
        axes.axvline(100 * scores.value, color=colour, linewidth=1.0, linestyle=STYLES[place % len(STYLES)])
    axes.set_yticks(range(len(classes)), classes, fontsize=7)
    axes.set(xlim=(0, 102), xlabel="average precision, %")
    axes.grid(axis="y", color="0.9", linewidth=0.5)
    clips, kind = evaluation.clips, "SYNTHETIC · " if evaluation.synthetic else ""
    where = f"{clips.split} split of {clips.protocol.get('name')} ({clips.source})"
    axes.set_title(f"{kind}{len(clips.ids):,} clips, {where}", fontsize=9)
    axes.legend(loc="lower left", fontsize=8)
    save(figure, path)


def _visible(summary: Summary) -> tuple[Floats, Floats]:
    """A curve with zeros lifted to where a logarithmic axis can show that it leaves the frame."""
    curve = summary.roc
    return curve.false_alarm.clip(1e-5), curve.false_reject.clip(1e-9)


def _matrix(axes: Axes, summary: Summary) -> None:
    counts = summary.confusion
    labels = summary.model.labels
    shares = counts / counts.sum(axis=1, keepdims=True).clip(1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    places = range(len(labels))
    axes.set_xticks(places, labels, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(places, labels, fontsize=8)
    axes.set(xlabel="answer", ylabel="label")
    axes.set_title(f"{_name(summary)}\n{summary.scores}", fontsize=9)
    if len(labels) > _LARGEST_WITH_COUNTS:
        return
    for row, column in zip(*counts.nonzero(), strict=True):
        ink = "white" if shares[row, column] > 0.55 else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=7, color=ink)


def _name(summary: Summary) -> str:
    return f"{summary.model.name} ({summary.model.runtime})"


def _caption(evaluation: Evaluation) -> str:
    clips, protocol = evaluation.clips, evaluation.clips.protocol
    kind = "SYNTHETIC speech · " if evaluation.synthetic else ""
    where = f"{clips.split} split of {protocol.get('name')} ({clips.source})"
    return (
        f"{kind}{len(clips.ids):,} clips, {clips.people:,} speakers, {where}\n"
        f"silence: {protocol.get('silence')} · split by {protocol.get('split_rule')}"
    )


def save(figure: Figure, path: Path) -> None:
    """Writes a figure, whole or not at all."""
    FigureCanvasAgg(figure)
    with whole_file(path) as partial:
        figure.savefig(partial, format="png")
