"""The runner of `--device host`: one process, one model, measured over ai-edge-litert or another runtime.

    python -m android_bench.host_runner model=… stages=golden,latency golden_input=… golden_output=…

Started by `android_bench.runner` in a process of its own; speaks native/README.md to the letter.
stdout is the protocol; nothing else may print there.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from android_bench.host_engine import (
    RUNTIMES,
    Clock,
    Engine,
    Invoke,
    StageError,
    affinity,
    engine_name,
    import_runtime,
    load,
    overheads,
    reset_peak,
    status_kb,
    sustained,
    timed,
    warm_up,
)
from android_bench.protocol import (
    EVAL_CLIPS_PER_LINE,
    GOLDEN_BOUND_PPM,
    PROTOCOL,
    STAGES,
    RunnerExit,
    compare_golden,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """The arguments of one run; native/README.md gives each one's meaning, default and range."""

    model: str
    stages: str
    golden_input: str = ""
    golden_output: str = ""
    eval_inputs: str = ""
    threads: int = 1
    delegate: str = "xnnpack"
    warmup_ms: int = 500
    warmup_runs: int = 1
    min_timed_ms: int = 200
    min_runs: int = 20
    max_runs: int = 200_000
    memory_runs: int = 20
    golden_bound_ppm: int = GOLDEN_BOUND_PPM
    runtime: str = "ai-edge-litert"
    hop_us: int = 10_000
    sustain_ms: int = 60_000

    def __post_init__(self) -> None:
        wanted = self.stages.split(",")
        if len(set(wanted)) != len(wanted) or not set(wanted) <= set(STAGES):
            raise _wrong(f"stages={self.stages}: expected some of {','.join(STAGES)}, each once")
        if "memory" in wanted and len(wanted) > 1:
            raise _wrong(f"stages={self.stages}: memory is measured in a process of its own")
        if wanted != ["eval"] and not (self.golden_input and self.golden_output):
            raise _wrong(f"stages={self.stages} needs golden_input= and golden_output=")
        if "eval" in wanted and not self.eval_inputs:
            raise _wrong("stages=eval needs eval_inputs=")
        if "sustain" in wanted and {"latency", "eval"} & set(wanted):
            raise _wrong(f"stages={self.stages}: sustain goes with golden only")
        if self.hop_us < 1 or self.sustain_ms * 1000 < self.hop_us:
            raise _wrong(f"sustain_ms={self.sustain_ms} is shorter than one hop of hop_us={self.hop_us}")
        if self.delegate not in ("xnnpack", "none"):
            raise _wrong(f"delegate={self.delegate}: expected xnnpack or none")
        if self.runtime not in RUNTIMES:
            raise _wrong(f"runtime={self.runtime}: expected one of {', '.join(RUNTIMES)}")
        if not 1 <= self.threads <= 64:
            raise _wrong(f"threads={self.threads}: expected 1 to 64")
        if min(self.warmup_ms, self.min_timed_ms) < 0 or min(self.memory_runs, self.warmup_runs) < 1:
            raise _wrong("expected warmup_ms and min_timed_ms of at least 0, memory_runs and warmup_runs of at least 1")
        if not 0 <= self.golden_bound_ppm <= 1_000_000:
            raise _wrong(f"golden_bound_ppm={self.golden_bound_ppm}: expected 0 to 1000000")
        if not 1 <= self.min_runs <= self.max_runs:
            raise _wrong(f"min_runs={self.min_runs} max_runs={self.max_runs}: expected 1 <= min_runs <= max_runs")

    def wants(self, stage: str) -> bool:
        """Whether `stage` is to be run."""
        return stage in self.stages.split(",")


def parse(words: Sequence[str]) -> Arguments:
    """The arguments in `words`, each `key=value`.

    Raises:
        StageError: a word is no `key=value`, a key is unknown, double or missing, or a value is out of range.
    """
    kinds = {field.name: int if field.type == "int" else str for field in fields(Arguments)}
    values: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not value:
            raise _wrong(f"seen '{word}', expected key=value")
        if key not in kinds:
            raise _wrong(f"unknown argument '{key}'; known: {', '.join(kinds)}")
        if key in values:
            raise _wrong(f"argument '{key}' is given twice")
        try:
            values[key] = kinds[key](value)
        except ValueError as cause:
            raise _wrong(f"{key}={value}: expected a whole number") from cause
    missing = [key for key in ("model", "stages") if key not in values]
    if missing:
        raise _wrong(f"missing argument: {', '.join(missing)}")
    return Arguments(**values)


