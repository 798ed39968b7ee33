"""mksh and toybox behind a virtual phone: what a client sees, what it cannot reach, and when there is none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from android_bench.adb.choose import Wish, find_phone
from android_bench.adb.phone import Phone
from android_bench.cli import main
from android_bench.errors import MissingToolError
from android_bench.native_build import build
from android_bench.virtual_phone.arm64 import find_emulator, probe_program
from android_bench.virtual_phone.root import lay_out
from android_bench.virtual_phone.system_shell import find_system_shell
from android_bench.virtual_phone.twin import load_twin
from android_bench.virtual_phones import switched_on
from tests.android_bench.pocket_toys import NEEDS_EMULATOR

NAME = "virtual-pixel1"

pytestmark = NEEDS_EMULATOR


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("system")


@pytest.fixture(scope="module")
def environment(place) -> dict[str, str]:
    """Keys of nobody else's, and no adb server."""
    return os.environ | {"HOME": str(place), "ANDROID_USER_HOME": str(place / "keys"), "ANDROID_ADB_SERVER_PORT": "1"}


@pytest.fixture(scope="module")
def phone(place, environment) -> Iterator[Phone]:
    """A virtual Pixel 1 with a system's shell."""
    try:
        switching = switched_on(NAME, place / "cache", environment, shell="system")
        there = switching.__enter__()
    except MissingToolError as fault:
        pytest.skip(str(fault))
    assert there.shell == "system"
    with find_phone(Wish(connect=there.address), environment) as reached:
        yield reached
    switching.__exit__(None, None, None)


def said(phone: Phone, script: str) -> tuple[int, str, str]:
    result = phone.run(("sh", "-c", script), 30)
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo $((6 * 7)) $(echo inside)", "42 inside\n"),
        ("for i in 1 2 3; do echo $i; done | sort -r | paste -sd+", "3+2+1\n"),
        (
            "getprop ro.product.model; getprop no.such fallback; getprop | grep -c ro.kernel.qemu",
            "Pixel\nfallback\n1\n",
        ),
        ("settings get global no_such_thing", "null\n"),
        ("dumpsys battery | head -n 1", "Current Battery Service state:\n"),
        ("id -u; id", "2000\nuid=2000(shell) gid=2000(shell) groups=2000(shell)\n"),
        ("uname; uname -m", "Linux\naarch64\n"),
        ("taskset f echo on; taskset 10 echo off; taskset zz echo off; taskset 0 echo off", "on\n"),
        ("grep -c ^processor /proc/cpuinfo; cat /sys/devices/system/cpu/possible", "4\n0-3\n"),
        ("echo kept > /sdcard/note && cat /sdcard/note && rm /sdcard/note", "kept\n"),
        ("/system/probe 2>/dev/null; echo $?", "42\n"),
        ("printf 'A\\0B' | sha256sum | cut -c1-8", sha256(b"A\0B").hexdigest()[:8] + "\n"),
    ],
)
def test_a_script_does_what_it_does_on_a_phone(phone, script, expected):
    assert said(phone, script)[1] == expected


def test_codes_and_standard_input_come_and_go(phone):
    assert said(phone, "exit 77")[0] == 77
    assert said(phone, "no_such_command")[0] == 127
    assert said(phone, "if then")[0] != 0


@pytest.mark.parametrize(
    "script",
    [
        "touch /here",
        "touch /data/here",
        "touch /system/bin/here",
        "touch /usr/here",
        "echo 1 > /proc/sys/vm/swappiness",
        "mount -o remount,rw /usr",
        "umount /system",
        "chroot /data/local/tmp /usr/bin/toybox",
        "unshare -Ur true",
        "ls /etc || ls /home || ls /root",
        "cat /sys/kernel/notes",
    ],
)
def test_nothing_but_the_writable_folders_can_be_changed_or_reached(phone, script):
    code, output, _ = said(phone, script)
    assert code != 0
    assert output == ""


def test_no_process_of_this_computer_is_seen(phone):
    assert said(phone, "cat /proc/1/comm")[1] == "cat\n"  # mksh became it
    assert said(phone, f"ls -d /proc/{os.getpid()} || kill -9 {os.getpid()}")[1] == ""
    said(phone, "kill -9 -1")
    assert said(phone, "echo alive")[1] == "alive\n"


def test_a_link_out_of_the_phone_leads_nowhere(phone, place):
    (place / "secret").write_text("secret")
    assert said(phone, f"ln -s {place}/secret /data/local/tmp/link; cat /data/local/tmp/link")[1] == ""


def test_a_file_is_pushed_run_and_pulled(phone, tmp_path):
    program = tmp_path / "program"
    program.write_bytes(probe_program())
    pushed = phone.push(program)

    code, _, counted = said(phone, f"chmod 755 {pushed}; {pushed}")

    assert (code, counted) == (42, "tkd-instructions 1 0 3\n")


@pytest.fixture
def emulator(place):
    return find_emulator(
        lay_out(load_twin(NAME), place / "bare"), "cortex-a57", build("counter", place / "cache").path, "overlaid"
    )


def test_a_computer_without_mksh_says_what_to_install(emulator):
    message = r"needs mksh, toybox, not here\. Debian 12 .* apt-get install mksh toybox"
    with pytest.raises(MissingToolError, match=message):
        find_system_shell(load_twin(NAME), emulator, lambda name: None if name in ("mksh", "toybox") else "/bin/true")


def test_a_shell_that_cannot_do_it_is_not_taken(emulator):
    message = r"does not work here \(.*\): it wants user namespaces with a binfmt_misc of their own"
    with pytest.raises(MissingToolError, match=message):
        find_system_shell(load_twin(NAME), emulator, lambda _: shutil.which("true"))


def test_where_there_is_none_the_pocket_shell_serves_and_a_wish_is_an_error(place, environment, monkeypatch):
    def find(*_args: object) -> None:
        raise MissingToolError("not here")

    monkeypatch.setattr("android_bench.virtual_phones.find_system_shell", find)

    with switched_on(NAME, place / "other", environment, shell=None) as there:
        assert there.shell == "pocket"
    with (
        pytest.raises(MissingToolError, match="not here"),
        switched_on(NAME, place / "other", environment, shell="system"),
    ):
        pass


def test_the_command_knows_two_shells(capsys):
    with pytest.raises(SystemExit):
        main(["phone", "serve", NAME, "--shell", "bash"])
    assert "choose from" in capsys.readouterr().err
