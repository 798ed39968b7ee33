"""The gate on this computer's real noise: a model against itself, and against itself with a tenth more layers.

Another process loads the machine now and then while it runs, so that the noise is that of a computer in use.
Each comparison is the whole gate: two looks, and a fresh session where it says REGRESSION.

    python benchmarks/gate_noise.py --same 30 --more 20 --journal runs/gate-noise.jsonl    # about an hour
    python benchmarks/gate_noise.py --summary runs/gate-noise.jsonl                        # what it came to
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from android_bench.comparable import device_entry
from android_bench.compare import judge_session, side_of
from android_bench.compare_session import Pair, measure_pair
from android_bench.device import Device, HostDevice, utc_now
from android_bench.measure import Setting, Watcher
from android_bench.records import RunPlan
from android_bench.verdict import GateSettings, Judgement
from converters.bundle import Bundle, read_bundle

MODELS = Path(__file__).resolve().parents[1] / "android_bench" / "selftest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """This computer, as `measure_pair` takes it."""

    device: Device
    plan: RunPlan
    setting: Setting


def main() -> None:
    """Compares, journals each verdict as it falls, and prints what they came to."""
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("--same", type=int, default=30, help="comparisons of the model with itself")
    made.add_argument("--more", type=int, default=20, help="comparisons with a tenth more work")
    made.add_argument("--warmup-ms", type=int, default=500)
    made.add_argument("--min-timed-ms", type=int, default=200)
    made.add_argument("--journal", type=Path, default=Path("runs/gate-noise.jsonl"))
    made.add_argument("--summary", type=Path, help="only print what this journal came to")
    arguments = made.parse_args()
    if arguments.summary:
        print_summary(arguments.summary)
        return
    plain, more = (read_bundle(MODELS / name) for name in ("plain", "more"))
    plan = RunPlan(warmup_ms=arguments.warmup_ms, min_timed_ms=arguments.min_timed_ms)
    # Mixed, so that both kinds meet the same hours of the day.
    order = ["same"] * arguments.same + ["more"] * arguments.more
    random.Random(1).shuffle(order)
    arguments.journal.parent.mkdir(parents=True, exist_ok=True)
    with load_now_and_then():
        for kind in order:
            row = compare(kind, plain, plain if kind == "same" else more, plan)
            with arguments.journal.open("a", encoding="utf-8") as journal:
                journal.write(json.dumps(row) + "\n")
    print_summary(arguments.journal)


def compare(kind: str, baseline: Bundle, candidate: Bundle, plan: RunPlan) -> dict[str, object]:
    """One comparison by the whole gate, as a row of the journal."""

    @contextmanager
    def opened() -> Iterator[Ready]:
        yield Ready(device=HostDevice(), plan=plan, setting=Setting(stages=()))

    settings, started = GateSettings(), time.monotonic()
    pair = Pair(baseline=baseline, candidate=candidate)
    session, fresh = measure_pair("host", pair, opened, settings, 1, lambda _name: Watcher())
    judged = judge_session(side_of(baseline), side_of(candidate), device_entry(session), session, settings, fresh=fresh)
    return {"kind": kind, **_row(judged), "seconds": round(time.monotonic() - started, 1), "utc": utc_now()}


def _row(judged: Judgement) -> dict[str, object]:
    evidence, row = judged.latency, judged.primary
    assert evidence is not None
    assert row is not None
    look, again = evidence.looks[-1], evidence.confirmation
    return {
        "verdict": row.verdict,
        "pairs": look.pairs,
        "ratio": round(look.ratio, 5),
        "interval": look.interval,
        "detectable": row.detectable,
        "confirmation": again.interval if again else None,
        "load": os.getloadavg()[0],
    }


@contextmanager
def load_now_and_then() -> Iterator[None]:
    """Another process that computes for some seconds and rests for some, until the block ends."""
    process = multiprocessing.get_context("spawn").Process(target=_burn, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def _burn() -> None:
    chance = random.Random(2)
    while True:
        end = time.monotonic() + chance.uniform(2, 10)
        while time.monotonic() < end:
            sum(range(10_000))
        time.sleep(chance.uniform(10, 40))


def print_summary(journal: Path) -> None:
    """The verdicts of a journal, by kind."""
    rows = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    processor = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    print(f"{processor}, {os.cpu_count()} CPUs, {rows[0]['utc'][:10]}")
    print("| against itself | PASS | IMPROVED | REGRESSION | INCONCLUSIVE | ratio | detectable | load |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for kind, title in (("same", "as it is"), ("more", "with a tenth more layers")):
        found = [row for row in rows if row["kind"] == kind]
        if not found:
            continue
        counts = Counter(row["verdict"] for row in found)
        cells = [str(counts[name]) for name in ("PASS", "IMPROVED", "REGRESSION", "INCONCLUSIVE")]
        ratios = sorted(row["ratio"] for row in found)
        seen = [row["detectable"] for row in found if row["detectable"]]
        loads = [row["load"] for row in found]
        cells.append(f"{ratios[0]:.3f} – {ratios[-1]:.3f}")
        cells.append(f"{100 * median(seen):.1f} %" if seen else "unclear")
        cells.append(f"{min(loads):.1f} – {max(loads):.1f}")
        print(f"| {title}, {len(found)} times | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