def run(arguments: Arguments, clock: Clock) -> None:
    """Runs the stages and prints their lines.

    Raises:
        StageError: a stage failed.
    """
    started = clock()
    timer_ns, call_ns = overheads(clock)
    _say(
        "hello",
        protocol=PROTOCOL,
        runner="python",
        engine=engine_name(arguments.runtime),
        threads=arguments.threads,
        delegate=arguments.delegate,
        affinity=affinity(),
        timer_overhead_ns=timer_ns,
        call_overhead_ns=call_ns,
    )
    if arguments.stages == "eval":
        engine = _loaded(arguments, clock)
    elif arguments.wants("memory"):
        engine = _memory(arguments, clock)
    else:
        engine = _golden_and_latency(arguments, clock)
    if arguments.wants("eval"):
        _evaluate(engine, _read(arguments.eval_inputs, engine.input))
    _say("done", wall_ns=clock() - started)


def _golden_and_latency(arguments: Arguments, clock: Clock) -> Engine:
    engine = _loaded(arguments, clock)
    inputs = _read(arguments.golden_input, engine.input)
    expected = _read(arguments.golden_output, engine.output)
    engine.set_input(inputs[:1])
    _say("first", first_ns=_once(engine.invoke, clock))
    if arguments.wants("golden"):
        engine.reset()
        verdict = compare_golden(_outputs(engine, inputs, RunnerExit.INFERENCE), expected, arguments.golden_bound_ppm)
        _say("golden", **verdict)
        if not verdict["ok"]:
            raise StageError(
                RunnerExit.GOLDEN,
                f"the outputs differ from the golden ones by {verdict['max_error']:.3g} {verdict['unit']}, "
                f"expected at most {verdict['bound']:g}: this device computes another function",
            )
    if arguments.wants("latency"):
        engine.set_input(inputs[:1])
        samples = array("q", bytes(8 * arguments.max_runs))
        gc.collect()
        gc.freeze()
        gc.disable()
        cpu_ns = time.process_time_ns
        runs, total_ns = _guarded(warm_up, engine.invoke, clock, arguments.warmup_ms * 1_000_000, arguments.warmup_runs)
        cpu_before = cpu_ns()
        count, wall_ns = _guarded(
            timed, engine.invoke, clock, samples, arguments.min_runs, arguments.min_timed_ms * 1_000_000
        )
        cpu = cpu_ns() - cpu_before
        gc.enable()
        _say("warmup", runs=runs, total_ns=total_ns)
        _say("samples", ns=samples[:count].tolist(), wall_ns=wall_ns, cpu_ns=cpu)
    if arguments.wants("sustain"):
        _sustain(engine, inputs, arguments, clock)
    return engine


