"""A `Model` packed into a TFLite flatbuffer; the last step of the lowering.

The schema's classes come with ai-edge-litert; TensorFlow is not needed.
The same model gives the same bytes, every time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from converters.lowering.operators import OPERATORS, version_of
from converters.lowering.records import Model, Operator, Quantization, Tensor

FILE_IDENTIFIER = b"TFL3"
_SCHEMA_VERSION = 3
_BUFFER_ALIGNMENT = 16  # the engine reads weights in place, with vector loads
_LAST_DEPRECATED_CODE = 127
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
    buffers = _Buffers()
    codes = sorted(
        {(operator.code, version_of(operator, part)) for part in model.parts() for operator in part.operators}
    )
    subgraphs = [
        _subgraph(part, "main" if place == 0 else f"step{place}", codes, buffers)
        for place, part in enumerate(model.parts())
    ]
    indices = {name: index for index, name in enumerate(model.tensors)}
    packed_model = schema.ModelT()
    packed_model.version = _SCHEMA_VERSION
    packed_model.description = description
    packed_model.operatorCodes = [_code(code, version) for code, version in codes]
    packed_model.subgraphs = subgraphs
    packed_model.metadata = [_metadata(name, content, buffers) for name, content in (metadata or {}).items()]
    packed_model.buffers = buffers.packed
    packed_model.signatureDefs = [_signature(model, indices, signature)]
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(packed_model.Pack(builder), file_identifier=FILE_IDENTIFIER)
    return bytes(builder.Output())


class AlignedBuffer(schema.BufferT):  # type: ignore[misc]
    """A buffer whose data start at a multiple of 16 bytes, as the schema's `force_align` asks.

    The generated Python code ignores that attribute.
    """

    def Pack(self, builder: Any) -> int:  # noqa: N802 - the schema's own name
        """Writes the buffer; its offset."""
        start = None
        if self.data is not None:
            content = self.data.tobytes()
            builder.StartVector(1, len(content), _BUFFER_ALIGNMENT)
            builder.head -= len(content)
            builder.Bytes[builder.head : builder.head + len(content)] = content
            start = builder.EndVector()
        schema.BufferStart(builder)
        if start is not None:
            schema.BufferAddData(builder, start)
        packed: int = schema.BufferEnd(builder)
        return packed


class _Buffers:
    """The buffers of a file; content that several tensors have is stored once."""

    def __init__(self) -> None:
        self.packed = [AlignedBuffer()]
        self._places: dict[bytes, int] = {}

    def place_of(self, content: npt.NDArray[Any]) -> int:
        """The index of the buffer with this content."""
        key = content.tobytes()
        if key not in self._places:
            self._places[key] = len(self.packed)
            buffer = AlignedBuffer()
            buffer.data = content
            self.packed.append(buffer)
        return self._places[key]


def _subgraph(model: Model, name: str, codes: Sequence[tuple[str, int]], buffers: _Buffers) -> Any:
    indices = {name: index for index, name in enumerate(model.tensors)}
    places = {code: index for index, code in enumerate(codes)}
    packed = schema.SubGraphT()
    packed.name = name
    packed.tensors = [_tensor(tensor, buffers) for tensor in model.tensors.values()]
    packed.inputs = [indices[each] for each in model.inputs]
    packed.outputs = [indices[each] for each in model.outputs]
    packed.operators = [_operator(operator, model, places, indices) for operator in model.operators]
    return packed


def _operator(
    operator: Operator, model: Model, places: Mapping[tuple[str, int], int], indices: Mapping[str, int]
) -> Any:
    packed = schema.OperatorT()
    packed.opcodeIndex = places[operator.code, version_of(operator, model)]
    packed.inputs = [indices[name] for name in operator.inputs]
    packed.outputs = [indices[name] for name in operator.outputs]
    _set_options(packed, OPERATORS[operator.code].options, operator.options)
    return packed


def _tensor(tensor: Tensor, buffers: _Buffers) -> Any:
    packed = schema.TensorT()
    packed.name = tensor.name
    packed.shape = np.array(tensor.shape, dtype=np.int32)
    packed.type = getattr(schema.TensorType, tensor.dtype.upper())
    if tensor.data is not None:
        packed.buffer = buffers.place_of(np.ascontiguousarray(tensor.data, dtype=tensor.dtype))
    if tensor.quantization is not None:
        packed.quantization = _quantization(tensor.quantization)
    return packed


def _metadata(name: str, content: bytes, buffers: _Buffers) -> Any:
    packed = schema.MetadataT()
    packed.name = name
    packed.buffer = buffers.place_of(np.frombuffer(content, np.uint8))
    return packed


def _quantization(quantization: Quantization) -> Any:
    packed = schema.QuantizationParametersT()
    packed.scale = quantization.scales.astype(np.float32)
    packed.zeroPoint = quantization.zero_points.astype(np.int64)
    packed.quantizedDimension = quantization.axis
    return packed


def _code(code: str, version: int) -> Any:
    packed = schema.OperatorCodeT()
    packed.builtinCode = getattr(schema.BuiltinOperator, code)
    packed.deprecatedBuiltinCode = min(packed.builtinCode, _LAST_DEPRECATED_CODE)
    packed.version = version
    return packed


def _set_options(packed: Any, table: str, options: Mapping[str, Any]) -> None:
    if not table:
        return
    filled = getattr(schema, f"{table}T")()
    for name, value in options.items():
        if not hasattr(filled, name):
            raise AssertionError(f"{table} has no field {name}")
        setattr(filled, name, getattr(_ENUMERATIONS[name], value) if name in _ENUMERATIONS else value)
    packed.builtinOptionsType = getattr(schema.BuiltinOptions, table)
    packed.builtinOptions = filled


def _signature(model: Model, indices: Mapping[str, int], name: str) -> Any:
    packed = schema.SignatureDefT()
    packed.signatureKey = name
    packed.inputs = [_tensor_map(each, indices[each]) for each in model.inputs]
    packed.outputs = [_tensor_map(each, indices[each]) for each in model.outputs]
    return packed


def _tensor_map(name: str, index: int) -> Any:
    packed = schema.TensorMapT()
    packed.name = name
    packed.tensorIndex = index
    return packed
