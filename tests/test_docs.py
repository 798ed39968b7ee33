"""What README and docs promise: commands that parse, links that lead somewhere, tables that agree with the code."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from android_bench import cli as bench
from android_bench.cli_compare import compare_arguments
from android_bench.cli_engine import engine_parser
from android_bench.cli_phones import devices_parser, doctor_parser
from android_bench.cli_report import baseline_parser, history_parser, report_parser
from android_bench.cli_selftest import selftest_parser
from android_bench.cli_stream import stream_arguments
from android_bench.cli_virtual import phone_parser
from tkd.cli.data import _parser as data_parser
from tkd.cli.evaluate import _parser as evaluate_parser
from tkd.cli.export_options import export_parser
from tkd.cli.train import _parser as train_parser
from tkd.students import ALIASES, STUDENTS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BENCH: dict[str, Callable[[list[str]], object]] = {
    "baseline": lambda words: baseline_parser().parse_args(words),
    "history": lambda words: history_parser().parse_args(words),
    "report": lambda words: report_parser().parse_args(words),
    "compare": compare_arguments,
    "selftest": lambda words: selftest_parser().parse_args(words),
    "engine": lambda words: engine_parser().parse_args(words),
    "devices": lambda words: devices_parser().parse_args(words),
    "doctor": lambda words: doctor_parser().parse_args(words),
    "phone": lambda words: phone_parser().parse_args(words),
    "stream": stream_arguments,
}
PARSERS: dict[str, Callable[[list[str]], object]] = {
    "tkd-data": lambda words: data_parser().parse_args(words),
    "tkd-train": lambda words: train_parser().parse_args(words),
    "tkd-eval": lambda words: evaluate_parser().parse_args(words),
    "tkd-export": lambda words: export_parser().parse_args(words),
    "tkd-bench": lambda words: (
        BENCH[words[0]](words[1:]) if words[:1] and words[0] in BENCH else bench._arguments(words)
    ),
}


def commands() -> list[tuple[str, str]]:
    """(page, command) of every line in a code block that calls one of ours."""
    found = []
    for page in PAGES:
        # Blocks marked `text` are drawings.
        for block in re.findall(
            r"```\n(.*?)```",
            re.sub(r"```text\n.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL),
            flags=re.DOTALL,
        ):
            for line in block.splitlines():
                command = line.removeprefix("$ ").strip()
                if command.split(" ")[0] in PARSERS:
                    found.append((page.name, command))
    return found


@pytest.mark.parametrize(("page", "command"), commands())
def test_a_command_in_the_docs_is_one_that_the_program_takes(page: str, command: str) -> None:
    program, *arguments = shlex.split(command, comments=True)
    PARSERS[program](arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert missing == []


def test_the_readme_is_short_and_shows_real_output() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 160
    assert not re.findall(r"^@[A-Z]+@$", text, flags=re.MULTILINE)


def test_every_student_of_the_readme_is_in_the_table() -> None:
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Students")[1].split("##")[0]
    names = {name for name in re.findall(r"`([a-z0-9.-]+)`", section) if name[0] not in "-.0123456789"}
    names -= {"tkd-train"}
    assert names <= set(STUDENTS) | set(ALIASES) | {"2d-resnet8", "2d-resnet8-pool"}


def test_the_two_commands_of_the_makefile_are_those_of_the_readme_and_of_ci() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in ("demo", "test"):
        assert f"make {target}" in readme
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("folder", ["tkd", "converters", "android_bench", "benchmarks", "docs"])
def test_every_test_that_a_file_names_is_there(folder: str) -> None:
    named = {
        (file.relative_to(ROOT).as_posix(), test)
        for file in (ROOT / folder).rglob("*")
        if file.suffix in (".py", ".md", ".c", ".h")
        for test in re.findall(r"tests/[a-z0-9_/]+\.py", file.read_text(encoding="utf-8"))
    }
    assert [(file, test) for file, test in sorted(named) if not (ROOT / test).exists()] == []
