"""A scratch phone for every test of the transports, reached both ways."""

import tempfile
from collections.abc import Iterator

import pytest

from android_bench.adb.phone import Phone
from tests.android_bench.phone_toys import AdbServer, ToyPhone, adb_server


@pytest.fixture(autouse=True)
def locks_of_our_own(tmp_path, monkeypatch):
    """Locks of phones lie where no other process looks for them."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)


@pytest.fixture
def toy(tmp_path) -> Iterator[ToyPhone]:
    root = tmp_path / "phone"
    root.mkdir()
    made = ToyPhone(root)
    yield made
    made.hang_up()


@pytest.fixture(scope="module")
def shared_toy(tmp_path_factory) -> ToyPhone:
    """A phone for tests that leave it as it was."""
    root = tmp_path_factory.mktemp("shared") / "phone"
    root.mkdir()
    return ToyPhone(root)


@pytest.fixture(scope="module")
def shared_adb(shared_toy) -> Iterator[AdbServer]:
    with adb_server(shared_toy) as server:
        yield server


@pytest.fixture(
    scope="module", params=["direct", "direct-android", "direct-android-before-7", "server", "server-before-7"]
)
def phone(request, shared_toy) -> Iterator[Phone]:
    """The same phone over both transports, with today's manners and with those of Android 6."""
    features = frozenset() if request.param.endswith("before-7") else frozenset(("shell_v2", "cmd"))
    with shared_toy.daemon(features=features, android="android" in request.param) as daemon:
        if request.param.startswith("direct"):
            made = shared_toy.phone(daemon.port)
        else:
            server = request.getfixturevalue("shared_adb")
            made = server.phone(server.connect(daemon.port))
        yield made
        made.close()
