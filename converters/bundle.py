"""The bundle on disk: the contract between what exports a model and what measures it.

`tkd.export` writes it after `converters.pipeline`; `android_bench` reads it and needs nothing else of this project.
Standard library, numpy and `converters.files` only. Every file is described in docs/formats.md.

    exports/tcresnet8-int8/
      model.tflite  model.onnx  model.json  labels.txt
      golden_input.npy  golden_output.npy                 what the host runtime computed
      eval_inputs.npy   eval_labels.npy   eval_ids.txt    clips that every stage is scored on
      report.md  report.json

Arrays are in the model's own dtype, ready to feed: example `i` of an array is fed as `array[i : i + 1]`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from converters.bundle_contents import (
    Array,
    BundleContents,
    EvaluationPack,
    TensorSpec,
    check_arrays,
    check_classes,
    check_labels,
    only_tensor,
)
from converters.errors import BundleError
from converters.files import sha256_of, whole_folder

__all__ = [
    "FORMAT",
    "Bundle",
    "BundleContents",
    "EvaluationPack",
    "TensorSpec",
    "find_bundles",
    "read_bundle",
    "write_bundle",
]

FORMAT = "tkd.bundle/1"
DOCUMENT = "model.json"
# Every file of a bundle but model.json itself, which holds their hashes.
FILES = (
    "model.tflite",
    "model.onnx",
    "labels.txt",
    "golden_input.npy",
    "golden_output.npy",
    "eval_inputs.npy",
    "eval_labels.npy",
    "eval_ids.txt",
    "report.md",
    "report.json",
)
_PIECES = ("front_end", "ops", "parity", "accuracy", "calibration", "parents", "tools", "git", "data")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bundle:
    """A bundle on disk whose hashes and shapes agreed when it was read.

    Attributes:
        folder: where it is.
        document: the whole content of model.json.
        inputs: the model's inputs (one).
        outputs: the model's outputs (one).
        labels: class names in the order of the logits.
    """

    folder: Path
    document: Mapping[str, Any]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    labels: tuple[str, ...]

    @property
    def name(self) -> str:
        """The bundle's name, for example tcresnet8-int8."""
        return str(self.document["name"])

    @property
    def student(self) -> str:
        """The student's name, for example tcresnet8."""
        return str(self.document["student"])

    @property
    def precision(self) -> str:
        """float32, float16, dynamic or int8."""
        return str(self.document["precision"])

    @property
    def sha256(self) -> str:
        """The SHA-256 of model.tflite."""
        return str(self.document["sha256"])

    @property
    def synthetic(self) -> bool:
        """Whether the data behind its accuracy is synthetic; every table that shows it says so."""
        return bool(self.document["data"]["synthetic"])

    @property
    def model(self) -> Path:
        """The path of model.tflite."""
        return self.folder / "model.tflite"

    def golden(self) -> tuple[Array, Array]:
        """Inputs (examples, *axes) and the outputs that the host runtime computed from them."""
        return _array(self.folder, "golden_input.npy"), _array(self.folder, "golden_output.npy")

    def evaluation(self) -> EvaluationPack:
        """The evaluation pack."""
        return EvaluationPack(
            inputs=_array(self.folder, "eval_inputs.npy"),
            labels=_array(self.folder, "eval_labels.npy"),
            ids=tuple(_lines(self.folder / "eval_ids.txt")),
        )


def write_bundle(folder: Path, contents: BundleContents, *, force: bool = False) -> Bundle:
    """Writes a bundle at `folder`, whole or not at all, and reads it back.

    A bundle with the same parents is overwritten in silence.

    Raises:
        BundleError: `folder` is something else than a bundle or holds files of its owner (even with `force`),
            or it is a bundle with other parents, or a damaged one (without `force`).
    """
    _check_overwrite(folder, contents.parents, force=force)
    report = _json_text(contents.report, "report.json")
    with whole_folder(folder) as partial:
        (partial / "model.tflite").write_bytes(contents.model)
        (partial / "model.onnx").write_bytes(contents.onnx)
        (partial / "labels.txt").write_text("".join(f"{label}\n" for label in contents.labels), encoding="utf-8")
        np.save(partial / "golden_input.npy", contents.golden_input, allow_pickle=False)
        np.save(partial / "golden_output.npy", contents.golden_output, allow_pickle=False)
        np.save(partial / "eval_inputs.npy", contents.evaluation.inputs, allow_pickle=False)
        np.save(partial / "eval_labels.npy", contents.evaluation.labels, allow_pickle=False)
        (partial / "eval_ids.txt").write_text("".join(f"{name}\n" for name in contents.evaluation.ids), "utf-8")
        (partial / "report.md").write_text(contents.report_markdown, encoding="utf-8")
        (partial / "report.json").write_text(report, encoding="utf-8")
        hashes = {name: sha256_of(partial / name) for name in FILES}
        text = _json_text(_document_of(contents, hashes), DOCUMENT)
        (partial / DOCUMENT).write_text(text, encoding="utf-8")
        read_bundle(partial)
    return read_bundle(folder)


def read_bundle(folder: Path) -> Bundle:
    """The bundle at `folder`, after every file's hash and every array's shape and dtype agreed with model.json.

    Raises:
        BundleError: it is missing, incomplete, altered, damaged, or of another version of the format.
    """
    document = _document(folder)
    try:
        bundle = Bundle(
            folder=folder,
            document=document,
            inputs=tuple(_spec(item) for item in document["inputs"]),
            outputs=tuple(_spec(item) for item in document["outputs"]),
            labels=tuple(document["labels"]),
        )
        hashes = {name: str(document["files"][name]) for name in FILES}
        complete = isinstance(document["data"]["synthetic"], bool) and all(
            isinstance(document[key], str) for key in ("name", "student", "precision", "sha256")
        )
    except (KeyError, TypeError, AttributeError) as cause:
        raise BundleError(f"{folder / DOCUMENT} is damaged ({cause!r}); export the model again") from cause
    if not complete or document["sha256"] != hashes["model.tflite"]:
        raise BundleError(f"{folder / DOCUMENT} is damaged (a name, hash or flag is wrong); export the model again")
    for name, expected in hashes.items():
        _check_hash(folder / name, expected)
    _check_bundle(bundle)
    return bundle


