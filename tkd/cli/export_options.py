"""The options of `tkd-export`, and which of them go together.

Before `tkd.cli.export`. Tested in `tests/tkd/cli/test_export_options.py`, `tests/tkd/cli/test_export.py`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from converters.command_line import parser
from converters.errors import ConversionError
from tkd.cli.engine_check import MODES

PROGRAM = "tkd-export"


def export_parser() -> argparse.ArgumentParser:
    """The parser; whether the options go together is asked of `check_options`."""
    made = parser(
        PROGRAM,
        "Exports a student to TFLite: PyTorch → ONNX → TFLite float32, and float16, dynamic range or int8 when asked.\n"
        "Every step is compared with the one before, and nothing is written unless all gates are passed.",
        "examples:\n  tkd-export --student tcresnet --int8\n  tkd-export --student lstm-p --streaming --int8\n"
        "  tkd-export --onnx detector.onnx --int8 --calibration clips.npz",
    )
    _add_source(made)
    _add_outcome(made)
    _add_conversion(made)
    _add_clips_and_places(made)
    _add_gates(made)
    return made


def check_options(options: argparse.Namespace) -> None:
    """Refuses options that would be passed over in silence.

    Raises:
        ConversionError: two do not go together; the message says which and why.
    """
    if options.keep_float and not options.int8:
        raise ConversionError("--keep-float is about operators of the int8 file, and none was asked for; add --int8")
    if options.onnx is not None:
        _check_onnx(options)
    elif options.calibration is not None:
        raise ConversionError("--calibration goes with --onnx; a student is calibrated on clips of its --data")
    if options.streaming:
        _check_streaming(options)
    elif options.hop_frames:
        raise ConversionError("--hop-frames is the hop of a stream; give --streaming too")
    if options.android is not None and options.input != "waveform":
        raise ConversionError("--android writes a module that records audio: give --input waveform with it")
    if options.tune is not None and options.backend != "direct":
        raise ConversionError(f"the backend {options.backend} lowers in one way only; leave --tune out")


def _check_onnx(options: argparse.Namespace) -> None:
    if options.streaming:
        raise ConversionError("--streaming derives a stream from a student; an ONNX model is converted as it is")
    if options.input != "features":
        raise ConversionError(
            "--input goes with a student, whose front end is known; an ONNX model has the input it has"
        )
    for name in ("student", "checkpoint", "data"):
        if getattr(options, name) is not None:
            raise ConversionError(f"--onnx and --{name} exclude each other: an ONNX file brings its own weights")
    if options.int8 and options.calibration is None:
        raise ConversionError("--int8 of an ONNX file needs its inputs: give --calibration FILE.npz")


def _check_streaming(options: argparse.Namespace) -> None:
    if options.tune is not None:
        raise ConversionError("streams are lowered in one way only; leave --tune out")
    if options.backend != "direct":
        raise ConversionError(f"streams are written by our own lowering; leave --backend {options.backend} out")
    if options.runtime != "ai-edge-litert":
        raise ConversionError(f"streams run on ai-edge-litert here; leave --runtime {options.runtime} out")
    if options.engine_check == "require":
        raise ConversionError(
            "--engine-check runs whole clips; of a stream, tkd-bench stream --device virtual-pixel1 proves the hops"
        )


def _add_source(made: argparse.ArgumentParser) -> None:
    made.add_argument("--student", help="a student's name; its newest completed run is taken, else the starter")
    made.add_argument("--checkpoint", type=Path, metavar="FILE", help="this checkpoint instead")
    made.add_argument("--onnx", type=Path, metavar="FILE", help="an ONNX model of any origin instead")
    made.add_argument(
        "--calibration", type=Path, metavar="NPZ", help="its inputs, (clips, *axes), as np.savez writes them; for int8"
    )


def _add_outcome(made: argparse.ArgumentParser) -> None:
    made.add_argument("--float32", action="store_true", help="the float32 bundle, which is always written")
    made.add_argument("--fp16", action="store_true", help="also one with float16 weights: half the size, same speed")
    made.add_argument(
        "--dynamic", action="store_true", help="also one of dynamic range: int8 weights, float in and out"
    )
    made.add_argument("--int8", action="store_true", help="also one in int8; says which operators stay float, and why")
    made.add_argument(
        "--streaming",
        action="store_true",
        help="models that are run hop by hop, with states as inputs and outputs; see docs/streaming.md",
    )
    made.add_argument(
        "--hop-frames",
        type=_positive,
        default=0,
        metavar="N",
        help="feature frames of a hop of a stream, a multiple of the student's strides (the fewest)",
    )
    made.add_argument(
        "--input",
        choices=("features", "waveform"),
        default="features",
        help="what the files are fed: features, or audio with the front end inside the graph, in float32 (features)",
    )


def _add_conversion(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--keep-float",
        action="append",
        default=[],
        metavar="REGEX",
        help="operators of the int8 file that stay float: searched in 'TYPE name'; may be given again",
    )
    made.add_argument(
        "--ranges",
        choices=("minmax", "percentile", "mse"),
        default="minmax",
        help="how calibration chooses int8 ranges (minmax)",
    )
    made.add_argument(
        "--tune",
        nargs="?",
        const="host",
        metavar="DEVICE",
        help="try the other ways to lower the network and keep the fastest: on this computer (host), a virtual phone "
        "or a phone, as tkd-bench --device names it",
    )
    made.add_argument(
        "--backend", choices=("direct", "onnx-tf"), default="direct",
        help="what writes the files: our lowering, or onnx-tf and TensorFlow's converter (direct)",
    )  # fmt: skip
    made.add_argument(
        "--backend-python", type=Path, metavar="FILE",
        help="the Python that has onnx-tf and TensorFlow, such as .venv-tensorflow/bin/python (this one)",
    )  # fmt: skip
    made.add_argument(
        "--runtime", choices=("ai-edge-litert", "tensorflow", "tflite-runtime"), default="ai-edge-litert",
        help="what runs the files here, for parity, scores and golden vectors (ai-edge-litert)",
    )  # fmt: skip


def _add_clips_and_places(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--data", type=Path, metavar="DIR", help="data set to calibrate and score on (default: the checkpoint's)"
    )
    made.add_argument("--output", type=Path, default=Path("exports"), metavar="DIR", help="where bundles go (exports)")
    made.add_argument(
        "--android", type=Path, metavar="DIR",
        help="also a Kotlin module for an Android app, with the smallest of the files; with --input waveform, and with "
        "--streaming one that carries states on",
    )  # fmt: skip
    made.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="where training runs are (runs)")
    made.add_argument(
        "--engine-check",
        choices=MODES,
        default="auto",
        help="run each file on the engine that phones get, under emulation: where that can be done (auto), "
        "an error where it cannot (require), or never (off)",
    )
    made.add_argument("--force", action="store_true", help="overwrite a bundle made from something else")
    made.add_argument("--json", metavar="PATH|-", help="write the result as JSON")
    made.add_argument(
        "--calibration-clips", type=_positive, default=512, metavar="N", help="of the training split (512)"
    )
    made.add_argument("--evaluation-clips", type=_positive, default=480, metavar="N", help="in the pack (480)")
    made.add_argument("--pack-anyway", action="store_true", help="pack clips whose licence forbids it or is not known")


def _add_gates(made: argparse.ArgumentParser) -> None:
    gates = made.add_argument_group("gates", "a file that breaks one is not written, and the exit code is 1")
    gates.add_argument(
        "--max-float-error",
        type=float,
        default=1e-4,
        metavar="SHARE",
        help="torch to ONNX to float32: largest error, as a share of the largest output (1e-4)",
    )
    gates.add_argument(
        "--min-sqnr-db", type=float, default=25.0, metavar="DB", help="int8 and dynamic against float32 (25)"
    )
    gates.add_argument(
        "--min-fp16-sqnr-db", type=float, default=40.0, metavar="DB", help="float16 against float32 (40)"
    )
    gates.add_argument(
        "--min-agreement",
        type=_percent,
        default=95.0,
        metavar="PERCENT",
        help="clips of the pack with the same answer as float32 (95)",
    )
    gates.add_argument(
        "--min-int8-share",
        type=_percent,
        default=50.0,
        metavar="PERCENT",
        help="multiply-accumulates of the int8 file that are int8 (50)",
    )
    gates.add_argument(
        "--max-accuracy-drop", type=float, default=0.5, metavar="POINTS",
        help="torch to each file on the whole test split: accuracy, or mAP where clips have several labels (0.5)",
    )  # fmt: skip


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, saw {text}")
    return int(text)


def _percent(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 100, saw {text}")
    return value
