"""What phones print, with all their oddities: recorded shapes of Android 6 to 14."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from android_bench.adb import texts, wire
from android_bench.adb.direct import parse_banner
from android_bench.adb.readings import FACTS_SCRIPT, STATE_SCRIPT, facts_from, state_from
from android_bench.adb.texts import Battery, CpuCluster, Thermal

# Mi 5, Android 6: line ends of a terminal, and lines of the maker's own that look like ours.
BATTERY_6 = (
    "Current Battery Service state:\r\n  AC powered: true\r\n  USB powered: false\r\n  Wireless powered: false\r\n"
    "  status: 5\r\n  health: 2\r\n  present: true\r\n  level: 100\r\n  scale: 100\r\n  voltage: 4388\r\n"
    "  temperature: 305\r\n  technology: Li-poly\r\n  mod level: -1\r\n  mod status: 1\r\n"
)
# Android 14, with a dock and a percentage that is not of 100.
BATTERY_14 = """\
Current Battery Service state:
  AC powered: false
  USB powered: true
  Wireless powered: true
  Dock powered: false
  Max charging current: 0
  Max charging voltage: 0
  Charge counter: 1536000
  status: 2
  health: 3
  present: true
  level: 32
  scale: 200
  voltage: 0
  temperature: -52
  technology: Li-ion
  Charging state: 0
  Charging policy: 0
