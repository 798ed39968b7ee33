"""Runs the pairs of a comparison on its devices, with progress on stderr; `cli_compare` and `cli_selftest` call it.

each device ─┬─ virtual   counted, exactly
             └─ others    pairs in one session; a fresh session where it says REGRESSION
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

from android_bench.cli_measure import ReadyDevice, check_modules, ready_device, still_progress
from android_bench.cli_phones import manners_of, wish_of
from android_bench.cli_virtual import connected
from android_bench.comparable import device_entry
from android_bench.compare import judge_session, judgement, side_of
from android_bench.compare_session import Pair, count_pair, measure_pair
from android_bench.engine import cache_folder
from android_bench.errors import BenchError, DeviceError, RecordError
from android_bench.measure import Watcher
from android_bench.native_install import install_runner
from android_bench.plans import plan_of
from android_bench.profiles import DeviceProfile
from android_bench.records import Block, Failure, Rejection
from android_bench.self_test_file import last_self_test
from android_bench.session_file import append_block, append_rejection, write_session
from android_bench.session_start import JOURNAL
from android_bench.verdict import DeviceEntry, GateSettings, Judgement
from converters.files import write_text

# Different parts of one pair's folder.
_SESSION, _FRESH = "session", "confirmation"


def judge_all(
    arguments: argparse.Namespace, pairs: Sequence[Pair], settings: GateSettings, folder: Path
) -> tuple[list[Judgement], bool]:
    """Every pair on every device, and whether it was interrupted; a device that fails fails its own pairs only."""
    profiles = check_devices(arguments)
    total = len(pairs) * len(profiles)
    made: list[Judgement] = []
    for name, profile in profiles.items():
        for pair in pairs:
            number = len(made) + 1
            place = folder / f"{number}-{name}" if total > 1 else folder
            place.mkdir(exist_ok=True)
            try:
                if profile is not None and profile.transport == "virtual":
                    judged, interrupted = _counted(arguments, profile, pair, settings, place)
                else:
                    judged, interrupted = _measured(arguments, name, pair, settings, place, total, folder)
            except KeyboardInterrupt:
                return made, True
            except BenchError as error:
                # What was judged before is worth more than the purity of an exit code.
                if not made and not isinstance(error, DeviceError):
                    raise
                judged, interrupted = _failed(name, profile, pair, error), False
            made.append(judged)
            if interrupted:
                return made, True
    return made, False


def check_devices(arguments: argparse.Namespace) -> dict[str, DeviceProfile | None]:
    """The profiles of the devices that the options name, in order; None for host and auto.

    Raises:
        BenchError: a device is unknown, or an option does not go with one; nothing was measured yet.
    """
    profiles = {name: _profile(arguments, name) for name in arguments.device}
    for name, profile in profiles.items():
        if profile is None or profile.transport != "virtual":
            plan_of(_for(arguments, name))
        elif arguments.threads not in (None, 1):
            raise BenchError(f"{name} counts instructions, exactly for one thread only; leave --threads out")
    return profiles


def _profile(arguments: argparse.Namespace, name: str) -> DeviceProfile | None:
    if name == "host":
        if arguments.serial or arguments.connect:
            raise BenchError("--serial and --connect name a phone, --device host this computer; give one of them")
        check_modules("ai_edge_litert")
        return None
    return wish_of(_for(arguments, name)).profile


def _for(arguments: argparse.Namespace, name: str) -> argparse.Namespace:
    return argparse.Namespace(**{**vars(arguments), "device": name})


def _measured(
    arguments: argparse.Namespace,
    name: str,
    pair: Pair,
    settings: GateSettings,
    place: Path,
    comparisons: int,
    folder: Path,
) -> tuple[Judgement, bool]:
    mine = _for(arguments, name)
    plan = plan_of(mine)

    @contextmanager
    def opened() -> Iterator[ReadyDevice]:
        with ready_device(mine, plan) as ready:
            if ready.device.context().emulated:
                raise DeviceError(
                    f"{name} is emulated: its times are no latency. Compare instructions: --device virtual-pixel1"
                )
            yield ready

    with _watched(arguments, place, f"{pair.candidate.name} on {name}", settings.pairs) as watcher:
        session, fresh = measure_pair(name, pair, opened, settings, comparisons, watcher)
    paths = (f"{_SESSION}.json", f"{_FRESH}.json")
    for path, each in zip(paths, (session, fresh), strict=True):
        if each:
            write_session(place / path, each)
    device = device_entry(session)
    judged = judge_session(
        side_of(pair.baseline),
        side_of(pair.candidate),
        device,
        session,
        settings,
        fresh=fresh,
        paths=(str(place.relative_to(folder) / paths[0]), str(place.relative_to(folder) / paths[1])),
        notes=_pair_notes(pair),
    )
    return _with_self_test(judged), session.interrupted or (fresh is not None and fresh.interrupted)


@contextmanager
def _watched(arguments: argparse.Namespace, place: Path, title: str, pairs: int) -> Iterator[Callable[[str], Watcher]]:
    """Makes watchers that journal each block as it ends, and move one bar."""
    quiet = arguments.quiet or arguments.verbose
    with still_progress(title, 4 * pairs + 4, quiet=quiet) as step:

        def watcher(part: str) -> Watcher:
            journal = place / (JOURNAL if part == _SESSION else f"{part}-{JOURNAL}")

            def keep(block: Block) -> None:
                append_block(journal, block)
                if arguments.verbose:
                    shown = f"{block.median_ns / 1e3:.2f} µs, load {block.load_1min}"
                    print(f"{block.bundle}, {part}, block {block.index + 1}: {shown}", file=sys.stderr)

            def rejected(rejection: Rejection) -> None:
                append_rejection(journal, rejection)

            return Watcher(keep=keep, step=step, rejected=rejected)

        yield watcher


def _counted(
    arguments: argparse.Namespace, profile: DeviceProfile, pair: Pair, settings: GateSettings, place: Path
) -> tuple[Judgement, bool]:
    with connected(profile, manners_of(arguments)) as phone:
        installed = install_runner(phone, cache_folder(), ("glibc",))
        phone.use_runner(installed.command)
        quiet = arguments.quiet or arguments.verbose
        title = f"{pair.candidate.name} on {profile.name}"
        steps: AbstractContextManager[Callable[[], None]] = still_progress(title, 4, quiet=quiet)
        with steps as step:
            judged, document = count_pair(profile.name, pair, phone, installed.facts, settings, step)
    text = json.dumps(document, allow_nan=False, ensure_ascii=False) + "\n"
    write_text(place / "instructions.json", text)
    return _with_self_test(judged), bool(document["interrupted"])


def _with_self_test(judged: Judgement) -> Judgement:
    """With the last self-test on its device; one that cannot be read costs no verdict."""
    try:
        return replace(judged, self_test=last_self_test(cache_folder(), judged.device))
    except RecordError as error:
        return replace(judged, notes=(*judged.notes, str(error)))


def _failed(name: str, profile: DeviceProfile | None, pair: Pair, error: BenchError) -> Judgement:
    """A device that could not be made ready."""
    virtual = profile is not None and profile.transport == "virtual"
    device = DeviceEntry(
        name=name,
        title=f"{name} (not reached)",
        kind="virtual" if virtual else "host" if name == "host" else "phone",
        model=profile.title if profile else "",
        fingerprint="",
        serial="",
        stands_for="nothing was measured",
        facts={},
    )
    failure = Failure(kind="device", message=str(error))
    return judgement(side_of(pair.baseline), side_of(pair.candidate), device, [], failure=failure)


def _pair_notes(pair: Pair) -> list[str]:
    """What a reader should know of a pair before its numbers."""
    old, new, notes = pair.baseline, pair.candidate, []
    if old.sha256 == new.sha256:
        notes.append("both are the same file")
    for what, values in {
        "students": (old.student, new.student),
        "precisions": (old.precision, new.precision),
        "shapes of input": (old.inputs[0].shape, new.inputs[0].shape),
    }.items():
        if values[0] != values[1]:
            notes.append(f"different {what}: {values[0]} and {values[1]}")
    return notes
