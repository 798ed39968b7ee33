"""The engine of `--device host` and the loops that time it: ai-edge-litert, or another runtime, behind two calls.

`android_bench.host_runner` drives it; nothing here prints.
"""

from __future__ import annotations

import importlib
import os
import warnings
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from android_bench.protocol import RunnerExit

Invoke = Callable[[], None]
Clock = Callable[[], int]

_OVERHEAD_PROBES = 2000
_PAST, _NEXT = "past_", "next_"

# The runtimes that have the same interpreter: the module, and what it calls the interpreter and the choice of kernels.
RUNTIMES = {
    "ai-edge-litert": ("ai_edge_litert.interpreter", "Interpreter", "OpResolverType"),
    "tensorflow": ("tensorflow", "lite.Interpreter", "lite.experimental.OpResolverType"),
    "tflite-runtime": ("tflite_runtime.interpreter", "Interpreter", "OpResolverType"),
}


class StageError(Exception):
    """A stage failed; `exit_code` says which, the message why."""

    def __init__(self, exit_code: RunnerExit, message: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Engine:
    """A loaded model: one input, one output, perhaps states, and the thinnest call into the runtime.

    A stream has an output `next_x` for each input `past_x`; after each inference the one is copied into the other,
    which is part of what a hop costs.

    The public `Interpreter.invoke` checks reference counts in Python before each call (some 0.1 µs);
    the wrapper's own `Invoke` goes straight to C++. Which one was used is in `init.invoke_path`.
    """

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        self._states = _states_of(inputs, outputs)
        self.state_count = len(self._states)
        self.input = _only(inputs, _PAST if self._states else "", "inputs")
        self.output = _only(outputs, _NEXT if self._states else "", "outputs")
        wrapper = getattr(interpreter, "_interpreter", None)
        thin = getattr(wrapper, "Invoke", None)
        plain: Invoke = thin or interpreter.invoke
        self.invoke: Invoke = self._carrying(plain, is_thin=bool(thin)) if self._states else plain
        self.invoke_path = "wrapper" if thin else "public"
        self.reset()

    def reset(self) -> None:
        """Puts every state back to what it is before the first hop: zeros in real units."""
        for state in self._states:
            self._interpreter.set_tensor(state.past, np.full(state.shape, state.zero, state.dtype))

    def _carrying(self, plain: Invoke, *, is_thin: bool) -> Invoke:
        interpreter, states = self._interpreter, self._states
        if is_thin:
            # The public call refuses to run while views into the engine's memory are held; the thin one does not ask.
            views = [(interpreter.tensor(state.past)(), interpreter.tensor(state.next)()) for state in states]

            def invoke_and_copy() -> None:
                plain()
                for past, following in views:
                    np.copyto(past, following)

            return invoke_and_copy

        def invoke_and_set() -> None:
            plain()
            for state in states:
                interpreter.set_tensor(state.past, interpreter.get_tensor(state.next))

        return invoke_and_set

    def set_input(self, example: np.ndarray[Any, Any]) -> None:
        """Puts one example, with its batch axis, into the input tensor."""
        self._interpreter.set_tensor(self.input["index"], example)

    def get_output(self) -> np.ndarray[Any, Any]:
        """A copy of the output tensor."""
        output: np.ndarray[Any, Any] = self._interpreter.get_tensor(self.output["index"])
        return output

    def nodes(self) -> tuple[int, int]:
        """How many nodes the graph has, and how many of them the delegate put there."""
        # The public API does not tell what a delegate took: a delegated partition shows up as a node DELEGATE.
        names = [node["op_name"] for node in self._interpreter._get_ops_details()]
        taken = names.count("DELEGATE")
        return len(names), taken


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """Where one state comes in and goes out, by tensor index, and what stands for 0.0 in it."""

    past: int
    next: int
    shape: tuple[int, ...]
    dtype: Any
    zero: int


def _states_of(inputs: Sequence[Any], outputs: Sequence[Any]) -> list[_State]:
    if len(inputs) == 1 and len(outputs) == 1:
        return []
    following = {str(each["name"]): each for each in outputs}
    states = []
    for past in (each for each in inputs if str(each["name"]).startswith(_PAST)):
        name = str(past["name"]).removeprefix(_PAST)
        given = following.get(_NEXT + name)
        if given is None:
            raise StageError(RunnerExit.INIT, f"state '{name}' comes in and never goes out: no output {_NEXT}{name}")
        shape, dtype = tuple(int(axis) for axis in past["shape"]), np.dtype(past["dtype"])
        if (tuple(given["shape"]), np.dtype(given["dtype"]), given["quantization"]) != (
            shape,
            dtype,
            past["quantization"],
        ):
            raise StageError(
                RunnerExit.INIT,
                f"state '{name}' goes out as {np.dtype(given['dtype'])} of shape {list(given['shape'])} and comes in "
                f"as {dtype} of shape {list(shape)}, or at another scale",
            )
        zero = int(past["quantization"][1])
        states.append(_State(past=past["index"], next=given["index"], shape=shape, dtype=dtype, zero=zero))
    return states


def _only(details: Sequence[Any], state_prefix: str, what: str) -> Any:
    """The one tensor that is no state."""
    found = [each for each in details if not state_prefix or not str(each["name"]).startswith(state_prefix)]
    if len(found) != 1:
        raise StageError(
            RunnerExit.INIT,
            f"the model has {len(found)} {what} that are no states ({_PAST}… and {_NEXT}…); expected one",
        )
    return found[0]


def load(model: str, threads: int, delegate: str, clock: Clock, runtime: str) -> tuple[Engine, int]:
    """The loaded model, and how long it took from opening the file to allocated tensors, in ns.

    Raises:
        StageError: the runtime is missing, there is no file at `model`, or the engine refused it.
    """
    make, kinds = import_runtime(runtime)
    resolver = kinds.AUTO if delegate == "xnnpack" else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    if not Path(model).is_file():
        raise StageError(RunnerExit.READING, f"no model at {model}")
    before = clock()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TensorFlow announces that its interpreter moves to ai-edge-litert
            interpreter = make(model_path=model, num_threads=threads, experimental_op_resolver_type=resolver)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as cause:
        raise StageError(RunnerExit.INIT, f"the engine refused {model}: {cause}") from cause
    return Engine(interpreter), clock() - before


def import_runtime(runtime: str) -> tuple[Any, Any]:
    """The interpreter and the choice of kernels of a runtime.

    Raises:
        StageError: it is not installed, or does not load beside what is.
    """
    module, *places = RUNTIMES[runtime]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        found = importlib.import_module(module)
        interpreter, kinds = (_inside(found, place) for place in places)
    except (ImportError, AttributeError) as cause:
        raise StageError(RunnerExit.INIT, f"the runtime {runtime} cannot be loaded: {cause}") from cause
    return interpreter, kinds


def _inside(found: Any, place: str) -> Any:
    for name in place.split("."):
        found = getattr(found, name)
    return found


def warm_up(invoke: Invoke, clock: Clock, at_least_ns: int, at_least_runs: int = 1) -> tuple[int, int]:
    """How many untimed inferences were run, and for how long in ns."""
    start = clock()
    runs = 0
    while True:
        invoke()
        runs += 1
        elapsed = clock() - start
        if elapsed >= at_least_ns and runs >= at_least_runs:
            return runs, elapsed


def timed(invoke: Invoke, clock: Clock, samples: array[int], min_runs: int, min_ns: int) -> tuple[int, int]:
    """Fills `samples` with the duration of each inference in ns; their number, and the whole loop in ns.

    The loop's memory is reserved by the caller; it ends at the latest when `samples` is full.
    """
    start = clock()
    enough = start + min_ns
    after = start
    run = 0
    for run in range(len(samples)):
        before = clock()
        invoke()
        after = clock()
        samples[run] = after - before
        if after >= enough and run + 1 >= min_runs:
            break
    return run + 1, after - start


def overheads(clock: Clock) -> tuple[int, int]:
    """Median ns between two clock readings, with nothing and with an empty call between them."""
    nothing: Invoke = lambda: None  # noqa: E731 - the emptiest call there is
    timer, call = array("q", bytes(8 * _OVERHEAD_PROBES)), array("q", bytes(8 * _OVERHEAD_PROBES))
    for probe in range(_OVERHEAD_PROBES):
        before = clock()
        timer[probe] = clock() - before
        before = clock()
        nothing()
        call[probe] = clock() - before
    return int(np.median(timer)), int(np.median(call))


def status_kb(field: str) -> int:
    """A memory reading of this process in kB (`VmRSS`: resident now; `VmHWM`: the most so far)."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError as cause:
        raise StageError(RunnerExit.MEMORY, f"cannot read /proc/self/status: {cause}") from cause
    for line in lines:
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise StageError(RunnerExit.MEMORY, f"/proc/self/status has no {field}")


def reset_peak() -> bool:
    """Sets VmHWM back to VmRSS (proc(5), clear_refs); whether the kernel allowed it."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def engine_name(runtime: str) -> str:
    """Name and version of a runtime."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"{runtime} {version(runtime)}"
    except PackageNotFoundError as cause:
        raise StageError(RunnerExit.INIT, f"{runtime} is not installed") from cause


def affinity() -> str | None:
    """The processors that this process may use, as a hexadecimal mask; None where the system does not tell."""
    processors = getattr(os, "sched_getaffinity", None)
    return f"{sum(1 << number for number in processors(0)):x}" if processors else None


def sustained(
    hop: Callable[[int], None], clock: Clock, sleep: Callable[[float], None], samples: array[int], hop_ns: int
) -> tuple[int, int]:
    """Fills `samples` with what each hop took in ns, one every `hop_ns`; how many ended late, and the whole in ns."""
    start = clock()
    late = 0
    for index in range(len(samples)):
        while (left := start + index * hop_ns - clock()) > 0:
            sleep(left / 1e9)
        before = clock()
        hop(index)
        after = clock()
        samples[index] = after - before
        late += after > start + (index + 1) * hop_ns
    return late, clock() - start
