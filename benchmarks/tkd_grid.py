"""Does temporal distillation help, which student, on which length? A grid of trainings, one line a training.

    python -m benchmarks.tkd_grid --folder data/grid                 the whole grid; continues where it was
    python -m benchmarks.tkd_grid --folder data/grid --seeds 1       its first seed only (see --help)
    python -m benchmarks.tkd_grid --table docs/results-distillation.md   tables from the lines, without any training

    words ──► noisy L s ──► teacher L s ──► students × λ × controls × seeds ──► tkd_grid.jsonl ──► the tables
              (one corpus and one teacher a length, shared by all trainings)

Speech and noise are SYNTHETIC. All students have the same number of steps, batches and clips: the comparison is at a
fixed budget. The recurrent students are reduced ones, and hear a frame every 40 ms instead of 20. Within a seed,
students differ in what leads them alone: initial weights and batches are the same. Trainings run side by side in
processes of one thread each.
A line is appended when a training ends; `--lines` says where. Format of a line: `tkd.grid/1`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.tkd_tables import write_tables
from converters.command_line import Advance, available_cores, progress
from converters.files import append_lines, sha256_of
from tkd.augment import AugmentConfig
from tkd.data.noisy import NoisySettings, is_made_already, make_noisy, plan_noisy
from tkd.data.synth import SynthSettings, make_corpus
from tkd.distill import DistillConfig, Guide
from tkd.students import find_student
from tkd.teacher import TeacherConfig
from tkd.train.config import DataConfig, FitConfig, StudentConfig, TrainConfig
from tkd.train.memory import keep_freed_memory
from tkd.train.record import RunResult
from tkd.train.run import run_training

FORMAT = "tkd.grid/1"
LINES = Path(__file__).parent / "tkd_grid.jsonl"
TEACHERS = Path(__file__).parent / "teachers"
"""Teachers of earlier grids, in half precision: lines of different days and machines have the same one."""

WORDS = SynthSettings(clips=12_000, seed=3)
STUDENTS = ("tcresnet8", "lstm-p-reduced", "crnn-reduced", "att-rnn-reduced", "mhatt-rnn-reduced")
RECURRENT_FEATURES = "kws-streaming-60-40"
"""Of the recurrent students: half the frames are half the time, and less far to carry what was heard."""
WITH_CONTROLS = ("tcresnet8", "lstm-p-reduced", "crnn-reduced")
SECONDS = (2, 8)
LAMBDAS = (0.0, 0.1, 0.25, 0.5)
CONTROLS: tuple[Guide, ...] = ("span", "uniform", "shuffled", "logits")
CONTROL_LAMBDA = 0.25
STUDENT_FIT = FitConfig(steps=1000, batch_size=64, learning_rate=3e-3, validate_every=200, precision="bfloat16")
# The corpora have noise and random places in them already: clips stay as they are, and features are computed once.
AUGMENT = AugmentConfig(max_shift_ms=0.0, noise_probability=0.0)
TEACHER_FITS = {
    # The first from scratch, every longer one from the one before it.
    2: FitConfig(steps=1800, batch_size=48, learning_rate=1e-3, warmup_share=0.1, label_smoothing=0.05,
                 validate_every=200, precision="bfloat16"),
    8: FitConfig(steps=1100, batch_size=24, learning_rate=7e-4, warmup_share=0.1, label_smoothing=0.05,
                 validate_every=220, precision="bfloat16"),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One training.

    Attributes:
        student: name of its row.
        seconds: length of a clip.
        guide: what leads it; `teacher` where λ is 0.
        weight: λ.
        seed: of initial weights and batches.
        steps: updates.
        learning_rate: at its highest; another than the grid's asks whether a finding hangs on it.
    """

    student: str
    seconds: int
    guide: Guide
    weight: float
    seed: int
    steps: int
    learning_rate: float = STUDENT_FIT.learning_rate

    @property
    def name(self) -> str:
        """Of its folder."""
        led = "plain" if self.weight == 0 else f"{self.guide}-{self.weight:g}"
        rate = "" if self.learning_rate == STUDENT_FIT.learning_rate else f"+rate-{self.learning_rate:g}"
        return f"{self.student}+{self.seconds}s+{led}+seed-{self.seed}+{self.steps}{rate}"

    @property
    def cost(self) -> float:
        """Expected work, in multiply-accumulates of the forward pass."""
        return find_student(self.student).macs_of_one_second * self.seconds * self.steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a grid's files are, and with what it is fed.

    Attributes:
        folder: corpora, teachers and runs.
        teachers: checkpoint by length in seconds.
    """

    folder: Path
    teachers: dict[int, Path]

    def corpus(self, seconds: int) -> Path:
        """The folder of clips of that length."""
        return self.folder / f"noisy-{seconds}"


def cells(
    students: Sequence[str],
    lengths: Sequence[int],
    seeds: int,
    steps: int,
    lambdas: Sequence[float] = LAMBDAS,
    controls: Sequence[Guide] = CONTROLS,
    learning_rate: float = STUDENT_FIT.learning_rate,
) -> list[Cell]:
    """Every training of the grid; all of the first seed come first, so that a grid that was stopped has whole rows."""
    found = []
    for seed in range(1, seeds + 1):
        for seconds in lengths:
            for student in students:
                led: list[tuple[Guide, float]] = [("teacher", weight) for weight in lambdas]
                if student in WITH_CONTROLS:
                    led += [(control, CONTROL_LAMBDA) for control in controls]
                found += [
                    Cell(
                        student=student,
                        seconds=seconds,
                        guide=guide,
                        weight=weight,
                        seed=seed,
                        steps=steps,
                        learning_rate=learning_rate,
                    )
                    for guide, weight in led
                ]
    return found


def settings_of(cell: Cell, place: Place) -> TrainConfig:
    """The run of one cell."""
    return TrainConfig(
        run=str(place.folder / "runs" / cell.name),
        data=DataConfig(folder=str(place.corpus(cell.seconds)), silence="noise"),
        student=student_of(cell),
        student_fit=fit_of(cell),
        teacher=TeacherConfig(checkpoint=str(place.teachers[cell.seconds]), as_is=True),
        distill=DistillConfig(lambdas=(cell.weight,), guide=cell.guide),
        augment=AUGMENT,
        seed=cell.seed,
    )


def student_of(cell: Cell) -> StudentConfig:
    """A cell's student with its front end."""
    return StudentConfig(
        name=cell.student,
        features="" if cell.student.startswith("tcresnet") else RECURRENT_FEATURES,
        # With TensorFlow's forget bias of 1 LSTM-P learns where to look and does not carry what it saw to the end.
        forget_bias=4.0 if cell.student.startswith("lstm-p") else None,
    )


