"""Which cores of a phone are measured: names become masks. Pure; before `android_bench.phone_setup`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from android_bench.errors import BenchError

NAMES = ("big", "little", "one-big", "one-little", "any")


class Cluster(Protocol):
    """CPUs that share a clock, as a phone or a profile tells them."""

    @property
    def cpus(self) -> tuple[int, ...]:
        """Their numbers."""

    @property
    def mask(self) -> str:
        """As `taskset` takes it."""


def core_mask(wish: str, clusters: Sequence[Cluster]) -> str:
    """The mask that `--cores` means, bare hexadecimal; "" is any core.

    >>> core_mask("any", []), core_mask("0C", [])
    ('', 'c')

    Args:
        wish: one of `NAMES`, or a mask.
        clusters: the CPUs by clock, slowest first; where there are three, the middle ones have no name.

    Raises:
        BenchError: it is neither, or the clusters are not known.
    """
    if wish == "any":
        return ""
    if wish in NAMES:
        if not clusters:
            raise BenchError(f"which cores are {wish} is not known here; give a mask, such as --cores c")
        cluster = clusters[-1 if wish.endswith("big") else 0]
        return f"{1 << cluster.cpus[0]:x}" if wish.startswith("one-") else cluster.mask
    if not re.fullmatch("(0x)?[0-9a-fA-F]{1,16}", wish) or int(wish, 16) == 0:
        raise BenchError(f"--cores {wish}: expected {', '.join(NAMES)} or a hexadecimal mask such as c")
    return f"{int(wish, 16):x}"
