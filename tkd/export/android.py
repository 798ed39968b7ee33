"""A bundle with its front end inside, as a Kotlin module that an Android project takes up as it is.

    DIR/  build.gradle.kts  README.md  module.json
          src/main         model and labels as assets, Settings.kt with its facts, microphone loop, detector
          src/test         smoothing and threshold, on the computer
          src/androidTest  the bundle's golden vectors, on the phone

The sources are in `tkd/android`; `Settings.kt` and `README.md` are filled in. After `tkd.export.bundles`.
Tested in `tests/tkd/export/test_android.py`.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from converters.bundle import Bundle
from converters.files import sha256_of, whole_folder
from converters.runners import TfliteModel
from tkd.errors import SettingsError

FORMAT = "tkd.android/1"
_SOURCES = Path(__file__).parent.parent / "android"
_DOCUMENT = "module.json"
_KOTLIN = "kotlin/tkd/keywords"
_MODEL = "keywords.tflite"
_HOPS_A_WINDOW = 4
_SMOOTHED_HOPS = 2
_FALSE_ALARMS = 0.01
_OUTPUT_BYTES = {"int8": 1, "float32": 4}


def check_module_folder(folder: Path, *, force: bool) -> None:
    """Passes in silence where a module may be written to `folder`.

    Raises:
        SettingsError: something else is there, or a module that was edited since it was written (without `force`).
    """
    if not folder.exists():
        return
    try:
        document = json.loads((folder / _DOCUMENT).read_text(encoding="utf-8"))
        is_ours = document["format"] == FORMAT
        hashes = dict(document["files"])
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise SettingsError(f"{folder} is there and is no module of ours; give another folder to --android") from cause
    if not is_ours:
        raise SettingsError(f"{folder} has format {document['format']!r}, expected {FORMAT!r}; give another folder")
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {_DOCUMENT}
    edited = [name for name in sorted(there | set(hashes)) if _hash(folder / name) != hashes.get(name)]
    if edited and not force:
        raise SettingsError(
            f"{folder} was edited since it was written ({', '.join(edited[:4])}); give --force to lose that, "
            "or another folder to --android"
        )


def write_module(folder: Path, bundle: Bundle, *, force: bool = False) -> None:
    """Writes the module of a bundle into `folder`, whole or not at all.

    Raises:
        SettingsError: the bundle wants features, which the module does not compute; or see `check_module_folder`.
    """
    check_module_folder(folder, force=force)
    front_end = bundle.document["front_end"]
    if not front_end["in_graph"] or bundle.inputs[0].dtype != "float32":
        raise SettingsError(f"{bundle.name} takes features; a module for Android takes audio: give --input waveform")
    facts = _facts(bundle)
    with whole_folder(folder) as partial:
        shutil.copytree(_SOURCES, partial, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.in", "__pycache__"))
        _fill(_SOURCES / "Settings.kt.in", partial / "src" / "main" / _KOTLIN / "Settings.kt", facts)
        _fill(_SOURCES / "README.md.in", partial / "README.md", facts)
        assets, golden = partial / "src" / "main" / "assets", partial / "src" / "androidTest" / "assets"
        assets.mkdir()
        golden.mkdir()
        shutil.copyfile(bundle.model, assets / _MODEL)
        for name, array in zip(("golden_input.bin", "golden_output.bin"), bundle.golden(), strict=True):
            (golden / name).write_bytes(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
        _write_document(partial, bundle)


def _facts(bundle: Bundle) -> dict[str, str]:
    """What stands in the sources, by the name between two @."""
    given, output = bundle.document["front_end"]["input"], bundle.outputs[0]
    hop = int(given["samples"]) // _HOPS_A_WINDOW
    threshold = _threshold(bundle)
    is_synthetic = bundle.synthetic
    return {
        "NAME": bundle.name,
        "SHA256": bundle.sha256,
        "ASSET": _MODEL,
        "LABELS": ", ".join(json.dumps(label, ensure_ascii=False).replace("$", "\\$") for label in bundle.labels),
        "LABELS_TEXT": ", ".join(bundle.labels),
        "HAS_SEVERAL_LABELS": _kotlin(bundle.evaluation().labels.ndim == 2),
        "SAMPLE_RATE_HZ": str(given["sample_rate_hz"]),
        "SAMPLES": str(given["samples"]),
        "FROM_INT16": repr(float(given["from_int16"])),
        "OUTPUT_IS_INT8": _kotlin(output.dtype == "int8"),
        "OUTPUT_BYTES": str(_OUTPUT_BYTES[output.dtype]),
        "OUTPUT_SCALE": repr(float(output.scale or 1.0)),
        "OUTPUT_ZERO_POINT": str(output.zero_point or 0),
        "HOP_SAMPLES": str(hop),
        "SMOOTHED_HOPS": str(_SMOOTHED_HOPS),
        "REFRACTORY_SAMPLES": str(given["samples"]),
        "THRESHOLD": f"{threshold:.3f}",
        "THRESHOLD_WORDS": f"Of the evaluation pack's wrong keywords, at most {_FALSE_ALARMS:.0%} reach the threshold "
        "by a single run of the model" + (" (SYNTHETIC speech: set it anew on recordings)." if is_synthetic else "."),
        "SYNTHETIC": "\n**Trained or scored on SYNTHETIC speech: try it on recordings before it is used.**\n"
        if is_synthetic
        else "",
    }


def _threshold(bundle: Bundle) -> float:
    """The probability that 1 % of the wrong keywords of the evaluation pack reach, each clip by itself."""
    pack = bundle.evaluation()
    logits = TfliteModel(bundle.model).run(pack.inputs).astype(np.float64)
    if pack.labels.ndim == 2:
        probabilities, is_right = 1 / (1 + np.exp(-logits)), pack.labels > 0
    else:
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = powers / powers.sum(axis=1, keepdims=True)
        is_right = np.eye(len(bundle.labels), dtype=bool)[pack.labels]
    is_keyword = np.array([not label.startswith("_") for label in bundle.labels])
    wrong = np.where(is_right | ~is_keyword, 0.0, probabilities).max(axis=1)
    return float(np.clip(np.ceil(1000 * np.quantile(wrong, 1 - _FALSE_ALARMS)) / 1000, 0.5, 0.999))


def _fill(template: Path, path: Path, facts: dict[str, str]) -> None:
    text = re.sub(r"@([A-Z0-9_]+)@", lambda found: facts[found[1]], template.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")


def _write_document(folder: Path, bundle: Bundle) -> None:
    files = {str(path.relative_to(folder)): _hash(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    document: dict[str, Any] = {
        "format": FORMAT,
        "model": bundle.name,
        "sha256": bundle.sha256,
        "parents": bundle.document["parents"],
        "synthetic": bundle.synthetic,
        "files": files,
    }
    (folder / _DOCUMENT).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _hash(path: Path) -> str | None:
    return sha256_of(path) if path.is_file() else None


def _kotlin(value: bool) -> str:
    return "true" if value else "false"
