"""`tkd-export --student tcresnet --int8`: a checkpoint becomes TFLite bundles, each step proved."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from android_bench.errors import DeviceError
from converters.bundle_contents import PRECISIONS
from converters.command_line import ExitCode, progress, run, say
from converters.errors import ConversionError, GateFailedError
from converters.files import write_text
from tkd.cli.engine_check import EngineCheck, EngineRefusedError
from tkd.cli.export_options import PROGRAM, check_options, export_parser
from tkd.errors import DeviceFailedError, TkdError

if TYPE_CHECKING:
    from tkd.export.bundles import Export, Gates, Wanted
    from tkd.export.choose import Choice

_ERRORS: dict[type[Exception], ExitCode] = {
    GateFailedError: ExitCode.NO,
    ConversionError: ExitCode.USAGE,
    EngineRefusedError: ExitCode.NO,
    DeviceError: ExitCode.DEVICE,
    TkdError: ExitCode.USAGE,
    DeviceFailedError: ExitCode.DEVICE,
}


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of `tkd-export`."""
    return run(PROGRAM, _command, argv, _ERRORS)


def _command(argv: Sequence[str]) -> int:
    start = time.monotonic()
    options = export_parser().parse_args(argv)
    check_options(options)
    check = EngineCheck(options.engine_check)
    # Imports of torch and onnx take seconds: after the arguments, so that --help is instant.
    _check_tools(options)
    wanted = _wanted(options)
    if options.onnx is not None:
        from tkd.cli.export_onnx import export_onnx

        return export_onnx(options, wanted, _gates(options).parity, check)
    from tkd.audio.features import FeatureConfig
    from tkd.export.android import check_module_folder, write_module
    from tkd.export.bundles import export_student
    from tkd.export.choose import choose_checkpoint
    from tkd.export.material import Amounts, find_data, load_material

    if options.android is not None:
        check_module_folder(options.android, force=options.force)
    choice = choose_checkpoint(options.student, options.checkpoint, options.runs)
    spec = choice.checkpoint.spec
    quiet = options.json == "-"
    if not quiet:
        say(choice.sentence())

    def display(title: str, total: int) -> Any:
        return progress(title, total, quiet=options.quiet)

    folder = find_data(spec, options.data, display)
    material = load_material(
        folder,
        spec,
        FeatureConfig.from_dict(spec.features),
        Amounts(calibration=options.calibration_clips, pack=options.evaluation_clips, pack_anyway=options.pack_anyway),
        display,
    )
    if options.streaming:
        from tkd.cli.export_stream import export_streams

        return export_streams(options, choice, material, _gates(options), wanted, start)
    export = export_student(
        choice,
        material,
        _gates(options),
        options.output,
        wanted,
        force=options.force,
        prove=check.prove,
    )
    if options.android is not None:
        write_module(options.android, export.bundles[-1], force=options.force)
    document = {**_document(choice, export, time.monotonic() - start), "engine_check": check.document()}
    if options.json:
        text = json.dumps(document, indent=2) + "\n"
        sys.stdout.write(text) if quiet else write_text(Path(options.json), text)
    if not quiet:
        _print(export, document, check.sentence(), options.android)
    return ExitCode.GOOD


def _check_tools(options: argparse.Namespace) -> None:
    """Refuses a runtime or a backend that is not here before any work is done."""
    from converters.runtimes import check_runtime

    check_runtime(options.runtime)
    if options.backend == "onnx-tf":
        from converters.tensorflow_route.route import check_packages

        check_packages(options.backend_python)


def _wanted(options: argparse.Namespace) -> Wanted:
    from tkd.cli.tune import tuner_of
    from tkd.export.bundles import Wanted

    asked = {"float16": options.fp16, "dynamic": options.dynamic, "int8": options.int8}
    return Wanted(
        precisions=tuple(precision for precision in PRECISIONS if asked.get(precision)),
        keep_float=tuple(options.keep_float),
        method=options.ranges,
        tuner=None if options.tune is None else tuner_of(options.tune),
        input=options.input,
        backend=options.backend,
        backend_python=options.backend_python,
        runtime=options.runtime,
    )


def _gates(options: argparse.Namespace) -> Gates:
    from converters.parity import ParityGates
    from tkd.export.bundles import Gates

    parity = ParityGates(
        float_relative_error=options.max_float_error,
        float16_sqnr_db=options.min_fp16_sqnr_db,
        int8_sqnr_db=options.min_sqnr_db,
        int8_top1_agreement=options.min_agreement / 100,
        int8_macs=options.min_int8_share / 100,
    )
    return Gates(parity=parity, max_accuracy_drop=options.max_accuracy_drop)


