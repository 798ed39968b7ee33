"""Instructions of one inference of every student on the virtual phones, and its time on this computer.

    python -m benchmarks.phone_results --kind instructions     emulated and exact: an hour or so
    python -m benchmarks.phone_results --kind latency          this computer, float32 and int8 in turns: a minute
    python -m benchmarks.phone_results --kind latency --again  once more, when the computer has nothing else to do
    python -m benchmarks.phone_results --kind page             writes docs/results-phones.md

Each file that is measured is one line of benchmarks/phones.jsonl the moment it is done; what has a line is not
measured again. Weights are those of the packaged starter checkpoints, or freshly initialised ones with the moving
statistics of the calibration clips, without which BC-ResNet would be cheaper than it is: its bands would be normalised
alike. Beyond that, how many instructions a network takes does not depend on what it was taught.
The tables are made by `benchmarks.phone_tables`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter
from torch import nn

from android_bench.cli_virtual import connected
from android_bench.device import utc_now
from android_bench.engine import cache_folder
from android_bench.native_install import install_runner
from android_bench.profiles import load_profile
from android_bench.records import RunPlan
from android_bench.stats import Interval, latency_ratio, median, median_interval
from android_bench.virtual_session import count_instructions
from benchmarks.phone_tables import FORMAT, PHONES, read_lines, write_page
from converters.bundle import Bundle, read_bundle, write_bundle
from converters.bundle_contents import BundleContents, EvaluationPack
from converters.pipeline import Conversion, ConversionRequest, TfliteFile, convert
from converters.runners import TfliteModel
from tkd.audio.features import FEATURES
from tkd.checkpoint import STARTERS, load_student, read_checkpoint
from tkd.export.bundles import input_scale
from tkd.export.material import Amounts, Material, find_data, load_material
from tkd.students import STUDENTS, Student, build_student
from tkd.students.bcresnet import SubSpectralNorm

LINES = Path("benchmarks/phones.jsonl")
PAGE = Path("docs/results-phones.md")
_CALIBRATION, _PACK, _GOLDEN = 64, 12, 4
_BLOCKS, _BLOCK_S = 21, 0.01
_NO_GOAL_DB = -1000.0
_COUNTING = RunPlan(timeout_s=3600.0)


@contextmanager
def silent(_title: str, _total: int) -> Iterator[Callable[[int], None]]:
    """A display of progress that shows nothing."""
    yield lambda _done: None


@cache
def material_of(features: str) -> Material:
    """Synthetic clips as features of one front end."""
    spec = read_checkpoint(STARTERS / "tcresnet8.safetensors").spec
    folder = find_data(spec, None, silent)
    return load_material(folder, spec, FEATURES[features], Amounts(calibration=_CALIBRATION, pack=_PACK), silent)


def network(name: str, clips: torch.Tensor) -> tuple[Student, str]:
    """A student, and what its weights are: starter or fresh."""
    starter = STARTERS / f"{name}.safetensors"
    if starter.exists():
        return load_student(read_checkpoint(starter)), "starter"
    torch.manual_seed(0)
    student = build_student(name, clips.shape[-1], len(read_checkpoint(STARTERS / "tcresnet8.safetensors").spec.labels))
    student.eval()
    for each in student.modules():
        # Bands that are all normalised alike would be lowered to less than a trained network's.
        if isinstance(each, nn.BatchNorm1d | nn.BatchNorm2d | SubSpectralNorm):
            each.train()
        if isinstance(each, nn.BatchNorm1d | nn.BatchNorm2d):
            each.momentum = None  # the plain mean over the clips
    with torch.no_grad():
        student(clips)
    return student.eval(), "fresh"


def exported(name: str, folder: Path) -> tuple[Bundle, ...]:
    """The student's float32 and int8 bundles, made once."""
    places = [folder / f"{name}-{precision}" for precision in ("float32", "int8")]
    if not all((place / "model.json").exists() for place in places):
        material = material_of(STUDENTS[name].features)
        student, weights = network(name, material.calibration.inputs)
        material = material.scaled(input_scale(student, material))
        inputs = material.test.inputs[list(material.pack)].numpy()
        request = ConversionRequest(
            module=student,
            example=inputs[:1],
            precisions=("int8",),
            calibration=material.calibration.inputs.numpy(),
            # What an untrained network loses in int8 says nothing about which operators a trained one keeps in float.
            goal_db=None if weights == "starter" else _NO_GOAL_DB,
            check=inputs,
            gates=None,
            input_name="features",
            output_name="logits",
        )
        conversion = convert(request)
        for file in conversion.files.values():
            contents = _contents(name, weights, file, material, inputs, conversion)
            write_bundle(folder / contents.name, contents, force=True)
    return tuple(map(read_bundle, places))


