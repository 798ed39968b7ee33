"""A gate's verdicts as a table for people: on the terminal with rich, and the same cells in Markdown.

After `android_bench.verdict`; `android_bench.cli_compare` prints and saves what is made here.
"""

from __future__ import annotations

from collections.abc import Mapping

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from android_bench.report import duration
from android_bench.verdict import Gate, Judgement, MetricName, MetricVerdict, Verdict

_COLUMNS = ("baseline", "candidate", "change", "interval", "allowed", "detectable", "verdict")
_STYLES: Mapping[Verdict, str] = {
    "PASS": "green",
    "IMPROVED": "green",
    "REGRESSION": "bold red",
    "INCONCLUSIVE": "yellow",
    "NOT COMPARABLE": "yellow",
}
_TITLES: Mapping[MetricName, str] = {"mean_average_precision": "mAP", "macs": "MACs", "int8_share": "int8 share"}


def headline(judged: Judgement) -> str:
    """The verdict, the candidate and where."""
    return f"{judged.verdict}: {judged.candidate.name} on {judged.device.title}"


def cells(metric: MetricVerdict) -> tuple[str, ...]:
    """One metric's row, its name first."""
    return (
        _TITLES.get(metric.name, metric.name),
        _value(metric, metric.baseline),
        _value(metric, metric.candidate),
        "–" if metric.change is None else _change(metric, metric.change),
        _interval(metric),
        _change(metric, metric.worse * metric.allowance),
        "exact" if metric.exact else "unclear" if metric.detectable is None else _detectable(metric),
        metric.verdict,
    )


def remarks(judged: Judgement) -> list[str]:
    """Sentences that belong under a pair's table: why, what to know about it, and what keeps it from being clean."""
    latency, test = judged.latency, judged.self_test
    lines = [f"why: {reason}" for reason in judged.reasons]
    lines += [f"{row.name}: {row.note}" for row in judged.metrics if row.name in ("accuracy", "mean_average_precision")]
    if latency and latency.pairs_for_two_percent:
        lines.append(f"{latency.pairs_for_two_percent} pairs as noisy as these would tell 2 % from nothing")
    lines += judged.notes
    if any(row.name in ("accuracy", "mean_average_precision") for row in judged.metrics) and (
        judged.baseline.synthetic or judged.candidate.synthetic
    ):
        lines.append("SYNTHETIC data: this accuracy says nothing about recorded audio")
    for session in (*latency.sessions, latency.confirmation_session) if latency else ():
        if session:
            lines += [f"REJECTED: round {each.index + 1}: {'; '.join(each.reasons)}" for each in session.rejected]
    lines += [f"not clean: {concern}" for concern in judged.device.concerns]
    if (latency and latency.design == "pairs") or test:
        lines.append(
            f"no self-test on this device yet: tkd-bench selftest --device {judged.device.name}"
            if test is None
            else f"self-test on this device: {'passed' if test.passed else 'FAILED'} on {test.finished_utc[:10]}"
        )
    return lines


def terminal(gate: Gate) -> RenderableType:
    """The gate for a terminal."""
    parts: list[RenderableType] = []
    for judged in gate.judgements:
        parts.append(Text(headline(judged), style=_STYLES[judged.verdict]))
        parts.append(Text(judged.device.stands_for, style="dim"))
        if judged.metrics:
            parts += ["", _table(judged), ""]
        parts += [Text(line, style="yellow" if _is_loud(line) else "") for line in remarks(judged)]
        parts.append("")
    parts.append(Text(_closing(gate), style=_STYLES[gate.verdict]))
    return Group(*parts)


def markdown(gate: Gate) -> str:
    """The same in Markdown, for a job's summary: the verdicts first, the evidence below."""
    lines = [f"# {_closing(gate)}", "", f"{gate.started_utc} – {gate.finished_utc}", ""]
    if len(gate.judgements) > 1:
        lines += ["| pair | verdict | why |", "| --- | --- | --- |"]
        lines += [_pipes((each.name, each.verdict, each.reasons[0])) for each in gate.judgements] + [""]
    for judged in gate.judgements:
        lines += [f"## {headline(judged)}", "", judged.device.stands_for, ""]
        if judged.metrics:
            lines += [_pipes(("metric", *_COLUMNS)), _pipes(("---", *["---:"] * len(_COLUMNS)))]
            lines += [_pipes(cells(metric)) for metric in judged.metrics] + [""]
        lines += [f"- {line}" for line in remarks(judged)] + [""]
        lines += ["| model | from | SHA-256 of model.tflite |", "| --- | --- | --- |"]
        lines += [
            _pipes((f"{arm} {model.name}", model.source, f"`{model.sha256}`"))
            for arm, model in (("baseline", judged.baseline), ("candidate", judged.candidate))
        ] + [""]
    return "\n".join(lines)


def _closing(gate: Gate) -> str:
    count = len(gate.judgements)
    bad = sum(each.verdict == "REGRESSION" for each in gate.judgements)
    of = f"{bad} of {count} pairs" if count > 1 else f"{count} pair"
    only = "; reported only" if gate.settings.report_only else ""
    interrupted = "; INTERRUPTED, the rest was not measured" if gate.interrupted else ""
    what = gate.verdict if gate.verdict != "REGRESSION" or count == 1 else f"REGRESSION in {of}"
    return f"{what} (exit code {int(gate.exit_code)}{only}{interrupted})"


def _value(metric: MetricVerdict, value: float | None) -> str:
    if value is None:
        return "–"
    if metric.unit == "ns":
        return duration(value * 1e-6)
    if metric.unit == "share":
        return f"{100 * value:.1f} %"
    return f"{value:,.0f}"


def _change(metric: MetricVerdict, change: float) -> str:
    digits = 2 if metric.exact and abs(change) < 0.1 else 1
    return f"{100 * change:+.{digits}f} {'%' if metric.relative else 'points'}".replace("-", "−")


def _interval(metric: MetricVerdict) -> str:
    if metric.exact:
        return "exact"
    if metric.interval is None:
        return "unclear"
    low, high = (f"{100 * end:+.1f}".replace("-", "−") for end in metric.interval)
    return f"{low} to {high}"


def _detectable(metric: MetricVerdict) -> str:
    return f"{100 * (metric.detectable or 0.0):.1f} {'%' if metric.relative else 'points'}"


def _table(judged: Judgement) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="dim", show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("metric", style="bold")
    for name in _COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for metric in judged.metrics:
        row = [escape(cell) for cell in cells(metric)]
        style = _STYLES[metric.verdict]
        table.add_row(*row[:-1], f"[{style}]{row[-1]}[/]")
    return table


def _is_loud(line: str) -> bool:
    return line.startswith(("not clean", "SYNTHETIC", "REJECTED", "no self-test")) or "FAILED" in line


def _pipes(row: tuple[str, ...]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in row)} |"
