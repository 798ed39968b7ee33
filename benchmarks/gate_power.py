"""How often each verdict falls, at a known true slowdown, on simulated phones; and the rules of others beside it.

The noise models are our assumptions (`MODELS`), so a sensitivity table varies each of them. The verdicts are those of
`android_bench.judge` itself. Nothing here is a measurement of a phone: `benchmarks/gate_noise.py` measures this
computer.

    python benchmarks/gate_power.py                    # the tables of docs/verdicts.md, about a minute
    python benchmarks/gate_power.py --check            # exit code 1 where a promise is broken
    python benchmarks/gate_power.py --runs 2000        # faster, coarser
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from android_bench import judge, pairs
from android_bench.stats import CONFIDENCE

Floats = NDArray[np.float64]

SLOWDOWNS = (0.0, 0.03, 0.05, 0.07)
PAIRS, MAX_SLOWDOWN = 15, 0.03
ITERATIONS = 50
# So many comparisons at once stay in the cache.
_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """What disturbs the time of a block, as relative standard deviations unless said otherwise.

    Attributes:
        process: between processes: memory layout, scheduling; Student's t with 5 degrees of freedom.
        drift: random walk from block to block.
        slow_share: share of blocks in a slower clock state, 0–1.
        slow_by: how much slower that is.
        sticky: chance that a block keeps the state of the one before, beyond chance.
        heat: how much slower a session gets as it warms up, over some 20 blocks; half as much to half more.
        session: between sessions: other clocks, temperature, background work, since the last restart.
        iteration: between inferences of one process, half of it lasting over about ten of them.
    """

    process: float
    drift: float
    slow_share: float
    slow_by: float
    sticky: float
    heat: float
    session: float
    iteration: float


MODELS: Mapping[str, Noise] = {
    "locked": Noise(
        process=0.006, drift=0.001, slow_share=0.0, slow_by=0.0, sticky=0.0, heat=0.01, session=0.01, iteration=0.01
    ),
    "stock": Noise(
        process=0.015, drift=0.003, slow_share=0.08, slow_by=0.12, sticky=0.8, heat=0.08, session=0.04, iteration=0.02
    ),
    "farm": Noise(
        process=0.03, drift=0.006, slow_share=0.2, slow_by=0.2, sticky=0.6, heat=0.15, session=0.08, iteration=0.05
    ),
}
# What is promised on the model `stock`: verdict, true slowdown, lowest and highest share in percent.
PROMISES = (
    ("REGRESSION", 0.0, 0.0, 0.5),
    ("REGRESSION", 0.03, 0.0, 2.5),
    ("REGRESSION", 0.05, 93.0, 100.0),
    ("REGRESSION", 0.07, 99.0, 100.0),
    ("PASS", 0.05, 0.0, 1.0),
    ("INCONCLUSIVE", 0.0, 0.0, 10.0),
)


def blocks(noise: Noise, runs: int, count: int, rng: np.random.Generator) -> Floats:
    """Log times of `count` consecutive blocks of one model in `runs` sessions, shape (runs, count)."""
    made = rng.standard_t(5, (runs, count)) * (noise.process / np.sqrt(5 / 3))
    made += np.cumsum(rng.normal(0, noise.drift, (runs, count)), axis=1)
    made += noise.heat * rng.uniform(0.5, 1.5, (runs, 1)) * (1 - np.exp(-np.arange(count) / 20))
    made += rng.normal(0, noise.session, (runs, 1))
    slow = rng.random((runs, count)) < noise.slow_share
    keep = rng.random((runs, count)) < noise.sticky
    for block in range(1, count):
        slow[:, block] = np.where(keep[:, block], slow[:, block - 1], slow[:, block])
    made += np.log1p(noise.slow_by) * slow
    # The median of a block's samples is itself a little uncertain.
    return made + rng.normal(0, noise.iteration * 1.25 / np.sqrt(ITERATIONS / 5), (runs, count))


def differences(noise: Noise, slowdown: float, runs: int, count: int, rng: np.random.Generator) -> Floats:
    """Log ratios of `count` interleaved pairs, A B | B A | …, shape (runs, count)."""
    made = blocks(noise, runs, 2 * count, rng).reshape(runs, count, 2)
    first, second = made[..., 0], made[..., 1]
    forwards = np.arange(count) % 2 == 0
    return np.log1p(slowdown) + np.where(forwards, second - first, first - second)


def our_gate(noise: Noise, slowdown: float, runs: int, rng: np.random.Generator) -> NDArray[np.str_]:
    """The verdicts of the whole gate, shape (runs,): two looks, and confirmation in a fresh session."""
    return _gate(noise, slowdown, runs, rng, (judge.FIRST_CONFIDENCE, judge.SECOND_CONFIDENCE))


def nominal_gate(noise: Noise, slowdown: float, runs: int, rng: np.random.Generator) -> NDArray[np.str_]:
    """The same with 95 % at both looks, which spends more than 5 %."""
    return _gate(noise, slowdown, runs, rng, (0.95, 0.95))


def _gate(
    noise: Noise, slowdown: float, runs: int, rng: np.random.Generator, levels: tuple[float, float]
) -> NDArray[np.str_]:
    logs = differences(noise, slowdown, runs, 2 * PAIRS, rng)
    first = judge.decide(*_ratios(logs[:, :PAIRS], levels[0]), MAX_SLOWDOWN)
    found = np.where(first == "INCONCLUSIVE", judge.decide(*_ratios(logs, levels[1]), MAX_SLOWDOWN), first)
    low, _ = _ratios(differences(noise, slowdown, runs, PAIRS, rng), CONFIDENCE)
    return np.where((found == "REGRESSION") & (low <= 1), "INCONCLUSIVE", found)


def _ratios(logs: Floats, confidence: float) -> tuple[Floats, Floats]:
    ends = pairs.interval(pairs.walsh_averages(logs), logs.shape[-1], confidence)
    assert ends is not None
    return np.exp(ends[0]), np.exp(ends[1])


def _stored_value(threshold: float) -> Callable[..., NDArray[np.str_]]:
    def rule(noise: Noise, slowdown: float, runs: int, rng: np.random.Generator) -> NDArray[np.str_]:
        old, new = (np.median(blocks(noise, runs, PAIRS, rng), axis=1) for _ in range(2))
        return np.where(new + np.log1p(slowdown) - old > np.log1p(threshold), "REGRESSION", "PASS")

    return rule


def _sequential_t(noise: Noise, slowdown: float, runs: int, rng: np.random.Generator) -> NDArray[np.str_]:
    """Fifteen processes of one model, then fifteen of the other; Welch's t-test, one-sided 2.5 %."""
    made = blocks(noise, runs, 2 * PAIRS, rng)
    found = stats.ttest_ind(made[:, PAIRS:] + np.log1p(slowdown), made[:, :PAIRS], axis=1, equal_var=False)
    return np.where((found.pvalue < 0.05) & (found.statistic > 0), "REGRESSION", "PASS")


