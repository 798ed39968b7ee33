"""No export of these tests starts an emulator, whatever this computer has."""

import pytest

from android_bench.errors import MissingToolError

REASON = "no emulator in this test"


@pytest.fixture(autouse=True)
def no_phone_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_cache: object) -> None:
        raise MissingToolError(REASON)

    monkeypatch.setattr("android_bench.engine_check.find_engine_check", missing)
