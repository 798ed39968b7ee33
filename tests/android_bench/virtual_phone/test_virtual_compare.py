"""Comparing on a virtual phone: exact, so a model against itself is no change and more layers are so many more."""

import pytest

from android_bench import cli_selftest
from android_bench.cli import main
from android_bench.verdict_file import read_gate
from tests.android_bench.pocket_toys import NEEDS_RUNNER

pytestmark = NEEDS_RUNNER


@pytest.fixture
def user(cache, tmp_path, monkeypatch):
    """A user with the engine in their cache, keys of their own, and no adb server."""
    for name, value in {
        "XDG_CACHE_HOME": cache.parent,
        "ANDROID_USER_HOME": tmp_path / ".android",
        "XDG_RUNTIME_DIR": tmp_path,
        "ANDROID_ADB_SERVER_PORT": "1",
    }.items():
        monkeypatch.setenv(name, str(value))
    return tmp_path


def test_more_layers_are_so_many_more_instructions(user) -> None:
    models = cli_selftest._MODELS
    pair = ("--baseline", models / "plain", "--candidate", models / "more", "--device", "virtual-pixel1")
    code = main(["compare", *map(str, pair), "--output", str(user / "out"), "-q"])

    judged = read_gate(user / "out" / "compare.json").judgements[0]
    assert (1, "REGRESSION", "instructions") == (code, judged.verdict, judged.primary.name)
    assert (True, True, None) == (judged.device.emulated, judged.primary.exact, judged.latency)
    assert 0.09 < judged.primary.change < 0.11


def test_a_selftest_passes_on_a_virtual_phone(user, capsys) -> None:
    assert 0 == main(["selftest", "--device", "virtual-pixel1", "--output", str(user / "proof"), "-q"])
    printed = capsys.readouterr().out
    assert "the same model     PASS: instructions +0.00 %, exact" in printed
    assert "10.0 % more work    REGRESSION: instructions +9." in printed
    assert "passed: verdicts on this device can pass and can fail" in printed
