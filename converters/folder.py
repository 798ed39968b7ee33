"""Conversions of models that are no students: calibration clips from a file, and a folder with what came out.

    <output>/<name>/  model-float32.tflite  model-int8.tflite …  model.onnx  report.md  report.json

After `converters.pipeline`; used by `tkd-export --onnx`. Tested in `tests/converters/test_folder.py`.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from converters.errors import BundleError, ConversionError
from converters.files import whole_folder
from converters.report import render_report, report_document
from converters.request import Conversion
from converters.runners import Array

_REPORT = "report.json"
_FORMAT = "tkd.conversion/1"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clips:
    """What a calibration file holds.

    Attributes:
        calibration: shape (clips, *axes of the model's input).
        check: further clips, for parity; None where the file has none.
    """

    calibration: Array
    check: Array | None = None


def read_clips(path: Path) -> Clips:
    """The clips of an .npz file: `calibration` and perhaps `check`, or one array of any name, or of an .npy file.

    Raises:
        ConversionError: the file is missing or no such file, or does not say which of its arrays is meant.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        arrays = {"calibration": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except FileNotFoundError as cause:
        raise ConversionError(f"there is no calibration file {path}") from cause
    except (ValueError, EOFError, zipfile.BadZipFile) as cause:
        raise ConversionError(f"{path} is no .npz file of plain arrays: {cause}") from cause
    if len(arrays) == 1:
        return Clips(calibration=next(iter(arrays.values())))
    if "calibration" not in arrays or set(arrays) - {"calibration", "check"}:
        raise ConversionError(
            f"{path} holds {', '.join(sorted(arrays)) or 'no array'}; expected 'calibration' of shape (clips, *axes), "
            "and 'check' if you like: np.savez(path, calibration=clips)"
        )
    return Clips(calibration=arrays["calibration"], check=arrays.get("check"))


def write_conversion(folder: Path, conversion: Conversion, *, title: str, force: bool = False) -> tuple[Path, ...]:
    """Writes the files and reports of a conversion into `folder`, whole or not at all.

    A folder of the same ONNX model is overwritten in silence.

    Returns:
        The TFLite files, float32 first.

    Raises:
        BundleError: `folder` is something else, or another model's (without `force`).
    """
    document = {**report_document(conversion), "name": title}
    _check_overwrite(folder, document["onnx"]["sha256"], force=force)
    with whole_folder(folder) as partial:
        for precision, file in conversion.files.items():
            (partial / f"model-{precision}.tflite").write_bytes(file.content)
        (partial / "model.onnx").write_bytes(conversion.onnx)
        (partial / "report.md").write_text(render_report(conversion, title=title), encoding="utf-8")
        (partial / _REPORT).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return tuple(folder / f"model-{precision}.tflite" for precision in conversion.files)


def _check_overwrite(folder: Path, sha256: str, *, force: bool) -> None:
    if not folder.exists():
        return
    try:
        document = json.loads((folder / _REPORT).read_text(encoding="utf-8"))
        is_ours = document["format"] == _FORMAT
        is_same = is_ours and document["onnx"]["sha256"] == sha256
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise BundleError(f"{folder} is there and is no conversion of ours; give another --output") from cause
    if not is_ours or not (is_same or force):
        raise BundleError(f"{folder} holds the conversion of another model; give --force or another --output")
