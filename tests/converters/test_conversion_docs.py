"""docs/conversion.md says what the code does."""

from __future__ import annotations

from pathlib import Path

from converters.calibration import METHODS
from converters.lowering.lower import LOWERINGS
from converters.lowering.operators import OPERATORS

TEXT = (Path(__file__).parents[2] / "docs" / "conversion.md").read_text(encoding="utf-8")


def table(heading):
    """The cells of the first table under a heading, without its header."""
    lines = TEXT.split(f"\n## {heading}\n")[1].splitlines()
    rows = [line for line in lines[: lines.index("", lines.index("|---|---|---|"))] if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def test_the_table_of_operators_is_the_table_of_the_code():
    assert list(LOWERINGS) == [row[0] for row in table("Operators")]


def test_every_tflite_operator_is_named_somewhere():
    assert [] == [code for code in OPERATORS if code not in TEXT]


def test_every_calibration_method_is_explained():
    assert [] == [method for method in METHODS if f"| `{method}`" not in TEXT]
