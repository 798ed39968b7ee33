from pathlib import Path
from typing import Any

import pytest

from benchmarks.tkd_pictures import curves, draw_curves, main


def line(student: str, seed: int, weight: float, steps: int, ends_at: float, **others: Any) -> dict[str, Any]:
    by_step = [[steps // 2, ends_at / 2], [steps, ends_at]]
    return {
        "format": "tkd.grid/1", "student": student, "seconds": 8, "guide": "teacher", "weight": weight, "seed": seed,
        "steps": steps, "learning_rate": 3e-3, "validation_by_step": by_step, **others,
    }  # fmt: skip


LINES = [
    line("crnn-reduced", 1, 0.0, 1000, 0.4),
    line("crnn-reduced", 2, 0.0, 1000, 0.6),
    line("crnn-reduced", 1, 0.25, 1000, 0.8),
    line("crnn-reduced", 1, 0.5, 1000, 0.1),
    line("crnn-reduced", 1, 0.25, 1000, 0.2, guide="shuffled"),
    line("crnn-reduced", 1, 0.0, 4000, 0.9),
    line("crnn-reduced", 1, 0.0, 1000, 0.1, learning_rate=1e-3),
    line("tcresnet8", 1, 0.0, 1000, 0.9),
]


def test_a_curve_is_the_mean_over_seeds_of_one_student_guide_budget_and_rate() -> None:
    found = curves(LINES, "crnn-reduced", 8)
    assert list(found) == [(1000, 0.0), (1000, 0.25), (4000, 0.0)]
    assert found[1000, 0.0] == [(500, pytest.approx(20), pytest.approx(25), pytest.approx(30)),
                                (1000, pytest.approx(40), pytest.approx(50), pytest.approx(60))]  # fmt: skip


def test_only_students_of_several_budgets_have_a_panel_where_there_are_such() -> None:
    assert [axes.get_title() for axes in draw_curves(LINES, 8).axes] == ["crnn-reduced"]
    assert len(draw_curves([each for each in LINES if each["steps"] == 1000], 8).axes) == 2


def test_a_student_without_runs_is_named_and_the_curves_are_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import json

    lines = tmp_path / "lines.jsonl"
    lines.write_text("".join(json.dumps(each) + "\n" for each in LINES))
    main([str(tmp_path / "images"), "--lines", str(lines), "--folder", str(tmp_path), "--students", "tcresnet8"])
    assert "tcresnet8: its two runs are not in" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["accuracy-by-steps-8s.png"]
