"""TensorFlow's own `benchmark_model` as a runner: what it prints, in every vintage, and how it is driven.

It keeps no samples, so its blocks hold the figures that it prints and nothing else; see docs/measuring.md.
Beside `android_bench.runner`; `android_bench.tool_session` says what is started in which order.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from android_bench.device import Device
from android_bench.errors import GoldenMismatchError, RunnerError
from android_bench.protocol import compare_golden
from android_bench.records import Predictions, RunPlan
from android_bench.runner import golden_bound_ppm
from converters.bundle import Bundle

_COUNT = re.compile(r"^(?:.*[\s:])?count=(\d+)(.*)$")
_KEY = re.compile(r"(\w+)=([0-9.eE+-]+)(\(all same\))?")
_TIMINGS = re.compile(r"Inference timings in us: Init: ([0-9.eE+-]+), First inference: ([0-9.eE+-]+)")
_OLD_TIMINGS = re.compile(r"Average inference timings in us: Warmup: [0-9.eE+-]+, Init: ([0-9.eE+-]+)")
_FOOTPRINT = re.compile(r"emory footprint[^:]*\(MB\): init=([0-9.eE+-]+) overall=([0-9.eE+-]+)")
_PEAK = re.compile(r"Overall peak memory footprint \(MB\) via periodic monitoring: ([0-9.eE+-]+)")
_UNCONSUMED = re.compile(r"Unconsumed cmdline flags: *(.*\S)")
_OUTPUT_FLAG = "--output_filepath"
_ONCE = {"warmup_runs": 0, "warmup_min_secs": 0, "num_runs": 1, "min_secs": 0}


class UnknownFlagError(RunnerError):
    """The tool does not know a flag; it would have gone on without it.

    Attributes:
        flags: what it did not know.
    """

    def __init__(self, flags: str) -> None:
        super().__init__(f"benchmark_model does not know {flags}; a newer one does")
        self.flags = flags


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolTiming:
    """One `count=` line, in µs; what this vintage does not print is None."""

    count: int
    avg_us: float
    min_us: float
    max_us: float
    std_us: float
    p5_us: float | None = None
    median_us: float | None = None
    p95_us: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolOutput:
    """What one process printed.

    Attributes:
        init_us: loading and preparing the model.
        first_us: the first inference of the process; None in vintages that do not print it.
        warmup: untimed inferences; None when there were none.
        timed: the inferences that count.
        init_mb: memory after loading, over the start, in the tool's MB (1,048,576 bytes).
        overall_mb: the same at the end.
        peak_mb: the most it was.
    """

    init_us: float
    first_us: float | None
    warmup: ToolTiming | None
    timed: ToolTiming
    init_mb: float | None = None
    overall_mb: float | None = None
    peak_mb: float | None = None

    @property
    def value_us(self) -> float:
        """The block's value: the median where the tool prints one, else its average."""
        return self.timed.avg_us if self.timed.median_us is None else self.timed.median_us


def parse_output(text: str) -> ToolOutput:
    """The figures in the tool's output, stdout and stderr together (r1.13 prints on stderr).

    Raises:
        UnknownFlagError: the tool did not know a flag.
        RunnerError: a line is missing, or no inference was timed.
    """
    unknown = _UNCONSUMED.search(text)
    if unknown:
        raise UnknownFlagError(unknown[1])
    counts = [match for line in text.splitlines() if (match := _COUNT.match(line.strip()))]
    if len(counts) != 2:
        raise RunnerError(
            f"benchmark_model printed {len(counts)} lines with count=, expected two (warm-up and timed); "
            f"its end: {' | '.join(text.strip().splitlines()[-3:])[-300:]}"
        )
    warmup, timed = (_timing(int(match[1]), match[2]) for match in counts)
    if timed is None:
        raise RunnerError("benchmark_model timed no inference (count=0)")
    timings, old = _TIMINGS.search(text), _OLD_TIMINGS.search(text)
    if not (timings or old):
        raise RunnerError("benchmark_model printed no line 'Inference timings in us'; it did not reach its end")
    footprint, peak = _FOOTPRINT.search(text), _PEAK.search(text)
    return ToolOutput(
        init_us=float((timings or old)[1]),  # type: ignore[index]
        first_us=float(timings[2]) if timings else None,
        warmup=warmup,
        timed=timed,
        init_mb=float(footprint[1]) if footprint else None,
        overall_mb=float(footprint[2]) if footprint else None,
        peak_mb=float(peak[1]) if peak else None,
    )


def _timing(count: int, rest: str) -> ToolTiming | None:
    """The figures of one line; equal durations are printed as `curr=` alone."""
    if count == 0:
        return None
    found = {key: float(value) for key, value, _ in _KEY.findall(rest)}
    if "curr" in found and not found.keys() & {"first", "min", "max", "avg", "std"}:
        found |= {"avg": found["curr"], "min": found["curr"], "max": found["curr"], "std": 0.0}
    missing = {"avg", "min", "max", "std"} - found.keys()
    if missing:
        raise RunnerError(f"benchmark_model's line 'count={count}{rest[:80]}' lacks {', '.join(sorted(missing))}")
    return ToolTiming(
        count=count,
        avg_us=found["avg"],
        min_us=found["min"],
        max_us=found["max"],
        std_us=found["std"],
        p5_us=found.get("p5"),
        median_us=found.get("median"),
        p95_us=found.get("p95"),
    )


