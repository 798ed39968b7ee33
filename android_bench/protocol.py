"""The numbers and names of the runner protocol, shared by both of its ends.

`android_bench.host_runner` speaks it and `android_bench.runner` reads it; native/README.md describes it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np

PROTOCOL = 1

# Every runner has these; the native runner has `count`, `operators`, `profile` and `probe` besides.
STAGES = ("golden", "latency", "memory", "eval", "sustain")

# Fields that each line must have, by event; see native/README.md for their units.
FIELDS_OF_EVENT = {
    "hello": (
        "protocol",
        "runner",
        "engine",
        "threads",
        "delegate",
        "timer_overhead_ns",
        "call_overhead_ns",
    ),
    "init": ("init_ns", "nodes", "delegated_nodes", "invoke_path", "input", "output"),
    "first": ("first_ns",),
    "golden": ("ok", "examples", "max_error", "bound", "unit"),
    "warmup": ("runs", "total_ns"),
    "samples": ("ns", "wall_ns"),
    "memory": ("start_kb", "init_kb", "overall_kb", "peak_kb", "peak_is_ours"),
    "eval": ("first", "outputs"),
    "counted": ("runs",),
    "sustained": ("hop_us", "late", "cpu_ns", "wall_ns", "ns"),
    "profile": ("runs", "ops"),
    "operators": ("ops",),
    "probe": ("steps", "ns"),
    "error": ("stage", "message"),
    "done": ("wall_ns",),
}

GOLDEN_BOUND_PPM = 100
ROUNDED_BOUND_PPM = 10_000
GOLDEN_LSB_BOUND = 1
EVAL_CLIPS_PER_LINE = 64


class RunnerExit(IntEnum):
    """The exit codes of a runner, one per failing stage."""

    DONE = 0
    ARGUMENTS = 2
    READING = 3
    INIT = 4
    GOLDEN = 5
    INFERENCE = 6
    MEMORY = 7
    EVAL = 8
    INTERNAL = 70


def compare_golden(
    seen: np.ndarray[Any, Any], expected: np.ndarray[Any, Any], bound_ppm: int = GOLDEN_BOUND_PPM
) -> dict[str, Any]:
    """The fields of the `golden` line for outputs of shape (examples, …), in the dtype of the model.

    `bound_ppm` is that of floating outputs, in millionths of the largest one.
    """
    floating = expected.dtype.kind == "f"
    error = float(np.abs(seen.astype(np.float64) - expected.astype(np.float64)).max())
    largest = float(np.abs(expected.astype(np.float64)).max())
    if floating:
        error = error / largest if largest > 0 else error
    bound = bound_ppm / 1e6 if floating else GOLDEN_LSB_BOUND
    return {
        "ok": bool(error <= bound),  # NaN is not within any bound
        "examples": len(expected),
        "max_error": error if np.isfinite(error) else 1e300,  # JSON has no NaN
        "bound": bound,
        "unit": "relative" if floating else "lsb",
    }
