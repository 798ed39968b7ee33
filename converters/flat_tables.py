"""Flatbuffer tables as dictionaries, for schemas whose generated code is in no package; used by `converters.metadata`.

A schema is a literal: the fields of each table in their order. A field's kind is `string`, `byte`, `uint`, the name of
another table, a `OneOf` tables, or a list with one of these or `float` in it.
Source of the layout: https://flatbuffers.dev/internals/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flatbuffers
from flatbuffers import encode, number_types, packer
from flatbuffers.table import Table

Schema = Mapping[str, tuple[tuple[str, Any], ...]]

_SCALARS = ("byte", "uint")
_FIRST_FIELD = 4  # a table's field n is at slot 4 + 2 · n
_SLOT = 2


@dataclass(frozen=True, slots=True)
class OneOf:
    """The kind of a union: which table it is stands in another field of the same table.

    Attributes:
        by: the name of that field.
        tables: names of tables by its value; tables that are not listed are read over.
    """

    by: str
    tables: Mapping[int, str]


def write_table(builder: flatbuffers.Builder, schema: Schema, name: str, values: Mapping[str, Any]) -> int:
    """Writes a table and what it holds; fields that are missing or empty are left out.

    Returns:
        Its offset, for the table that holds it or for `Finish`.
    """
    fields = schema[name]
    unknown = set(values) - {field for field, _ in fields}
    assert not unknown, f"{name} has no field {unknown}"
    offsets = {
        field: _written(
            builder, schema, kind.tables[values[kind.by]] if isinstance(kind, OneOf) else kind, values[field]
        )
        for field, kind in fields
        if kind not in _SCALARS and values.get(field) not in (None, "", [])
    }
    builder.StartObject(len(fields))
    for slot, (field, kind) in enumerate(fields):
        if kind == "byte":
            builder.PrependInt8Slot(slot, values.get(field, 0), 0)
        elif kind == "uint":
            builder.PrependUint32Slot(slot, values.get(field, 0), 0)
        elif field in offsets:
            builder.PrependUOffsetTRelativeSlot(slot, offsets[field], 0)
    return int(builder.EndObject())


def read_table(buffer: bytes, schema: Schema, name: str) -> dict[str, Any]:
    """The root table of a buffer; fields that it does not have are missing."""
    start = encode.Get(packer.uoffset, buffer, 0)
    return _read(Table(buffer, start), schema, name)


def _written(builder: flatbuffers.Builder, schema: Schema, kind: Any, value: Any) -> int:
    if kind == "string":
        return int(builder.CreateString(value))
    if not isinstance(kind, list):
        return write_table(builder, schema, kind, value)
    if kind == ["float"]:
        builder.StartVector(4, len(value), 4)
        for each in reversed(value):
            builder.PrependFloat32(each)
        return int(builder.EndVector())
    offsets = [_written(builder, schema, kind[0], each) for each in value]
    builder.StartVector(4, len(offsets), 4)
    for each in reversed(offsets):
        builder.PrependUOffsetTRelative(each)
    return int(builder.EndVector())


def _read(table: Table, schema: Schema, name: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for slot, (field, kind) in enumerate(schema[name]):
        offset = table.Offset(_FIRST_FIELD + _SLOT * slot)
        if isinstance(kind, OneOf):
            kind = kind.tables.get(found.get(kind.by, 0))
        if offset and kind is not None:
            found[field] = _read_field(table, schema, kind, offset)
    return found


def _read_field(table: Table, schema: Schema, kind: Any, offset: int) -> Any:
    place = table.Pos + offset
    if kind == "byte":
        return table.Get(number_types.Int8Flags, place)
    if kind == "uint":
        return table.Get(number_types.Uint32Flags, place)
    if kind == "string":
        return table.String(place).decode()
    if not isinstance(kind, list):
        return _read(Table(table.Bytes, table.Indirect(place)), schema, kind)
    first, count = table.Vector(offset), table.VectorLen(offset)
    places = [first + 4 * index for index in range(count)]
    if kind == ["float"]:
        return [table.Get(number_types.Float32Flags, each) for each in places]
    if kind == ["string"]:
        return [table.String(each).decode() for each in places]
    return [_read(Table(table.Bytes, table.Indirect(each)), schema, kind[0]) for each in places]
