"""A virtual phone's shell without daemon or emulator, and what tests of the real one need."""

import asyncio
import shutil
from pathlib import Path

import pytest

from android_bench.native_install import LIBRARY_FOLDERS
from android_bench.virtual_phone.commands import COMMANDS
from android_bench.virtual_phone.files import PhoneFiles
from android_bench.virtual_phone.pocket_shell import PocketShell
from android_bench.virtual_phone.root import lay_out
from android_bench.virtual_phone.shell import CommandIO
from android_bench.virtual_phone.twin import load_twin

NEEDS_EMULATOR = pytest.mark.skipif(
    not (shutil.which("qemu-aarch64") and shutil.which("cc")), reason="no qemu-aarch64 or cc is here (qemu-user, gcc)"
)
NEEDS_RUNNER = [
    NEEDS_EMULATOR,
    pytest.mark.skipif(
        not any((folder / "libstdc++.so.6").is_file() for folder in LIBRARY_FOLDERS),
        reason="no arm64 libraries (Debian: libstdc++6-arm64-cross)",
    ),
    pytest.mark.skipif(not shutil.which("aarch64-linux-gnu-gcc"), reason="no gcc-aarch64-linux-gnu is here"),
]


class FakeEmulator:
    """Says what it was to run."""

    async def run(self, _files, words, io):
        await io.write_stdout(f"ran {' '.join(words)}\n".encode())
        return 7


class Pocket:
    """A shell on the files of a virtual Pixel 1; called with a script."""

    def __init__(self, place: Path) -> None:
        self.twin = load_twin("virtual-pixel1")
        self.folders = lay_out(self.twin, place)
        self.files = PhoneFiles(self.folders.root)
        self.shell = PocketShell(self.files, self.twin, FakeEmulator(), COMMANDS)

    def __call__(self, script: str, stdin: bytes = b"") -> tuple[int, str, str]:
        """(exit code, stdout, stderr) of a script."""
        return asyncio.run(self.run(script, stdin))

    async def run(self, script: str, stdin: bytes = b"") -> tuple[int, str, str]:
        """The same, within a loop."""
        out: list[bytes] = []
        err: list[bytes] = []
        left = [stdin] if stdin else []

        async def read() -> bytes:
            return left.pop() if left else b""

        def into(kept):
            async def write(data: bytes) -> None:
                kept.append(bytes(data))

            return write

        code = await self.shell.run(script, CommandIO(read_stdin=read, write_stdout=into(out), write_stderr=into(err)))
        return code, b"".join(out).decode(), b"".join(err).decode()
