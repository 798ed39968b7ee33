"""What an Android phone prints, parsed. Pure: text in, values out.

A place that says nothing is a value too: "denied" (Permission denied), "absent" (no such file or service), and so is a
text that nobody foresaw ("unclear"). Texts of Android 6 to 14; line ends may be CR LF. Before `phone`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from android_bench.records import Reading

_DENIED = re.compile(r"permission den(?:ied|ial)|operation not permitted", re.IGNORECASE)
_ABSENT = re.compile(
    r"no such file|can't find service|not found|does not exist|no such device|inaccessible", re.IGNORECASE
)
# The kinds of Android's thermal service whose values are degrees Celsius (6 to 8 are battery limits).
_DEGREES = frozenset((-1, 0, 1, 2, 3, 4, 5, 9, 10, 11, 12, 13, 14))
_PLUGS = {"AC powered": "ac", "USB powered": "usb", "Wireless powered": "wireless", "Dock powered": "dock"}
_THROTTLING = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")


@dataclass(frozen=True, slots=True, kw_only=True)
class Battery:
    """What `dumpsys battery` says; each may be "denied", "absent" or "unclear".

    Attributes:
        percent: charge, 0–100.
        temperature_c: degrees Celsius.
        plugged: ac, usb, wireless, dock, several with +, or no.
        health: good, overheat, dead, over voltage, failure, cold.
    """

    percent: Reading
    temperature_c: Reading
    plugged: Reading
    health: Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Thermal:
    """What `dumpsys thermalservice` says (Android 10 on).

    Attributes:
        status: none, light, moderate, severe, critical, emergency or shutdown; or "denied", "absent", "unclear".
        temperature_c: degrees Celsius by sensor; readings that the phone itself calls unknown are left out.
        overridden: whether the status was set by hand for a test.
    """

    status: Reading
    temperature_c: Mapping[str, float]
    overridden: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuCluster:
    """CPUs that share a clock.

    Attributes:
        cpus: their numbers.
        max_khz: their highest clock, or why it is not known.
        mask: for taskset, bare hexadecimal.
    """

    cpus: tuple[int, ...]
    max_khz: Reading

    @property
    def mask(self) -> str:
        """The cluster's CPUs as taskset takes them on Android: bare hexadecimal.

        >>> CpuCluster(cpus=(2, 3), max_khz=2_150_400).mask
        'c'
        """
        return f"{sum(1 << cpu for cpu in self.cpus):x}"


def why_nothing(text: str) -> str:
    """The reason in a text that should have been a value: denied, absent or unclear."""
    if _DENIED.search(text):
        return "denied"
    return "absent" if not text.strip() or _ABSENT.search(text) else "unclear"


def parse_properties(text: str) -> dict[str, str]:
    """The properties in the output of `getprop`; values may run over several lines."""
    return dict(re.findall(r"^\[([^\]\n]+)\]: \[((?:.|\n)*?)\]$", text.replace("\r", ""), flags=re.MULTILINE))


def parse_battery(text: str) -> Battery:
    """What `dumpsys battery` printed; makers add lines of their own, and some repeat ours further down."""
    facts: dict[str, str] = {}
    for line in text.replace("\r", "").splitlines():
        name, colon, value = line.strip().partition(":")
        if colon and value.strip():
            facts.setdefault(name.strip(), value.strip())
    if "level" not in facts:
        why = why_nothing(text)
        return Battery(percent=why, temperature_c=why, plugged=why, health=why)
    level, scale = _number(facts["level"]), _number(facts.get("scale", "100"))
    tenths = _number(facts.get("temperature", ""))
    plugs = [short for name, short in _PLUGS.items() if facts.get(name) == "true"]
    health = ("unknown", "good", "overheat", "dead", "over voltage", "failure", "cold")
    number = _number(facts.get("health", ""))
    return Battery(
        percent=round(100 * level / scale) if level is not None and scale and 0 <= level <= scale else "unclear",
        # A missing sensor reads 0 on some phones and far below it on others.
        temperature_c=tenths / 10 if tenths is not None and -400 < tenths < 1000 and tenths != 0 else "unclear",
        plugged=("+".join(plugs) or "no") if any(name in facts for name in _PLUGS) else "unclear",
        health=health[int(number) - 1] if number is not None and 1 <= number <= len(health) else "unclear",
    )


def parse_thermal(text: str) -> Thermal:
    """What `dumpsys thermalservice` printed; current readings count, cached ones only where there are no others."""
    text = text.replace("\r", "")
    match = re.search(r"^\s*Thermal Status:\s*(\d+)", text, flags=re.MULTILINE)
    if not match:
        return Thermal(status=why_nothing(text), temperature_c={})
    status = int(match[1])
    _, _, current = text.partition("Current temperatures from HAL:")
    current = re.split(r"Current cooling devices|Temperature static thresholds", current)[0]
    return Thermal(
        status=_THROTTLING[status] if status < len(_THROTTLING) else "unclear",
        temperature_c=_temperatures(current) or _temperatures(text.partition("Current temperatures from HAL:")[0]),
        overridden=bool(re.search(r"IsStatusOverride:\s*true", text)),
    )


def parse_screen(text: str) -> Reading:
    """Whether the screen is on or off, from `dumpsys power`; "dozing" counts as off."""
    match = re.search(r"mWakefulness=(\w+)", text)
    if match:
        return "on" if match[1] in ("Awake", "Dreaming") else "off"
    match = re.search(r"Display Power: state=(\w+)", text)
    if match:
        return "on" if match[1] == "ON" else "off"
    return why_nothing(text)


def parse_cpu_list(text: str) -> tuple[int, ...]:
    """CPU numbers from the kernel's lists.

    >>> parse_cpu_list("0-2,5"), parse_cpu_list("0 1 2 3"), parse_cpu_list("")
    ((0, 1, 2, 5), (0, 1, 2, 3), ())

    Raises:
        ValueError: it is no such list.
    """
    numbers: set[int] = set()
    for part in text.replace(",", " ").split():
        first, _, last = part.partition("-")
        if not (first.isdecimal() and (last.isdecimal() or "-" not in part)) or int(last or first) > 1023:
            raise ValueError(f"{text!r} is no list of CPUs")
        numbers.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(numbers))


def parse_nodes(stdout: str, stderr: str) -> dict[str, Reading]:
    """Files and what they hold, from `grep -H '' FILES`: `path:content`, and `grep: path: reason` for the others.

    A file of several lines keeps its first one; patterns that matched nothing are left out.
    """
    nodes: dict[str, Reading] = {}
    for line in stdout.replace("\r", "").splitlines():
        path, colon, value = line.partition(":")
        if colon and path.startswith("/"):
            nodes.setdefault(path, _reading(value.strip()))
    for line in stderr.replace("\r", "").splitlines():
        match = re.search(r"(/[^:*]+): (.+)$", line)
        if match and "*" not in line:
            nodes.setdefault(match[1], why_nothing(match[2]))
    return nodes


def clusters(nodes: Mapping[str, Reading], count: int) -> tuple[CpuCluster, ...]:
    """CPUs grouped by the clock that they share, slowest first.

    Args:
        nodes: what `related_cpus` and `cpuinfo_max_freq` hold, by path.
        count: how many CPUs there are; those that nothing is known of (offline, denied) form a group of their own.
    """
    groups: dict[tuple[int, ...], Reading] = {}
    silent: dict[Reading, list[int]] = {}
    for cpu in range(count):
        folder = f"/sys/devices/system/cpu/cpu{cpu}/cpufreq"
        highest = nodes.get(f"{folder}/cpuinfo_max_freq", "absent")
        try:
            related = parse_cpu_list(str(nodes.get(f"{folder}/related_cpus", "")))
        except ValueError:
            related = ()
        if isinstance(highest, int):
            groups.setdefault(related or (cpu,), highest)
        elif not any(cpu in group for group in groups):
            silent.setdefault(highest, []).append(cpu)
    found = [CpuCluster(cpus=cpus, max_khz=highest) for cpus, highest in _merged(groups).items()]
    known = {cpu for group in found for cpu in group.cpus}
    for why, cpus in silent.items():
        rest = tuple(cpu for cpu in cpus if cpu not in known)
        if rest:
            found.append(CpuCluster(cpus=rest, max_khz=why))
    return tuple(sorted(found, key=lambda group: (not isinstance(group.max_khz, int), group.max_khz, group.cpus)))


def zone_celsius(value: Reading) -> Reading:
    """Degrees Celsius of a kernel's thermal zone, which counts in thousandths, tenths or whole degrees.

    >>> zone_celsius(38500), zone_celsius(385), zone_celsius(38), zone_celsius("denied")
    (38.5, 38.5, 38.0, 'denied')
    """
    if not isinstance(value, int):
        return value
    for divisor, lowest in ((1000, 1000), (10, 150)):
        if abs(value) >= lowest:
            celsius = value / divisor
            break
    else:
        celsius = float(value)
    return celsius if -40 <= celsius <= 150 else "unclear"


def cpu_features(text: str) -> tuple[str, ...]:
    """The instruction set extensions that /proc/cpuinfo names."""
    match = re.search(r"^Features\s*:\s*(.+)$", text.replace("\r", ""), flags=re.MULTILINE)
    return tuple(match[1].split()) if match else ()


def cpu_hardware(text: str) -> str:
    """The chip's name in /proc/cpuinfo; empty on kernels that no longer tell it."""
    match = re.search(r"^Hardware\s*:\s*(.+)$", text.replace("\r", ""), flags=re.MULTILINE)
    return match[1].strip() if match else ""


