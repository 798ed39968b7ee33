"""A training run and its folder: begun, continued, recalled or refused.

Before this: `tkd.train.config`. After this: `tkd.train.stages` does the work, `tkd.train.record` describes the end.
Tested in `tests/tkd/train/test_run.py`.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from converters.command_line import available_cores
from converters.files import sha256_of, write_text
from tkd.errors import CheckpointError, SettingsError
from tkd.settings import to_table
from tkd.train.config import TrainConfig
from tkd.train.corpus import Corpus, Display, load_corpus
from tkd.train.lock import run_lock
from tkd.train.log import RunLog
from tkd.train.processes import ALONE, Processes
from tkd.train.record import RunResult, read_run
from tkd.train.stages import Stages


def run_training(
    config: TrainConfig,
    display: Display,
    *,
    restart: bool = False,
    resume: bool = False,
    processes: Processes = ALONE,
    attention_folder: Path | None = None,
) -> RunResult:
    """Runs, continues or recalls a training run.

    Args:
        config: the settings.
        display: shows progress.
        restart: deletes what the folder holds of an earlier run.
        resume: continues an interrupted run of the same settings; a completed one is recalled.
        processes: those that share the work; each calls this function and gets the same result.
        attention_folder: where the teacher's attention is kept, for runs that share one; None for the run's folder.

    Raises:
        SettingsError: the folder holds a run and neither `restart` nor `resume` was asked for, or is not a run's, or
            another process works there.
        CheckpointError: what is to be resumed was made with other settings, on other data, or is damaged.
        DataError, AudioError, TeacherError: the data or the teacher cannot be used.
    """
    folder = Path(config.run)
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"{folder} is a file, expected the folder of a run; choose another with --set run=FOLDER")
    with run_lock(folder) if processes.is_first else nullcontext():
        return _run(
            folder,
            config,
            display,
            restart=restart,
            resume=resume,
            processes=processes,
            attention_folder=attention_folder,
        )


def _run(
    folder: Path,
    config: TrainConfig,
    display: Display,
    *,
    restart: bool,
    resume: bool,
    processes: Processes,
    attention_folder: Path | None,
) -> RunResult:
    # Before the first process writes: what one sees, all see.
    finished = look_at_folder(folder, config, restart=restart, resume=resume)
    processes.wait()
    if finished is not None:
        return finished
    with processes.first_goes_ahead():  # it fills the cache of clips
        corpus = load_corpus(config.data, display)
    if not restart:
        _check_data(folder, corpus)
    processes.wait()
    # Only now is anything deleted or written: a misspelt data folder costs nothing.
    if processes.is_first:
        _prepare_folder(folder, config, corpus, restart=restart)
    processes.wait()
    # One core prepares batches. Threads beyond the cores make OpenMP spin: 1.3 s instead of 0.1 s a step was seen.
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    torch.set_num_threads(max(1, available_cores() // here - 1))
    with RunLog(folder) if processes.is_first else nullcontext() as log:
        stages = Stages(
            config=config,
            folder=folder,
            display=display,
            log=log,
            attention_folder=attention_folder,
            processes=processes,
        )
        return stages.run(corpus)


def look_at_folder(folder: Path, config: TrainConfig, *, restart: bool, resume: bool) -> RunResult | None:
    """The completed run that is already there; else None, when there is work to do and the folder allows it.

    Raises:
        SettingsError: the folder holds a run and neither `restart` nor `resume` was asked for, or is not a run's.
        CheckpointError: the run there has other settings.
    """
    settings = folder / "config.json"
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"{folder} is a file, expected the folder of a run; choose another with --set run=FOLDER")
    if folder.is_dir() and any(folder.iterdir()) and not _is_a_runs(folder):
        raise SettingsError(f"{folder} is not empty and not the folder of a run; choose another with --set run=FOLDER")
    if settings.exists() and not restart:
        state = "a completed" if (folder / "run.json").exists() else "an unfinished"
        if not resume:
            raise SettingsError(
                f"{folder} holds {state} run; --resume continues it, --restart deletes it and begins anew"
            )
        if _stored_digest(settings) != config.digest():
            raise CheckpointError(
                f"{folder} holds {state} run of other settings; --restart deletes it, --set run=FOLDER leaves it alone"
            )
        if (folder / "run.json").exists():
            return _with_its_student(read_run(folder))
    return None


def _with_its_student(done: RunResult) -> RunResult:
    """A completed run, once the student that it speaks of is there as it was."""
    path = done.folder / "student.safetensors"
    chosen = done.chosen.checkpoint.name
    expected = next(arm["sha256"] for arm in done.document["arms"] if arm["checkpoint"] == chosen)
    if not path.exists() or sha256_of(path) != expected:
        raise CheckpointError(f"{path} is missing or not the one that run.json speaks of; --restart begins anew")
    return done


def _is_a_runs(folder: Path) -> bool:
    """Whether a folder may be deleted as a run: many hold a config.json, a teacher of `transformers` among them."""
    settings = folder / "config.json"
    if not settings.exists():
        return False
    return (folder / "log.jsonl").exists() or b'"digest"' in settings.read_bytes()


def _prepare_folder(folder: Path, config: TrainConfig, corpus: Corpus, *, restart: bool) -> None:
    if restart and folder.is_dir():
        shutil.rmtree(folder)
    state = {"digest": config.digest(), "data_fingerprint": corpus.description["fingerprint"]}
    write_text(folder / "config.json", json.dumps({**state, **to_table(config)}, indent=2) + "\n")


def _check_data(folder: Path, corpus: Corpus) -> None:
    """Refuses to continue on other clips, labels or sounds than the run began with.

    Raises:
        CheckpointError: they changed.
    """
    settings = folder / "config.json"
    stored = _stored(settings).get("data_fingerprint") if settings.exists() else None
    seen = corpus.description["fingerprint"]
    if stored is not None and stored != seen:
        raise CheckpointError(
            f"{folder} holds an unfinished run on other data: clips, labels or sounds of "
            f"{corpus.description['folder']} have changed since it began (fingerprint {stored}, now {seen}); bring "
            "them back, or begin anew with --restart"
        )


def _stored_digest(settings: Path) -> str:
    return str(_stored(settings)["digest"])


def _stored(settings: Path) -> dict[str, Any]:
    try:
        stored: dict[str, Any] = json.loads(settings.read_text(encoding="utf-8"))
        stored["digest"]
        return stored
    except (ValueError, KeyError, TypeError) as cause:
        raise CheckpointError(f"{settings} cannot be read ({cause}); --restart begins anew") from cause
