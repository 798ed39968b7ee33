"""A scratch phone for the tests of the daemon."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from android_bench.engine import cache_folder, cached_engines, fetch_engine
from android_bench.errors import MissingToolError
from tests.android_bench.phone_toys import ToyPhone
from tests.android_bench.pocket_toys import Pocket


@pytest.fixture
def toy(tmp_path) -> Iterator[ToyPhone]:
    root = tmp_path / "phone"
    root.mkdir()
    made = ToyPhone(root)
    yield made
    made.hang_up()


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    """A cache with the pinned engine: a copy of the user's, or fetched through pip."""
    folder = tmp_path_factory.mktemp("cache") / "tkd"
    ours = [engine for engine in cached_engines(cache_folder(), ["glibc"]) if engine.pinned]
    if ours:
        shutil.copytree(ours[0].path.parent, folder / "engines" / "glibc")
        return folder
    try:
        fetch_engine(folder)
    except MissingToolError as fault:
        pytest.skip(f"no engine for arm64: {fault}")
    return folder


@pytest.fixture
def pocket(tmp_path) -> Pocket:
    """A virtual Pixel 1 whose emulator is a fake."""
    return Pocket(tmp_path / "pocket")
