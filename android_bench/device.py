"""Devices: one interface, and this computer behind it.

`android_bench.runner` runs programs through it; phones join with a transport of their own.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from android_bench.errors import DeviceError
from android_bench.records import DeviceContext, DeviceState, Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandResult:
    """What a command on a device came to.

    Attributes:
        exit_code: negative for a signal on this computer; a phone's shell gives 128 and the signal's number.
        stdout_bytes: what it printed, byte for byte.
        stderr_bytes: the same for standard error.
        seconds: wall-clock time.
    """

    exit_code: int
    stdout_bytes: bytes
    stderr_bytes: bytes
    seconds: float

    @property
    def stdout(self) -> str:
        """What it printed, as text."""
        return self.stdout_bytes.decode("utf-8", "replace")

    @property
    def stderr(self) -> str:
        """What it printed on standard error, as text."""
        return self.stderr_bytes.decode("utf-8", "replace")


class Device(ABC):
    """Something that runs programs and keeps files. One command at a time, each with a time-out."""

    @property
    @abstractmethod
    def runner(self) -> tuple[str, ...]:
        """The command that starts the runner, to which `key=value` arguments are added."""

    @abstractmethod
    def run(self, command: Sequence[str], timeout_s: float) -> CommandResult:
        """Runs a command to its end.

        Raises:
            DeviceError: it could not be started, or took longer than `timeout_s` (and was ended).
        """

    @abstractmethod
    def push(self, local: Path) -> str:
        """Makes a local file readable on the device; its path there."""

    @abstractmethod
    def pull(self, remote: str, local: Path) -> None:
        """Copies a file of the device to `local`."""

    @abstractmethod
    def state(self) -> DeviceState:
        """What changes while it is measured: load, clocks, temperatures."""

    @abstractmethod
    def context(self) -> DeviceContext:
        """What does not change while it is measured."""

    @abstractmethod
    def concerns(self, state: DeviceState) -> tuple[str, ...]:
        """What makes numbers measured in `state` less than clean, one sentence each."""


class HostDevice(Device):
    """This computer.

    Args:
        root: where /proc and /sys are.
        runner: the command that starts the runner.
    """

    def __init__(self, root: Path = Path("/"), runner: tuple[str, ...] = ()) -> None:
        self._proc, self._sys = root / "proc", root / "sys"
        self._runner = runner or (sys.executable, "-m", "android_bench.host_runner")

    @property
    def runner(self) -> tuple[str, ...]:
        """The Python runner, in a process of its own."""
        return self._runner

    def run(self, command: Sequence[str], timeout_s: float) -> CommandResult:
        """Runs a command in a session of its own, so that all of it can be ended."""
        started = time.monotonic()
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=_environment(os.environ),
                start_new_session=True,
            )
        except OSError as cause:
            raise DeviceError(f"cannot start {command[0]}: {cause}") from cause
        with process:
            try:
                stdout, stderr = process.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired as cause:
                raise DeviceError(
                    f"{' '.join(command[:3])} … took longer than {timeout_s:g} s and was ended"
                ) from cause
            finally:
                # Also on Ctrl-C: nothing that was started here outlives this call.
                _end_group(process)
        seconds = time.monotonic() - started
        return CommandResult(exit_code=process.returncode, stdout_bytes=stdout, stderr_bytes=stderr, seconds=seconds)

    def push(self, local: Path) -> str:
        """The file's own path: it is here already."""
        return str(local.resolve())

    def pull(self, remote: str, local: Path) -> None:
        """Copies a file."""
        shutil.copyfile(remote, local)

    def state(self) -> DeviceState:
        """Load, clocks, governors and temperatures, as far as this computer tells them."""
        cpus = sorted((self._sys / "devices/system/cpu").glob("cpu[0-9]*"), key=lambda path: int(path.name[3:]))
        zones = sorted((self._sys / "class/thermal").glob("thermal_zone*"))
        temperatures = {f"{zone.name} {_read(zone / 'type')}": _read(zone / "temp") for zone in zones}
        load = _read(self._proc / "loadavg")
        return DeviceState(
            taken_utc=utc_now(),
            load_1min=float(str(load).split()[0]) if re.match(r"\d", str(load)) else load,
            frequency_khz={cpu.name: _read(cpu / "cpufreq/scaling_cur_freq") for cpu in cpus},
            governor={cpu.name: _read(cpu / "cpufreq/scaling_governor") for cpu in cpus},
            temperature_c={
                zone: value / 1000 if isinstance(value, int) else value for zone, value in temperatures.items()
            },
        )

    def context(self) -> DeviceContext:
        """CPU, memory and operating system of this computer."""
        facts = self._cpu_facts()
        highest = _read(self._sys / "devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq")
        memory = re.search(r"MemTotal:\s+(\d+) kB", str(_read(self._proc / "meminfo")))
        return DeviceContext(
            kind="host",
            model=facts.get("model name") or facts.get("Hardware") or platform.machine() or "unknown",
            fingerprint=f"{platform.system()} {platform.release()} {platform.machine()}",
            cpu_count=_cpu_count(),
            max_frequency_khz=highest,
            clocks_locked="unknown",
            memory_total_kb=int(memory[1]) if memory else "absent",
            stands_for="wall-clock time on this computer, runner python; not a phone",
        )

    def concerns(self, state: DeviceState) -> tuple[str, ...]:
        """A busy computer, a virtual machine, clocks that move."""
        found = []
        cpus = _cpu_count()
        if isinstance(state.load_1min, float) and state.load_1min > 0.5 * cpus:
            found.append(f"busy: load {state.load_1min:.1f} on {cpus} CPUs; close other programs and measure again")
        if "hypervisor" in self._cpu_facts().get("flags", "").split():
            found.append("virtual machine: its neighbours' load is not visible here")
        moving = sorted({str(name) for name in state.governor.values()} & {"ondemand", "powersave", "schedutil"})
        if moving:
            found.append(f"clock governor {', '.join(moving)}: clocks move with the load")
        return tuple(found)

    def _cpu_facts(self) -> dict[str, str]:
        """The first CPU's lines in /proc/cpuinfo."""
        lines = str(_read(self._proc / "cpuinfo")).split("\n\n")[0].splitlines()
        return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Ends whatever is left of the process's session; it is its own group's leader."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.poll() is None:
        process.communicate()


def _cpu_count() -> int:
    """CPUs that this process may use; macOS cannot tell and has them all."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def utc_now() -> str:
    """The time now, ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _read(path: Path) -> Reading:
    """A file's content, as an integer where it is one; "denied" or "absent" are answers too."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace").strip()
    except PermissionError:
        return "denied"
    except OSError:
        return "absent"
    return int(text) if re.fullmatch(r"-?\d+", text) else text


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    """The child's environment: this very package, and no helper threads of numpy's in its memory."""
    root = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(part for part in (root, ours.get("PYTHONPATH", "")) if part)
    return {**ours, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
