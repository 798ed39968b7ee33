"""`--tune [DEVICE]`: what the ways to lower a network are measured on.

This computer is asked for its latency directly; any other device through `tkd-bench`, which gets the files as
bundles: that folder is all that the two programs know of each other. Between `tkd.cli.export` and `converters.tune`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from android_bench.errors import BenchError
from android_bench.profiles import load_profile
from converters.bundle import write_bundle
from converters.bundle_contents import BundleContents, EvaluationPack
from converters.latency import Ratio
from converters.runners import Array, TfliteModel
from converters.tune import Tuner, Tuning, host_tuner
from tkd.errors import DeviceFailedError, SettingsError

_BENCH = (sys.executable, "-m", "android_bench.cli")
_TIMEOUT_S = 1800.0
_NO_DEVICE = 4


def tuner_of(device: str, bench: Sequence[str] = _BENCH) -> Tuner:
    """The tuner of a device: `host`, or any that `tkd-bench --device` knows.

    Args:
        device: its name.
        bench: the command that measures; for tests.

    Raises:
        SettingsError: no profile has this name.
    """
    if device == "host":
        return host_tuner()
    try:
        is_emulated = device != "auto" and load_profile(device).transport == "virtual"
    except BenchError as cause:
        raise SettingsError(f"--tune {device}: {cause}") from cause
    return Tuner(
        device=device,
        metric="instructions, emulated" if is_emulated else "latency",
        measure=lambda files, clip: _measured(files, clip, device, bench),
    )


def _measured(files: Mapping[str, bytes], clip: Array, device: str, bench: Sequence[str]) -> dict[str, Ratio]:
    """Each file against the first one, on a device.

    Raises:
        DeviceFailedError: the device is not there, failed, or took more than half an hour.
        SettingsError: `tkd-bench` does not know it.
    """
    with tempfile.TemporaryDirectory(prefix="tkd-tune-") as name:
        folder = Path(name)
        bundles = [write_bundle(folder / f"way{place}", _contents(f"way{place}", content, clip)).folder
                   for place, content in enumerate(files.values())]  # fmt: skip
        record = folder / "session.json"
        command = [*bench, "--device", device, "-q", "--output", str(folder / "bench"), "--json", str(record)]
        try:
            done = subprocess.run(
                [*command, *map(str, bundles)], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired as cause:
            raise DeviceFailedError(f"measuring on {device} took more than {_TIMEOUT_S:.0f} s; is it busy?") from cause
        # A file that failed is in the record too, without numbers; without a record there was no device to ask.
        if not record.is_file():
            said = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
            kind = DeviceFailedError if done.returncode == _NO_DEVICE else SettingsError
            raise kind(f"--tune {device}: {said[0].removeprefix('tkd-bench: ')}")
        return read_ratios(json.loads(record.read_text()), list(files))


def read_ratios(session: Mapping[str, Any], names: Sequence[str]) -> dict[str, Ratio]:
    """The ratios that a record of `tkd-bench` holds, one model for each name, in order.

    Counts of instructions are exact. Latency is compared block by block, which the bench interleaves.
    """
    values = [_values(each) for each in session["measurements"]]
    if len(values) != len(names) or not all(values):
        return {}
    blocks = min(map(len, values))
    ratios = [np.array(each[:blocks]) / np.array(values[0][:blocks]) for each in values]
    return {
        name: Ratio(
            ratio=float(np.median(ratio)),
            low=float(np.quantile(ratio, 0.25)),
            high=float(np.quantile(ratio, 0.75)),
            us=float(np.median(value)),
        )
        for name, ratio, value in zip(names, ratios, values, strict=True)
    }


def _values(measurement: Mapping[str, Any]) -> list[float]:
    """Instructions, or the microseconds of every block."""
    counted = measurement.get("instructions")
    if counted is not None:
        return [float(counted["inference"])]
    return [median(block["samples_ns"]) / 1e3 for block in measurement.get("blocks", []) if block["samples_ns"]]


def _contents(name: str, model: bytes, clip: Array) -> BundleContents:
    """The least that a bundle can be: the file, one input, and what this computer makes of it."""
    loaded = TfliteModel(model)
    fed = loaded.input.quantize(clip)
    made = loaded.run_stored(fed)
    classes = int(np.prod(made.shape[1:]))
    return BundleContents(
        name=name,
        student="tuned",
        precision="float32" if loaded.input.dtype == "float32" else "int8",
        model=model,
        onnx=b"none",
        inputs=(loaded.input,),
        outputs=(loaded.output,),
        labels=tuple(f"output{place}" for place in range(classes)),
        front_end={},
        ops={},
        parity={},
        accuracy={},
        calibration={},
        parents={},
        tools={},
        git={},
        data={"synthetic": True, "name": "one clip, for tuning"},
        golden_input=fed,
        golden_output=made,
        evaluation=EvaluationPack(inputs=fed, labels=np.zeros(1, np.int64), ids=("tuned",)),
        report_markdown="",
        report={},
    )


def print_tuning(tuning: Tuning) -> None:
    """The table of what was tried."""
    from rich.console import Console
    from rich.table import Table

    from converters.report import TUNING_HEADER, tuning_rows

    console = Console(highlight=False, soft_wrap=True)
    table = Table(*TUNING_HEADER)
    for row in tuning_rows(tuning):
        table.add_row(*row)
    console.print(table)
    console.print(tuning.sentence())
