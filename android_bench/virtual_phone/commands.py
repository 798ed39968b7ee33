"""The commands of a virtual phone: what the bench, its doctor and a curious person ask of one.

One function each, in the table at the end; they reach the phone's files only. Beside `pocket_shell`, which calls them.
"""

from __future__ import annotations

import asyncio
import hashlib
import posixpath
import re
import stat
from collections.abc import Mapping
from dataclasses import replace

from android_bench.virtual_phone.files import is_writable
from android_bench.virtual_phone.pocket_shell import (
    Call,
    CommandFunction,
    ExitShellError,
    Frame,
    read_whole,
    write_whole,
)

_USAGE = 2
_ENDED_BY_TIMEOUT = 124


async def _true(_call: Call) -> int:
    return 0


async def _false(_call: Call) -> int:
    return 1


async def _echo(call: Call) -> int:
    words = call.words[1:]
    silent = words[:1] == ("-n",)
    await call.say(" ".join(words[silent:]) + ("" if silent else "\n"))
    return 0


async def _printf(call: Call) -> int:
    if len(call.words) < 2:
        return await call.complain("expected a format")
    shown, left = call.words[1], list(call.words[2:])
    shown = re.sub(r"\\([nt\\])", lambda match: {"n": "\n", "t": "\t", "\\": "\\"}[match[1]], shown)
    while True:
        await call.say(re.sub(r"%([sd%])", lambda m: "%" if m[1] == "%" else left.pop(0) if left else "", shown))
        if not left or ("%s" not in shown and "%d" not in shown):
            return 0


async def _cat(call: Call) -> int:
    code = 0
    for name in call.words[1:] or ("-",):
        try:
            await call.streams.out(await _content(call, name))
        except OSError as error:
            code = await call.complain(f"{name}: {error.strerror}")
    return code


async def _hash(call: Call) -> int:
    code = 0
    for name in call.words[1:] or ("-",):
        try:
            digest = hashlib.new(call.words[0].rpartition("/")[2].removesuffix("sum"), await _content(call, name))
            await call.say(f"{digest.hexdigest()}  {name}\n")
        except OSError as error:
            code = await call.complain(f"{name}: {error.strerror}")
    return code


async def _grep(call: Call) -> int:
    """`grep [-E] [-q] [-H] PATTERN [FILE…]`"""
    words = list(call.words[1:])
    flags = ""
    while words and words[0].startswith("-") and len(words[0]) > 1:
        flags += words.pop(0)[1:]
    if not words or set(flags) - set("EHqvi"):
        return await call.complain("expected [-EHqvi] PATTERN [FILE…]") + 1
    pattern = re.compile(words.pop(0).encode(), re.IGNORECASE if "i" in flags else 0)
    code = 1
    for name in words or ["-"]:
        try:
            content = await _content(call, name)
        except OSError as error:
            await call.complain(f"{name}: {error.strerror}")
            continue
        head = f"{name}:".encode() if "H" in flags or len(words) > 1 else b""
        for line in content.splitlines():
            if bool(pattern.search(line)) != ("v" in flags):
                code = 0
                if "q" not in flags:
                    await call.streams.out(head + line + b"\n")
    return code


async def _head(call: Call) -> int:
    words = call.words[1:]
    count = 10
    if words[:1] == ("-n",) and words[1:2] and words[1].isdecimal():
        count, words = int(words[1]), words[2:]
    for name in words or ("-",):
        await call.streams.out(b"".join((await _content(call, name)).splitlines(keepends=True)[:count]))
    return 0


async def _wc(call: Call) -> int:
    flags = [word for word in call.words[1:] if word.startswith("-")]
    for name in [word for word in call.words[1:] if not word.startswith("-")] or ["-"]:
        content = await _content(call, name)
        counts = {"-l": content.count(b"\n"), "-w": len(content.split()), "-c": len(content)}
        await call.say(" ".join(str(counts[flag]) for flag in flags or counts if flag in counts) + "\n")
    return 0


