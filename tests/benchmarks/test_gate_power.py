"""What docs/verdicts.md promises of the gate, simulated anew with fewer comparisons."""

import pytest

from android_bench import judge
from benchmarks.gate_power import MODELS, PROMISES, RULES, coverage, our_gate, shares, varied

RUNS = 3000


def margin(percent: float) -> float:
    """Three standard errors of so few comparisons."""
    share = percent / 100
    return 300 * (share * (1 - share) / RUNS) ** 0.5


@pytest.mark.parametrize(("verdict", "slowdown", "low", "high"), PROMISES)
def test_a_promise_holds_on_a_stock_phone(verdict, slowdown, low, high) -> None:
    seen = shares(our_gate, MODELS["stock"], slowdown, RUNS, seed=1)[verdict]
    assert low - margin(low) <= seen <= high + margin(high)


def test_both_looks_together_miss_no_more_than_one_of_95_percent() -> None:
    ours = coverage((judge.FIRST_CONFIDENCE, judge.SECOND_CONFIDENCE), MODELS["stock"], RUNS, seed=1)
    nominal = coverage((0.95, 0.95), MODELS["stock"], RUNS, seed=1)
    assert ours >= 94.0
    assert nominal < 93.5


@pytest.mark.parametrize("name", [name for name in RULES if name.startswith(("stored", "Mann", "t-test"))])
def test_every_other_rule_cries_wolf_or_sees_less_on_a_stock_phone(name) -> None:
    false_alarms = shares(RULES[name], MODELS["stock"], 0.0, 1000, seed=1)["REGRESSION"]
    power = shares(RULES[name], MODELS["stock"], 0.05, 1000, seed=1)["REGRESSION"]
    assert false_alarms > 5 or power < 60


def test_every_assumption_is_varied() -> None:
    names = {name.split(" ")[0] for name, _ in varied(MODELS["stock"])}
    assert set(MODELS["stock"].__dataclass_fields__) <= names
