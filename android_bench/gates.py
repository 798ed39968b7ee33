"""Whether a device is fit to be measured right now; it stands before each round of blocks, never inside one.

    look → fit?  yes → probe → as fast as ever?  yes → measure the round
                 no  → wait, look again …        no  → wait, look again …
                       out of patience: the round is rejected, with its reasons

`reasons` is pure; `Gate` waits. Before `android_bench.measure`, which asks it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from android_bench.device import Device
from android_bench.records import DeviceContext, DeviceState

# What a place says that tells nothing.
_SILENT = ("absent", "denied", "unclear")
_MORE_TRIES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a device must keep to.

    Attributes:
        battery_percent: least charge; below it phones save power.
        battery_c: the warmest that the battery may be, degrees Celsius; phones throttle for its sake.
        slowdown: how much longer than at its best in this session a fixed piece of work may take.
        patience_s: how long a round waits for the device to become fit.
        look_every_s: time between two looks.
    """

    battery_percent: int = 25
    battery_c: float = 40.0
    slowdown: float = 1.10
    patience_s: float = 120.0
    look_every_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a gate found.

    Attributes:
        state: the last that it saw.
        waited_s: how long it waited.
        reasons: what is wrong; nothing when it opened.
        probe_ns: what the fixed piece of work took, None where it was not done.
    """

    state: DeviceState
    waited_s: float
    reasons: tuple[str, ...]
    probe_ns: int | None = None


def reasons(state: DeviceState, limits: Limits, *, load_limit: float, core_mask: str = "") -> tuple[str, ...]:
    """Why a device in `state` is not fit, one sentence each; what it does not tell is no reason.

    Args:
        state: how it is.
        limits: what it must keep to.
        load_limit: the highest load average of the last minute.
        core_mask: the cores that are to be measured, hexadecimal; "" is any.
    """
    found = []
    if isinstance(state.battery_percent, int) and state.battery_percent < limits.battery_percent:
        found.append(f"battery at {state.battery_percent} %, expected {limits.battery_percent} % or more")
    # A status that was set by hand tells nothing of the heat; the session says so as a concern.
    status = str(state.thermal_status)
    if status not in ("none", *_SILENT) and not status.endswith("(set by hand)"):
        found.append(f"thermal status {status}, expected none")
    if isinstance(state.battery_c, int | float) and state.battery_c > limits.battery_c:
        found.append(f"battery at {state.battery_c:g} °C, expected {limits.battery_c:g} °C or less")
    if isinstance(state.load_1min, int | float) and state.load_1min > load_limit:
        found.append(f"load {state.load_1min:.1f}, expected {load_limit:.1f} or less")
    off = _cores_off(core_mask, state)
    if off:
        found.append(f"core {', '.join(map(str, off))} is off, expected mask {core_mask} online")
    return tuple(found)


def blind_spots(state: DeviceState, *, probed: bool = False) -> tuple[str, ...]:
    """What the gates cannot see on a device in `state`, one sentence each; `probed` with the fixed piece of work."""
    found = []
    if state.thermal_status in _SILENT and state.battery_c in _SILENT:
        seen = "only the probe shows throttling" if probed else "throttling would go unseen"
        found.append(f"neither a thermal status nor the battery's temperature can be read: {seen}")
    if state.battery_percent in _SILENT:
        found.append("the battery's charge cannot be read: a phone that saves power would go unseen")
    return tuple(found)


def dirty_words(context: DeviceContext, state: DeviceState, *, gated: bool) -> tuple[str, ...]:
    """What stands between a session's numbers and clean ones, in a word or two each, for its name."""
    found = []
    if context.emulated:
        found.append("emulated")
    if not gated:
        found.append("no gates")
    governors = {str(name) for name in state.governor.values()}
    if not governors or governors - {"performance", "userspace"}:
        found.append("free clocks")
    if isinstance(state.battery_percent, int) and state.battery_percent < Limits().battery_percent:
        found.append("low battery")
    if str(state.thermal_status) not in ("none", *_SILENT):
        found.append("thermal status set by hand" if str(state.thermal_status).endswith("hand)") else "throttling")
    return tuple(found)


