"""A scratch phone for the tests of the daemon."""

from collections.abc import Iterator

import pytest

from tests.android_bench.phone_toys import ToyPhone


@pytest.fixture
def toy(tmp_path) -> Iterator[ToyPhone]:
    root = tmp_path / "phone"
    root.mkdir()
    made = ToyPhone(root)
    yield made
    made.hang_up()
