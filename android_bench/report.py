"""A session as a table for people: on the terminal with rich, and the same cells in Markdown.

After `android_bench.summary`; `android_bench.cli` prints and saves what is made here.
What was not measured is a dash, what cannot be told is *unclear*.
"""

from __future__ import annotations

from dataclasses import dataclass

from rich import box
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from android_bench.precision import PairedPrecision
from android_bench.records import Measurement, Session, StageScore
from android_bench.stats import Interval, PairedAccuracy, Ratio
from android_bench.summary import Comparison, Summary, comparisons, summarize

_TIME_COLUMNS = ("95 % interval", "p95", "first", "init")  # after the session's statistic
_SIZE_COLUMNS = ("size", "memory", "accuracy", "95 % interval")
# "detectable": the smallest true change that would be seen nine times in ten.
_COMPARISON_COLUMNS = ("difference", "95 % interval", "detectable", "from")
_LOUD = ("median", "mean", "difference", "device")
_STAGES = ("torch", "onnx", "tflite")
_ENDLESS = 10_000
_WIDEST_NAME = 40
# What a runner on a phone was built from.
_PROVENANCE = (
    "runner",
    "runner_toolchain",
    "runner_sha256",
    "engine_file",
    "engine_source",
    "engine_sha256",
    "affinity",
)
# Blocks that differ by more than this are worth a word.
_NOTABLE_SPREAD = 0.10


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One model's cells, as text with units."""

    name: str
    times: tuple[str, ...]
    sizes: tuple[str, ...]


def rows(session: Session) -> list[Row]:
    """The cells of every model, in the session's order."""
    summaries = [summarize(measurement, session.plan.statistic) for measurement in session.measurements]
    return [
        Row(name=summary.name, times=_times(summary), sizes=_sizes(summary, measurement))
        for summary, measurement in zip(summaries, session.measurements, strict=True)
    ]


def comparison_rows(session: Session) -> list[tuple[str, ...]]:
    """The cells of every comparison, one row for time and one for accuracy; see `_COMPARISON_COLUMNS`."""
    cells = []
    for comparison in comparisons(session):
        if comparison.latency:
            cells.append(_time_cells(comparison.candidate, comparison.latency))
        if comparison.accuracy:
            cells.append(_accuracy_cells(comparison.candidate, comparison.accuracy))
        if comparison.precision:
            cells.append(_precision_cells(comparison.candidate, comparison.precision))
    return cells


def stage_rows(session: Session) -> list[tuple[str, ...]]:
    """Each model's score on the same clips in every stage of its export and on the device; none where none is known."""
    cells = []
    for measurement, row in zip(session.measurements, rows(session), strict=True):
        stages = {stage.name: stage for stage in measurement.model.stages}
        if stages:
            known = (stages.get(name) for name in _STAGES)
            device = " ".join(row.sizes[2:]).replace(" *", "").replace(" % ", " (", 1).replace(" %", ")")
            cells.append((row.name, *("–" if each is None else _stage_cell(each) for each in known), device))
    return cells


def _stage_cell(stage: StageScore) -> str:
    interval = stage.interval
    return f"{100 * stage.value:.1f}" + (f" ({100 * interval[0]:.1f} – {100 * interval[1]:.1f})" if interval else "")


def headline(session: Session) -> str:
    """What these numbers are: the device, the clock, the runner, and that it is no phone."""
    context, runner = session.context, session.runner
    engine = runner.get("engine", "no engine")
    delegate = {"xnnpack": "XNNPACK", "none": "no delegate"}.get(str(runner.get("delegate")), "")
    built = {"glibc": ", glibc's build with its own loader", "bionic": ", Android's build"}.get(
        str(runner.get("engine_libc")), ""
    )
    threads = f"{session.plan.threads} thread{'s' if session.plan.threads > 1 else ''}"
    return (
        f"{session.name if context.kind == 'phone' else session.device}: {context.model}, {context.cpu_count} CPUs, "
        f"{threads}{_cores(session)}, {engine}{f' with {delegate}' if delegate else ''}{built} · {context.stands_for}"
    )


def _cores(session: Session) -> str:
    asked = session.runner.get("cores", "")
    if not session.plan.core_mask:
        return ""
    return f" on {asked} cores (mask {session.plan.core_mask})" if asked else f" on mask {session.plan.core_mask}"


