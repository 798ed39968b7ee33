"""An example of a verdict's document with everything in it, for tests of what reads and shows verdicts."""

import hashlib

import numpy as np

from android_bench.records import Failure, Rejection
from android_bench.verdict import (
    PERCENTS,
    BlockEntry,
    DeviceEntry,
    Gate,
    GateSettings,
    Judgement,
    LatencyEvidence,
    Look,
    MetricVerdict,
    ModelEntry,
    SelfTestEntry,
    SessionEntry,
)


def example_model(name: str = "tcresnet8-int8", *, size_bytes: int = 83_264, seed: str = "a") -> ModelEntry:
    student, _, precision = name.rpartition("-")
    return ModelEntry(
        name=name,
        student=student,
        precision=precision,
        sha256=hashlib.sha256(f"{name} {seed}".encode()).hexdigest(),
        size_bytes=size_bytes,
        synthetic=True,
        source=f"{seed}/{name}",
    )


def example_device(kind: str = "phone") -> DeviceEntry:
    name, model = {
        "host": ("host", "Some CPU @ 2.00GHz"),
        "phone": ("pixel1", "Pixel"),
        "virtual": ("virtual-pixel1", "Pixel"),
    }[kind]
    return DeviceEntry(
        name=name,
        title={
            "host": "host · python",
            "phone": "pixel1 · native-glibc (free clocks)",
            "virtual": "virtual-pixel1 (emulated, instructions, not latency)",
        }[kind],
        kind=kind,
        model=model,
        fingerprint="google/sailfish/sailfish:10/QP1A/1:user/release-keys",
        serial="FA6AB0302345" if kind == "phone" else "",
        stands_for={
            "host": "wall-clock time on this computer, runner python; not a phone",
            "phone": "wall-clock time of a shell process on this phone",
            "virtual": "virtual-pixel1: emulated, instructions, not latency",
        }[kind],
        facts={"engine_sha256": "e" * 64, "threads": 1, "core_mask": "c", "delegate": "xnnpack"},
        concerns=("clock governor interactive: clocks move with the load",) if kind == "phone" else (),
    )


def example_session(ratio: float, pairs: int, *, path: str = "session.json", seed: int = 1) -> SessionEntry:
    """Pairs of blocks, noisy as a stock phone's, the candidate `ratio` times as slow."""
    rng = np.random.default_rng(seed)
    blocks = []
    for pair in range(pairs):
        arms = ("baseline", "candidate") if pair % 2 == 0 else ("candidate", "baseline")
        for place, arm in enumerate(arms):
            value = 2.1e6 * (ratio if arm == "candidate" else 1.0) * np.exp(rng.normal(0, 0.02) + 0.001 * pair)
            samples = value * np.exp(np.abs(rng.normal(0, 0.01, 95)))
            blocks.append(
                BlockEntry(
                    arm=arm,
                    pair=pair,
                    order=2 * pair + place,
                    started_utc=f"2026-11-21T14:{pair:02d}:{30 * place:02d}Z",
                    value_ns=float(np.median(samples)),
                    samples=len(samples),
                    percentiles_ns=tuple(float(value) for value in np.percentile(samples, PERCENTS)),
                )
            )
    hot = Rejection(
        index=3, reasons=("thermal status light, expected none",), waited_s=120.0, at_utc="2026-11-21T14:09:00Z"
    )
    return SessionEntry(
        path=path,
        samples_sha256=hashlib.sha256(path.encode()).hexdigest(),
        blocks=tuple(block for block in blocks if block.pair != hot.index),
        rejected=(hot,),
        started_utc="2026-11-21T14:00:00Z",
        finished_utc="2026-11-21T14:40:00Z",
    )


def example_latency(ratio: float, *, confirmed: bool = False) -> LatencyEvidence:
    return LatencyEvidence(
        statistic="median",
        design="pairs",
        looks=(
            Look(pairs=14, confidence=0.99, ratio=ratio, interval=(ratio - 0.03, ratio + 0.03), p_slower=0.01),
            Look(pairs=29, confidence=0.96, ratio=ratio, interval=(ratio - 0.012, ratio + 0.012), p_slower=0.001),
        ),
        bootstrap=(ratio - 0.011, ratio + 0.01),
        slower_us=2100 * (ratio - 1),
        pairs_for_two_percent=44,
        sessions=(example_session(ratio, 30),),
        confirmation=Look(
            pairs=15, confidence=0.95, ratio=ratio + 0.004, interval=(ratio - 0.016, ratio + 0.02), p_slower=0.01
        )
        if confirmed
        else None,
        confirmation_session=example_session(ratio, 15, path="confirmation.json", seed=2) if confirmed else None,
    )


