"""What a stream costs hop by hop: latency of a hop, share of real time, processor time for an hour of audio.

After `runner`; `android_bench.cli_stream` prints and saves what is made here. No transport is reached from here.
Tested in `tests/android_bench/test_stream_session.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from android_bench.errors import BenchError
from android_bench.records import DeviceContext
from converters.stream_bundle import StreamBundle

FORMAT = "tkd.stream-bench/1"
_PERCENTILES = (50, 95, 99)
_MINUTE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HopTimes:
    """The hops of one process.

    Attributes:
        samples_ns: what each hop took.
        cpu_ns: processor time of the whole loop, all threads together.
        wall_ns: of the whole loop.
        late: hops that ended after the next was due; None where hops came one after the other.
    """

    samples_ns: tuple[int, ...]
    cpu_ns: int
    wall_ns: int
    late: int | None = None

    def __post_init__(self) -> None:
        if not self.samples_ns or min(*self.samples_ns, 1) < 0 or min(self.cpu_ns, self.wall_ns) < 0:
            raise BenchError(f"{len(self.samples_ns)} hops in {self.wall_ns} ns, {self.cpu_ns} ns of processor time")

    def percentiles_us(self) -> dict[str, float]:
        """p50, p95 and p99 of a hop in microseconds."""
        values = np.percentile(np.asarray(self.samples_ns, np.float64), _PERCENTILES) / 1e3
        return {f"p{name}": round(float(value), 3) for name, value in zip(_PERCENTILES, values, strict=True)}


@dataclass(frozen=True, slots=True, kw_only=True)
class SustainedMinutes:
    """The first minute of a sustained run against its last one.

    Attributes:
        first_us: median hop of the first minute.
        last_us: of the last one; the same minute where the run was shorter than two.
        minutes: of the whole run.
    """

    first_us: float
    last_us: float
    minutes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamMeasurement:
    """What was measured of one stream.

    Attributes:
        bundle: the stream.
        busy: hops one after the other; None on a virtual phone, whose times mean nothing.
        sustained: hops at their own pace; None where not asked for.
        instructions: of one hop; None but on a virtual phone.
        counted_by: what decides whether two counts can be compared; empty without a count.
    """

    bundle: StreamBundle
    busy: HopTimes | None = None
    sustained: HopTimes | None = None
    instructions: int | None = None
    counted_by: Mapping[str, Any]


def real_time_factor(times: HopTimes, hop_ms: float) -> float:
    """Median time of a hop over the audio that it brings; below 1 keeps up, and 0.01 leaves 99 % of a core."""
    return times.percentiles_us()["p50"] / 1e3 / hop_ms


def cpu_seconds_per_hour(times: HopTimes, hop_ms: float) -> float:
    """Processor seconds for one hour of audio."""
    audio_s = len(times.samples_ns) * hop_ms / 1e3
    return 3600 * times.cpu_ns / 1e9 / audio_s


def minutes_of(times: HopTimes, hop_ms: float) -> SustainedMinutes:
    """The first minute against the last, which a phone that grows warm tells apart."""
    per_minute = max(1, round(_MINUTE_S * 1e3 / hop_ms))
    samples = np.asarray(times.samples_ns, np.float64) / 1e3
    return SustainedMinutes(
        first_us=round(float(np.median(samples[:per_minute])), 3),
        last_us=round(float(np.median(samples[-per_minute:])), 3),
        minutes=len(samples) * hop_ms / 1e3 / _MINUTE_S,
    )


def instructions_per_second(measurement: StreamMeasurement) -> float | None:
    """Instructions for one second of audio; None without a count."""
    if measurement.instructions is None:
        return None
    return measurement.instructions * 1e3 / measurement.bundle.hop.milliseconds


def document(
    device: str, context: DeviceContext, concerns: Sequence[str], found: Sequence[StreamMeasurement], started_utc: str
) -> dict[str, Any]:
    """The measurements as JSON values, with every sample."""
    return {
        "format": FORMAT,
        "device": device,
        "context": asdict(context),
        "emulated": any(each.instructions is not None for each in found),
        "started_utc": started_utc,
        "concerns": list(concerns),
        "streams": [
            {
                "model": each.bundle.name,
                "sha256": each.bundle.sha256,
                "synthetic": each.bundle.synthetic,
                "hop_ms": each.bundle.hop.milliseconds,
                "hop_frames": each.bundle.hop.frames,
                "states": len(each.bundle.states),
                "busy": _times(each.busy, each.bundle.hop.milliseconds),
                "sustained": _sustained(each.sustained, each.bundle.hop.milliseconds),
                "instructions_per_hop": each.instructions,
                "instructions_per_second_of_audio": instructions_per_second(each),
                "counted_by": dict(each.counted_by),
            }
            for each in found
        ],
    }


def table(device: str, concerns: Sequence[str], found: Sequence[StreamMeasurement]) -> list[str]:
    """The measurements for people, line by line."""
    lines: list[str] = []
    timed = [each for each in found if each.busy is not None]
    if timed:
        lines += [f"{'stream':<36} {'hop ms':>7} {'p50 µs':>9} {'p95':>9} {'p99':>9} {'real time':>10} {'CPU s/h':>9}"]
    for each in timed:
        assert each.busy is not None
        hop_ms, percentiles = each.bundle.hop.milliseconds, each.busy.percentiles_us()
        lines.append(
            f"{each.bundle.name:<36} {hop_ms:>7g} {percentiles['p50']:>9.1f} {percentiles['p95']:>9.1f} "
            f"{percentiles['p99']:>9.1f} {real_time_factor(each.busy, hop_ms):>10.5f} "
            f"{cpu_seconds_per_hour(each.busy, hop_ms):>9.2f}"
        )
    for each in (each for each in found if each.sustained is not None):
        assert each.sustained is not None
        hop_ms, minutes = each.bundle.hop.milliseconds, minutes_of(each.sustained, each.bundle.hop.milliseconds)
        lines.append(
            f"{each.bundle.name}, at its own pace for {minutes.minutes:.1f} minutes: hop p50 {minutes.first_us:.1f} µs "
            f"in the first minute, {minutes.last_us:.1f} µs in the last; "
            f"{cpu_seconds_per_hour(each.sustained, hop_ms):.2f} CPU s/h; {each.sustained.late} hops late"
        )
    counted = [each for each in found if each.instructions is not None]
    if counted:
        lines += [f"{device} (emulated, instructions, not latency)", ""]
        lines += [f"{'stream':<36} {'hop ms':>7} {'instructions a hop':>20} {'a second of audio':>20}"]
        lines += [
            f"{each.bundle.name:<36} {each.bundle.hop.milliseconds:>7g} {each.instructions:>20,} "
            f"{instructions_per_second(each):>20,.0f}"
            for each in counted
        ]
    return [*lines, *(f"note: {each}" for each in concerns)]


def _times(times: HopTimes | None, hop_ms: float) -> dict[str, Any] | None:
    if times is None:
        return None
    return {
        **{f"{name}_us": value for name, value in times.percentiles_us().items()},
        "real_time_factor": real_time_factor(times, hop_ms),
        "cpu_seconds_per_hour": cpu_seconds_per_hour(times, hop_ms),
        "cpu_ns": times.cpu_ns,
        "wall_ns": times.wall_ns,
        "samples_ns": list(times.samples_ns),
    }


def _sustained(times: HopTimes | None, hop_ms: float) -> dict[str, Any] | None:
    described = _times(times, hop_ms)
    if times is None or described is None:
        return None
    return {**described, "late": times.late, **asdict(minutes_of(times, hop_ms))}
