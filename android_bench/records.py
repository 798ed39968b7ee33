"""What a session is made of: frozen records, checked at birth.

`android_bench.runner` fills blocks, `android_bench.measure` the session, `android_bench.session_file` keeps them.
Times are integers of nanoseconds, memory integers of 1,024 bytes, as the runner gives them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any, Literal

from android_bench.errors import RecordError

# What a place on the device said when it was asked: a number or a word, or why it said nothing ("denied", "absent").
Reading = int | float | str

FailureKind = Literal["golden", "device"]
Statistic = Literal["median", "mean"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """How to measure.

    Attributes:
        threads: threads of the engine, 1–64.
        blocks: blocks (processes) of each model, at least 1; a ratio needs 6 for its interval, 9 bear one outlier.
        warmup_ms: untimed inferences before each block, for so long …
        warmup_runs: … and at least so many.
        min_timed_ms: timed inferences of each block, at least so long …
        min_runs: … and at least so many.
        max_runs: room for samples in one block.
        memory_runs: inferences between the readings of memory.
        timeout_s: the longest that one process may take.
        core_mask: hexadecimal mask of the processors that it may use, as `taskset` takes it; "" is any.
        statistic: what a block's value is: the median of its samples, or their mean.
    """

    threads: int = 1
    blocks: int = 9
    warmup_ms: int = 500
    warmup_runs: int = 1
    min_timed_ms: int = 200
    min_runs: int = 20
    max_runs: int = 200_000
    memory_runs: int = 20
    timeout_s: float = 300.0
    core_mask: str = ""
    statistic: Statistic = "median"

    def __post_init__(self) -> None:
        _require(1 <= self.threads <= 64, f"threads is {self.threads}; expected 1 to 64")
        _require(1 <= self.blocks <= 1000, f"blocks is {self.blocks}; expected 1 to 1000")
        _require(min(self.warmup_ms, self.min_timed_ms) >= 0, "warm-up and timed duration must not be negative")
        _require(1 <= self.warmup_runs <= 1_000_000, f"warmup_runs is {self.warmup_runs}; expected 1 to 1000000")
        _require(1 <= self.min_runs <= self.max_runs, f"runs {self.min_runs} to {self.max_runs} are no range from 1 up")
        _require(self.memory_runs >= 1 and self.timeout_s > 0, "memory_runs and timeout_s must be positive")
        good_mask = not self.core_mask or (re.fullmatch("[0-9a-f]{1,16}", self.core_mask) and int(self.core_mask, 16))
        _require(bool(good_mask), f"core_mask is '{self.core_mask}'; expected hexadecimal digits such as 'c'")
        _require(self.statistic in ("median", "mean"), f"statistic is '{self.statistic}'; expected median or mean")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One process of the runner on one model, with every sample.

    Attributes:
        bundle: the bundle's name.
        index: 0 for the bundle's first block; blocks of equal index of two bundles are a pair.
        order: place among all blocks of the session, 0 first.
        started_utc: ISO 8601.
        init_ns: from opening the file to allocated tensors.
        first_ns: the first inference of the process.
        warmup_runs: untimed inferences.
        warmup_ns: their whole duration.
        samples_ns: each timed inference, in order; at least one, all positive.
        golden_error: the largest difference from the golden outputs, in `golden_unit`.
        golden_unit: relative or lsb.
        load_1min: the device's load average before the block's round.
        probe_ns: what a fixed piece of work took before the block's round; None where it was not done.
    """

    bundle: str
    index: int
    order: int
    started_utc: str
    init_ns: int
    first_ns: int
    warmup_runs: int
    warmup_ns: int
    samples_ns: tuple[int, ...]
    golden_error: float
    golden_unit: str
    load_1min: Reading
    probe_ns: int | None = None

    def __post_init__(self) -> None:
        _require(bool(self.samples_ns), f"block {self.index} of {self.bundle} has no samples; expected at least one")
        _require(
            min(self.samples_ns) > 0, f"block {self.index} of {self.bundle} has a sample of {min(self.samples_ns)} ns"
        )
        _require(
            min(self.init_ns, self.first_ns) > 0, f"block {self.index} of {self.bundle} has a time of 0 ns or less"
        )
        _require(min(self.index, self.order, self.warmup_runs) >= 0, f"block of {self.bundle} has a negative count")

    @property
    def median_ns(self) -> float:
        """The median of its samples."""
        return float(median(self.samples_ns))

    def value_ns(self, statistic: Statistic) -> float:
        """What the block counts as: the median of its samples, or their mean."""
        return self.median_ns if statistic == "median" else fmean(self.samples_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Resident memory of one process, in kB of 1,024 bytes.

    Attributes:
        start_kb: engine loaded, model not yet opened.
        init_kb: tensors allocated.
        overall_kb: after some inferences.
        peak_kb: the most it ever was.
        peak_is_ours: the mark was set back at the start; without it the peak may be older than the model.
    """

    start_kb: int
    init_kb: int
    overall_kb: int
    peak_kb: int
    peak_is_ours: bool

    def __post_init__(self) -> None:
        _require(min(self.start_kb, self.init_kb, self.overall_kb, self.peak_kb) > 0, f"memory readings are {self}")

    @property
    def model_kb(self) -> int | None:
        """What the model added at its peak; None when the peak may be older than the model."""
        return max(0, self.peak_kb - self.start_kb) if self.peak_is_ours else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Instructions:
    """Instructions that an emulated processor executed: exact, and no measure of time.

    Comparable only with the same engine, emulator, emulated processor (`processor_sha256`) and runner.

    Attributes:
        init: from opening the file to allocated tensors.
        first: the first inference of the process.
        inference: each later one, after two untimed ones; all of them were equal.
        runs: how many were counted.
    """

    init: int
    first: int
    inference: int
    runs: int

    def __post_init__(self) -> None:
        _require(min(self.init, self.first, self.inference, self.runs) > 0, f"instruction counts are {self}")


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorTime:
    """What one operator of a model cost, as the engine's own profiler saw it; profiling slows the model down.

    Attributes:
        name: as the engine calls it.
        index: its place in the plan, of the delegate where that ran it.
        calls: how often it ran.
        total_ns: for how long altogether.
    """

    name: str
    index: int
    calls: int
    total_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """What the device answered for the evaluation pack.

    Attributes:
        ids: the clips' names, in order; two models are compared on equal ids only.
        predicted: the class of the largest output per clip (the first one of equals).
        expected: the labelled class per clip.
    """

    ids: tuple[str, ...]
    predicted: tuple[int, ...]
    expected: tuple[int, ...]

    def __post_init__(self) -> None:
        counts = {len(self.ids), len(self.predicted), len(self.expected)}
        _require(len(counts) == 1 and bool(self.ids), f"predictions have unequal counts {sorted(counts)}")

    @property
    def right(self) -> tuple[bool, ...]:
        """Whether each clip was answered rightly."""
        return tuple(seen == wanted for seen, wanted in zip(self.predicted, self.expected, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class SeveralPredictions:
    """What the device answered for an evaluation pack whose clips have several labels each.

    Attributes:
        ids: the clips' names, in order.
        labels: the classes' names, in the order of the outputs.
        outputs: the raw outputs by clip, a number a class; their order alone is scored, so integers need no scale.
            None where an output is not finite.
        expected: the indices of each clip's classes, rising.
    """

    ids: tuple[str, ...]
    labels: tuple[str, ...]
    outputs: tuple[tuple[float, ...] | None, ...]
    expected: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        counts = {len(self.ids), len(self.outputs), len(self.expected)}
        _require(len(counts) == 1 and bool(self.ids), f"predictions have unequal counts {sorted(counts)}")
        widths = {len(row) for row in self.outputs if row is not None}
        _require(widths <= {len(self.labels)}, f"outputs have {sorted(widths)} numbers; expected {len(self.labels)}")
        _require(any(self.expected), "no clip of the evaluation pack has a label; expected at least one")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a model could not be measured to the end: `golden` is an answer (exit 1), `device` is trouble (exit 4)."""

    kind: FailureKind
    message: str

    def __post_init__(self) -> None:
        _require(self.kind in ("golden", "device"), f"a failure is golden or device, not '{self.kind}'")


@dataclass(frozen=True, slots=True, kw_only=True)
class StageScore:
    """What one stage of the export scored on the evaluation pack, as the bundle tells it.

    Attributes:
        name: torch, onnx, tflite …
        metric: accuracy, or the name of another score.
        value: 0–1.
        interval: 95 %, or None where there is none.
        total: clips.
    """

    name: str
    metric: str
    value: float
    interval: tuple[float, float] | None
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What a session knows of the bundle it measures.

    Attributes:
        name: the bundle's name.
        student: the student's name; models of one student are compared.
        precision: float32, float16, dynamic or int8.
        sha256: of model.tflite.
        size_bytes: of model.tflite.
        synthetic: whether the data behind its accuracy is synthetic.
        parents: what the bundle was made from.
        stages: what the stages of the export scored on the same clips, first to last; empty where it does not tell.
    """

    name: str
    student: str
    precision: str
    sha256: str
    size_bytes: int
    synthetic: bool
    parents: Mapping[str, Any]
    stages: tuple[StageScore, ...] = ()

    def __post_init__(self) -> None:
        _require(bool(self.name), "a model has no name")
        _require(len(self.sha256) == 64, f"model {self.name} has sha256 '{self.sha256}'; expected 64 digits")
        _require(self.size_bytes > 0, f"model {self.name} has {self.size_bytes} bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Everything measured of one model; parts that were not reached are empty or None."""

    model: Model
    blocks: tuple[Block, ...] = ()
    memory: Memory | None = None
    predictions: Predictions | SeveralPredictions | None = None
    failure: Failure | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        strangers = {block.bundle for block in self.blocks} - {self.model.name}
        _require(not strangers, f"blocks of {', '.join(sorted(strangers))} in the measurement of {self.model.name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceState:
    """What changes on a device while it is measured; a place that says nothing is kept with its reason.

    Attributes:
        taken_utc: ISO 8601.
        load_1min: load average of the last minute.
        frequency_khz: current clock per CPU.
        governor: clock governor per CPU.
        temperature_c: degrees Celsius per thermal zone.

    Of a phone also:
        cpus_online: numbers of the CPUs that are on, such as 0-3.
        battery_percent: charge, 0–100.
        battery_c: degrees Celsius.
        plugged: ac, usb, wireless, dock, several with +, or no.
        thermal_status: none, light, moderate, severe, critical, emergency or shutdown (Android 10 on).
        screen: on or off.
        stays_awake: Android's `stay_on_while_plugged_in`; 0 lets it sleep.
    """

    taken_utc: str
    load_1min: Reading
    frequency_khz: Mapping[str, Reading]
    governor: Mapping[str, Reading]
    temperature_c: Mapping[str, Reading]
    cpus_online: Reading = "absent"
    battery_percent: Reading = "absent"
    battery_c: Reading = "absent"
    plugged: Reading = "absent"
    thermal_status: Reading = "absent"
    screen: Reading = "absent"
    stays_awake: Reading = "absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceContext:
    """What does not change on a device during a session.

    Attributes:
        kind: host (this computer) or phone.
        model: the CPU's or phone's name.
        fingerprint: operating system and version.
        cpu_count: CPUs that this process may use.
        max_frequency_khz: the highest clock, where it is readable.
        clocks_locked: whether the clocks are held still; no reader of this version can tell.
        memory_total_kb: physical memory.
        stands_for: what these numbers are, for every table.
        serial: of a phone, or its address.
        serial_number: the phone's own, whichever way it is reached; "" where it does not tell.
        transport: how a phone was reached: through an adb server, TCP or USB.
        abi: of a phone, such as arm64-v8a.
        android: its version.
        sdk: its API level.
        emulated: whether it says that it is no real phone; its times are then no latency.
    """

    kind: str
    model: str
    fingerprint: str
    cpu_count: int
    max_frequency_khz: Reading
    clocks_locked: Reading
    memory_total_kb: Reading
    stands_for: str
    serial: str = ""
    serial_number: str = ""
    transport: str = ""
    abi: str = ""
    android: str = ""
    sdk: Reading = "absent"
    emulated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A round of blocks that was not measured because the device was not fit for it.

    Attributes:
        index: the blocks that it would have held.
        reasons: what was wrong, one sentence each.
        waited_s: how long it was waited for.
        at_utc: when it was given up, ISO 8601.
    """

    index: int
    reasons: tuple[str, ...]
    waited_s: float
    at_utc: str

    def __post_init__(self) -> None:
        _require(bool(self.reasons), f"round {self.index} was rejected without a reason")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One call of the bench on one device.

    Attributes:
        device: the profile's name.
        context: the device.
        plan: how it was measured.
        runner: the runner's own `hello` and `init` facts.
        started_utc: ISO 8601.
        finished_utc: ISO 8601.
        before: the device's state before the first block.
        after: the device's state at the end.
        measurements: one per model, in the order they were named.
        concerns: what makes these numbers less than clean; shown with every table.
        interrupted: whether it was stopped before its end.
        tool: name and version of what wrote it.
        rejected: rounds that were not measured, and why.
        dirty: what its name says of its numbers in a word or two each: emulated, free clocks …
    """

    device: str
    context: DeviceContext
    plan: RunPlan
    runner: Mapping[str, Any]
    started_utc: str
    finished_utc: str
    before: DeviceState
    after: DeviceState
    measurements: tuple[Measurement, ...]
    concerns: tuple[str, ...] = ()
    interrupted: bool = False
    tool: Mapping[str, str] = field(default_factory=dict)
    rejected: tuple[Rejection, ...] = ()
    dirty: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [measurement.model.name for measurement in self.measurements]
        double = sorted({name for name in names if names.count(name) > 1})
        _require(not double, f"models of one name: {', '.join(double)}; measure them in sessions of their own")

    @property
    def many_rejected(self) -> bool:
        """Whether over a quarter of the rounds were rejected: what is left stands for a device at its best moments."""
        return 4 * len(self.rejected) > self.plan.blocks

    @property
    def name(self) -> str:
        """What ran, and what stands between it and a clean result: `pixel1 · native-glibc (free clocks)`."""
        runner = str(self.runner.get("runner", "nothing ran"))
        return f"{self.device} · {runner}" + (f" ({', '.join(self.dirty)})" if self.dirty else "")


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise RecordError(message)
