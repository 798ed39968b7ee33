"""What a virtual phone is: texts and numbers of the phone that it stands for, from one TOML file beside the profiles.

Before `root`, which lays them out as files, and `commands`, which print them.
"""

from __future__ import annotations

import posixpath
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from android_bench.errors import BenchError, RecordError
from android_bench.profiles import load_profile, profile_names
from converters.command_line import did_you_mean

_KEYS = ("emulated_cpu", "properties", "settings", "services", "files", "each_cpu", "cpus")


@dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    """A virtual phone before it is switched on.

    Attributes:
        name: what `--device` calls it.
        emulated_cpu: the emulator's `-cpu`, with the instruction sets that the phone has.
        properties: for `getprop`.
        settings: for `settings get`, by NAMESPACE.KEY.
        services: for `dumpsys`, by name.
        files: what its read-only files hold, by absolute path.
        cpu_count: its CPUs, counted from 0.
    """

    name: str
    emulated_cpu: str
    properties: Mapping[str, str]
    settings: Mapping[str, str]
    services: Mapping[str, str]
    files: Mapping[str, str]
    cpu_count: int

    def __post_init__(self) -> None:
        for path in self.files:
            if posixpath.normpath(path) != path or not path.startswith(("/proc/", "/sys/", "/system/")):
                raise RecordError(f"twin '{self.name}' has a file {path}; expected one below /proc, /sys or /system")
        if "/proc/cpuinfo" not in self.files or "/sys/devices/system/cpu/possible" not in self.files:
            raise RecordError(f"twin '{self.name}' has no /proc/cpuinfo or CPU list: engines choose kernels by them")


def twin_names() -> list[str]:
    """The virtual phones that `--device` knows."""
    return [name for name in profile_names() if load_profile(name).transport == "virtual"]


def load_twin(name: str) -> Twin:
    """The virtual phone called `name`.

    Raises:
        BenchError: there is none; the message shows the nearest one and all names.
    """
    if name not in twin_names():
        raise BenchError(did_you_mean(name, twin_names(), "virtual phone"))
    text = (files("android_bench.profiles") / f"{name}.toml").read_text(encoding="utf-8")
    return parse_twin(name, tomllib.loads(text)["twin"])


def parse_twin(name: str, table: Mapping[str, Any]) -> Twin:
    """The twin in a TOML table; `{cpu}` in `each_cpu` stands for a CPU's number, `cpus` are the lists' values.

    Raises:
        RecordError: a key is unknown or missing, or a value cannot be.
    """
    unknown = sorted(table.keys() - set(_KEYS))
    if unknown:
        raise RecordError(f"twin '{name}' has unknown keys: {', '.join(unknown)}")
    try:
        laid_out = {str(path): str(text) for path, text in table["files"].items()}
        clusters = table["cpus"]
        for cluster in clusters:
            for cpu in cluster["numbers"]:
                values = {**{key: value for key, value in cluster.items() if key != "numbers"}, "cpu": cpu}
                for path, text in table["each_cpu"].items():
                    laid_out[f"/sys/devices/system/cpu/cpu{cpu}/{path}"] = f"{text.format(**values)}\n"
        return Twin(
            name=name,
            emulated_cpu=str(table["emulated_cpu"]),
            properties={str(key): str(value) for key, value in table["properties"].items()},
            settings={str(key): str(value) for key, value in table["settings"].items()},
            services={str(key): str(value) for key, value in table["services"].items()},
            files=laid_out,
            cpu_count=sum(len(cluster["numbers"]) for cluster in clusters),
        )
    except (KeyError, TypeError, AttributeError, IndexError) as cause:
        raise RecordError(f"twin '{name}' lacks a key or has one of a wrong type ({cause!r})") from cause