class Gate:
    """Waits until a device is fit.

    Args:
        device: which one.
        limits: what it must keep to.
        core_mask: the cores that are to be measured.
        waiting: told once a round when it is not fit at first.
        clock: seconds, monotonic.
        sleep: waits so many seconds.
        probe: does a fixed piece of work on those cores and gives the nanoseconds that it took; None leaves it out.
        best_ns: the fastest that the work was in an earlier part of this session.
    """

    def __init__(
        self,
        device: Device,
        limits: Limits,
        core_mask: str = "",
        waiting: Callable[[tuple[str, ...]], None] = lambda _reasons: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        probe: Callable[[], int] | None = None,
        best_ns: int | None = None,
    ) -> None:
        self._device, self._limits, self._core_mask = device, limits, core_mask
        self._waiting, self._clock, self._sleep = waiting, clock, sleep
        self._load_limit: float | None = None
        self._probe, self._best_ns = probe, best_ns

    def __call__(self) -> Answer:
        """What was found, after waiting no longer than the limits allow.

        Raises:
            DeviceError: the device cannot be asked.
        """
        started, told = self._clock(), False
        while True:
            state = self._device.state()
            if self._load_limit is None:
                self._load_limit = self._limit_of_load(state)
            found = reasons(state, self._limits, load_limit=self._load_limit, core_mask=self._core_mask)
            seen_ns = None if found or self._probe is None else self._probed(self._probe)
            if seen_ns is not None and self._best_ns is not None:
                found = self._slower(seen_ns, self._best_ns)
            waited = self._clock() - started
            if not found or waited >= self._limits.patience_s:
                return Answer(state=state, waited_s=waited, reasons=found, probe_ns=seen_ns)
            if not told:
                self._waiting(found)
                told = True
            self._sleep(min(self._limits.look_every_s, self._limits.patience_s - waited))

    def _probed(self, probe: Callable[[], int]) -> int:
        """The fastest of up to three tries, so that one hiccup closes no gate; the session's best is kept."""
        seen_ns = probe()
        for _ in range(_MORE_TRIES):
            # The first probe of a session has nothing to be held against, so all its tries are made.
            if self._best_ns is not None and not self._slower(seen_ns, self._best_ns):
                break
            seen_ns = min(seen_ns, probe())
        self._best_ns = seen_ns if self._best_ns is None else min(seen_ns, self._best_ns)
        return seen_ns

    def _slower(self, seen_ns: int, best_ns: int) -> tuple[str, ...]:
        """The reason that a probe gives, if any."""
        if seen_ns <= self._limits.slowdown * best_ns:
            return ()
        return (
            f"a fixed piece of work took {seen_ns / best_ns:.2f} × as long as at its best ({seen_ns / 1e6:.2f} ms, "
            f"{best_ns / 1e6:.2f} ms), expected {self._limits.slowdown:.2f} × or less: it throttles, or something "
            "else runs on these cores",
        )

    def _limit_of_load(self, state: DeviceState) -> float:
        """Android counts threads that wait for hardware as load, so some idle phones stand at 10: the first is normal.

        What we run adds one to it, and a bit of slack is due.
        """
        first = state.load_1min if isinstance(state.load_1min, int | float) else 0.0
        return max(float(self._device.context().cpu_count), first) + 2.0


def _cores_off(core_mask: str, state: DeviceState) -> list[int]:
    """The cores of a mask that are not online; none where the device does not tell."""
    online = _cpu_numbers(str(state.cpus_online))
    if not core_mask or not online:
        return []
    mask = int(core_mask, 16)
    return [cpu for cpu in range(mask.bit_length()) if mask >> cpu & 1 and cpu not in online]


def _cpu_numbers(text: str) -> set[int]:
    """The kernel's list of CPUs, such as 0-1,3; empty when it is none."""
    numbers: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not first.isdecimal() or not (last or first).isdecimal():
            return set()
        numbers.update(range(int(first), int(last or first) + 1))
    return numbers
