"""Runs the runner on a device and turns its lines into records; strict about every line.

Between `android_bench.device`, which starts it, and `android_bench.measure`, which says what to start.
The other end is `android_bench.host_runner`; native/README.md is the agreement between them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from android_bench.device import CommandResult, Device
from android_bench.errors import GoldenMismatchError, RecordError, RunnerError
from android_bench.operator_counts import OperatorCounts, parse_operators
from android_bench.protocol import FIELDS_OF_EVENT, GOLDEN_BOUND_PPM, PROTOCOL, ROUNDED_BOUND_PPM, RunnerExit
from android_bench.records import (
    Block,
    Instructions,
    Memory,
    OperatorTime,
    Predictions,
    Reading,
    RunPlan,
    SeveralPredictions,
)
from converters.bundle import Bundle, EvaluationPack
from converters.stream_bundle import StreamBundle

_STDERR_LINES = 5
# Which events a run of these stages prints, in order; `eval` stands for one line or more.
_EVENTS_OF_STAGES = {
    "golden,latency": ("hello", "init", "first", "golden", "warmup", "samples", "done"),
    "golden": ("hello", "init", "first", "golden", "done"),
    "memory": ("hello", "init", "first", "memory", "done"),
    "golden,eval": ("hello", "init", "first", "golden", "eval", "done"),
    "golden,count": ("hello", "init", "first", "golden", "counted", "done"),
    "golden,operators": ("hello", "init", "first", "golden", "operators", "done"),
    "profile": ("hello", "init", "first", "profile", "done"),
    "probe": ("hello", "probe", "done"),
    "golden,sustain": ("hello", "init", "first", "golden", "sustained", "done"),
}
# One line of the emulator's plugin (native/counter.c): region, index, count.
_COUNT = re.compile(r"^tkd-instructions (\d+) (\d+) (\d+)$", re.MULTILINE)
_COUNT_WARM_UPS = (2, 24, 120)
_INIT, _FIRST, _INFERENCE = 1, 2, 3

_BLOCK, _MEMORY, _PREDICTIONS = "golden,latency", "memory", "golden,eval"
_COUNT_STAGES, _OPERATOR_STAGES = "golden,count", "golden,operators"
_CARRIED_PPM = 20_000
_FIRST_SIGNAL, _LAST_SIGNAL = 129, 192  # a phone's shell adds 128 to the number of the signal that ended a process

Line = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockPlace:
    """Where a block stands.

    Attributes:
        index: its place among its model's blocks.
        order: its place among all blocks.
        started_utc: when.
        load_1min: the load before its round.
        probe_ns: what the fixed piece of work took before its round, None where it was not done.
    """

    index: int
    order: int
    started_utc: str
    load_1min: Reading
    probe_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerFacts:
    """What the runner said of itself (`hello`) and of the loaded model (`init`)."""

    hello: Line = field(default_factory=dict)
    init: Line = field(default_factory=dict)


def commands(device: Device, bundle: Bundle, plan: RunPlan) -> dict[str, tuple[str, ...]]:
    """What each `run_…` starts on the device, by what it gives; the files are pushed."""
    pack = {"eval_inputs": device.push(bundle.folder / "eval_inputs.npy")}
    return {
        "block": _command(device, bundle, plan, _BLOCK, _block_arguments(plan)),
        "memory": _command(device, bundle, plan, _MEMORY, {"memory_runs": plan.memory_runs}),
        "accuracy": _command(device, bundle, plan, _PREDICTIONS, pack),
    }


def emulated_commands(device: Device, bundle: Bundle, plan: RunPlan) -> dict[str, tuple[str, ...]]:
    """What `run_instructions`, `run_operators` and `run_predictions` start on the device; files are pushed."""
    pack = {"eval_inputs": device.push(bundle.folder / "eval_inputs.npy")}
    return {
        "count": _command(device, bundle, plan, _COUNT_STAGES, {}),
        "operators": _command(device, bundle, plan, _OPERATOR_STAGES, {}),
        "accuracy": _command(device, bundle, plan, _PREDICTIONS, pack),
    }


def golden_bound_ppm(bundle: Bundle | StreamBundle) -> int:
    """How far a device's floating outputs may be from the golden ones, in millionths of the largest one.

    Where float data meet int8 weights the engine rounds the data to 255 steps as it goes, and engines and processors
    differ in which step a value between two falls on: a step of int8 is allowed there, as an int8 output has it.
    """
    if isinstance(bundle, StreamBundle):
        # A recurrence carries what was rounded on from hop to hop.
        return GOLDEN_BOUND_PPM if bundle.logits.scale is not None or bundle.precision == "float32" else _CARRIED_PPM
    rounds = bundle.precision in ("int8", "dynamic") and bundle.outputs[0].dtype == "float32"
    return ROUNDED_BOUND_PPM if rounds else GOLDEN_BOUND_PPM


def _block_arguments(plan: RunPlan) -> dict[str, int]:
    return {
        "warmup_ms": plan.warmup_ms,
        "warmup_runs": plan.warmup_runs,
        "min_timed_ms": plan.min_timed_ms,
        "min_runs": plan.min_runs,
        "max_runs": plan.max_runs,
    }


def run_block(device: Device, bundle: Bundle, plan: RunPlan, place: BlockPlace) -> tuple[Block, RunnerFacts]:
    """One process that proves the model's function and times it.

    Raises:
        GoldenMismatchError: the device computes another function.
        RunnerError: the runner failed or spoke out of turn.
        DeviceError: it could not be started or took too long.
    """
    lines = _run(device, bundle, plan, _BLOCK, _block_arguments(plan))
    hello, init, first, golden, warmup, samples = lines[:6]
    try:
        block = Block(
            bundle=bundle.name,
            index=place.index,
            order=place.order,
            started_utc=place.started_utc,
            init_ns=init["init_ns"],
            first_ns=first["first_ns"],
            warmup_runs=warmup["runs"],
            warmup_ns=warmup["total_ns"],
            samples_ns=tuple(samples["ns"]),
            golden_error=float(golden["max_error"]),
            golden_unit=golden["unit"],
            load_1min=place.load_1min,
            probe_ns=place.probe_ns,
        )
    except (RecordError, TypeError, ValueError) as cause:
        raise RunnerError(f"the runner gave an impossible block for {bundle.name}: {cause}") from cause
    return block, RunnerFacts(hello=hello, init=init)


def run_golden(device: Device, bundle: Bundle, plan: RunPlan) -> tuple[Line, RunnerFacts]:
    """One process that proves the model's function: its line `golden`; raises as `run_block` does."""
    lines = _run(device, bundle, plan, "golden", {})
    return lines[3], RunnerFacts(hello=lines[0], init=lines[1])


