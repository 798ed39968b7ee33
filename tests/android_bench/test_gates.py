"""Gates: recorded texts of phones become reasons, and waiting ends."""

from dataclasses import replace

import pytest

from android_bench.adb.readings import state_from
from android_bench.gates import Gate, Limits, blind_spots, dirty_words, reasons
from tests.android_bench.bench_toys import FakeDevice
from tests.android_bench.phone_toys import PIXEL_BATTERY, PIXEL_THERMAL

LIMITS = Limits(patience_s=20, look_every_s=5)


def state(battery=PIXEL_BATTERY, thermal=PIXEL_THERMAL, load="1.52", online="0-3", governor="performance"):
    """What a phone's answers come to."""
    nodes = f"/proc/loadavg:{load} 1.20 0.90 2/2134 8231\n/sys/devices/system/cpu/online:{online}\n"
    nodes += f"/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor:{governor}\n"
    parts = {"battery": battery, "thermal": thermal, "power": "", "awake": "3", "nodes": nodes}
    return state_from("".join(f"\n=tkd= {name}\n{text}" for name, text in parts.items()), "", "2026-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("seen", "mask", "expected"),
    [
        (state(), "c", ()),
        (state(battery=PIXEL_BATTERY.replace("level: 87", "level: 25")), "c", ()),
        (
            state(battery=PIXEL_BATTERY.replace("level: 87", "level: 24")),
            "c",
            ("battery at 24 %, expected 25 % or more",),
        ),
        (
            state(battery=PIXEL_BATTERY.replace("temperature: 251", "temperature: 415")),
            "c",
            ("battery at 41.5 °C, expected 40 °C or less",),
        ),
        (
            state(thermal=PIXEL_THERMAL.replace("Status: 0", "Status: 2")),
            "c",
            ("thermal status moderate, expected none",),
        ),
        (state(load="9.01"), "c", ("load 9.0, expected 6.0 or less",)),
        (state(online="0-1"), "c", ("core 2, 3 is off, expected mask c online",)),
        (state(online="0-2"), "3", ()),
        (state(battery="Can't find service: battery", thermal="", online="Permission denied"), "c", ()),
        (state(thermal="IsStatusOverride: true\nThermal Status: 3\n"), "c", ()),
    ],
)
def test_what_is_wrong_with_a_phone_becomes_a_reason(seen, mask, expected):
    assert reasons(seen, LIMITS, load_limit=6.0, core_mask=mask) == expected


def test_what_cannot_be_read_is_a_blind_spot():
    assert blind_spots(state()) == ()
    assert blind_spots(state(thermal="Can't find service: thermalservice")) == ()  # the battery's heat stands in
    assert blind_spots(state(battery="Can't find service: battery", thermal="")) == (
        "neither a thermal status nor the battery's temperature can be read: throttling would go unseen",
        "the battery's charge cannot be read: a phone that saves power would go unseen",
    )


def test_the_name_says_what_is_dirty():
    emulated = replace(FakeDevice().context(), emulated=True)
    bad = state(
        battery=PIXEL_BATTERY.replace("level: 87", "level: 3"),
        thermal=PIXEL_THERMAL.replace("Status: 0", "Status: 4"),
        governor="schedutil",
    )

    assert dirty_words(FakeDevice().context(), state(), gated=True) == ()
    assert dirty_words(emulated, bad, gated=False) == (
        "emulated", "no gates", "free clocks", "low battery", "throttling",
    )  # fmt: skip


class Phone(FakeDevice):
    """A phone that gives one state after the other, and a clock that only waiting moves."""

    def __init__(self, *states):
        super().__init__()
        self.states, self.now, self.told = list(states), 0.0, []

    def state(self):
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def gate(self):
        def sleep(seconds):
            self.now += seconds

        return Gate(self, LIMITS, "c", self.told.append, lambda: self.now, sleep)


def test_a_fit_phone_is_not_waited_for():
    phone = Phone(state())

    answer = phone.gate()()

    assert (answer.waited_s, answer.reasons, phone.told) == (0, (), [])


def test_a_phone_that_cools_down_is_waited_for():
    hot = state(thermal=PIXEL_THERMAL.replace("Status: 0", "Status: 1"))
    phone = Phone(hot, hot, state())

    answer = phone.gate()()

    assert (answer.waited_s, answer.reasons) == (10, ())
    assert phone.told == [("thermal status light, expected none",)]


def test_patience_ends():
    phone = Phone(state(online="0-1"))

    answer = phone.gate()()

    assert (answer.waited_s, answer.reasons) == (20, ("core 2, 3 is off, expected mask c online",))
    assert len(phone.told) == 1


def test_the_load_that_a_phone_begins_with_is_normal():
    phone = Phone(state(load="11.30"), state(load="12.90"), state(load="13.40"))
    gate = phone.gate()

    assert gate().reasons == ()  # Android counts threads that wait for hardware
    assert gate().reasons == ()
    assert gate().reasons == ("load 13.4, expected 13.3 or less",)
