"""docs/precisions.md says what the code does; its example runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from converters.bundle_contents import PRECISIONS
from converters.families import FAMILIES
from converters.parity import ParityGates
from converters.runners import TfliteModel
from tkd.cli.export_options import export_parser

TEXT = (Path(__file__).parents[2] / "docs" / "precisions.md").read_text(encoding="utf-8")


def test_the_example_runs_and_writes_what_it_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    exec(compile(example, "docs/precisions.md", "exec"), {})
    assert "('yes', 'no', 'neither')\n" == capsys.readouterr().out
    assert {f"detector-{precision}.tflite" for precision in PRECISIONS} == {
        path.name for path in tmp_path.glob("*.tflite")
    }
    assert "int8" == TfliteModel(tmp_path / "detector-int8.tflite").input.dtype
    assert (tmp_path / "report.md").read_text().startswith("# detector\n")


def test_every_family_is_named():
    assert [] == [row.name for row in FAMILIES if row.name not in TEXT]


@pytest.mark.parametrize(
    "row", re.findall(r"^\| .* \| ([\d.e-]+) (?:dB |% |points )?\| `(--[a-z0-9-]+)` \|$", TEXT, re.MULTILINE)
)
def test_every_gate_has_the_bound_of_the_code(row):
    bound, option = row
    defaults = vars(export_parser().parse_args([]))
    assert float(bound) == defaults[option.removeprefix("--").replace("-", "_")]


def test_the_commands_bounds_are_those_of_the_library_too():
    gates, defaults = ParityGates(), export_parser().parse_args([])
    assert (gates.float_relative_error, gates.float16_sqnr_db, gates.int8_sqnr_db) == (
        defaults.max_float_error, defaults.min_fp16_sqnr_db, defaults.min_sqnr_db,
    )  # fmt: skip
    assert (gates.int8_top1_agreement, gates.int8_macs) == (defaults.min_agreement / 100, defaults.min_int8_share / 100)
