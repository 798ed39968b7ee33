"""Verdicts on disk: what is written is read back, and nothing that was altered passes."""

import json

import pytest

from android_bench.errors import RecordError
from android_bench.verdict_file import gate_to_json, read_gate, write_gate
from tests.android_bench.verdict_toys import example_gate, example_judgement, failed_judgement


def test_a_gate_is_read_as_it_was_written(tmp_path) -> None:
    gate = example_gate()
    write_gate(tmp_path / "compare.json", gate)
    assert gate == read_gate(tmp_path / "compare.json")


def test_the_document_says_its_verdict_and_exit_code() -> None:
    document = gate_to_json(example_gate())
    assert ("tkd.compare/1", "REGRESSION", 1) == tuple(document[key] for key in ("format", "verdict", "exit_code"))
    assert "tcresnet8-int8 on pixel1" == document["judgements"][0]["name"]


def test_any_edit_is_found(tmp_path) -> None:
    path = tmp_path / "compare.json"
    write_gate(path, example_gate(example_judgement()))
    document = json.loads(path.read_text("utf-8"))
    document["judgements"][0]["latency"]["sessions"][0]["blocks"][0]["value_ns"] += 1
    path.write_text(json.dumps(document), "utf-8")
    with pytest.raises(RecordError, match="was edited after it was written"):
        read_gate(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is damaged \\(not JSON"),
        ("[]", "has format None, expected 'tkd.compare/1'"),
        ('{"format": "tkd.bench/1"}', "has format 'tkd.bench/1', expected 'tkd.compare/1'"),
        ('{"format": "tkd.compare/2"}', "has format 'tkd.compare/2', expected 'tkd.compare/1'; update this toolkit"),
        ('{"format": "tkd.compare/1"}', "was edited after it was written"),
    ],
)
def test_what_is_no_verdict_is_refused_with_what_was_seen(tmp_path, text, message) -> None:
    path = tmp_path / "compare.json"
    path.write_text(text, "utf-8")
    with pytest.raises(RecordError, match=message):
        read_gate(path)


def test_a_verdict_that_is_gone_is_named(tmp_path) -> None:
    with pytest.raises(RecordError, match=r"no verdict at .*compare\.json"):
        read_gate(tmp_path / "compare.json")


def gate_of(*verdicts: str, failed: bool = False, **settings):
    from dataclasses import replace

    judgements = [example_judgement("phone", verdict) for verdict in verdicts]
    gate = example_gate(*judgements, *([failed_judgement()] if failed else []))
    return replace(gate, settings=replace(gate.settings, **settings))


@pytest.mark.parametrize(
    ("code", "gate"),
    [
        (0, gate_of("PASS", "IMPROVED")),
        (1, gate_of("PASS", "REGRESSION", "INCONCLUSIVE", failed=True)),
        (4, gate_of("INCONCLUSIVE", failed=True)),
        (3, gate_of("PASS", "INCONCLUSIVE")),
        (3, gate_of("PASS", "NOT COMPARABLE")),
        (1, gate_of("INCONCLUSIVE", inconclusive="fail")),
        (0, gate_of("INCONCLUSIVE", inconclusive="pass")),
        (3, gate_of("INCONCLUSIVE", "NOT COMPARABLE", inconclusive="pass")),
        (0, gate_of("REGRESSION", "INCONCLUSIVE", "NOT COMPARABLE", report_only=True)),
        (4, gate_of("REGRESSION", failed=True, report_only=True)),
    ],
)
def test_several_verdicts_end_in_one_code(code, gate) -> None:
    assert code == gate.exit_code
