import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tkd.audio.wav import Int16
from tkd.cli.data import main
from tkd.data import workers

ROOT = Path(__file__).parents[3]


def test_check_prints_what_a_good_corpus_holds_and_exits_with_0(
    spoken_corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["check", str(spoken_corpus), "-q"])

    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    assert "SYNTHETIC speech, 35 words" in out
    assert "background noise: 10 recordings, 600.0 s" in out
    assert out.endswith("nothing is wrong\n")


def test_check_lists_and_counts_the_faults_and_exits_with_1(
    small_corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for speaker in range(4):
        for word in ("yes", "no", "up"):
            (small_corpus / word / f"0000000{speaker}_nohash_0.wav").write_bytes(b"<html>")

    code = main(["check", str(small_corpus), "-q"])

    out, _ = capsys.readouterr()
    assert code == 1
    assert "15 faults\n  not a wav: 12\n    no/00000000_nohash_0.wav: not a wav file (it starts with b'<htm')" in out
    assert "… and 4 more (-v or --json lists all)" in out
    assert "class missing in a split: 3" in out


def test_check_writes_its_report_as_json(small_corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (small_corpus / "yes" / "00000000_nohash_0.wav").write_bytes(b"<html>")

    codes = [main(["check", str(small_corpus), "-q", "--json", target])
             for target in ("-", str(small_corpus.parent / "report.json"))]  # fmt: skip

    report = json.loads((small_corpus.parent / "report.json").read_text())
    assert codes == [1, 1]
    assert report == json.loads(capsys.readouterr().out.partition(f"{small_corpus}: rec")[0])
    assert (report["format"], report["fault_counts"]) == ("tkd.check/1", {"not a wav": 1})


@pytest.mark.parametrize("folder", ["nowhere", "."])
def test_check_of_no_data_set_exits_with_2(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    code = main(["check", folder])

    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err.startswith(f"tkd-data: {folder} ")
    assert "make one with tkd-data synth" in err


def test_synth_finds_the_same_corpus_there_and_does_nothing(
    spoken_corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in spoken_corpus.rglob("*")}

    code = main(["synth", "--out", str(spoken_corpus), "--clips", "600", "-q"])

    out, _ = capsys.readouterr()
    assert code == 0
    assert "is there already, made with the same settings" in out
    assert "SYNTHETIC speech (espeak-ng 1." in out
    assert {path: path.stat().st_mtime_ns for path in spoken_corpus.rglob("*")} == before


@pytest.mark.parametrize(("options", "message"), [
    (["--clips", "10"], "clips is 10; expected 120 or more"),
    (["--clips", "200", "--jobs", "0"], "jobs is 0; expected 1 or more"),
    (["--snr-db", "30", "5"], "snr_db is 30 to 5; expected the lower number first"),
])  # fmt: skip
def test_synth_refuses_impossible_settings_with_2_and_writes_nothing(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["synth", "--out", str(tmp_path / "out"), *options])

    assert (code, message in capsys.readouterr().err, list(tmp_path.iterdir())) == (2, True, [])


def test_synth_refuses_a_folder_that_it_did_not_make(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("mine")

    code = main(["synth", "--out", str(tmp_path)])

    assert code == 2
    assert "is not empty and was not made by tkd-data" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_full_disk_ends_with_4_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, _samples: Int16) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(workers, "write_wav", full)

    code = main(["synth", "--out", str(tmp_path / "out"), "--clips", "120", "--jobs", "1"])

    assert code == 4
    assert "No space left on device; free some space and run it again" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_with_130_and_leaves_neither_files_nor_processes(tmp_path: Path) -> None:
    process, children = _start_synth(tmp_path)

    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    _, err = process.communicate(timeout=30)

    assert (process.returncode, err) == (130, "tkd-data: interrupted\n")
    assert list(tmp_path.iterdir()) == []
    assert _alive_after_a_while(children) == []


def test_a_killed_worker_ends_with_2_and_leaves_neither_files_nor_processes(tmp_path: Path) -> None:
    process, children = _start_synth(tmp_path)

    worker = next(child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes())
    os.kill(worker, signal.SIGKILL)
    _, err = process.communicate(timeout=30)

    assert process.returncode == 2
    assert "a worker process died, perhaps for lack of memory; run it again with fewer --jobs" in err
    assert list(tmp_path.iterdir()) == []
    assert _alive_after_a_while(children) == []


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    process, children = _start_synth(tmp_path)

    process.kill()
    process.communicate(timeout=30)

    assert not (tmp_path / "out").exists()
    assert _alive_after_a_while(children) == []


def _start_synth(folder: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """A `tkd-data synth` that has begun to write, and the ids of its processes."""
    command = [
        sys.executable,
        "-m",
        "tkd.cli.data",
        "synth",
        "-q",
        "--jobs",
        "2",
        "--out",
        str(folder / "out"),
        "--clips",
        "90000",
    ]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while not any(folder.rglob("*.wav")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) >= 2
    return process, [int(child) for child in children]


def _alive_after_a_while(processes: list[int]) -> list[int]:
    """Those of the processes that are still there after up to ten seconds."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and any(map(_is_alive, processes)):
        time.sleep(0.05)
    return [process for process in processes if _is_alive(process)]


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"


def test_help_ends_with_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])

    assert end.value.code == 0
    assert "130  interrupted" in capsys.readouterr().out


def test_options_may_stand_before_or_after_the_command(spoken_corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    codes = [main(["-q", "check", str(spoken_corpus)]), main(["check", "-q", str(spoken_corpus)])]

    assert (codes, capsys.readouterr().err) == ([0, 0], "")
