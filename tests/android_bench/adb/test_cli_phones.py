"""`tkd-bench devices` and `tkd-bench doctor` with a phone, as their users meet them."""

import json
import sys

import pytest

from android_bench.cli import main
from tests.android_bench.phone_toys import DENIED, PIXEL_BATTERY, PIXEL_PROPERTIES, adb_server


@pytest.fixture(autouse=True)
def elsewhere(toy, tmp_path, monkeypatch):
    """No adb server in reach, the toy phone's keys at home, an empty folder."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setenv("ADB_SERVER_SOCKET", "tcp:127.0.0.1:1")
    monkeypatch.setenv("HOME", str(toy.home))
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)


def doctor(toy, capsys, *words: str) -> tuple[int, str]:
    with toy.daemon() as daemon:
        code = main(["doctor", "--connect", f"127.0.0.1:{daemon.port}", *words])
    return code, capsys.readouterr().out


def test_a_fit_phone_is_described(toy, capsys):
    code, out = doctor(toy, capsys, "--device", "pixel1")

    assert code == 0
    for line in (
        "Pixel (sailfish), Android 10 (API 29), Qualcomm Technologies, Inc MSM8996pro, through TCP",
        "good  arm64-v8a: arm64 programs run on it",
        "good  2 CPUs at 1.59 GHz (mask 3), 2 CPUs at 2.15 GHz (mask c)",
        "good  has no dot product instructions",
        "good  taskset takes mask c",
        "good  sha256sum: pushed files are proved on the phone",
        "good  /data/local/tmp/tkd is writable",
        "good  thermal status: none",
        "good  3 temperatures, the highest 31.2 °C (thermal_zone1 tsens_tz_sensor1)",
        "good  battery 87 %, 25.1 °C, plugged in: usb",
        "good  screen on",
        "care  clock governor sched: clocks move with the load",
    ):
        assert line in out
    assert "no   " not in out


def test_what_is_wrong_with_a_phone_is_said_with_what_to_do(toy, capsys):
    toy.write("recorded/getprop", PIXEL_PROPERTIES.replace("arm64-v8a", "armeabi-v7a"))
    toy.write("recorded/battery", PIXEL_BATTERY.replace("87", "9").replace("USB powered: true", "USB powered: false"))
    toy.write("recorded/thermalservice", "")
    toy.write("recorded/power", "mWakefulness=Asleep")
    toy.write("sys/devices/system/cpu/online", "0-1")
    for cpu in range(4):
        toy.write(f"sys/devices/system/cpu/cpu{cpu}/cpufreq/cpuinfo_max_freq", DENIED)
    toy.without("sha256sum", "taskset")
    toy.script("settings", "echo 0")

    code, out = doctor(toy, capsys)

    assert code == 4
    for line in (
        "no    armeabi-v7a: our runner and engine need arm64-v8a; take another phone",
        "care  4 CPUs (clock denied) (mask f): give the cores by hand",
        "care  CPUs 0-1 of 4 are on",
        "care  taskset is absent: cores cannot be chosen",
        "good  md5sum: pushed files are proved on the phone",
        "care  thermalservice is absent (it came with Android 10): the battery's temperature stands in for it (25.1",
        "good  battery 9 %, 25.1 °C, not plugged in",
        "care  battery at 9 %",
        "care  screen off: the phone may doze",
        "care  it falls asleep while plugged in; hold it awake with: adb shell svc power stayon true",
        "care  denied: /sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq",
        "and 1 more",
    ):
        assert line in out


def test_a_profile_whose_clocks_differ_is_noted(toy, capsys):
    for cpu in (2, 3):
        toy.write(f"sys/devices/system/cpu/cpu{cpu}/cpufreq/cpuinfo_max_freq", "2342400")

    _, out = doctor(toy, capsys, "--device", "pixel1")

    assert "care  CPUs [2, 3] reach 2342400 kHz; the profile expects 2150400" in out


def test_everything_is_there_as_json(toy, capsys):
    code, out = doctor(toy, capsys, "--json")
    record = json.loads(out)

    assert (code, record["format"], record["device"], record["transport"]) == (0, "tkd.doctor/1", "auto", "TCP")
    assert record["facts"]["clusters"][1] == {"cpus": [2, 3], "max_khz": 2_150_400}
    assert record["state"]["battery_percent"] == 87
    assert {check["verdict"] for check in record["checks"]} == {"good", "care"}


def test_this_computer_is_examined_when_no_phone_is_named(capsys):
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["device"] == "host"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--device", "pixel1"], 4, "no pixel1 (Google Pixel 1) is attached. Seen: no adb server at 127.0.0.1:1"),
        (["--device", "auto"], 4, "no phone is attached"),
        (
            ["--device", "pixel"],
            2,
            "no device is called 'pixel'; did you mean 'pixel1'? "
            "known: host, mi5, pixel1, virtual-mi5, virtual-pixel1, auto",
        ),
        (["--serial", "X"], 4, "no phone with serial X is attached"),
        (["--connect", "127.0.0.1:1"], 4, "nothing listens at 127.0.0.1:1 (connection refused)"),
        (["--connect", "nonsense:"], 2, "'nonsense:' is no address; expected HOST or HOST:PORT"),
        (["--connect", "a", "--serial", "b"], 2, "--connect and --serial both name a phone"),
    ],
)
def test_what_cannot_be_done_is_said(capsys, words, code, message):
    assert main(["doctor", *words]) == code
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.out == ""


def test_a_stranger_is_told_to_look_at_the_phone(toy, capsys):
    with toy.daemon(known_keys=()) as daemon:
        code = main(["doctor", "--connect", f"127.0.0.1:{daemon.port}", "--authorize-s", "0.3"])
    printed = capsys.readouterr()

    assert code == 4
    assert "asks whether this computer may debug it: unlock it and accept (waiting 0.3 s)" in printed.err
    assert "does not know this computer's key" in printed.err


def test_devices_asks_each_phone_who_it_is(toy, capsys, monkeypatch):
    with toy.daemon() as daemon, adb_server(toy) as server:
        serial = server.connect(daemon.port)
        monkeypatch.setenv("ADB_SERVER_SOCKET", f"tcp:{server.port}")
        assert main(["devices"]) == 0
        text = capsys.readouterr().out
        assert main(["devices", "--json"]) == 0
        record = json.loads(capsys.readouterr().out)

    assert f"pixel1         Google Pixel 1   {serial} Pixel: ready" in text
    assert f"{serial}: Pixel (sailfish), Android 10, arm64-v8a, 2 CPUs at 1.59 GHz (mask 3), 2 CPUs at" in text
    assert record["phones"][0]["facts"]["abi"] == "arm64-v8a"
    assert record["phones"][0]["error"] is None


def test_a_phone_of_the_adb_server_needs_no_more_than_the_base(toy, capsys, monkeypatch):
    for module in ("adb_shell", "cryptography", "scipy", "ai_edge_litert"):
        for name in [name for name in sys.modules if name.partition(".")[0] == module]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, module, None)
    for name in ("android_bench.adb.direct", "android_bench.adb.keys"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with toy.daemon() as daemon, adb_server(toy) as server:
        server.connect(daemon.port)
        monkeypatch.setenv("ADB_SERVER_SOCKET", f"tcp:{server.port}")
        assert main(["doctor", "--device", "pixel1"]) == 0
        assert main(["doctor", "--connect", "127.0.0.1:1"]) == 2

    assert "is not installed; in a checkout of the project: pip install '.[bench]'" in capsys.readouterr().err


def test_devices_looks_at_a_phone_on_the_network(toy, capsys):
    with toy.daemon() as daemon:
        assert main(["devices", "--connect", f"127.0.0.1:{daemon.port}"]) == 0
    out = capsys.readouterr().out
    assert "Pixel (sailfish), Android 10, arm64-v8a" in out
    assert f"pixel1         Google Pixel 1   127.0.0.1:{daemon.port}: reached" in out

    assert main(["devices", "--connect", f"127.0.0.1:{daemon.port}"]) == 0
    assert f"127.0.0.1:{daemon.port}: nothing listens at" in capsys.readouterr().out