def _sustain(engine: Engine, inputs: np.ndarray[Any, Any], arguments: Arguments, clock: Clock) -> None:
    """Hops as they come in use: one every `hop_us`, each with its input set, and rest between them."""
    samples = array("q", bytes(8 * (arguments.sustain_ms * 1000 // arguments.hop_us)))

    def hop(index: int) -> None:
        place = index % len(inputs)
        engine.set_input(inputs[place : place + 1])
        engine.invoke()

    engine.reset()
    cpu_before = time.process_time_ns()
    late, wall_ns = _guarded(sustained, hop, clock, time.sleep, samples, arguments.hop_us * 1000)
    cpu = time.process_time_ns() - cpu_before
    _say("sustained", hop_us=arguments.hop_us, late=late, cpu_ns=cpu, wall_ns=wall_ns, ns=samples.tolist())


def _memory(arguments: Arguments, clock: Clock) -> Engine:
    # The engine and the array are in memory before the first reading: what grows from here on is the model's.
    import_runtime(arguments.runtime)
    example = np.ascontiguousarray(_load(arguments.golden_input)[:1])
    peak_is_ours = reset_peak()
    start_kb = status_kb("VmRSS")
    engine = _loaded(arguments, clock)
    init_kb = status_kb("VmRSS")
    _fits(example, engine.input, arguments.golden_input)
    engine.set_input(example)
    _say("first", first_ns=_once(engine.invoke, clock))
    for _ in range(arguments.memory_runs):
        _guarded(engine.invoke)
    _say(
        "memory",
        start_kb=start_kb,
        init_kb=init_kb,
        overall_kb=status_kb("VmRSS"),
        peak_kb=status_kb("VmHWM"),
        peak_is_ours=peak_is_ours,
    )
    return engine


def _loaded(arguments: Arguments, clock: Clock) -> Engine:
    engine, init_ns = load(arguments.model, arguments.threads, arguments.delegate, clock, arguments.runtime)
    nodes, delegated = engine.nodes()
    tensors = {
        name: {"shape": [int(axis) for axis in details["shape"]], "dtype": np.dtype(details["dtype"]).name}
        for name, details in (("input", engine.input), ("output", engine.output))
    }
    _say(
        "init",
        init_ns=init_ns,
        nodes=nodes,
        delegated_nodes=delegated,
        invoke_path=engine.invoke_path,
        states=engine.state_count,
        **tensors,
    )
    return engine


def _evaluate(engine: Engine, inputs: np.ndarray[Any, Any]) -> None:
    if engine.state_count:
        raise StageError(
            RunnerExit.EVAL, f"the model has {engine.state_count} states: it hears hops, and eval feeds clips"
        )
    for first in range(0, len(inputs), EVAL_CLIPS_PER_LINE):
        outputs = _outputs(engine, inputs[first : first + EVAL_CLIPS_PER_LINE], RunnerExit.EVAL)
        if not np.isfinite(outputs).all():
            clip = first + int(np.argmax(~np.isfinite(outputs).reshape(len(outputs), -1).all(axis=1)))
            raise StageError(RunnerExit.EVAL, f"the output for clip {clip} is not a finite number")
        _say("eval", first=first, outputs=outputs.reshape(len(outputs), -1).tolist())


def _outputs(engine: Engine, inputs: np.ndarray[Any, Any], failure: RunnerExit) -> np.ndarray[Any, Any]:
    rows = []
    for index in range(len(inputs)):
        engine.set_input(inputs[index : index + 1])
        _guarded(engine.invoke, failure=failure)
        rows.append(engine.get_output()[0])
    return np.stack(rows)


def _once(invoke: Invoke, clock: Clock) -> int:
    before = clock()
    _guarded(invoke)
    return clock() - before


def _guarded(call: Callable[..., Any], *arguments: Any, failure: RunnerExit = RunnerExit.INFERENCE) -> Any:
    try:
        return call(*arguments)
    except (RuntimeError, ValueError) as cause:
        raise StageError(failure, f"an inference failed: {cause}") from cause


def _read(path: str, details: dict[str, Any]) -> np.ndarray[Any, Any]:
    array_read = _load(path)
    _fits(array_read, details, path)
    return array_read


def _load(path: str) -> np.ndarray[Any, Any]:
    try:
        loaded: np.ndarray[Any, Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as cause:
        raise StageError(RunnerExit.READING, f"cannot read {path}: {cause}") from cause
    return loaded


def _fits(examples: np.ndarray[Any, Any], details: dict[str, Any], path: str) -> None:
    shape, dtype = [int(axis) for axis in details["shape"]], np.dtype(details["dtype"])
    if len(examples) == 0 or list(examples.shape[1:]) != shape[1:] or examples.dtype != dtype:
        raise StageError(
            RunnerExit.READING,
            f"{path} is {examples.dtype} of shape {list(examples.shape)}; the model has {dtype} of shape {shape}",
        )


def _wrong(message: str) -> StageError:
    return StageError(RunnerExit.ARGUMENTS, message)


def _say(event: str, **values: Any) -> None:
    sys.stdout.write(json.dumps({"event": event, **values}, allow_nan=False, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def main(words: Sequence[str] | None = None) -> int:
    """Runs the stages named in `words` (default: argv); the exit code of native/README.md."""
    stage = "arguments"
    try:
        arguments = parse(sys.argv[1:] if words is None else words)
        stage = arguments.stages
        run(arguments, time.perf_counter_ns)
    except StageError as error:
        _say("error", stage=error.exit_code.name.lower(), message=str(error))
        sys.stderr.write(f"host_runner: {stage}: {error}\n")
        return error.exit_code
    return RunnerExit.DONE


if __name__ == "__main__":
    sys.exit(main())
