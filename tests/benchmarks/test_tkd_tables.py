from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from benchmarks.tkd_grid import CONTROLS, LAMBDAS, Cell, cells, read_lines, run_grid
from benchmarks.tkd_tables import (
    chosen_weights,
    differences,
    differences_as_chosen,
    differences_from_control,
    effect_of,
    pooled,
    write_tables,
)


def line(student: str, seed: int, weight: float, test: float, **others: Any) -> dict[str, Any]:
    return {
        "format": "tkd.grid/1", "synthetic": True, "student": student, "seconds": 8, "guide": "teacher",
        "weight": weight, "seed": seed, "steps": 100, "learning_rate": 3e-3, "batch_size": 64,
        "test": test, "validation": test,
        "clips": {"train": 10, "validation": 5, "test": 5}, "teacher": None, **others,
    }  # fmt: skip


def test_a_paired_interval_is_students() -> None:
    values = [1.2, -0.4, 3.1, 0.9]
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    found = effect_of(values)
    assert (found.low, found.high) == (pytest.approx(expected.low), pytest.approx(expected.high))
    assert found.mean == pytest.approx(np.mean(values))


def test_one_seed_gives_no_interval() -> None:
    assert str(effect_of([2.0])) == "+2.0 (one seed)"
    assert pooled([[1.0], [2.0, 3.0]]) is None
    assert pooled([]) is None


def test_the_pooled_effect_of_one_student_is_that_students() -> None:
    values = [1.2, -0.4, 3.1, 0.9]
    found = pooled([values])
    assert found is not None
    assert (found.low, found.high) == (pytest.approx(effect_of(values).low), pytest.approx(effect_of(values).high))


def test_pooling_students_covers_a_true_effect_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(600):
        groups = [rng.normal(2.0, scale, 4).tolist() for scale in (0.5, 1.0, 4.0)]
        found = pooled(groups)
        assert found is not None and found.low is not None and found.high is not None  # noqa: PT018
        covered += found.low <= 2.0 <= found.high
    assert 0.92 <= covered / 600 <= 0.985


def test_differences_pair_the_same_seed_and_leave_others_out() -> None:
    lines = [line("a", 1, 0.0, 0.5), line("a", 2, 0.0, 0.6), line("a", 2, 0.25, 0.75), line("a", 3, 0.25, 0.9)]
    assert differences(lines, "a", "teacher", 0.25) == [pytest.approx(15.0)]


def test_the_weight_is_chosen_on_validation_alone_and_the_smaller_wins_a_tie() -> None:
    lines = [
        line("a", 1, 0.0, 0.9, validation=0.5), line("a", 1, 0.25, 0.1, validation=0.6),
        line("a", 2, 0.0, 0.1, validation=0.5), line("a", 2, 0.25, 0.9, validation=0.5),
        line("a", 1, 0.25, 0.99, validation=0.99, guide="span"),
    ]  # fmt: skip
    assert chosen_weights(lines, "a") == {1: 0.25, 2: 0.0}


def test_what_validation_chose_is_what_a_user_gains() -> None:
    lines = [
        line("a", 1, 0.0, 0.9, validation=0.5), line("a", 1, 0.25, 0.8, validation=0.6),
        line("a", 2, 0.0, 0.5, validation=0.5), line("a", 2, 0.25, 0.9, validation=0.4),
        line("a", 3, 0.0, 0.5), line("a", 4, 0.25, 0.5),
        line("a", 1, 0.25, 0.99, validation=0.99, guide="span"),
    ]  # fmt: skip
    assert differences_as_chosen(lines, "a") == [pytest.approx(-10.0), 0.0]


def test_a_control_is_taken_from_the_teacher_of_the_same_seed_and_weight() -> None:
    lines = [
        line("a", 1, 0.25, 0.7), line("a", 1, 0.25, 0.6, guide="shuffled"), line("a", 1, 0.5, 0.1, guide="shuffled"),
        line("a", 2, 0.25, 0.9), line("a", 3, 0.25, 0.2, guide="shuffled"),
    ]  # fmt: skip
    assert differences_from_control(lines, "a", "shuffled", 0.25) == [pytest.approx(10.0)]