async def _ls(call: Call) -> int:
    long = any(word.startswith("-") and "l" in word for word in call.words[1:])
    code = 0
    for name in [word for word in call.words[1:] if not word.startswith("-")] or ["."]:
        path = call.frame.path(name)
        try:
            entry = call.files.stat(path)
            entries = call.files.entries(path) if stat.S_ISDIR(entry.mode) else [replace(entry, name=name.encode())]
        except OSError as error:
            code = await call.complain(f"{name}: {error.strerror}")
            continue
        for each in entries:
            shown = each.name.decode("utf-8", "surrogateescape")
            await call.say(f"{stat.filemode(each.mode)} {each.size:>10} {shown}\n" if long else f"{shown}\n")
    return code


async def _mkdir(call: Call) -> int:
    parents = "-p" in call.words
    for name in [word for word in call.words[1:] if not word.startswith("-")]:
        path = call.frame.path(name)
        if not parents:
            try:
                call.files.stat(posixpath.dirname(path))
            except OSError as error:
                return await call.complain(f"'{name}': {error.strerror}")
            if _kind(call, path):
                return await call.complain(f"'{name}': File exists")
        call.files.make_folder(path)
    return 0


async def _rm(call: Call) -> int:
    """`rm [-rf] PATH…`; below the writable folders only, as on a phone."""
    flags = "".join(word[1:] for word in call.words[1:] if word.startswith("-"))
    code = 0
    for name in [word for word in call.words[1:] if not word.startswith("-")]:
        path = call.frame.path(name)
        try:
            kind = stat.S_IFMT(call.files.stat(path).mode)
            if not is_writable(path):
                code = await call.complain(f"{name}: Permission denied")
            elif kind != stat.S_IFDIR:
                call.files.remove(path)
            elif "r" in flags:
                _remove_tree(call, path)
            else:
                code = await call.complain(f"{name}: Is a directory")
        except (FileNotFoundError, NotADirectoryError) as error:
            if "f" not in flags:
                code = await call.complain(f"{name}: {error.strerror}")
        except OSError as error:
            code = await call.complain(f"{name}: {error.strerror}")
    return code


def _remove_tree(call: Call, path: str) -> None:
    for entry in call.files.entries(path):
        below = posixpath.join(path, entry.name.decode("utf-8", "surrogateescape"))
        if stat.S_ISDIR(entry.mode):
            _remove_tree(call, below)
        else:
            call.files.remove(below)
    call.files.remove_folder(path)


async def _rmdir(call: Call) -> int:
    for name in call.words[1:]:
        call.files.remove_folder(call.frame.path(name))
    return 0


async def _mv(call: Call) -> int:
    names = [word for word in call.words[1:] if not word.startswith("-")]
    if len(names) != 2:
        return await call.complain("expected [-f] OLD NEW")
    old, new = (call.frame.path(name) for name in names)
    if _kind(call, new) == stat.S_IFDIR:
        new = posixpath.join(new, posixpath.basename(old))
    call.files.rename(old, new)
    return 0


async def _cp(call: Call) -> int:
    names = [word for word in call.words[1:] if not word.startswith("-")]
    if len(names) != 2:
        return await call.complain("expected OLD NEW")
    old, new = (call.frame.path(name) for name in names)
    if _kind(call, new) == stat.S_IFDIR:
        new = posixpath.join(new, posixpath.basename(old))
    mode = call.files.stat(old).mode
    write_whole(call.files, new, read_whole(call.files, old))
    call.files.set_mode(new, mode)
    return 0


async def _chmod(call: Call) -> int:
    if len(call.words) < 3 or not re.fullmatch("[0-7]{3,4}|[+]x", call.words[1]):
        return await call.complain("expected MODE FILE…, such as 755")
    for name in call.words[2:]:
        path = call.frame.path(name)
        wanted = call.words[1]
        call.files.set_mode(path, call.files.stat(path).mode | 0o111 if wanted == "+x" else int(wanted, 8))
    return 0


async def _test(call: Call) -> int:
    words = list(call.words[1:])
    if call.words[0] == "[" and (not words or words.pop() != "]"):
        return await call.complain("missing ]") + 1
    holds = _holds(call, words)
    return (await call.complain(f"cannot understand {' '.join(words)}") + 1) if holds is None else int(not holds)


