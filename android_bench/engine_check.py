"""Runs a model on the phones' engine without a phone: arm64 under emulation, once, for its golden outputs.

What a phone's engine cannot load, or computes otherwise than this computer's, is known before there is a phone.
Nothing is counted or timed, so an emulator without plugins will do. After `native_install` and `runner`;
`tkd.cli.engine_check` asks it for each file of an export.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from android_bench.device import HostDevice
from android_bench.errors import DeviceError, MissingToolError
from android_bench.native_install import install_runner
from android_bench.protocol import RunnerExit
from android_bench.records import RunPlan
from android_bench.runner import parse_lines, run_golden
from android_bench.virtual_phone.arm64 import EMULATOR, INSTALL
from android_bench.virtual_phone.twin import load_twin
from converters.bundle import Bundle, TensorSpec

EMULATORS = (EMULATOR, f"{EMULATOR}-static")
_STANDS_FOR = "virtual-pixel1"
_PROBE_S, _PROOF_S = 60.0, 600.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Proof:
    """A model to be proven.

    Attributes:
        name: for errors.
        precision: float32, float16, dynamic or int8.
        model: the TFLite file's bytes.
        inputs: of the model (one).
        outputs: of the model (one).
        golden_input: shape (examples, *axes), in the model's own dtype.
        golden_output: what this computer's engine computed from it.
    """

    name: str
    precision: str
    model: bytes
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    golden_input: np.ndarray[Any, Any]
    golden_output: np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineAnswer:
    """What the phones' engine computed.

    Attributes:
        engine: its name and version.
        engine_sha256: of its library.
        max_error: how far it was from this computer's outputs at most.
        bound: how far it may be.
        unit: of both: relative, or lsb.
    """

    engine: str
    engine_sha256: str
    max_error: float
    bound: float
    unit: str


class EmulatedEngine:
    """The phones' engine, tried and found to run here; `find_engine_check` makes one."""

    def __init__(self, device: HostDevice, engine_sha256: str) -> None:
        self._device, self._engine_sha256 = device, engine_sha256

    def prove(self, proof: Proof) -> EngineAnswer:
        """What the engine computes from the golden inputs.

        Raises:
            RunnerError: the engine refused the model.
            GoldenMismatchError: it computes another function.
        """
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            bundle = Bundle(
                folder=folder,
                document={"name": proof.name, "precision": proof.precision},
                inputs=proof.inputs,
                outputs=proof.outputs,
                labels=(),
            )
            bundle.model.write_bytes(proof.model)
            np.save(folder / "golden_input.npy", proof.golden_input)
            np.save(folder / "golden_output.npy", proof.golden_output)
            golden, seen = run_golden(self._device, bundle, RunPlan(timeout_s=_PROOF_S))
        return EngineAnswer(
            engine=str(seen.hello["engine"]),
            engine_sha256=self._engine_sha256,
            max_error=float(golden["max_error"]),
            bound=float(golden["bound"]),
            unit=str(golden["unit"]),
        )


def find_engine_check(cache: Path, which: Callable[[str], str | None] = shutil.which) -> EmulatedEngine:
    """The phones' engine under this computer's emulator, proven to start.

    Args:
        cache: the user's cache, with an engine in it; the runner is built into it on first use.
        which: where a program is, None when it is not here.

    Raises:
        MissingToolError: the engine, the emulator, or a compiler or library for arm64 is not here, or they do not run.
    """
    emulator = next((path for name in EMULATORS if (path := which(name))), None)
    if emulator is None:
        raise MissingToolError(f"{EMULATOR} is not here. {INSTALL}")
    installed = install_runner(HostDevice(), cache, ("glibc",))
    runner = (emulator, "-cpu", load_twin(_STANDS_FOR).emulated_cpu, *installed.command)
    device = HostDevice(runner=runner)
    _try_out(device)
    return EmulatedEngine(device, str(installed.facts["engine_sha256"]))


def _try_out(device: HostDevice) -> None:
    """Has the runner load its engine, and fail where the model is missing."""
    words = ("model=/nowhere/none.tflite", "stages=golden", "golden_input=x", "golden_output=x")
    try:
        result = device.run((*device.runner, *words), _PROBE_S)
        began = bool(parse_lines(result.stdout))
    except DeviceError as cause:
        raise MissingToolError(f"the phones' engine does not run under emulation here: {cause}") from cause
    if not began or result.exit_code != RunnerExit.READING:
        said = (result.stdout + result.stderr).strip().splitlines()[-1:] or ["it said nothing"]
        raise MissingToolError(
            f"the phones' engine does not run under {device.runner[0]} (exit code {result.exit_code}): {said[0][:300]}"
        )
