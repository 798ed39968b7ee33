"""Tables of the grid of `benchmarks.tkd_grid`: means, paired differences with intervals, a pooled effect.

Pairs are students of the same seed, which share initial weights, batches and clips. Intervals are Student's t over
seeds; the pooled effect is the mean of the students' mean differences, with Welch's and Satterthwaite's degrees of
freedom.
Tested in `tests/benchmarks/test_tkd_tables.py`.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.stats import t as student_t

from converters.files import write_text
from tkd.students import STUDENTS

Line = Mapping[str, Any]
Key = tuple[int, str, str, float]
"""Length in seconds, student, guide, λ."""

_CONFIDENCE = 0.95
_GUIDES = ("teacher", "span", "uniform", "shuffled", "logits")
_NAMES = {"span": "oracle span", "shuffled": "shuffled teacher", "logits": "logit distillation"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """A mean difference with an interval.

    Attributes:
        mean: in the unit of the differences.
        low: lower end of its 95 % interval; None where one value gives none.
        high: its upper end; None likewise.
        count: pairs.
    """

    mean: float
    low: float | None
    high: float | None
    count: int

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.mean:+.1f} (one seed)"
        return f"{self.mean:+.1f} [{self.low:+.1f}, {self.high:+.1f}]"


def effect_of(differences: Sequence[float]) -> Effect:
    """The mean of paired differences with Student's interval.

    >>> str(effect_of([1.0, 2.0, 3.0]))
    '+2.0 [-0.5, +4.5]'
    """
    mean, count = statistics.fmean(differences), len(differences)
    if count < 2:
        return Effect(mean=mean, low=None, high=None, count=count)
    half = float(student_t.ppf(0.5 + _CONFIDENCE / 2, count - 1)) * statistics.stdev(differences) / math.sqrt(count)
    return Effect(mean=mean, low=mean - half, high=mean + half, count=count)


def pooled(groups: Sequence[Sequence[float]]) -> Effect | None:
    """The mean over students of their mean differences; None where a student has a single pair or there are none."""
    if not groups or min(map(len, groups)) < 2:
        return None
    mean = statistics.fmean(statistics.fmean(group) for group in groups)
    parts = [statistics.variance(group) / len(group) / len(groups) ** 2 for group in groups]
    variance = sum(parts)
    count = sum(map(len, groups))
    if variance == 0:
        return Effect(mean=mean, low=mean, high=mean, count=count)
    freedom = variance**2 / sum(part**2 / (len(group) - 1) for part, group in zip(parts, groups, strict=True))
    half = float(student_t.ppf(0.5 + _CONFIDENCE / 2, freedom)) * math.sqrt(variance)
    return Effect(mean=mean, low=mean - half, high=mean + half, count=count)


def write_tables(lines: Sequence[Line], path: Path) -> None:
    """Writes a Markdown page of all tables, one part for each budget and learning rate, whole or not at all.

    The pictures of `benchmarks.tkd_pictures` are shown where they lie in `images` beside the page.
    """
    parts = [_head(lines)]
    usual = usual_rate(lines)
    for other, steps, rate in sorted({(_rate(line) != usual, line["steps"], _rate(line)) for line in lines}):
        part = [line for line in lines if (line["steps"], _rate(line)) == (steps, rate)]
        parts.append(f"## {steps:,} steps{f', learning rate {rate:g}' if other else ''}\n")
        for seconds in sorted({line["seconds"] for line in part}):
            here = [line for line in part if line["seconds"] == seconds]
            parts += [f"### Clips of {seconds} s\n", *_tables(here)]
    parts += _pictures(path.parent / "images")
    write_text(path, "\n".join(parts).rstrip() + "\n")


def usual_rate(lines: Sequence[Line]) -> float:
    """The learning rate of most lines; what has another one asks whether a finding hangs on it."""
    return Counter(map(_rate, lines)).most_common(1)[0][0]


def _rate(line: Line) -> float:
    return float(line["learning_rate"])


def _pictures(folder: Path) -> list[str]:
    """The pictures of every length of clips, by their names: `accuracy-by-steps-8s.png`, `attention-8s-crnn.png`."""
    parts = []
    curves = sorted(folder.glob("accuracy-by-steps-*s.png"))
    if curves:
        parts += [
            "## Higher, or only sooner?\n",
            "Validation accuracy while training; budgets of several lengths are separate trainings.\n",
            *(f"![accuracy by steps, {_length(each)}]({folder.name}/{each.name})\n" for each in curves),
        ]
    attention = sorted(folder.glob("attention-*s-*.png"))
    if attention:
        parts += [
            "## Where teacher and students look\n",
            "The first three keywords of the validation split, first seed.",
            "Each student is asked by a query fitted to its finished contexts; those with attention of their own are "
            "asked for that.\n",
        ]
    for length in dict.fromkeys(map(_length, attention)):
        parts.append(f"### {length.capitalize()}\n")
        parts += [
            f"![attention of {each.stem.split('-', 2)[2]}, {length}]({folder.name}/{each.name})\n"
            for each in attention
            if _length(each) == length
        ]
    return parts


def _length(picture: Path) -> str:
    """Of the clips that a picture shows, in words."""
    seconds = next(part for part in picture.stem.split("-") if part.endswith("s") and part[:-1].isdigit())
    return f"clips of {seconds[:-1]} s"


def differences(lines: Sequence[Line], student: str, guide: str, weight: float) -> list[float]:
    """Test accuracy less that of the same seed without a teacher, in points; one for each seed that has both."""
    own = [line for line in lines if line["student"] == student]
    plain = {line["seed"]: line["test"] for line in own if line["weight"] == 0}
    led = {line["seed"]: line["test"] for line in own if line["guide"] == guide and line["weight"] == weight > 0}
    return _paired(led, plain)


def differences_from_control(lines: Sequence[Line], student: str, guide: str, weight: float) -> list[float]:
    """Test accuracy with the teacher less that with a control of the same seed and λ, in points."""
    own = [line for line in lines if line["student"] == student and line["weight"] == weight]
    taught = {line["seed"]: line["test"] for line in own if line["guide"] == "teacher"}
    controls = {line["seed"]: line["test"] for line in own if line["guide"] == guide}
    return _paired(taught, controls)


def _paired(first: Mapping[int, float], second: Mapping[int, float]) -> list[float]:
    """The first less the second, shares by seed, in points; of the seeds that both have."""
    return [100 * (first[seed] - second[seed]) for seed in sorted(first.keys() & second.keys())]


def differences_as_chosen(lines: Sequence[Line], student: str) -> list[float]:
    """What a user gains: test accuracy with the λ that validation chose, less that with λ = 0, in points by seed.

    Nothing is gained where 0 was chosen. Seeds with one λ alone, or without λ = 0, have nothing to choose from.
    """
    own = [line for line in lines if line["student"] == student and line["guide"] == "teacher"]
    tests = {(line["seed"], line["weight"]): line["test"] for line in own}
    return [
        100 * (tests[seed, weight] - tests[seed, 0])
        for seed, weight in sorted(chosen_weights(lines, student).items())
        if (seed, 0) in tests and sum(each == seed for each, _ in tests) > 1
    ]


def chosen_weights(lines: Sequence[Line], student: str) -> dict[int, float]:
    """λ with the best validation accuracy, by seed; the smaller one where two are equal."""
    best: dict[int, Line] = {}
    for line in sorted(lines, key=lambda line: (line["seed"], line["weight"])):
        if line["student"] == student and line["guide"] == "teacher":
            known = best.setdefault(line["seed"], line)
            if line["validation"] > known["validation"]:
                best[line["seed"]] = line
    return {seed: line["weight"] for seed, line in best.items()}


def _tables(lines: Sequence[Line]) -> list[str]:
    places = {name: place for place, name in enumerate(STUDENTS)}
    students = sorted({line["student"] for line in lines}, key=lambda name: (places.get(name, len(places)), name))
    weights = sorted({line["weight"] for line in lines if line["guide"] == "teacher"})
    found = ["Test accuracy in %, mean ± standard deviation over seeds (number of seeds).\n"]
    rows = [["student", *(f"λ = {weight:g}" for weight in weights), "λ chosen on validation"]]
    for student in students:
        cells = [_spread(_tests(lines, student, "teacher", weight)) for weight in weights]
        chosen = chosen_weights(lines, student)
        rows.append([student, *cells, ", ".join(f"{weight:g}" for weight in chosen.values())])
    found.append(_markdown(rows))
    columns = {
        f"λ = {weight:g}": {student: differences(lines, student, "teacher", weight) for student in students}
        for weight in weights
        if weight > 0
    }
    if len(columns) > 1:
        columns["λ chosen on validation"] = {student: differences_as_chosen(lines, student) for student in students}
    if columns:
        found += ["Points gained over λ = 0 of the same seed, with a 95 % interval.\n", _effects(columns)]
    return found + _controls(lines, students)


def _controls(lines: Sequence[Line], students: Sequence[str]) -> list[str]:
    found = []
    for weight in sorted({line["weight"] for line in lines if line["guide"] != "teacher"}):
        led = {line["student"] for line in lines if line["guide"] != "teacher" and line["weight"] == weight}
        controlled = [student for student in students if student in led]
        gains = {
            _NAMES.get(guide, guide): {student: differences(lines, student, guide, weight) for student in controlled}
            for guide in _GUIDES
        }
        beyond = {
            _NAMES.get(guide, guide): {
                student: differences_from_control(lines, student, guide, weight) for student in controlled
            }
            for guide in _GUIDES[1:]
        }
        found += [
            f"The teacher beside its controls at λ = {weight:g}: points gained over λ = 0.\n",
            _effects(gains),
            f"What the teacher brings beyond each control at λ = {weight:g}, in points.\n",
            _effects(beyond),
        ]
    return found


def _effects(columns: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """A table of differences by student, and of all students together where there are several."""
    students = list(next(iter(columns.values())))
    rows = [["student", *columns]]
    rows += [[student, *(_effect(column[student]) for column in columns.values())] for student in students]
    if len(students) > 1:
        rows.append(["**all students**", *(_together(column) for column in columns.values())])
    return _markdown(rows)


def _together(column: Mapping[str, Sequence[float]]) -> str:
    """The pooled effect; of how many students, where some have no pair."""
    paired = [values for values in column.values() if values]
    effect = pooled(paired)
    if effect is None:
        return "–"
    return str(effect) if len(paired) == len(column) else f"{effect}, {len(paired)} of {len(column)}"


def _head(lines: Sequence[Line]) -> str:
    kind = "SYNTHETIC speech and noise. " if any(line["synthetic"] for line in lines) else ""
    first = lines[0]
    counts = ", ".join(f"{count:,} {split}" for split, count in first["clips"].items())
    teachers = {line["seconds"]: line["teacher"] for line in lines if line["teacher"]}
    told = [
        f"- teacher of {seconds} s: {100 * teacher['validation']:.1f} % on validation; "
        f"{100 * teacher['inspection']['mass_inside']:.0f} % of its attention inside the word, which takes "
        f"{100 * teacher['inspection']['share_of_time']:.0f} % of the time; peak inside in "
        f"{100 * teacher['inspection']['peak_inside']:.0f} % of clips"
        for seconds, teacher in sorted(teachers.items())
    ]
    return "\n".join(
        [
            "# Temporal distillation: results",
            "",
            f"{kind}{len(lines)} trainings by `benchmarks/tkd_grid.py`.",
            f"{counts} clips; batches of {first['batch_size']}; learning rate {usual_rate(lines):g} unless named.",
            "Every student has the same number of steps: this compares at a fixed budget, not at convergence.",
            "The recurrent students are reduced forms of the published ones.",
            *_front_ends(lines),
            "These numbers say nothing about recorded speech, and nothing about the paper's data.",
            "",
            *told,
            "",
        ]
    )


def _front_ends(lines: Sequence[Line]) -> list[str]:
    """A sentence for every front end that a line names."""
    named = sorted({(line["features"], line["student"]) for line in lines if "features" in line})
    return [
        f"Front end of {', '.join(student for each, student in named if each == features)}: `{features}`."
        for features in dict.fromkeys(features for features, _ in named)
    ]


def _tests(lines: Sequence[Line], student: str, guide: str, weight: float) -> list[float]:
    return [
        100 * line["test"]
        for line in lines
        if line["student"] == student and line["guide"] == guide and line["weight"] == weight
    ]


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "–"
    if len(values) == 1:
        return f"{values[0]:.1f} (1)"
    return f"{statistics.fmean(values):.1f} ± {statistics.stdev(values):.1f} ({len(values)})"


def _effect(values: Sequence[float]) -> str:
    return str(effect_of(values)) if values else "–"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    lines = [f"| {' | '.join(head)} |", f"|---|{'---|' * (len(head) - 1)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in body), ""])
