import json
from pathlib import Path

import pytest

from tkd.cli.train import main
from tkd.students import STUDENTS, find_student


def test_the_list_fits_80_columns_and_shows_every_student(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [name for name in STUDENTS if not any(line.split()[:1] == [name] for line in lines)] == []


def test_the_list_marks_the_published_count_and_the_protocol(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--list"])
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert rows["tcresnet8"] == ["65,168", "65,824*", "1.52", "M", "96.1", "–", "TC-ResNet8"]
    assert rows["bcresnet1"] == ["9,232*", "11,648", "2.48", "M", "96.6~", "96.9~", "BC-ResNet-1"]


def test_the_list_as_json_has_every_number(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--list", "--json", "-"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["format"] == "tkd.students/1"
    rows = {row["name"]: row for row in printed["students"]}
    assert list(rows) == list(STUDENTS)
    assert rows["tcresnet8"]["aliases"] == ["tcresnet"]
    assert rows["mhatt-rnn"]["macs_of_one_second"] == STUDENTS["mhatt-rnn"].macs_of_one_second
    assert rows["lstm-p"]["published_accuracies"][1] == {"percent": 97.5, "data": "v2-12", "silence": "zeros"}
    assert main(["--list", "--json", str(tmp_path / "students.json")]) == 0
    assert json.loads((tmp_path / "students.json").read_text()) == printed


def test_a_published_accuracy_reads_as_a_sentence() -> None:
    accuracy = find_student("bcresnet1").accuracies[1]
    assert str(accuracy) == "96.9 % (Speech Commands v2, 12 classes, silence as noise)"


def test_no_configuration_and_no_list_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 2
    assert "--list shows the students" in capsys.readouterr().err
