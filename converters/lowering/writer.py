"""A `Model` packed into a TFLite flatbuffer; the last step of the lowering.

The schema's classes come with ai-edge-litert; TensorFlow is not needed.
The same model gives the same bytes, every time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from converters.lowering.operators import OPERATORS, version_of
from converters.lowering.packing import Kind, Packer, Place
from converters.lowering.records import Model, Operator, Quantization, Tensor

FILE_IDENTIFIER = b"TFL3"
_SCHEMA_VERSION = 3
BUFFER_ALIGNMENT = 16  # the engine reads weights in place, with vector loads
_LAST_DEPRECATED_CODE = 127
# The slots of the tables' fields, from schema.fbs of TensorFlow Lite.
_MODEL_VERSION, _MODEL_CODES, _MODEL_SUBGRAPHS, _MODEL_DESCRIPTION, _MODEL_BUFFERS = range(5)
_MODEL_METADATA, _MODEL_SIGNATURES = 6, 7
_SUBGRAPH_TENSORS, _SUBGRAPH_INPUTS, _SUBGRAPH_OUTPUTS, _SUBGRAPH_OPERATORS, _SUBGRAPH_NAME = range(5)
_TENSOR_SHAPE, _TENSOR_TYPE, _TENSOR_BUFFER, _TENSOR_NAME, _TENSOR_QUANTIZATION = range(5)
_OPERATOR_CODE, _OPERATOR_INPUTS, _OPERATOR_OUTPUTS, _OPERATOR_OPTIONS_TYPE, _OPERATOR_OPTIONS = range(5)
_CODE_DEPRECATED, _CODE_VERSION, _CODE_BUILTIN = 0, 2, 3
_QUANTIZATION_SCALE, _QUANTIZATION_ZERO_POINT, _QUANTIZATION_AXIS = 2, 3, 6
_SIGNATURE_INPUTS, _SIGNATURE_OUTPUTS, _SIGNATURE_KEY = range(3)
_TENSOR_MAP_NAME, _TENSOR_MAP_INDEX = 0, 1
_METADATA_NAME, _METADATA_BUFFER = 0, 1
_BUFFER_DATA = 0

_ENUMERATIONS = {
    "fusedActivationFunction": schema.ActivationFunctionType,
    "padding": schema.Padding,
}


def write_model(
    model: Model, *, description: str, signature: str = "serving_default", metadata: Mapping[str, bytes] | None = None
) -> bytes:
    """The TFLite file of `model`.

    Args:
        model: checked by the lowering or the quantizer.
        description: who made it, in the file's description field.
        signature: the name under which runtimes find inputs and outputs by name.
        metadata: further buffers, by the name under which readers look for them.
    """
    packer = Packer()
    buffers = _Buffers()
    codes = sorted(
        {(operator.code, version_of(operator, part)) for part in model.parts() for operator in part.operators}
    )
    # What comes first in the file is written last, so that small and large tables stay together.
    subgraphs = [
        _subgraph(packer, part, "main" if place == 0 else f"step{place}", codes, buffers)
        for place, part in enumerate(model.parts())
    ]
    notes = [_metadata(packer, name, content, buffers) for name, content in (metadata or {}).items()]
    fields: list[tuple[int, Kind, int]] = [
        (_MODEL_VERSION, "I", _SCHEMA_VERSION),
        (_MODEL_CODES, "->", packer.places([_code(packer, code, version) for code, version in codes])),
        (_MODEL_SUBGRAPHS, "->", packer.places(subgraphs)),
        (_MODEL_DESCRIPTION, "->", packer.string(description)),
        (_MODEL_BUFFERS, "->", buffers.packed(packer)),
        (_MODEL_SIGNATURES, "->", packer.places([_signature(packer, model, signature)])),
    ]
    if notes:
        fields.append((_MODEL_METADATA, "->", packer.places(notes)))
    return packer.finish(packer.table(*fields), FILE_IDENTIFIER, BUFFER_ALIGNMENT)


class _Buffers:
    """The buffers of a file; content that several tensors have is stored once."""

    def __init__(self) -> None:
        self._places: dict[bytes, int] = {}

    def place_of(self, content: npt.NDArray[Any]) -> int:
        """The index of the buffer with this content; that of index 0 is empty."""
        return self._places.setdefault(content.tobytes(), len(self._places) + 1)

    def packed(self, packer: Packer) -> Place:
        """Writes them."""
        contents = [np.frombuffer(content, np.uint8) for content in self._places]
        starts = [packer.vector(each, alignment=BUFFER_ALIGNMENT, is_shared=False) for each in contents]
        return packer.places([packer.table(), *(packer.table((_BUFFER_DATA, "->", start)) for start in starts)])


def _subgraph(packer: Packer, model: Model, name: str, codes: Sequence[tuple[str, int]], buffers: _Buffers) -> Place:
    indices = {name: index for index, name in enumerate(model.tensors)}
    places = {code: index for index, code in enumerate(codes)}
    operators = [_operator(packer, operator, model, places, indices) for operator in model.operators]
    tensors = [_tensor(packer, tensor, buffers) for tensor in model.tensors.values()]
    return packer.table(
        (_SUBGRAPH_TENSORS, "->", packer.places(tensors)),
        (_SUBGRAPH_INPUTS, "->", _indices(packer, model.inputs, indices)),
        (_SUBGRAPH_OUTPUTS, "->", _indices(packer, model.outputs, indices)),
        (_SUBGRAPH_OPERATORS, "->", packer.places(operators)),
        (_SUBGRAPH_NAME, "->", packer.string(name)),
    )


def _operator(
    packer: Packer,
    operator: Operator,
    model: Model,
    places: Mapping[tuple[str, int], int],
    indices: Mapping[str, int],
) -> Place:
    fields: list[tuple[int, Kind, int]] = [
        (_OPERATOR_CODE, "I", places[operator.code, version_of(operator, model)]),
        (_OPERATOR_INPUTS, "->", _indices(packer, operator.inputs, indices)),
        (_OPERATOR_OUTPUTS, "->", _indices(packer, operator.outputs, indices)),
    ]
    table = OPERATORS[operator.code].options
    if table:
        options = {name: tuple(value) if isinstance(value, list) else value for name, value in operator.options.items()}
        packed = _options(table, tuple(sorted(options.items())))
        fields.append((_OPERATOR_OPTIONS, "->", packer.embedded(packed)))
        fields.append((_OPERATOR_OPTIONS_TYPE, "B", getattr(schema.BuiltinOptions, table)))
    return packer.table(*fields)


def _indices(packer: Packer, names: Sequence[str], indices: Mapping[str, int]) -> Place:
    return packer.vector(np.array([indices[name] for name in names], np.int32))


@cache
def _options(table: str, options: tuple[tuple[str, Any], ...]) -> bytes:
    """An options table as a flatbuffer of its own, by the schema's class."""
    filled = getattr(schema, f"{table}T")()
    for name, value in options:
        if not hasattr(filled, name):
            raise AssertionError(f"{table} has no field {name}")
        setattr(filled, name, getattr(_ENUMERATIONS[name], value) if name in _ENUMERATIONS else value)
    builder = flatbuffers.Builder(64)
    builder.Finish(filled.Pack(builder))
    return bytes(builder.Output())