def remarks(session: Session) -> list[str]:
    """Sentences that belong under every table: what is unclear, and what makes the numbers less than clean."""
    compared = comparisons(session)
    lines = [f"{item.candidate} against {item.baseline}: {note}" for item in compared for note in item.notes]
    if compared:
        lines.append(f"detectable: the smallest true change that would be seen nine times in ten{_p_values(compared)}")
    precisions = [each.precision for each in map(summarize, session.measurements) if each.precision]
    if precisions:
        first = precisions[0]
        left = f"; {first.left_out} that no clip has are left out" if first.left_out else ""
        lines.append(f"mAP: mean average precision over {first.classes} classes of {first.total} clips{left}")
    if any(measurement.model.synthetic for measurement in session.measurements):
        lines.append("* SYNTHETIC data: this accuracy says nothing about recorded audio")
    if session.interrupted:
        lines.append("INTERRUPTED: finished blocks are kept, the rest was not measured")
    lines += [f"not clean: {concern}" for concern in session.concerns]
    lines += [
        f"REJECTED: round {each.index + 1} after {each.waited_s:g} s: {'; '.join(each.reasons)}"
        for each in session.rejected
    ]
    for measurement in session.measurements:
        lines += [f"{measurement.model.name}: {note}" for note in (*measurement.notes, *_spread(measurement))]
        if measurement.failure:
            lines.append(f"FAILED: {measurement.failure.message}")
    return lines


def terminal(session: Session, width: int) -> RenderableType:
    """The session for a terminal of `width` columns."""
    made, compared, stages = rows(session), comparison_rows(session), stage_rows(session)
    times = (session.plan.statistic, *_TIME_COLUMNS)
    one = cell_table("model", (*times, *_SIZE_COLUMNS), [(row.name, *row.times, *row.sizes) for row in made])
    tables = [one]
    # A cell that is cut off would be a wrong number: what does not fit stands in two tables.
    if Console(width=_ENDLESS).measure(one).maximum > width:
        tables = [
            cell_table("model", times, [(row.name, *row.times) for row in made]),
            cell_table("model", _SIZE_COLUMNS, [(row.name, *row.sizes) for row in made]),
        ]
    if compared:
        tables.append(cell_table("against float32", _COMPARISON_COLUMNS, compared))
    if stages:
        tables += _stage_tables(stages, width)
    spaced = [part for table in tables for part in ("", table)]
    return Group(Text(headline(session), style="bold"), *spaced, "", *[_styled(line) for line in remarks(session)])


def markdown(session: Session) -> str:
    """The same cells and sentences in Markdown, with the plan and the models' hashes below."""
    head = ("model", session.plan.statistic, *_TIME_COLUMNS, *_SIZE_COLUMNS)
    lines = [f"# {session.name}, {session.started_utc}", "", headline(session), ""]
    lines += [pipes(head), pipes(("---", *["---:"] * (len(head) - 1)))]
    lines += [pipes((row.name, *row.times, *row.sizes)) for row in rows(session)]
    compared = comparison_rows(session)
    if compared:
        lines += [
            "",
            pipes(("against float32", *_COMPARISON_COLUMNS)),
            pipes(("---", *["---:"] * len(_COMPARISON_COLUMNS))),
            *map(pipes, compared),
        ]
    stages = stage_rows(session)
    if stages:
        names = ("score in %, same clips", *_STAGES, "device")
        lines += ["", pipes(names), pipes(("---", *["---:"] * (len(names) - 1))), *map(pipes, stages)]
    lines += ["", *[f"- {line.removeprefix('* ')}" for line in remarks(session)], "", "## How it was measured", ""]
    plan = session.plan
    lines += [
        f"- {plan.blocks} blocks (processes) per model, interleaved; each warms up for {plan.warmup_ms} ms and "
        f"{plan.warmup_runs} inferences at least, then is timed for at least {plan.min_timed_ms} ms and "
        f"{plan.min_runs} inferences, at most {plan.max_runs}.",
        f"- {plan.statistic}: the median of the blocks' {plan.statistic}s; p95: of all timed inferences; "
        "first and init: medians over the blocks.",
        f"- Clock and empty call cost {session.runner.get('timer_overhead_ns', '?')} ns and "
        f"{session.runner.get('call_overhead_ns', '?')} ns; they are part of every sample.",
    ]
    lines += [f"- {key}: {session.runner[key]}" for key in _PROVENANCE if key in session.runner]
    lines += ["", "| model | SHA-256 of model.tflite |", "| --- | --- |"]
    lines += [pipes((item.model.name, f"`{item.model.sha256}`")) for item in session.measurements]
    return "\n".join(lines) + "\n"


def duration(ms: float) -> str:
    """Milliseconds as text with three significant digits and the unit that fits.

    >>> duration(0.005812), duration(5.812), duration(1234.0)
    ('5.81 µs', '5.81 ms', '1.23 s')
    """
    scale, unit = (1e6, "ns") if ms < 1e-3 else (1e3, "µs") if ms < 1 else (1.0, "ms") if ms < 1000 else (1e-3, "s")
    return f"{_digits(ms * scale)} {unit}"


def _times(summary: Summary) -> tuple[str, ...]:
    latency = summary.latency
    if latency is None:
        return ("–",) * (1 + len(_TIME_COLUMNS))
    interval = latency.value_interval_ms
    return (
        duration(latency.value_ms),
        f"{duration(interval[0]).split()[0]} – {duration(interval[1])}" if interval else "unclear",
        duration(latency.p95_ms),
        duration(latency.first_inference_ms),
        duration(latency.init_ms),
    )


