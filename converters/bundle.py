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

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from converters.bundle_folder import (
    DOCUMENT,
    bundle_folders,
    check_hash,
    check_overwrite,
    is_stream,
    json_text,
    read_array,
    read_document,
    read_lines,
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
        return read_array(self.folder, "golden_input.npy"), read_array(self.folder, "golden_output.npy")

    def evaluation(self) -> EvaluationPack:
        """The evaluation pack."""
        return EvaluationPack(
            inputs=read_array(self.folder, "eval_inputs.npy"),
            labels=read_array(self.folder, "eval_labels.npy"),
            ids=tuple(read_lines(self.folder / "eval_ids.txt")),
        )


def write_bundle(folder: Path, contents: BundleContents, *, force: bool = False) -> Bundle:
    """Writes a bundle at `folder`, whole or not at all, and reads it back.

    A bundle with the same parents is overwritten in silence.

    Raises:
        BundleError: `folder` is something else than a bundle or holds files of its owner (even with `force`),
            or it is a bundle with other parents, or a damaged one (without `force`).
    """
    check_overwrite(folder, contents.parents, FILES, FORMAT, force=force)
    report = json_text(contents.report, "report.json")
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
        text = json_text(_document_of(contents, hashes), DOCUMENT)
        (partial / DOCUMENT).write_text(text, encoding="utf-8")
        read_bundle(partial)
    return read_bundle(folder)


def read_bundle(folder: Path) -> Bundle:
    """The bundle at `folder`, after every file's hash and every array's shape and dtype agreed with model.json.

    Raises:
        BundleError: it is missing, incomplete, altered, damaged, or of another version of the format.
    """
    document = read_document(folder, FORMAT)
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
        check_hash(folder / name, expected)
    _check_bundle(bundle)
    return bundle


def find_bundles(folder: Path) -> list[Bundle]:
    """The bundles directly inside `folder`, by name, without those of streams; none when `folder` is missing.

    Raises:
        BundleError: one of them is damaged or altered.
    """
    if not folder.is_dir():
        return []
    return [read_bundle(path) for path in bundle_folders(folder) if not is_stream(path)]


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


def _check_bundle(bundle: Bundle) -> None:
    arrays = [
        read_array(bundle.folder, name, mapped=True)
        for name in ("golden_input.npy", "golden_output.npy", "eval_inputs.npy")
    ]
    try:
        check_labels(bundle.labels)
        check_arrays(only_tensor(bundle.inputs, "inputs"), only_tensor(bundle.outputs, "outputs"), *arrays)
        pack = EvaluationPack(
            inputs=arrays[2],
            labels=read_array(bundle.folder, "eval_labels.npy"),
            ids=tuple(read_lines(bundle.folder / "eval_ids.txt")),
        )
        check_classes(len(bundle.labels), pack.labels)
    except BundleError as cause:
        raise BundleError(f"{bundle.folder}: {cause}; export the model again") from cause


def _spec(item: Mapping[str, Any]) -> TensorSpec:
    return TensorSpec(
        name=str(item["name"]),
        shape=tuple(int(axis) for axis in item["shape"]),
        dtype=str(item["dtype"]),
        scale=item["scale"],
        zero_point=item["zero_point"],
    )
