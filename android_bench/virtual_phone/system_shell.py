"""A virtual phone's shell as a phone has it: mksh with toybox, in namespaces where nothing but the phone is seen.

    adb shell COMMAND ─► namespaces ─► mksh -c COMMAND ─► toybox, the phone's own commands, arm64 programs

Both are this computer's own builds; only arm64 programs are emulated, by a private registration with binfmt_misc, so
that they are counted as `pocket_shell` has them counted. No capability is left to what runs inside, the old root is
gone, and but for the writable folders all is read-only. What the phone answers beside toybox (`getprop`, `dumpsys` …)
are scripts that are laid out here.
After `arm64` and `shell`, beside `pocket_shell`. Tested in `tests/android_bench/virtual_phone/test_system_shell.py`.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from android_bench.errors import MissingToolError
from android_bench.virtual_phone.arm64 import PROGRAM_ENVIRONMENT, Emulator
from android_bench.virtual_phone.root import PROBE
from android_bench.virtual_phone.shell import ProcessShell
from android_bench.virtual_phone.twin import Twin

INSTALL = "Debian 12 and Ubuntu 24.04: apt-get install mksh toybox"
_TOOLS = ("mksh", "toybox", "unshare", "setpriv", "pivot_root")
# Where pivot_root is, which an ordinary user's own PATH leaves out.
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_PROBE_S = 30.0
_PROBED = "42 Linux\ntkd-instructions 1 0 3\n42\n"
_PROBE = (
    "echo $((6 * 7)) $(uname); " + PROBE + ' 2>&1; echo $?; touch /system/probed 2>/dev/null && echo "not read-only"'
)

# Run by sh in namespaces of its own. Mounted read-only one by one: a bind takes no part in what is below it.
_ENTER = r"""
stage=$1 root=$2; shift 2
mount --bind "$stage" "$stage"
for name in usr lib lib32 lib64 bin; do
  if [ -d "$stage/$name" ] && [ ! -L "$stage/$name" ]; then
    mount --rbind "/$name" "$stage/$name"; mount -o remount,bind,ro "$stage/$name"
  fi
done
for name in data sys system; do
  mount --bind "$root/$name" "$stage/$name"; mount -o remount,bind,ro "$stage/$name"
done
for name in data/local/tmp sdcard; do mount --bind "$root/$name" "$stage/$name"; done
mount --bind /dev/null "$stage/dev/null"
mount --bind "$stage.plugins" "$stage/plugins"
mount -t proc proc "$stage/proc"
binfmt=$stage/proc/sys/fs/binfmt_misc
mount -t binfmt_misc none "$binfmt"
magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
printf '%s' ":arm64:M::$magic:$mask:/system/emulate:" > "$binfmt/register"
for file in "$root"/proc/*; do mount --bind "$file" "$stage/proc/${file##*/}"; done
mount -o remount,bind,ro "$stage/proc"
mount -o remount,bind,ro "$stage"
cd "$stage"; pivot_root . .; umount -l .; cd /
exec setpriv --no-new-privs --ambient-caps -all --inh-caps -all --bounding-set -all "$@"
"""

_PROGRAMS: Mapping[str, str] = {
    "getprop": """
if [ $# -eq 0 ]; then
  while IFS= read -r line; do print -r -- "[${line%%=*}]: [${line#*=}]"; done < /system/etc/properties
else
  while IFS= read -r line; do
    if [ "${line%%=*}" = "$1" ]; then print -r -- "${line#*=}"; exit; fi
  done < /system/etc/properties
  print -r -- "$2"
fi
""",
    "settings": """
if [ "$1" != get ] || [ $# -ne 3 ]; then echo 'settings: expected get NAMESPACE KEY' >&2; exit 1; fi
while IFS= read -r line; do
  if [ "${line%%=*}" = "$2.$3" ]; then print -r -- "${line#*=}"; exit; fi
done < /system/etc/settings
echo null
""",
    "dumpsys": """
if [ -f "/system/etc/services/$1" ]; then cat "/system/etc/services/$1"; else echo "Can't find service: $1" >&2; fi
""",
    # An emulated processor has no cores to choose from: the mask is checked, and the command started.
    "taskset": """
case $1 in '' | *[!0-9a-f]* | ?????????*) mask=0 ;; *) mask=$((16#$1)) ;; esac
if [ $# -lt 2 ] || [ $mask -le 0 ] || [ $mask -ge @MASKS@ ]; then echo "taskset: bad mask '$1'" >&2; exit 1; fi
shift; exec "$@"
""",
    "id": """
case $1 in -u | -g) echo 2000 ;; *) echo 'uid=2000(shell) gid=2000(shell) groups=2000(shell)' ;; esac
""",
    "whoami": "echo shell\n",
    "uname": """
case $1 in
  -a) echo 'Linux localhost @KERNEL@ aarch64' ;; -r) echo '@KERNEL@' ;; -m) echo aarch64 ;; -n) echo localhost ;;
  *) echo Linux ;;
