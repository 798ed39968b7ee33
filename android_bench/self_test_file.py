"""When this gate last proved on a device that it can pass and that it can fail: `tkd.selftest/1` in the user's cache.

`android_bench.cli_selftest` writes it, every verdict on that device shows it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from android_bench.errors import RecordError
from android_bench.verdict import DeviceEntry, SelfTestEntry
from converters.files import write_text

FORMAT = "tkd.selftest/1"


def self_test_path(cache: Path, device: DeviceEntry) -> Path:
    """Where the last self-test on a device is kept: by what it is, however it was named."""
    # A virtual phone is another model's twin, and is what its name says.
    name = device.name if device.kind == "virtual" else ""
    which = hashlib.sha256(f"{device.kind}\0{name}\0{device.model}\0{device.serial}".encode()).hexdigest()[:16]
    return cache / "selftests" / f"{device.kind}-{which}.json"


def write_self_test(cache: Path, device: DeviceEntry, entry: SelfTestEntry) -> Path:
    """Keeps the result of a self-test, whole or not at all; its path."""
    path = self_test_path(cache, device)
    facts = {"device": device.name, "model": device.model, "serial": device.serial, "facts": dict(device.facts)}
    write_text(path, json.dumps({"format": FORMAT, **asdict(entry), **facts}, ensure_ascii=False) + "\n")
    return path


def last_self_test(cache: Path, device: DeviceEntry) -> SelfTestEntry | None:
    """The last one on this device; None without one.

    Raises:
        RecordError: it is damaged or of another version.
    """
    path = self_test_path(cache, device)
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record.get("format") != FORMAT:
            raise RecordError(f"{path} is not of format '{FORMAT}'; run the self-test again: tkd-bench selftest")
        return SelfTestEntry(**{name: record[name] for name in SelfTestEntry.__dataclass_fields__})
    except (ValueError, KeyError, TypeError, AttributeError) as cause:
        raise RecordError(f"{path} is damaged ({cause!r}); remove it, or run tkd-bench selftest again") from cause