def _holds(call: Call, words: list[str]) -> bool | None:
    """Whether a condition holds; None when it cannot be understood."""
    if words[:1] == ["!"]:
        inner = _holds(call, words[1:])
        return None if inner is None else not inner
    match words:
        case []:
            return False
        case [word]:
            return bool(word)
        case ["-n", word]:
            return bool(word)
        case ["-z", word]:
            return not word
        case [("-e" | "-f" | "-d" | "-w" | "-r" | "-x" | "-s") as what, name]:
            return _file_is(call, what, call.frame.path(name))
        case [left, ("=" | "=="), right]:
            return left == right
        case [left, "!=", right]:
            return left != right
        case [left, ("-eq" | "-ne" | "-lt" | "-le" | "-gt" | "-ge") as how, right]:
            if not all(re.fullmatch(r"-?\d+", side) for side in (left, right)):
                return None
            sign = (int(left) > int(right)) - (int(left) < int(right))
            return sign in {"-eq": (0,), "-ne": (-1, 1), "-lt": (-1,), "-le": (-1, 0), "-gt": (1,), "-ge": (0, 1)}[how]
        case _:
            return None


def _file_is(call: Call, what: str, path: str) -> bool:
    kind = _kind(call, path)
    if not kind or what == "-e":
        return bool(kind)
    entry = call.files.stat(path)
    answers = {
        "-f": kind == stat.S_IFREG,
        "-d": kind == stat.S_IFDIR,
        "-w": is_writable(path),
        "-r": True,
        "-x": bool(entry.mode & 0o100),
        "-s": entry.size > 0,
    }
    return answers[what]


async def _getprop(call: Call) -> int:
    properties = call.shell.twin.properties
    if len(call.words) > 1:
        await call.say(properties.get(call.words[1], "".join(call.words[2:3])) + "\n")
    else:
        await call.say("".join(f"[{name}]: [{value}]\n" for name, value in sorted(properties.items())))
    return 0


async def _dumpsys(call: Call) -> int:
    services = call.shell.twin.services
    name = "".join(call.words[1:2])
    if name not in services:
        await call.streams.err(f"Can't find service: {name}\n".encode("utf-8", "surrogateescape"))
        return 0
    await call.say(services[name])
    return 0


async def _settings(call: Call) -> int:
    """`settings get NAMESPACE KEY`"""
    if call.words[1:2] != ("get",) or len(call.words) != 4:
        return await call.complain("expected get NAMESPACE KEY")
    await call.say(call.shell.twin.settings.get(f"{call.words[2]}.{call.words[3]}", "null") + "\n")
    return 0


async def _taskset(call: Call) -> int:
    """Checks the mask and starts the command; an emulated processor has no cores to choose from."""
    match = re.fullmatch("[0-9a-f]{1,16}", call.words[1]) if len(call.words) > 2 else None
    if not match or not 0 < int(match[0], 16) < 1 << call.shell.twin.cpu_count:
        return await call.complain(f"bad mask '{''.join(call.words[1:2])}'")
    return await call.shell.call(call.words[2:], call.frame, call.streams)


async def _timeout(call: Call) -> int:
    if len(call.words) < 3 or not re.fullmatch(r"\d+(\.\d+)?", call.words[1]):
        return await call.complain("expected SECONDS COMMAND…")
    try:
        async with asyncio.timeout(float(call.words[1])):
            return await call.shell.call(call.words[2:], call.frame, call.streams)
    except TimeoutError:
        return _ENDED_BY_TIMEOUT


async def _sleep(call: Call) -> int:
    if len(call.words) != 2 or not re.fullmatch(r"\d+(\.\d+)?", call.words[1]):
        return await call.complain("expected SECONDS")
    await asyncio.sleep(float(call.words[1]))
    return 0


