"""TensorFlow's own `benchmark_model` as a runner: what it prints, in every vintage, and how it is driven.

It keeps no samples, so its blocks hold the figures that it prints and nothing else; see docs/measuring.md.
Beside `android_bench.runner`; `android_bench.tool_session` says what is started in which order.
"""

from __future__ import annotations

import re
import shlex
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
# The summary of LiteRT 2, in hundredths of a millisecond; what it prints beside it has the digits.
_LITERT_INIT = re.compile(r"Model initialization: +([0-9.]+) ms")
_LITERT_FIRST = re.compile(r"Warmup \(first\): +([0-9.]+) ms")
_LITERT_INIT_MB = re.compile(r"Init footprint: +([0-9.]+) MB")
_LITERT_OVERALL_MB = re.compile(r"Overall footprint: +([0-9.]+) MB")
_LITERT_PEAK_MB = re.compile(r"Peak memory: +([0-9.]+) MB")
_UNCONSUMED = re.compile(r"Unconsumed cmdline flags: *(.*\S)")
_OUTPUT_FLAGS = frozenset({"output_filepath", "input_layer", "input_layer_shape", "input_layer_value_files"})
_ONCE = {"warmup_runs": 0, "warmup_min_secs": 0, "num_runs": 1, "min_secs": 0}
# Flags that some vintages lack and that a measurement can do without; the note says what that means.
_DISPENSABLE = {
    "use_xnnpack": "does not know --use_xnnpack: its own default decides whether XNNPACK runs",
    "max_secs": "does not know --max_secs",
}
_CLIPS_AT_ONCE = 32
_NO_FILE = 96
# Feeds clips of a pack to the tool one after the other and gathers what it writes.
_FEED = """\
pack=$1 bytes=$2; shift 2
here=${pack%/*}
rm -f "$here/tkd_all.bin"
for clip; do
  rm -f "$here/tkd_one.bin"
  dd if="$pack" of="$here/tkd_clip.bin" bs="$bytes" skip="$clip" count=1 2>"$here/tkd_said" || {
    cat "$here/tkd_said" >&2
    exit 1
  }
  COMMAND >"$here/tkd_said" 2>&1 || {
    code=$?
    cat "$here/tkd_said"
    exit $code
  }
  [ -f "$here/tkd_one.bin" ] || {
    cat "$here/tkd_said"
    exit NO_FILE
  }
  cat "$here/tkd_one.bin" >>"$here/tkd_all.bin"
done
cat "$here/tkd_said"
"""


class UnknownFlagError(RunnerError):
    """The tool does not know a flag; it would have gone on without it.

    Attributes:
        flags: names of those it did not know.
    """

    def __init__(self, flags: str) -> None:
        super().__init__(f"benchmark_model does not know {flags}; a newer one does")
        self.flags = frozenset(re.findall(r"--(\w+)", flags))


class NoOutputError(RunnerError):
    """The tool ran to its end and wrote no output; the oldest pass over flags that they do not know in silence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A benchmark_model, and the flags that its vintage does not know.

    Attributes:
        path: the file here, built for the device.
        lacks: names of flags that are left out.
    """

    path: Path
    lacks: frozenset[str] = frozenset()

    @property
    def notes(self) -> tuple[str, ...]:
        """What leaving flags out means, one sentence each."""
        return tuple(f"this benchmark_model {_DISPENSABLE[name]}" for name in sorted(self.lacks))


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolTiming:
    """One `count=` line, in µs; what this vintage does not print is None."""

    count: int
    avg_us: float
    min_us: float
    max_us: float
    std_us: float
    first_us: float | None = None
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
    if _LITERT_INIT.search(text):
        return _litert_output(text, warmup, timed)
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


