"""`tkd-export --onnx FILE`: an ONNX model of any origin becomes TFLite files, each step proved."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.command_line import ExitCode, say
from converters.errors import ConversionError
from converters.files import write_text

if TYPE_CHECKING:
    from converters.parity import ParityGates
    from converters.request import Conversion
    from tkd.cli.engine_check import EngineCheck
    from tkd.export.bundles import Wanted

_EXAMPLES, _NOISE_SEED = 4, 20211027


def export_onnx(options: argparse.Namespace, wanted: Wanted, gates: ParityGates, check: EngineCheck) -> ExitCode:
    """Converts `options.onnx` and writes the folder; prints what it found.

    Raises:
        ConversionError: an option does not fit, or the model cannot be converted.
    """
    import numpy as np

    from converters.folder import read_clips, write_conversion
    from converters.graph import read_graph
    from converters.onnx_file import load_onnx, read_model
    from converters.pipeline import ConversionRequest, convert
    from converters.report import report_document

    content = load_onnx(options.onnx)
    clips = None if options.calibration is None else read_clips(options.calibration)
    # Lengths that the model leaves open are those of the clips, one at a time.
    graph = read_graph(read_model(content), None if clips is None else (1, *clips.calibration.shape[1:]))
    if len(graph.inputs) != 1:
        raise ConversionError(
            f"{options.onnx} has {len(graph.inputs)} inputs ({', '.join(graph.inputs)}); expected one"
        )
    conversion = convert(
        ConversionRequest(
            onnx=content,
            example=np.zeros(graph.shapes[graph.inputs[0]], np.float32),
            precisions=wanted.precisions,
            calibration=None if clips is None else clips.calibration,
            check=None if clips is None else clips.check,
            method=wanted.method,
            keep_float=wanted.keep_float,
            tuner=wanted.tuner,
            gates=gates,
            advises=True,
            backend=wanted.backend,
            backend_python=wanted.backend_python,
            runtime=wanted.runtime,
        )
    )
    shape = conversion.float32.input.shape
    noise = np.random.default_rng(_NOISE_SEED).standard_normal((_EXAMPLES, *shape[1:])).astype(np.float32)
    check.prove_all(conversion, options.onnx.stem, noise if clips is None else clips.calibration[:_EXAMPLES])
    folder = options.output / options.onnx.stem
    written = write_conversion(folder, conversion, title=options.onnx.stem, force=options.force)
    quiet = options.json == "-"
    if options.json:
        document = {
            "format": "tkd.export/1",
            "folder": str(folder),
            "conversion": report_document(conversion),
            "engine_check": check.document(),
        }
        text = json.dumps(document, indent=2) + "\n"
        sys.stdout.write(text) if quiet else write_text(Path(options.json), text)
    if not quiet:
        _print(conversion, written, check.sentence())
    return ExitCode.GOOD


def _print(conversion: Conversion, written: tuple[Path, ...], on_engine: str) -> None:
    from rich.console import Console
    from rich.table import Table

    from converters.report import mixture_sentence
    from tkd.cli.tune import print_tuning

    console = Console(highlight=False, soft_wrap=True)
    table = Table("file", "max error", "SQNR dB", "same winner %", "KiB", "time ×")
    for column in table.columns[1:]:
        column.justify = "right"
    seen = {each.stage.rpartition(" ")[2]: each for each in conversion.parity.stages}
    for precision, file in conversion.files.items():
        each: Any = seen[precision]
        latency = conversion.latency.get(precision)
        table.add_row(
            precision,
            f"{each.max_abs_error:.0e}",
            f"{each.sqnr_db:.0f}",
            f"{100 * each.top1_agreement:.1f}",
            f"{len(file.content) / 1024:.1f}",
            "" if latency is None else str(latency),
        )
    console.print(table)
    console.print(f"float32 against ONNX Runtime, the others against float32, over {conversion.parity.inputs}")
    if conversion.int8 is not None and conversion.mixture is not None:
        shares = conversion.int8.shares
        console.print(f"int8: {100 * shares.macs:.0f} % of MACs; {mixture_sentence(conversion.mixture)}")
    if conversion.advice is not None:
        console.print(conversion.advice.sentence())
    if on_engine:
        console.print(on_engine)
    if conversion.tuning is not None:
        print_tuning(conversion.tuning)
    for path in written:
        say(f"wrote {path}")
