"""Detection error trade-off as PNG: false alarms an hour against the share of keywords missed.

Before this: `tkd.scoring.listening`. After this: `tkd-eval --stream --output`.
Tested in `tests/tkd/cli/test_streaming.py`.
"""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from tkd.scoring.listening import Listening
from tkd.scoring.plots import COLOURS, STYLES, save


def draw_det(results: list[Listening], false_alarms_per_hour: float, path: Path) -> None:
    """Writes the curves of all models; points are thresholds."""
    figure = Figure(figsize=(7.2, 5.6), dpi=130, layout="constrained")
    axes = figure.add_subplot()
    for place, each in enumerate(results):
        alarms = [operation.false_alarms_per_hour for operation in each.operations]
        misses = [100 * operation.miss_rate for operation in each.operations]
        axes.plot(
            alarms, misses, STYLES[place % len(STYLES)], color=COLOURS[place % len(COLOURS)], marker="o",
            markersize=3, linewidth=1.6, label=f"{each.listener.name} ({each.listener.runtime})",
        )  # fmt: skip
    axes.axvline(false_alarms_per_hour, color="0.6", linewidth=0.8)
    seconds = results[0].manifest["seconds"]
    axes.set_xscale("symlog", linthresh=3600 / seconds)  # one false alarm in the whole recording
    axes.set(ylim=(0, None), xlabel="false alarms an hour", ylabel="keywords missed, %")
    kind = "SYNTHETIC · " if any(each.synthetic for each in results) else ""
    axes.set_title(f"{kind}{seconds / 60:.1f} minutes, {results[0].operations[0].keywords} keywords", fontsize=9)
    axes.grid(which="major", color="0.85", linewidth=0.6)
    axes.legend(loc="upper right", fontsize=8)
    save(figure, path)
