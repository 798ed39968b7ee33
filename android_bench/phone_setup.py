"""Makes a phone ready to be measured, and leaves it clean.

After `android_bench.adb.choose`, which found it; before `android_bench.measure`, which uses what is made here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from android_bench.adb.phone import Phone
from android_bench.cores import core_mask
from android_bench.errors import BenchError, DeviceError
from android_bench.native_install import install_runner

DEFAULT_CORES = "big"
_PROBE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A phone that is ready.

    Attributes:
        core_mask: where the runner runs; "" is any core.
        facts: which runner, engine and cores, for the session.
        concerns: what preparing it has shown, one sentence each.
        keep: folders on the phone that the next session can use again.
    """

    core_mask: str
    facts: Mapping[str, str | bool]
    concerns: tuple[str, ...]
    keep: tuple[str, ...]


def prepare(phone: Phone, cache: Path, cores: str | None, libcs: Sequence[str] = ("bionic", "glibc")) -> Prepared:
    """Checks the phone, chooses its cores, and puts runner and engine on it.

    Args:
        phone: which one; it learns how its runner is started.
        cache: the user's cache, with an engine in it.
        cores: as `--cores` takes it; None is `DEFAULT_CORES` where that can be had, else any, with a concern.
        libcs: kinds of engine that it can run.

    Raises:
        BenchError: the cores cannot be understood.
        DeviceError: it cannot run arm64 programs or not on those cores, or did not take the files.
        MissingToolError: no engine, compiler or libraries are here.
    """
    mask, concerns = choose_cores(phone, cores)
    installed = install_runner(phone, cache, libcs)
    phone.use_runner(installed.command)
    places = {str(PurePosixPath(word.removeprefix("engine="))) for word in installed.command if "/" in word}
    folders = {folder for place in places for part in place.split(":") for folder in _folders(part, phone.folder)}
    return Prepared(
        core_mask=mask,
        facts={**installed.facts, "cores": cores or DEFAULT_CORES, "cores_taken": bool(mask)},
        concerns=concerns,
        keep=tuple(sorted(folders)),
    )


def choose_cores(phone: Phone, cores: str | None) -> tuple[str, tuple[str, ...]]:
    """The mask on a phone that runs arm64 programs, and what stands against it.

    Raises:
        BenchError: a wish that was spelled out cannot be understood.
        DeviceError: the phone runs no arm64 programs, or not on the cores that were spelled out.
    """
    facts = phone.facts()
    if not facts.is_arm64:
        raise DeviceError(f"{phone.serial} is {facts.abi}; runner and engine need arm64-v8a, take another phone")
    known = [cluster for cluster in phone.facts().clusters if isinstance(cluster.max_khz, int)]
    try:
        mask = core_mask(cores or DEFAULT_CORES, known)
        _check_mask(phone, mask)
    except (BenchError, DeviceError) as error:
        if cores is not None:
            raise
        return "", (f"any core, the scheduler's choice, and times of several kinds of core mixed: {error}",)
    return mask, ()


def _check_mask(phone: Phone, mask: str) -> None:
    """Whether taskset takes the mask; the kernel drops cores that are off in silence, which the runner then sees."""
    if not mask:
        return
    if int(mask, 16) >> phone.facts().cpu_count:
        raise BenchError(f"mask {mask} names cores that a phone with {phone.facts().cpu_count} does not have")
    result = phone.run(("taskset", mask, "true"), _PROBE_S)
    if result.exit_code != 0:
        said = (result.stderr or result.stdout).strip()[-200:] or f"exit code {result.exit_code}"
        raise DeviceError(f"taskset does not take mask {mask} on {phone.serial}: {said}")


def _folders(place: str, ours: str) -> list[str]:
    """The folder of ours that a path lies in, if any."""
    if not place.startswith(f"{ours}/"):
        return []
    return [f"{ours}/{place.removeprefix(f'{ours}/').split('/')[0]}"]
