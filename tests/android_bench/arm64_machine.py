"""A folder that stands for a phone: arm64 programs run in it by QEMU's user emulation."""

import os
import shutil
import subprocess
import time
from pathlib import Path

from android_bench.device import CommandResult
from android_bench.errors import DeviceError
from tests.android_bench.bench_toys import FakeDevice

SYSROOT = Path("/usr/aarch64-linux-gnu")
CPU = "cortex-a57"


class Arm64Machine(FakeDevice):
    """Runs what is pushed into `folder` under emulation; its states and context are the fake's.

    Args:
        folder: the "phone".
        emulator: the emulator's command.
        runner: what starts the runner; set after `install_runner`.
    """

    runner: tuple[str, ...] = ()

    def __init__(self, folder: Path, *emulator: str) -> None:
        super().__init__()
        self.folder = folder
        self.emulator = (*emulator, "-cpu", CPU)

    def run(self, command, timeout_s):
        pinned = command[:2] if command[0] == "taskset" else ()
        words = (*pinned, *self.emulator, *command[len(pinned) :])
        started = time.monotonic()
        try:
            done = subprocess.run(words, capture_output=True, timeout=timeout_s, cwd=self.folder)
        except subprocess.TimeoutExpired as cause:
            raise DeviceError(f"{command[0]} took longer than {timeout_s} s") from cause
        seconds = time.monotonic() - started
        return CommandResult(
            exit_code=done.returncode, stdout_bytes=done.stdout, stderr_bytes=done.stderr, seconds=seconds
        )

    def push(self, local):
        # As on a phone: a folder per content is not needed, a file of the same name is replaced only when it differs.
        there = (
            self.folder / f"{local.parent.name}-{local.name}"
            if local.suffix in (".npy", ".tflite")
            else self.folder / local.name
        )
        if not there.exists() or there.read_bytes() != local.read_bytes():
            shutil.copy(local, there)
        return str(there)

    def pull(self, remote, local):
        shutil.copyfile(remote, local)


def missing_tool(*tools: str) -> str:
    """Which of these programs are not here, "" when all are."""
    return ", ".join(tool for tool in tools if not shutil.which(tool, path=os.environ.get("PATH")))