def run_memory(device: Device, bundle: Bundle, plan: RunPlan) -> Memory:
    """One process that reads its own memory before, between and after; raises as `run_block` does."""
    lines = _run(device, bundle, plan, _MEMORY, {"memory_runs": plan.memory_runs})
    readings = {key: value for key, value in lines[3].items() if key != "event"}
    try:
        return Memory(**readings)
    except (RecordError, TypeError) as cause:
        raise RunnerError(f"the runner gave impossible memory readings for {bundle.name}: {cause}") from cause


def run_predictions(device: Device, bundle: Bundle, plan: RunPlan) -> Predictions | SeveralPredictions:
    """One process that answers the whole evaluation pack; raises as `run_block` does."""
    pack = bundle.evaluation()
    clips, classes = len(pack.ids), len(bundle.labels)
    arguments = {"eval_inputs": device.push(bundle.folder / "eval_inputs.npy")}
    rows: list[Sequence[float]] = []
    for line in _run(device, bundle, plan, _PREDICTIONS, arguments):
        if line["event"] == "eval":
            if line["first"] != len(rows):
                raise RunnerError(f"the runner skipped from clip {len(rows)} to clip {line['first']} of {bundle.name}")
            rows.extend(line["outputs"])
    if len(rows) != clips or any(len(row) != classes for row in rows):
        raise RunnerError(
            f"the runner answered {len(rows)} clips of {bundle.name}; expected {clips} rows of {classes} numbers"
        )
    if pack.labels.ndim == 2:
        return _several(pack, bundle, rows)
    return Predictions(
        ids=pack.ids,
        predicted=tuple(int(row) for row in np.argmax(np.asarray(rows), axis=1)),
        expected=tuple(int(label) for label in pack.labels),
    )


