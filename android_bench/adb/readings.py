"""What is asked of a phone, in as few commands as possible, and what its answers come to.

After `texts`, before `phone`: the scripts run there, the texts they print are parsed here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from android_bench.adb import texts
from android_bench.records import DeviceState, Reading

TOOLS = ("sha256sum", "md5sum", "taskset", "timeout", "dumpsys", "getprop")
_MARK = "=tkd="
_CPU = "/sys/devices/system/cpu"

# Each part comes after a line of its own. Errors of grep go to stderr, where they name the file.
FACTS_SCRIPT = f"""\
part() {{ echo; echo "{_MARK} $1"; }}
part tools; for t in {" ".join(TOOLS)}; do command -v $t >/dev/null 2>&1 && echo $t; done
part properties; getprop
part cpuinfo; cat /proc/cpuinfo
part meminfo; cat /proc/meminfo
part nodes
grep -H '' {_CPU}/possible {_CPU}/present \\
 {_CPU}/cpu[0-9]*/cpufreq/cpuinfo_max_freq {_CPU}/cpu[0-9]*/cpufreq/related_cpus
exit 0
"""
STATE_SCRIPT = f"""\
part() {{ echo; echo "{_MARK} $1"; }}
part battery; dumpsys battery 2>&1
part thermal; dumpsys thermalservice 2>&1
part power; dumpsys power 2>&1 | grep -E 'mWakefulness=|Display Power: state='
part awake; settings get global stay_on_while_plugged_in 2>&1
part nodes
grep -H '' /proc/loadavg {_CPU}/online \\
 {_CPU}/cpu[0-9]*/cpufreq/scaling_cur_freq {_CPU}/cpu[0-9]*/cpufreq/scaling_governor \\
 /sys/class/thermal/thermal_zone*/type /sys/class/thermal/thermal_zone*/temp
exit 0
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhoneFacts:
    """What does not change on a phone while it is measured.

    Attributes:
        model: `ro.product.model`.
        device: `ro.product.device`, which tells models of one name apart.
        android: `ro.build.version.release`.
        sdk: `ro.build.version.sdk`.
        abi: its first ABI, such as arm64-v8a.
        fingerprint: of the build.
        serial_number: its own (`ro.serialno`), whichever way it is reached; "" where it does not tell.
        soc: the chip, as far as the phone tells.
        cpu_count: CPUs that can be, online or not.
        clusters: CPUs by the clock they share, slowest first.
        cpu_features: instruction set extensions; `asimddp` is the dot product that int8 kernels like.
        memory_total_kb: physical memory.
        tools: which of `TOOLS` it has.
        denied: what it would not show.
        emulated: whether it says of itself that it is no real phone (`ro.kernel.qemu`, `ro.boot.qemu`).
    """

    model: str
    device: str
    android: str
    sdk: Reading
    abi: str
    fingerprint: str
    soc: str
    cpu_count: int
    clusters: tuple[texts.CpuCluster, ...]
    cpu_features: tuple[str, ...]
    memory_total_kb: Reading
    tools: tuple[str, ...]
    denied: tuple[str, ...]
    emulated: bool = False
    serial_number: str = ""

    @property
    def is_arm64(self) -> bool:
        """Whether arm64 programs run on it."""
        return self.abi == "arm64-v8a"


