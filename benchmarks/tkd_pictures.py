"""Pictures of the grid of `benchmarks.tkd_grid`, for docs/results-distillation.md.

    python -m benchmarks.tkd_pictures docs/images --folder data/grid

    accuracy-by-steps-8s.png       does distillation end higher, or only get there sooner? from the lines alone
    attention-8s-<student>.png     teacher and student over the waveform, before distillation and after, from the runs

Only students whose two runs are in the folder are drawn; the others are named.
Tested in `tests/benchmarks/test_tkd_pictures.py`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.tkd_grid import CONTROL_LAMBDA, LINES, STUDENTS, TEACHERS, Cell, Place, read_lines, settings_of
from benchmarks.tkd_tables import Line, usual_rate
from converters.command_line import progress
from tkd.audio.features import FrontEnd, find_features
from tkd.students import find_student
from tkd.train.classroom import Classroom, furnish
from tkd.train.corpus import load_corpus
from tkd.train.looking import draw_looks, probe_students
from tkd.train.pictures import save_figure
from tkd.train.processes import ALONE
from tkd.train.teaching import TeacherStage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = {0.0: "#D55E00", CONTROL_LAMBDA: "#0072B2"}  # as in `tkd.train.pictures`
_DASHES = ("-", "--", ":")
_DPI = 120

Curve = list[tuple[int, float, float, float]]
"""(step, lowest, mean, highest) accuracy in percent over seeds."""


def curves(lines: Sequence[Line], student: str, seconds: int) -> dict[tuple[int, float], Curve]:
    """Validation accuracy by step of one student, by (steps in all, λ); λ = 0 and that of the controls only.

    Lines with another learning rate than most are left out.
    """
    usual = usual_rate(lines)
    seen: dict[tuple[int, float], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        is_asked = (line["student"], line["seconds"], line["learning_rate"]) == (student, seconds, usual)
        if is_asked and line["guide"] == "teacher" and line["weight"] in _COLOURS:
            for step, accuracy in line["validation_by_step"]:
                seen[line["steps"], line["weight"]][step].append(100 * accuracy)
    return {
        key: [(step, min(found), statistics.fmean(found), max(found)) for step, found in sorted(by_step.items())]
        for key, by_step in sorted(seen.items())
    }


def draw_curves(lines: Sequence[Line], seconds: int) -> Figure:
    """A panel for each student that was trained for more than one number of steps, or for all where none was."""
    from matplotlib.figure import Figure

    steps_of: dict[str, set[int]] = defaultdict(set)
    for line in lines:
        if line["seconds"] == seconds:
            steps_of[line["student"]].add(line["steps"])
    students = [name for name, steps in steps_of.items() if len(steps) > 1] or list(steps_of)
    figure = Figure(figsize=(4.6 * len(students), 3.8), dpi=_DPI, layout="constrained")
    for place, student in enumerate(students):
        axes = figure.add_subplot(1, len(students), place + 1)
        budgets = sorted(steps_of[student])
        for (steps, weight), curve in curves(lines, student, seconds).items():
            at, low, mean, high = zip(*curve, strict=True)
            name = f"λ = {weight:g}, {steps:,} steps"
            dash = _DASHES[budgets.index(steps) % len(_DASHES)]
            axes.plot(at, mean, color=_COLOURS[weight], linestyle=dash, marker="o", markersize=2.5, label=name)
            axes.fill_between(at, low, high, color=_COLOURS[weight], alpha=0.15, linewidth=0)
        axes.set(title=student, xlabel="step", ylabel="validation accuracy, %" if place == 0 else "")
        axes.set_ylim(0, 100)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7, loc="best")
    figure.suptitle(
        f"clips of {seconds} s, SYNTHETIC speech; line: mean over seeds, band: lowest to highest", fontsize=9
    )
    return figure


def room_of(cell: Cell, place: Place) -> Classroom:
    """The data of a cell and what the teacher says of it, without any training."""
    config = settings_of(cell, place)
    corpus = load_corpus(config.data, progress)
    spec = find_student(cell.student)

    def untrained(*_arguments: Any, **_options: Any) -> Any:
        raise AssertionError("a picture trains nothing")

    taught = TeacherStage(
        config=config,
        folder=Path(config.run),
        attention_folder=place.folder / "attention",
        display=progress,
        processes=ALONE,
        fit=untrained,
        describe=untrained,
    ).ask(corpus)
    front_end = FrontEnd(find_features(config.student.features or spec.features))
    return furnish(corpus, spec, front_end, taught, keeps_waveforms=False)


def draw_student(student: str, seconds: int, steps: int, place: Place) -> Figure | None:
    """The attention of the first seed's students, λ = 0 and led; None where a run is missing."""
    plain, led = (
        Cell(student=student, seconds=seconds, guide="teacher", weight=weight, seed=1, steps=steps)
        for weight in (0.0, CONTROL_LAMBDA)
    )
    files = [Path(settings_of(cell, place).run) / "student.safetensors" for cell in (plain, led)]
    if not all(path.exists() for path in files):
        return None
    room = room_of(led, place)
    probes = probe_students(room, files, settings_of(led, place).distill)
    names = [(f"{student}\nλ = 0", "plain"), (f"{student}\nλ = {CONTROL_LAMBDA:g}", "led")]
    return draw_looks(room, [(name, probes[path]) for name, path in zip(names, files, strict=True)])


def main(argv: Sequence[str] | None = None) -> None:
    """Draws what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="the folder of the pictures")
    parser.add_argument("--folder", type=Path, help="of the grid; without it only the curves are drawn")
    parser.add_argument("--lines", type=Path, default=LINES)
    parser.add_argument("--students", nargs="+", default=STUDENTS, metavar="NAME")
    parser.add_argument("--seconds", type=int, default=8, help="length of the clips")
    parser.add_argument("--steps", type=int, default=1000, help="of the runs whose attention is drawn")
    options = parser.parse_args(argv)
    options.images.mkdir(parents=True, exist_ok=True)
    length = f"{options.seconds}s"
    curves_file = options.images / f"accuracy-by-steps-{length}.png"
    save_figure(draw_curves(read_lines(options.lines), options.seconds), curves_file)
    if not options.folder:
        return
    teacher = TEACHERS / f"teacher-{options.seconds}s.safetensors"
    place = Place(folder=options.folder, teachers={options.seconds: teacher})
    for student in options.students:
        figure = draw_student(student, options.seconds, options.steps, place)
        if figure is None:
            print(f"{student}: its two runs are not in {options.folder}", file=sys.stderr)
        else:
            save_figure(figure, options.images / f"attention-{length}-{student}.png")


if __name__ == "__main__":
    main()
