"""A sweep: one training run for every combination of some settings, each in a folder of its own.

    --sweep student.name=tcresnet8,crnn --sweep seed=1,2
        runs/NAME/student.name-tcresnet8+seed-1/   an ordinary run
        runs/NAME/student.name-tcresnet8+seed-2/   …
        runs/NAME/sweep.jsonl                      one line a finished run, in the order of the combinations

Everything is checked before anything starts; a run that is finished is recalled and not repeated.
Before this: `tkd.cli.train` and `tkd.settings`. After this: `tkd.train.run` does each run.
Format of the rows: `tkd.sweep/1`. Tested in `tests/tkd/train/test_sweep.py`.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from converters.files import write_text
from tkd.errors import CheckpointError, SettingsError, TkdError
from tkd.settings import load_settings
from tkd.train.config import TrainConfig
from tkd.train.corpus import Display, open_data
from tkd.train.lock import run_lock
from tkd.train.processes import ALONE, Processes
from tkd.train.record import RunResult
from tkd.train.run import look_at_folder, run_training

SWEEP_FORMAT = "tkd.sweep/1"
ROWS = "sweep.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A setting and the values that it takes.

    Attributes:
        key: `table.key`, as `--set` takes it.
        values: in TOML's notation, as they were given; at least one, no two alike.
    """

    key: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One combination.

    Attributes:
        name: of its folder inside the sweep's.
        settings: what is swept, by key, in TOML's notation.
        config: of the run.
    """

    name: str
    settings: dict[str, str]
    config: TrainConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """All combinations of some settings.

    Attributes:
        folder: of the sweep.
        trials: the last axis changes fastest.
    """

    folder: Path
    trials: tuple[Trial, ...]


def read_axis(text: str) -> Axis:
    """The axis that `--sweep key=value,value` describes; commas inside brackets or quotes separate nothing.

    >>> read_axis("seed=1,2").values
    ('1', '2')
    >>> read_axis("distill.lambdas=[0.0, 0.1],[0.5]").values
    ('[0.0, 0.1]', '[0.5]')

    Raises:
        SettingsError: there is no value, or one is there twice, or the key is that of the folder.
    """
    key, equals, rest = text.partition("=")
    key, values = key.strip(), tuple(_split(rest))
    if not key or not equals or not all(values):
        raise SettingsError(f"--sweep {text}: expected table.key=value,value")
    twice = next((value for value in values if values.count(value) > 1), None)
    if twice is not None:
        raise SettingsError(f"--sweep {text}: {twice} is there twice; give each value once")
    if key == "run":
        raise SettingsError(
            "--sweep run=…: each run of a sweep has its folder from what is swept; give --set run=FOLDER"
        )
    return Axis(key=key, values=values)


def plan_sweep(path: Path, overrides: Sequence[str], axes: Sequence[Axis]) -> Sweep:
    """Every combination of the axes on one configuration, checked.

    Raises:
        SettingsError: a key or value is no setting, or two combinations are the same run.
        DataError: a data set that is named is not there.
    """
    keys = [axis.key for axis in axes]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise SettingsError(f"--sweep {twice} is there twice; give all its values in one")
    changed = next((key for key in keys for each in overrides if each.partition("=")[0].strip() == key), None)
    if changed is not None:
        raise SettingsError(f"--set {changed} and --sweep {changed} contradict each other; leave one out")
    trials = []
    for values in itertools.product(*(axis.values for axis in axes)):
        settings = dict(zip(keys, values, strict=True))
        config = load_settings(path, TrainConfig, [*overrides, *(f"{key}={value}" for key, value in settings.items())])
        name = "+".join(f"{key}-{_plain(value)}" for key, value in settings.items())
        folder = Path(config.run)
        trials.append(Trial(name=name, settings=settings, config=replace(config, run=str(folder / name))))
    _check_different(trials)
    for data in {trial.config.data for trial in trials}:
        open_data(data)
    return Sweep(folder=folder, trials=tuple(trials))


def run_sweep(
    sweep: Sweep,
    display: Display,
    *,
    restart: bool = False,
    resume: bool = False,
    processes: Processes = ALONE,
) -> list[dict[str, Any]]:
    """Runs, continues or recalls every run of a sweep; the rows of all its runs, in order.

    `sweep.jsonl` is written anew, whole, after each run; rows of combinations that this call does not name stay.

    Args:
        sweep: the combinations.
        display: shows progress; the titles carry the place in the sweep.
        restart: deletes what the folder holds of an earlier sweep.
        resume: continues an interrupted sweep, or one to which combinations were added.
        processes: must be one; several share single runs only.

    Raises:
        SettingsError: there are several processes; or the folder holds a sweep and neither was asked for, or
            something else.
        CheckpointError: a run was made with other settings, or the rows cannot be read. Nothing has started then.
        TkdError: a run failed; the message names it. Rows of those before it are kept.
    """
    if processes.count > 1:
        raise SettingsError(
            f"a sweep runs in one process, saw {processes.count}; leave torchrun out, or leave out --sweep"
        )
    with run_lock(sweep.folder):
        rows = _look_at_sweep(sweep, restart=restart, resume=resume)
        if restart and sweep.folder.is_dir():
            shutil.rmtree(sweep.folder)
        _write_rows(sweep, rows)  # marks the folder as a sweep's before the first run is in it
        for number, trial in enumerate(sweep.trials, start=1):
            try:
                result = run_training(
                    trial.config, _titled(display, f"{number}/{len(sweep.trials)} "), resume=True, processes=processes
                )
            except TkdError as error:
                raise TkdError(f"run {number} of {len(sweep.trials)}, {trial.name}: {error}") from error
            rows[trial.name] = _row(trial, result)
            _write_rows(sweep, rows)
        return [rows[trial.name] for trial in sweep.trials]


def read_rows(path: Path) -> dict[str, dict[str, Any]]:
    """The rows of a sweep by the name of the run; none where there is no file.

    Raises:
        CheckpointError: a line is no row.
    """
    if not path.exists():
        return {}
    rows = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            if row["format"] != SWEEP_FORMAT:
                raise CheckpointError(f"{path} line {number} has format {row['format']!r}; expected {SWEEP_FORMAT!r}")
            rows[str(row["run"])] = row
        except (json.JSONDecodeError, KeyError, TypeError) as cause:
            raise CheckpointError(
                f"{path} line {number} cannot be read ({type(cause).__name__}); delete the file: --resume writes it "
                "again from the finished runs"
            ) from cause
    return rows


def _look_at_sweep(sweep: Sweep, *, restart: bool, resume: bool) -> dict[str, dict[str, Any]]:
    """The rows that are kept; refuses a folder that must not be written to, and does nothing else."""
    folder = sweep.folder
    if not folder.is_dir() or not any(folder.iterdir()):
        return {}
    if not _is_a_sweeps(folder):
        raise SettingsError(
            f"{folder} is not empty and not the folder of a sweep; choose another with --set run=FOLDER"
        )
    if restart:
        return {}
    if not resume:
        raise SettingsError(f"{folder} holds a sweep; --resume continues it, --restart deletes it and begins anew")
    for trial in sweep.trials:
        look_at_folder(Path(trial.config.run), trial.config, restart=False, resume=True)
    return read_rows(folder / ROWS)


def _write_rows(sweep: Sweep, rows: dict[str, dict[str, Any]]) -> None:
    """Rows of combinations that are not in this call first, the others in its order."""
    order = {trial.name: place for place, trial in enumerate(sweep.trials)}
    ordered = sorted(rows.values(), key=lambda row: order.get(row["run"], -1))
    write_text(sweep.folder / ROWS, "".join(json.dumps(row, sort_keys=True) + "\n" for row in ordered))


def _is_a_sweeps(folder: Path) -> bool:
    """Whether a folder holds the file of rows, and else only runs, and what a killed writer or run left."""
    others = [
        path
        for path in folder.iterdir()
        if not path.name.startswith((ROWS, f".{ROWS}.")) and not re.fullmatch(r"\..*\.lock", path.name)
    ]
    return (folder / ROWS).exists() and all((path / "config.json").exists() for path in others)


def _row(trial: Trial, result: RunResult) -> dict[str, Any]:
    chosen = result.chosen
    return {
        "format": SWEEP_FORMAT,
        "run": trial.name,
        "set": trial.settings,
        "student": result.student,
        "seed": trial.config.seed,
        "data": result.document["data"]["name"],
        "synthetic": result.document["data"]["synthetic"],
        "metric": result.metric,
        "lambda": chosen.weight,
        "validation": chosen.validation,
        "test": chosen.test[result.metric],
        "interval_95": chosen.test["interval_95"],
        "sha256": next(arm["sha256"] for arm in result.document["arms"] if arm["checkpoint"] == chosen.checkpoint.name),
        "seconds": round(sum(result.document["seconds"].values()), 1),
        "finished_unix_s": result.document["finished_unix_s"],
    }


def _check_different(trials: Sequence[Trial]) -> None:
    seen: dict[str, str] = {}
    for trial in trials:
        for mark in (trial.name, trial.config.digest()):
            if mark in seen:
                raise SettingsError(f"{seen[mark]} and {trial.name} are the same run; give each value once")
            seen[mark] = trial.name


def _split(text: str) -> Iterator[str]:
    """The parts between commas outside brackets and quotes, stripped."""
    depth, quote, part = 0, "", ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter in "[{":
            depth += 1
        elif letter in "]}":
            depth -= 1
        if letter == "," and not depth and not quote:
            yield part.strip()
            part = ""
        else:
            part += letter
    yield part.strip()


def _plain(value: str) -> str:
    """A value as a part of a folder's name."""
    return re.sub(r"[^\w.-]+", "_", value).strip("_") or "_"


def _titled(display: Display, before: str) -> Display:
    return lambda title, total: display(before + title, total)
