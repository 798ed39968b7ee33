"""What a report is made from: files of this project, each known by the format that it names.

Before `android_bench.page`, `junit` and `action_benchmark`; `android_bench.cli_report` names the files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from android_bench import counts_file, history, session_file, verdict_file
from android_bench.counts_file import CountedSession
from android_bench.errors import RecordError
from android_bench.export_facts import Export, read_export
from android_bench.history import HistoryRow
from android_bench.records import Session
from android_bench.verdict import Gate
from converters.bundle import FORMAT as BUNDLE_FORMAT
from converters.files import sha256_of

# What a folder is looked through for; bundles are folders of their own.
_IN_A_FOLDER = ("session.json", "instructions.json", "compare.json", "history.jsonl")
_BUNDLE = "model.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file that a report was made from: its name with its folder's, its format, and the hash of its bytes."""

    name: str
    format: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that a report shows, in the order in which it was named.

    Attributes:
        gates: verdicts.
        history: verdicts over time, oldest first.
        sessions: measured times.
        counted: counted instructions.
        exports: what bundles say of their making.
        sources: the files.
        notes: what was left out, and why, one sentence each.
    """

    gates: tuple[Gate, ...] = ()
    history: tuple[HistoryRow, ...] = ()
    sessions: tuple[Session, ...] = ()
    counted: tuple[CountedSession, ...] = ()
    exports: tuple[Export, ...] = ()
    sources: tuple[Source, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.gates or self.history or self.sessions or self.counted or self.exports)


def gather(paths: Iterable[Path]) -> Evidence:
    """What the files say; a folder stands for the files of ours in it, and for the bundles directly inside.

    Raises:
        RecordError: a path is not there or holds nothing of ours, or a file is damaged, edited, or of a format or
            version that this program does not know.
        BundleError: a bundle is damaged or altered.
    """
    found = Evidence()
    for file in dict.fromkeys(file for path in paths for file in _files(path)):
        found = _with(found, file)
    return found


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise RecordError(f"there is no {path}; expected files or folders that tkd-bench or tkd-export wrote")
    if not path.is_dir():
        return [path]
    inside = [path / name for name in (*_IN_A_FOLDER, _BUNDLE) if (path / name).is_file()]
    below = sorted(each for each in path.glob(f"*/{_BUNDLE}") if not each.parent.name.startswith("."))
    if not (inside or below):
        names = ", ".join((*_IN_A_FOLDER, _BUNDLE))
        raise RecordError(f"{path} holds nothing that a report is made from; expected one of {names}")
    return [*inside, *below]


def _with(found: Evidence, path: Path) -> Evidence:
    seen = _format_of(path)
    if seen is None or seen not in _READERS:
        known = ", ".join(_READERS)
        kind = seen.partition("/")[0] + "/" if isinstance(seen, str) else "/"
        newer = "; update this toolkit" if any(name.startswith(kind) for name in _READERS) else ""
        raise RecordError(f"{path} has format {seen!r}, expected one of {known}{newer}")
    name = f"{path.parent.name}/{path.name}" if path.parent.name else path.name
    source = Source(name=name, format=seen, sha256=sha256_of(path))
    if any(source.sha256 == other.sha256 and source.format == other.format for other in found.sources):
        return found
    return replace(_READERS[seen](found, path), sources=(*found.sources, source))


def _format_of(path: Path) -> str | None:
    """The format that a JSON file, or the first line of a file of JSON lines, names."""
    try:
        text = path.read_text(encoding="utf-8")
        is_lines = path.suffix == ".jsonl"
        if is_lines and not text.strip():
            return history.FORMAT  # begun, and nothing in it yet
        # Of lines the first one is enough: the reader looks at the others.
        record: Any = json.loads(text.partition("\n")[0] if is_lines else text)
    except ValueError as cause:
        raise RecordError(f"{path} is damaged (not JSON: {cause})") from cause
    seen = record.get("format") if isinstance(record, dict) else None
    return seen if isinstance(seen, str) else None


def _gate(found: Evidence, path: Path) -> Evidence:
    return replace(found, gates=(*found.gates, verdict_file.read_gate(path)))


def _history(found: Evidence, path: Path) -> Evidence:
    read = history.read_history(path)
    notes = []
    if not read.rows:
        notes.append(f"{path.name} holds no verdict yet")
    if read.is_cut:
        notes.append(f"the last line of {path.name} was cut off while it was written; it is left out")
    rows = sorted(dict.fromkeys([*found.history, *read.rows]), key=lambda row: row.finished_utc)
    return replace(found, history=tuple(rows), notes=(*found.notes, *notes))


def _session(found: Evidence, path: Path) -> Evidence:
    return replace(found, sessions=(*found.sessions, session_file.read_session(path)))


def _counted(found: Evidence, path: Path) -> Evidence:
    return replace(found, counted=(*found.counted, counts_file.read_counts(path)))


def _bundle(found: Evidence, path: Path) -> Evidence:
    return replace(found, exports=(*found.exports, read_export(path.parent)))


_READERS: Mapping[str, Callable[[Evidence, Path], Evidence]] = {
    verdict_file.FORMAT: _gate,
    history.FORMAT: _history,
    session_file.FORMAT: _session,
    counts_file.FORMAT: _counted,
    BUNDLE_FORMAT: _bundle,
}
