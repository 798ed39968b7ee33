"""Whether this computer is fit to measure on, and what would make it fitter.

`android_bench.cli` prints it as `tkd-bench doctor`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from android_bench.attached import look_around
from android_bench.device import Device, HostDevice
from android_bench.runner import parse_lines
from android_bench.virtual_phone.arm64 import EMULATOR, INSTALL

Verdict = Literal["good", "care", "no"]

# What `--device host` needs, by the name on the package index.
_NEEDED = ("ai-edge-litert", "scipy", "numpy")
_PROBE_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at: good, care (numbers are less than clean) or no (nothing can be measured)."""

    verdict: Verdict
    sentence: str


def examine(environment: Mapping[str, str], device: Device | None = None) -> list[Check]:
    """Every check on this computer, in the order in which they matter."""
    host = device or HostDevice()
    checks = [_installed(package) for package in _NEEDED]
    context, state = host.context(), host.state()
    checks.append(_clock(host))
    checks += [Check(verdict="care", sentence=concern) for concern in host.concerns(state)]
    if state.load_1min == "absent":
        checks.append(Check(verdict="care", sentence="the load of this computer cannot be read"))
    if isinstance(context.max_frequency_khz, str):
        checks.append(Check(verdict="care", sentence=f"clock frequencies are {context.max_frequency_khz} here"))
    if not state.temperature_c:
        checks.append(Check(verdict="care", sentence="temperatures are absent here: throttling would not be seen"))
    checks.append(_virtual_phones(environment))
    seen = look_around(environment).sentence()
    checks.append(Check(verdict="good", sentence=f"{context.model}, {context.cpu_count} CPUs; {seen}"))
    return checks


def _installed(package: str) -> Check:
    try:
        return Check(verdict="good", sentence=f"{package} {version(package)}")
    except PackageNotFoundError:
        return Check(
            verdict="no", sentence=f"{package} is not installed; in a checkout of the project: pip install '.[bench]'"
        )


def _virtual_phones(environment: Mapping[str, str]) -> Check:
    """Whether virtual phones can run here; without them everything else works."""
    if path := shutil.which(EMULATOR, path=environment.get("PATH")):
        return Check(verdict="good", sentence=f"{path}: virtual phones can count instructions")
    return Check(verdict="care", sentence=f"no {EMULATOR}: virtual phones cannot run. {INSTALL}")


def _clock(device: Device) -> Check:
    """The overhead of the clock as the runner sees it; its `hello` comes before it looks for the model."""
    with tempfile.TemporaryDirectory() as folder:
        nowhere = device.push(Path(folder) / "no-model.tflite")
        command = (*device.runner, f"model={nowhere}", "stages=eval", f"eval_inputs={nowhere}")
        result = device.run(command, _PROBE_TIMEOUT_S)
    hello = next((line for line in parse_lines(result.stdout) if line["event"] == "hello"), None)
    if hello is None:
        return Check(verdict="no", sentence=f"the runner does not start: {result.stderr.strip()[-200:]}")
    return Check(
        verdict="good",
        sentence=f"reading the clock costs {hello['timer_overhead_ns']} ns, an empty call "
        f"{hello['call_overhead_ns']} ns, in every sample",
    )
