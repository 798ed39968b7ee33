"""Runs arm64 programs of a virtual phone by QEMU's user emulation, with instructions counted.

    enclosed   in namespaces of its own, where nothing but the phone's files is seen; wants user namespaces
    overlaid   an ordinary process, for which the emulator puts the phone's files over this computer's (-L)

Both see the same processor, so both count the same instructions. Which of them works here is tried with a program of
some machine instructions. After `shell` and `files`, before `pocket_shell`; `root` lays out the folders.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from android_bench.errors import MissingToolError
from android_bench.virtual_phone.files import PhoneFiles
from android_bench.virtual_phone.root import PROBE, PhoneFolders
from android_bench.virtual_phone.shell import CommandIO, ProcessShell

Way = Literal["enclosed", "overlaid"]
WAYS: tuple[Way, ...] = ("enclosed", "overlaid")
EMULATOR = "qemu-aarch64"
INSTALL = (
    "Debian 12 and Ubuntu 24.04: apt-get install qemu-user; elsewhere a qemu-aarch64 that was configured with "
    "--enable-plugins and is not static, ahead of others in PATH"
)
_PROBE_S = 30.0
_PROBE_CODE = 42
_PROBE_INSTRUCTIONS = 3
_PROBE_LINE = f"tkd-instructions 1 0 {_PROBE_INSTRUCTIONS}"

PROGRAM_ENVIRONMENT: Mapping[str, str] = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "ANDROID_ROOT": "/system",
    "ANDROID_DATA": "/data",
}
"""The programs' environment: a phone's, so that nothing of the user's changes what is counted."""

# Run by sh in namespaces of its own: the phone's folders and what the emulator itself is made of, then chroot.
# This computer's own are mounted read-only; /proc is the real one but for the processor.
_ENCLOSE = """
stage=$1 root=$2; shift 2
for name in usr lib lib32 lib64 bin; do
  if [ -d "$stage/$name" ] && [ ! -L "$stage/$name" ]; then
    mount --rbind "/$name" "$stage/$name"; mount -o remount,bind,ro "$stage/$name" 2>/dev/null || true
  fi
done
for name in data sdcard sys system; do [ ! -d "$root/$name" ] || mount --bind "$root/$name" "$stage/$name"; done
mount --rbind /proc "$stage/proc"
mount --bind "$root/proc/cpuinfo" "$stage/proc/cpuinfo"
mount --bind /dev/null "$stage/dev/null"
mount --bind "$stage.plugins" "$stage/plugins"
cd /; exec chroot "$stage" "$@"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulator:
    """An emulator that was tried.

    Attributes:
        path: of the program.
        version: its own words, such as 7.2.22 (Debian …).
        cpu: the emulated processor.
        way: how it is started.
        folders: of the phone.
        counter: the plugin that counts, in the folders.
    """

    path: str
    version: str
    cpu: str
    way: Way
    folders: PhoneFolders
    counter: Path

    async def run(self, _files: PhoneFiles, words: Sequence[str], io: CommandIO) -> int:
        """The exit code of a program of the phone; its path comes first."""
        shell = ProcessShell(lambda _: self.argv(words), self.folders.root, PROGRAM_ENVIRONMENT)
        return await shell.run("program", io)

    def argv(self, words: Sequence[str]) -> list[str]:
        """What starts a program of the phone here; its path comes first in `words`."""
        options = [self.path, "-cpu", self.cpu, "-0", words[0]]
        if self.way == "overlaid":
            program = str(self.folders.root / words[0].lstrip("/"))
            return [*options, "-L", str(self.folders.overlay), "-plugin", f"file={self.counter}", program, *words[1:]]
        enclose = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-euc", _ENCLOSE, "sh"]
        inside = [*options, "-plugin", f"file=/plugins/{self.counter.name}", *words]
        return [*enclose, str(self.folders.stage), str(self.folders.root), *inside]


def find_emulator(
    folders: PhoneFolders,
    cpu: str,
    counter: Path,
    way: Way | None = None,
    which: Callable[[str], str | None] = shutil.which,
) -> Emulator:
    """The emulator in the first way that works here, tried with a small program.

    Args:
        folders: of the phone, laid out.
        cpu: the emulated processor.
        counter: the plugin that counts instructions, built for this computer.
        way: the only way to try; None tries all.
        which: where a program is, None when it is not here.

    Raises:
        MissingToolError: the emulator is not here or does not work; the message says what to install.
    """
    path = which(EMULATOR)
    if path is None:
        raise MissingToolError(f"virtual phones need {EMULATOR}, which is not here. {INSTALL}")
    kept = folders.keep_plugin(counter)
    folders.keep_probe(probe_program())
    faults = []
    for each in WAYS if way is None else (way,):
        emulator = Emulator(path=path, version=_version(path), cpu=cpu, way=each, folders=folders, counter=kept)
        fault = _fault(emulator)
        if not fault:
            return emulator
        faults.append(f"{each}: {fault}")
    raise MissingToolError(f"{path} cannot run and count arm64 programs here ({'; '.join(faults)}). {INSTALL}")


def probe_program() -> bytes:
    """An arm64 program that marks a region of three instructions and exits with 42."""

    def set_register(register: int, value: int) -> int:
        return 0xD2800000 | value << 5 | register  # MOVZ

    supervisor_call = 0xD4000001
    mark, leave = 29796, 93
    code = [
        *(set_register(8, mark), set_register(0, 1), set_register(1, 0), set_register(2, 1), supervisor_call),
        *(set_register(0, 1), set_register(2, 0), supervisor_call),
        *(set_register(8, leave), set_register(0, _PROBE_CODE), supervisor_call),
    ]
    text = struct.pack(f"<{len(code)}I", *code)
    head, at, aarch64 = 64 + 56, 0x400000, 183
    size = head + len(text)
    elf = struct.pack(
        "<4s5B7xHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, 0, 0, 2, aarch64, 1, at + head, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, at, at, size, size, 0x10000)
    return elf + load + text


def _fault(emulator: Emulator) -> str:
    """Why an emulator cannot be used in its way, "" when it can."""
    try:
        done = subprocess.run(
            emulator.argv((PROBE,)),
            capture_output=True,
            text=True,
            timeout=_PROBE_S,
            check=False,
            env=PROGRAM_ENVIRONMENT,
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired) as cause:
        return str(cause)
    if done.returncode == _PROBE_CODE and _PROBE_LINE in done.stderr.splitlines():
        return ""
    said = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
    if "unknown option 'plugin'" in done.stderr:
        return "this build of QEMU takes no plugins, as static ones do not"
    return f"exit code {done.returncode}, {said[0][:200]}"


def _version(path: str) -> str:
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=_PROBE_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    match = re.search(r"version (.+)", done.stdout)
    return match[1].strip() if match else "unknown"
