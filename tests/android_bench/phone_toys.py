"""A scratch phone: the real daemon over a folder with recorded texts, and commands run by this computer's shell."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from android_bench.adb.direct import DirectConnection, tcp_transport
from android_bench.adb.keys import Signer, user_keys
from android_bench.adb.phone import Phone
from android_bench.adb.server import ServerConnection
from android_bench.virtual_phone.daemon import RunningDaemon, running
from android_bench.virtual_phone.files import PhoneFiles
from android_bench.virtual_phone.session import PhoneSettings
from android_bench.virtual_phone.shell import ProcessShell

TOOLS = (
    "cat dd echo env false head kill ls md5sum mkdir mv od printf rm rmdir sed seq sh sha256sum sleep test timeout tr"
)
DENIED = "!denied"

PIXEL_NODES: Mapping[str, str] = {
    "proc/loadavg": "1.52 1.20 0.90 2/2134 8231",
    "proc/cpuinfo": "Processor\t: AArch64 Processor rev 1 (aarch64)\nprocessor\t: 0\nprocessor\t: 1\n"
    "Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32\nHardware\t: Qualcomm Technologies, Inc MSM8996pro",
    "proc/meminfo": "MemTotal:        3877788 kB\nMemFree:          101344 kB",
    "sys/devices/system/cpu/possible": "0-3",
    "sys/devices/system/cpu/present": "0-3",
    "sys/devices/system/cpu/online": "0-3",
    **{
        f"sys/devices/system/cpu/cpu{cpu}/cpufreq/{name}": value
        for cpu in range(4)
        for name, value in {
            "cpuinfo_max_freq": "1593600" if cpu < 2 else "2150400",
            "related_cpus": "0 1" if cpu < 2 else "2 3",
            "scaling_cur_freq": "307200",
            "scaling_governor": "sched",
        }.items()
    },
    "sys/class/thermal/thermal_zone0/type": "battery",
    "sys/class/thermal/thermal_zone0/temp": "25100",
    "sys/class/thermal/thermal_zone1/type": "tsens_tz_sensor1",
    "sys/class/thermal/thermal_zone1/temp": "312",
}
PIXEL_PROPERTIES = """\
[ro.build.fingerprint]: [google/sailfish/sailfish:10/QP1A.191005.007.A3/5972272:user/release-keys]
[ro.build.version.release]: [10]
[ro.build.version.sdk]: [29]
[ro.product.cpu.abi]: [arm64-v8a]
[ro.product.device]: [sailfish]
[ro.product.model]: [Pixel]
"""
PIXEL_BATTERY = """\
Current Battery Service state:
  AC powered: false
  USB powered: true
  Wireless powered: false
  Max charging current: 500000
  status: 2
  health: 2
  present: true
  level: 87
  scale: 100
  voltage: 4243
  temperature: 251
  technology: Li-ion
