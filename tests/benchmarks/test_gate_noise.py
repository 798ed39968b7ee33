"""The bench of the gate on real noise: its rows are whole verdicts, and its table counts them."""

import json

import pytest

from android_bench.records import RunPlan
from benchmarks import gate_noise
from converters.bundle import read_bundle, write_bundle
from tests.android_bench.bench_toys import toy_contents
from tests.android_bench.pair_toys import NoisyDevice


@pytest.fixture
def models(tmp_path):
    for part in ("baseline", "candidate"):
        write_bundle(tmp_path / part, toy_contents(quantized=True))
    return read_bundle(tmp_path / "baseline"), read_bundle(tmp_path / "candidate")


@pytest.mark.parametrize(("kind", "ratio", "verdict"), [("same", 1.0, "PASS"), ("more", 1.1, "REGRESSION")])
def test_a_row_is_a_verdict_of_the_whole_gate(models, monkeypatch, tmp_path, capsys, kind, ratio, verdict) -> None:
    monkeypatch.setattr(gate_noise, "HostDevice", NoisyDevice(ratio))
    row = gate_noise.compare(kind, *models, RunPlan())
    assert (kind, verdict, 15) == (row["kind"], row["verdict"], row["pairs"])
    assert (row["confirmation"] is None) is (verdict == "PASS")

    journal = tmp_path / "journal.jsonl"
    journal.write_text(f"{json.dumps(row)}\n{json.dumps(row)}\n", "utf-8")
    gate_noise.print_summary(journal)
    counts = {"PASS": "2 | 0 | 0 | 0", "REGRESSION": "0 | 0 | 2 | 0"}[verdict]
    assert f", 2 times | {counts} |" in capsys.readouterr().out