def _several(pack: EvaluationPack, bundle: Bundle, rows: Sequence[Sequence[float]]) -> SeveralPredictions:
    outputs = np.asarray(rows, np.float64)
    try:
        return SeveralPredictions(
            ids=pack.ids,
            labels=bundle.labels,
            outputs=tuple(tuple(row.tolist()) if np.isfinite(row).all() else None for row in outputs),
            expected=tuple(tuple(np.flatnonzero(row > 0).tolist()) for row in pack.labels),
        )
    except RecordError as cause:
        raise RunnerError(f"{bundle.name} cannot be scored: {cause}") from cause


def run_instructions(device: Device, bundle: Bundle | StreamBundle, plan: RunPlan) -> tuple[Instructions, RunnerFacts]:
    """One process on an emulated processor that counts its instructions; raises as `run_block` does.

    Where its inferences differ, others count later ones: the heap of an engine that allocates in every inference needs
    some to come to rest. Of a stream an inference is one hop, with its states carried on.
    Wants the native runner, and an emulator that was started with the plugin `counter`.
    """
    for warm_ups in _COUNT_WARM_UPS:
        lines, result = _run_with_result(device, bundle, plan, _COUNT_STAGES, {"count_warmups": warm_ups})
        counted = parse_counts(result.stderr, lines[4]["runs"], bundle.name)
        if len(set(counted.inferences)) == 1:
            break
    else:
        raise RunnerError(
            f"equal inferences of {bundle.name} took {sorted(set(counted.inferences))} instructions, "
            f"after {warm_ups} others; expected one number"
        )
    facts = RunnerFacts(hello=lines[0], init=lines[1])
    first, *_ = counted.inferences
    return Instructions(init=counted.init, first=counted.first, inference=first, runs=len(counted.inferences)), facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What one process took, instructions.

    Attributes:
        init: opening the model.
        first: the first inference.
        inferences: the later ones, in their order.
    """

    init: int
    first: int
    inferences: tuple[int, ...]


def parse_counts(stderr: str, runs: int, name: str) -> Counts:
    """The plugin's lines on stderr.

    Raises:
        RunnerError: a count is missing or twice there.
    """
    counts: dict[int, list[int]] = {_INIT: [], _FIRST: [], _INFERENCE: []}
    for region, _, count in _COUNT.findall(stderr):
        counts.setdefault(int(region), []).append(int(count))
    seen = tuple(len(counts[region]) for region in (_INIT, _FIRST, _INFERENCE))
    if seen != (1, 1, runs):
        raise RunnerError(
            f"the emulator counted {seen[0]} loads, {seen[1]} first and {seen[2]} later inferences of {name}, "
            f"expected 1, 1 and {runs}: was it started with the plugin counter?"
        )
    return Counts(init=counts[_INIT][0], first=counts[_FIRST][0], inferences=tuple(counts[_INFERENCE]))


def run_operators(device: Device, bundle: Bundle, plan: RunPlan) -> OperatorCounts:
    """One process on an emulated processor that counts the instructions of each operator; as `run_instructions`.

    Wants the build `ticks` of the native runner.
    """
    lines, result = _run_with_result(device, bundle, plan, _OPERATOR_STAGES, {})
    return parse_operators(result.stderr, lines[4]["ops"], bundle.name)


def run_probe(device: Device, plan: RunPlan) -> int:
    """How long a fixed piece of work takes on the plan's cores right now, nanoseconds; no model is opened.

    It is the mean over the second half of one process's pieces: by then the clocks have risen, and a mean, unlike a
    minimum, also shows who else is on these cores. Wants the native runner; raises as `run_block` does.
    """
    lines, _ = _started(device, probe_command(device, plan), "the probe", "probe", plan)
    pieces = lines[1]["ns"]
    try:
        return round(fmean(pieces[len(pieces) // 2 :]))
    except (TypeError, ValueError) as cause:
        raise RunnerError(f"the runner gave an impossible probe: {cause}") from cause


def probe_command(device: Device, plan: RunPlan) -> tuple[str, ...]:
    """What `run_probe` starts on the device."""
    return (*_pinned(plan), *device.runner, "stages=probe")


def run_profile(device: Device, bundle: Bundle, plan: RunPlan) -> tuple[OperatorTime, ...]:
    """What each operator costs in one process, in the engine's order; raises as `run_block` does.

    Wants the native runner and an engine with a profiler.
    """
    arguments = {
        "warmup_ms": plan.warmup_ms,
        "min_timed_ms": plan.min_timed_ms,
        "min_runs": plan.min_runs,
        "max_runs": plan.max_runs,
    }
    rows = _run(device, bundle, plan, "profile", arguments)[3]["ops"]
    names = ("name", "index", "calls", "total_ns")
    try:
        return tuple(OperatorTime(**{name: row[name] for name in names}) for row in rows)
    except (KeyError, TypeError) as cause:
        raise RunnerError(f"the runner gave an impossible profile for {bundle.name}: {cause}") from cause


def run_hops(
    device: Device, bundle: StreamBundle, plan: RunPlan, *, sustain_ms: int = 0
) -> tuple[dict[str, Any], RunnerFacts]:
    """One process that proves a stream on its golden hops and times hops; raises as `run_block` does.

    Args:
        device: with a runner.
        bundle: the stream.
        plan: threads, warm-up and amounts.
        sustain_ms: above 0, hops come at their own pace for so long, with rest between them; else one after the other.

    Returns:
        The runner's line `samples`, or `sustained`, and what it said of itself.
    """
    stages = "golden,sustain" if sustain_ms else _BLOCK
    pace = {"hop_us": round(1000 * bundle.hop.milliseconds), "sustain_ms": sustain_ms}
    lines = _run(device, bundle, plan, stages, pace if sustain_ms else _block_arguments(plan))
    timed = lines[-2]
    if "cpu_ns" not in timed or not timed["ns"] or lines[1].get("states") != len(bundle.states):
        raise RunnerError(
            f"the runner timed {bundle.name} with {lines[1].get('states', 'no')} states carried on; expected "
            f"{len(bundle.states)}, and processor time: is it of another version?"
        )
    return timed, RunnerFacts(hello=lines[0], init=lines[1])


def parse_lines(stdout: str) -> list[dict[str, Any]]:
    """The runner's lines, each checked for its event's fields.

    Raises:
        RunnerError: a line is no JSON object, has an unknown event, or lacks a field; or the protocol is another.
    """
    lines = []
    for number, text in enumerate(stdout.splitlines(), start=1):
        try:
            line = json.loads(text)
        except ValueError as cause:
            raise RunnerError(f"line {number} of the runner is no JSON: {text[:80]!r}") from cause
        event = line.get("event") if isinstance(line, dict) else None
        if event not in FIELDS_OF_EVENT:
            raise RunnerError(f"line {number} of the runner has event {event!r}; known: {', '.join(FIELDS_OF_EVENT)}")
        missing = [name for name in FIELDS_OF_EVENT[event] if name not in line]
        if missing:
            raise RunnerError(f"line {number} of the runner ({event}) lacks {', '.join(missing)}")
        if event == "hello" and line["protocol"] != PROTOCOL:
            raise RunnerError(f"the runner speaks protocol {line['protocol']}, expected {PROTOCOL}; update both")
        lines.append(line)
    return lines


def _run(
    device: Device, bundle: Bundle | StreamBundle, plan: RunPlan, stages: str, more: Mapping[str, str | int]
) -> list[dict[str, Any]]:
    return _run_with_result(device, bundle, plan, stages, more)[0]


def _command(
    device: Device, bundle: Bundle | StreamBundle, plan: RunPlan, stages: str, more: Mapping[str, str | int]
) -> tuple[str, ...]:
    golden_input, golden_output = _golden_files(bundle)
    arguments = {
        "model": device.push(bundle.model),
        "stages": stages,
        "golden_input": device.push(golden_input),
        "golden_output": device.push(golden_output),
        "threads": plan.threads,
        "golden_bound_ppm": golden_bound_ppm(bundle),
        **more,
    }
    return (*_pinned(plan), *device.runner, *(f"{key}={value}" for key, value in arguments.items()))


def _pinned(plan: RunPlan) -> tuple[str, ...]:
    return ("taskset", plan.core_mask) if plan.core_mask else ()


def _golden_files(bundle: Bundle | StreamBundle) -> tuple[Path, Path]:
    """Examples, or hops, and what they have to give."""
    names = ("golden_hops", "golden_logits") if isinstance(bundle, StreamBundle) else ("golden_input", "golden_output")
    return bundle.folder / f"{names[0]}.npy", bundle.folder / f"{names[1]}.npy"


def _run_with_result(
    device: Device, bundle: Bundle | StreamBundle, plan: RunPlan, stages: str, more: Mapping[str, str | int]
) -> tuple[list[dict[str, Any]], CommandResult]:
    return _started(device, _command(device, bundle, plan, stages, more), bundle.name, stages, plan)


def _started(
    device: Device, command: Sequence[str], name: str, stages: str, plan: RunPlan
) -> tuple[list[dict[str, Any]], CommandResult]:
    """One process of the runner; `name` is what it works on, for errors."""
    result = device.run(command, plan.timeout_s)
    if result.exit_code != RunnerExit.DONE:
        raise _failure(name, stages, result)
    lines = parse_lines(result.stdout)
    seen = [line["event"] for line in lines]
    without_repeats = tuple(event for i, event in enumerate(seen) if event != "eval" or seen[i - 1] != "eval")
    if without_repeats != _EVENTS_OF_STAGES[stages]:
        raise RunnerError(
            f"the runner said {', '.join(without_repeats)} for {name}; expected {', '.join(_EVENTS_OF_STAGES[stages])}"
        )
    _check_affinity(plan, lines[0])
    return lines, result


def _check_affinity(plan: RunPlan, hello: Line) -> None:
    """Refuses a run that was not where it was to be: the kernel drops processors that are offline in silence."""
    seen = hello.get("affinity")
    if plan.core_mask and seen is not None and str(seen).lstrip("0") != plan.core_mask.lstrip("0"):
        raise RunnerError(
            f"the runner was to run on processors {plan.core_mask} (mask), but ran on {seen}: are all of them online?"
        )


def _failure(name: str, stages: str, result: CommandResult) -> GoldenMismatchError | RunnerError:
    """The error for a runner that ended badly: its own last line when it gave one, else the end of stderr."""
    message = ""
    last = result.stdout.splitlines()[-1:]
    if last and last[0].startswith('{"event":"error"'):
        message = str(parse_lines(last[0])[0]["message"])
    if result.exit_code == RunnerExit.GOLDEN:
        return GoldenMismatchError(f"{name}: {message or 'golden mismatch'}; its time would mean nothing")
    signal = -result.exit_code
    if _FIRST_SIGNAL <= result.exit_code <= _LAST_SIGNAL:
        signal = result.exit_code - 128
    if signal > 0:
        why = "something killed it, or it ran out of memory" if signal == 9 else "it crashed"
        message = f"it was ended by signal {signal}: {why}"
    tail = " | ".join(result.stderr.strip().splitlines()[-_STDERR_LINES:])
    return RunnerError(
        f"the runner failed on {name} ({stages}, exit code {result.exit_code}): {message or tail or 'it said nothing'}"
    )
