"""This computer as a device: readings from a made-up /proc and /sys, and processes that end when they must."""

import os
import sys

import pytest

from android_bench.device import HostDevice
from android_bench.errors import DeviceError


@pytest.fixture
def root(tmp_path):
    files = {
        "proc/loadavg": "3.50 2.00 1.00 1/100 1",
        "proc/cpuinfo": "processor\t: 0\nmodel name\t: Imagined CPU\nflags\t\t: fpu hypervisor\n\nprocessor\t: 1\n",
        "proc/meminfo": "MemTotal:       16000000 kB\nMemFree: 1 kB\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1800000",
        "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "3600000",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave",
        "sys/devices/system/cpu/cpu10/online": "1",
        "sys/class/thermal/thermal_zone0/type": "x86_pkg_temp",
        "sys/class/thermal/thermal_zone0/temp": "41500",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    return tmp_path


def test_the_state_holds_numbers_where_there_are_and_reasons_where_not(root):
    state = HostDevice(root).state()

    assert state.load_1min == 3.5
    assert state.frequency_khz == {"cpu0": 1_800_000, "cpu10": "absent"}
    assert state.governor == {"cpu0": "powersave", "cpu10": "absent"}
    assert state.temperature_c == {"thermal_zone0 x86_pkg_temp": 41.5}


def test_a_reading_that_is_denied_is_a_value(root, monkeypatch):
    def denied(*_arguments, **_named):
        raise PermissionError

    monkeypatch.setattr("pathlib.Path.read_text", denied)
    state = HostDevice(root).state()

    assert state.load_1min == "denied"
    assert set(state.governor.values()) == {"denied"}


def test_an_empty_computer_has_no_readings(tmp_path):
    state = HostDevice(tmp_path).state()

    assert (state.load_1min, state.frequency_khz, state.temperature_c) == ("absent", {}, {})
    assert HostDevice(tmp_path).context().memory_total_kb == "absent"


def test_the_context_names_the_cpu_and_says_that_it_is_no_phone(root):
    context = HostDevice(root).context()

    assert context.model == "Imagined CPU"
    assert context.max_frequency_khz == 3_600_000
    assert context.memory_total_kb == 16_000_000
    assert context.stands_for == "wall-clock time on this computer, runner python; not a phone"


def test_what_makes_numbers_unclean_is_said(root, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    device = HostDevice(root)

    assert device.concerns(device.state()) == (
        "busy: load 3.5 on 2 CPUs; close other programs and measure again",
        "virtual machine: its neighbours' load is not visible here",
        "clock governor powersave: clocks move with the load",
    )


def test_a_calm_computer_has_no_concerns(root, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    (root / "proc/cpuinfo").write_text("model name: x\nflags: fpu\n")
    (root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").write_text("performance\n")
    device = HostDevice(root)

    assert device.concerns(device.state()) == ()


def test_a_command_gives_its_code_and_both_streams():
    program = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)"

    result = HostDevice().run([sys.executable, "-c", program], timeout_s=30)

    assert (result.exit_code, result.stdout, result.stderr) == (7, "out\n", "err\n")
    assert result.seconds > 0


def test_a_command_that_does_not_end_is_ended_with_its_children():
    with pytest.raises(DeviceError, match=r"took longer than 0\.3 s and was ended"):
        HostDevice().run(["sh", "-c", "sleep 60 & sleep 60"], timeout_s=0.3)


def test_a_command_that_is_not_there_is_named():
    with pytest.raises(DeviceError, match="cannot start nowhere/runner"):
        HostDevice().run(["nowhere/runner"], timeout_s=1)


def test_files_need_no_copy_to_be_on_this_computer(tmp_path):
    (tmp_path / "a").write_text("a")

    assert HostDevice().push(tmp_path / "a") == str((tmp_path / "a").resolve())
    HostDevice().pull(str(tmp_path / "a"), tmp_path / "b")
    assert (tmp_path / "b").read_text() == "a"
