"""How fast files and commands reach a phone, by each transport, beside Debian's own `adb push` in the same run.

The phone is the daemon of `android_bench.virtual_phone` on loopback, in a process of its own: no radio, no USB, no
flash storage. So these are the most that the software on this computer can move, not what a phone will take.
Rounds are interleaved (each transport once a round), so that what drifts drifts for all of them.

    python benchmarks/transport.py --megabytes 50 --rounds 7
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from android_bench.adb.direct import DirectConnection, tcp_transport
from android_bench.adb.keys import user_keys
from android_bench.adb.phone import Phone
from android_bench.adb.server import ServerConnection
from android_bench.adb.services import send_file
from android_bench.adb.streams import Connection, Deadline
from android_bench.virtual_phone.daemon import running
from android_bench.virtual_phone.files import PhoneFiles
from android_bench.virtual_phone.session import PhoneSettings
from android_bench.virtual_phone.shell import ProcessShell

PUSH_TIMEOUT_S = 300.0
REMOTE = "/data/local/tmp/transport.bin"


def main() -> None:
    """Measures, and prints a Markdown table."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--megabytes", type=int, default=50, help="size of the pushed file (default: 50)")
    made.add_argument("--rounds", type=int, default=7, help="times that each transport is measured (default: 7)")
    made.add_argument("--commands", type=int, default=50, help="commands in each round (default: 50)")
    arguments = made.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port = stack.enter_context(phone_process(folder))
        print(table(folder, port, stack, arguments))


def table(folder: Path, port: int, stack: ExitStack, arguments: argparse.Namespace) -> str:
    """The Markdown table of one run."""
    local = folder / "transport.bin"
    local.write_bytes(os.urandom(arguments.megabytes * 1_000_000))
    keys, serial = user_keys({}, folder), f"127.0.0.1:{port}"
    direct = DirectConnection(tcp_transport("127.0.0.1", port), serial, keys)
    stack.callback(direct.close)
    pushes: dict[str, Callable[[], None]] = {"adb-shell": lambda: push(direct, local)}
    phones = {
        "adb-shell": Phone(serial, lambda s: DirectConnection(tcp_transport("127.0.0.1", port), serial, keys, s), "")
    }
    commands: dict[str, Callable[[], object]] = {}
    if shutil.which("adb"):
        adb, server_port = stack.enter_context(adb_server(folder, serial))
        server = ServerConnection(("127.0.0.1", server_port), serial)
        pushes["adb server"] = lambda: push(server, local)
        pushes["adb push"] = lambda: adb("push", str(local), REMOTE)
        phones["adb server"] = Phone(serial, lambda s: ServerConnection(("127.0.0.1", server_port), serial, s), "")
        commands["adb push"] = lambda: adb("shell", "true")
    for name, phone in phones.items():
        stack.callback(phone.close)
        commands[name] = lambda phone=phone: phone.run(("true",), 10)
    for work in (*pushes.values(), *commands.values()):
        work()  # once for warmth
    push_s: dict[str, list[float]] = {name: [] for name in pushes}
    command_s: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(arguments.rounds):
        for name, work in pushes.items():
            push_s[name].append(timed(work))
        for name, command in commands.items():
            command_s[name] += [timed(command) for _ in range(arguments.commands)]
    size_mb = local.stat().st_size / 1e6
    beside = "adb push" if "adb push" in push_s else "adb-shell"
    rows = [
        f"| transport | push, MB/s (median) | slowest – fastest | × {beside} in the same round | a command, ms |",
        "|---|---|---|---|---|",
    ]
    for name, seconds in push_s.items():
        rates = [size_mb / second for second in seconds]
        ratio = median(other / own for own, other in zip(seconds, push_s[beside], strict=True))
        shown = {"adb push": "Debian's `adb push`, `adb shell`"}.get(name, name)
        rows.append(
            f"| {shown} | {median(rates):.0f} | {min(rates):.0f} – {max(rates):.0f} | {ratio:.2f} "
            f"| {1e3 * median(command_s[name]):.1f} |"
        )
    rows.append("")
    rows.append(
        f"{arguments.megabytes} MB of random bytes, {arguments.rounds} interleaved rounds, loopback, "
        f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f} at the end; every file was compared afterwards"
    )
    assert (folder / "phone/data/local/tmp/transport.bin").read_bytes() == local.read_bytes()
    return "\n".join(rows)


def push(connection: Connection, local: Path) -> None:
    """The transfer alone, without the hashing around it, as `adb push` does it."""
    with local.open("rb") as source:
        send_file(connection, source, REMOTE, 0o644, 0, Deadline(PUSH_TIMEOUT_S, "the push"))


def timed(work: Callable[[], object]) -> float:
    """Seconds that it took."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@contextmanager
def phone_process(folder: Path) -> Iterator[int]:
    """The port of a daemon in a process of its own, so that it shares no interpreter lock with what is measured."""
    root = folder / "phone"
    root.mkdir()
    keys = user_keys({}, folder)
    port_file = folder / "port"
    child = os.fork()
    if child == 0:
        settings = PhoneSettings(
            shell=ProcessShell(lambda command: ["/bin/sh", "-c", command], root),
            files=PhoneFiles(root),
            known_keys=tuple(key.private.public_key() for key in keys),
        )
        with running(settings) as daemon:
            port_file.with_suffix(".part").write_text(str(daemon.port))
            port_file.with_suffix(".part").rename(port_file)
            signal.pause()
        os._exit(0)
    try:
        while not port_file.exists():
            time.sleep(0.01)
        yield int(port_file.read_text())
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@contextmanager
def adb_server(folder: Path, serial: str) -> Iterator[tuple[Callable[..., None], int]]:
    """Debian's adb with a server of its own that holds the phone."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    environment = {**os.environ, "HOME": str(folder), "ANDROID_ADB_SERVER_PORT": str(port)}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}

    def adb(*words: str) -> None:
        subprocess.run(["adb", *words], env=environment, check=True, **quiet)

    server = subprocess.Popen(["adb", "-P", str(port), "nodaemon", "server"], env=environment, **quiet)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        adb("connect", serial)
        adb("-s", serial, "wait-for-device")
        yield adb, port
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
