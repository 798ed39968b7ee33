"""JUnit and github-action-benchmark: each verdict in the element that its readers know, nothing emulated as a time."""

import dataclasses
from xml.etree import ElementTree

import pytest

from android_bench.action_benchmark import action_benchmark
from android_bench.evidence import Evidence
from android_bench.junit import junit
from android_bench.records import Failure
from tests.android_bench.report_toys import context, counted, everything, session
from tests.android_bench.verdict_toys import example_gate, example_judgement, failed_judgement


def case_of(judgement, **settings):
    gate = example_gate(judgement)
    gate = dataclasses.replace(gate, settings=dataclasses.replace(gate.settings, **settings))
    return ElementTree.fromstring(junit([gate])).find(".//testcase")


def outcome(judgement, **settings) -> str:
    case = case_of(judgement, **settings)
    return next((tag for tag in ("failure", "error", "skipped") if case.find(tag) is not None), "passed")


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        ("PASS", "passed"),
        ("IMPROVED", "passed"),
        ("REGRESSION", "failure"),
        ("INCONCLUSIVE", "skipped"),
        ("NOT COMPARABLE", "skipped"),
    ],
)
def test_each_verdict_has_its_element(verdict, expected) -> None:
    assert expected == outcome(example_judgement("phone", verdict))


def test_trouble_with_the_device_is_an_error_and_another_function_a_failure() -> None:
    golden = dataclasses.replace(failed_judgement(), failure=Failure(kind="golden", message="computes something else"))

    assert "error" == outcome(failed_judgement())
    assert "failure" == outcome(golden)


@pytest.mark.parametrize(
    ("verdict", "settings", "expected"),
    [
        ("INCONCLUSIVE", {"inconclusive": "fail"}, "failure"),
        ("INCONCLUSIVE", {"inconclusive": "pass"}, "passed"),
        ("NOT COMPARABLE", {"inconclusive": "pass"}, "skipped"),
        ("REGRESSION", {"report_only": True}, "skipped"),
        ("INCONCLUSIVE", {"inconclusive": "fail", "report_only": True}, "skipped"),
    ],
)
def test_what_was_asked_of_the_gate_holds_here_too(verdict, settings, expected) -> None:
    assert expected == outcome(example_judgement("phone", verdict), **settings)


def test_a_device_that_failed_is_an_error_even_where_nothing_fails_the_job() -> None:
    assert "error" == outcome(failed_judgement(), report_only=True)


def test_the_reason_and_the_numbers_are_in_the_message() -> None:
    judgement = example_judgement("phone", "REGRESSION")
    failure = case_of(judgement).find("failure")

    assert f"REGRESSION: {judgement.reasons[0]}" == failure.get("message")
    assert "latency: REGRESSION, 2.10 ms → 2.23 ms, +6.10 %, interval +4.90 to +7.30 %" in failure.text
    assert "detectable 4.70 %" in failure.text


def test_the_counts_of_a_suite_are_those_of_its_tests() -> None:
    root = ElementTree.fromstring(junit([example_gate()]))
    suite = root.find("testsuite")

    assert {"tests": "8", "failures": "2", "errors": "1", "skipped": "2"} == {
        name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")
    }
    assert "8" == root.get("tests")
    assert "2700" == suite.get("time")


def test_characters_that_xml_has_no_room_for_are_replaced() -> None:
    judgement = dataclasses.replace(example_judgement(), reasons=("bad \x00\x1b[31m & <b>",))

    assert "REGRESSION: bad \ufffd\ufffd[31m & <b>" == case_of(judgement).find("failure").get("message")


def test_emulated_instructions_are_called_so_everywhere() -> None:
    case = case_of(example_judgement("virtual", "REGRESSION"))
    properties = {each.get("name"): each.get("value") for each in case.iter("property")}

    assert "emulated, instructions, not latency" in properties["device"]
    assert "latency" not in properties


def test_every_entry_has_what_the_action_reads_and_less_is_better() -> None:
    entries = action_benchmark(everything())

    assert {"ratio", "instructions", "µs"} == {entry["unit"] for entry in entries}
    assert len({entry["name"] for entry in entries}) == len([e for e in entries if e["unit"] != "ratio"]) + len(
        {e["name"] for e in entries if e["unit"] == "ratio"}
    )
    for entry in entries:
        assert {"name", "unit", "value", "range", "extra"} == set(entry)
        assert entry["value"] > 0
        assert "accuracy" not in entry["name"]
        if entry["unit"] == "instructions":
            assert "emulated, not latency" in entry["name"]
            assert "exact" == entry["range"]
        if entry["unit"] == "µs":
            assert entry["extra"].startswith("not comparable with other sessions")


def test_a_ratio_names_its_baseline_and_verdict() -> None:
    (entry,) = action_benchmark(Evidence(gates=(example_gate(example_judgement("phone", "REGRESSION")),)))

    assert 1.061 == entry["value"]
    assert "± 0.0120" == entry["range"]
    assert "tcresnet8-int8 on pixel1: latency to baseline 803ac6f8a160" == entry["name"]
    assert entry["extra"].startswith("REGRESSION: ")


def test_times_of_an_emulated_phone_are_left_out() -> None:
    emulated = session(context=context(kind="phone", emulated=True))

    assert [] == action_benchmark(Evidence(sessions=(emulated,)))
    assert {"instructions"} == {entry["unit"] for entry in action_benchmark(Evidence(counted=(counted(),)))}