def _litert_output(text: str, warmup: ToolTiming | None, timed: ToolTiming) -> ToolOutput:
    """LiteRT 2: its own summary ends the output, in milliseconds, after the same `count=` lines."""

    def found(pattern: re.Pattern[str]) -> float | None:
        match = pattern.search(text)
        return float(match[1]) if match else None

    init_ms, first_ms = found(_LITERT_INIT), found(_LITERT_FIRST)
    assert init_ms is not None, "the summary was recognised by it"
    return ToolOutput(
        init_us=init_ms * 1e3,
        # The `count=` line has the whole microseconds, the summary hundredths of a millisecond.
        first_us=None if warmup is None else warmup.first_us or (first_ms * 1e3 if first_ms is not None else None),
        warmup=warmup,
        timed=timed,
        init_mb=found(_LITERT_INIT_MB),
        overall_mb=found(_LITERT_OVERALL_MB),
        peak_mb=found(_LITERT_PEAK_MB),
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
        first_us=found.get("first", found.get("curr") if count == 1 else None),
        p5_us=found.get("p5"),
        median_us=found.get("median"),
        p95_us=found.get("p95"),
    )


def get_to_know(device: Device, path: Path, bundle: Bundle, plan: RunPlan) -> Tool:
    """The tool, with the flags that its vintage lacks found out by one short run.

    Raises:
        UnknownFlagError: it lacks a flag that cannot be done without.
        RunnerError: it failed, or printed something else than it should.
        DeviceError: it could not be started or took too long.
    """
    tool = Tool(path=path)
    for _ in range(len(_DISPENSABLE)):
        try:
            run_tool(device, tool, bundle, plan, _block_flags(plan) | _ONCE)
        except UnknownFlagError as unknown:
            if not unknown.flags <= _DISPENSABLE.keys():
                raise
            tool = Tool(path=path, lacks=tool.lacks | unknown.flags)
        else:
            break
    return tool


def run_tool(device: Device, tool: Tool, bundle: Bundle, plan: RunPlan, more: Mapping[str, Any]) -> ToolOutput:
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
    result = device.run(_words(device, tool, bundle, plan, more), plan.timeout_s)
    text = f"{result.stdout}\n{result.stderr}"
    if result.exit_code:
        raise _failure(bundle.name, result.exit_code, text)
    return parse_output(text)


def _words(device: Device, tool: Tool, bundle: Bundle, plan: RunPlan, more: Mapping[str, Any]) -> tuple[str, ...]:
    flags = {"graph": device.push(bundle.model), "num_threads": plan.threads, "use_xnnpack": "true", **more}
    pinned = ("taskset", plan.core_mask) if plan.core_mask else ()
    known = (f"--{key}={value}" for key, value in flags.items() if key not in tool.lacks)
    return (*pinned, device.push(tool.path), *known)


def _failure(name: str, code: int, text: str) -> RunnerError:
    end = " | ".join(text.strip().splitlines()[-3:])[-300:]
    return RunnerError(f"benchmark_model failed on {name} (exit code {code}): {end or 'it said nothing'}")


def run_tool_block(device: Device, tool: Tool, bundle: Bundle, plan: RunPlan) -> ToolOutput:
    """One process that warms up and times the model; raises as `run_tool` does."""
    return run_tool(device, tool, bundle, plan, _block_flags(plan))


def _block_flags(plan: RunPlan) -> dict[str, Any]:
    return {
        "warmup_runs": 1,
        "warmup_min_secs": plan.warmup_ms / 1000,
        "num_runs": plan.min_runs,
        "min_secs": plan.min_timed_ms / 1000,
        "max_secs": plan.timeout_s,
    }


