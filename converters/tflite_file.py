"""A TFLite file of any origin read back into a `Model`: what operators it has, and what they compute in.

The counterpart of `converters.lowering.writer`; files of other converters are counted and reported through it.
Tested in `tests/converters/test_tflite_file.py`.
"""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from converters.errors import ConversionError
from converters.lowering.records import Array, Model, Operator, Quantization, Tensor
from converters.lowering.writer import BUFFER_ALIGNMENT, FILE_IDENTIFIER

_ACTIVATIONS = {value: name for name, value in vars(schema.ActivationFunctionType).items() if not name.startswith("_")}
_CODES = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
_TYPES = {value: name.lower() for name, value in vars(schema.TensorType).items() if not name.startswith("_")}


def read_tflite(content: bytes) -> tuple[Model, dict[str, int]]:
    """The model in a TFLite file, its first subgraph with the others as steps, and what versions it asks for.

    Names that a file uses for several tensors are told apart by their index. Of an operator's options only the fused
    activation is read.

    Returns:
        The model, and the highest version of each operator by TFLite's name.

    Raises:
        ConversionError: it is no TFLite file.
    """
    if content[4:8] != FILE_IDENTIFIER:
        raise ConversionError(f"no TFLite file: it starts with {content[:8]!r}; expected TFL3 at byte 4")
    packed = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    codes = [_code_of(code) for code in packed.operatorCodes]
    versions: dict[str, int] = {}
    for name, code in zip(codes, packed.operatorCodes, strict=True):
        versions[name] = max(versions.get(name, 1), code.version)
    first, *others = (_subgraph(each, codes, packed.buffers) for each in packed.subgraphs)
    whole = Model(
        tensors=first.tensors,
        operators=first.operators,
        inputs=first.inputs,
        outputs=first.outputs,
        steps=tuple(others),
    )
    return whole, dict(sorted(versions.items()))


def add_metadata(content: bytes, name: str, buffer: bytes) -> bytes:
    """The file with one more metadata buffer; buffers keep the alignment that engines need."""
    packed = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    packed.buffers = [_aligned(each.data) for each in packed.buffers]
    packed.buffers.append(_aligned(np.frombuffer(buffer, np.uint8)))
    entry = schema.MetadataT()
    entry.name, entry.buffer = name, len(packed.buffers) - 1
    packed.metadata = [*(packed.metadata or ()), entry]
    builder = flatbuffers.Builder(len(content) + len(buffer))
    builder.Finish(packed.Pack(builder), file_identifier=FILE_IDENTIFIER)
    return bytes(builder.Output())


def _aligned(data: Any) -> _AlignedBuffer:
    buffer = _AlignedBuffer()
    buffer.data = None if data is None or len(data) == 0 else np.asarray(data, np.uint8)
    return buffer


class _AlignedBuffer(schema.BufferT):  # type: ignore[misc]
    """A buffer whose data start at a multiple of 16 bytes, as the schema's `force_align` asks.

    The generated Python code ignores that attribute.
    """

    def Pack(self, builder: Any) -> int:  # noqa: N802 - the schema's own name
        """Writes the buffer; its offset."""
        start = None
        if self.data is not None:
            content = self.data.tobytes()
            builder.StartVector(1, len(content), BUFFER_ALIGNMENT)
            builder.head -= len(content)
            builder.Bytes[builder.head : builder.head + len(content)] = content
            start = builder.EndVector()
        schema.BufferStart(builder)
        if start is not None:
            schema.BufferAddData(builder, start)
        packed: int = schema.BufferEnd(builder)
        return packed


def _subgraph(packed: Any, codes: list[str], buffers: list[Any]) -> Model:
    names = _names([each.name.decode() for each in packed.tensors])
    tensors = {name: _tensor(name, each, buffers) for name, each in zip(names, packed.tensors, strict=True)}
    operators = tuple(
        Operator(
            code=codes[each.opcodeIndex],
            # An optional input that is left out has index -1.
            inputs=tuple(names[index] for index in each.inputs if index >= 0),
            outputs=tuple(names[index] for index in each.outputs),
            options=_options(each.builtinOptions),
        )
        for each in packed.operators or ()
    )
    return Model(
        tensors=tensors,
        operators=operators,
        inputs=tuple(names[index] for index in packed.inputs),
        outputs=tuple(names[index] for index in packed.outputs),
    )


def _names(given: list[str]) -> list[str]:
    taken: set[str] = set()
    names = []
    for index, name in enumerate(given):
        names.append(f"{name}#{index}" if name in taken else name)
        taken.add(name)
    return names


def _code_of(code: Any) -> str:
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    if code.customCode:
        return str(code.customCode.decode())
    return str(_CODES.get(number, f"operator {number}"))


def _options(packed: Any) -> dict[str, Any]:
    activation = getattr(packed, "fusedActivationFunction", None)
    return {} if activation is None else {"fusedActivationFunction": _ACTIVATIONS[activation]}


def _tensor(name: str, packed: Any, buffers: list[Any]) -> Tensor:
    kind = _TYPES.get(packed.type, f"type {packed.type}")
    shape = () if packed.shape is None else tuple(int(length) for length in packed.shape)
    return Tensor(
        name=name,
        shape=shape,
        dtype=kind,
        data=_data(buffers, packed.buffer, kind, shape),
        quantization=_scales(packed),
    )


def _data(buffers: list[Any], index: int, kind: str, shape: tuple[int, ...]) -> Array | None:
    """A constant's content; None for what is computed, and for types that numpy does not have."""
    stored = buffers[index].data
    if index == 0 or stored is None or len(stored) == 0:
        return None
    try:
        return np.frombuffer(np.asarray(stored, np.uint8).tobytes(), np.dtype(kind)).reshape(shape)
    except (TypeError, ValueError):
        return np.asarray(stored, np.uint8)


def _scales(packed: Any) -> Quantization | None:
    quantization = packed.quantization
    if quantization is None or quantization.scale is None or len(quantization.scale) == 0:
        return None
    return Quantization(
        scales=np.asarray(quantization.scale, np.float32),
        zero_points=np.asarray(quantization.zeroPoint, np.int64),
        axis=int(quantization.quantizedDimension),
    )
