"""From what was measured of two models to a judgement: rows, looks, reasons; then Holm over all of a gate.

    session, fresh session, exact facts ── this module ──► Judgement ── holm ──► Gate

After `android_bench.latency_verdict` and `android_bench.metrics` (rows); reaches no device.
`android_bench.compare_session` measures what comes in here, `android_bench.recorded` reads it from files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from android_bench import judge
from android_bench.errors import RecordError
from android_bench.latency_verdict import judge_latency, pair_entry
from android_bench.metrics import Answers, accuracy_row, exact_facts, exact_row
from android_bench.records import Failure, Measurement, Session
from android_bench.verdict import (
    PRIMARY,
    Arm,
    DeviceEntry,
    GateSettings,
    Judgement,
    LatencyEvidence,
    MetricName,
    MetricVerdict,
    ModelEntry,
    SelfTestEntry,
    Verdict,
    worst,
)
from converters.bundle import Bundle

# What is tested together by Holm's method.
_FAMILIES: tuple[tuple[MetricName, ...], ...] = (("latency",), ("accuracy", "mean_average_precision"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two models, and what is known of it without running it."""

    model: ModelEntry
    facts: dict[MetricName, float] = field(default_factory=dict)


def side_of(bundle: Bundle) -> Side:
    """A bundle as one of the two models."""
    size = bundle.model.stat().st_size
    return Side(
        model=ModelEntry(
            name=bundle.name,
            student=bundle.student,
            precision=bundle.precision,
            sha256=bundle.sha256,
            size_bytes=size,
            synthetic=bundle.synthetic,
            source=str(bundle.folder),
        ),
        facts=exact_facts(bundle.document["ops"], size),
    )


def arm_name(bundle: Bundle, arm: Arm) -> str:
    """What a model is called in a session of two, which may be of one name."""
    return f"{bundle.name} ({arm})"


def judge_session(
    baseline: Side,
    candidate: Side,
    device: DeviceEntry,
    session: Session,
    settings: GateSettings,
    *,
    fresh: Session | None = None,
    paths: tuple[str, str] = ("", ""),
    self_test: SelfTestEntry | None = None,
    notes: Sequence[str] = (),
) -> Judgement:
    """What a session of both models, the baseline first, says.

    Args:
        baseline: the model that stands.
        candidate: the model that may replace it.
        device: where.
        session: of the two, in interleaved pairs.
        settings: what is allowed.
        fresh: the session that confirms a regression, or not.
        paths: of the two sessions' files, for the document.
        self_test: the last one on this device.
        notes: remarks that change nothing.
    """
    old, new = session.measurements
    found = judge_latency(session, settings, fresh)
    failure = next((each.failure for each in (*session.measurements, *_measured(fresh)) if each.failure), None)
    rows: list[MetricVerdict] = [found[0]] if found else []
    said = list(notes)
    if old.predictions and new.predictions:
        rows += _accuracy(new.predictions, old.predictions, baseline, candidate, settings, said)
    rows += exact_rows(baseline, candidate, settings)
    evidence = None
    if found:
        evidence = replace(
            found[1],
            sessions=(pair_entry(session, paths[0]),),
            confirmation_session=pair_entry(fresh, paths[1]) if fresh else None,
        )
    made = judgement(
        baseline, candidate, device, rows, failure=failure, latency=evidence, self_test=self_test, notes=said
    )
    if found is None and failure is None and session.rejected:
        why = "; ".join(session.rejected[-1].reasons)
        rounds = f"{len(session.rejected)} rounds were rejected by the device's gates and no pair is left: {why}"
        made = replace(made, reasons=(rounds, *made.reasons[1:]))
    return made


