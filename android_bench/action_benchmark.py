"""Results as the GitHub action benchmark-action/github-action-benchmark reads them (`customSmallerIsBetter`).

`android_bench.cli_report` writes the file. Times of different sessions are not comparable, so each entry of a time
says so; ratios to a baseline that was measured beside the candidate are, and they are what an alert should watch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from android_bench.evidence import Evidence
from android_bench.summary import summarize
from android_bench.verdict import Gate

_US_PER_MS = 1e3


def action_benchmark(evidence: Evidence) -> list[dict[str, Any]]:
    """One entry a number, of which less is better: ratios, instructions, times, sizes."""
    found = [entry for gate in evidence.gates for entry in _ratios(gate)]
    return [*found, *_instructions(evidence), *_times(evidence)]


def _ratios(gate: Gate) -> Iterator[dict[str, Any]]:
    for each in gate.judgements:
        metric = each.primary
        if metric is None or metric.change is None:
            continue
        word = "instructions (emulated, not latency)" if metric.name == "instructions" else metric.name
        reach = (metric.interval[1] - metric.interval[0]) / 2 if metric.interval else 0.0
        yield {
            "name": f"{each.candidate.name} on {each.device.name}: {word} to baseline {each.baseline.sha256[:12]}",
            "unit": "ratio",
            "value": round(1 + metric.change, 6),
            "range": f"± {reach:.4f}" if metric.interval else "exact" if metric.exact else "unclear",
            "extra": f"{each.verdict}: {'; '.join(each.reasons)}\n{each.device.stands_for}",
        }


def _instructions(evidence: Evidence) -> Iterator[dict[str, Any]]:
    for session in evidence.counted:
        for model in session.models:
            if model.instructions:
                yield {
                    "name": f"{model.name} on {session.device}: instructions of one inference (emulated, not latency)",
                    "unit": "instructions",
                    "value": model.instructions.inference,
                    "range": "exact",
                    "extra": "\n".join(f"{key}: {value}" for key, value in model.counted_by.items()),
                }


def _times(evidence: Evidence) -> Iterator[dict[str, Any]]:
    for session in evidence.sessions:
        if session.context.emulated:
            continue
        for measurement in session.measurements:
            latency = summarize(measurement, session.plan.statistic).latency
            if latency is None:
                continue
            interval = latency.value_interval_ms
            shown = " – ".join(f"{end * _US_PER_MS:.3f}" for end in interval) if interval else "unclear"
            yield {
                "name": f"{measurement.model.name} on {session.name}: {session.plan.statistic} latency",
                "unit": "µs",
                "value": round(latency.value_ms * _US_PER_MS, 4),
                "range": shown,
                "extra": "not comparable with other sessions; watch the ratios\n" + "\n".join(session.concerns),
            }