async def _sh(call: Call) -> int:
    """`sh -c SCRIPT [NAME [ARGUMENT…]]`, `sh FILE [ARGUMENT…]`, or a script on standard input."""
    words = call.words[1:]
    if words[:1] == ("-c",) and len(words) > 1:
        text, name, arguments = words[1], (words[2:3] or ("sh",))[0], words[3:]
    elif words:
        text, name, arguments = (await _content(call, words[0])).decode("utf-8", "surrogateescape"), words[0], words[1:]
    else:
        text, name, arguments = (await call.input()).decode("utf-8", "surrogateescape"), "sh", ()
    frame = Frame(
        pid=call.frame.pid,
        name=name,
        arguments=arguments,
        variables=dict(call.frame.variables),
        folder=call.frame.folder,
        depth=call.frame.depth + 1,
    )
    return await call.shell.script(text, frame, call.streams)


async def _exec(call: Call) -> int:
    if len(call.words) == 1:
        return 0
    raise ExitShellError(await call.shell.call(call.words[1:], call.frame, call.streams))


async def _exit(call: Call) -> int:
    code = call.words[1] if len(call.words) > 1 else str(call.frame.code)
    raise ExitShellError(int(code) & 0xFF if code.isdecimal() else _USAGE)


async def _cd(call: Call) -> int:
    folder = call.frame.path("".join(call.words[1:2]) or "/")
    if _kind(call, folder) != stat.S_IFDIR:
        return await call.complain(f"{call.words[1]}: No such file or directory")
    call.frame.folder = folder
    return 0


async def _shift(call: Call) -> int:
    call.frame.arguments = call.frame.arguments[1:]
    return 0


async def _pwd(call: Call) -> int:
    await call.say(f"{call.frame.folder}\n")
    return 0


async def _command(call: Call) -> int:
    """`command -v NAME`, `which NAME`, or a command past the functions."""
    words = call.words[1:]
    if call.words[0] == "which" or words[:1] == ("-v",):
        name = words[-1] if words else ""
        if name in COMMANDS:
            await call.say(f"/system/bin/{name}\n")
        return int(name not in COMMANDS)
    return await call.shell.call(words, replace(call.frame, functions={}), call.streams) if words else 0


async def _kill(call: Call) -> int:
    words = list(call.words[1:])
    if len(words) > 1 and re.fullmatch(r"-(9|15|KILL|TERM|s)", words[0]):
        words.pop(0)
    if not words or not all(re.fullmatch(r"-?\d+", word) for word in words):
        return await call.complain("expected [-9] PID…")
    code = 0
    for word in words:
        if not call.shell.kill(int(word)):
            code = await call.complain(f"{word}: No such process")
    return code


async def _id(call: Call) -> int:
    await call.say("uid=2000(shell) gid=2000(shell) groups=2000(shell)\n")
    return 0


async def _uname(call: Call) -> int:
    kernel = call.shell.twin.properties.get("ro.kernel.version", "unknown")
    await call.say(f"Linux localhost {kernel} aarch64\n" if "-a" in call.words else "Linux\n")
    return 0


async def _content(call: Call, name: str) -> bytes:
    return await call.input() if name == "-" else read_whole(call.files, call.frame.path(name))


def _kind(call: Call, path: str) -> int:
    """The kind of a file as `stat` gives it; 0 when there is none."""
    try:
        return stat.S_IFMT(call.files.stat(path).mode)
    except OSError:
        return 0


COMMANDS: Mapping[str, CommandFunction] = {
    ":": _true,
    "[": _test,
    "cat": _cat,
    "cd": _cd,
    "chmod": _chmod,
    "command": _command,
    "cp": _cp,
    "dumpsys": _dumpsys,
    "echo": _echo,
    "exec": _exec,
    "exit": _exit,
    "false": _false,
    "getprop": _getprop,
    "grep": _grep,
    "head": _head,
    "id": _id,
    "kill": _kill,
    "ls": _ls,
    "md5sum": _hash,
    "mkdir": _mkdir,
    "mv": _mv,
    "printf": _printf,
    "pwd": _pwd,
    "rm": _rm,
    "rmdir": _rmdir,
    "settings": _settings,
    "sh": _sh,
    "sha256sum": _hash,
    "shift": _shift,
    "sleep": _sleep,
    "taskset": _taskset,
    "test": _test,
    "timeout": _timeout,
    "true": _true,
    "uname": _uname,
    "wc": _wc,
    "which": _command,
}
