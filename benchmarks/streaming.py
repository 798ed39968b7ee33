"""What a second of audio costs: the whole window at each hop, against a stream with states. Front end included.

    python -m benchmarks.streaming --kind instructions     emulated and exact
    python -m benchmarks.streaming --kind latency          this computer, whole window and hop in turns
    python -m benchmarks.streaming --kind page             writes docs/results-streaming.md

    a student ─► --input waveform             ─► whole window ┐  both at the smallest legal hop: as often a second
              └► --input waveform --streaming ─► one hop      ┘

Each pair that is measured is one line of benchmarks/streaming.jsonl the moment it is done; what has a line is not
measured again. Weights are those of the packaged starter checkpoints, or fresh ones with the moving statistics of the
calibration clips: costs do not depend on what a network was taught beyond that.
The page is made by `benchmarks.streaming_tables`.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from android_bench.cli_virtual import connected
from android_bench.device import utc_now
from android_bench.engine import cache_folder
from android_bench.native_install import install_runner
from android_bench.profiles import load_profile
from android_bench.records import RunPlan
from android_bench.runner import run_instructions
from android_bench.stats import latency_ratio, median
from benchmarks.phone_results import material_of, network, timer
from benchmarks.streaming_tables import FORMAT, LINES, PAGE, PHONE, PRECISIONS, read_lines, write_page
from converters.bundle import Bundle, read_bundle
from converters.parity import ParityGates
from converters.stream_bundle import StreamBundle, read_stream_bundle
from tkd.audio.features import FEATURES
from tkd.checkpoint import STARTERS, Checkpoint, read_checkpoint, write_checkpoint
from tkd.export.bundles import Gates, Wanted, export_student
from tkd.export.choose import Choice
from tkd.export.streams import export_stream
from tkd.students import STUDENTS, build_student

_BLOCKS = 21
_COUNTING = RunPlan(timeout_s=3600.0)
# Fresh weights are not worth a bound; what is measured is cost.
_NO_GATES = Gates(
    parity=ParityGates(
        float_relative_error=1e-3, int8_sqnr_db=-1000.0, int8_top1_agreement=0.0, int8_macs=0.0, float16_sqnr_db=-1000.0
    ),
    max_accuracy_drop=100.0,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One student in one precision.

    Attributes:
        whole: fed a whole window of audio.
        stream: fed one hop of audio.
    """

    whole: Bundle
    stream: StreamBundle

    def facts(self) -> dict[str, Any]:
        """What the files are."""
        hop = self.stream.hop
        return {
            "hop_frames": hop.frames,
            "hop_ms": hop.milliseconds,
            "macs": {"whole": self.whole.document["ops"]["macs"], "hop": self.stream.document["ops"]["macs"]},
            "sha256": {"whole": self.whole.sha256, "stream": self.stream.sha256},
        }


def streamable() -> list[str]:
    """The students of the table that stream."""
    return [name for name in STUDENTS if build_student(name, 40, 12).stream_rule() is not None]


def pairs(name: str, folder: Path) -> dict[str, Pair]:
    """The student's files by precision, exported once."""
    places = {
        precision: (folder / f"{name}-waveform-{precision}", folder / f"{name}-waveform-stream-{precision}")
        for precision in PRECISIONS
    }
    if not all((place / "model.json").exists() for both in places.values() for place in both):
        choice = Choice(checkpoint=_checkpoint(name, folder), reason="for its cost")
        material = material_of(STUDENTS[name].features)
        wanted = Wanted(precisions=("int8",), input="waveform")
        export_student(choice, material, _NO_GATES, folder, wanted, force=True)
        export_stream(choice, material, _NO_GATES, folder, wanted, force=True)
    return {
        precision: Pair(whole=read_bundle(whole), stream=read_stream_bundle(stream))
        for precision, (whole, stream) in places.items()
    }


def _checkpoint(name: str, folder: Path) -> Checkpoint:
    """The starter, or fresh weights in the form of one."""
    starter = STARTERS / f"{name}.safetensors"
    if starter.exists():
        return read_checkpoint(starter)
    features = FEATURES[STUDENTS[name].features]
    student, _ = network(name, material_of(STUDENTS[name].features).calibration.inputs)
    like = read_checkpoint(STARTERS / "tcresnet8.safetensors").spec
    path = folder / f"{name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    spec = replace(like, name=name, features=features.to_dict(), scores={}, training={}, parents={})
    write_checkpoint(path, spec, student.state_dict())
    return read_checkpoint(path)


def count(names: Sequence[str], folder: Path) -> None:
    """Counts what has no line yet, on a virtual phone."""
    done = {line["student"] for line in read_lines(LINES) if line["kind"] == "instructions"}
    with connected(load_profile(PHONE)) as phone:
        phone.use_runner(install_runner(phone, cache_folder(), ("glibc",)).command)
        for name in (each for each in names if each not in done):
            counted = {
                precision: {
                    **pair.facts(),
                    "whole": run_instructions(phone, pair.whole, _COUNTING)[0].inference,
                    "hop": run_instructions(phone, pair.stream, _COUNTING)[0].inference,
                }
                for precision, pair in pairs(name, folder).items()
            }
            _append({"kind": "instructions", "student": name, "phone": PHONE, "precisions": counted})


def time_on_host(names: Sequence[str], folder: Path) -> None:
    """Times everything, on this computer: one thread, whole window and hop in turns; the last line counts."""
    for name in names:
        timed = {}
        for precision, pair in pairs(name, folder).items():
            timers = (timer(pair.whole.model), timer(pair.stream.model))
            blocks: tuple[list[float], list[float]] = ([], [])
            for block in range(_BLOCKS):
                for place in (0, 1) if block % 2 else (1, 0):  # whoever is first in one turn is last in the next
                    blocks[place].append(timers[place]())
            ratio = latency_ratio(*blocks)
            timed[precision] = {
                **pair.facts(),
                "whole": median(blocks[0]),
                "hop": median(blocks[1]),
                "ratio": {"estimate": ratio.estimate, "interval": list(ratio.interval) if ratio.interval else None},
            }
        _append({"kind": "latency", "student": name, "load_1min": round(os.getloadavg()[0], 1), "precisions": timed})


def _append(line: Mapping[str, Any]) -> None:
    with LINES.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"format": FORMAT, "utc": utc_now(), **line}) + "\n")
    print(line["kind"], line["student"], flush=True)


def main() -> None:
    """Measures, or writes the page."""
    names = streamable()
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("--kind", choices=("instructions", "latency", "page"), required=True)
    made.add_argument("--students", nargs="+", choices=names, default=names, metavar="NAME")
    made.add_argument("--folder", type=Path, default=Path("data/streaming"), help="where files are made (%(default)s)")
    options = made.parse_args()
    torch.set_num_threads(1)
    if options.kind == "instructions":
        count(options.students, options.folder)
    elif options.kind == "latency":
        time_on_host(options.students, options.folder)
    else:
        write_page(read_lines(LINES), PAGE)


if __name__ == "__main__":
    main()
