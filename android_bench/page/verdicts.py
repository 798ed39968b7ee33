"""The answers of `tkd-bench compare`: the word, why, every metric, and the pairs that it stands on."""

from __future__ import annotations

from collections.abc import Sequence

from android_bench.page.axes import Chart, Scale, drawing, frame, line, linear_scale
from android_bench.page.front import mark
from android_bench.page.markup import Markup, join, table, tag
from android_bench.report import byte_words, duration
from android_bench.verdict import BlockEntry, Gate, Judgement, LatencyEvidence, MetricVerdict

_PAIRS_PX = 150
_TITLES = {
    "latency": "latency",
    "instructions": "instructions (emulated)",
    "mean_average_precision": "mAP",
    "int8_share": "int8 share",
    "macs": "MACs",
}


def gate_section(name: str, gate: Gate) -> Markup:
    """One call of the gate: its verdict in a sentence, then a box for each pair of models.

    Args:
        name: unique on the page.
        gate: what was found.
    """
    count = len(gate.judgements)
    asked = (
        f"{count} comparison{'' if count == 1 else 's'}, {gate.started_utc} to {gate.finished_utc}; allowed: "
        f"{100 * gate.settings.max_slowdown:g} % time, {100 * gate.settings.max_accuracy_drop:g} points of accuracy"
    )
    stopped = tag("p", "INTERRUPTED: what is missing was not measured.", class_="loud") if gate.interrupted else None
    only = tag("p", "Report only: these verdicts fail no job.", class_="loud") if gate.settings.report_only else None
    boxes = [_box(f"{name}-{at}", each) for at, each in enumerate(gate.judgements)]
    overview = _overview(gate) if count > 1 else None
    return join([tag("p", asked, class_="soft"), stopped, only, overview, *boxes])


def verdict_word(verdict: str) -> Markup:
    """The verdict in its colour; the word itself says it too."""
    return tag("span", verdict, class_=f"word {verdict.partition(' ')[0]}")


def change_words(metric: MetricVerdict, value: float) -> str:
    """A change of this metric with its sign: percent where it is relative, points where it is a share."""
    return f"{100 * value:+.{2 if metric.exact else 1}f} {'%' if metric.relative else 'points'}".replace("-", "−")


def value_words(metric: MetricVerdict, value: float | None) -> str:
    """A value in this metric's unit."""
    if value is None:
        return "–"
    if metric.unit == "ns":
        return duration(value * 1e-6)
    if metric.unit == "share":
        return f"{100 * value:.1f} %"
    return byte_words(int(value)) if metric.unit == "bytes" else f"{value:,.0f}"


def _overview(gate: Gate) -> Markup:
    """All pairs at a glance."""
    rows = []
    for each in gate.judgements:
        metric = each.primary
        known = metric is not None and metric.change is not None
        rows.append((
            _word(each),
            f"{each.candidate.name} on {each.device.name}",
            change_words(metric, metric.change) if metric and metric.change is not None else "–",
            _interval_words(metric) if metric and known else "–",
            change_words(metric, metric.worse * metric.allowance) if metric else "–",
            change_words(metric, metric.worse * metric.detectable) if metric and metric.detectable else "–",
            _TITLES.get(metric.name, metric.name) if metric else "–",
        ))  # fmt: skip
    head = ("verdict", "candidate", "change", "interval", "allowed", "detectable", "decided by")
    return table(head, rows, "All comparisons", "named")


def _word(judgement: Judgement) -> Markup:
    lost = judgement.failure is not None and judgement.failure.kind == "device"
    return verdict_word("NOT MEASURED" if lost else judgement.verdict)


def _box(name: str, judgement: Judgement) -> Markup:
    models = f"{judgement.candidate.name} on {judgement.device.title}"
    hashes = join([
        f"against {judgement.baseline.name} ", tag("code", judgement.baseline.sha256[:12]), ", candidate ",
        tag("code", judgement.candidate.sha256[:12]), f"; {judgement.device.stands_for}",
    ])  # fmt: skip
    parts = [tag("p", hashes, class_="soft"), *(tag("p", reason) for reason in judgement.reasons)]
    if judgement.metrics:
        head = ("metric", "baseline", "candidate", "change", "interval", "allowed", "detectable", "verdict")
        parts.append(table(head, [_row(metric) for metric in judgement.metrics], f"Metrics of {models}"))
    if judgement.latency:
        parts.append(_pairs(f"{name}-pairs", judgement.latency, judgement))
    parts.append(_remarks(judgement))
    head_line = tag("summary", tag("h3", _word(judgement), tag("span", models)))
    is_open = judgement.verdict not in ("PASS", "IMPROVED")
    return tag("details", head_line, *parts, class_=f"verdict {judgement.verdict.partition(' ')[0]}", open=is_open)


