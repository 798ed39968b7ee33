"""What several devices gave in one call, side by side; each one's own document stands in its own folder.

Times and instructions are never in one table: they measure different things.
Beside `android_bench.report`; `android_bench.cli_several` prints and saves what is made here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

from android_bench.errors import RecordError
from android_bench.report import cell_table, comparison_rows, headline, loud, pipes, remarks, rows
from android_bench.session_file import read_session

FORMAT = "tkd.bench_devices/1"
# The document that each kind of measurement leaves in its folder.
DOCUMENTS = ("session.json", "instructions.json", "benchmark_model.json")
_TIMES = ("device", "time", "95 % interval", "× float32", "accuracy", "95 % interval")
_COUNTS = ("device", "an inference", "first", "init", "accuracy", "× float32")
_TOOL = ("device", "time", "accuracy")
_ENDLESS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one device left.

    Attributes:
        label: its name in this call.
        exit_code: of its process.
        error: its last error, "" is none.
        folder: of its results.
        document: its session as JSON values, None where it left none.
    """

    label: str
    exit_code: int
    error: str
    folder: Path
    document: Mapping[str, Any] | None

    @property
    def name(self) -> str:
        """The name of the file that holds the document."""
        return next((name for name in DOCUMENTS if (self.folder / name).is_file()), "")


def read_part(label: str, exit_code: int, error: str, folder: Path) -> Part:
    """What a device left in its folder.

    Raises:
        RecordError: a document there is damaged.
    """
    path = next((folder / name for name in DOCUMENTS if (folder / name).is_file()), None)
    try:
        document = json.loads(path.read_text(encoding="utf-8")) if path else None
    except ValueError as cause:
        raise RecordError(f"{path} is damaged (not JSON: {cause})") from cause
    return Part(label=label, exit_code=exit_code, error=error, folder=folder, document=document)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table: what stands above it, its columns, and its rows, each begun by the model's name."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(parts: Sequence[Part]) -> list[Table]:
    """The devices' models in rows, grouped by model, in as many tables as there are kinds of measurement."""
    made = (
        Table(title="wall-clock time", head=_TIMES, rows=_by_model(_time_rows, parts, "session.json")),
        Table(
            title="instructions, emulated: exact, and no latency",
            head=_COUNTS,
            rows=_by_model(_count_rows, parts, "instructions.json"),
        ),
        Table(
            title="wall-clock time by benchmark_model, which keeps no samples",
            head=_TOOL,
            rows=_by_model(_tool_rows, parts, "benchmark_model.json"),
        ),
    )
    return [table for table in made if table.rows]


def lines_about(parts: Sequence[Part]) -> list[str]:
    """What each device is, and what keeps its numbers from being clean, one sentence each."""
    lines = []
    for part in parts:
        lines.append(f"{part.label}: {_what(part)}")
        if part.error:
            lines.append(f"FAILED: {part.label}: {part.error} (exit code {part.exit_code})")
    for part in parts:
        lines += [f"{part.label}: {line}" for line in _remarks(part)]
    if any(item.get("synthetic") or item.get("model", {}).get("synthetic") for item in _models(parts)):
        lines.append("* SYNTHETIC data: this accuracy says nothing about recorded audio")
    return lines


def terminal(parts: Sequence[Part], width: int) -> RenderableType:
    """All of it for a terminal of `width` columns."""
    shown: list[RenderableType] = []
    for table in tables(parts):
        one = cell_table("model", table.head, list(table.rows))
        shown += [Text(table.title, style="bold"), one, ""]
        # A cell that is cut off would be a wrong number: what does not fit stands in two tables.
        if Console(width=_ENDLESS).measure(one).maximum > width:
            split = len(table.head) - 2
            shown[-2:] = [
                cell_table("model", table.head[:split], [row[: split + 1] for row in table.rows]),
                "",
                cell_table(
                    "model", ("device", *table.head[split:]), [(*row[:2], *row[split + 1 :]) for row in table.rows]
                ),
                "",
            ]
    lines = lines_about(parts)
    return Group(*shown, *[Text(line, style="yellow" if _is_loud(line) else "") for line in lines])


def _is_loud(line: str) -> bool:
    return loud(line) or loud(line.partition(": ")[2])


