"""`tkd-eval CHECKPOINT|BUNDLE …`: any form of a model, scored by the same code on the same clips."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from converters.command_line import ExitCode, parser, progress, run
from converters.errors import ConversionError
from converters.files import write_text
from tkd.data.layout import SPLITS
from tkd.errors import SettingsError, TkdError

_PROGRAM = "tkd-eval"
_ERRORS: dict[type[Exception], ExitCode] = {ConversionError: ExitCode.USAGE, TkdError: ExitCode.USAGE}


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of `tkd-eval`."""
    return run(_PROGRAM, _command, argv, _ERRORS)


def _command(argv: Sequence[str]) -> int:
    options = _parser().parse_args(argv)
    if options.stream is not None:
        from tkd.cli.listen import listen_to_stream

        return listen_to_stream(options)
    # Imports of torch and LiteRT take seconds: after the arguments, so that --help is instant.
    from rich.console import Console

    from converters.runtimes import check_runtime
    from tkd.scoring.clips import choose_clips, logits_of
    from tkd.scoring.models import open_models

    if options.output:
        # Before the work, so that a missing matplotlib is known at once.
        import tkd.scoring.plots  # noqa: F401

    check_runtime(options.runtime)

    def display(title: str, total: int) -> Any:
        return progress(title, total, quiet=options.quiet)

    labels = _read_labels(options.labels) if options.labels else ()
    models = open_models(options.models, features=options.features, labels=labels, runtime=options.runtime)
    clips = choose_clips(models, options.data, options.split, options.silence, display)
    logits = logits_of(models, clips, display)
    result = (_scored_by_precision if clips.is_multi_label else _scored)(models, logits, clips, options)
    text = json.dumps(result.document, indent=1, allow_nan=False) + "\n"
    # Files first: a reader that closes our output (`| head`) must not cost them.
    if options.output:
        write_text(options.output / "scores.json", text)
        for name, draw in result.pictures.items():
            draw(options.output / name)
    if options.json == "-":
        sys.stdout.write(text)
        return ExitCode.GOOD
    if options.json:
        write_text(Path(options.json), text)
    console = Console(highlight=False)
    for part in result.parts:
        console.print(part)
    if options.output:
        console.print(f"wrote {options.output}/scores.json, {', '.join(result.pictures)}")
    return ExitCode.GOOD


@dataclass(frozen=True)
class _Result:
    """What is written and printed: the document, pictures by file name (each drawn to a path), parts of the text."""

    document: dict[str, Any]
    pictures: dict[str, Callable[[Path], None]]
    parts: Iterable[Any]


def _scored(models: Any, logits: Any, clips: Any, options: argparse.Namespace) -> _Result:
    from tkd.scoring.summary import evaluate, to_document
    from tkd.scoring.text import render

    evaluation = evaluate(models, logits, clips, options.false_alarm_rate, are_runs=options.runs)
    pictures: dict[str, Callable[[Path], None]] = {}
    if options.output:
        from tkd.scoring.plots import draw_confusion, draw_roc

        pictures = {"confusion.png": partial(draw_confusion, evaluation), "roc.png": partial(draw_roc, evaluation)}
    return _Result(to_document(evaluation), pictures, render(evaluation, verbose=options.verbose))


def _scored_by_precision(models: Any, logits: Any, clips: Any, options: argparse.Namespace) -> _Result:
    from tkd.scoring.several import document_of, evaluate_several, render_several

    evaluation = evaluate_several(models, logits, clips, are_runs=options.runs)
    pictures: dict[str, Callable[[Path], None]] = {}
    if options.output:
        from tkd.scoring.plots import draw_precisions

        pictures = {"precision.png": partial(draw_precisions, evaluation)}
    return _Result(document_of(evaluation), pictures, render_several(evaluation, verbose=options.verbose))


def _parser() -> argparse.ArgumentParser:
    made = parser(
        _PROGRAM,
        "Scores models by the same code on the same clips: accuracy with intervals, per class, confusion, ROC;\n"
        "mean average precision with intervals and per class where clips have several labels.\n"
        "The first model is the baseline that the others are compared with.",
        "examples:\n  tkd-eval exports/tcresnet8-float32 exports/tcresnet8-int8\n"
        "  tkd-eval runs/demo/student.safetensors --data speech_commands_v2 --output scores\n"
        "  tkd-eval exports/lstm-p-stream-int8 --stream data/stream",
    )
    made.add_argument(
        "models", nargs="+", type=Path, metavar="MODEL",
        help="a checkpoint, a bundle's folder, or an .onnx or .tflite file",
    )  # fmt: skip
    made.add_argument(
        "--data", type=Path, metavar="DIR",
        help="data set to score on (default: the bundles' evaluation pack, or the data of the first checkpoint)",
    )  # fmt: skip
    made.add_argument("--split", choices=SPLITS, help="of the data set (test)")
    made.add_argument(
        "--silence", choices=("noise", "zeros"),
        help="clips of silence: real noise, or digital silence, which is easier (default: as the model was trained)",
    )  # fmt: skip
    made.add_argument("--features", default="", metavar="NAME", help="front end of a file that lies in no bundle")
    made.add_argument("--labels", type=Path, metavar="FILE", help="its class names, one a line (the twelve keywords)")
    made.add_argument(
        "--false-alarm-rate", type=_rate, default=0.01, metavar="RATE",
        help="false rejects are read at this rate of false alarms, in (0, 1) (0.01)",
    )  # fmt: skip
    made.add_argument(
        "--runtime", choices=("ai-edge-litert", "tensorflow", "tflite-runtime"), default="ai-edge-litert",
        help="what runs TFLite files (ai-edge-litert)",
    )  # fmt: skip
    made.add_argument("--runs", action="store_true", help="the models are runs of one network: average them too")
    _add_stream_options(made)
    made.add_argument("--json", metavar="PATH|-", help="write the result as JSON")
    made.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="write scores.json and pictures there (confusion and ROC, or precisions)",
    )
    return made


def _add_stream_options(made: argparse.ArgumentParser) -> None:
    stream = made.add_argument_group(
        "streams", "minutes of sound, heard hop by hop; models are bundles of streams, or checkpoints"
    )
    stream.add_argument("--stream", type=Path, metavar="DIR", help="the sound, made by tkd-data stream")
    stream.add_argument(
        "--false-alarms-per-hour", type=_time, default=1.0, metavar="N",
        help="misses and delay are read where there are no more (1)",
    )  # fmt: skip
    stream.add_argument(
        "--smoothing-s", type=_time, default=0.1, metavar="S", help="posteriors are averaged over this time (0.1)"
    )
    stream.add_argument(
        "--refractory-s", type=_time, default=1.0, metavar="S", help="after a detection, none for this time (1)"
    )
    stream.add_argument(
        "--tolerance-s", type=_time, default=0.75, metavar="S",
        help="a word may be detected until this long after its end (0.75)",
    )  # fmt: skip
    stream.add_argument(
        "--hop-frames", type=int, default=0, metavar="N", help="of a checkpoint's hop (the fewest that it allows)"
    )


def _time(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number of at least 0, saw {text}")
    return value


def _rate(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected a rate between 0 and 1, saw {text}")
    return value


def _read_labels(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as cause:
        raise SettingsError(
            f"{path} cannot be read as a list of labels ({cause}); expected one label a line"
        ) from cause
    labels = tuple(line.strip() for line in lines if line.strip())
    if len(set(labels)) < 2 or len(set(labels)) != len(labels):
        raise SettingsError(f"{path} holds {len(labels)} labels; expected two or more different ones, one a line")
    return labels


if __name__ == "__main__":
    sys.exit(main())
