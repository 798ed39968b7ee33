"""The page: what it is, verdicts first, then what they stand on, and at the end what it was made from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from android_bench.counts_file import CountedSession
from android_bench.evidence import Evidence
from android_bench.page.front import costs_of_counts, costs_of_session, front_figure, hues
from android_bench.page.layers import layers_section
from android_bench.page.markup import Markup, join, table, tag
from android_bench.page.samples import drift_figure, samples_figure
from android_bench.page.trend import trend_section
from android_bench.page.verdicts import gate_section
from android_bench.records import Session
from android_bench.report import headline, remarks

# No script, no image, no font, nothing from anywhere: the browser enforces it.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_LOUD = ("* SYNTHETIC", "INTERRUPTED", "REJECTED", "FAILED")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    """A part of the page under a heading of its own."""

    name: str
    title: str
    body: Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class Imprint:
    """What the page says of itself.

    Attributes:
        title: of the page.
        written_utc: ISO 8601.
        version: of this program.
    """

    title: str
    written_utc: str
    version: str


def page(evidence: Evidence, imprint: Imprint) -> str:
    """The whole page as HTML text."""
    sections = list(_sections(evidence))
    links = tag("ul", [tag("li", tag("a", each.title, href=f"#{each.name}")) for each in sections])
    body = [
        tag("a", "Skip to the results", href="#results", class_="skip"),
        tag(
            "header", tag("h1", imprint.title), tag("p", _summary(evidence, imprint), class_="soft"), _badges(evidence)
        ),
        tag("nav", links, aria_label="Sections") if len(sections) > 1 else None,
        tag("main", [_section(each) for each in sections], id="results"),
        tag("footer", _made_from(evidence)),
    ]
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="generator", content=f"tkd-bench {imprint.version}"),
        tag("title", imprint.title),
        tag("style", Markup((files("android_bench.page") / "style.css").read_text(encoding="utf-8"))),
    ]
    return "<!doctype html>\n" + tag("html", tag("head", head), tag("body", body), lang="en") + "\n"


def _section(section: _Section) -> Markup:
    heading = f"{section.name}-heading"
    return tag(
        "section",
        tag("h2", section.title, id=heading),
        section.body,
        id=section.name,
        aria_labelledby=heading,
    )


def _sections(evidence: Evidence) -> Sequence[_Section]:
    colours = hues(_students(evidence))
    made = [
        _Section(name=f"verdict-{at}", title=f"Verdict: {gate.verdict}", body=gate_section(f"verdict-{at}", gate))
        for at, gate in enumerate(evidence.gates)
    ]
    if evidence.history:
        made.append(_Section(name="trend", title="Trend", body=trend_section(evidence.history)))
    for at, session in enumerate(evidence.sessions):
        name = f"session-{at}-{_plain(session.device)}"
        made.append(_Section(name=name, title=session.name, body=_session(name, session, colours)))
    for at, counted in enumerate(evidence.counted):
        name = f"counts-{at}-{_plain(counted.device)}"
        made.append(_Section(name=name, title=f"{counted.device}: instructions", body=_counts(name, counted, colours)))
    if evidence.exports:
        made.append(_Section(name="operators", title="Operators", body=layers_section(evidence.exports)))
    return made


def _session(name: str, session: Session, colours: dict[str, int]) -> Markup:
    costs = costs_of_session(session)
    measured = any(one.blocks for one in session.measurements)
    parts = [tag("p", headline(session)), tag("p", f"{session.started_utc} to {session.finished_utc}", class_="soft")]
    if session.context.emulated:
        parts.append(
            tag("p", "EMULATED: this phone says that it is no real one. Its times are no latency and are not drawn.",
                class_="loud")
        )  # fmt: skip
    elif measured:
        parts.append(front_figure(f"{name}-front", session.device, costs, colours))
        parts.append(samples_figure(f"{name}-samples", session, colours))
        parts.append(drift_figure(f"{name}-drift", session, colours))
    else:
        parts.append(tag("p", "No block was measured to its end.", class_="loud"))
    return join([*parts, _remarks(remarks(session))])


def _counts(name: str, session: CountedSession, colours: dict[str, int]) -> Markup:
    costs = costs_of_counts(session)
    parts = [
        tag("p", tag("span", "EMULATED", class_="badge"),
            f"{session.model}, {session.fingerprint}: instructions that an emulated processor executed. They are "
            "exact, equal in every run, and no latency."),
        tag("p", session.started_utc, class_="soft"),
    ]  # fmt: skip
    if costs.models:
        parts.append(front_figure(f"{name}-front", session.device, costs, colours))
        by = next(one.counted_by for one in session.models if one.counted_by)
        rows = [(key, tag("code", str(value))) for key, value in by.items()]
        parts.append(
            tag("details", tag("summary", "Counted by"), table(("what", "is"), rows, "Counted by", "words"))
        )  # fmt: skip
    failed = [f"FAILED: {one.name}: {one.failure.message}" for one in session.models if one.failure]
    starred = ["* SYNTHETIC data: this accuracy says nothing about recorded audio"] if any(
        one.synthetic and one.predictions for one in session.models
    ) else []  # fmt: skip
    stopped = ["INTERRUPTED: what is missing was not measured"] if session.interrupted else []
    return join([*parts, _remarks([*starred, *stopped, *session.concerns, *failed])])


def _remarks(lines: Sequence[str]) -> Markup:
    items = [tag("li", line, class_="loudly" if line.startswith(_LOUD) else None) for line in lines]
    return tag("ul", items, class_="remarks") if items else join(())


def _summary(evidence: Evidence, imprint: Imprint) -> str:
    models = {one.model.sha256 for session in evidence.sessions for one in session.measurements}
    models |= {one.sha256 for session in evidence.counted for one in session.models}
    devices = dict.fromkeys([*(each.device for each in evidence.sessions), *(each.device for each in evidence.counted)])
    parts = [f"{_plural(len(evidence.gates), 'gate')}"] if evidence.gates else []
    if models:
        parts.append(f"{_plural(len(models), 'model')} on {', '.join(devices)}")
    if evidence.history:
        parts.append(f"{_plural(len(evidence.history), 'verdict')} in the history")
    parts.append(f"written {imprint.written_utc} by tkd-bench {imprint.version}")
    return "; ".join(parts) + "."


def _badges(evidence: Evidence) -> Markup:
    synthetic = any(one.model.synthetic for session in evidence.sessions for one in session.measurements)
    synthetic |= any(one.synthetic for session in evidence.counted for one in session.models)
    judgements = [each for gate in evidence.gates for each in gate.judgements]
    synthetic |= any(each.candidate.synthetic for each in judgements) or any(row.synthetic for row in evidence.history)
    emulated = bool(evidence.counted) or any(each.device.emulated for each in judgements)
    emulated |= any(row.kind == "virtual" for row in evidence.history)
    emulated |= any(session.context.emulated for session in evidence.sessions)
    words = [
        ("SYNTHETIC data", "accuracies marked * say nothing about recorded audio") if synthetic else None,
        ("EMULATED", "what is from virtual phones is instructions, never latency") if emulated else None,
    ]
    return join([
        tag("p", tag("span", word, class_="badge"), tag("span", why, class_="soft"))
        for word, why in filter(None, words)
    ])  # fmt: skip


def _made_from(evidence: Evidence) -> Markup:
    rows = [(source.name, source.format, tag("code", source.sha256)) for source in evidence.sources]
    return join([
        _remarks(evidence.notes),
        tag("p", "This page holds everything it shows; it loads nothing."),
        tag("details", tag("summary", "Made from"), table(("file", "format", "SHA-256"), rows, "Made from", "words")),
    ])  # fmt: skip


def _students(evidence: Evidence) -> list[str]:
    found = [one.model.student for session in evidence.sessions for one in session.measurements]
    return found + [one.student for session in evidence.counted for one in session.models]


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower() or "device"


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
