"""`tkd-bench stream`: what streams cost hop by hop, on this computer, a phone, or a virtual phone."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from android_bench.cli_measure import DEVICE_DEFAULTS, ready_device
from android_bench.cli_phones import add_phone_options, wish_of
from android_bench.cli_virtual import connected
from android_bench.cores import NAMES as CORE_NAMES
from android_bench.errors import BenchError
from converters.command_line import ExitCode, Once, parser
from converters.stream_bundle import StreamBundle, find_stream_bundles, read_stream_bundle

if TYPE_CHECKING:
    from android_bench.device import Device
    from android_bench.profiles import DeviceProfile
    from android_bench.records import RunPlan
    from android_bench.stream_session import StreamMeasurement

_PROGRAM = "tkd-bench stream"
_LONGEST_S = 1800
_EPILOG = """\
examples:
  tkd-bench stream                                            every stream in exports/ on this computer
  tkd-bench stream exports/lstm-p-stream-int8 --sustain-s 600 ten minutes at the stream's own pace
  tkd-bench stream --device virtual-pixel1                    instructions a hop, on a phone without a phone
"""


def stream(words: Sequence[str]) -> int:
    """Measures streams and prints; the exit code."""
    arguments = stream_arguments(words)
    bundles = _streams(arguments)
    profile = None if arguments.device == "host" else wish_of(arguments).profile
    if profile is not None and profile.transport == "virtual":
        return _virtual(profile, arguments, bundles)
    from android_bench.device import utc_now
    from android_bench.records import RunPlan

    started = utc_now()
    plan = RunPlan(threads=1, timeout_s=120 + 2 * arguments.sustain_s)
    with ready_device(arguments, plan) as ready:
        found = [_timed(ready.device, bundle, ready.plan, arguments.sustain_s) for bundle in bundles]
        context = ready.device.context()
        concerns = (*ready.setting.concerns, *ready.device.concerns(ready.device.state()))
    return _publish(arguments, context, concerns, found, started)


def _timed(device: Device, bundle: StreamBundle, plan: RunPlan, sustain_s: int) -> StreamMeasurement:
    from android_bench.runner import run_hops
    from android_bench.stream_session import HopTimes, StreamMeasurement

    busy, _ = run_hops(device, bundle, plan)
    sustained: dict[str, Any] | None = None
    if sustain_s:
        sustained, _ = run_hops(device, bundle, plan, sustain_ms=1000 * sustain_s)

    def times(line: dict[str, Any]) -> HopTimes:
        return HopTimes(
            samples_ns=tuple(line["ns"]), cpu_ns=line["cpu_ns"], wall_ns=line["wall_ns"], late=line.get("late")
        )

    return StreamMeasurement(
        bundle=bundle,
        busy=times(busy),
        sustained=None if sustained is None else times(sustained),
        counted_by={},
    )


def _virtual(profile: DeviceProfile, arguments: argparse.Namespace, bundles: Sequence[StreamBundle]) -> int:
    from android_bench.device import utc_now
    from android_bench.engine import cache_folder
    from android_bench.native_install import install_runner
    from android_bench.records import RunPlan
    from android_bench.stream_session import StreamMeasurement
    from android_bench.virtual_session import count_instructions

    if arguments.sustain_s:
        raise BenchError(f"{profile.name} counts instructions, its times mean nothing: leave --sustain-s out")
    started, found = utc_now(), []
    with connected(profile) as phone:
        installed = install_runner(phone, cache_folder(), ("glibc",))
        phone.use_runner(installed.command)
        for bundle in bundles:
            counted = count_instructions(phone, bundle, RunPlan(threads=1), installed.facts)
            found.append(
                StreamMeasurement(
                    bundle=bundle, instructions=counted.instructions.inference, counted_by=asdict(counted.by)
                )
            )
        context = phone.context()
    return _publish(arguments, context, ("emulated: instructions are exact, times mean nothing",), found, started)


def _publish(
    arguments: argparse.Namespace,
    context: Any,
    concerns: Sequence[str],
    found: Sequence[StreamMeasurement],
    started_utc: str,
) -> int:
    from android_bench.stream_session import document, table
    from converters.files import write_text

    text = json.dumps(document(arguments.device, context, concerns, found, started_utc), allow_nan=False) + "\n"
    if arguments.json and arguments.json != "-":
        write_text(Path(arguments.json), text)
    print(text.rstrip("\n") if arguments.json == "-" else "\n".join(table(arguments.device, concerns, found)))
    return ExitCode.GOOD


def _streams(arguments: argparse.Namespace) -> list[StreamBundle]:
    if arguments.bundles:
        return [read_stream_bundle(folder) for folder in dict.fromkeys(path.resolve() for path in arguments.bundles)]
    found = find_stream_bundles(arguments.exports)
    if not found:
        raise BenchError(
            f"no streams in {arguments.exports}{os.sep}; make some with: tkd-export --student lstm-p --streaming --int8"
        )
    return found


def stream_arguments(words: Sequence[str]) -> argparse.Namespace:
    """The options of `tkd-bench stream`."""
    made = parser(_PROGRAM, "Measure streams hop by hop: latency, share of real time, processor time.", _EPILOG)
    made.add_argument("bundles", nargs="*", type=Path, metavar="STREAM", help="written by tkd-export --streaming")
    made.add_argument(
        "--device", action=Once, default="host", help="host (default), a phone's profile, auto, or virtual-…"
    )
    made.add_argument(
        "--exports", type=Path, default=Path("exports"), metavar="DIR", help="where streams are looked for (exports)"
    )
    made.add_argument(
        "--sustain-s", type=int, default=0, metavar="S",
        help="also feed hops at their own pace for this long: 600 compares minute 1 with minute 10",
    )  # fmt: skip
    made.add_argument("--json", metavar="PATH|-", help="write every sample as JSON")
    made.add_argument("--cores", metavar="CORES", help=f"{', '.join(CORE_NAMES)} or a hexadecimal mask for taskset")
    made.add_argument("--gate-wait-s", type=float, default=120.0, metavar="S", help=argparse.SUPPRESS)
    made.add_argument("--no-gates", action="store_true", help=argparse.SUPPRESS)
    made.set_defaults(**DEVICE_DEFAULTS)
    add_phone_options(made)
    arguments = made.parse_args(words)
    if not 0 <= arguments.sustain_s <= _LONGEST_S:
        made.error(f"--sustain-s is {arguments.sustain_s}; expected 0 to {_LONGEST_S}")
    return arguments