def fit_of(cell: Cell) -> FitConfig:
    """How a cell's student is trained: alike in all, but for LSTM-P's loop of small products, slower in bfloat16."""
    precision = "float32" if cell.student.startswith("lstm-p") else STUDENT_FIT.precision
    return replace(STUDENT_FIT, steps=cell.steps, learning_rate=cell.learning_rate, precision=precision)


def train(cell: Cell, place: Place) -> dict[str, Any]:
    """The line of one cell, trained, continued or recalled."""
    torch.set_num_threads(1)
    keep_freed_memory()
    start = time.monotonic()
    result = run_training(settings_of(cell, place), _silent, resume=True, attention_folder=place.folder / "attention")
    return line_of(cell, result, time.monotonic() - start)


def _silent(title: str, total: int) -> AbstractContextManager[Advance]:
    return progress(title, total, quiet=True)


def line_of(cell: Cell, result: RunResult, seconds: float) -> dict[str, Any]:
    """What is kept of a training."""
    (arm,) = result.arms
    document = result.document
    return {
        "format": FORMAT,
        "synthetic": document["data"]["synthetic"],
        **asdict(cell),
        "parameters": find_student(cell.student).parameters_with_statistics,
        "features": student_of(cell).features or find_student(cell.student).features,
        "batch_size": STUDENT_FIT.batch_size,
        "precision": fit_of(cell).precision,
        "clips": document["data"]["clips"],
        "validation": arm.validation,
        "test": arm.test["accuracy"],
        "test_interval_95": arm.test["interval_95"],
        "looks": document["arms"][0]["looks"],
        "validation_by_step": _validations(result.folder / "log.jsonl"),
        "teacher": {key: result.teacher[key] for key in ("sha256", "validation", "inspection")}
        if result.teacher
        else None,
        "train_seconds": round(seconds, 1),
        "tools": document["tools"],
        "git": document["git"],
        "finished_unix_s": document["finished_unix_s"],
    }


def _validations(log: Path) -> list[tuple[int, float]]:
    """(step, accuracy) of the student's validations; each step once, though a resumed run logs some twice."""
    records = [json.loads(text) for text in log.read_text(encoding="utf-8").splitlines()]
    own = [record for record in records if record["stage"].startswith("student") and "validation_accuracy" in record]
    return sorted({record["step"]: record["validation_accuracy"] for record in own}.items())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines so far; a last one that was cut short is left out, and goes when another is appended."""
    if not path.exists():
        return []
    texts = path.read_text(encoding="utf-8").split("\n")
    lines = [json.loads(text) for text in texts[:-1] if text]
    unknown = [line["format"] for line in lines if line["format"] != FORMAT]
    if unknown:
        raise SystemExit(f"{path} has lines of format {unknown[0]!r}, expected {FORMAT!r}; give another --lines")
    return lines


def run_grid(wanted: Sequence[Cell], place: Place, path: Path, jobs: int) -> None:
    """Trains what has no line yet, and appends a line whenever one ends."""
    keys = tuple(Cell.__dataclass_fields__)
    done = {tuple(line[key] for key in keys) for line in read_lines(path)}
    waiting = [cell for cell in wanted if tuple(getattr(cell, key) for key in keys) not in done]
    print(f"{len(wanted)} trainings, {len(wanted) - len(waiting)} with a line in {path}", file=sys.stderr)
    mega = sum(round(cell.cost / 1e9) for cell in waiting)
    context = multiprocessing.get_context("spawn")
    with progress("grid, by work", mega) as advance, ProcessPoolExecutor(jobs, mp_context=context) as pool:
        for cell, line in _in_order_of_ending(pool, waiting, place, jobs):
            append_lines(path, json.dumps(line, sort_keys=True) + "\n")
            advance(round(cell.cost / 1e9))


def _in_order_of_ending(
    pool: ProcessPoolExecutor, waiting: Sequence[Cell], place: Place, jobs: int
) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Cells with their lines; no more are handed out than there are processes, so that Ctrl-C ends soon."""
    left = list(waiting)
    running: dict[Future[dict[str, Any]], Cell] = {}
    while left or running:
        while left and len(running) < jobs:
            cell = left.pop(0)
            running[pool.submit(train, cell, place)] = cell
        ended, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in ended:
            yield running.pop(future), future.result()


