"""Virtual phones switched on and off: one at a time, whatever the last process left behind."""

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from android_bench.adb.choose import Manners, Wish, find_phone
from android_bench.cli import main
from android_bench.errors import BenchError, DeviceError, MissingToolError
from android_bench.native_build import build
from android_bench.profiles import load_profile
from android_bench.virtual_phone.arm64 import find_emulator, probe_program
from android_bench.virtual_phone.root import lay_out
from android_bench.virtual_phone.twin import load_twin
from android_bench.virtual_phones import switch_off, switched_on, switched_on_phones
from tests.android_bench.pocket_toys import NEEDS_EMULATOR

NAME = "virtual-pixel1"


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A user with a cache and keys of their own, and no adb server."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "1")
    for name in ("ANDROID_USER_HOME", "ADB_VENDOR_KEYS", "ANDROID_SERIAL", "ADB_SERVER_SOCKET"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    return tmp_path


@pytest.fixture
def our_cache(home) -> Path:
    return home / "cache" / "tkd"


def serve(*words: str) -> subprocess.Popen[str]:
    """`tkd-bench phone serve` in a process of its own, after its first line."""
    process = subprocess.Popen(
        [sys.executable, "-m", "android_bench.cli", "phone", "serve", NAME, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith(f"{NAME} is on: 127.0.0.1:"), process.communicate(timeout=60)
    return process


@NEEDS_EMULATOR
def test_our_own_client_reaches_it_and_strangers_do_not(our_cache, tmp_path):
    with switched_on(NAME, our_cache, os.environ) as there:
        wish = Wish(profile=load_profile("pixel1"), connect=there.address)
        with find_phone(wish, os.environ) as phone:
            assert phone.facts().model == "Pixel"
            assert phone.run(("getprop", "tkd.emulator.cpu"), 20).stdout == "cortex-a57\n"
        with pytest.raises(DeviceError, match="does not know this computer's key"):
            find_phone(wish, os.environ, Manners(authorize_s=0.5, home=tmp_path / "stranger")).close()

    assert switched_on_phones(our_cache) == []


@NEEDS_EMULATOR
def test_a_second_one_of_the_name_is_refused_and_another_is_not(our_cache):
    with switched_on(NAME, our_cache, os.environ) as there:
        with (
            pytest.raises(DeviceError, match=rf"is on already \(process {os.getpid()}, {there.address}\)"),
            switched_on(NAME, our_cache, os.environ),
        ):
            pass
        with switched_on("virtual-mi5", our_cache, os.environ) as other:
            assert [each.name for each in switched_on_phones(our_cache)] == ["virtual-mi5", NAME]
            assert other.port != there.port
        with pytest.raises(BenchError, match="on for a measurement by process"):
            switch_off(NAME, our_cache)


@NEEDS_EMULATOR
def test_what_a_dead_process_left_is_replaced(our_cache):
    process = serve()
    state = our_cache / "virtual" / NAME / "state.json"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)

    assert state.exists()
    assert switched_on_phones(our_cache) == []
    with switched_on(NAME, our_cache, os.environ):
        assert json.loads(state.read_text())["pid"] == os.getpid()
    assert not state.exists()


@NEEDS_EMULATOR
def test_it_is_served_listed_and_stopped(our_cache, capsys):
    process = serve()

    assert main(["phone", "list"]) == 0
    assert f"{NAME}   on: 127.0.0.1:" in capsys.readouterr().out
    assert main(["phone", "serve", NAME]) == 4
    assert "is on already" in capsys.readouterr().err
    assert main(["phone", "stop", NAME]) == 0
    assert process.wait(60) == 0
    process.communicate()
    assert main(["phone", "stop", NAME]) == 2
    assert f"{NAME} is not on; see: tkd-bench phone list" in capsys.readouterr().err


@NEEDS_EMULATOR
def test_a_port_that_is_taken_is_named(home, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        assert main(["phone", "serve", NAME, "--port", str(port)]) == 4

    assert f"port {port} on 127.0.0.1 cannot be had" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["phone", "serve", "virtual-pixel"], 2, "did you mean 'virtual-pixel1'"),
        (["phone", "serve", NAME, "--port", "70000"], 2, "--port is 70000; expected 1 to 65535"),
        (["phone", "serve", "pixel1"], 2, "no virtual phone is called 'pixel1'"),
        (["phone", "stop", "nobody"], 2, "no virtual phone is called 'nobody'"),
    ],
)
def test_what_cannot_be_meant_is_refused(home, capsys, words, code, message):
    assert main(words) == code
    assert message in capsys.readouterr().err


