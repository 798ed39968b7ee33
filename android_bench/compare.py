"""From what was measured of two models to a judgement: rows, looks, reasons; then Holm over all of a gate.

    session, fresh session, exact facts ── this module ──► Judgement ── holm ──► Gate

After `android_bench.judge` (numbers) and `android_bench.metrics` (rows); reaches no device.
`android_bench.compare_session` measures what comes in here, `android_bench.recorded` reads it from files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from android_bench import judge, pairs, stats
from android_bench.errors import RecordError
from android_bench.metrics import Answers, accuracy_row, exact_facts, exact_row
from android_bench.records import Block, Failure, Measurement, Session, Statistic
from android_bench.session_file import samples_sha256
from android_bench.verdict import (
    PERCENTS,
    PRIMARY,
    Arm,
    BlockEntry,
    DeviceEntry,
    GateSettings,
    Judgement,
    LatencyEvidence,
    Look,
    MetricName,
    MetricVerdict,
    ModelEntry,
    SelfTestEntry,
    SessionEntry,
    Verdict,
    worst,
)
from converters.bundle import Bundle

_US_PER_NS = 1e-3


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


def session_logs(session: Session) -> tuple[judge.Floats, list[int]]:
    """Log ratios of the whole pairs of a session of two models, baseline first, and their indices."""
    old, new = (
        {block.index: block.value_ns(session.plan.statistic) for block in measurement.blocks}
        for measurement in session.measurements
    )
    shared = sorted(old.keys() & new.keys())
    if not shared:
        return np.empty(0), []
    return judge.log_ratios([new[index] for index in shared], [old[index] for index in shared]), shared


def decided(found: Sequence[Measurement], statistic: Statistic, settings: GateSettings, comparisons: int) -> bool:
    """Whether the first look at a growing session is enough; with several comparisons Holm must be sure of it too."""
    if any(each.failure for each in found):
        return True
    old, new = ({block.index: block.value_ns(statistic) for block in each.blocks} for each in found)
    shared = sorted(old.keys() & new.keys())
    if not shared:
        return False
    logs = judge.log_ratios([new[index] for index in shared], [old[index] for index in shared])
    look = judge.look_at(logs, judge.FIRST_CONFIDENCE, settings.max_slowdown)
    verdict = judge.verdict_of(look, settings.max_slowdown)
    if verdict != "REGRESSION":
        return verdict != "INCONCLUSIVE"
    p = judge.p_of_looks([look])
    return p is not None and p <= (1 - stats.CONFIDENCE) / 2 / comparisons


def looks_of(session: Session, settings: GateSettings) -> tuple[Look, ...]:
    """The looks that a session was given: one after its first rounds, one at its end if it went on."""
    logs, indices = session_logs(session)
    first = logs[[index < settings.pairs for index in indices]] if len(logs) else logs
    looks = []
    if len(first):
        looks.append(judge.look_at(first, judge.FIRST_CONFIDENCE, settings.max_slowdown))
    if session.plan.blocks > settings.pairs and len(logs):
        looks.append(judge.look_at(logs, judge.SECOND_CONFIDENCE, settings.max_slowdown))
    return tuple(looks)


def wants_confirmation(session: Session, settings: GateSettings) -> bool:
    """Whether a session on its own is a regression, which is then measured again."""
    row = _latency_row(session, settings, None)
    return row is not None and row[0].verdict == "REGRESSION"


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
    found = _latency_row(session, settings, fresh)
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
            sessions=(_pair_entry(session, paths[0]),),
            confirmation_session=_pair_entry(fresh, paths[1]) if fresh else None,
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
    """The judgements of one gate, with those slowdowns taken back that several looks at once may show by chance."""
    tested = [each for each in judgements if each.latency and not each.failure]
    values = [_p_value(each) for each in tested]
    fallen = judge.holm(values) if len(tested) > 1 else [True] * len(tested)
    stands = {id(each): falls for each, falls in zip(tested, fallen, strict=True)}
    return tuple(
        _taken_back(each, len(tested)) if _slower(each) and not stands.get(id(each), True) else each
        for each in judgements
    )


def session_entry(session: Session, path: str, arms: Mapping[str, Arm]) -> SessionEntry:
    """A session as a verdict keeps it: each block's value and how its samples were spread.

    Args:
        session: which one.
        path: of its file.
        arms: what its models are in the comparison, by name; other models are left out.
    """
    blocks = [
        _block_entry(arms[measurement.model.name], block, session.plan.statistic)
        for measurement in session.measurements
        if measurement.model.name in arms
        for block in measurement.blocks
    ]
    return SessionEntry(
        path=path,
        samples_sha256=samples_sha256(session),
        blocks=tuple(sorted(blocks, key=lambda block: block.order)),
        rejected=session.rejected,
        started_utc=session.started_utc,
        finished_utc=session.finished_utc,
    )


def _pair_entry(session: Session, path: str) -> SessionEntry:
    old, new = session.measurements
    return session_entry(session, path, {old.model.name: "baseline", new.model.name: "candidate"})


def _block_entry(arm: Arm, block: Block, statistic: Statistic) -> BlockEntry:
    return BlockEntry(
        arm=arm,
        pair=block.index,
        order=block.order,
        started_utc=block.started_utc,
        value_ns=block.value_ns(statistic),
        samples=len(block.samples_ns),
        percentiles_ns=tuple(float(value) for value in np.percentile(block.samples_ns, PERCENTS)),
    )


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


def _latency_row(
    session: Session, settings: GateSettings, fresh: Session | None
) -> tuple[MetricVerdict, LatencyEvidence] | None:
    """The row and its evidence (without the sessions' blocks); None without a single whole pair."""
    looks = looks_of(session, settings)
    if not looks:
        return None
    look, logs = looks[-1], session_logs(session)[0]
    old, new = (
        stats.median([block.value_ns(session.plan.statistic) for block in each.blocks]) for each in session.measurements
    )
    confirmation = None
    if fresh:
        again = session_logs(fresh)[0]
        confirmation = judge.look_at(again, stats.CONFIDENCE, settings.max_slowdown) if len(again) else None
    slower_us = old * (look.ratio - 1) * _US_PER_NS
    verdict = judge.verdict_of(look, settings.max_slowdown)
    too_many = session.many_rejected or (fresh is not None and fresh.many_rejected)
    note = latency_note(look, settings.max_slowdown, verdict)
    if too_many:
        verdict, note = "INCONCLUSIVE", f"over a quarter of the rounds were rejected by the device's gates; {note}"
    elif verdict == "REGRESSION" and slower_us < settings.min_effect_us:
        floor = f"slower by {slower_us:.2f} µs, below the floor of {settings.min_effect_us:g} µs"
        verdict, note = "PASS", f"{floor}; {note}"
    elif verdict == "REGRESSION" and fresh:
        verdict, note = _confirmed(confirmation, note)
    row = latency_row(look, old, new, settings, verdict, note)
    return row, LatencyEvidence(
        statistic=session.plan.statistic,
        design="pairs",
        looks=looks,
        bootstrap=judge.bootstrap(logs),
        slower_us=slower_us,
        pairs_for_two_percent=judge.pairs_for(judge.TWO_PERCENT, look),
        sessions=(),
        confirmation=confirmation,
    )


def latency_row(
    look: Look, baseline_ns: float, candidate_ns: float, settings: GateSettings, verdict: Verdict, note: str
) -> MetricVerdict:
    """The row of a look at latency; the values are those of each model alone, the change is that of the pairs."""
    return MetricVerdict(
        name="latency",
        unit="ns",
        relative=True,
        worse=1,
        baseline=baseline_ns,
        candidate=candidate_ns,
        change=look.ratio - 1,
        interval=(look.interval[0] - 1, look.interval[1] - 1) if look.interval else None,
        allowance=settings.max_slowdown,
        detectable=judge.detectable(look, settings.max_slowdown),
        exact=False,
        verdict=verdict,
        note=note,
    )


def latency_note(look: Look, max_slowdown: float, verdict: Verdict, *, what: str = "pairs") -> str:
    """What a look says, in one sentence."""
    seen = f"{look.ratio:.3f} × the time"
    if look.interval is None:
        least = pairs.least_pairs(look.confidence)
        return f"{seen} in {look.pairs} {what}; an interval of {100 * look.confidence:g} % needs {least}"
    low, high = look.interval
    told = f"{seen} ({100 * look.confidence:g} % interval {low:.3f} – {high:.3f}, {look.pairs} {what})"
    if low >= high:
        return f"{told}: the clock is too coarse to show any noise, so nothing can be told"
    allowed = f"{1 + max_slowdown:g} ×"
    detectable = judge.detectable(look, max_slowdown)
    sees = f"a slowdown of {100 * detectable:.1f} % would be caught nine times in ten" if detectable else ""
    how = {
        "REGRESSION": f"slower than the allowed {allowed}",
        "IMPROVED": f"faster than {1 - max_slowdown:g} ×",
        "PASS": f"not slower than the allowed {allowed}; {sees}",
    }.get(verdict, f"the allowed {allowed} lies inside; {sees}")
    return f"{told}: {how}"


def _confirmed(again: Look | None, note: str) -> tuple[Verdict, str]:
    if again is None or again.interval is None:
        return "INCONCLUSIVE", f"{note}; it could not be confirmed in a fresh session"
    low, high = again.interval
    seen = f"{again.ratio:.3f} × ({low:.3f} – {high:.3f}, {again.pairs} pairs)"
    if judge.confirms(again):
        return "REGRESSION", f"{note}; confirmed in a fresh session: {seen}"
    return "INCONCLUSIVE", f"{note}; but not confirmed in a fresh session: {seen}"


def _slower(judged: Judgement) -> bool:
    return any(row.name == "latency" and row.verdict == "REGRESSION" for row in judged.metrics)


def _p_value(judged: Judgement) -> float:
    value = judge.p_of_looks(judged.latency.looks) if judged.latency else None
    return 1.0 if value is None else value


def _taken_back(judged: Judgement, comparisons: int) -> Judgement:
    """The same without its slowdown, which does not stand among so many comparisons."""
    why = f"among {comparisons} comparisons at once this can be chance (Holm)"
    rows = [
        replace(row, verdict="INCONCLUSIVE", note=f"{row.note}; but {why}")
        if row.name == "latency" and row.verdict == "REGRESSION"
        else row
        for row in judged.metrics
    ]
    again = judgement(Side(model=judged.baseline), Side(model=judged.candidate), judged.device, rows)
    return replace(judged, metrics=again.metrics, verdict=again.verdict, reasons=again.reasons)
