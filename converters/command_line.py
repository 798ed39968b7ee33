"""What every command of the project shares: exit codes, errors as sentences, progress on stderr.

Used by `tkd.cli` and `android_bench.cli`; it reads no argv of its own.
Tested in `tests/converters/test_command_line.py`.
"""

from __future__ import annotations

import argparse
import difflib
import errno
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import Any, TextIO


class ExitCode(IntEnum):
    """The exit statuses of every command; scripts may rely on them."""

    GOOD = 0
    NO = 1
    USAGE = 2
    NO_ANSWER = 3
    DEVICE = 4
    INTERNAL = 70
    INTERRUPTED = 130


EXIT_CODES_HELP = """\
exit codes:
  0    good
  1    the answer is no: a gate failed, or the data has faults
  2    wrong usage, settings or input
  3    no answer: inconclusive, not comparable, baseline missing
  4    device or infrastructure trouble (phone, disk)
  70   an error inside the program; please report it
  130  interrupted; finished results are kept
"""

# Which extra of setup.cfg brings a module that may be missing.
EXTRA_OF_MODULE = {
    "torch": "train",
    "transformers": "train",
    "accelerate": "train",
    "librosa": "train",
    "soundfile": "train",
    "soxr": "train",
    "safetensors": "train",
    "tensorboard": "train",
    "onnx": "export",
    "onnxruntime": "export",
    "flatbuffers": "export",
    "ai_edge_litert": "bench",
    "scipy": "bench",
    "adb_shell": "bench",
    "cryptography": "bench",
    "matplotlib": "report",
    "sklearn": "report",
    "espeakng_loader": "synth",
    "tensorflow": "tensorflow",
    "tflite_runtime": "tensorflow",
}


def parser(program: str, description: str, epilog: str = "") -> argparse.ArgumentParser:
    """An argument parser whose `--help` ends with the exit codes, with the options that all commands have."""
    made = argparse.ArgumentParser(
        prog=program,
        description=description,
        epilog=f"{epilog}\n\n{EXIT_CODES_HELP}" if epilog else EXIT_CODES_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_common_options(made)
    return made


class Once(argparse.Action):
    """Stores one value and refuses another, where neighbours of the command take several: none is passed over."""

    _given = False

    def __call__(
        self,
        _parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        _option: str | None = None,
    ) -> None:
        """Called by `argparse` for every occurrence."""
        if self._given:
            raise argparse.ArgumentError(self, "given more than once; this command takes one")
        self._given = True
        setattr(namespace, self.dest, values)


def add_common_options(made: argparse.ArgumentParser) -> None:
    """Adds `-v`, `-q` and `--debug`."""
    made.add_argument("-v", "--verbose", action="store_true", help="say more on stderr")
    made.add_argument("-q", "--quiet", action="store_true", help="no progress on stderr")
    made.add_argument("--debug", action="store_true", help="show the traceback of an error")


def run(
    program: str,
    command: Callable[[Sequence[str]], int],
    argv: Sequence[str] | None,
    errors: Mapping[type[Exception], ExitCode],
) -> int:
    """The exit code of `command(argv)`, with every error turned into one sentence on stderr.

    Args:
        program: the name shown before the sentence, for example `tkd-export`.
        command: does the work and returns an exit code.
        argv: the arguments without the program's name; None reads `sys.argv`.
        errors: the error trees of this command and their codes; the nearest ancestor of a raised error decides.

    Returns:
        The code for `sys.exit`. An error in no tree is 70 (an uncaught exception must never look like 1).
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        code = command(arguments)
        sys.stdout.flush()  # here a full disk or a reader that has gone is still a sentence and a code
        return code
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (`tkd-bench | head`): nothing to report, nobody to report it to.
        _drop_stdout()
        return ExitCode.GOOD
    except SystemExit as end:
        # rich answers a reader that has gone with exit 1, which here means that the answer is no.
        if isinstance(end.__context__, BrokenPipeError):
            return ExitCode.GOOD
        raise
    except Exception as error:  # noqa: BLE001 - the outermost frame: everything becomes a sentence and a code
        if "--debug" in arguments:
            traceback.print_exc()
        sentence, code = _explain(program, error, errors)
        print(f"{program}: {sentence}", file=sys.stderr)
        return code


def say(line: str) -> None:
    """Prints a line before the work is done; a reader that has gone (`| true`) does not cost the work."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        _drop_stdout()


def _drop_stdout() -> None:
    """Lets what is still to be printed go nowhere, Python's own flush at the end included."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _explain(program: str, error: Exception, errors: Mapping[type[Exception], ExitCode]) -> tuple[str, ExitCode]:
    for ancestor in type(error).__mro__:
        if ancestor in errors:
            return str(error), errors[ancestor]
    if isinstance(error, ModuleNotFoundError) and error.name:
        module = error.name.partition(".")[0]
        if module in EXTRA_OF_MODULE:
            extra = EXTRA_OF_MODULE[module]
            return f"{module} is not installed; in a checkout of the project: pip install '.[{extra}]'", ExitCode.USAGE
    if isinstance(error, OSError):
        where = f" {error.filename}" if error.filename else ""
        reason = error.strerror or str(error)
        hint = (
            "; free some space and run it again, nothing half-written was kept" if error.errno == errno.ENOSPC else ""
        )
        return f"cannot read or write{where}: {reason}{hint}", ExitCode.DEVICE
    return (
        f"internal error: {type(error).__name__}: {error} (run {program} --debug for the traceback)",
        ExitCode.INTERNAL,
    )


def did_you_mean(name: str, names: Iterable[str], what: str) -> str:
    """A sentence for a name that is in no table: the nearest match, then all names."""
    table = list(names)
    near = difflib.get_close_matches(name, table, n=1, cutoff=0.4)
    guess = f" did you mean '{near[0]}'?" if near else ""
    return f"no {what} is called '{name}';{guess} known: {', '.join(table)}"


def available_cores() -> int:
    """Cores that this process may use, which in a container can be fewer than the machine has."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(affinity(0)) if affinity else os.cpu_count() or 1


Advance = Callable[[int], None]


@contextmanager
def progress(title: str, total: int, *, quiet: bool = False, stream: TextIO | None = None) -> Iterator[Advance]:
    """A function that advances a progress display on stderr by a number of steps.

    On a terminal it draws a bar with the time left; elsewhere it prints a plain line at most every five seconds.
    """
    out = sys.stderr if stream is None else stream
    if quiet:
        yield lambda _steps: None
    elif out.isatty():
        with _rich_bar(title, total, out) as advance:
            yield advance
    else:
        yield _plain_lines(title, total, out)


@contextmanager
def _rich_bar(title: str, total: int, out: TextIO) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=out)) as bar:
        task = bar.add_task(title, total=total)
        yield lambda steps: bar.advance(task, steps)


def _plain_lines(title: str, total: int, out: TextIO) -> Advance:
    done = 0
    last = time.monotonic()

    def advance(steps: int) -> None:
        nonlocal done, last
        done += steps
        now = time.monotonic()
        if done >= total or now - last >= 5.0:
            last = now
            print(f"{title}: {done}/{total}", file=out, flush=True)

    return advance