def find_bundles(folder: Path) -> list[Bundle]:
    """The bundles directly inside `folder`, by name; none when `folder` is missing.

    Raises:
        BundleError: one of them is damaged or altered.
    """
    if not folder.is_dir():
        return []
    # Half-written folders have hidden names (converters.files); they are no bundles.
    found = sorted(path.parent for path in folder.glob(f"*/{DOCUMENT}") if not path.parent.name.startswith("."))
    return [read_bundle(path) for path in found]


def _check_overwrite(folder: Path, parents: Mapping[str, Any], *, force: bool) -> None:
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir():
        raise BundleError(f"{folder} is in the way: expected a bundle or nothing; choose another --output")
    present = sorted(path.name for path in folder.iterdir())
    foreign = [name for name in present if name not in (*FILES, DOCUMENT)]
    if present and DOCUMENT not in present:
        raise BundleError(f"{folder} is in the way: it is no bundle (no {DOCUMENT}); choose another --output")
    if foreign:
        raise BundleError(f"{folder} holds files that are no part of a bundle: {', '.join(foreign)}; move them away")
    if force or not present:
        return
    before = _document(folder, hint="--force overwrites it").get("parents", {})
    if not isinstance(before, Mapping):
        raise BundleError(f"{folder / DOCUMENT} is damaged (no parents); --force overwrites it")
    after = json.loads(_json_text(parents, "parents"))
    differing = [
        f"{key} {_short(before.get(key))} → {_short(after.get(key))}"
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    ]
    if differing:
        raise BundleError(f"{folder} was made from something else ({'; '.join(differing)}); --force overwrites it")


def _document_of(contents: BundleContents, hashes: Mapping[str, str]) -> dict[str, Any]:
    """The content of model.json; `hashes` maps each of `FILES` to its SHA-256."""
    document: dict[str, Any] = {
        "format": FORMAT,
        "name": contents.name,
        "student": contents.student,
        "precision": contents.precision,
        "sha256": hashes["model.tflite"],
        "inputs": [spec.to_json() for spec in contents.inputs],
        "outputs": [spec.to_json() for spec in contents.outputs],
        "labels": list(contents.labels),
    }
    document |= {piece: dict(getattr(contents, piece)) for piece in _PIECES}
    document["files"] = dict(hashes)
    return document


def _document(folder: Path, hint: str = "export the model again") -> dict[str, Any]:
    """The content of model.json, of a version that this module knows."""
    path = folder / DOCUMENT
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as cause:
        raise BundleError(f"{folder} is no bundle: it has no {DOCUMENT}; tkd-export writes one") from cause
    except ValueError as cause:
        raise BundleError(f"{path} is damaged (not JSON: {cause}); {hint}") from cause
    seen = document.get("format") if isinstance(document, dict) else None
    if seen == FORMAT:
        return cast("dict[str, Any]", document)
    if isinstance(seen, str) and seen.startswith("tkd.bundle/"):
        raise BundleError(f"{folder} has format {seen}, expected {FORMAT}; update this toolkit, or {hint}")
    raise BundleError(f"{path} is no bundle document: format {seen!r}, expected '{FORMAT}'; {hint}")


def _check_bundle(bundle: Bundle) -> None:
    arrays = [
        _array(bundle.folder, name, mapped=True)
        for name in ("golden_input.npy", "golden_output.npy", "eval_inputs.npy")
    ]
    try:
        check_labels(bundle.labels)
        check_arrays(only_tensor(bundle.inputs, "inputs"), only_tensor(bundle.outputs, "outputs"), *arrays)
        pack = EvaluationPack(
            inputs=arrays[2],
            labels=_array(bundle.folder, "eval_labels.npy"),
            ids=tuple(_lines(bundle.folder / "eval_ids.txt")),
        )
        check_classes(len(bundle.labels), pack.labels)
    except BundleError as cause:
        raise BundleError(f"{bundle.folder}: {cause}; export the model again") from cause


def _check_hash(path: Path, expected: str) -> None:
    if not path.is_file():
        raise BundleError(f"{path.parent} misses {path.name}; export the model again")
    seen = sha256_of(path)
    if seen != expected:
        raise BundleError(
            f"{path} was altered after the export: sha256 {seen}, expected {expected}; export the model again"
        )


def _spec(item: Mapping[str, Any]) -> TensorSpec:
    return TensorSpec(
        name=str(item["name"]),
        shape=tuple(int(axis) for axis in item["shape"]),
        dtype=str(item["dtype"]),
        scale=item["scale"],
        zero_point=item["zero_point"],
    )


def _array(folder: Path, name: str, *, mapped: bool = False) -> Array:
    try:
        return cast("Array", np.load(folder / name, mmap_mode="r" if mapped else None, allow_pickle=False))
    except (ValueError, EOFError) as cause:
        raise BundleError(f"{folder / name} is no numpy array ({cause}); export the model again") from cause


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def _json_text(content: Mapping[str, Any], name: str) -> str:
    try:
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False, default=_plain) + "\n"
    except (TypeError, ValueError) as cause:
        raise BundleError(
            f"{name} cannot be written as JSON ({cause}); expected finite numbers, text and lists"
        ) from cause


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"seen a {type(value).__name__}")


def _short(value: object) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 24 else f"{text[:12]}…"