def latency_row(ratio: float, verdict: str) -> MetricVerdict:
    return MetricVerdict(
        name="latency",
        unit="ns",
        relative=True,
        worse=1,
        baseline=2.1e6,
        candidate=2.1e6 * ratio,
        change=ratio - 1,
        interval=(ratio - 1.012, ratio - 0.988),
        allowance=0.03,
        detectable=0.047,
        exact=False,
        verdict=verdict,
        note=f"{100 * (ratio - 1):+.1f} % time, allowed is 3 %",
    )


def exact_row(name: str, unit: str, baseline: float, candidate: float, verdict: str, *, worse: int = 1):
    relative = unit != "share"
    return MetricVerdict(
        name=name,
        unit=unit,
        relative=relative,
        worse=worse,
        baseline=baseline,
        candidate=candidate,
        change=candidate / baseline - 1 if relative else candidate - baseline,
        interval=None,
        allowance=0.005,
        detectable=None,
        exact=True,
        verdict=verdict,
        note="within 0.5 %" if verdict == "PASS" else "beyond 0.5 %",
    )


def accuracy_row() -> MetricVerdict:
    return MetricVerdict(
        name="accuracy",
        unit="share",
        relative=False,
        worse=-1,
        baseline=0.9604,
        candidate=0.9583,
        change=-0.0021,
        interval=(-0.0123, 0.0071),
        allowance=0.005,
        detectable=0.0213,
        exact=False,
        verdict="INCONCLUSIVE",
        note="480 clips cannot tell a drop of 0.5 points; one of 2.1 would be seen nine times in ten",
    )


def example_judgement(kind: str = "phone", verdict: str = "REGRESSION") -> Judgement:
    """A pair on one kind of device with one of the five verdicts."""
    ratio = {"REGRESSION": 1.061, "IMPROVED": 0.93, "INCONCLUSIVE": 1.025}.get(verdict, 1.004)
    smaller = (example_model(seed="main"), example_model(seed="branch", size_bytes=83_300))
    sizes = (exact_row("size", "bytes", 83_264, 83_300, "PASS"), exact_row("operators", "operators", 16, 16, "PASS"))
    if verdict == "NOT COMPARABLE":
        metrics, latency, reasons = (), None, ("engine_sha256: e1d2… and f3a4…", "core_mask: c and 3")
    elif kind == "virtual":
        first = exact_row("instructions", "instructions", 652_088, round(652_088 * ratio), verdict)
        metrics, latency, reasons = (first, accuracy_row(), *sizes), None, (f"instructions {ratio:.3f} ×",)
    else:
        metrics, latency = (
            (latency_row(ratio, verdict), accuracy_row(), *sizes),
            example_latency(ratio, confirmed=verdict == "REGRESSION"),
        )
        reasons = (f"{ratio:.3f} × the time, interval {ratio - 0.012:.3f} – {ratio + 0.012:.3f}, allowed is 1.030 ×",)
    return Judgement(
        baseline=smaller[0],
        candidate=smaller[1],
        device=example_device(kind),
        metrics=metrics,
        verdict=verdict,
        reasons=reasons,
        notes=("the two models were made from different parents",),
        latency=latency,
        self_test=SelfTestEntry(finished_utc="2026-11-20T09:00:00Z", passed=True, extra_work=0.1, seen_work=0.098),
    )


def failed_judgement() -> Judgement:
    """A phone that went away."""
    return Judgement(
        baseline=example_model(seed="main"),
        candidate=example_model(seed="branch"),
        device=example_device(),
        metrics=(),
        verdict="INCONCLUSIVE",
        reasons=("FA6AB0302345 is gone",),
        failure=Failure(kind="device", message="FA6AB0302345 is gone"),
    )


def example_gate(*judgements: Judgement) -> Gate:
    """A gate over these judgements; without any, one of every verdict and kind of device, and one failure."""
    made = judgements or (
        example_judgement("phone", "REGRESSION"),
        example_judgement("phone", "PASS"),
        example_judgement("host", "IMPROVED"),
        example_judgement("host", "INCONCLUSIVE"),
        example_judgement("phone", "NOT COMPARABLE"),
        example_judgement("virtual", "REGRESSION"),
        example_judgement("virtual", "PASS"),
        failed_judgement(),
    )
    return Gate(
        settings=GateSettings(allowances={"size": 0.005, "operators": 0.005, "macs": 0.005, "int8_share": 0.005}),
        judgements=made,
        started_utc="2026-11-21T14:00:00Z",
        finished_utc="2026-11-21T14:45:00Z",
        tool={"name": "tkd-bench", "version": "0.1.0"},
    )