def test_the_page_says_synthetic_and_shows_controls_beside_the_teacher(tmp_path: Path) -> None:
    lines = [
        line(student, seed, weight, 0.5 + weight + 0.01 * seed)
        for student in "ab"
        for seed in (1, 2)
        for weight in (0.0, 0.1, 0.25)
    ]
    lines += [line(student, seed, 0.25, 0.4, guide=guide) for student in "ab" for seed in (1, 2) for guide in CONTROLS]
    write_tables(lines, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert "SYNTHETIC" in page
    assert "| a | 51.5 ± 0.7 (2) | 61.5 ± 0.7 (2) | 76.5 ± 0.7 (2) | 0.25, 0.25 |" in page
    whole = "+25.0 [+25.0, +25.0]"
    assert f"| **all students** | +10.0 [+10.0, +10.0] | {whole} | {whole} |" in page
    assert "| student | teacher | oracle span | uniform | shuffled teacher | logit distillation |" in page
    assert f"| **all students** | {whole} | -11.5" in page
    assert "| student | oracle span | uniform | shuffled teacher | logit distillation |\n" in page
    assert "| a | +36.5 [+30.1, +42.9] |" in page


def test_an_effect_over_some_of_the_students_says_over_how_many(tmp_path: Path) -> None:
    lines = [line(student, seed, weight, 0.5 + weight) for student in "ab" for seed in (1, 2) for weight in (0.0, 0.1)]
    lines += [line("c", seed, 0.0, 0.5) for seed in (1, 2)]
    write_tables(lines, tmp_path / "page.md")
    assert "| **all students** | +10.0 [+10.0, +10.0], 2 of 3 |" in (tmp_path / "page.md").read_text()


def test_another_learning_rate_stands_apart_and_comes_last(tmp_path: Path) -> None:
    lines = [line("a", seed, weight, 0.5 + weight, steps=steps) for seed in (1, 2) for weight in (0.0, 0.1)
             for steps in (100, 4000)]  # fmt: skip
    lines += [line("a", 1, 0.0, 0.9, learning_rate=1e-3)]
    write_tables(lines, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert "learning rate 0.003 unless named" in page
    heads = [text for text in page.splitlines() if text.startswith("## ")]
    assert heads == ["## 100 steps", "## 4,000 steps", "## 100 steps, learning rate 0.001"]
    usual, apart = page.split("## 100 steps, learning rate 0.001")
    assert "90.0" not in usual
    assert "| a | 90.0 (1) | 0 |" in apart


def test_students_stand_in_the_order_of_their_table_with_their_front_ends(tmp_path: Path) -> None:
    """Lines come in the order in which trainings end."""
    names = {"mhatt-rnn-reduced": "coarse", "tcresnet8": "fine", "crnn-reduced": "coarse"}
    lines = [
        {**line(name, 1, weight, 0.5), "features": front} for name, front in names.items() for weight in (0.0, 0.5)
    ]
    write_tables(lines, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert "Front end of crnn-reduced, mhatt-rnn-reduced: `coarse`." in page
    assert page.index("| tcresnet8 |") < page.index("| crnn-reduced |") < page.index("| mhatt-rnn-reduced |")


def test_the_grid_is_every_combination_once_with_the_first_seed_first() -> None:
    found = cells(("tcresnet8", "mhatt-rnn-reduced"), (2, 8), seeds=2, steps=10)
    slower = cells(("tcresnet8", "mhatt-rnn-reduced"), (2, 8), seeds=2, steps=10, learning_rate=1e-4)
    assert not {cell.name for cell in found} & {cell.name for cell in slower}
    assert len(found) == len(set(found)) == 2 * 2 * (len(LAMBDAS) + len(CONTROLS) + len(LAMBDAS))
    assert [cell.seed for cell in found] == sorted(cell.seed for cell in found)
    assert len({cell.name for cell in found}) == len(found)


def test_a_cut_line_is_trained_again_and_a_strange_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"format": "tkd.grid/1", "seed": 1}\n{"format": "tkd.gr')
    assert [found["seed"] for found in read_lines(path)] == [1]
    path.write_text('{"format": "tkd.grid/9"}\n')
    with pytest.raises(SystemExit, match=r"lines of format 'tkd.grid/9'"):
        read_lines(path)


def test_a_finished_grid_trains_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    cell = Cell(student="tcresnet8", seconds=2, guide="teacher", weight=0.0, seed=1, steps=100)
    path = tmp_path / "lines.jsonl"
    path.write_text(json.dumps(line("tcresnet8", 1, 0.0, 0.5, seconds=2)) + "\n")
    before = path.read_bytes()
    monkeypatch.setattr("benchmarks.tkd_grid.train", None)
    run_grid([cell], None, path, jobs=1)  # type: ignore[arg-type]
    assert path.read_bytes() == before


def test_pictures_beside_the_page_are_shown_and_no_others(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    write_tables([line("tcresnet8", 1, 0.0, 0.5)], page)
    assert "![" not in page.read_text()
    (tmp_path / "images").mkdir()
    for name in ("attention-2s-crnn.png", "attention-8s-crnn.png", "attention-8s-lstm-p-reduced.png", "other.png"):
        (tmp_path / "images" / name).touch()
    write_tables([line("tcresnet8", 1, 0.0, 0.5)], page)
    text = page.read_text()
    assert "### Clips of 2 s\n\n![attention of crnn, clips of 2 s](images/attention-2s-crnn.png)" in text
    assert text.index(
        "### Clips of 8 s\n\n![attention of crnn, clips of 8 s](images/attention-8s-crnn.png)"
    ) < text.index("![attention of lstm-p-reduced, clips of 8 s](images/attention-8s-lstm-p-reduced.png)")
    assert "accuracy-by-steps" not in text
    assert "other" not in text
    (tmp_path / "images" / "accuracy-by-steps-8s.png").touch()
    write_tables([line("tcresnet8", 1, 0.0, 0.5)], page)
    assert "![accuracy by steps, clips of 8 s](images/accuracy-by-steps-8s.png)" in page.read_text()
