"""A rehearsal prints what would be run, and touches nothing."""

from pathlib import Path

import pytest

from android_bench import native_install
from android_bench.cli import main
from android_bench.native_install import Installation
from android_bench.rehearsal import Rehearsal
from tests.android_bench.phone_toys import ToyPhone


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADB_SERVER_SOCKET", "tcp:127.0.0.1:1")


def test_on_the_host_each_command_is_printed_in_order(exports, capsys):
    code = main(["--dry-run", "--exports", str(exports), "--blocks", "2", "--cores", "1"])
    lines = capsys.readouterr().out.splitlines()

    assert code == 0
    assert [line.split("stages=")[1].split()[0] for line in lines] == (
        ["golden,latency"] * 4 + ["memory"] * 2 + ["golden,eval"] * 2
    )
    assert ["int8" in line for line in lines[:4]] == [False, True, True, False]
    assert all(line.startswith("taskset 1 ") for line in lines)
    assert list(Path().iterdir()) == []


def test_of_a_phone_pushes_and_gates_are_printed_too(exports, capsys, monkeypatch):
    command = ("/data/local/tmp/tkd/0/runner", "engine=/data/local/tmp/tkd/1/e.so")
    install = lambda _device, _cache, _libcs: Installation(command=command, facts={})  # noqa: E731
    monkeypatch.setattr(native_install, "install_runner", install)

    code = main(["--dry-run", "--device", "pixel1", "--exports", str(exports), "--blocks", "1"])
    lines = capsys.readouterr().out.splitlines()

    assert code == 0
    assert [line.split()[0] for line in lines] == ["push"] * 8 + ["gate"] + ["taskset"] * 7
    assert lines[9] == f"taskset c {' '.join(command)} stages=probe"
    assert lines[10].startswith(f"taskset c {' '.join(command)} model=/data/local/tmp/tkd/")


def test_files_go_where_they_would_go_on_the_phone(exports, tmp_path):
    (tmp_path / "phone").mkdir()
    toy = ToyPhone(tmp_path / "phone")
    local = exports / "toy-int8" / "model.tflite"
    with toy.daemon() as daemon:
        phone = toy.phone(daemon.port)
        remote = phone.push(local)
        phone.close()

    assert Rehearsal((), phone.folder).push(local) == remote