def run_tool_outputs(
    device: Device, tool: Tool, bundle: Bundle, plan: RunPlan, inputs: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """The model's outputs for `inputs` of shape (examples, …), one process each; shape (examples, …).

    The pack is sent once; a script on the device cuts one clip after the other out of it and gathers the answers.

    Raises:
        UnknownFlagError: this tool cannot write its outputs to a file.
        NoOutputError: it wrote none.
        RunnerError: a process failed, or its output has another size than the model's.
    """
    output, rows = bundle.outputs[0], []
    one_bytes = int(np.prod(output.shape)) * np.dtype(output.dtype).itemsize
    with tempfile.TemporaryDirectory() as folder:
        local, back = Path(folder) / "tkd_pack.bin", Path(folder) / "pulled.bin"
        local.write_bytes(np.ascontiguousarray(inputs).tobytes())
        pack = device.push(local)
        there = PurePosixPath(pack).parent
        script = _feeding(_words(device, tool, bundle, plan, _feeding_flags(bundle, there)))
        for first in range(0, len(inputs), _CLIPS_AT_ONCE):
            clips = [str(clip) for clip in range(first, min(first + _CLIPS_AT_ONCE, len(inputs)))]
            result = device.run(("sh", "-c", script, "sh", pack, str(inputs[0].nbytes), *clips), plan.timeout_s)
            text = f"{result.stdout}\n{result.stderr}"
            if result.exit_code not in (0, _NO_FILE):
                raise _failure(bundle.name, result.exit_code, text)
            parse_output(text)
            if result.exit_code:
                raise NoOutputError(f"benchmark_model wrote no output for {bundle.name}; a newer one does")
            device.pull(str(there / "tkd_all.bin"), back)
            answers = back.read_bytes()
            if len(answers) != len(clips) * one_bytes:
                raise RunnerError(
                    f"benchmark_model wrote {len(answers)} bytes of output for {len(clips)} clips of {bundle.name}, "
                    f"expected {len(clips) * one_bytes}"
                )
            rows.append(np.frombuffer(answers, dtype=output.dtype).reshape(len(clips), -1))
    return np.concatenate(rows)


def _feeding(command: Sequence[str]) -> str:
    return _FEED.replace("COMMAND", shlex.join(command)).replace("NO_FILE", str(_NO_FILE))


def _feeding_flags(bundle: Bundle, there: PurePosixPath) -> dict[str, Any]:
    spec = bundle.inputs[0]
    name = spec.name.replace(":", "::")  # the tool splits at single colons
    return {
        "input_layer": spec.name,
        "input_layer_shape": ",".join(map(str, spec.shape)),
        "input_layer_value_files": f"{name}:{there}/tkd_clip.bin",
        "output_filepath": f"{there}/tkd_one.bin",
    } | _ONCE


def prove_golden(device: Device, tool: Tool, bundle: Bundle, plan: RunPlan) -> bool:
    """Whether the tool computes the bundle's function; False when this vintage cannot write its outputs.

    Raises:
        GoldenMismatchError: it computes another function.
    """
    inputs, expected = bundle.golden()
    try:
        seen = run_tool_outputs(device, tool, bundle, plan, inputs)
    except NoOutputError:
        return False
    except UnknownFlagError as unknown:
        if unknown.flags <= _OUTPUT_FLAGS:
            return False
        raise
    verdict = compare_golden(seen.reshape(expected.shape), expected, golden_bound_ppm(bundle))
    if not verdict["ok"]:
        raise GoldenMismatchError(
            f"{bundle.name}: benchmark_model's outputs differ from the golden ones by {verdict['max_error']:.3g} "
            f"{verdict['unit']}, expected at most {verdict['bound']:g}; its time would mean nothing"
        )
    return True


def run_tool_predictions(device: Device, tool: Tool, bundle: Bundle, plan: RunPlan) -> Predictions:
    """The whole evaluation pack, one process per clip; raises as `run_tool_outputs` does."""
    pack = bundle.evaluation()
    outputs = run_tool_outputs(device, tool, bundle, plan, pack.inputs)
    return Predictions(
        ids=pack.ids,
        predicted=tuple(int(row) for row in outputs.argmax(axis=1)),
        expected=tuple(int(label) for label in pack.labels),
    )