def _contents(
    name: str, weights: str, file: TfliteFile, material: Material, inputs: np.ndarray, conversion: Conversion
) -> BundleContents:
    fed = file.input.quantize(inputs)
    plan = {} if conversion.mixture is None or file.precision != "int8" else conversion.mixture.plan
    empty: dict[str, dict[str, Any]] = {
        key: {} for key in ("front_end", "parity", "accuracy", "calibration", "parents", "tools", "git", "report")
    }
    return BundleContents(
        name=f"{name}-{file.precision}",
        student=name,
        precision=file.precision,
        model=file.content,
        onnx=conversion.onnx,
        inputs=(file.input,),
        outputs=(file.output,),
        labels=read_checkpoint(STARTERS / "tcresnet8.safetensors").spec.labels,
        ops={"by_type": dict(file.operators), "int8_macs": file.shares.macs, "not_int8": len(plan)},
        data={"synthetic": True, "name": material.description["name"], "weights": weights},
        golden_input=fed[:_GOLDEN],
        golden_output=TfliteModel(file.content).run_stored(fed[:_GOLDEN]),
        evaluation=EvaluationPack(
            inputs=fed,
            labels=material.test.labels[list(material.pack)],
            ids=tuple(material.test.ids[place] for place in material.pack),
        ),
        report_markdown=f"# {name}\n",
        **empty,
    )


def count(names: Sequence[str], folder: Path) -> None:
    """Counts what has no line yet, on every virtual phone."""
    done = {(line["student"], line["precision"]) for line in read_lines(LINES) if line["kind"] == "instructions"}
    with ExitStack() as stack:
        phones = {}
        for name in PHONES:
            phone = stack.enter_context(connected(load_profile(name)))
            installed = install_runner(phone, cache_folder(), ("glibc",))
            phone.use_runner(installed.command)
            phones[name] = (phone, installed.facts)
        for student in names:
            if {(student, "float32"), (student, "int8")} <= done:
                continue
            for bundle in exported(student, folder):
                if (student, bundle.precision) in done:
                    continue
                counted = {
                    name: asdict(count_instructions(phone, bundle, _COUNTING, facts))
                    for name, (phone, facts) in phones.items()
                }
                ops, data = bundle.document["ops"], bundle.document["data"]
                _append(
                    {
                        "kind": "instructions",
                        "student": student,
                        "precision": bundle.precision,
                        "weights": data["weights"],
                        "model_sha256": bundle.sha256,
                        "size_bytes": bundle.model.stat().st_size,
                        "operators": sum(ops["by_type"].values()),
                        "int8_macs": ops["int8_macs"],
                        "phones": counted,
                    }
                )


def time_on_host(names: Sequence[str], folder: Path, *, again: bool) -> None:
    """Times what has no line yet, or everything once more, on this computer: one thread, float32 and int8 in turns."""
    done = {line["student"] for line in read_lines(LINES) if line["kind"] == "latency"}
    for student in names:
        if student in done and not again:
            continue
        bundles = exported(student, folder)
        timers = [timer(bundle.model, bundle.golden()[0][:1]) for bundle in bundles]
        blocks: list[list[float]] = [[], []]
        for block in range(_BLOCKS):
            for place in (0, 1) if block % 2 else (1, 0):  # whoever is first in one turn is last in the next
                blocks[place].append(timers[place]())
        ratio = latency_ratio(blocks[1], blocks[0])
        for bundle, times_us in zip(bundles, blocks, strict=True):
            _append(
                {
                    "kind": "latency",
                    "student": student,
                    "precision": bundle.precision,
                    "model_sha256": bundle.sha256,
                    "median_us": median(times_us),
                    "interval_us": _ends(median_interval(times_us)),
                    "against_float32": {"estimate": ratio.estimate, "interval": _ends(ratio.interval)}
                    if bundle.precision == "int8"
                    else None,
                    "blocks": _BLOCKS,
                    "host": f"{_processor()}, {os.cpu_count()} CPUs, ai-edge-litert {version('ai-edge-litert')}",
                    "load_1min": round(os.getloadavg()[0], 1),
                }
            )


def timer(model: Path, example: np.ndarray | None = None) -> Callable[[], float]:
    """What measures one block of a model: microseconds of this thread's processor time for one inference.

    Args:
        model: the TFLite file.
        example: what its first input is given; None leaves the inputs as the engine allocates them.
    """
    interpreter = Interpreter(model_path=str(model), num_threads=1)
    interpreter.allocate_tensors()
    if example is not None:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], example)

    def block(runs: int) -> float:
        start = time.thread_time_ns()
        for _ in range(runs):
            interpreter.invoke()
        return (time.thread_time_ns() - start) / 1e3 / runs

    runs = 1
    while block(runs) * runs < 1e6 * _BLOCK_S:
        runs *= 2
    return lambda: block(runs)


def _ends(interval: Interval | None) -> list[float] | None:
    return None if interval is None else list(interval)


def _append(line: Mapping[str, Any]) -> None:
    with LINES.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"format": FORMAT, "utc": utc_now(), **line}, ensure_ascii=False) + "\n")
    print(line["kind"], line["student"], line["precision"], flush=True)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def main() -> None:
    """Measures, or writes the page."""
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("--kind", choices=("instructions", "latency", "page"), required=True)
    made.add_argument("--students", nargs="+", choices=tuple(STUDENTS), default=list(STUDENTS), metavar="NAME")
    made.add_argument("--again", action="store_true", help="time also what has been timed; the last time counts")
    made.add_argument("--folder", type=Path, default=Path("data/phones"), help="where bundles are made (data/phones)")
    options = made.parse_args()
    if options.kind == "instructions":
        count(options.students, options.folder)
    elif options.kind == "latency":
        time_on_host(options.students, options.folder, again=options.again)
    else:
        write_page(read_lines(LINES), PAGE)


if __name__ == "__main__":
    main()
