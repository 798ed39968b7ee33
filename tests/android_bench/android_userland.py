"""Starts a program for Android on Android's own libc, under PyPI's `emulite`; run as a process of its own.

    python android_userland.py LIB64 PROGRAM GUEST=HOST… -- ARGUMENT…

LIB64 is a folder like a phone's /system/lib64. The exit code is the program's; what it prints goes where it prints it.
"""

import sys
from pathlib import Path

from emulite import AndroidEmulator64, AndroidProfile

# A Snapdragon 821, whose extensions engines choose their kernels by.
PROCESSOR = {
    "ro.cpuinfo.architecture": "8",
    "ro.cpuinfo.bogomips": "38.40",
    "ro.cpuinfo.features": "fp asimd evtstrm aes pmull sha1 sha2 crc32",
    "ro.cpuinfo.hardware": "MSM8996pro",
    "ro.cpuinfo.implementer": "0x51",
    "ro.cpuinfo.part": "0x201",
    "ro.cpuinfo.revision": "1",
    "ro.cpuinfo.variant": "0x1",
}


def main(root: str, program: str, *words: str) -> int:
    mapped, arguments = words[: words.index("--")], words[words.index("--") + 1 :]
    profile = AndroidProfile(package_name="com.example.bench", seed=1, arguments=tuple(arguments))
    emulator = AndroidEmulator64(root, profile=profile)
    emulator.device.merge(PROCESSOR)
    for pair in mapped:
        guest, _, host = pair.partition("=")
        emulator.map_file(guest_path=guest, host_path=host)
    emulator.load_executable(Path(program))
    return int(emulator.run_executable(timeout=500))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