def _row(metric: MetricVerdict) -> tuple[Markup | str, ...]:
    return (
        _TITLES.get(metric.name, metric.name),
        value_words(metric, metric.baseline),
        value_words(metric, metric.candidate),
        change_words(metric, metric.change) if metric.change is not None else "unclear",
        _interval_words(metric),
        change_words(metric, metric.worse * metric.allowance),
        change_words(metric, metric.worse * metric.detectable) if metric.detectable is not None else "–",
        verdict_word(metric.verdict),
    )


def _interval_words(metric: MetricVerdict) -> str:
    if metric.interval is None:
        return "exact" if metric.exact else "unclear"
    low, high = (change_words(metric, end) for end in metric.interval)
    return f"{low.rpartition(' ')[0]} to {high}"


def _pairs(name: str, latency: LatencyEvidence, judgement: Judgement) -> Markup:
    """Each pair's ratio in the order measured, the allowed one, and the estimate with its interval."""
    ratios = _ratios(latency)
    if not ratios:
        return join(())
    look = latency.looks[-1]
    metric = judgement.primary
    allowed = 1 + (metric.allowance if metric else 0.0)
    x = Scale(low=-0.7, high=len(ratios) - 0.3)
    y = linear_scale([1.0, allowed, *(ratio for _, ratio in ratios)], room=0.1)
    parts = [
        frame(x, y, lambda at: f"{at + 1:.0f}", lambda at: f"{at:.2f} ×", "pair, in the order measured"),
        line(0, y(1), 1, y(1), "zero"),
        line(0, y(allowed), 1, y(allowed), "allowed"),
    ]
    for at, (pair, ratio) in enumerate(ratios):
        parts.append(mark(x(at), y(ratio), judgement.candidate.precision, 0, f"pair {pair + 1}: {ratio:.3f} ×"))
    if look.interval:
        parts.append(line(0.997, y(look.interval[0]), 0.997, y(look.interval[1]), "interval"))
    interval = f", {100 * look.confidence:g} % interval {look.interval[0]:.3f} – {look.interval[1]:.3f}" if (
        look.interval) else ""  # fmt: skip
    summary = f"{len(ratios)} pairs, ratio {look.ratio:.3f}{interval}; allowed is {allowed:.3f}."
    chart = Chart(name=name, title="Ratio of each pair of blocks", summary=summary, height_px=_PAIRS_PX)
    rows = [(f"pair {pair + 1}", f"{ratio:.4f} ×") for pair, ratio in ratios]
    return tag(
        "details",
        tag("summary", f"Pairs: {summary}"),
        drawing(chart, *parts),
        tag("p", "Dashed: what is allowed. The bar at the right end: the interval.", class_="soft"),
        tag("details", tag("summary", "The same in numbers"), table(("pair", "candidate / baseline"), rows, "Pairs")),
        open=judgement.verdict in ("REGRESSION", "INCONCLUSIVE"),
    )


def _ratios(latency: LatencyEvidence) -> list[tuple[int, float]]:
    """(pair, candidate / baseline) of the deciding session; none where two sessions were compared."""
    if latency.design != "pairs":
        return []
    arms: dict[int, dict[str, BlockEntry]] = {}
    for block in latency.sessions[0].blocks:
        arms.setdefault(block.pair, {})[block.arm] = block
    return [
        (pair, both["candidate"].value_ns / both["baseline"].value_ns)
        for pair, both in sorted(arms.items())
        if len(both) == 2
    ]


def _remarks(judgement: Judgement) -> Markup:
    lines: Sequence[str] = [
        *(metric.note for metric in judgement.metrics if metric.note and not metric.exact),
        *judgement.notes,
        *_looks(judgement.latency),
        _self_test(judgement),
        *(f"not clean: {concern}" for concern in judgement.device.concerns),
    ]
    if judgement.candidate.synthetic or judgement.baseline.synthetic:
        lines = [*lines, "SYNTHETIC data: this accuracy says nothing about recorded audio"]
    return tag("ul", [tag("li", text, class_="loudly" if text.isupper() else None) for text in lines], class_="remarks")


def _looks(latency: LatencyEvidence | None) -> list[str]:
    if latency is None:
        return []
    lines = []
    if latency.confirmation:
        again = latency.confirmation
        interval = f" ({again.interval[0]:.3f} – {again.interval[1]:.3f})" if again.interval else ""
        lines.append(f"measured again in a fresh session of {again.pairs} pairs: {again.ratio:.3f} ×{interval}")
    if latency.pairs_for_two_percent:
        lines.append(f"{latency.pairs_for_two_percent} pairs would tell a change of 2 % nine times in ten")
    return lines


def _self_test(judgement: Judgement) -> str:
    test = judgement.self_test
    if test is None:
        return "no self-test of the gate on this device yet: tkd-bench selftest"
    seen = "" if test.seen_work is None else f", {100 * test.extra_work:g} % extra work was seen as "
    seen += "" if test.seen_work is None else f"{100 * test.seen_work:.1f} %"
    return f"self-test of the gate on this device, {test.finished_utc}: {'passed' if test.passed else 'FAILED'}{seen}"