def _temperatures(text: str) -> dict[str, float]:
    found = {}
    for value, kind, name in re.findall(r"Temperature\{mValue=([^,]+), mType=(-?\d+), mName=([^,}]*)", text):
        try:
            celsius = float(value)
        except ValueError:
            continue
        # A sensor that is not fitted reads 0 exactly, NaN, or something no phone survives.
        if int(kind) in _DEGREES and math.isfinite(celsius) and -40 < celsius < 150 and celsius != 0:
            found[name] = round(celsius, 3)
    return found


def _merged(groups: Mapping[tuple[int, ...], Reading]) -> dict[tuple[int, ...], Reading]:
    """CPUs of one clock together where the kernel names each by itself (`related_cpus` of one)."""
    if any(len(cpus) > 1 for cpus in groups):
        return dict(groups)
    by_clock: dict[Reading, list[int]] = {}
    for cpus, highest in groups.items():
        by_clock.setdefault(highest, []).extend(cpus)
    return {tuple(sorted(cpus)): highest for highest, cpus in by_clock.items()}


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"-?\d+", text) else None


def _reading(text: str) -> Reading:
    return int(text) if re.fullmatch(r"-?\d+", text) else text


def sections(text: str, names: Iterable[str], mark: str) -> dict[str, str]:
    """The parts of an output that a script has put a line `mark name` before; a missing part is empty."""
    parts = dict.fromkeys(names, "")
    for piece in re.split(rf"^{re.escape(mark)} ", text.replace("\r", ""), flags=re.MULTILINE)[1:]:
        name, _, rest = piece.partition("\n")
        if name in parts:
            parts[name] = rest
    return parts
