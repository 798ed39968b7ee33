"""An ONNX model from anywhere, read with care: the bytes of a file, whole, valid, and of an opset that we know.

Before `converters.graph`. A file may be cut short, refer to other files, or be made to do harm.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]
from onnx import TensorProto, defs, external_data_helper

from converters.errors import ConversionError

OLDEST_OPSET = 11
"""Before it, Pad, Clip, Resize and Slice had attributes where they have inputs now."""

_LARGEST_FILE = 2**31 - 1  # what a protobuf can hold


def load_onnx(path: Path) -> bytes:
    """The ONNX model in a file, as bytes that hold its weights too, for `ConversionRequest(onnx=…)`.

    Args:
        path: of the model; weights that it keeps in other files must lie in its folder or below.

    Raises:
        ConversionError: the file cannot be read, is no valid model, or refers to a file outside its folder.
    """
    try:
        size = path.stat().st_size
        if size > _LARGEST_FILE:
            raise ConversionError(f"{path} has {size:,} bytes; an ONNX model has at most {_LARGEST_FILE:,}")
        content = path.read_bytes()
    except OSError as cause:
        raise ConversionError(f"cannot read the ONNX model {path}: {cause.strerror or cause}") from cause
    model = _parsed(content)
    tensors = [tensor for tensor in _tensors(model.graph) if _is_elsewhere(tensor)]
    if not tensors:
        return content
    folder = path.parent.resolve()
    for tensor in tensors:
        _check_location(tensor, folder)
    try:
        external_data_helper.load_external_data_for_model(model, str(folder))
        whole: bytes = model.SerializeToString()
    except (OSError, ValueError, EncodeError, onnx.checker.ValidationError) as cause:
        raise ConversionError(f"the weights that {path} keeps in other files cannot be read: {cause}") from cause
    return whole


def read_model(content: bytes) -> onnx.ModelProto:
    """The ONNX model in `content`, checked.

    Raises:
        ConversionError: the bytes are no ONNX model, one that breaks ONNX's rules, one of an opset that is too old or
            too new, or one whose weights are in other files.
    """
    model = _parsed(content)
    elsewhere = next((each for each in _tensors(model.graph) if _is_elsewhere(each)), None)
    if elsewhere is not None:
        raise ConversionError(
            f"the model keeps '{elsewhere.name}' in another file; read it with converters.onnx_file.load_onnx, which "
            "brings such weights in"
        )
    _check_opset(model)
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as cause:
        raise ConversionError(f"not a valid ONNX model ({len(content):,} bytes): {cause}") from cause
    return model


def _parsed(content: bytes) -> onnx.ModelProto:
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError as cause:
        raise ConversionError(
            f"not a valid ONNX model ({len(content):,} bytes): {cause}; the file is no ONNX model or was cut short"
        ) from cause
    if not model.graph.node:
        raise ConversionError(f"not a valid ONNX model ({len(content):,} bytes): it has no operator")
    return model


def _tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    """Every tensor that a graph stores, in the bodies of its nodes too."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield attribute.t
            elif attribute.type == onnx.AttributeProto.GRAPH:
                yield from _tensors(attribute.g)


def _check_opset(model: onnx.ModelProto) -> None:
    newest = defs.onnx_opset_version()
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx") and not OLDEST_OPSET <= opset.version <= newest:
            advice = "export the model again with opset_version=17"
            if opset.version > newest:
                advice += ", or install a newer onnx"
            raise ConversionError(
                f"the model has opset {opset.version}; expected {OLDEST_OPSET} to {newest} (onnx {onnx.__version__}): "
                f"{advice}"
            )


def _is_elsewhere(tensor: TensorProto) -> bool:
    return bool(tensor.data_location == TensorProto.EXTERNAL)


def _check_location(tensor: TensorProto, folder: Path) -> None:
    location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    target = (folder / location).resolve()
    if not location or not target.is_relative_to(folder):
        raise ConversionError(
            f"the model keeps '{tensor.name}' in '{location}', outside of its folder; copy the file beside the model"
        )
    if not target.is_file():
        raise ConversionError(f"the model keeps '{tensor.name}' in '{location}', which is not in {folder}")
