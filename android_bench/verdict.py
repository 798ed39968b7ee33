"""What a comparison found, as frozen records: one `Gate` is one call of `tkd-bench compare`, on disk `tkd.compare/1`.

    Gate ── Judgement (one pair of models on one device) ── MetricVerdict (latency, accuracy, size …)
                 └── LatencyEvidence (looks, blocks, confirmation)

`android_bench.judge` decides, `android_bench.verdict_file` keeps; what shows a verdict needs these records only.
Changes are relative where a metric has a unit (+0.05 is 5 % more) and differences where it is a share of one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from android_bench.errors import RecordError
from android_bench.records import Failure, Reading, Rejection, Statistic
from android_bench.stats import Interval
from converters.command_line import ExitCode

Verdict = Literal["PASS", "IMPROVED", "REGRESSION", "INCONCLUSIVE", "NOT COMPARABLE"]
MetricName = Literal[
    "latency", "instructions", "accuracy", "mean_average_precision", "size", "operators", "macs", "int8_share"
]
Arm = Literal["baseline", "candidate"]
Policy = Literal["fail", "neutral", "pass"]
Kind = Literal["host", "phone", "virtual"]

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
# The metrics whose verdict is that of the pair; of the others only a REGRESSION counts.
PRIMARY: tuple[MetricName, ...] = ("latency", "instructions")
# Percentiles of a block's samples that a verdict keeps; all samples stand in the session's own file.
PERCENTS = tuple(range(0, 101, 5))


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """What was asked of the gate.

    Attributes:
        max_slowdown: δ, relative: 0.03 allows 3 % more time.
        min_effect_us: slowdowns of fewer microseconds pass, with a note; 0 is off.
        max_accuracy_drop: as a share of clips, 0.005 is half a point.
        allowances: of exact metrics by name, relative (a difference for shares); None lets a metric be.
        pairs: pairs of blocks at the first look; the second look has twice as many.
        inconclusive: what no answer does to the exit code: `fail` 1, `neutral` 3, `pass` 0.
        report_only: verdicts never fail the call; trouble with a device still does.
    """

    max_slowdown: float = 0.03
    min_effect_us: float = 0.0
    max_accuracy_drop: float = 0.005
    allowances: Mapping[str, float | None] = field(default_factory=dict)
    pairs: int = 15
    inconclusive: Policy = "neutral"
    report_only: bool = False

    def __post_init__(self) -> None:
        _require(0 < self.max_slowdown < 1, f"max_slowdown is {self.max_slowdown}; expected above 0 and below 1")
        _require(self.min_effect_us >= 0, f"min_effect_us is {self.min_effect_us}; expected 0 or more")
        _require(0 <= self.max_accuracy_drop < 1, f"max_accuracy_drop is {self.max_accuracy_drop}; expected 0 to 1")
        _require(6 <= self.pairs <= 200, f"pairs is {self.pairs}; expected 6 to 200 (under 6 there is no interval)")
        _require(self.inconclusive in get_args(Policy), f"inconclusive is '{self.inconclusive}'")
        for name, value in self.allowances.items():
            _require(name in get_args(MetricName), f"no metric is called '{name}'")
            _require(value is None or 0 <= value < 10, f"the allowance of {name} is {value}; expected 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """One of the two models.

    Attributes:
        name: the bundle's.
        student: the student's name.
        precision: float32, float16, dynamic or int8.
        sha256: of model.tflite.
        size_bytes: of model.tflite.
        synthetic: whether the data behind its accuracy is synthetic.
        source: the folder or file that it came from, as it was named.
    """

    name: str
    student: str
    precision: str
    sha256: str
    size_bytes: int
    synthetic: bool
    source: str

    def __post_init__(self) -> None:
        _require(len(self.sha256) == 64, f"model {self.name} has sha256 '{self.sha256}'; expected 64 digits")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceEntry:
    """Where the two were measured.

    Attributes:
        name: as `--device` named it.
        title: its name with what keeps its numbers from being clean: `pixel1 · native-glibc (free clocks)`.
        kind: host (this computer), phone, or virtual (emulated; instructions, never times).
        model: the CPU's or phone's name.
        fingerprint: operating system and version.
        serial: of a phone, else empty.
        stands_for: what these numbers are, for every table.
        facts: what must be equal for two results to be comparable: engine, runner, threads, mask, delegate …
        concerns: what makes the numbers less than clean, one sentence each.
    """

    name: str
    title: str
    kind: Kind
    model: str
    fingerprint: str
    serial: str
    stands_for: str
    facts: Mapping[str, Reading | bool]
    concerns: tuple[str, ...] = ()

    @property
    def emulated(self) -> bool:
        """Whether its processor is emulated: its numbers are instructions, and no latency."""
        return self.kind == "virtual"


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTestEntry:
    """The last self-test of the gate on this device: when, and whether it saw what it had to.

    Attributes:
        finished_utc: ISO 8601.
        passed: the same model passed against itself, and real extra work was a regression.
        extra_work: the known extra work, relative: 0.1 is a tenth more.
        seen_work: the change that was measured for it, relative.
    """

    finished_utc: str
    passed: bool
    extra_work: float
    seen_work: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricVerdict:
    """One row of a verdict.

    Attributes:
        name: the metric.
        unit: of `baseline` and `candidate`: ns, instructions, share, bytes, operators, MACs.
        relative: whether changes are candidate / baseline − 1; else candidate − baseline.
        worse: +1 where more is worse, −1 where less is.
        baseline: its value, None where it is not known.
        candidate: its value.
        change: the estimate.
        interval: of the change, at the confidence of its last look; None where exact or unclear.
        allowance: the largest change for the worse that passes, 0 or more.
        detectable: the smallest change for the worse that would have been called a regression nine times in ten;
            None where exact or unclear.
        exact: whether the numbers are exact, so that there are no statistics.
        verdict: of this metric alone.
        note: the reason in one sentence.
    """

    name: MetricName
    unit: str
    relative: bool
    worse: int
    baseline: float | None
    candidate: float | None
    change: float | None
    interval: Interval | None
    allowance: float
    detectable: float | None
    exact: bool
    verdict: Verdict
    note: str

    def __post_init__(self) -> None:
        _require(self.name in get_args(MetricName), f"no metric is called '{self.name}'")
        _require(self.verdict in VERDICTS, f"{self.name} has verdict '{self.verdict}'")
        _require(self.worse in (-1, 1), f"{self.name} is worse towards {self.worse}; expected 1 or -1")
        _require(self.exact is False or self.interval is None, f"{self.name} is exact and has an interval")


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at the pairs so far.

    Attributes:
        pairs: how many there were.
        confidence: of the interval, such as 0.99.
        ratio: candidate over baseline, Hodges–Lehmann.
        interval: of the ratio; None with too few pairs for this confidence.
        p_slower: one-sided, that the slowdown is no more than the allowed one; None where it cannot be told.
    """

    pairs: int
    confidence: float
    ratio: float
    interval: Interval | None
    p_slower: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockEntry:
    """One process: its place, its value, and how its samples were spread.

    Attributes:
        arm: baseline or candidate.
        pair: 0 for the first; the two blocks of one number were measured back to back.
        order: place among all blocks of the session, 0 first.
        started_utc: ISO 8601.
        value_ns: what it counts as: the median of its samples (or the mean, by `LatencyEvidence.statistic`).
        samples: how many inferences were timed.
        percentiles_ns: of its samples at `PERCENTS`, 21 numbers.
    """

    arm: Arm
    pair: int
    order: int
    started_utc: str
    value_ns: float
    samples: int
    percentiles_ns: tuple[float, ...]

    def __post_init__(self) -> None:
        _require(self.arm in get_args(Arm), f"a block is of the baseline or the candidate, not '{self.arm}'")
        _require(self.value_ns > 0 and self.samples > 0, f"block {self.order} has the value {self.value_ns} ns")
        _require(len(self.percentiles_ns) == len(PERCENTS), f"block {self.order} has no {len(PERCENTS)} percentiles")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEntry:
    """A session whose samples are behind a verdict.

    Attributes:
        path: of its file, relative to the verdict's own folder (absolute for a recorded session).
        samples_sha256: of all its samples, as `android_bench.session_file.samples_sha256` makes it.
        blocks: in the order in which they were measured.
        rejected: rounds that were not measured, and why.
        started_utc: ISO 8601.
        finished_utc: ISO 8601.
    """

    path: str
    samples_sha256: str
    blocks: tuple[BlockEntry, ...]
    rejected: tuple[Rejection, ...]
    started_utc: str
    finished_utc: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyEvidence:
    """What a verdict on latency stands on.

    Attributes:
        statistic: what a block counts as.
        design: how the two were measured: `pairs` in one session, `anchored` (two sessions with a model in common)
            or `two sessions`.
        looks: one or two, in order; the last one's interval is the verdict's.
        bootstrap: seeded percentile bootstrap of the ratio, 95 %, for readers who expect it; decides nothing.
        slower_us: the estimated slowdown in microseconds an inference; negative is faster.
        pairs_for_two_percent: pairs that would tell a change of 2 % from none nine times in ten; None when unclear.
        sessions: the one that decided; for `anchored` and `two sessions` the baseline's, then the candidate's.
        confirmation: the look at a fresh session, where there was one.
        confirmation_session: that session.
    """

    statistic: Statistic
    design: Literal["pairs", "anchored", "two sessions"]
    looks: tuple[Look, ...]
    bootstrap: Interval | None
    slower_us: float | None
    pairs_for_two_percent: int | None
    sessions: tuple[SessionEntry, ...]
    confirmation: Look | None = None
    confirmation_session: SessionEntry | None = None

    def __post_init__(self) -> None:
        _require(bool(self.looks), "a verdict on latency has no look; expected at least one")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One pair of models on one device.

    Attributes:
        baseline: the model that stands.
        candidate: the model that may replace it.
        device: where.
        metrics: a row each; the first of `PRIMARY` among them decides, of the others only a REGRESSION counts.
        verdict: of the pair.
        reasons: why, one sentence each, the deciding one first; what differs where it is NOT COMPARABLE.
        notes: remarks that change nothing.
        latency: what the verdict on latency stands on; None without one.
        failure: why it was not measured to the end; `golden` is an answer (exit 1), `device` is trouble (exit 4).
        self_test: the last one on this device; None is none yet.
    """

    baseline: ModelEntry
    candidate: ModelEntry
    device: DeviceEntry
    metrics: tuple[MetricVerdict, ...]
    verdict: Verdict
    reasons: tuple[str, ...]
    notes: tuple[str, ...] = ()
    latency: LatencyEvidence | None = None
    failure: Failure | None = None
    self_test: SelfTestEntry | None = None

    def __post_init__(self) -> None:
        _require(self.verdict in VERDICTS, f"{self.name} has verdict '{self.verdict}'")
        _require(bool(self.reasons), f"{self.name} has verdict {self.verdict} without a reason")

    @property
    def name(self) -> str:
        """The candidate and where: `tcresnet8-int8 on pixel1`."""
        return f"{self.candidate.name} on {self.device.name}"

    @property
    def primary(self) -> MetricVerdict | None:
        """The metric that decides; None where none was measured."""
        found = [metric for metric in self.metrics if metric.name in PRIMARY]
        return found[0] if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One call of `tkd-bench compare`: every pair on every device, and what they amount to.

    Attributes:
        settings: what was asked.
        judgements: in the order of the call.
        started_utc: ISO 8601.
        finished_utc: ISO 8601.
        interrupted: whether it was stopped before its end; what is missing was not measured.
        tool: name and version of what wrote it.
    """

    settings: GateSettings
    judgements: tuple[Judgement, ...]
    started_utc: str
    finished_utc: str
    interrupted: bool = False
    tool: Mapping[str, str] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """The worst of all: one REGRESSION is one, then what has no answer; IMPROVED only where nothing is worse."""
        return worst([judgement.verdict for judgement in self.judgements])

    @property
    def exit_code(self) -> ExitCode:
        """What the call ends in: 1 the answer is no, 4 a device failed, 3 no answer, 0 good."""
        if self.interrupted:
            return ExitCode.INTERRUPTED
        kinds = {each.failure.kind for each in self.judgements if each.failure}
        verdicts = {each.verdict for each in self.judgements if each.failure is None}
        codes = {ExitCode.DEVICE} if "device" in kinds else set()
        if not self.settings.report_only:
            codes |= {ExitCode.NO} if "golden" in kinds or "REGRESSION" in verdicts else set()
            codes |= {ExitCode.NO_ANSWER} if "NOT COMPARABLE" in verdicts or not self.judgements else set()
            if "INCONCLUSIVE" in verdicts:
                codes.add(_OF_POLICY[self.settings.inconclusive])
        order = (ExitCode.NO, ExitCode.DEVICE, ExitCode.NO_ANSWER)
        return next((code for code in order if code in codes), ExitCode.GOOD)


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """What several verdicts amount to; none at all is INCONCLUSIVE.

    >>> worst(["PASS", "IMPROVED"]), worst(["PASS", "INCONCLUSIVE"]), worst(["INCONCLUSIVE", "REGRESSION"])
    ('IMPROVED', 'INCONCLUSIVE', 'REGRESSION')
    """
    order: tuple[Verdict, ...] = ("REGRESSION", "NOT COMPARABLE", "INCONCLUSIVE", "IMPROVED", "PASS")
    return next((verdict for verdict in order if verdict in verdicts), "INCONCLUSIVE")


_OF_POLICY: Mapping[Policy, ExitCode] = {
    "fail": ExitCode.NO,
    "neutral": ExitCode.NO_ANSWER,
    "pass": ExitCode.GOOD,
}


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise RecordError(message)