def markdown(parts: Sequence[Part], started_utc: str) -> str:
    """The same in Markdown."""
    lines = [f"# {', '.join(part.label for part in parts)}, {started_utc}", ""]
    for table in tables(parts):
        lines += [f"## {table.title}", "", pipes(("model", *table.head))]
        lines += [pipes(("---", "---", *["---:"] * (len(table.head) - 1))), *map(pipes, table.rows), ""]
    return "\n".join([*lines, *[f"- {line.removeprefix('* ')}" for line in lines_about(parts)]]) + "\n"


def _by_model(make: Any, parts: Sequence[Part], name: str) -> tuple[tuple[str, ...], ...]:
    """The rows of all devices with such a document, the same model's beside each other, models in their first order."""
    made = [row for part in parts if part.name == name for row in make(part)]
    order = list(dict.fromkeys(row[0] for row in made))
    return tuple(sorted(made, key=lambda row: order.index(row[0])))


def _time_rows(part: Part) -> list[tuple[str, ...]]:
    session = read_session(part.folder / "session.json")
    ratios = {cells[0].removesuffix(" time"): cells[1] for cells in comparison_rows(session) if " time" in cells[0]}
    return [
        (
            row.name,
            part.label,
            *row.times[:2],
            ratios.get(row.name, "–").removesuffix(" ×"),
            *row.sizes[2:],
        )
        for row in rows(session)
    ]


def _count_rows(part: Part) -> list[tuple[str, ...]]:
    assert part.document is not None, "its name is that of a document"
    models = part.document["measurements"]
    made = []
    for one in models:
        counts = one["instructions"]
        cells = [f"{counts[name]:,}" for name in ("inference", "first", "init")] if counts else ["–"] * 3
        made.append((one["model"], part.label, *cells, _accuracy(one), _times_float(one, models)))
    return made


def _times_float(one: Mapping[str, Any], models: Sequence[Mapping[str, Any]]) -> str:
    """Instructions over those of the float32 model of its name; a dash where there is none to be compared with."""
    stem, _, precision = one["model"].rpartition("-")
    floats = [item for item in models if item["model"] == f"{stem}-float32" and item["instructions"]]
    if precision == "float32" or not floats or not one["instructions"]:
        return "–"
    new, old = one["instructions"], floats[0]["instructions"]
    return f"{new['inference'] / old['inference']:.3f}" if new["counted_by"] == old["counted_by"] else "not comparable"


def _tool_rows(part: Part) -> list[tuple[str, ...]]:
    from android_bench import stats
    from android_bench.report import duration

    assert part.document is not None, "its name is that of a document"
    made: list[tuple[str, ...]] = []
    for one in part.document["measurements"]:
        timed = [block["timed"] for block in one["blocks"]]
        values = [each["avg_us"] if each["median_us"] is None else each["median_us"] for each in timed]
        time = duration(stats.median(values) / 1e3) if values else "–"
        made.append((one["model"], part.label, time, _accuracy(one)))
    return made


def _accuracy(one: Mapping[str, Any]) -> str:
    seen = one["predictions"]
    if not seen or "predicted" not in seen:
        return "–"
    right = sum(a == b for a, b in zip(seen["predicted"], seen["expected"], strict=True))
    return f"{100 * right / len(seen['expected']):.1f} %{' *' if one['synthetic'] else ''}"


def _what(part: Part) -> str:
    if part.document is None:
        return "nothing was measured"
    if part.name == "session.json":
        return headline(read_session(part.folder / "session.json")).split(": ", 1)[-1]
    context = part.document["context"]
    return f"{context['model']}, {context['fingerprint']}"


def _remarks(part: Part) -> list[str]:
    if part.document is None:
        return []
    if part.name == "session.json":
        found = remarks(read_session(part.folder / "session.json"))
        return [line for line in found if loud(line) and not line.startswith("*")]
    failed = [one for one in part.document["measurements"] if one["failure"]]
    found = [f"not clean: {concern}" for concern in part.document["concerns"]]
    found += [f"FAILED: {one['model']}: {one['failure']['message']}" for one in failed]
    return [*found, "INTERRUPTED: what is missing was not measured"] if part.document["interrupted"] else found


def _models(parts: Sequence[Part]) -> list[Mapping[str, Any]]:
    return [one for part in parts if part.document for one in part.document["measurements"]]