def _tensor(packer: Packer, tensor: Tensor, buffers: _Buffers) -> Place:
    fields: list[tuple[int, Kind, int]] = [
        (_TENSOR_SHAPE, "->", packer.vector(np.array(tensor.shape, np.int32))),
        (_TENSOR_NAME, "->", packer.string(tensor.name)),
    ]
    if tensor.data is not None:
        content = np.ascontiguousarray(tensor.data, dtype=tensor.dtype)
        fields.append((_TENSOR_BUFFER, "I", buffers.place_of(content)))
    if tensor.quantization is not None:
        fields.append((_TENSOR_QUANTIZATION, "->", _quantization(packer, tensor.quantization)))
    fields.append((_TENSOR_TYPE, "b", getattr(schema.TensorType, tensor.dtype.upper())))
    return packer.table(*fields)


def _metadata(packer: Packer, name: str, content: bytes, buffers: _Buffers) -> Place:
    buffer = buffers.place_of(np.frombuffer(content, np.uint8))
    return packer.table((_METADATA_NAME, "->", packer.string(name)), (_METADATA_BUFFER, "I", buffer))


def _quantization(packer: Packer, quantization: Quantization) -> Place:
    zero_points = quantization.zero_points.astype(np.int64)
    return packer.table(
        (_QUANTIZATION_SCALE, "->", packer.vector(quantization.scales.astype(np.float32))),
        (_QUANTIZATION_ZERO_POINT, "->", packer.vector(zero_points, alignment=zero_points.itemsize)),
        (_QUANTIZATION_AXIS, "i", quantization.axis),
    )


def _code(packer: Packer, code: str, version: int) -> Place:
    number = getattr(schema.BuiltinOperator, code)
    return packer.table(
        (_CODE_VERSION, "i", version),
        (_CODE_BUILTIN, "i", number),
        (_CODE_DEPRECATED, "b", min(number, _LAST_DEPRECATED_CODE)),
    )


def _signature(packer: Packer, model: Model, name: str) -> Place:
    indices = {name: index for index, name in enumerate(model.tensors)}
    inputs, outputs = (
        packer.places([_tensor_map(packer, each, indices[each]) for each in names])
        for names in (model.inputs, model.outputs)
    )
    return packer.table(
        (_SIGNATURE_INPUTS, "->", inputs),
        (_SIGNATURE_OUTPUTS, "->", outputs),
        (_SIGNATURE_KEY, "->", packer.string(name)),
    )


def _tensor_map(packer: Packer, name: str, index: int) -> Place:
    return packer.table((_TENSOR_MAP_NAME, "->", packer.string(name)), (_TENSOR_MAP_INDEX, "I", index))