def run_tool(device: Device, tool: Path, bundle: Bundle, plan: RunPlan, more: Mapping[str, Any]) -> ToolOutput:
    """One process of the tool on one model.

    Args:
        device: where it runs.
        tool: the tool built for that device.
        bundle: the model.
        plan: threads, mask and time-out.
        more: further flags without their dashes.

    Raises:
        RunnerError: it failed, or printed something else than it should.
        DeviceError: it could not be started or took too long.
    """
    flags = {"graph": device.push(bundle.model), "num_threads": plan.threads, "use_xnnpack": "true", **more}
    pinned = ("taskset", plan.core_mask) if plan.core_mask else ()
    words = (*pinned, device.push(tool), *(f"--{key}={value}" for key, value in flags.items()))
    result = device.run(words, plan.timeout_s)
    text = f"{result.stdout}\n{result.stderr}"
    if result.exit_code:
        end = " | ".join(text.strip().splitlines()[-3:])[-300:]
        raise RunnerError(f"benchmark_model failed on {bundle.name} (exit code {result.exit_code}): {end}")
    return parse_output(text)


def run_tool_block(device: Device, tool: Path, bundle: Bundle, plan: RunPlan) -> ToolOutput:
    """One process that warms up and times the model; raises as `run_tool` does."""
    flags = {
        "warmup_runs": 1,
        "warmup_min_secs": plan.warmup_ms / 1000,
        "num_runs": plan.min_runs,
        "min_secs": plan.min_timed_ms / 1000,
        "max_secs": plan.timeout_s,
    }
    return run_tool(device, tool, bundle, plan, flags)


def run_tool_outputs(
    device: Device, tool: Path, bundle: Bundle, plan: RunPlan, inputs: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """The model's outputs for `inputs` of shape (examples, …), one process each; shape (examples, classes).

    Raises:
        UnknownFlagError: this tool cannot write its outputs to a file.
        RunnerError: a process failed, or its output has another size than the model's.
    """
    spec, output = bundle.inputs[0], bundle.outputs[0]
    shape = ",".join(map(str, spec.shape))
    name = spec.name.replace(":", "::")  # the tool splits at single colons
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        local, back = Path(folder) / "tkd_input.bin", Path(folder) / "pulled.bin"
        for example in inputs:
            local.write_bytes(np.ascontiguousarray(example).tobytes())
            there = device.push(local)
            answer = str(PurePosixPath(there).parent / "tkd_output.bin")
            device.run(("rm", "-f", answer), plan.timeout_s)  # an older answer must not pass for this one
            flags: dict[str, Any] = {
                "input_layer": spec.name,
                "input_layer_shape": shape,
                "input_layer_value_files": f"{name}:{there}",
                "output_filepath": answer,
            }
            run_tool(device, tool, bundle, plan, flags | _ONCE)
            device.pull(answer, back)
            rows.append(_row(back.read_bytes(), output.shape, output.dtype, bundle.name))
    return np.stack(rows)


def prove_golden(device: Device, tool: Path, bundle: Bundle, plan: RunPlan) -> bool:
    """Whether the tool computes the bundle's function; False when this vintage cannot write its outputs.

    Raises:
        GoldenMismatchError: it computes another function.
    """
    inputs, expected = bundle.golden()
    try:
        seen = run_tool_outputs(device, tool, bundle, plan, inputs)
    except UnknownFlagError as unknown:
        if _OUTPUT_FLAG in unknown.flags:
            return False
        raise
    verdict = compare_golden(seen.reshape(expected.shape), expected, golden_bound_ppm(bundle))
    if not verdict["ok"]:
        raise GoldenMismatchError(
            f"{bundle.name}: benchmark_model's outputs differ from the golden ones by {verdict['max_error']:.3g} "
            f"{verdict['unit']}, expected at most {verdict['bound']:g}; its time would mean nothing"
        )
    return True


def run_tool_predictions(device: Device, tool: Path, bundle: Bundle, plan: RunPlan) -> Predictions:
    """The whole evaluation pack, one process per clip; raises as `run_tool_outputs` does."""
    pack = bundle.evaluation()
    outputs = run_tool_outputs(device, tool, bundle, plan, pack.inputs)
    return Predictions(
        ids=pack.ids,
        predicted=tuple(int(row) for row in outputs.argmax(axis=1)),
        expected=tuple(int(label) for label in pack.labels),
    )


def _row(content: bytes, shape: Sequence[int], dtype: str, name: str) -> np.ndarray[Any, Any]:
    expected = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if len(content) != expected:
        raise RunnerError(f"benchmark_model wrote {len(content)} bytes of output for {name}, expected {expected}")
    return np.frombuffer(content, dtype=dtype)