esac
""",
}
_ENVIRONMENT = {
    "PATH": "/system/bin",
    "HOME": "/",
    "SHELL": "/system/bin/sh",
    "TMPDIR": "/data/local/tmp",
    "ANDROID_ROOT": "/system",
    "ANDROID_DATA": "/data",
}


class SystemShell(ProcessShell):
    """Runs each command line with mksh, in namespaces of its own; what is left of it ends with it.

    Args:
        emulator: runs arm64 programs; its folders hold what `lay_out_system` put there.
    """

    def __init__(self, emulator: Emulator) -> None:
        self._folders = emulator.folders
        super().__init__(self.argv, emulator.folders.root, {"PATH": _PATH})

    def argv(self, command: str) -> list[str]:
        """What starts a command line here; an empty one is a shell that reads its commands from standard input."""
        enter = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child"]
        enter += ["sh", "-euc", _ENTER, "sh", str(self._folders.stage), str(self._folders.root)]
        variables = [f"{name}={value}" for name, value in _ENVIRONMENT.items()]
        shell = ["/system/bin/sh", "-c", command] if command else ["/system/bin/sh"]
        return [*enter, "env", "-i", *variables, *shell]


def _which(name: str) -> str | None:
    return shutil.which(name, path=_PATH)


def find_system_shell(twin: Twin, emulator: Emulator, which: Callable[[str], str | None] = _which) -> SystemShell:
    """The shell, laid out and tried with a command, a substitution, a read-only folder and an arm64 program.

    Args:
        twin: what the phone is.
        emulator: runs arm64 programs; it was tried, so that `PROBE` is there.
        which: where a program is, None when it is not here.

    Raises:
        MissingToolError: something that it needs is not here or not allowed; the message says what.
    """
    places = {name: which(name) for name in _TOOLS}
    missing = [name for name, place in places.items() if place is None]
    if missing:
        raise MissingToolError(f"a phone's own shell needs {', '.join(missing)}, not here. {INSTALL}")
    _lay_out(twin, emulator, mksh=str(places["mksh"]), toybox=str(places["toybox"]))
    shell = SystemShell(emulator)
    argv = shell.argv(_PROBE)
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            timeout=_PROBE_S,
            check=False,
            errors="replace",
            env={"PATH": _PATH},
        )
    except (OSError, subprocess.TimeoutExpired) as cause:
        raise MissingToolError(f"a phone's own shell does not start here: {cause}") from cause
    if done.stdout != _PROBED:
        said = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["it said nothing"]
        raise MissingToolError(
            f"a phone's own shell does not work here ({said[0][:200]}): it wants user namespaces with a binfmt_misc of "
            "their own, Linux 6.7 or later"
        )
    return shell


def _lay_out(twin: Twin, emulator: Emulator, *, mksh: str, toybox: str) -> None:
    """Puts commands, and the texts that they print, into the phone's /system."""
    system = emulator.folders.root / "system"
    values = {"@MASKS@": str(1 << twin.cpu_count), "@KERNEL@": twin.properties.get("ro.kernel.version", "unknown")}
    variables = " ".join(f"{name}={value}" for name, value in PROGRAM_ENVIRONMENT.items())
    emulate = (
        f"#!/bin/sh\nprogram=$1\nexec env -i {variables} {emulator.path} -cpu {emulator.cpu} -0 \"$program\" "
        f"-plugin file=/plugins/{emulator.counter.name} \"$@\"\n"
    )  # fmt: skip
    texts = {"properties": twin.properties, "settings": twin.settings}
    try:
        applets = subprocess.run([toybox], capture_output=True, text=True, timeout=_PROBE_S, check=True).stdout.split()
        for name in ("bin", "etc/services"):
            (system / name).mkdir(parents=True, exist_ok=True)
        for name, table in texts.items():
            lines = "".join(f"{key}={value}\n" for key, value in sorted(table.items()))
            (system / "etc" / name).write_text(lines, encoding="utf-8")
        for name, text in twin.services.items():
            (system / "etc/services" / name).write_text(text, encoding="utf-8")
        for name in {*applets, "toybox", "sh"} - {*_PROGRAMS, "["}:
            _link(system / "bin" / name, mksh if name == "sh" else toybox)
        for name, text in _PROGRAMS.items():
            for key, value in values.items():
                text = text.replace(key, value)
            _program(system / "bin" / name, f"#!/system/bin/sh\n{text.lstrip()}")
        _program(system / "emulate", emulate)
    except (OSError, subprocess.SubprocessError) as cause:
        raise MissingToolError(f"cannot lay out a phone's own shell in {system}: {cause}") from cause


def _link(path: Path, target: str) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def _program(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