def _mann_whitney(noise: Noise, slowdown: float, runs: int, rng: np.random.Generator) -> NDArray[np.str_]:
    """One process each, its fifty inferences taken for independent; two-sided 5 %."""
    made = blocks(noise, runs, 2, rng)[..., None] + _iterations(noise, (runs, 2), rng)
    found = stats.mannwhitneyu(made[:, 1] + np.log1p(slowdown), made[:, 0], axis=1, method="asymptotic")
    slower = found.statistic > ITERATIONS * ITERATIONS / 2
    return np.where((found.pvalue < 0.05) & slower, "REGRESSION", "PASS")


def _iterations(noise: Noise, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Log deviations of inferences inside a process, shape (*shape, ITERATIONS)."""
    lasting = np.repeat(rng.normal(size=(*shape, ITERATIONS // 10)), 10, axis=-1)
    return noise.iteration * np.sqrt(0.5) * (lasting + rng.normal(size=(*shape, ITERATIONS)))


RULES: Mapping[str, Callable[..., NDArray[np.str_]]] = {
    "this gate": our_gate,
    "the same, 95 % at both looks": nominal_gate,
    "stored value, 5 % slower": _stored_value(0.05),
    "stored value, 10 % slower": _stored_value(0.10),
    "Mann–Whitney on inferences": _mann_whitney,
    "t-test, one model after the other": _sequential_t,
}


def shares(
    rule: Callable[..., NDArray[np.str_]], noise: Noise, slowdown: float, runs: int, seed: int
) -> dict[str, float]:
    """Percent of each verdict over `runs` comparisons."""
    rng = np.random.default_rng(seed)
    found = np.concatenate([rule(noise, slowdown, count, rng) for count in _portions(runs)])
    return {name: 100 * float((found == name).mean()) for name in ("PASS", "IMPROVED", "REGRESSION", "INCONCLUSIVE")}


def coverage(levels: Sequence[float], noise: Noise, runs: int, seed: int) -> float:
    """Percent of comparisons whose last interval holds the true ratio, which is at the edge of the allowed one.

    There the second look is taken most often. One level is a fixed number of pairs.
    """
    rng, held = np.random.default_rng(seed), []
    for count in _portions(runs):
        logs = differences(noise, MAX_SLOWDOWN, count, PAIRS * len(levels), rng)
        low, high = _ratios(logs[:, :PAIRS], levels[0])
        if len(levels) > 1:
            again = judge.decide(low, high, MAX_SLOWDOWN) == "INCONCLUSIVE"
            later = _ratios(logs, levels[1])
            low, high = np.where(again, later[0], low), np.where(again, later[1], high)
        held.append((low <= 1 + MAX_SLOWDOWN) & (high >= 1 + MAX_SLOWDOWN))
    return 100 * float(np.concatenate(held).mean())


def varied(noise: Noise) -> Iterator[tuple[str, Noise]]:
    """The model with each of its assumptions halved and doubled."""
    yield "as assumed", noise
    for name in ("process", "drift", "slow_share", "slow_by", "heat", "session", "iteration"):
        for factor in (0.5, 2.0):
            value = getattr(noise, name) * factor
            yield f"{name} {100 * value:g} %", replace(noise, **{name: value})
    for sticky in (0.0, 0.95):
        yield f"sticky {sticky:g}", replace(noise, sticky=sticky)


def _portions(runs: int) -> list[int]:
    return [min(_AT_ONCE, runs - first) for first in range(0, runs, _AT_ONCE)]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print(f"| {' | '.join(head)} |")
    print(f"|---|{'---:|' * (len(head) - 1)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print()


def _percent(value: float) -> str:
    return f"{value:.1f}"


def main() -> None:
    """Prints the tables; with `--check` exit code 1 where a promise is broken."""
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("--runs", type=int, default=10_000, help="comparisons behind each number (default: 10000)")
    made.add_argument("--seed", type=int, default=1)
    made.add_argument("--check", action="store_true", help="only what is promised, and exit code 1 where it is broken")
    arguments = made.parse_args()
    if arguments.check:
        broken = 0
        for verdict, slowdown, low, high in PROMISES:
            seen = shares(our_gate, MODELS["stock"], slowdown, arguments.runs, arguments.seed)[verdict]
            broken += not low <= seen <= high
            print(f"{verdict} at {100 * slowdown:+.0f} %: {seen:.2f} %, promised {low:g} to {high:g}")
        sys.exit(broken > 0)
    _print_all(arguments.runs, arguments.seed)


def _print_all(runs: int, seed: int) -> None:
    print(f"Percent of {runs} simulated comparisons, allowed slowdown {100 * MAX_SLOWDOWN:g} %.\n")
    rows = []
    for model, noise in MODELS.items():
        for slowdown in SLOWDOWNS:
            found = shares(our_gate, noise, slowdown, runs, seed)
            rows.append([f"{model}, {100 * slowdown:+.0f} %", *map(_percent, found.values())])
    _table(("model, true slowdown", "PASS", "IMPROVED", "REGRESSION", "INCONCLUSIVE"), rows)
    for model, noise in MODELS.items():
        rows = [
            [name, *(_percent(shares(rule, noise, at, runs, seed)["REGRESSION"]) for at in SLOWDOWNS)]
            for name, rule in RULES.items()
        ]
        _table((f"REGRESSION on {model}, at", *(f"{100 * at:+.0f} %" for at in SLOWDOWNS)), rows)
    fewer = max(1, runs // 4)
    rows = []
    for name, noise in varied(MODELS["stock"]):
        found = {at: shares(our_gate, noise, at, fewer, seed) for at in SLOWDOWNS}
        cells = [found[at]["REGRESSION"] for at in SLOWDOWNS] + [found[0.05]["PASS"], found[0.0]["INCONCLUSIVE"]]
        rows.append([name, *map(_percent, cells)])
    head = [f"REGRESSION at {100 * at:+.0f} %" for at in SLOWDOWNS]
    _table(("stock, with", *head, "PASS at +5 %", "INCONCLUSIVE at 0 %"), rows)
    rows = [
        [name, *(_percent(coverage(levels, noise, 2 * runs, seed)) for noise in MODELS.values())]
        for name, levels in (
            ("15 pairs, one look of 95 %", (0.95,)),
            ("two looks of 95 %", (0.95, 0.95)),
            ("99 %, then 96 % (this gate)", (judge.FIRST_CONFIDENCE, judge.SECOND_CONFIDENCE)),
        )
    ]
    _table(("coverage", *MODELS), rows)


if __name__ == "__main__":
    main()
