"""`tkd-bench report`, `baseline` and `history`: exit codes, sentences, and nothing half-written."""

import json
import shutil

import pytest

from android_bench import cli
from android_bench.history import append
from android_bench.session_file import write_session
from android_bench.verdict_file import write_gate
from tests.android_bench.report_toys import history_rows, session
from tests.android_bench.verdict_toys import example_gate, example_judgement

SMALL = (("tcresnet8", "int8", 10.6, 227),)


@pytest.fixture
def here(tmp_path, monkeypatch, exports):
    """A working folder with a session and a later comparison under runs/, a history, and exports."""
    monkeypatch.chdir(tmp_path)
    write_session(tmp_path / "runs" / "bench" / "1-host" / "session.json", session(SMALL, blocks=6))
    write_gate(tmp_path / "compare.json", example_gate(example_judgement()))
    append(tmp_path / "history.jsonl", history_rows(3))
    shutil.copytree(exports, tmp_path / "exports")
    return tmp_path


def run(capsys, *words) -> tuple[int, str, str]:
    code = cli.main(list(words))
    seen = capsys.readouterr()
    return code, seen.out, seen.err


def test_without_a_word_the_newest_session_and_the_exports_become_a_page(here, capsys) -> None:
    assert (0, "wrote report.html\n", "") == run(capsys, "report")
    text = (here / "report.html").read_text()
    assert "tcresnet8-int8" in text
    assert "toy-float32" in text


def test_every_form_is_written_in_one_call(here, capsys) -> None:
    words = ("--html", "o/p.html", "--junit", "o/j.xml", "--action-benchmark", "o/b.json", "--title", "Nightly")
    code, out, _ = run(capsys, "report", "compare.json", "history.jsonl", *words)

    assert 0 == code
    assert "wrote o/p.html\nwrote o/j.xml\nwrote o/b.json\n" == out
    assert "<h1>Nightly</h1>" in (here / "o" / "p.html").read_text()
    assert 'failures="1"' in (here / "o" / "j.xml").read_text()
    assert "ratio" == json.loads((here / "o" / "b.json").read_text())[0]["unit"]


def test_one_damaged_file_leaves_nothing_written(here, capsys) -> None:
    (here / "compare.json").write_text("{")

    code, _, err = run(capsys, "report", "history.jsonl", "compare.json", "--html", "page.html")

    assert 2 == code
    assert "compare.json is damaged" in err
    assert not (here / "page.html").exists()


def test_junit_without_a_verdict_is_refused_before_anything_is_written(here, capsys) -> None:
    code, _, err = run(capsys, "report", "history.jsonl", "--html", "page.html", "--junit", "gate.xml")

    assert (2, "tkd-bench: --junit wants verdicts: name a compare.json, which tkd-bench compare writes\n") == (
        code,
        err,
    )
    assert not (here / "page.html").exists()


def test_an_empty_history_alone_is_no_answer(here, capsys) -> None:
    (here / "history.jsonl").write_text("")

    code, _, err = run(capsys, "report", "history.jsonl")

    assert 3 == code
    assert "history.jsonl holds no verdict yet" in err
    assert not (here / "report.html").exists()


def test_with_nothing_measured_it_says_what_to_do(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)

    code, _, err = run(capsys, "report")

    assert (2, "tkd-bench: no session under runs/bench/; measure one with tkd-bench, or name files\n") == (code, err)


def test_a_baseline_is_set_and_shown(here, capsys) -> None:
    code, out, _ = run(capsys, "baseline", "set", "exports/toy-int8", "--origin", "release 1.2")
    assert 0 == code
    assert out.endswith("exports/toy-int8\nwrote baseline.json\n")

    code, out, err = run(capsys, "baseline", "show")
    assert (0, "") == (code, err)
    assert "from release 1.2" in out
    assert "exports/toy-int8, SYNTHETIC data" in out
    assert "tkd.baseline/1" == json.loads(run(capsys, "baseline", "show", "--json")[1])["format"]


def test_a_baseline_that_is_gone_is_no_answer(here, capsys) -> None:
    assert 3 == run(capsys, "baseline", "show")[0]
    run(capsys, "baseline", "set", "exports/toy-int8")
    shutil.rmtree(here / "exports" / "toy-int8")

    code, _, err = run(capsys, "baseline", "show")

    assert 3 == code
    assert "the baseline toy-int8 of baseline.json is gone: no bundle at exports/toy-int8" in err


def test_what_is_no_bundle_becomes_no_baseline(here, capsys) -> None:
    code, _, err = run(capsys, "baseline", "set", "runs")

    assert 2 == code
    assert "runs is no bundle" in err
    assert not (here / "baseline.json").exists()


def test_verdicts_are_added_once_and_shown(here, capsys) -> None:
    words = ("history", "add", "compare.json", "--file", "new.jsonl", "--commit", "abcdef0123456789")

    assert (0, "added 1 of 1 verdicts to new.jsonl\n", "") == run(capsys, *words)
    assert (0, "added 0 of 1 verdicts to new.jsonl; 1 were in it\n", "") == run(capsys, *words)
    code, out, _ = run(capsys, "history", "show", "--file", "new.jsonl")
    assert 0 == code
    assert "REGRESSION       1.0610 × (1.0490 – 1.0730)   latency  tcresnet8-int8 on pixel1 to 803ac6f8a160" in out
    assert out.endswith("abcdef012345\n")


def test_an_edited_verdict_is_not_added(here, capsys) -> None:
    text = (here / "compare.json").read_text()
    (here / "compare.json").write_text(text.replace('"REGRESSION"', '"PASS"'))
    before = (here / "history.jsonl").read_bytes()

    code, _, err = run(capsys, "history", "add", "compare.json")

    assert 2 == code
    assert "was edited after it was written" in err
    assert before == (here / "history.jsonl").read_bytes()


def test_an_empty_history_is_shown_as_no_answer_and_a_cut_line_is_said(here, capsys) -> None:
    (here / "empty.jsonl").write_text("")
    assert (3, "", "tkd-bench: empty.jsonl holds no verdict yet\n") == run(
        capsys, "history", "show", "--file", "empty.jsonl"
    )

    with (here / "history.jsonl").open("a") as stream:
        stream.write('{"form')
    code, out, err = run(capsys, "history", "show")
    assert 0 == code
    assert 6 == len(out.splitlines())
    assert "was cut off while it was written" in err


@pytest.mark.parametrize(
    "words", [("baseline",), ("history",), ("baseline", "set"), ("history", "add"), ("report", "--no")]
)
def test_wrong_usage_ends_in_2(words, capsys) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(list(words))
    assert 2 == end.value.code
