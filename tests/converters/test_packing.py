"""Flatbuffers packed by hand, read back by the flatbuffers package and TFLite's own verifier."""

from __future__ import annotations

import struct

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import number_types
from flatbuffers.table import Table
from hypothesis import given
from hypothesis import strategies as st

from converters.lowering.packing import Packer

FLAGS = {
    "b": number_types.Int8Flags,
    "B": number_types.Uint8Flags,
    "i": number_types.Int32Flags,
    "I": number_types.Uint32Flags,
}
VALUES = {
    "b": st.integers(-128, 127),
    "B": st.integers(0, 255),
    "i": st.integers(-(2**31), 2**31 - 1),
    "I": st.integers(0, 2**32 - 1),
}


def root(content):
    return Table(content, struct.unpack_from("<I", content)[0])


def finished(packer, place, alignment=16):
    content = packer.finish(place, b"TEST", alignment)
    assert b"TEST" == content[4:8]
    assert 0 == len(content) % alignment
    return content


fields = st.sampled_from(sorted(FLAGS)).flatmap(lambda kind: st.tuples(st.just(kind), VALUES[kind]))


@given(st.dictionaries(st.integers(0, 12), fields, max_size=8))
def test_a_table_has_the_fields_that_it_was_given_and_no_others(given_fields):
    packer = Packer()
    content = finished(packer, packer.table(*((slot, kind, value) for slot, (kind, value) in given_fields.items())))
    table = root(content)
    assert 0 == table.Pos % 4
    for slot in range(14):
        offset = table.Offset(4 + 2 * slot)
        assert bool(offset) == (slot in given_fields)
        if offset:
            kind, value = given_fields[slot]
            assert 0 == (table.Pos + offset) % struct.calcsize(kind)
            assert value == table.Get(FLAGS[kind], table.Pos + offset)


@given(
    st.lists(st.text(max_size=9), max_size=6),
    st.lists(st.integers(-(2**62), 2**62), max_size=5),
    st.sampled_from([4, 8, 16]),
)
def test_strings_vectors_and_tables_are_found_from_the_root(texts, numbers, alignment):
    packer = Packer()
    packed_texts = packer.places([packer.string(each) for each in texts])
    vector = packer.vector(np.array(numbers, np.int64), alignment=max(alignment, 8))
    inner = packer.table((1, "B", 7), (0, "->", vector))
    content = finished(packer, packer.table((0, "->", packed_texts), (3, "->", inner), (2, "b", -1)))
    outer = root(content)
    texts_at = outer.Offset(4)
    assert len(texts) == outer.VectorLen(texts_at)
    assert texts == [outer.String(outer.Vector(texts_at) + 4 * index).decode() for index in range(len(texts))]
    held = Table(content, outer.Indirect(outer.Pos + outer.Offset(10)))
    start = held.Vector(held.Offset(4))
    assert 0 == start % max(alignment, 8)
    assert numbers == np.frombuffer(content, np.int64, held.VectorLen(held.Offset(4)), start).tolist()


def test_equal_vectors_and_tables_of_one_form_are_written_once():
    packer = Packer()
    first, second = (packer.vector(np.array([1, 2, 3], np.int32)) for _ in range(2))
    other = packer.vector(np.array([1, 2, 3], np.int32), is_shared=False)
    assert first == second != other
    tables = [packer.table((0, "->", first), (1, "i", value)) for value in range(50)]
    # 12 bytes each: how far their vtable is, an offset, a number. Theirs stands once, before the first.
    vtable = 8
    assert [vtable + 12, *[12] * 48] == np.diff(tables).tolist()


def test_what_looks_alike_but_is_of_another_length_is_not_shared():
    packer = Packer()
    assert packer.vector(np.array([1, 0], np.int32)) != packer.vector(np.array([1], np.int64), alignment=8)


def test_a_flatbuffer_inside_another_one_is_what_it_was():
    options = schema.Conv2DOptionsT()
    options.strideW, options.strideH, options.padding = 3, 2, schema.Padding.VALID
    builder = flatbuffers.Builder(64)
    builder.Finish(options.Pack(builder))
    packer = Packer()
    packer.string("moves what comes before it by an odd number")
    places = {packer.embedded(bytes(builder.Output())) for _ in range(2)}
    assert 1 == len(places)
    content = finished(packer, packer.table((0, "->", places.pop())))
    table = root(content)
    found = schema.Conv2DOptions()
    found.Init(content, table.Indirect(table.Pos + table.Offset(4)))
    assert (3, 2, schema.Padding.VALID) == (found.StrideW(), found.StrideH(), found.Padding())


@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_vector_of_tables_keeps_their_order(count):
    packer = Packer()
    places = packer.places([packer.table((0, "i", value)) for value in range(count)])
    content = finished(packer, packer.table((0, "->", places)))
    table = root(content)
    start = table.Vector(table.Offset(4))
    inner = [Table(content, table.Indirect(start + 4 * index)) for index in range(table.VectorLen(table.Offset(4)))]
    assert list(range(count)) == [each.Get(number_types.Int32Flags, each.Pos + each.Offset(4)) for each in inner]
