"""The folders of a virtual phone on this computer, made anew at each start but for what was pushed.

    root/      the phone's files: /proc, /sys and /system as its twin has them, /data and /sdcard as they were left
    overlay/   what the emulator puts over this computer's files where there are no namespaces
    stage/     empty folders that the phone's files, and the emulator's own libraries, are mounted on where there are

Before `arm64`, after `twin`.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from android_bench.errors import MissingToolError
from android_bench.virtual_phone.twin import Twin

PROBE = "/system/probe"
"""Where a virtual phone has the small program that an emulator is tried with."""
_KEPT = ("data", "sdcard")
_CLEARED = ("root", "overlay", "stage.plugins")
# Of this computer, for the emulator: where its program and libraries may be.
_EMULATORS_OWN = ("usr", "lib", "lib32", "lib64", "bin")
_CPU = "sys/devices/system/cpu"
_MOST_CPUS = 16
# What is read of every CPU to tell processors apart. Where the phone has no such file, this computer's must not show.
_TOLD_OF_CPUS = (
    "cpufreq/cpuinfo_max_freq",
    "cpufreq/cpuinfo_min_freq",
    "topology/physical_package_id",
    "topology/core_siblings_list",
    "topology/cluster_cpus_list",
    "regs/identification/midr_el1",
)
_PARTS_OF_CPUS = ("*", "cache/**/*", "cpufreq/**/*", "regs/**/*", "topology/**/*")


@dataclass(frozen=True, slots=True)
class PhoneFolders:
    """The folders of one virtual phone, below `place`."""

    place: Path

    @property
    def root(self) -> Path:
        """The phone's files."""
        return self.place / "root"

    @property
    def overlay(self) -> Path:
        """For the emulator's -L."""
        return self.place / "overlay"

    @property
    def stage(self) -> Path:
        """For chroot."""
        return self.place / "stage"

    def keep_plugin(self, plugin: Path) -> Path:
        """A copy of the emulator's plugin where both ways can read it.

        Raises:
            MissingToolError: it cannot be written.
        """
        kept = self.place / "stage.plugins" / plugin.name
        try:
            shutil.copyfile(plugin, kept)
        except OSError as cause:
            raise _cannot("the emulator's plugin", self.place, cause) from cause
        return kept

    def keep_probe(self, program: bytes) -> None:
        """Puts the program to try into the phone, as `PROBE`.

        Raises:
            MissingToolError: it cannot be written.
        """
        path = self.root / PROBE[1:]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(program)
            path.chmod(0o755)
        except OSError as cause:
            raise _cannot("a program to try", self.place, cause) from cause


def lay_out(twin: Twin, place: Path) -> PhoneFolders:
    """Makes the folders of a virtual phone below `place`; what was pushed to it stays.

    Raises:
        MissingToolError: something there is in the way; the message says what to remove.
    """
    folders = PhoneFolders(place)
    try:
        for name in _CLEARED:
            _clear(place / name, kept=_KEPT if name == "root" else ())
        for path, text in twin.files.items():
            _write(folders.root / path[1:], text)
        for name in ("system", *_KEPT):
            (folders.root / name).mkdir(exist_ok=True)
        _make_overlay(twin, folders)
        _make_stage(folders)
    except OSError as cause:
        raise _cannot(twin.name, place, cause) from cause
    return folders


def _cannot(what: str, place: Path, cause: OSError) -> MissingToolError:
    full = cause.errno in (errno.ENOSPC, errno.EDQUOT)
    todo = "free some space" if full else f"remove {place}"
    return MissingToolError(
        f"cannot lay out {what} in {place}: {cause.strerror or cause} ({cause.filename}); {todo} and try again"
    )


def _clear(folder: Path, kept: tuple[str, ...]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            if entry.name not in kept:
                shutil.rmtree(entry)
        else:
            entry.unlink()


def _make_overlay(twin: Twin, folders: PhoneFolders) -> None:
    for path, text in twin.files.items():
        _write(folders.overlay / path[1:], text)
    for name in _KEPT:
        (folders.overlay / name).symlink_to(folders.root / name)
    told = [f"cpu{cpu}/{name}" for cpu in range(_MOST_CPUS) for name in _TOLD_OF_CPUS]
    for name in (*told, *_this_computers(twin)):
        _block(folders.overlay / _CPU / name)


def _this_computers(twin: Twin) -> list[str]:
    """The files that this computer has for CPUs of the same numbers, below the folder of all CPUs."""
    here = Path("/") / _CPU
    found = (here.glob(f"cpu{cpu}/{part}") for cpu in range(twin.cpu_count) for part in _PARTS_OF_CPUS)
    return [str(path.relative_to(here)) for paths in found for path in paths if path.is_file()]


def _block(path: Path) -> None:
    """Puts a socket where the phone has no file: it is there for the emulator's look-up, and nobody can open it."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        os.mknod(path, stat.S_IFSOCK | 0o600)


def _make_stage(folders: PhoneFolders) -> None:
    """Never cleared: whatever were mounted in it by mistake would be cleared with it."""
    for name in (*_KEPT, "sys", "system", "proc", "plugins", "dev"):
        (folders.stage / name).mkdir(parents=True, exist_ok=True)
    (folders.stage / "dev/null").touch()
    for name in _EMULATORS_OWN:
        here, there = Path("/") / name, folders.stage / name
        if here.is_symlink():
            if not there.is_symlink():
                there.symlink_to(here.readlink())
        elif here.is_dir():
            there.mkdir(exist_ok=True)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