def judgement(
    baseline: Side,
    candidate: Side,
    device: DeviceEntry,
    rows: Sequence[MetricVerdict],
    *,
    failure: Failure | None = None,
    latency: LatencyEvidence | None = None,
    self_test: SelfTestEntry | None = None,
    notes: Sequence[str] = (),
) -> Judgement:
    """The pair's verdict from its rows: that of time or instructions, and of the others only what got worse."""
    primary = [row for row in rows if row.name in PRIMARY]
    regressed = [row for row in rows if row.verdict == "REGRESSION"]
    verdict: Verdict = worst([row.verdict for row in (primary[:1] + regressed)])
    deciding = regressed or primary[:1]
    reasons = [f"{row.name.replace('_', ' ')}: {row.note}" for row in deciding]
    if failure:
        verdict, reasons = "INCONCLUSIVE", [failure.message]
    elif not primary:
        reasons = ["nothing was measured that could be compared"]
    return Judgement(
        baseline=baseline.model,
        candidate=candidate.model,
        device=device,
        metrics=tuple(rows),
        verdict=verdict,
        reasons=tuple(reasons),
        notes=tuple(notes),
        latency=latency,
        failure=failure,
        self_test=self_test,
    )


def not_comparable(baseline: Side, candidate: Side, device: DeviceEntry, differences: Sequence[str]) -> Judgement:
    """Two results that cannot be compared, and why."""
    return Judgement(
        baseline=baseline.model,
        candidate=candidate.model,
        device=device,
        metrics=(),
        verdict="NOT COMPARABLE",
        reasons=tuple(differences),
    )


def exact_rows(baseline: Side, candidate: Side, settings: GateSettings) -> list[MetricVerdict]:
    """The rows of what both models are known for without being run."""
    same = baseline.model.precision == candidate.model.precision
    return [
        exact_row(name, baseline.facts[name], candidate.facts[name], settings, same_precision=same)
        for name in baseline.facts
        if name in candidate.facts
    ]


def apply_holm(judgements: Sequence[Judgement]) -> tuple[Judgement, ...]:
    """The judgements of one gate, without the regressions that so many at once may show by chance.

    Latency is one family of tests, accuracy another; what is exact needs no test.
    """
    made = list(judgements)
    for family in _FAMILIES:
        tested = [(place, value) for place, each in enumerate(made) if (value := _p_value(each, family)) is not None]
        fallen = judge.holm([value for _, value in tested]) if len(tested) > 1 else [True] * len(tested)
        for (place, _), falls in zip(tested, fallen, strict=True):
            if not falls:
                made[place] = _taken_back(made[place], family, len(tested))
    return tuple(made)


def _measured(session: Session | None) -> tuple[Measurement, ...]:
    return session.measurements if session else ()


def _accuracy(
    new: Answers, old: Answers, baseline: Side, candidate: Side, settings: GateSettings, notes: list[str]
) -> list[MetricVerdict]:
    same_file = baseline.model.sha256 == candidate.model.sha256
    try:
        return [accuracy_row(new, old, settings, same_file=same_file)]
    except RecordError as error:
        notes.append(f"accuracy was not compared: {error}")
        return []


def _p_value(judged: Judgement, family: Sequence[MetricName]) -> float | None:
    """One-sided, that what got worse is no more than allowed; None where this family was not tested."""
    row = next((row for row in judged.metrics if row.name in family and not row.exact), None)
    if row is None or judged.failure:
        return None
    if judged.latency and row.name == "latency":
        value = judge.p_of_looks(judged.latency.looks)
        return 1.0 if value is None else value
    return judge.p_of_interval(row.change, row.interval, -row.allowance)


def _taken_back(judged: Judgement, family: Sequence[MetricName], comparisons: int) -> Judgement:
    """The same without its regressions of a family, which do not stand among so many comparisons."""
    why = f"among {comparisons} comparisons at once this can be chance (Holm)"
    rows = [
        replace(row, verdict="INCONCLUSIVE", note=f"{row.note}; but {why}")
        if row.name in family and row.verdict == "REGRESSION"
        else row
        for row in judged.metrics
    ]
    if tuple(rows) == judged.metrics:
        return judged
    again = judgement(Side(model=judged.baseline), Side(model=judged.candidate), judged.device, rows)
    return replace(judged, metrics=again.metrics, verdict=again.verdict, reasons=again.reasons)