"""
PIXEL_THERMAL = """\
IsStatusOverride: false
Thermal Status: 0
Cached temperatures:
HAL Ready: true
Current temperatures from HAL:
\tTemperature{mValue=26.5, mType=3, mName=fps_therm_adc, mStatus=0}
Current cooling devices from HAL:
"""
PIXEL_POWER = "POWER MANAGER (dumpsys power)\n  mWakefulness=Awake\nDisplay Power: state=ON\n"


class ToyPhone:
    """The folder behind a scratch phone; tests change it as they like."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = PhoneFiles(root)
        self.home = root.parent / f"{root.name}-home"
        self.home.mkdir()
        self._phones: list[Phone] = []
        self.keys: list[Signer] = user_keys({}, self.home)
        (root / "bin").mkdir()
        for tool in (*TOOLS.split(), "true", "wc", "yes"):
            (root / "bin" / tool).symlink_to(shutil.which(tool) or f"/bin/{tool}")
        for name, text in PIXEL_NODES.items():
            self.write(name, text + "\n")
        self.script("getprop", "cat $ROOT/recorded/getprop")
        self.script("dumpsys", 'cat "$ROOT/recorded/$1" 2>/dev/null || echo "Can\'t find service: $1" >&2')
        self.script("settings", "echo 3")
        self.script("taskset", 'case $1 in [1-9a-f]) shift; exec "$@";; *) echo "taskset: bad mask" >&2; exit 1;; esac')
        # A grep for `-H '' FILES` and `-E PATTERN`; files that hold a certain word may not be read.
        self.script(
            "grep",
            f"""if [ "$1" = -E ]; then exec {shutil.which("grep")} "$@"; fi
shift 2
for f; do p=${{f#$ROOT}}
  if [ ! -e "$f" ]; then echo "grep: $p: No such file or directory" >&2
  elif [ "$(cat "$f")" = "{DENIED}" ]; then echo "grep: $p: Permission denied" >&2
  else while read -r line || [ -n "$line" ]; do echo "$p:$line"; done < "$f"; fi
done""",
        )
        for name, text in {
            "getprop": PIXEL_PROPERTIES,
            "battery": PIXEL_BATTERY,
            "thermalservice": PIXEL_THERMAL,
            "power": PIXEL_POWER,
        }.items():
            self.write(f"recorded/{name}", text)

    @property
    def ours(self) -> Path:
        """The folder that is ours on the phone."""
        return self.root / "data/local/tmp/tkd"

    def write(self, name: str, text: str) -> None:
        """Makes a file of the phone."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def script(self, name: str, text: str) -> None:
        """Makes a command of the phone."""
        path = self.root / "bin" / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def without(self, *tools: str) -> None:
        """Takes commands away."""
        for tool in tools:
            (self.root / "bin" / tool).unlink()

    def android_tools(self) -> Path:
        """A folder with a phone's own shell and tools, mksh and toybox, where this computer has them."""
        folder = self.root / "android-bin"
        if not folder.exists():
            mksh, toybox = shutil.which("mksh"), shutil.which("toybox")
            if mksh is None or toybox is None:
                pytest.skip("mksh or toybox is not installed (Debian: apt-get install mksh toybox)")
            folder.mkdir()
            (folder / "sh").symlink_to(mksh)
            for (
                tool
            ) in "cat echo false head kill md5sum mkdir mv printf rm rmdir sha256sum sleep timeout tr true".split():  # noqa: SIM905
                (folder / tool).symlink_to(toybox)
        return folder

    def settings(self, *, android: bool = False, **changes: object) -> PhoneSettings:
        """A daemon's settings for this phone; with `android` its shell and tools are a phone's own."""
        tools = [str(self.android_tools())] if android else []
        shell = f"{tools[0]}/sh" if tools else "/bin/sh"

        def argv(command: str) -> list[str]:
            for place in ("/data/local/tmp", "/sys/", "/proc/"):
                command = command.replace(place, f"{self.root}{place}")
            return [shell, "-c", command]

        environment = {"PATH": ":".join([*tools, f"{self.root}/bin"]), "ROOT": str(self.root), "LC_ALL": "C.UTF-8"}
        made = PhoneSettings(
            shell=ProcessShell(argv, self.root, environment),
            files=self.files,
            known_keys=tuple(key.private.public_key() for key in self.keys),
            properties={"ro.product.name": "sailfish", "ro.product.model": "Pixel", "ro.product.device": "sailfish"},
        )
        return replace(made, **changes)

    @contextmanager
    def daemon(self, *, port: int = 0, **changes: object) -> Iterator[RunningDaemon]:
        """The phone, switched on."""
        with running(self.settings(**changes), port) as daemon:
            yield daemon

    def direct(self, port: int, **options: float) -> DirectConnection:
        """A connection of our own."""
        return DirectConnection(tcp_transport("127.0.0.1", port), f"127.0.0.1:{port}", self.keys, **options)

    def phone(self, port: int, timeout_s: float = 10.0, stall_s: float = 20.0, **options: object) -> Phone:
        """The phone as a `Device`, straight over TCP, without patience; hung up by `hang_up`."""
        made = Phone(
            f"127.0.0.1:{port}",
            lambda limit_s: self.direct(port, timeout_s=min(limit_s, timeout_s), authorize_s=timeout_s),
            "TCP",
            stall_s=stall_s,
            **{"patience_s": 0.0, **options},
        )
        self._phones.append(made)
        return made

    def hang_up(self) -> None:
        """Closes every connection that tests have made."""
        for phone in self._phones:
            phone.close()


class AdbServer:
    """Debian's adb, with a server of its own on a port of its own, ended by its process number."""

    def __init__(self, phone: ToyPhone, port: int) -> None:
        self.port = port
        self.environment = {**os.environ, "HOME": str(phone.home), "ANDROID_ADB_SERVER_PORT": str(port)}
        self.environment.pop("ADB_SERVER_SOCKET", None)
        self._process = subprocess.Popen(
            ["adb", "-P", str(port), "nodaemon", "server"],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def __call__(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        """One call of adb."""
        return subprocess.run(["adb", *words], env=self.environment, capture_output=True, check=check, timeout=120)

    def connect(self, port: int) -> str:
        """Makes the server hold a phone; its serial."""
        serial = f"127.0.0.1:{port}"
        for _ in range(100):
            self("connect", serial, check=False)
            if self("-s", serial, "get-state", check=False).stdout.strip() == b"device":
                return serial
            time.sleep(0.1)
        raise AssertionError(f"adb never connected: {self('devices', '-l').stdout!r}")

    def phone(self, serial: str, **options: object) -> Phone:
        """A phone of this server as a `Device`."""
        address = ("127.0.0.1", self.port)
        return Phone(serial, lambda limit_s: ServerConnection(address, serial, limit_s), "adb server", **options)

    def stop(self) -> None:
        """Ends the server."""
        self._process.terminate()
        self._process.wait(30)


@contextmanager
def adb_server(phone: ToyPhone) -> Iterator[AdbServer]:
    """A private adb server, where there is an adb."""
    import socket

    if shutil.which("adb") is None:
        pytest.skip("adb is not installed (Debian: apt-get install adb)")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = AdbServer(phone, port)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield server
    finally:
        server.stop()
