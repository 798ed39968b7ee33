"""Flatbuffers packed a table at a time: what a network's thousands of tables need to be written in milliseconds.

The generated classes go through the flatbuffers package's builder field by field, some hundred calls a tensor; here a
table is one `struct.pack`. Like that builder, this one writes from the end to the start: what a table holds is there
before it.

    strings, vectors ◄── tables ◄── the root table ◄── file identifier ◄── offset of the root

Used by `converters.lowering.writer`. Tested in `tests/converters/test_packing.py`.
Source of the layout: https://flatbuffers.dev/internals/
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cache
from typing import Literal

import numpy as np

from converters.lowering.records import Array

Place = int
"""Of something that has been written: how far its first byte is from the end of the file."""

Kind = Literal["b", "B", "i", "I", "->"]
"""Of a field: a struct character, or the place of what it points to."""

_SIZES = {"b": 1, "B": 1, "i": 4, "I": 4, "->": 4}
_WORD = 4
_LONGEST_WORD = 8


class Packer:
    """Packs one flatbuffer."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._vtables: dict[bytes, Place] = {}
        # By content, how many numbers it is of, and their alignment.
        self._shared: dict[tuple[bytes, int, int], Place] = {}

    def string(self, text: str) -> Place:
        """A string."""
        content = text.encode()
        return self._put(struct.pack("<I", len(content)) + content + b"\0", _WORD)

    def vector(self, values: Array, *, alignment: int = _WORD, is_shared: bool = True) -> Place:
        """A vector of numbers, in their own dtype; equal ones are written once unless they are not to be shared.

        Args:
            values: one axis, or any that is laid out as the file is to have it.
            alignment: of the first number in the file, bytes.
            is_shared: whether other fields may point to it as well.
        """
        content = np.ascontiguousarray(values).tobytes()
        key = content, values.size, alignment
        if is_shared and key in self._shared:
            return self._shared[key]
        # The numbers are aligned, not the length before them.
        self._pad(len(content), max(alignment, _WORD))
        self._put(content, 1)
        place = self._put(struct.pack("<I", values.size), 1)
        if is_shared:
            self._shared[key] = place
        return place

    def places(self, places: Sequence[Place]) -> Place:
        """A vector of what has been written before, in this order."""
        self._pad(_WORD * (len(places) + 1), _WORD)
        # An offset counts from where it stands itself.
        first = self._size + _WORD * len(places)
        offsets = [first - _WORD * index - place for index, place in enumerate(places)]
        return self._put(struct.pack(f"<{len(places) + 1}I", len(places), *offsets), 1)

    def table(self, *fields: tuple[int, Kind, int]) -> Place:
        """A table.

        Args:
            fields: (slot, kind, value); fields that have their default are left out by the caller.
        """
        form, slots, vtable, length = _layout(tuple((slot, kind) for slot, kind, _ in fields))
        self._pad(length, _WORD)
        place = self._size + length
        values = [place - slots[slot] - value if kind == "->" else value for slot, kind, value in fields]
        # A table begins with how far before it its vtable is: less than nothing where it is one of a table behind it.
        known = self._vtables.setdefault(vtable, place + len(vtable))
        self._put(form.pack(known - place, *values), 1)
        if known > place:
            self._put(vtable, 1)
        return place

    def embedded(self, content: bytes) -> Place:
        """The root table of a whole flatbuffer, copied as it is: nothing in one tells where it lies. Once if equal."""
        key = content, 0, _LONGEST_WORD
        if key not in self._shared:
            (root,) = struct.unpack_from("<I", content)
            self._shared[key] = self._put(content, _LONGEST_WORD) - int(root)
        return self._shared[key]

    def finish(self, root: Place, identifier: bytes, alignment: int) -> bytes:
        """The file: its size is a multiple of `alignment`, which is how places from its end are aligned."""
        self._pad(_WORD + len(identifier), alignment)
        head = self._size + _WORD + len(identifier)
        self._put(struct.pack("<I", head - root) + identifier, 1)
        return b"".join(reversed(self._parts))

    def _put(self, content: bytes, alignment: int) -> Place:
        self._pad(len(content), alignment)
        self._parts.append(content)
        self._size += len(content)
        return self._size

    def _pad(self, length: int, alignment: int) -> None:
        """Zeros, after which something of that length begins at a multiple of `alignment`."""
        missing = -(self._size + length) % alignment
        if missing:
            self._parts.append(bytes(missing))
            self._size += missing


@cache
def _layout(fields: tuple[tuple[int, Kind], ...]) -> tuple[struct.Struct, dict[int, int], bytes, int]:
    """How a table with these fields is packed: its struct, where each slot's value is, its vtable, its length."""
    form, slots, length = "<i", {}, _WORD
    for slot, kind in fields:
        size = _SIZES[kind]
        missing = -length % size
        form += f"{missing}x" if missing else ""
        form += "I" if kind == "->" else kind
        slots[slot] = length + missing
        length += missing + size
    # What comes before a table is aligned by the table's own length.
    form += f"{-length % _WORD}x"
    entries = [slots.get(slot, 0) for slot in range(max(slots, default=-1) + 1)]
    vtable = struct.pack(f"<{2 + len(entries)}H", _WORD + 2 * len(entries), length, *entries)
    return struct.Struct(form), slots, vtable, length + -length % _WORD
