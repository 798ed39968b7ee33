"""`tkd-export --streaming`: what is printed of a student that is exported hop by hop."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from converters.command_line import ExitCode
from converters.files import write_text
from tkd.export.android import write_module
from tkd.export.bundles import Gates, Wanted
from tkd.export.choose import Choice
from tkd.export.material import Material
from tkd.export.streams import StreamExport, export_stream
from tkd.provenance import synthetic_words


def export_streams(
    options: argparse.Namespace, choice: Choice, material: Material, gates: Gates, wanted: Wanted, start: float
) -> int:
    """Exports, prints, and gives the exit code; `start` is when the command began, in `time.monotonic` seconds."""
    export = export_stream(
        choice, material, gates, options.output, wanted, hop_frames=options.hop_frames, force=options.force
    )
    if options.android is not None:
        write_module(options.android, export.bundles[-1], force=options.force)
    document = _document(choice, material, export, time.monotonic() - start)
    quiet = options.json == "-"
    if options.json:
        text = json.dumps(document, indent=2) + "\n"
        sys.stdout.write(text) if quiet else write_text(Path(options.json), text)
    if not quiet:
        _print(material, export, document, options.android)
    return ExitCode.GOOD


def _document(choice: Choice, material: Material, export: StreamExport, seconds: float) -> dict[str, Any]:
    hop = export.bundles[0].hop
    return {
        "format": "tkd.export-stream/1",
        "checkpoint": {"path": str(choice.checkpoint.path), "sha256": choice.checkpoint.sha256, "why": choice.reason},
        "synthetic": bool(material.description["synthetic"] or choice.checkpoint.spec.synthetic),
        "hop": {"frames": hop.frames, "smallest_frames": hop.smallest_frames, "milliseconds": hop.milliseconds},
        "macs": {"of_a_hop": export.hop_macs, "of_a_whole_clip": export.clip_macs},
        "bundles": [
            {
                "folder": str(each.folder),
                "precision": each.precision,
                "sha256": each.sha256,
                "accuracy": each.document["accuracy"],
                "parity": each.document["parity"],
            }
            for each in export.bundles
        ],
        "seconds": round(seconds, 2),
    }


def _print(material: Material, export: StreamExport, document: dict[str, Any], android: Path | None) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, soft_wrap=True)
    hop = export.bundles[0].hop
    table = Table("stream", "max error", "SQNR dB", "reset %", "carried on %", "KiB")
    for column in table.columns[1:]:
        column.justify = "right"
    stages = {each.stage.rpartition(" ")[2]: each for each in export.conversion.parity.stages}
    for bundle in export.bundles:
        stage, scores = stages[bundle.precision], export.scores[bundle.precision]
        table.add_row(
            bundle.precision,
            f"{stage.max_abs_error:.0e}",
            f"{stage.sqnr_db:.0f}",
            f"{100 * scores.reset:.1f}",
            f"{100 * scores.carried:.1f}",
            f"{bundle.model.stat().st_size / 1024:.1f}",
        )
    console.print(table)
    whole = 100 * export.scores["float32"].whole
    console.print(
        f"accuracy after the last hop of each of {len(material.pack)} clips, with states of zero before each clip, and "
        f"carried on from clip to clip; on whole clips the student has {whole:.1f} %"
    )
    window = f"a window of {hop.window_frames} frames" if hop.window_frames else "a memory without end"
    console.print(
        f"hop: {hop.frames} frames, {hop.milliseconds:g} ms of audio (smallest: {hop.smallest_frames} frames); {window}"
    )
    hops_a_second = 1000 / hop.milliseconds
    console.print(
        f"{export.hop_macs * hops_a_second / 1e6:.2f} M multiply-accumulates a second of audio; "
        f"the whole clip at each hop would take {export.clip_macs * hops_a_second / 1e6:.1f} M"
    )
    if document["synthetic"]:
        console.print(synthetic_words(material.description))
    for bundle in export.bundles:
        console.print(f"wrote {bundle.folder}")
    if android is not None:
        console.print(f"wrote {android} with {export.bundles[-1].name}: its README.md says how to add it to an app")
    console.print(f"{document['seconds']} s; next: tkd-eval {export.bundles[-1].folder} --stream FOLDER")
