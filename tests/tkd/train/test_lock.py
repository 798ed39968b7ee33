import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from converters.command_line import ExitCode
from tests.tkd.conftest import silent
from tkd.audio.wav import write_wav
from tkd.cli.train import main
from tkd.errors import CheckpointError, SettingsError
from tkd.train.config import TrainConfig
from tkd.train.lock import run_lock
from tkd.train.run import run_training

HOLDER = """
import sys
from pathlib import Path
from tkd.train.lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def holder(folder: Path) -> "subprocess.Popen[str]":
    """A process that has locked a run's folder until its input ends."""
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdin=pipe, stdout=pipe, text=True)
    assert process.stdout is not None
    assert "locked\n" == process.stdout.readline()
    return process


def test_a_second_process_is_refused_and_told_who_works_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "c.toml"
    config.write_text(
        f'run = "{tmp_path / "run"}"\n[data]\nfolder = "{tmp_path}"\n[student]\nname = "tcresnet8"\n'
        "[student_fit]\nsteps = 1\n[distill]\nlambdas = [0.0]\n"
    )
    process = holder(tmp_path / "run")

    code = main([str(config)])

    err = capsys.readouterr().err
    assert (ExitCode.USAGE, False) == (code, (tmp_path / "run").exists())
    assert f"another tkd-train works in {tmp_path / 'run'} (process {process.pid} on {socket.gethostname()}, " in err
    assert "--set run=FOLDER" in err
    process.communicate()
    assert not (tmp_path / ".run.lock").exists()


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    process = holder(tmp_path / "run")
    process.kill()
    process.communicate()
    assert (tmp_path / ".run.lock").exists()

    with run_lock(tmp_path / "run"):
        assert os.getpid() == json.loads((tmp_path / ".run.lock").read_text())["pid"]

    assert not (tmp_path / ".run.lock").exists()


def test_the_same_process_cannot_work_twice_in_a_folder_and_can_in_two(tmp_path: Path) -> None:
    def twice() -> None:
        with run_lock(tmp_path / "a"), run_lock(tmp_path / "b"), run_lock(tmp_path / "a"):
            pass

    for _ in range(2):  # the refusal leaves nothing locked
        with pytest.raises(SettingsError, match="another tkd-train works in"):
            twice()
    assert [] == list(tmp_path.iterdir())


def test_an_owner_that_has_not_written_its_name_yet_is_no_crash(tmp_path: Path) -> None:
    with run_lock(tmp_path / "a"):
        (tmp_path / ".a.lock").write_bytes(b"")
        with pytest.raises(SettingsError, match="it has only just begun"), run_lock(tmp_path / "a"):
            pass


def unfinished(tiny_config: TrainConfig) -> TrainConfig:
    """A run without a teacher that lacks its end."""
    config = replace(tiny_config, distill=replace(tiny_config.distill, lambdas=(0.0,)))
    run_training(config, silent)
    (Path(config.run) / "run.json").unlink()
    return config


@pytest.mark.parametrize("change", ["sound", "label", "gone"])
def test_a_resume_on_changed_data_is_refused_and_changes_nothing(
    tiny_config: TrainConfig, small_corpus: Path, change: str
) -> None:
    here = replace(tiny_config, data=replace(tiny_config.data, folder=str(small_corpus)))
    config = unfinished(here)
    before = (Path(config.run) / "config.json").read_bytes()
    clip = small_corpus / "yes" / "00000001_nohash_0.wav"
    if change == "sound":
        write_wav(clip, np.arange(16_000, dtype=np.int16))
    elif change == "label":
        clip.rename(small_corpus / "no" / "0000000a_nohash_0.wav")
    else:
        clip.unlink()

    with pytest.raises(CheckpointError, match=r"on other data: clips, labels or sounds of .* have changed since it"):
        run_training(config, silent, resume=True)

    assert before == (Path(config.run) / "config.json").read_bytes()
    assert run_training(config, silent, restart=True).chosen.weight == 0.0


def test_a_resume_on_the_same_data_goes_on(tiny_config: TrainConfig) -> None:
    config = unfinished(tiny_config)
    assert run_training(config, silent, resume=True).chosen.weight == 0.0
