"""Verdicts as JUnit's XML, for services that show test results.

One test a comparison: REGRESSION is a failure, trouble with the device an error, what has no answer is skipped with
its reason. `android_bench.cli_report` writes the file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from xml.etree import ElementTree

from android_bench.report import duration
from android_bench.verdict import Gate, Judgement, MetricVerdict

# What XML 1.0 has no room for, not even escaped.
_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(gates: Sequence[Gate]) -> str:
    """The document for several calls of the gate, a test suite each."""
    root = ElementTree.Element("testsuites", name="tkd-bench compare")
    for gate in gates:
        cases = [_case(gate, judgement) for judgement in gate.judgements]
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name="latency gate",
            tests=str(len(cases)),
            failures=str(_count(cases, "failure")),
            errors=str(_count(cases, "error")),
            skipped=str(_count(cases, "skipped")),
            timestamp=gate.started_utc.removesuffix("Z"),
            time=f"{_seconds(gate):.0f}",
        )
        suite.extend(cases)
    for name, tag in {"tests": "testcase", "failures": "failure", "errors": "error", "skipped": "skipped"}.items():
        root.set(name, str(len(root.findall(f".//{tag}"))))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _case(gate: Gate, judgement: Judgement) -> ElementTree.Element:
    case = ElementTree.Element(
        "testcase",
        classname=_clean(f"latency.{judgement.device.name}"),
        name=_clean(f"{judgement.candidate.name} against {judgement.baseline.name}"),
        time="0",
    )
    properties = ElementTree.SubElement(case, "properties")
    for name, value in _properties(judgement):
        ElementTree.SubElement(properties, "property", name=name, value=_clean(value))
    outcome = _outcome(gate, judgement)
    if outcome is not None:
        tag, kind, message = outcome
        details = ElementTree.SubElement(case, tag, message=_clean(message))
        if tag != "skipped":
            details.set("type", kind)
            details.text = _clean("\n".join([*judgement.reasons, *(_metric_line(each) for each in judgement.metrics)]))
    return case


def _outcome(gate: Gate, judgement: Judgement) -> tuple[str, str, str] | None:
    """(element, type, message); None is a passed test."""
    reason = "; ".join(judgement.reasons)
    if judgement.failure and judgement.failure.kind == "device":
        return "error", "device", judgement.failure.message
    settings = gate.settings
    golden = judgement.failure is not None
    no = golden or judgement.verdict == "REGRESSION"
    no |= judgement.verdict == "INCONCLUSIVE" and settings.inconclusive == "fail"
    word = "golden mismatch" if golden else judgement.verdict
    if no and settings.report_only:
        return "skipped", word, f"{word} (report only): {reason}"
    if no:
        return "failure", word, f"{word}: {reason}"
    passes = judgement.verdict in ("PASS", "IMPROVED")
    passes |= judgement.verdict == "INCONCLUSIVE" and settings.inconclusive == "pass"
    return None if passes else ("skipped", word, f"{word}: {reason}")


def _properties(judgement: Judgement) -> list[tuple[str, str]]:
    found = [
        ("verdict", judgement.verdict),
        ("device", judgement.device.title),
        ("stands_for", judgement.device.stands_for),
        ("baseline_sha256", judgement.baseline.sha256),
        ("candidate_sha256", judgement.candidate.sha256),
    ]
    return found + [(each.name, _metric_line(each)) for each in judgement.metrics]


def _metric_line(metric: MetricVerdict) -> str:
    unit = "%" if metric.relative else "points"
    seen = [f"{100 * metric.change:+.2f} {unit}" if metric.change is not None else "unclear"]
    if metric.interval:
        seen.append(f"interval {100 * metric.interval[0]:+.2f} to {100 * metric.interval[1]:+.2f} {unit}")
    if metric.detectable is not None:
        seen.append(f"detectable {100 * metric.detectable:.2f} {unit}")
    values = [_value(metric, value) for value in (metric.baseline, metric.candidate)]
    seen.append(f"allowed {100 * metric.allowance:.2f} {unit}")
    return f"{metric.name}: {metric.verdict}, {values[0]} → {values[1]}, {', '.join(seen)}"


def _value(metric: MetricVerdict, value: float | None) -> str:
    if value is None:
        return "unknown"
    return duration(value * 1e-6) if metric.unit == "ns" else f"{value:.6g} {metric.unit}"


def _count(cases: Sequence[ElementTree.Element], tag: str) -> int:
    return sum(case.find(tag) is not None for case in cases)


def _seconds(gate: Gate) -> float:
    started, finished = (
        datetime.fromisoformat(each.replace("Z", "+00:00")) for each in (gate.started_utc, gate.finished_utc)
    )
    return max(0.0, (finished - started).total_seconds())


def _clean(text: str) -> str:
    return _NOT_IN_XML.sub("\ufffd", text)
