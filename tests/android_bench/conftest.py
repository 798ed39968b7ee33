"""Bundles of toy models, for every test of the bench."""

from pathlib import Path

import pytest

from converters.bundle import Bundle, find_bundles, write_bundle
from tests.android_bench.bench_toys import toy_contents


@pytest.fixture(scope="session")
def exports(tmp_path_factory) -> Path:
    """A folder with a float32 and an int8 bundle of the same toy; tests that alter it copy it first."""
    folder = tmp_path_factory.mktemp("exports")
    for quantized in (False, True):
        contents = toy_contents(quantized=quantized)
        write_bundle(folder / contents.name, contents)
    return folder


@pytest.fixture
def bundles(exports) -> list[Bundle]:
    return find_bundles(exports)