def _sizes(summary: Summary, measurement: Measurement) -> tuple[str, ...]:
    memory, accuracy = summary.memory, summary.accuracy
    if memory is None:
        peak = "–"
    elif memory.model_peak_kb is None:
        peak = "unclear"
    else:
        peak = byte_words(memory.model_peak_kb * 1024)
    mark = " *" if measurement.model.synthetic else ""
    quality: tuple[str, str] = ("–", "–")
    if accuracy:
        quality = f"{100 * accuracy.correct / accuracy.total:.1f} %{mark}", _percent(accuracy.interval)
    if summary.precision:
        quality = f"mAP {100 * summary.precision.value:.1f} %{mark}", _percent(summary.precision.interval)
    return (byte_words(summary.size_bytes), peak, *quality)


def _time_cells(name: str, ratio: Ratio) -> tuple[str, ...]:
    interval, sees = ratio.interval, ratio.detectable
    return (
        f"{name} time",
        f"{ratio.estimate:.3f} ×",
        f"{interval[0]:.3f} – {interval[1]:.3f}" if interval else "unclear",
        "unclear" if sees is None else f"{100 * sees:.1f} %",
        f"{ratio.pairs} pairs",
    )


def _accuracy_cells(name: str, paired: PairedAccuracy) -> tuple[str, ...]:
    low, high = paired.interval
    return (
        f"{name} accuracy",
        f"{_points(paired.difference)} points",
        f"{_points(low)} to {_points(high)}",
        f"{100 * paired.detectable:.1f} points",
        f"+{paired.gained} −{paired.lost} / {paired.clips}",
    )


def _precision_cells(name: str, paired: PairedPrecision) -> tuple[str, ...]:
    return (
        f"{name} mAP",
        f"{_points(paired.difference)} points",
        f"{_points(paired.interval[0])} to {_points(paired.interval[1])}" if paired.interval else "unclear",
        "–",
        f"{paired.clips} clips",
    )


def _percent(interval: Interval | None) -> str:
    return f"{100 * interval[0]:.1f} – {100 * interval[1]:.1f} %" if interval else "unclear"


def _p_values(compared: list[Comparison]) -> str:
    values = [f"{item.accuracy.p_value:.2g} for {item.candidate}" for item in compared if item.accuracy]
    return f"; McNemar p = {', '.join(values)}" if values else ""


def _points(share: float) -> str:
    """A difference of shares in points, with its sign."""
    return f"{100 * share:+.1f}".replace("-", "−")


def _spread(measurement: Measurement) -> list[str]:
    medians = [block.median_ns for block in measurement.blocks]
    if len(medians) < 2 or max(medians) < (1 + _NOTABLE_SPREAD) * min(medians):
        return []
    return [f"its blocks differ by {100 * (max(medians) / min(medians) - 1):.0f} %, something disturbed them"]


def cell_table(first: str, head: tuple[str, ...], body: list[tuple[str, ...]]) -> Table:
    """A table of names and right-aligned cells for a terminal, its first column titled `first`."""
    table = Table(box=box.SIMPLE_HEAD, header_style="dim", show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    # Names fold at spaces; only a name wider than half a narrow terminal is broken.
    longest = max((len(word) for cells in body for word in cells[0].split()), default=0)
    table.add_column(first, style="bold", overflow="fold", min_width=min(longest, _WIDEST_NAME))
    for name in head:
        table.add_column(name, justify="right", no_wrap=True, style="green" if name in _LOUD else "")
    for cells in body:
        table.add_row(*(escape(cell) for cell in cells))
    return table


def _stage_tables(stages: list[tuple[str, ...]], width: int) -> list[Table]:
    """One table of the stages, or two where one would be cut off."""
    title, names = "score in %, same clips", (*_STAGES, "device")
    one = cell_table(title, names, stages)
    if Console(width=_ENDLESS).measure(one).maximum <= width:
        return [one]
    first = cell_table(title, names[:2], [row[:3] for row in stages])
    return [first, cell_table(title, names[2:], [(row[0], *row[3:]) for row in stages])]


def _styled(line: str) -> Text:
    return Text(line, style="yellow" if loud(line) else "")


def loud(line: str) -> bool:
    """Whether a remark limits what the numbers are good for."""
    return line.startswith(("* SYNTHETIC", "INTERRUPTED", "not clean", "REJECTED", "FAILED"))


def pipes(cells: tuple[str, ...]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def byte_words(count: int) -> str:
    """Bytes as text with three significant digits, in units of 1,000.

    >>> byte_words(83_293), byte_words(1_250_000)
    ('83.3 kB', '1.25 MB')
    """
    return f"{_digits(count / 1e6)} MB" if count >= 1e6 else f"{_digits(count / 1e3)} kB"


def _digits(value: float) -> str:
    """Three significant digits, never in exponent form."""
    size = abs(value)
    return f"{value:.0f}" if size >= 99.95 else f"{value:.1f}" if size >= 9.995 else f"{value:.2f}"