def _document(choice: Choice, export: Export, seconds: float) -> dict[str, Any]:
    from converters.report import report_document
    from tkd.export.bundles import accuracy_table

    return {
        "format": "tkd.export/1",
        "checkpoint": {"path": str(choice.checkpoint.path), "sha256": choice.checkpoint.sha256, "why": choice.reason},
        "synthetic": bool(export.material.description["synthetic"] or choice.checkpoint.spec.synthetic),
        "bundles": [
            {"folder": str(bundle.folder), "precision": bundle.precision, "sha256": bundle.sha256}
            for bundle in export.bundles
        ],
        "accuracy": accuracy_table(export.stages),
        "conversion": report_document(export.conversion),
        "against_front_end_outside": [asdict(each) for each in export.against_outside],
        "seconds": round(seconds, 2),
    }


def _print(export: Export, document: dict[str, Any], on_engine: str, android: Path | None) -> None:
    from rich.console import Console
    from rich.table import Table

    from converters.report import mixture_sentence
    from tkd.cli.tune import print_tuning
    from tkd.evaluate import SHORT_NAMES
    from tkd.export.bundles import outside_words, paired_words
    from tkd.provenance import synthetic_words

    console = Console(highlight=False, soft_wrap=True)
    pack, test = export.stages[0].pack.total, export.stages[0].test.total
    metric = SHORT_NAMES[export.stages[0].test.metric]
    table = Table("stage", "max error", "SQNR dB", "pack %", "test %", "KiB", "time ×")
    stages = {each.stage.rpartition(" ")[2]: each for each in export.conversion.parity.stages}
    sizes = {bundle.precision: bundle.model.stat().st_size / 1024 for bundle in export.bundles}
    for column in table.columns[1:]:
        column.justify = "right"
    for stage in export.stages:
        seen = stages.get(stage.name)
        against = ("", "") if seen is None else (f"{seen.max_abs_error:.0e}", f"{seen.sqnr_db:.0f}")
        scores = [f"{100 * each.value:.1f}" for each in (stage.pack, stage.test)]
        size = f"{sizes[stage.name]:.1f}" if stage.name in sizes else ""
        times = str(export.conversion.latency.get(stage.name, ""))
        table.add_row(stage.name, *against, *scores, size, times)
    console.print(table)
    console.print(f"{metric} on {pack} clips of the evaluation pack and on all {test} of the test split")
    console.print(
        "error and SQNR: onnx to torch, float32 to onnx, the others to float32; time: to float32, on this computer"
    )
    for stage in export.stages:
        if stage.paired is not None and stage.paired.gained + stage.paired.lost:
            counts = f"{stage.paired.gained} clips gained, {stage.paired.lost} lost"
            console.print(f"{stage.name} to torch: {paired_words(stage.paired)} points on the test split; {counts}")
    for seen in export.against_outside:
        console.print(outside_words(seen))
    if export.conversion.int8 is not None and export.conversion.mixture is not None:
        shares = export.conversion.int8.shares
        front = "the front end is float32; behind it, " if export.against_outside else ""
        console.print(
            f"int8: {100 * shares.operators:.0f} % of operators, {100 * shares.macs:.0f} % of MACs, "
            f"{100 * shares.weight_bytes:.0f} % of weight bytes; {front}{mixture_sentence(export.conversion.mixture)}"
        )
    latency = export.conversion.latency.get("int8")
    if latency is not None and latency.is_slower:
        console.print(f"int8 takes {latency} times as long as float32 on this computer: measure both with tkd-bench")
    if export.conversion.advice is not None:
        console.print(export.conversion.advice.sentence())
    if on_engine:
        console.print(on_engine)
    if document["synthetic"]:
        console.print(synthetic_words(export.material.description))
    if export.conversion.tuning is not None:
        print_tuning(export.conversion.tuning)
    for bundle in export.bundles:
        console.print(f"wrote {bundle.folder}")
    if android is not None:
        console.print(f"wrote {android} with {export.bundles[-1].name}: its README.md says how to add it to an app")
    console.print(f"{document['seconds']} s; next: tkd-bench --device host")


if __name__ == "__main__":
    sys.exit(main())
