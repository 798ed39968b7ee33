"""A picture of where teacher and students look, over the waveform, as in the figure of arXiv 2110.14131.

    a column for each clip, a row for the teacher and for each student:
    the waveform in grey, the keyword's interval shaded, attention as a line

Before this: `tkd.train.probing`. After this: `attention.png` in the run's folder, and the same for TensorBoard.
Tested in `tests/tkd/train/test_looking.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from converters.files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CLIPS = 3
_DPI = 120
_TEACHER, _PLAIN, _LED, _CONTROL = "#000000", "#D55E00", "#0072B2", "#009E73"  # Okabe and Ito's


@dataclass(frozen=True, slots=True, kw_only=True)
class Looker:
    """One row of the picture.

    Attributes:
        name: for example `tcresnet8, λ = 0.25`.
        kind: decides the colour.
        attention: of the shown clips, shape (clips, time), rows summing to 1.
    """

    name: str
    kind: str
    attention: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The clips of the picture.

    Attributes:
        index: in their split.
        waveforms: int16, shape (clips, samples).
        intervals_s: as in `ClipStore`, of these clips; None where not known.
        words: label of each.
        sample_rate_hz: of the waveforms.
    """

    index: Tensor
    waveforms: Tensor
    intervals_s: Tensor | None
    words: tuple[str, ...]
    sample_rate_hz: int


def clips_to_show(labels: Tensor, intervals_s: Tensor | None, names: Sequence[str]) -> Tensor:
    """The first clip of each of three labels, of those whose keyword's place is known where any is; indices.

    Labels such as `_unknown_` are left for last: `names` says what the labels are called.
    """
    firsts = labels if labels.ndim == 1 else labels.argmax(dim=1)
    is_shown = torch.ones(len(firsts), dtype=torch.bool) if intervals_s is None else ~intervals_s[:, 0].isnan()
    found: dict[int, int] = {}
    for place in is_shown.nonzero()[:, 0].tolist():
        found.setdefault(int(firsts[place]), place)
    order = sorted(found, key=lambda label: (names[label].startswith("_"), label))
    chosen = [found[label] for label in order][:_CLIPS]
    return torch.tensor(chosen, dtype=torch.long)


def draw_attention(shown: Shown, lookers: Sequence[Looker], title: str) -> Figure:
    """The picture."""
    # Its own figure and canvas, not pyplot: nothing global changes and no display is asked for.
    from matplotlib.figure import Figure

    columns, rows = len(shown.words), len(lookers)
    figure = Figure(figsize=(1.0 + 3.6 * columns, 0.8 + 1.15 * rows), dpi=_DPI, layout="constrained")
    for row, looker in enumerate(lookers):
        for column in range(columns):
            axes = figure.add_subplot(rows, columns, row * columns + column + 1)
            _panel(axes, shown, looker, column)
            if row == 0:
                axes.set_title(f"“{shown.words[column]}”", fontsize=9)
            if column == 0:
                axes.set_ylabel(looker.name, rotation=0, ha="right", va="center", fontsize=8)
            if row == rows - 1:
                axes.set_xlabel("seconds", fontsize=8)
            else:
                axes.set_xticklabels([])
    figure.suptitle(title, fontsize=9)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a PNG, whole or not at all."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    with whole_file(path) as partial:
        figure.savefig(partial, format="png")


def _panel(axes: Axes, shown: Shown, looker: Looker, column: int) -> None:
    colours = {"teacher": _TEACHER, "plain": _PLAIN, "led": _LED, "control": _CONTROL}
    waveform = shown.waveforms[column].numpy().astype(np.float32)
    seconds = len(waveform) / shown.sample_rate_hz
    peak = max(float(np.abs(waveform).max()), 1.0)
    step = max(1, len(waveform) // 4000)
    axes.plot(np.arange(0, len(waveform), step) / shown.sample_rate_hz, 0.5 + 0.5 * waveform[::step] / peak,
              color="0.8", linewidth=0.4)  # fmt: skip
    if shown.intervals_s is not None and not bool(shown.intervals_s[column, 0].isnan()):
        start, end = shown.intervals_s[column].tolist()
        axes.axvspan(start, end, color="#F0E442", alpha=0.35, linewidth=0)
    attention = looker.attention[column].numpy()
    centres = (np.arange(len(attention)) + 0.5) * seconds / len(attention)
    axes.plot(centres, attention / attention.max(), color=colours[looker.kind], linewidth=1.4)
    axes.set(xlim=(0, seconds), ylim=(0, 1.05), yticks=[])
    axes.tick_params(labelsize=7)
