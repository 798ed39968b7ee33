"""`tkd-bench selftest`: proves on a device that its verdicts can pass and can fail; `android_bench.cli` calls it.

    A against A                               must PASS
    A against A with a tenth more layers      must be a REGRESSION

A gate that cannot fail is no gate. The models come with the package (`benchmarks/selftest_models.py` made them).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from android_bench.cli_compare import add_measuring_options
from android_bench.cli_measure import PROGRAM, check_modules, folder_name, new_folder
from converters.bundle import read_bundle
from converters.command_line import ExitCode, Once, parser

if TYPE_CHECKING:
    from android_bench.verdict import Judgement, SelfTestEntry, Verdict

_MODELS = Path(__file__).with_name("selftest")


def selftest(words: Sequence[str]) -> int:
    """Compares the model with itself and with more of itself; keeps and prints what that proves."""
    arguments = selftest_parser().parse_args(words)
    arguments.device = arguments.device or ("auto" if arguments.serial or arguments.connect else "host")
    check_modules("scipy")
    from android_bench.cli_pairs import check_devices
    from android_bench.engine import cache_folder
    from android_bench.self_test_file import FORMAT, write_self_test
    from converters.files import write_text

    check_devices(_on_one(arguments))
    folder = new_folder(arguments.output, f"{folder_name(arguments.device)}-selftest")
    same, interrupted = _judged(arguments, "plain", folder / "same")
    more, interrupted = (None, True) if interrupted else _judged(arguments, "more", folder / "more")
    if interrupted or same is None or more is None:
        print(f"{PROGRAM} selftest: interrupted, nothing was proved", file=sys.stderr)
        return ExitCode.INTERRUPTED
    entry = _entry(same, more)
    record: dict[str, Any] = {"format": FORMAT, "device": same.device.name, **_fields(entry)}
    record |= {"same": _told(same), "more": _told(more)}
    write_text(folder / "selftest.json", json.dumps(record, ensure_ascii=False) + "\n")
    code = _code(same, more)
    if code != ExitCode.DEVICE:
        write_self_test(cache_folder(), more.device, entry)
    if arguments.json:
        print(json.dumps(record, ensure_ascii=False))
    else:
        print(f"{same.device.title}: {same.device.stands_for}\n")
        print(f"the same model     {_told(same)}")
        print(f"{100 * entry.extra_work:.1f} % more work    {_told(more)}\n")
        print(_conclusion(code, same))
    if not arguments.quiet:
        print(f"saved in {folder}/", file=sys.stderr)
    return code


def selftest_parser() -> argparse.ArgumentParser:
    """The options of `tkd-bench selftest`."""
    made = parser(
        f"{PROGRAM} selftest",
        "Can this gate pass and fail on this device? A model against itself must pass, and against itself with a "
        "tenth more layers must be a regression. The date is kept, and shown with every verdict.",
    )
    made.add_argument("--device", action=Once, metavar="NAME", help="host (the default), auto, or a profile")
    made.add_argument(
        "--pairs", type=int, default=15, metavar="N", help="pairs at the first look; the second has twice"
    )
    made.add_argument("--output", type=Path, metavar="DIR", help="a new folder for the results")
    made.add_argument("--json", action="store_true", help="print JSON")
    add_measuring_options(made)
    return made


def _judged(arguments: argparse.Namespace, candidate: str, folder: Path) -> tuple[Judgement | None, bool]:
    """The plain model against another on the device, by the gate as it is; and whether it was interrupted."""
    from android_bench.cli_pairs import judge_all
    from android_bench.compare_session import Pair
    from android_bench.device import utc_now
    from android_bench.measure import tool_version
    from android_bench.verdict import Gate, GateSettings
    from android_bench.verdict_file import write_gate

    folder.mkdir()
    pair = Pair(baseline=read_bundle(_MODELS / "plain"), candidate=read_bundle(_MODELS / candidate))
    settings, started = GateSettings(pairs=arguments.pairs), utc_now()
    judgements, interrupted = judge_all(_on_one(arguments), [pair], settings, folder)
    gate = Gate(
        settings=settings,
        judgements=tuple(judgements),
        started_utc=started,
        finished_utc=utc_now(),
        interrupted=interrupted,
        tool={"name": PROGRAM, "version": tool_version()},
    )
    write_gate(folder / "compare.json", gate)
    return (judgements[0] if judgements else None), interrupted


def _on_one(arguments: argparse.Namespace) -> argparse.Namespace:
    """The options as `tkd-bench compare` has them, with a list of devices."""
    return argparse.Namespace(**{**vars(arguments), "device": [arguments.device]})


def _entry(same: Judgement, more: Judgement) -> SelfTestEntry:
    from android_bench.device import utc_now
    from android_bench.verdict import SelfTestEntry

    plain_macs, more_macs = (read_bundle(_MODELS / name).document["ops"]["macs"] for name in ("plain", "more"))
    return SelfTestEntry(
        finished_utc=utc_now(),
        passed=_code(same, more) == ExitCode.GOOD,
        extra_work=round(more_macs / plain_macs - 1, 4),
        seen_work=more.primary.change if more.primary else None,
    )


def _code(same: Judgement, more: Judgement) -> ExitCode:
    """0 the gate works here, 1 it does not, 3 this device is too noisy to say, 4 the device failed."""
    if any(each.failure for each in (same, more)):
        golden = any(each.failure and each.failure.kind == "golden" for each in (same, more))
        return ExitCode.NO if golden else ExitCode.DEVICE
    seen = _verdict(same), _verdict(more)
    if seen == ("PASS", "REGRESSION"):
        return ExitCode.GOOD
    return ExitCode.NO_ANSWER if "INCONCLUSIVE" in seen else ExitCode.NO


def _verdict(judged: Judgement) -> Verdict:
    """That of time or instructions alone: more layers are also more bytes, which proves nothing here."""
    return judged.primary.verdict if judged.primary else "INCONCLUSIVE"


def _told(judged: Judgement) -> str:
    if judged.failure:
        return f"failed: {judged.failure.message}"
    if judged.primary is None:
        return f"{judged.verdict}: {judged.reasons[0]}"
    return f"{judged.primary.verdict}: {judged.primary.name} {judged.primary.note}"


def _conclusion(code: ExitCode, same: Judgement) -> str:
    if code == ExitCode.GOOD:
        return "passed: verdicts on this device can pass and can fail"
    if code == ExitCode.NO_ANSWER:
        return (
            "no answer: this device is too noisy for so many pairs; quieten it (tkd-bench doctor), or give more --pairs"
        )
    if code == ExitCode.DEVICE:
        return "no answer: the device failed"
    wrong = "a model is no regression of itself" if _verdict(same) != "PASS" else "more work went unseen"
    return f"FAILED: {wrong}; do not trust verdicts on this device"


def _fields(entry: SelfTestEntry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in type(entry).__dataclass_fields__}
