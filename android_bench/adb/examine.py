"""Whether a phone is fit to measure on, and what would make it fitter.

`android_bench.cli_phones` prints it as `tkd-bench doctor --device …`. After `phone`.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from android_bench.adb.phone import FOLDER, Phone
from android_bench.adb.readings import PhoneFacts
from android_bench.adb.texts import CpuCluster
from android_bench.doctor import Check
from android_bench.profiles import DeviceProfile
from android_bench.records import DeviceState

_PROBES = 5
_TIMEOUT_S = 20.0
_SHOWN_PLACES = 3


def examine_phone(phone: Phone, profile: DeviceProfile | None) -> list[Check]:
    """Every check of a phone, in the order in which they matter."""
    facts, state = phone.facts(), phone.state()
    return [
        *_identity(phone, facts),
        *_processors(facts, state, profile),
        *_tools(phone, facts),
        *_warmth(state),
        *_power(state),
        *(Check(verdict="care", sentence=concern) for concern in phone.concerns(state)),
        *_denied(facts, state),
    ]


def describe(clusters: tuple[CpuCluster, ...]) -> str:
    """The CPUs in words, slowest first.

    >>> describe((CpuCluster(cpus=(0, 1), max_khz=1593600), CpuCluster(cpus=(2, 3), max_khz=2150400)))
    '2 CPUs at 1.59 GHz (mask 3), 2 CPUs at 2.15 GHz (mask c)'
    """
    parts = []
    for group in clusters:
        count = f"{len(group.cpus)} CPU{'s' if len(group.cpus) > 1 else ''}"
        clock = f"at {group.max_khz / 1e6:.2f} GHz" if isinstance(group.max_khz, int) else f"(clock {group.max_khz})"
        parts.append(f"{count} {clock} (mask {group.mask})")
    return ", ".join(parts) or "no CPU is told of"


def _identity(phone: Phone, facts: PhoneFacts) -> Iterator[Check]:
    yield _good(
        f"{phone.serial}: {facts.model} ({facts.device}), Android {facts.android} (API {facts.sdk}), "
        f"{facts.soc}, through {phone.transport}"
    )
    if facts.is_arm64:
        yield _good(f"{facts.abi}: arm64 programs run on it")
    else:
        yield Check(verdict="no", sentence=f"{facts.abi}: our runner and engine need arm64-v8a; take another phone")


def _processors(facts: PhoneFacts, state: DeviceState, profile: DeviceProfile | None) -> Iterator[Check]:
    clocks = all(isinstance(group.max_khz, int) for group in facts.clusters)
    sentence = describe(facts.clusters)
    yield _good(sentence) if clocks else _care(f"{sentence}: give the cores by hand with --cores MASK")
    if state.cpus_online not in ("absent", "denied", f"0-{facts.cpu_count - 1}", facts.cpu_count - 1):
        yield _care(f"CPUs {state.cpus_online} of {facts.cpu_count} are on: wake it, or a core you ask for may be off")
    dots = "has" if "asimddp" in facts.cpu_features else "has no"
    yield _good(f"{dots} dot product instructions (asimddp), which int8 kernels like")
    for cluster in profile.clusters if profile else ():
        seen = [group.max_khz for group in facts.clusters if set(cluster.cpus) <= set(group.cpus)]
        if seen and isinstance(seen[0], int) and seen[0] not in cluster.max_khz:
            expected = " or ".join(str(clock) for clock in cluster.max_khz)
            yield _care(f"CPUs {list(cluster.cpus)} reach {seen[0]} kHz; the profile expects {expected}")


def _tools(phone: Phone, facts: PhoneFacts) -> Iterator[Check]:
    times = [phone.run(("true",), _TIMEOUT_S).seconds for _ in range(_PROBES)]
    yield _good(f"a command takes {1e3 * median(times):.0f} ms")
    mask = facts.clusters[-1].mask if facts.clusters else "1"
    if "taskset" not in facts.tools:
        yield _care("taskset is absent: cores cannot be chosen")
    else:
        result = phone.run(("taskset", mask, "true"), _TIMEOUT_S)
        said = (result.stderr or result.stdout).strip().splitlines()[-1:] or [f"exit code {result.exit_code}"]
        yield (
            _good(f"taskset takes mask {mask}")
            if result.exit_code == 0
            else _care(f"taskset refuses mask {mask}: {said[0]}")
        )
    if "sha256sum" in facts.tools:
        yield _good("sha256sum: pushed files are proved on the phone")
    elif "md5sum" in facts.tools:
        yield _good("md5sum: pushed files are proved on the phone (sha256sum comes with Android 8)")
    else:
        yield _care("no sha256sum or md5sum: pushed files are read back to prove them, which takes twice as long")
    result = phone.run(("sh", "-c", f"mkdir -p {FOLDER} && [ -w {FOLDER} ]"), _TIMEOUT_S)
    yield (
        _good(f"{FOLDER} is writable")
        if result.exit_code == 0
        else Check(verdict="no", sentence=f"{FOLDER} is not writable: {result.stderr.strip() or 'no reason given'}")
    )


def _warmth(state: DeviceState) -> Iterator[Check]:
    readable = {zone: value for zone, value in state.temperature_c.items() if isinstance(value, (int, float))}
    if state.thermal_status in ("absent", "denied", "unclear"):
        yield _care(
            f"thermalservice is {state.thermal_status} (it came with Android 10): "
            f"the battery's temperature stands in for it ({_celsius(state.battery_c)})"
        )
    else:
        yield _good(f"thermal status: {state.thermal_status}")
    if readable:
        hottest = max(readable, key=lambda zone: readable[zone])
        yield _good(f"{len(readable)} temperatures, the highest {_celsius(readable[hottest])} ({hottest})")
    else:
        yield _care("no temperature can be read: throttling would not be seen")


def _power(state: DeviceState) -> Iterator[Check]:
    if isinstance(state.battery_percent, int):
        plugged = "not plugged in" if state.plugged == "no" else f"plugged in: {state.plugged}"
        yield _good(f"battery {state.battery_percent} %, {_celsius(state.battery_c)}, {plugged}")
    else:
        yield _care(f"battery: {state.battery_percent}")
    if state.screen == "on":
        yield _good("screen on")
    elif state.screen != "off":  # off is among the concerns
        yield _care(f"whether the screen is on is {state.screen}")
    if state.stays_awake == 0:
        yield _care("it falls asleep while plugged in; hold it awake with: adb shell svc power stayon true")


def _denied(facts: PhoneFacts, state: DeviceState) -> Iterator[Check]:
    places = list(facts.denied)
    places += [f"{cpu} scaling_cur_freq" for cpu, value in state.frequency_khz.items() if value == "denied"]
    places += [f"{cpu} scaling_governor" for cpu, value in state.governor.items() if value == "denied"]
    places += [zone for zone, value in state.temperature_c.items() if value == "denied"]
    if places:
        more = f" and {len(places) - _SHOWN_PLACES} more" if len(places) > _SHOWN_PLACES else ""
        yield _care(
            f"denied: {', '.join(places[:_SHOWN_PLACES])}{more}; a stock phone keeps these to itself, "
            "and results say so"
        )


def _good(sentence: str) -> Check:
    return Check(verdict="good", sentence=sentence)


def _care(sentence: str) -> Check:
    return Check(verdict="care", sentence=sentence)


def _celsius(value: object) -> str:
    return f"{value:.1f} °C" if isinstance(value, (int, float)) else f"temperature {value}"
