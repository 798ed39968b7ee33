"""A scratch phone for the tests of the daemon."""

from collections.abc import Iterator

import pytest

from tests.android_bench.phone_toys import ToyPhone
from tests.android_bench.pocket_toys import Pocket


@pytest.fixture
def toy(tmp_path) -> Iterator[ToyPhone]:
    root = tmp_path / "phone"
    root.mkdir()
    made = ToyPhone(root)
    yield made
    made.hang_up()


@pytest.fixture
def pocket(tmp_path) -> Pocket:
    """A virtual Pixel 1 whose emulator is a fake."""
    return Pocket(tmp_path / "pocket")
