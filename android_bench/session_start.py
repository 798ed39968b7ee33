"""How a session began, on disk before its first block, so that an interrupted one can go on.

    start.json     written here: which device, which models, how
    blocks.jsonl   each block as it ends
    session.json   at the end, or after Ctrl-C

Beside `android_bench.session_file`; `android_bench.cli_measure` writes it, and reads it for `--resume`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from android_bench.errors import BenchError, RecordError
from android_bench.records import Block, DeviceContext, RunPlan
from android_bench.session_file import read_blocks
from converters.bundle import Bundle
from converters.files import write_text

FORMAT = "tkd.bench_start/1"
START, JOURNAL = "start.json", "blocks.jsonl"
# Facts of an installation that make blocks comparable; the rest may change between two parts of a session.
_SAME_FACTS = ("engine_sha256", "engine_libc", "runner_sha256")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStart:
    """What a session was to be.

    Attributes:
        device: as `--device` named it.
        serial: how a phone was reached; empty for this computer.
        serial_number: the phone's own; "" where it did not tell.
        model: the CPU's or phone's name.
        fingerprint: operating system and version.
        cores: as `--cores` named them, or None.
        plan: how it is measured.
        folders: of the bundles, in order.
        sha256: of each bundle's model, by its name.
        runner: which runner and engine.
        started_utc: ISO 8601.
    """

    device: str
    serial: str
    model: str
    fingerprint: str
    cores: str | None
    plan: RunPlan
    folders: tuple[str, ...]
    sha256: Mapping[str, str]
    runner: Mapping[str, str | bool]
    started_utc: str
    serial_number: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """What the phone may be attached as: as it was, or on a cable, which bears its own number."""
        return tuple(dict.fromkeys(name for name in (self.serial, self.serial_number) if name))


def write_start(folder: Path, start: SessionStart) -> None:
    """Writes it into the session's folder, whole or not at all."""
    write_text(folder / START, json.dumps({"format": FORMAT, **asdict(start)}, ensure_ascii=False) + "\n")


def read_start(folder: Path) -> SessionStart:
    """How the session in `folder` began.

    Raises:
        RecordError: there is none, or it is damaged or of another version.
    """
    path = folder / START
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record.pop("format", None) != FORMAT:
            raise RecordError(f"{path} is not of format '{FORMAT}'; update this toolkit, or begin a new session")
        fields = {**record, "plan": RunPlan(**record["plan"]), "folders": tuple(record["folders"])}
        return SessionStart(**fields)
    except OSError as cause:
        raise RecordError(
            f"no session to resume in {folder}: {START} cannot be read ({cause.strerror}); "
            "name a folder that tkd-bench wrote, such as runs/bench/…"
        ) from cause
    except (ValueError, TypeError, KeyError, AttributeError) as cause:
        raise RecordError(f"{path} is damaged ({cause!r})") from cause


def differences(start: SessionStart, context: DeviceContext, runner: Mapping[str, str | bool]) -> list[str]:
    """What about this device and its runner is not as it was, one clause each."""
    # The phone's own number decides where it is known: the same phone may be on a cable now and on the network then.
    known = start.serial_number and context.serial_number
    before, now = (start.serial_number, context.serial_number) if known else (start.serial, context.serial)
    pairs = [
        ("phone" if start.serial else "computer", before or start.model, now or context.model),
        ("model", start.model, context.model),
        ("system", start.fingerprint, context.fingerprint),
        *((name, start.runner.get(name, "none"), runner.get(name, "none")) for name in _SAME_FACTS),
    ]
    return [f"the {name} was {old} and is {new}" for name, old, new in pairs if old != new]


def check_bundles(start: SessionStart, bundles: Sequence[Bundle]) -> None:
    """Refuses bundles that are not those of the session.

    Raises:
        BenchError: one is missing, added or changed.
    """
    seen = {bundle.name: bundle.sha256 for bundle in bundles}
    names = sorted(name for name in start.sha256.keys() | seen.keys() if start.sha256.get(name) != seen.get(name))
    if names:
        raise BenchError(
            f"cannot resume: {', '.join(names)} is not the model that this session began with; "
            "begin a new one (without --resume)"
        )


def whole_rounds(folder: Path, start: SessionStart) -> tuple[Block, ...]:
    """The finished blocks of the rounds that hold one of every model.

    A round that was cut is measured anew: its blocks would stand hours apart from their partners.

    Raises:
        RecordError: the journal is damaged.
    """
    journal = folder / JOURNAL
    blocks = read_blocks(journal) if journal.exists() else []
    latest = {(block.bundle, block.index): block for block in blocks if block.bundle in start.sha256}
    whole = [index for index in range(start.plan.blocks) if all((name, index) in latest for name in start.sha256)]
    return tuple(latest[name, index] for index in whole for name in start.sha256)