def facts_from(stdout: str, stderr: str) -> PhoneFacts:
    """What `FACTS_SCRIPT` printed."""
    parts = texts.sections(stdout, ("tools", "properties", "cpuinfo", "meminfo", "nodes"), _MARK)
    properties = texts.parse_properties(parts["properties"])
    nodes = texts.parse_nodes(parts["nodes"], stderr)
    count = _cpu_count(nodes, parts["cpuinfo"])
    memory = re.search(r"MemTotal:\s+(\d+) kB", parts["meminfo"])
    sdk = properties.get("ro.build.version.sdk", "")
    return PhoneFacts(
        model=properties.get("ro.product.model", "unknown"),
        device=properties.get("ro.product.device") or properties.get("ro.build.product", "unknown"),
        android=properties.get("ro.build.version.release", "unknown"),
        sdk=int(sdk) if sdk.isdecimal() else "absent",
        abi=properties.get("ro.product.cpu.abi", "unknown"),
        fingerprint=properties.get("ro.build.fingerprint", "unknown"),
        soc=properties.get("ro.soc.model")
        or texts.cpu_hardware(parts["cpuinfo"])
        or properties.get("ro.board.platform", "unknown"),
        cpu_count=count,
        clusters=texts.clusters(nodes, count),
        cpu_features=texts.cpu_features(parts["cpuinfo"]),
        memory_total_kb=int(memory[1]) if memory else texts.why_nothing(parts["meminfo"]),
        tools=tuple(tool for tool in TOOLS if tool in parts["tools"].split()),
        denied=_denied(nodes),
        serial_number=properties.get("ro.serialno") or properties.get("ro.boot.serialno", ""),
        # Set by Android's own emulators and by virtual phones, by no phone that was sold.
        emulated="1" in (properties.get("ro.kernel.qemu"), properties.get("ro.boot.qemu")),
    )


def state_from(stdout: str, stderr: str, taken_utc: str) -> DeviceState:
    """What `STATE_SCRIPT` printed."""
    parts = texts.sections(stdout, ("battery", "thermal", "power", "awake", "nodes"), _MARK)
    nodes = texts.parse_nodes(parts["nodes"], stderr)
    battery = texts.parse_battery(parts["battery"])
    thermal = texts.parse_thermal(parts["thermal"])
    load = nodes.get("/proc/loadavg", "absent")
    first = str(load).split(" ")[0]
    zones = {
        f"{_folder(path)} {nodes.get(path.replace('/temp', '/type'), '')}".strip(): texts.zone_celsius(value)
        for path, value in sorted(nodes.items(), key=lambda item: _order(item[0]))
        if path.startswith("/sys/class/thermal/") and path.endswith("/temp")
    }
    awake = parts["awake"].strip()
    return DeviceState(
        taken_utc=taken_utc,
        load_1min=float(first) if re.fullmatch(r"\d+\.\d+", first) else load,
        frequency_khz=_by_cpu(nodes, "scaling_cur_freq"),
        governor=_by_cpu(nodes, "scaling_governor"),
        temperature_c={**zones, **{f"thermalservice {name}": value for name, value in thermal.temperature_c.items()}},
        cpus_online=nodes.get(f"{_CPU}/online", "absent"),
        battery_percent=battery.percent,
        battery_c=battery.temperature_c,
        plugged=battery.plugged,
        thermal_status=f"{thermal.status} (set by hand)" if thermal.overridden else thermal.status,
        screen=texts.parse_screen(parts["power"]),
        stays_awake="absent" if awake == "null" else int(awake) if awake.isdecimal() else texts.why_nothing(awake),
    )


def _cpu_count(nodes: Mapping[str, Reading], cpuinfo: str) -> int:
    for name in ("possible", "present"):
        try:
            cpus = texts.parse_cpu_list(str(nodes.get(f"{_CPU}/{name}", "")))
        except ValueError:
            continue
        if cpus:
            return len(cpus)
    return len(re.findall(r"^processor\s*:", cpuinfo, flags=re.MULTILINE))


def _by_cpu(nodes: Mapping[str, Reading], name: str) -> dict[str, Reading]:
    """What each CPU's `name` holds, by cpu0, cpu1, …"""
    found = {path.split("/")[5]: value for path, value in nodes.items() if path.endswith(f"/cpufreq/{name}")}
    return dict(sorted(found.items(), key=lambda item: _order(item[0])))


def _denied(nodes: Mapping[str, Reading]) -> tuple[str, ...]:
    return tuple(sorted((path for path, value in nodes.items() if value == "denied"), key=_order))


def _folder(path: str) -> str:
    return path.split("/")[-2]


def _order(name: str) -> tuple[object, ...]:
    """Names with their numbers in order: cpu2 before cpu10."""
    return tuple(int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name))