def prepare(folder: Path, lengths: Sequence[int], given: dict[int, Path]) -> Place:
    """Corpora and teachers, made where they are missing; the same settings give the same corpora everywhere."""
    words = folder / "words"
    if not (words / "synthetic.json").exists():
        with progress("speaking", WORDS.clips) as advance:
            make_corpus(words, WORDS, jobs=available_cores(), advance=advance)
    for seconds in lengths:
        plan = plan_noisy(words, NoisySettings(seconds=seconds, seed=WORDS.seed))
        noisy = folder / f"noisy-{seconds}"
        if not is_made_already(noisy, plan, force=False):
            with progress(f"mixing {seconds} s", len(plan.clips)) as advance:
                make_noisy(noisy, plan, jobs=available_cores(), advance=advance)
    teachers: dict[int, Path] = {}
    before = ""
    for seconds in sorted(lengths):
        packed = TEACHERS / f"teacher-{seconds}s.safetensors"
        teachers[seconds] = given.get(seconds) or (packed if packed.exists() else _teacher(folder, seconds, before))
        before = str(teachers[seconds])
    for seconds, path in teachers.items():
        print(f"teacher of {seconds} s: {path}, sha256 {sha256_of(path)[:12]}", file=sys.stderr)
    return Place(folder=folder, teachers=teachers)


def _teacher(folder: Path, seconds: int, before: str) -> Path:
    """The teacher of one length, trained in a run whose one student is not used."""
    config = TrainConfig(
        run=str(folder / f"teacher-{seconds}"),
        data=DataConfig(folder=str(folder / f"noisy-{seconds}"), silence="noise"),
        student=StudentConfig(name="tcresnet8"),
        student_fit=FitConfig(steps=1, validate_every=1),
        teacher=TeacherConfig(checkpoint=before),
        teacher_fit=TEACHER_FITS[seconds],
        distill=DistillConfig(lambdas=(CONTROL_LAMBDA,)),
        augment=AUGMENT,
    )
    return run_training(config, progress, resume=True).folder / "teacher.safetensors"


def main(argv: Sequence[str] | None = None) -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="corpora, teachers and runs; about 12 GB for 2 and 8 s")
    parser.add_argument("--lines", type=Path, default=LINES, help="where a line a training goes (default: %(default)s)")
    parser.add_argument("--table", type=Path, metavar="FILE.md", help="write the tables of the lines")
    parser.add_argument("--students", nargs="+", default=STUDENTS, metavar="NAME")
    parser.add_argument("--seconds", nargs="+", type=int, default=SECONDS, choices=tuple(TEACHER_FITS))
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds (default: %(default)s)")
    parser.add_argument("--lambdas", nargs="+", type=float, default=LAMBDAS, metavar="LAMBDA", help="of the teacher")
    parser.add_argument("--controls", nargs="*", default=CONTROLS, choices=CONTROLS, metavar="GUIDE",
                        help="of the students that have them; none where nothing follows")  # fmt: skip
    parser.add_argument("--steps", type=int, default=STUDENT_FIT.steps, help="updates (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=STUDENT_FIT.learning_rate, metavar="RATE",
                        help="at its highest (default: %(default)s)")  # fmt: skip
    parser.add_argument(
        "--jobs", type=int, default=available_cores(), help="trainings at a time (default: %(default)s)"
    )
    parser.add_argument("--teacher", nargs=2, action="append", default=[], metavar=("SECONDS", "FILE"),
                        help="a teacher that is there already")  # fmt: skip
    options = parser.parse_args(argv)
    if options.folder:
        given = {int(seconds): Path(path) for seconds, path in options.teacher}
        place = prepare(options.folder, sorted(options.seconds), given)
        wanted = cells(
            options.students,
            sorted(options.seconds),
            options.seeds,
            options.steps,
            options.lambdas,
            options.controls,
            options.learning_rate,
        )
        run_grid(wanted, place, options.lines, options.jobs)
    elif not options.table:
        parser.error("--folder to train, or --table to write tables of what there is")
    if options.table:
        write_tables(read_lines(options.lines), options.table)
        print(f"wrote {options.table}", file=sys.stderr)


if __name__ == "__main__":
    main()
