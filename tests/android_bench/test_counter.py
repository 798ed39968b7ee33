"""The emulator's plugin by itself: one build counts under both interfaces that QEMU has had."""

import shutil
import subprocess
from pathlib import Path

import pytest

from android_bench.native_build import build

HOST = Path(__file__).parent / "plugin_host.c"
LINES = [
    "tkd-instructions 3 0 12",
    "tkd-position 1 2 0 7",  # an operator begins
    "tkd-position 3 0 0 7",  # the clock is read
    "tkd-position 3 0 0 12",
    "tkd-position 2 6 1 12",  # a delegate's operator has run
    "tkd-position 0 2 0 12",  # the first one ends
    "tkd-instructions 4 0 17",
]


@pytest.fixture(scope="module")
def counter(tmp_path_factory) -> Path:
    if not shutil.which("cc"):
        pytest.skip("no C compiler (cc) is here")
    return build("counter", tmp_path_factory.mktemp("cache")).path


@pytest.mark.parametrize("interface", [1, 2])
def test_one_plugin_serves_both_interfaces_and_counts_the_same(counter, tmp_path, interface):
    words = ("cc", f"-DINTERFACE={interface}", "-rdynamic", "-o", tmp_path / "host", HOST, "-ldl")
    subprocess.run(words, check=True, timeout=120)

    done = subprocess.run([tmp_path / "host", counter], capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stdout) == (0, f"{interface}\n")
    assert done.stderr.splitlines() == LINES
