"""The table of students as its readers want it: for JSON, and for a terminal of 80 columns or more.

Before this: `tkd.students.table`. After this: `tkd.cli.train` prints it.
Tested in `tests/tkd/students/test_listing.py`.
"""

from __future__ import annotations

import itertools
from dataclasses import asdict
from typing import Any

from rich.text import Text

from tkd.students.table import ALIASES, STUDENTS

FORMAT = "tkd.students/1"

_LINE = "{:<18}{:>10}{:>10}{:>10}{:>7}{:>7}  {}"
_HEADINGS = ("student", "trainable ", "with BN ", "MACs  ", "V1 % ", "V2 % ", "in the paper")
_MARKS = {"trainable": ("*", " "), "with statistics": (" ", "*"), "either": ("*", "*"), "none": (" ", " ")}
_NOTES = """\
* the count that the paper prints: trainable, or with the moving statistics of
  batch normalisation (BN).
MACs: multiply-accumulates of convolutions and matrix products for one clip of
  one second at the published front end.
V1, V2: published accuracy on Speech Commands v1 and v2 with 12 classes. Silence
  is digital zeros; ~ the real noise of the official test archive. Scores under
  the two are not comparable."""


def students_document() -> dict[str, Any]:
    """Every row with its aliases, front end, counts, MACs and published accuracies; plain JSON values."""
    return {
        "format": FORMAT,
        "students": [
            {
                "name": spec.name,
                "aliases": [alias for alias, name in ALIASES.items() if name == spec.name],
                "title": spec.title,
                "source": spec.source,
                "features": spec.features,
                "trainable_parameters": spec.trainable_parameters,
                "parameters_with_statistics": spec.parameters_with_statistics,
                "published_count": spec.published_count,
                "published_parameters": spec.published_parameters,
                "macs_of_one_second": spec.macs_of_one_second,
                "published_accuracies": [asdict(accuracy) for accuracy in spec.accuracies],
            }
            for spec in STUDENTS.values()
        ],
    }


def students_table(document: dict[str, Any]) -> Text:
    """What `students_document` gave, as lines of at most 80 columns with a section a paper."""
    lines = [
        Text(_LINE.format("student", "trainable ", "with BN ", "MACs  ", "V1 % ", "V2 % ", "in the paper"), "bold")
    ]
    for source, rows in itertools.groupby(document["students"], key=lambda row: row["source"]):
        lines.append(Text(source, "cyan"))
        lines += [Text(_LINE.format(*_cells(row))) for row in rows]
    return Text("\n").join([*lines, Text(), Text(_NOTES, "dim")])


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    """Name, counts, MACs, accuracies and title of one row."""
    trainable_mark, statistics_mark = _MARKS[row["published_count"]]
    scores = {
        accuracy["data"]: f"{accuracy['percent']:.1f}" + ("~" if accuracy["silence"] == "noise" else " ")
        for accuracy in row["published_accuracies"]
    }
    return (
        f"  {row['name']}",
        f"{row['trainable_parameters']:,}{trainable_mark}",
        f"{row['parameters_with_statistics']:,}{statistics_mark}",
        f"{row['macs_of_one_second'] / 1e6:.2f} M",
        scores.get("v1-12", "– "),
        scores.get("v2-12", "– "),
        row["title"],
    )
