"""The page of what streams cost, from lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.streaming_tables import FORMAT, read_lines, write_page


def line(kind: str, student: str, whole: float = 1000, hop: float = 125, **more: object) -> dict[str, object]:
    found = {"hop_ms": 80.0, "macs": {"whole": 1200, "hop": 120}, "whole": whole, "hop": hop, **more}
    return {"format": FORMAT, "kind": kind, "student": student, "precisions": {"float32": found, "int8": found}}


def page_of(lines: list[dict[str, object]], path: Path) -> str:
    write_page(lines, path)
    return path.read_text(encoding="utf-8")


def test_a_row_has_what_streaming_promises_and_how_much_of_it_is_kept(tmp_path: Path) -> None:
    ratio = {"estimate": 6.04, "interval": [5.5, 6.51]}
    text = page_of(
        [line("instructions", "net", 1e6, 1.25e5), line("latency", "net", 60.0, 10.0, ratio=ratio)], tmp_path / "p.md"
    )
    assert "| `net` | 80 ms | 12.5 M | 1.56 M | 10.0 × | 8.0 × | 0.80 | 6.0 × [5.5, 6.5] |" in text
    assert text.count("1 of 1 keep 0.7 or more.") == 2
    assert "emulated, exact, instructions and not latency" in text


def test_a_student_below_the_aim_is_not_counted_and_one_without_times_has_a_dash(tmp_path: Path) -> None:
    text = page_of([line("instructions", "a"), line("instructions", "b", 600, 120)], tmp_path / "p.md")
    assert "| 5.0 × | 0.50 | – |" in text
    assert "1 of 2 keep 0.7 or more." in text


def test_the_last_line_of_a_student_counts_and_other_formats_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text("\n".join(json.dumps(line("instructions", "net", whole)) for whole in (1, 2)) + "\n")
    (only,) = read_lines(path)
    assert only["precisions"]["int8"]["whole"] == 2
    path.write_text('{"format": "other"}\n')
    with pytest.raises(SystemExit, match="format 'other'"):
        read_lines(path)
    assert read_lines(tmp_path / "none.jsonl") == []
