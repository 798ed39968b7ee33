"""Verdicts over time, `tkd.history/1`: an append-only file of JSON lines, one row a verdict.

`android_bench.verdict_file` holds what a row is taken from; `android_bench.page.trend` draws the rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from android_bench.errors import RecordError
from android_bench.stats import Interval
from android_bench.verdict import VERDICTS, Gate, Kind, Verdict
from converters.files import append_lines

FORMAT = "tkd.history/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRow:
    """One verdict in short.

    Attributes:
        finished_utc: of the comparison, ISO 8601.
        commit: what the candidate was made from; empty where it was not told.
        device: as `--device` named it.
        kind: host, phone or virtual.
        candidate: the model's name.
        candidate_sha256: of its model.tflite.
        baseline: the reference's name.
        baseline_sha256: of its model.tflite; ratios to different ones are not one trend.
        metric: latency or instructions; empty where neither was measured.
        ratio: candidate over baseline; None where it was not measured.
        interval: of the ratio; None where exact or unclear.
        allowance: the largest change that passes: 0.03 is 3 %.
        verdict: of the pair.
        synthetic: whether either model's accuracy is from synthetic data.
        compare_sha256: the content hash of the comparison's document.
    """

    finished_utc: str
    commit: str
    device: str
    kind: Kind
    candidate: str
    candidate_sha256: str
    baseline: str
    baseline_sha256: str
    metric: str
    ratio: float | None
    interval: Interval | None
    allowance: float | None
    verdict: Verdict
    synthetic: bool
    compare_sha256: str

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise RecordError(f"a row of history has verdict '{self.verdict}'; expected one of {', '.join(VERDICTS)}")
        if self.ratio is not None and not self.ratio > 0:
            raise RecordError(f"a row of history has the ratio {self.ratio}; expected a positive number")


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The rows of a file, oldest first, and whether its last line was cut off while it was written."""

    rows: tuple[HistoryRow, ...]
    is_cut: bool = False


def rows_of(gate: Gate, compare_sha256: str, commit: str = "") -> list[HistoryRow]:
    """A row for each verdict of a gate."""
    rows = []
    for each in gate.judgements:
        metric = each.primary
        known = metric is not None and metric.change is not None and metric.relative
        rows.append(
            HistoryRow(
                finished_utc=gate.finished_utc,
                commit=commit,
                device=each.device.name,
                kind=each.device.kind,
                candidate=each.candidate.name,
                candidate_sha256=each.candidate.sha256,
                baseline=each.baseline.name,
                baseline_sha256=each.baseline.sha256,
                metric=metric.name if metric else "",
                ratio=1 + metric.change if metric and known and metric.change is not None else None,
                interval=(1 + metric.interval[0], 1 + metric.interval[1]) if metric and metric.interval else None,
                allowance=metric.allowance if metric else None,
                verdict=each.verdict,
                synthetic=each.candidate.synthetic or each.baseline.synthetic,
                compare_sha256=compare_sha256,
            )
        )
    return rows


def append(path: Path, rows: Iterable[HistoryRow]) -> int:
    """Adds the rows that the file does not hold yet, and says how many these were.

    A last line that was cut off while it was written is no row, and makes room for the first new one.

    Raises:
        RecordError: the file is damaged.
    """
    before = read_history(path) if path.exists() else History(rows=())
    known = {(row.compare_sha256, row.candidate, row.device) for row in before.rows}
    new = [row for row in rows if (row.compare_sha256, row.candidate, row.device) not in known]
    if not new:
        return 0
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps({"format": FORMAT, **asdict(row)}, allow_nan=False, ensure_ascii=False) + "\n"
                    for row in new)  # fmt: skip
    append_lines(path, lines)
    return len(new)


def read_history(path: Path) -> History:
    """The rows in the file at `path`; a last line cut off in the middle is left out, and said.

    Raises:
        RecordError: it is missing, or a complete line is no row of this version.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as cause:
        raise RecordError(f"no history at {path}; tkd-bench history add begins one") from cause
    except ValueError as cause:
        raise RecordError(f"{path} is damaged (no UTF-8: {cause})") from cause
    *complete, rest = text.split("\n")
    rows = tuple(_row(line, f"{path}, line {number}") for number, line in enumerate(complete, start=1) if line)
    return History(rows=rows, is_cut=bool(rest))


def _row(line: str, where: str) -> HistoryRow:
    try:
        record: Any = json.loads(line)
    except ValueError as cause:
        raise RecordError(f"{where}, is no row of history (not JSON: {cause}); take the line out") from cause
    seen = record.get("format") if isinstance(record, dict) else None
    if seen != FORMAT:
        newer = "; update this toolkit" if isinstance(seen, str) and seen.startswith("tkd.history/") else ""
        raise RecordError(f"{where}, has format {seen!r}, expected '{FORMAT}'{newer}")
    fields = {key: value for key, value in record.items() if key != "format"}
    try:
        interval = fields["interval"]
        return HistoryRow(**{**fields, "interval": (float(interval[0]), float(interval[1])) if interval else None})
    except (KeyError, TypeError, IndexError) as cause:
        raise RecordError(f"{where}, is no row of history ({cause!r}); take the line out") from cause
