"""A model with its front end inside, as a Kotlin module that an Android project takes up as it is.

    DIR/  build.gradle.kts  README.md  module.json
          src/main         model and labels as assets, Settings.kt with its facts, microphone loop, detector
          src/test         what needs no phone, on the computer
          src/androidTest  the golden vectors, on the phone

Sources in `tkd/android`: `common`, and `whole` for a bundle, run on the whole window at every hop, or `stream` for one
that carries its states on. `Settings.kt` and `README.md` are filled in. After `tkd.export.bundles` and
`tkd.export.streams`.
Tested in `tests/tkd/export/test_android.py`.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from converters.bundle import Bundle
from converters.files import sha256_of, whole_folder
from converters.runners import TfliteModel
from converters.stream_bundle import StreamBundle
from tkd.errors import SettingsError
from tkd.export.threshold import FALSE_ALARMS, threshold_of

FORMAT = "tkd.android/1"
_SOURCES = Path(__file__).parent.parent / "android"
_DOCUMENT = "module.json"
_KOTLIN = "kotlin/tkd/keywords"
_MODEL = "keywords.tflite"
_HOPS_A_WINDOW = 4
_SMOOTHED_HOPS = 2
_SMOOTHED_S, _REFRACTORY_S = 0.1, 1.0
"""Of a stream, as `tkd-eval --stream` listens."""
_BYTES = {"int8": 1, "float32": 4}
_GOLDEN_SHARE, _ROUNDED_SHARE = 1e-4, 0.02
"""How far a stream's float logits may be elsewhere; the second where float data meet int8 weights in a recurrence."""


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


def write_module(folder: Path, bundle: Bundle | StreamBundle, *, force: bool = False) -> None:
    """Writes the module of a bundle or a stream into `folder`, whole or not at all.

    Raises:
        SettingsError: it wants features, which the module does not compute; or see `check_module_folder`.
    """
    check_module_folder(folder, force=force)
    given = bundle.input if isinstance(bundle, StreamBundle) else bundle.inputs[0]
    if not bundle.document["front_end"]["in_graph"] or given.dtype != "float32":
        raise SettingsError(f"{bundle.name} takes features; a module for Android takes audio: give --input waveform")
    if isinstance(bundle, StreamBundle):
        form, own = _SOURCES / "stream", _of_stream(bundle)
    else:
        form, own = _SOURCES / "whole", _of_whole(bundle)
    facts = {**_common(bundle), **own}
    with whole_folder(folder) as partial:
        for sources in (_SOURCES / "common", form):
            shutil.copytree(sources, partial, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.in", "__pycache__"))
        _fill(form / "Settings.kt.in", partial / "src" / "main" / _KOTLIN / "Settings.kt", facts)
        _fill(_SOURCES / "common" / "README.md.in", partial / "README.md", facts)
        assets, golden = partial / "src" / "main" / "assets", partial / "src" / "androidTest" / "assets"
        assets.mkdir()
        golden.mkdir()
        shutil.copyfile(bundle.model, assets / _MODEL)
        for name, array in zip(("golden_input.bin", "golden_output.bin"), bundle.golden(), strict=True):
            (golden / name).write_bytes(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
        _write_document(partial, bundle)


def _common(bundle: Bundle | StreamBundle) -> dict[str, str]:
    """What stands in the sources of both forms, by the name between two @."""
    given = bundle.document["front_end"]["input"]
    output = bundle.logits if isinstance(bundle, StreamBundle) else bundle.outputs[0]
    return {
        "NAME": bundle.name,
        "SHA256": bundle.sha256,
        "ASSET": _MODEL,
        "LABELS": ", ".join(map(_text, bundle.labels)),
        "LABELS_TEXT": ", ".join(bundle.labels),
        "SAMPLE_RATE_HZ": str(given["sample_rate_hz"]),
        "FROM_INT16": repr(float(given["from_int16"])),
        "OUTPUT_IS_INT8": _kotlin(output.dtype == "int8"),
        "OUTPUT_BYTES": str(_BYTES[output.dtype]),
        "OUTPUT_SCALE": repr(float(output.scale or 1.0)),
        "OUTPUT_ZERO_POINT": str(output.zero_point or 0),
        "SYNTHETIC": "\n**Trained or scored on SYNTHETIC speech: try it on recordings before it is used.**\n"
        if bundle.synthetic
        else "",
    }


def _of_whole(bundle: Bundle) -> dict[str, str]:
    samples, pack = int(bundle.document["front_end"]["input"]["samples"]), bundle.evaluation()
    threshold = threshold_of(TfliteModel(bundle.model).run(pack.inputs), pack.labels, bundle.labels)
    hop = samples // _HOPS_A_WINDOW
    return {
        "HAS_SEVERAL_LABELS": _kotlin(pack.labels.ndim == 2),
        "SAMPLES": str(samples),
        "HOP_SAMPLES": str(hop),
        "SMOOTHED_HOPS": str(_SMOOTHED_HOPS),
        "REFRACTORY_SAMPLES": str(samples),
        "HOW_IT_RUNS": f"Runs the model on the last {samples} samples every {hop} samples, on one thread.",
        **_told(threshold, "by a single run of the model", is_synthetic=bundle.synthetic),
    }


def _of_stream(bundle: StreamBundle) -> dict[str, str]:
    hop, states = bundle.hop, bundle.states
    facts = [
        f"        StateFacts({_text(each.past.name)}, {_text(each.output)}, "
        f"bytes = {math.prod(each.past.shape) * _BYTES[each.past.dtype]}, zero = {each.past.zero_point or 0})"
        for each in states
    ]
    is_exact = bundle.logits.dtype == "int8" or bundle.precision == "float32"
    return {
        "HAS_SEVERAL_LABELS": _kotlin(False),
        "HOP_INPUT": bundle.input.name,
        "HOP_SAMPLES": str(hop.samples),
        "WARM_UP_HOPS": str(hop.warm_up_hops),
        "STATES": ",\n".join(facts),
        "GOLDEN_SHARE": repr(_GOLDEN_SHARE if is_exact else _ROUNDED_SHARE),
        "SMOOTHED_HOPS": str(max(1, round(1000 * _SMOOTHED_S / hop.milliseconds))),
        "REFRACTORY_SAMPLES": str(round(_REFRACTORY_S * hop.sample_rate_hz)),
        "HOW_IT_RUNS": f"Feeds the model each hop of {hop.samples} samples once, on one thread, with "
        f"{len(states)} states that it carries on from hop to hop.",
        **_told(
            float(bundle.document["accuracy"]["threshold"]),
            "at their end, with the states that the clip before left",
            is_synthetic=bundle.synthetic,
        ),
    }


def _told(threshold: float, when: str, *, is_synthetic: bool) -> dict[str, str]:
    anew = " (SYNTHETIC speech: set it anew on recordings)." if is_synthetic else "."
    words = f"Of the evaluation pack's wrong keywords, at most {FALSE_ALARMS:.0%} reach the threshold {when}{anew}"
    return {"THRESHOLD": f"{threshold:.3f}", "THRESHOLD_WORDS": words}


def _text(value: str) -> str:
    """A string of Kotlin."""
    return json.dumps(value, ensure_ascii=False).replace("$", "\\$")


def _fill(template: Path, path: Path, facts: dict[str, str]) -> None:
    text = re.sub(r"@([A-Z0-9_]+)@", lambda found: facts[found[1]], template.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")


def _write_document(folder: Path, bundle: Bundle | StreamBundle) -> None:
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
