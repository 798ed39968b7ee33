"""`.ci/gate` ends as the comparison does, falls back only where there is no virtual phone, and says what to do."""

import os
import shutil
import stat
import subprocess

import pytest

from tests.ci.steps import ROOT

# Stands for Python with the project: notes its words, and ends a comparison as the file CODES says, one line each.
PYTHON = """#!/bin/bash
echo "$*" >> calls
case "$*" in
  *"engine show"*) echo '{"engines": [{"libc": "glibc"}]}' ;;
  *tkd.cli.export*) mkdir -p build/gate/exports/tcresnet8-float32 build/gate/exports/tcresnet8-int8 ;;
  *" compare "*)
    mkdir -p build/gate/compare
    cp verdict.json build/gate/compare/compare.json
    code=$(head -n 1 codes); sed -i 1d codes; exit "$code" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "gate", tmp_path / ".ci" / "gate")
    (tmp_path / "benchmarks" / "reference").mkdir(parents=True)
    (tmp_path / "verdict.json").write_text('{"verdict": "PASS"}')
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(PYTHON)
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "bin" / "git").symlink_to("/bin/true")
    return tmp_path


def gate(checkout, *codes: int, words=()) -> tuple[int, str, list[str]]:
    (checkout / "codes").write_text("".join(f"{code}\n" for code in codes))
    done = subprocess.run(
        ["bash", ".ci/gate", *words],
        cwd=checkout,
        env={"PATH": f"{checkout / 'bin'}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    calls = [line for line in (checkout / "calls").read_text().splitlines() if " compare " in line]
    return done.returncode, done.stderr, calls


def test_no_more_than_the_reference_is_good(checkout) -> None:
    code, text, calls = gate(checkout, 0)

    assert 0 == code
    assert "gate: what the code exports costs no more than benchmarks/reference (virtual-pixel1)" in text
    assert "reference'" not in text
    (call,) = calls
    assert "--baseline benchmarks/reference/baseline.json --candidate build/gate/exports" in call
    assert call.endswith("--device virtual-pixel1")


def test_less_than_the_reference_asks_for_its_renewal(checkout) -> None:
    (checkout / "verdict.json").write_text('{"verdict": "IMPROVED"}')

    assert "keep the gain with 'make reference'" in gate(checkout, 0)[1]


def test_more_than_the_reference_fails_and_says_what_to_do(checkout) -> None:
    code, text, _ = gate(checkout, 1)

    assert 1 == code
    assert "costs more than benchmarks/reference (virtual-pixel1); build/gate/compare/report.md says what" in text
    assert "if that is meant to be so: 'make reference'" in text


def test_without_a_virtual_phone_this_computer_measures(checkout) -> None:
    code, text, calls = gate(checkout, 4, 0)

    assert 0 == code
    assert "no virtual phone here" in text
    assert calls[1].endswith("--device host --max-slowdown 10 --inconclusive pass")


@pytest.mark.parametrize(("codes", "expected"), [((3,), 3), ((2,), 2), ((70,), 70), ((4, 4), 4), ((4, 1), 1)])
def test_what_is_no_answer_is_not_passed_over(checkout, codes, expected) -> None:
    assert expected == gate(checkout, *codes)[0]


def test_renewing_puts_the_exports_in_the_references_place(checkout) -> None:
    old = checkout / "benchmarks" / "reference" / "tcresnet8-int8"
    old.mkdir()
    (old / "old").write_text("")

    code, text, calls = gate(checkout, words=("--renew",))

    assert (0, []) == (code, calls)
    assert not (old / "old").exists()
    assert (checkout / "benchmarks" / "reference" / "tcresnet8-float32").is_dir()
    assert "commit benchmarks/reference together with the change" in text
    assert "baseline set" in (checkout / "calls").read_text()


def test_continuous_integration_calls_it() -> None:
    assert "make test gate" in (ROOT / ".ci" / "run").read_text()
    assert "bash .ci/gate\n" in (ROOT / "Makefile").read_text()
