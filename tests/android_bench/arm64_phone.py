"""A scratch phone behind the daemon that runs arm64 programs under QEMU's user emulation; its times are no latency."""

import os
import re
import shutil
from pathlib import Path

import pytest

from android_bench.virtual_phone.session import PhoneSettings
from android_bench.virtual_phone.shell import ProcessShell
from tests.android_bench.arm64_machine import CPU, SYSROOT
from tests.android_bench.phone_toys import PIXEL_PROPERTIES, ToyPhone

EMULATORS = [name for name in ("qemu-aarch64", "qemu-aarch64-static") if shutil.which(name)]
NEEDS_ARM64 = [
    pytest.mark.skipif(not EMULATORS, reason="qemu-aarch64 is not here (Debian: qemu-user)"),
    pytest.mark.skipif(not SYSROOT.is_dir(), reason="no arm64 libraries (Debian: libstdc++6-arm64-cross)"),
    pytest.mark.skipif(not shutil.which("aarch64-linux-gnu-gcc"), reason="no gcc-aarch64-linux-gnu is here"),
]
NEEDS = [
    *NEEDS_ARM64,
    pytest.mark.skipif(not shutil.which("taskset"), reason="taskset is not here (Debian: util-linux)"),
    pytest.mark.skipif(
        not {0, 1} <= os.sched_getaffinity(0), reason="a phone's two clusters need processors 0 and 1 of this computer"
    ),
]
# The start of a program that was pushed with its loader.
_LOADED = re.compile(r"(\S*/ld-linux-aarch64\.so\.1) --library-path")


class Arm64Phone(ToyPhone):
    """Two CPUs, a little and a big one, that are processors 0 and 1 of this computer; `taskset` is the real one.

    Attributes:
        before_runner: shell words that are run before each start of the runner.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.before_runner = ""
        self.without("taskset")
        (root / "bin" / "taskset").symlink_to(shutil.which("taskset"))
        for tool in ("rm", "mkdir", "kill"):
            assert (root / "bin" / tool).exists()
        shutil.rmtree(root / "sys/devices/system/cpu")
        for name in ("possible", "present", "online"):
            self.write(f"sys/devices/system/cpu/{name}", "0-1\n")
        for cpu, clock in enumerate(("1593600", "2150400")):
            for name, value in {
                "cpuinfo_max_freq": clock,
                "related_cpus": str(cpu),
                "scaling_cur_freq": "307200",
                "scaling_governor": "sched",
            }.items():
                self.write(f"sys/devices/system/cpu/cpu{cpu}/cpufreq/{name}", value + "\n")
        self.write("recorded/getprop", PIXEL_PROPERTIES + "[ro.boot.qemu]: [1]\n")

    def settings(self, *, android: bool = False, **changes: object) -> PhoneSettings:
        """As a scratch phone's, with the emulator before each arm64 program."""
        made = super().settings(android=android, **changes)
        shell = made.shell
        assert isinstance(shell, ProcessShell)
        plain = shell._argv
        emulator = f"{shutil.which(EMULATORS[0])} -cpu {CPU}"

        def argv(command: str) -> list[str]:
            words = list(plain(command))
            if _LOADED.search(words[-1]):
                started = _LOADED.sub(rf"{emulator} \1 --library-path", words[-1])
                words[-1] = f"{self.before_runner} {started}"
            return words

        shell._argv = argv
        return made
