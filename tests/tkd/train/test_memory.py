from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS_OF_TEN_LARGE_BLOCKS = """
import resource, torch
from tkd.train.memory import keep_freed_memory
torch.set_num_threads(1)
if {kept}:
    assert keep_freed_memory()
def fill():
    for _ in range(10):
        torch.ones(16 << 20)  # 64 MB
fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(*, kept: bool) -> int:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS_OF_TEN_LARGE_BLOCKS.format(kept=kept)],
        env={"PATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc is told")
def test_memory_that_was_freed_is_used_again_without_asking_the_system() -> None:
    assert page_faults(kept=True) < page_faults(kept=False) / 10


def test_an_allocator_that_the_user_has_set_up_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from tkd.train.memory import keep_freed_memory

    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    assert not keep_freed_memory()
