"""What a session would do, without doing it: `--dry-run`.

A `Device` that keeps files nowhere and runs nothing; the commands are those that `android_bench.runner` starts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from android_bench.benchmark_model import Tool, tool_commands
from android_bench.device import CommandResult, Device
from android_bench.errors import DeviceError
from android_bench.measure import block_order
from android_bench.records import DeviceContext, DeviceState, RunPlan
from android_bench.runner import commands, emulated_commands, probe_command
from converters.bundle import Bundle
from converters.files import sha256_of


class Rehearsal(Device):
    """Remembers what would be pushed, and says where to.

    Args:
        runner: the command that starts the runner there.
        folder: our folder on a phone; None is this computer, where files stay where they are.
    """

    def __init__(self, runner: tuple[str, ...], folder: str | None) -> None:
        self._runner, self._folder = runner, folder
        self.pushed: dict[str, Path] = {}

    @property
    def runner(self) -> tuple[str, ...]:
        """As given."""
        return self._runner

    def use_runner(self, command: tuple[str, ...]) -> None:
        """Says what starts the runner that would be there."""
        self._runner = command

    def push(self, local: Path) -> str:
        """Where the file would be."""
        if self._folder is None:
            return str(local.resolve())
        identity = f"{local.name}\0{sha256_of(local)}\0"
        remote = f"{self._folder}/{hashlib.sha256(identity.encode()).hexdigest()[:16]}/{local.name}"
        self.pushed[remote] = local
        return remote

    def run(self, command: Sequence[str], timeout_s: float) -> CommandResult:
        """Refuses: a rehearsal runs nothing."""
        raise DeviceError(f"a rehearsal was to run {command[0]} within {timeout_s:g} s")

    def pull(self, remote: str, local: Path) -> None:
        """Refuses: there is nothing to copy."""
        raise DeviceError(f"a rehearsal was to copy {remote} to {local}")

    def state(self) -> DeviceState:
        """Refuses: there is nothing to ask."""
        raise DeviceError("a rehearsal has no state")

    def context(self) -> DeviceContext:
        """Refuses: there is nothing to ask."""
        raise DeviceError("a rehearsal has no context")

    def concerns(self, _state: DeviceState) -> tuple[str, ...]:
        """None."""
        return ()


def rehearsed(device: Rehearsal, bundles: Sequence[Bundle], plan: RunPlan, *, gated: bool) -> Iterator[str]:
    """Each line of what would happen, in order: files pushed, gates, commands."""
    of_bundle = [commands(device, bundle, plan) for bundle in bundles]
    yield from _pushes(device)
    last = None
    for model, index in block_order(len(bundles), plan.blocks):
        if gated and index != last:
            yield f"gate before round {index + 1}"
            yield " ".join(probe_command(device, plan))
        last = index
        yield " ".join(of_bundle[model]["block"])
    for stage in ("memory", "accuracy"):
        for each in of_bundle:
            yield " ".join(each[stage])


def rehearsed_counts(
    device: Rehearsal, bundles: Sequence[Bundle], plan: RunPlan, *, ticking: tuple[str, ...] = ()
) -> Iterator[str]:
    """The same on a virtual phone, which counts instructions; `ticking` as `measure_virtual` takes it."""
    usual = device.runner
    of_bundle = [emulated_commands(device, bundle, plan) for bundle in bundles]
    device.use_runner(ticking)
    of_operators = [emulated_commands(device, bundle, plan) for bundle in bundles]
    device.use_runner(usual)
    yield from _pushes(device)
    for stage in ("count", *(("operators",) if ticking else ()), "accuracy"):
        for each in of_operators if stage == "operators" else of_bundle:
            yield " ".join(each[stage])


def rehearsed_tool(
    device: Rehearsal, tool: Path, bundles: Sequence[Bundle], plan: RunPlan, *, gated: bool
) -> Iterator[str]:
    """The same with TensorFlow's benchmark_model, whose clips are fed to it by a script on the device."""
    of_bundle = [tool_commands(device, Tool(path=tool), bundle, plan) for bundle in bundles]
    yield from _pushes(device)
    last = None
    for model, index in block_order(len(bundles), plan.blocks):
        if gated and index != last:
            yield f"gate before round {index + 1}"
        last = index
        yield " ".join(of_bundle[model][0])
    for bundle, (_, fed) in zip(bundles, of_bundle, strict=True):
        clips = len(bundle.golden()[0]) + len(bundle.evaluation().ids)
        yield f"feed {clips} examples of {bundle.name}, one a process, to: {' '.join(fed)}"


def _pushes(device: Rehearsal) -> Iterator[str]:
    for remote, local in device.pushed.items():
        yield f"push {local} {remote}"
