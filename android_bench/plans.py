"""From options to a plan: defaults, and published protocols as presets.

Before `android_bench.cli_measure`. To add a preset, add a row to `PRESETS`.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace

from android_bench.errors import BenchError
from android_bench.records import RunPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A published protocol: the plan that it fixes, and the cores as `--cores` names them."""

    plan: RunPlan
    cores: str


PRESETS: Mapping[str, Preset] = {
    # Choi et al. 2019, arXiv 1904.03814: a Pixel 1, one little core, one thread, mean of 50 runs.
    "tcresnet-paper": Preset(
        plan=RunPlan(
            threads=1, warmup_ms=0, warmup_runs=10, min_timed_ms=0, min_runs=50, max_runs=50, statistic="mean"
        ),
        cores="one-little",
    ),
}
# What a preset fixes, by the options that would say otherwise.
_FIXED = {"threads": "--threads", "warmup_ms": "--warmup-ms", "min_timed_ms": "--min-timed-ms", "cores": "--cores"}


def plan_of(arguments: argparse.Namespace) -> RunPlan:
    """The plan that the options mean; a preset also sets `arguments.cores`, on a phone.

    Raises:
        BenchError: an option says otherwise than the preset.
        RecordError: a value is out of range.
    """
    given = {name: value for name in _FIXED if (value := getattr(arguments, name)) is not None}
    if arguments.preset is None:
        numbers = {name: value for name, value in given.items() if name != "cores"}
        return RunPlan(blocks=arguments.blocks, **numbers)
    if given:
        options = ", ".join(_FIXED[name] for name in given)
        raise BenchError(f"--preset {arguments.preset} fixes {options}; leave out one or the other")
    preset = PRESETS[arguments.preset]
    if arguments.device != "host":
        arguments.cores = preset.cores
    return replace(preset.plan, blocks=arguments.blocks)
