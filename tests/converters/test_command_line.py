"""What every command shares: exit codes, sentences for errors, progress."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys

import pytest

from converters import command_line
from converters.command_line import ExitCode, Once, did_you_mean, parser, progress, run
from converters.errors import ConversionError, GateFailedError

ERRORS = {ConversionError: ExitCode.USAGE, GateFailedError: ExitCode.NO}
GATE = GateFailedError(stage="float32 → int8", measure="SQNR in dB", seen=12.0, bound=25.0, advice="calibrate")


def ended_by(error, argv=()):
    def command(_argv):
        if error is not None:
            raise error
        return ExitCode.GOOD

    return run("tkd-test", command, list(argv), ERRORS)


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (None, 0, ""),
        (ConversionError("no such op"), 2, "tkd-test: no such op\n"),
        (GATE, 1, "tkd-test: float32 → int8: SQNR in dB is 12, the bound is 25; calibrate\n"),
        (KeyboardInterrupt(), 130, "tkd-test: interrupted\n"),
        (
            ZeroDivisionError("by zero"),
            70,
            "tkd-test: internal error: ZeroDivisionError: by zero (run tkd-test --debug",
        ),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), 4, "tkd-test: cannot read or write /x: No space left"),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "/x"),
            4,
            "cannot read or write /x: No such file",
        ),
        (
            ModuleNotFoundError("no onnx", name="onnx.reference"),
            2,
            "onnx is not installed; .* pip install '.\\[export\\]'",
        ),
        (ModuleNotFoundError("no own part", name="tkd.nowhere"), 70, "internal error: ModuleNotFoundError"),
    ],
)
def test_every_end_of_a_command_has_its_code_and_its_sentence(capsys, error, code, sentence):
    seen = ended_by(error)
    printed = capsys.readouterr()
    assert code == seen
    assert "" == printed.out
    assert "Traceback" not in printed.err
    if "pip" in sentence:
        assert "pip install '.[export]'" in printed.err
    else:
        assert sentence in printed.err


def test_the_nearest_ancestor_of_an_error_decides(capsys):
    class SpecialError(GateFailedError):
        pass

    special = SpecialError(stage="a", measure="b", seen=1.0, bound=2.0, advice="c")
    assert ExitCode.NO == ended_by(special)


def test_debug_shows_the_traceback_and_keeps_the_code(capsys):
    assert ExitCode.USAGE == ended_by(ConversionError("no such op"), ["--debug"])
    assert "Traceback" in capsys.readouterr().err


def test_help_ends_with_the_exit_codes(capsys):
    with pytest.raises(SystemExit) as ended:
        parser("tkd-test", "Tests.").parse_args(["--help"])
    assert 0 == ended.value.code
    assert capsys.readouterr().out.endswith(command_line.EXIT_CODES_HELP)


def test_an_option_of_one_value_refuses_another_and_names_itself(capsys):
    made = parser("tkd-test", "Tests.")
    made.add_argument("--device", action=Once, default="host")
    assert made.parse_args([]).device == "host"
    with pytest.raises(SystemExit) as end:
        made.parse_args(["--device", "pixel1", "--device", "mi5"])
    assert end.value.code == ExitCode.USAGE
    assert "argument --device: given more than once; this command takes one" in capsys.readouterr().err


def test_an_unknown_name_gets_the_nearest_one_and_the_table():
    sentence = did_you_mean("tcresnt8", ["tcresnet8", "lstm-p"], "student")
    assert "no student is called 'tcresnt8'; did you mean 'tcresnet8'? known: tcresnet8, lstm-p" == sentence


def test_a_name_like_no_other_gets_the_table_alone():
    assert "no phone is called 'zzz'; known: pixel1" == did_you_mean("zzz", ["pixel1"], "phone")


def test_progress_prints_its_last_line_where_there_is_no_terminal():
    stream = io.StringIO()
    with progress("clips", 3, stream=stream) as advance:
        for _ in range(3):
            advance(1)
    assert "clips: 3/3\n" == stream.getvalue()


def test_quiet_progress_prints_nothing(capsys):
    with progress("clips", 1, quiet=True) as advance:
        advance(1)
    assert ("", "") == capsys.readouterr()


def test_a_bar_is_drawn_on_a_terminal():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    with progress("clips", 2, stream=stream) as advance:
        advance(2)
    assert "clips" in stream.getvalue()


READER_HAS_GONE = """
import sys
from converters.command_line import run, say
from rich.console import Console

def command(argv):
    say("first")
    print("worked on", file=sys.stderr)
    {last}
    return 3

sys.exit(run("tkd-test", command, [], {{}}))
"""


@pytest.mark.parametrize("last", ["print('a result')", "Console().print('a table')", "pass"])
def test_a_reader_that_has_gone_costs_no_work_and_is_no_failure(last):
    reading, writing = os.pipe()
    os.close(reading)
    script = READER_HAS_GONE.format(last=last)
    ended = subprocess.run(
        [sys.executable, "-c", script], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert "worked on\n" == ended.stderr
    assert 3 == ended.returncode


@pytest.mark.parametrize("last", ["print('a result')", "Console().print('a table')"])
def test_a_reader_that_goes_before_the_result_is_no_failure(last):
    reading, writing = os.pipe()
    os.close(reading)
    script = READER_HAS_GONE.format(last=last).replace('say("first")', "pass")
    ended = subprocess.run(
        [sys.executable, "-c", script], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert ("worked on\n", 0) == (ended.stderr, ended.returncode)
