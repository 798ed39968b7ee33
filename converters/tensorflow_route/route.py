"""The second route, seen from here: an ONNX model goes to TensorFlow's process, TFLite files come back.

    ONNX ──► onnx-tf ──► SavedModel ──► TFLiteConverter ──► float32, float16, dynamic, int8

Between `converters.to_onnx` and the proofs of `converters.pipeline`, which are those of the first route.
Tested in `tests/converters/test_tensorflow_route.py`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner

from converters.bundle_contents import Precision
from converters.errors import ConversionError
from converters.onnx_file import read_model
from converters.runners import Array
from converters.tensorflow_route import OPSET, worker

_TIME_LIMIT_S = 1800.0
_CHECK_LIMIT_S = 60.0
_LOG_LINES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorflowFiles:
    """What the second route made.

    Attributes:
        contents: TFLite files by precision, float32 first.
        versions: of the packages that made them.
        seconds: wall time by step: saved_model, then each precision; starting TensorFlow is not among them.
    """

    contents: dict[Precision, bytes]
    versions: dict[str, str]
    seconds: dict[str, float]


def convert_with_tensorflow(
    content: bytes,
    shape: tuple[int, ...],
    precisions: Sequence[Precision],
    calibration: Array | None,
    *,
    python: Path | None = None,
    time_limit_s: float = _TIME_LIMIT_S,
) -> TensorflowFiles:
    """The files of an ONNX model with one input and one output.

    Args:
        content: the ONNX model.
        shape: of its input, which takes the place of lengths that the model leaves open.
        precisions: of the files.
        calibration: float32, shape (clips, *axes); int8 needs it.
        python: an interpreter that has the packages of the extra [tensorflow]; None takes this one.
        time_limit_s: after which TensorFlow is stopped.

    Raises:
        ConversionError: the packages are missing, or onnx-tf or TensorFlow cannot convert the model; with the reason.
    """
    check_packages(python)
    program = _program(python)
    with tempfile.TemporaryDirectory(prefix="tkd-tensorflow-") as name:
        folder = Path(name)
        model = read_model(content)
        whole = _without_functions(model)
        _fix_shape(whole, shape)
        (folder / "model.onnx").write_bytes(whole.SerializeToString())
        if calibration is not None:
            np.save(folder / "calibration.npy", calibration.astype(np.float32))
        (folder / "request.json").write_text(json.dumps({"precisions": list(precisions)}), encoding="utf-8")
        ended = _run(program, folder, time_limit_s)
        answer = _answer(folder, ended)
        contents: dict[Precision, bytes] = {each: (folder / f"{each}.tflite").read_bytes() for each in precisions}
    return TensorflowFiles(contents=contents, versions=answer["versions"], seconds=answer["seconds"])


def check_packages(python: Path | None) -> None:
    """Raises ConversionError unless `python` (None: this one) has onnx-tf and TensorFlow; takes a tenth of a second."""
    program = _program(python)
    try:
        command = [str(program), "-P", worker.__file__, "--check"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_CHECK_LIMIT_S, env=_settings())
        missing = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired) as cause:
        raise ConversionError(f"{program} is no Python from 3.11 on ({cause}); give one to --backend-python") from cause
    if missing:
        raise ConversionError(
            f"{program} lacks {', '.join(missing)}, which the backend onnx-tf needs; in a checkout of the project: "
            "make setup-tensorflow, then --backend-python .venv-tensorflow/bin/python"
        )


def _program(python: Path | None) -> Path:
    return Path(sys.executable) if python is None else python


def _without_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    whole = onnx.inliner.inline_local_functions(model) if model.functions else model
    if whole.functions:  # the inliner leaves a function alone that is written in another opset than the model
        names = ", ".join(function.name for function in whole.functions)
        raise ConversionError(
            f"the backend onnx-tf reads ONNX up to opset {OPSET}, and the network's own operator {names} "
            "is defined in a later one; convert it with the backend direct"
        )
    return whole


def _fix_shape(model: onnx.ModelProto, shape: tuple[int, ...]) -> None:
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) != 1:
        raise ConversionError(f"the model has {len(inputs)} inputs; one is supported")
    axes = inputs[0].type.tensor_type.shape.dim
    known = [axis.dim_value or length for axis, length in zip(axes, shape, strict=False)]
    if len(axes) != len(shape) or known != list(shape):
        raise ConversionError(f"the model's input '{inputs[0].name}' has shape {known}; the example has {list(shape)}")
    for axis, length in zip(axes, shape, strict=True):
        axis.dim_value = length


def _run(program: Path, folder: Path, time_limit_s: float) -> str:
    """How the process ended: empty where it ended well."""
    log = folder / "log"
    command = [str(program), "-P", worker.__file__, str(folder)]
    try:
        with log.open("wb") as stream:
            done = subprocess.run(command, stdout=stream, stderr=stream, timeout=time_limit_s, env=_settings())
    except subprocess.TimeoutExpired:
        return f"TensorFlow was stopped after {time_limit_s:g} s"
    if done.returncode == 0:
        return ""
    if done.returncode < 0:
        return f"TensorFlow's process was ended by {signal.Signals(-done.returncode).name}"
    last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-_LOG_LINES:]
    return f"TensorFlow's process ended with exit code {done.returncode}: {' | '.join(last)}"


def _settings() -> dict[str, str]:
    """The environment without what would lead another Python to this one's packages."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


def _answer(folder: Path, ended: str) -> dict[str, Any]:
    path = folder / "answer.json"
    answer: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if ended:
        step = answer.get("step")
        raise ConversionError(f"{ended}{f', making {_STEPS.get(step, step)}' if step else ''}")
    for step, reason in answer["refusals"].items():
        raise ConversionError(f"the backend onnx-tf cannot make {_STEPS.get(step, step)} of this model: {reason}")
    return answer


_STEPS = {
    "saved_model": "a SavedModel",
    **{each: f"the {each} file" for each in ("float32", "float16", "dynamic", "int8")},
}
