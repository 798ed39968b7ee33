"""What must be equal for two results to be compared, and what a verdict says of the device.

Before `android_bench.compare` and `android_bench.recorded`; reads sessions, reaches no device.
"""

from __future__ import annotations

from collections.abc import Mapping

from android_bench.records import Reading, Session
from android_bench.verdict import DeviceEntry, Kind

Facts = Mapping[str, Reading | bool]

# Of what the runner says of itself and of the engine that it opened.
_OF_RUNNER = (
    "protocol",
    "runner",
    "runner_sha256",
    "engine",
    "engine_libc",
    "engine_sha256",
    "delegate",
    "invoke_path",
    "affinity",
)
_OF_PLAN = ("threads", "core_mask", "statistic", "warmup_ms", "warmup_runs", "min_timed_ms", "min_runs", "max_runs")


def facts_of(session: Session) -> Facts:
    """What decides whether the times of two sessions mean the same."""
    context = session.context
    facts: dict[str, Reading | bool] = {
        "device": session.device,
        "kind": context.kind,
        "model": context.model,
        "serial": context.serial,
        "system": context.fingerprint,
        "emulated": context.emulated,
    }
    facts |= {name: getattr(session.plan, name) for name in _OF_PLAN}
    facts |= {name: session.runner[name] for name in _OF_RUNNER if name in session.runner}
    return facts


def differences(baseline: Facts, candidate: Facts) -> tuple[str, ...]:
    """What keeps two results from being compared, one phrase each; empty when they can be.

    >>> differences({"threads": 1, "serial": "A"}, {"threads": 2, "serial": "A"})
    ('threads: 1 and 2',)
    """
    return tuple(
        f"{name}: {_shown(baseline.get(name))} and {_shown(candidate.get(name))}"
        for name in (*baseline, *(name for name in candidate if name not in baseline))
        if baseline.get(name) != candidate.get(name)
    )


def device_entry(session: Session) -> DeviceEntry:
    """The device of a session, as a verdict keeps it."""
    context = session.context
    kind: Kind = "phone" if context.kind == "phone" else "host"
    return DeviceEntry(
        name=session.device,
        title=session.name,
        kind=kind,
        model=context.model,
        fingerprint=context.fingerprint,
        serial=context.serial,
        stands_for=context.stands_for,
        facts=facts_of(session),
        concerns=session.concerns,
    )


def _shown(value: Reading | bool | None) -> str:
    return "nothing" if value in (None, "") else str(value)
