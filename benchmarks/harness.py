"""What the bench itself costs per block on this computer, beyond the block's own process.

A process does the measuring; around it the bench reads the device's state, starts it, reads its lines and writes the
journal. Its cost is the time of a round's block less the time of the process, as `Device.run` measures that.
Pushing is free on this computer; on a phone it happens once per file.

    python benchmarks/harness.py exports/tcresnet8-int8 --blocks 20
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from android_bench.device import CommandResult, HostDevice
from android_bench.measure import Watcher, measure
from android_bench.records import Block, RunPlan
from android_bench.session_file import append_block
from converters.bundle import read_bundle


class TimedHost(HostDevice):
    """This computer, remembering how long each process took."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def run(self, command: Sequence[str], timeout_s: float) -> CommandResult:
        """Runs a command, and keeps its duration."""
        result = super().run(command, timeout_s)
        self.seconds.append(result.seconds)
        return result


def main() -> None:
    """Prints the cost per block: median and worst."""
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("bundle", type=Path)
    made.add_argument("--blocks", type=int, default=20)
    arguments = made.parse_args()
    bundle, device = read_bundle(arguments.bundle), TimedHost()
    ends: list[float] = []
    samples: list[int] = []
    with tempfile.TemporaryDirectory() as folder:

        def keep(block: Block) -> None:
            append_block(Path(folder) / "blocks.jsonl", block)
            samples.append(len(block.samples_ns))
            ends.append(time.monotonic())

        measure("host", device, [bundle], RunPlan(blocks=arguments.blocks), Watcher(keep=keep))
    # The first block has the session's own start before it.
    costs = [1e3 * (end - start - own) for start, end, own in zip(ends, ends[1:], device.seconds[1:], strict=False)]
    print(
        f"{bundle.name}: {median(costs):.1f} ms a block beyond its process (worst {max(costs):.1f} ms, "
        f"{len(costs)} blocks of {median(samples):.0f} samples; a process takes {median(device.seconds):.2f} s)"
    )
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