Battery saver: level: 15
"""
THERMAL_12 = """\
IsStatusOverride: false
ThermalEventListeners:
\tcallbacks: 1
Thermal Status: 2
Cached temperatures:
\tTemperature{mValue=99.0, mType=0, mName=STALE, mStatus=0}
HAL Ready: true
HAL connection:
\tThermalHAL 2.0 connected: yes
Current temperatures from HAL:
\tTemperature{mValue=25.6, mType=0, mName=AP, mStatus=0}
\tTemperature{mValue=0.0, mType=2, mName=SUBBAT, mStatus=0}
\tTemperature{mValue=NaN, mType=1, mName=GPU0, mStatus=0}
\tTemperature{mValue=4200.0, mType=6, mName=vbat, mStatus=0}
\tTemperature{mValue=-5700.0, mType=-1, mName=virtual, mStatus=0}
\tTemperature{mValue=62.500004, mType=3, mName=skin therm, mStatus=0}
Current cooling devices from HAL:
\tCoolingDevice{mValue=0, mType=2, mName=thermal-cpufreq-0}
Temperature static thresholds from HAL:
\tTemperature{mValue=88.0, mType=0, mName=AP, mStatus=0}
"""
DENIALS = [
    "Permission Denial: can't dump BatteryService from pid=1, uid=2000",
    "/system/bin/sh: dumpsys: Permission denied",
]
ABSENCES = [
    "Can't find service: battery",
    "/system/bin/sh: dumpsys: not found",
    "dumpsys: inaccessible or not found",
    "",
    "\r\n",
]


def test_a_battery_of_android_6_with_a_terminals_line_ends():
    assert texts.parse_battery(BATTERY_6) == Battery(percent=100, temperature_c=30.5, plugged="ac", health="good")


def test_a_battery_of_android_14_with_two_plugs_and_a_scale_of_its_own():
    expected = Battery(percent=16, temperature_c=-5.2, plugged="usb+wireless", health="overheat")

    assert texts.parse_battery(BATTERY_14) == expected


@pytest.mark.parametrize(
    ("change", "field", "expected"),
    [
        (("level: 100", "level: 120"), "percent", "unclear"),
        (("level: 100", "level: -1"), "percent", "unclear"),
        (("scale: 100", "scale: 0"), "percent", "unclear"),
        (("temperature: 305", "temperature: 0"), "temperature_c", "unclear"),
        (("temperature: 305", "temperature: -2740"), "temperature_c", "unclear"),
        (("temperature: 305", "temperature: warm"), "temperature_c", "unclear"),
        (("health: 2", "health: 99"), "health", "unclear"),
        (("AC powered: true", "AC powered: false"), "plugged", "no"),
    ],
)
def test_impossible_readings_are_unclear(change, field, expected):
    assert getattr(texts.parse_battery(BATTERY_6.replace(*change)), field) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        *((text, "denied") for text in DENIALS),
        *((text, "absent") for text in ABSENCES),
        ("Segmentation fault", "unclear"),
    ],
)
def test_a_service_that_says_nothing_leaves_its_reason(said, expected):
    assert texts.parse_battery(said).percent == expected
    assert texts.parse_thermal(said) == Thermal(status=expected, temperature_c={})
    assert texts.parse_screen(said) == expected


def test_current_temperatures_count_and_only_those_that_are_temperatures():
    assert texts.parse_thermal(THERMAL_12) == Thermal(status="moderate", temperature_c={"AP": 25.6, "skin therm": 62.5})


def test_cached_temperatures_stand_in_where_the_phone_has_no_others():
    text = THERMAL_12.split("HAL Ready")[0]

    assert texts.parse_thermal(text).temperature_c == {"STALE": 99.0}


def test_a_status_set_by_hand_is_marked():
    assert texts.parse_thermal(THERMAL_12.replace("Override: false", "Override: true")).overridden


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  mWakefulness=Awake\r\n  mWakefulnessChanging=false", "on"),
        ("  mWakefulness=Dozing", "off"),
        ("mWakefulness=Asleep", "off"),
        ("Display Power: state=ON", "on"),
        ("Display Power: state=OFF\r\n", "off"),
    ],
)
def test_the_screen_is_on_or_off(text, expected):
    assert texts.parse_screen(text) == expected


def test_properties_of_several_lines_and_odd_values():
    text = (
        "[ro.product.model]: [MI 5]\r\n[a.b]: [x]: [y]\r\n[empty]: []\r\n[long]: [first\r\nsecond]\r\n[last]: [z]\r\n"
    )

    assert texts.parse_properties(text) == {
        "ro.product.model": "MI 5",
        "a.b": "x]: [y",
        "empty": "",
        "long": "first\nsecond",
        "last": "z",
    }


@pytest.mark.parametrize(
    ("text", "expected"), [("0-3\n", (0, 1, 2, 3)), ("0", (0,)), ("0-1,4-5,7", (0, 1, 4, 5, 7)), (" 2 3 ", (2, 3))]
)
def test_lists_of_cpus(text, expected):
    assert texts.parse_cpu_list(text) == expected


@pytest.mark.parametrize("text", ["denied", "0-", "-3", "0-x", "0-99999", "1;2"])
def test_what_is_no_list_of_cpus_is_refused(text):
    with pytest.raises(ValueError, match="no list of CPUs"):
        texts.parse_cpu_list(text)


def test_nodes_are_values_or_reasons():
    stdout = "/sys/a:307200\r\n/sys/b:sched util\n/proc/loadavg:1.5 1 1 2/3 4\n/sys/a:second line\nnoise\n"
    stderr = (
        "grep: /sys/c: Permission denied\r\ngrep: /sys/d: No such file or directory\n"
        "grep: /sys/cpu[0-9]*/x: No such file or directory\ngrep: /sys/e: Invalid argument\nnoise\n"
    )

    assert texts.parse_nodes(stdout, stderr) == {
        "/sys/a": 307200,
        "/sys/b": "sched util",
        "/proc/loadavg": "1.5 1 1 2/3 4",
        "/sys/c": "denied",
        "/sys/d": "absent",
        "/sys/e": "unclear",
    }


def nodes(clocks: dict[int, object], related: dict[int, str]) -> dict[str, object]:
    folder = "/sys/devices/system/cpu/cpu{}/cpufreq/{}"
    return {folder.format(cpu, "cpuinfo_max_freq"): clock for cpu, clock in clocks.items()} | {
        folder.format(cpu, "related_cpus"): text for cpu, text in related.items()
    }


def test_clusters_are_found_from_what_shares_a_clock():
    found = texts.clusters(
        nodes({0: 1_593_600, 1: 1_593_600, 2: 2_150_400, 3: 2_150_400}, {0: "0 1", 1: "0 1", 2: "2 3", 3: "2 3"}), 4
    )

    assert found == (CpuCluster(cpus=(0, 1), max_khz=1_593_600), CpuCluster(cpus=(2, 3), max_khz=2_150_400))
    assert [group.mask for group in found] == ["3", "c"]


def test_cpus_that_name_only_themselves_are_grouped_by_clock():
    found = texts.clusters(nodes(dict.fromkeys(range(4), 1_400_000) | {4: 2_000_000}, {}), 5)

    assert [(group.cpus, group.mask) for group in found] == [((0, 1, 2, 3), "f"), ((4,), "10")]


def test_big_cpus_that_are_off_are_a_group_without_a_clock():
    """Mi 5: cpu2 and cpu3 may be offline, and then have no cpufreq folder."""
    found = texts.clusters(nodes({0: 1_363_200, 1: 1_363_200}, {0: "0 1", 1: "0 1"}), 4)

    assert found == (CpuCluster(cpus=(0, 1), max_khz=1_363_200), CpuCluster(cpus=(2, 3), max_khz="absent"))


def test_clocks_that_are_denied_leave_one_group():
    assert texts.clusters(nodes(dict.fromkeys(range(8), "denied"), {}), 8) == (
        CpuCluster(cpus=tuple(range(8)), max_khz="denied"),
    )


def test_a_phone_that_says_nothing_has_facts_all_the_same():
    facts = facts_from("", "")

    assert (facts.model, facts.android, facts.sdk, facts.abi) == ("unknown", "unknown", "absent", "unknown")
    assert (facts.cpu_count, facts.clusters, facts.memory_total_kb, facts.tools) == (0, (), "absent", ())


def test_a_phone_that_says_nothing_has_a_state_all_the_same():
    state = state_from("", "", "2026-01-01T00:00:00Z")

    assert {state.battery_percent, state.screen, state.thermal_status, state.load_1min} == {"absent"}
    assert (state.frequency_khz, state.temperature_c) == ({}, {})


@pytest.mark.parametrize("script", [FACTS_SCRIPT, STATE_SCRIPT])
def test_what_phones_are_asked_fits_into_the_packets_of_the_oldest(script):
    assert len(shlex.join(("sh", "-c", script)).encode()) < wire.LEAST_MAX_DATA - 300  # the marks around it


def test_what_is_denied_is_kept_by_name_and_in_order():
    stdout = "=tkd= nodes\n/sys/devices/system/cpu/possible:0-10\n"
    stderr = "".join(
        f"grep: /sys/devices/system/cpu/cpu{cpu}/cpufreq/cpuinfo_max_freq: Permission denied\n" for cpu in (10, 2)
    )
    facts = facts_from(stdout, stderr)

    assert facts.cpu_count == 11
    assert [place.split("/")[5] for place in facts.denied] == ["cpu2", "cpu10"]


@given(st.text(), st.text())
def test_no_text_whatever_breaks_a_parser(stdout, stderr):
    texts.parse_battery(stdout)
    texts.parse_thermal(stdout)
    texts.parse_properties(stdout)
    texts.parse_nodes(stdout, stderr)
    facts_from(stdout, stderr)
    state_from(stdout, stderr, "2026-01-01T00:00:00Z")
    parse_banner(stdout.encode())


@given(st.text(alphabet="0123456789=-: {},.mValueTypNmS\r\n\tThermal tusCent", max_size=200))
def test_no_text_that_looks_right_breaks_a_parser(text):
    texts.parse_thermal("Thermal Status: 0\nCurrent temperatures from HAL:\n" + text)
    texts.parse_battery("level: 5\n" + text)
    state_from(f"=tkd= battery\nlevel: 5\n{text}\n=tkd= nodes\n{text}", text, "2026-01-01T00:00:00Z")
