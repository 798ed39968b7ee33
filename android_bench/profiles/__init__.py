"""The devices that `--device` knows, one TOML file each; add a file to add a phone."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any, Literal, cast

from android_bench.errors import BenchError, RecordError
from converters.command_line import did_you_mean

Transport = Literal["local", "adb", "virtual"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """CPUs of one kind.

    Attributes:
        name: little or big.
        cpus: their numbers.
        max_khz: their highest clock; several where the phone was sold with several.
        mask: the core mask for taskset, bare hexadecimal.
    """

    name: str
    cpus: tuple[int, ...]
    max_khz: tuple[int, ...]
    mask: str

    def __post_init__(self) -> None:
        expected = sum(1 << cpu for cpu in self.cpus)
        if not self.cpus or int(self.mask, 16) != expected:
            raise RecordError(f"cluster '{self.name}' has CPUs {list(self.cpus)} and mask {self.mask}; they differ")
        if not self.max_khz or min(self.max_khz) < 100_000:
            raise RecordError(f"cluster '{self.name}' has clocks {list(self.max_khz)}; expected kHz")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceProfile:
    """What is known of a device before it is seen.

    Attributes:
        name: what `--device` calls it; the file's name.
        title: what people call it.
        transport: local (this computer), adb (a phone) or virtual (a phone without a phone).
        model: `ro.product.model` of a phone; empty for this computer.
        device: `ro.product.device` of a phone; empty for this computer.
        soc: the chip.
        android: versions it was sold or updated with.
        clusters: its CPUs; empty for this computer.
    """

    name: str
    title: str
    transport: Transport
    model: str = ""
    device: str = ""
    soc: str = ""
    android: str = ""
    clusters: tuple[Cluster, ...] = ()

    def __post_init__(self) -> None:
        if self.transport not in ("local", "adb", "virtual"):
            raise RecordError(f"profile '{self.name}' has transport '{self.transport}'; expected local, adb or virtual")
        if self.transport != "local" and not (self.model and self.device):
            raise RecordError(f"profile '{self.name}' has no model or device: a phone cannot be told by it")

    def is_of(self, model: str, device: str) -> bool:
        """Whether a phone that says this of itself is meant; `device` is the surer of the two where it is known."""
        return device == self.device if device not in ("", "unknown") else model == self.model


def profile_names() -> list[str]:
    """The names that `--device` knows: this computer, phones, virtual phones."""
    names = sorted(
        path.name.removesuffix(".toml") for path in files(__package__).iterdir() if path.name.endswith(".toml")
    )
    order = ("local", "adb", "virtual")
    return sorted(names, key=lambda name: order.index(load_profile(name).transport))


def load_profile(name: str) -> DeviceProfile:
    """The profile called `name`.

    Raises:
        BenchError: there is none; the message shows the nearest one and all names.
    """
    path = files(__package__) / f"{name}.toml"
    if "/" in name or not path.is_file():
        raise BenchError(did_you_mean(name, profile_names(), "device"))
    return parse_profile(name, tomllib.loads(path.read_text(encoding="utf-8")))


def parse_profile(name: str, table: Mapping[str, Any]) -> DeviceProfile:
    """The profile in a TOML table.

    Raises:
        RecordError: a key is unknown or missing, or a value cannot be.
    """
    if "twin_of" in table:
        return _twin_profile(name, table)
    unknown = sorted(table.keys() - DeviceProfile.__dataclass_fields__.keys() - {"clusters"})
    if unknown:
        raise RecordError(f"profile '{name}' has unknown keys: {', '.join(unknown)}")
    try:
        clusters = tuple(
            Cluster(name=item["name"], cpus=tuple(item["cpus"]), max_khz=tuple(item["max_khz"]), mask=str(item["mask"]))
            for item in table.get("clusters", ())
        )
        plain = {key: str(value) for key, value in table.items() if key not in ("clusters", "transport")}
        transport = cast("Transport", table["transport"])
        return DeviceProfile(name=name, transport=transport, clusters=clusters, **plain)
    except (KeyError, TypeError, ValueError) as cause:
        raise RecordError(f"profile '{name}' lacks a key or has one of a wrong type ({cause!r})") from cause


def _twin_profile(name: str, table: Mapping[str, Any]) -> DeviceProfile:
    """A virtual phone: what its phone is, under a name and title of its own; `virtual_phone.twin` reads the rest."""
    unknown = sorted(table.keys() - {"title", "transport", "twin_of", "twin"})
    if unknown:
        raise RecordError(f"profile '{name}' has unknown keys: {', '.join(unknown)}")
    try:
        phone = load_profile(str(table["twin_of"]))
        return replace(phone, name=name, title=str(table["title"]), transport=cast("Transport", table["transport"]))
    except KeyError as cause:
        raise RecordError(f"profile '{name}' lacks a key ({cause!r})") from cause
