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
    assert "only the probe shows throttling" in blind_spots(state(battery="", thermal=""), probed=True)[0]


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


def probed(phone, *took_ns, best_ns=None):
    """A gate whose fixed piece of work takes these times one after the other, then the last one for ever."""
    left = list(took_ns)

    def probe():
        return left.pop(0) if len(left) > 1 else left[0]

    def sleep(seconds):
        phone.now += seconds

    return Gate(phone, LIMITS, "c", phone.told.append, lambda: phone.now, sleep, probe, best_ns)


def test_the_first_probe_is_the_fastest_of_three_and_opens():
    gate = probed(Phone(state()), 2_400_000, 2_000_000, 2_100_000, 2_190_000)

    assert (gate().reasons, gate().probe_ns) == ((), 2_190_000)


def test_one_hiccup_closes_no_gate():
    gate = probed(Phone(state()), *[2_000_000] * 3, 3_000_000, 2_000_000)
    gate()

    assert (gate().reasons, gate().waited_s) == ((), 0)


def test_a_phone_that_became_slower_is_waited_for_and_says_by_how_much():
    phone = Phone(state())
    gate = probed(phone, *[2_000_000] * 3, *[2_700_000] * 6, 2_050_000)
    gate()
    answer = gate()

    assert (answer.reasons, answer.waited_s, answer.probe_ns) == ((), 10, 2_050_000)
    assert phone.told == [
        (
            "a fixed piece of work took 1.35 × as long as at its best (2.70 ms, 2.00 ms), expected 1.10 × or less: "
            "it throttles, or something else runs on these cores",
        )
    ]


def test_what_the_earlier_part_of_a_session_has_seen_is_what_the_probe_is_held_against():
    answer = probed(Phone(state()), 2_700_000, best_ns=2_000_000)()

    assert [reason.split(":")[0] for reason in answer.reasons] == [
        "a fixed piece of work took 1.35 × as long as at its best (2.70 ms, 2.00 ms), expected 1.10 × or less"
    ]


def test_a_phone_that_is_unfit_anyway_is_not_probed():
    low = state(battery=PIXEL_BATTERY.replace("level: 87", "level: 24"))

    assert probed(Phone(low), 2_000_000)().probe_ns is None
