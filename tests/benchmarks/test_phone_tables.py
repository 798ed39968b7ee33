"""The page of results on phones says what its lines say, and what is missing."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.phone_tables import FORMAT, PHONES, PUBLISHED_PIXEL1_MS, read_lines, rows_of, write_page
from tkd.students import STUDENTS

BY = {
    "engine_sha256": "e" * 64, "runner_sha256": "r" * 64, "emulator": "qemu 7.2", "emulated_cpu": "cortex-a57",
    "counter_sha256": "c" * 64, "processor_sha256": "p" * 64, "delegate": "xnnpack", "threads": 1,
}  # fmt: skip


def counted(student: str, precision: str, *counts: int) -> dict[str, Any]:
    phones = {
        phone: {"instructions": {"inference": count}, "by": {**BY, "processor_sha256": phone}}
        for phone, count in zip(PHONES, counts, strict=True)
    }
    return {
        "format": FORMAT, "utc": "2026-01-02T00:00:00Z", "kind": "instructions", "student": student,
        "precision": precision, "weights": "fresh", "int8_macs": 0.5, "phones": phones,
    }  # fmt: skip


def timed(student: str, precision: str, median_us: float) -> dict[str, Any]:
    ratio = {"estimate": 0.5, "interval": [0.4, 0.6]} if precision == "int8" else None
    return {
        "format": FORMAT, "utc": "2026-01-03T00:00:00Z", "kind": "latency", "student": student, "precision": precision,
        "median_us": median_us, "interval_us": [median_us - 10, median_us + 10], "against_float32": ratio,
        "host": "a processor, 2 CPUs", "load_1min": 0.5,
    }  # fmt: skip


def page(tmp_path: Path, *lines: dict[str, Any]) -> str:
    write_page(lines, tmp_path / "page.md")
    return (tmp_path / "page.md").read_text()


def cells(text: str, start: str) -> list[str]:
    [line] = [line for line in text.splitlines() if line.startswith(f"| {start} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_phones_that_count_the_same_share_a_column_and_what_is_missing_is_named(tmp_path: Path) -> None:
    text = page(tmp_path, counted("tcresnet8", "float32", 2000, 2000), counted("tcresnet8", "int8", 1000, 1000))

    assert "Both phones count the same for every file" in text
    assert cells(text.partition("## Beside times")[0], "`tcresnet8`")[1:6] == [
        "1,522,560",
        "2,000",
        "1,000",
        "0.50",
        "50 %",
    ]
    assert "Not counted yet: tcresnet8-1.5, " in text


def test_phones_that_differ_have_columns_of_their_own(tmp_path: Path) -> None:
    text = page(tmp_path, counted("tcresnet8", "float32", 2000, 2100))

    assert "Both phones count the same" not in text
    assert "float32, virtual-pixel1 | float32, virtual-mi5" in text
    assert cells(text.partition("## Beside times")[0], "`tcresnet8`")[2:6] == ["2,000", "2,100", "–", "–"]


def test_a_later_line_takes_the_place_of_an_earlier_one() -> None:
    [row] = [row for row in rows_of([timed("res15", "int8", 4000), timed("res15", "int8", 2000)]) if row.latency]

    assert row.us("int8") == pytest.approx(2000)


def test_times_have_intervals_and_published_ones_say_whose_they_are(tmp_path: Path) -> None:
    lines = [counted("tcresnet8", "float32", 1_000_000, 1_000_000), timed("tcresnet8", "float32", 20)]
    text = page(tmp_path, *lines, timed("tcresnet8", "int8", 10))

    assert cells(text.partition("## Beside times")[2], "`tcresnet8`")[1:] == [
        "20.0 [10.0, 30.0]", "10.0 [0.0, 20.0]", "0.50 [0.40, 0.60]", "1.1", "1.10",
    ]  # fmt: skip
    assert "Choi et al. 2019 (arXiv 1904.03814)" in text
    assert "a processor, 2 CPUs; load of the last minute 0.5 to 0.5" in text


def test_large_and_small_are_compared_by_every_measure(tmp_path: Path) -> None:
    text = page(
        tmp_path,
        counted("res15", "float32", 600, 600),
        counted("tcresnet8", "float32", 2, 2),
        timed("res15", "int8", 3000),
    )

    assert cells(text, "Pixel 1, published, ms")[1:] == ["424", "1.1", "385 ×"]
    assert cells(text, "multiply-accumulates")[3] == "611 ×"
    assert cells(text, "instructions, float32, emulated")[1:] == ["600", "2", "300 ×"]
    assert cells(text, "x86-64, int8, µs")[1:] == ["3,000", "–", "– ×"]
    assert "300 × in float32. Theirs is the time: 385 ×, which is " in text


def test_how_well_counts_go_with_published_times_is_a_sentence(tmp_path: Path) -> None:
    counts = {"tcresnet8": 1, "tcresnet14": 2, "ds-cnn-m": 4, "2d-resnet8": 10, "res8": 500}
    lines = [counted(student, "float32", count * 10**6, 0) for student, count in counts.items()]

    assert (
        "Over these 5 networks a count stands for 1.10 ns (0.35 to 1.30); Spearman's rank correlation of counts "
        in (page(tmp_path, *lines))
    )
    assert "Spearman" not in page(tmp_path, *lines[:4])


def test_published_times_are_those_of_students_of_the_table() -> None:
    assert PUBLISHED_PIXEL1_MS.keys() <= STUDENTS.keys()
    assert len(PUBLISHED_PIXEL1_MS) == 15


def test_the_page_of_the_repository_is_written_from_its_lines(tmp_path: Path) -> None:
    write_page(read_lines(Path("benchmarks/phones.jsonl")), tmp_path / "page.md")

    assert Path("docs/results-phones.md").read_text() == (tmp_path / "page.md").read_text()