def test_without_the_emulator_it_says_what_to_install(home, capsys, monkeypatch):
    cc = shutil.which("cc")
    if cc is None:
        pytest.skip("no cc is here (Debian: gcc)")
    (home / "bin").mkdir()
    for tool in ("cc", "as", "ld"):
        (home / "bin" / tool).symlink_to(shutil.which(tool))
    monkeypatch.setenv("PATH", str(home / "bin"))

    hint = "Debian 12 and Ubuntu 24.04: apt-get install qemu-user;"
    assert main(["phone", "serve", NAME]) == 4
    assert f"virtual phones need qemu-aarch64, which is not here. {hint}" in capsys.readouterr().err
    assert main(["doctor", "--device", NAME]) == 4
    assert hint in capsys.readouterr().err
    assert main(["phone", "list"]) == 0
    assert f"{NAME}   needs qemu-aarch64 ({hint}" in capsys.readouterr().out
    assert main(["--device", NAME, "--threads", "4", "nothing"]) in (2, 4)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 0", "exit code 0, it said nothing"),
        ("echo broken >&2; exit 1", "exit code 1, broken"),
        (
            "echo \"qemu: unknown option 'plugin'\" >&2; exit 1",
            "this build of QEMU takes no plugins, as static ones do",
        ),
    ],
)
def test_an_emulator_that_cannot_count_is_no_emulator(tmp_path, script, reason):
    fake = tmp_path / "qemu"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    plugin = tmp_path / "counter.so"
    plugin.touch()
    folders = lay_out(load_twin(NAME), tmp_path / "phone")

    with pytest.raises(MissingToolError, match=f"cannot run and count .*overlaid: {reason}.*apt-get install qemu-user"):
        find_emulator(folders, "cortex-a57", plugin, way="overlaid", which=lambda _: str(fake))


@NEEDS_EMULATOR
def test_a_cache_with_something_in_the_way_says_what_to_remove(our_cache, capsys):
    place = our_cache / "virtual" / NAME
    place.mkdir(parents=True)
    (place / "root").write_text("not a folder")

    assert main(["phone", "serve", NAME]) == 4
    assert f"remove {place} and try again" in capsys.readouterr().err


@pytest.mark.parametrize("writes", ["Path.write_text", "shutil.copyfile", "Path.write_bytes"])
def test_a_full_disk_is_named_and_no_phone_is_on(our_cache, capsys, monkeypatch, writes):
    if not (shutil.which("qemu-aarch64") and shutil.which("cc")):
        pytest.skip("qemu-aarch64 or cc is not here")

    def full(*_words, **_options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x")

    build("counter", our_cache)
    monkeypatch.setattr(f"android_bench.virtual_phone.root.{writes}", full)

    assert main(["phone", "serve", NAME]) == 4
    assert "No space left on device (x); free some space and try again" in capsys.readouterr().err
    assert switched_on_phones(our_cache) == []


@NEEDS_EMULATOR
def test_what_is_damaged_in_the_cache_is_made_anew(our_cache):
    with switched_on(NAME, our_cache, os.environ):
        pass
    place = our_cache / "virtual" / NAME
    damaged = [place / "root/proc/cpuinfo", place / "overlay/proc/cpuinfo", place / "stage.plugins/counter.so"]
    for path in (*damaged, *(our_cache / "native").glob("counter-*/counter.so")):
        path.chmod(0o600)
        path.write_bytes(b"damaged")
    (place / "state.json").write_text("{damaged")

    assert switched_on_phones(our_cache) == []
    with switched_on(NAME, our_cache, os.environ) as there:
        assert [each.port for each in switched_on_phones(our_cache)] == [there.port]
    assert "Qualcomm" in damaged[0].read_text()
    assert damaged[2].read_bytes()[:4] == b"\x7fELF"


@NEEDS_EMULATOR
def test_a_phone_that_is_killed_in_mid_command_is_an_error_and_not_a_hang(our_cache):
    process = serve()
    there = switched_on_phones(our_cache)[0]
    with find_phone(Wish(profile=load_profile("pixel1"), connect=there.address), os.environ) as phone:
        phone.run(("true",), 20)
        killer = subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -9 {process.pid}"])
        with pytest.raises(DeviceError, match=r"may or may not have run|nothing listens"):
            phone.run(("sleep", "60"), 90)
    killer.wait(30)
    process.communicate(timeout=30)


@NEEDS_EMULATOR
@pytest.mark.parametrize("way", ["enclosed", "overlaid"])
def test_an_arm64_program_runs_in_either_way_and_is_counted(our_cache, tmp_path, way):
    program = tmp_path / "prog"
    program.write_bytes(probe_program())
    program.chmod(0o755)
    try:
        stack = switched_on(NAME, our_cache, os.environ, way=way)
        there = stack.__enter__()
    except MissingToolError as fault:
        pytest.skip(f"{way} does not work here: {fault}")
    try:
        with find_phone(Wish(connect=there.address), os.environ) as phone:
            result = phone.run((phone.push(program),), 60)
    finally:
        stack.__exit__(None, None, None)

    assert (result.exit_code, result.stdout, result.stderr) == (42, "", "tkd-instructions 1 0 3\n")
