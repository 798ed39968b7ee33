"""A session on a virtual phone: golden proof, instructions and accuracy of each model; no times, which say nothing.

After `virtual_phones` and `runner`; `android_bench.cli_virtual` prints and saves what is made here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from android_bench import stats
from android_bench.adb.phone import Phone
from android_bench.device import utc_now
from android_bench.errors import BenchError, DeviceError, GoldenMismatchError
from android_bench.operator_counts import OperatorCounts, operator_lines
from android_bench.precision import mean_precision
from android_bench.records import DeviceContext, Failure, Instructions, Predictions, RunPlan, SeveralPredictions
from android_bench.runner import run_instructions, run_operators, run_predictions
from converters.bundle import Bundle
from converters.stream_bundle import StreamBundle

FORMAT = "tkd.instructions/1"
TITLE = "emulated, instructions, not latency"
_GETPROP_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedBy:
    """What decides whether two counts can be compared: all of it must be equal.

    Attributes:
        engine_sha256: of the engine's library.
        runner_sha256: of the runner.
        emulator: name and version.
        emulated_cpu: the emulator's `-cpu`.
        counter_sha256: of the plugin's sources.
        processor_sha256: of what the processor says of itself, read inside.
        delegate: which kernels ran.
        threads: of the engine; only one counts exactly.
    """

    engine_sha256: str
    runner_sha256: str
    emulator: str
    emulated_cpu: str
    counter_sha256: str
    processor_sha256: str
    delegate: str
    threads: int

    def differences(self, other: CountedBy) -> tuple[str, ...]:
        """What keeps two counts from being compared, one phrase each; empty when they can be."""
        ours, theirs = asdict(self), asdict(other)
        return tuple(f"{name}: {ours[name]} and {theirs[name]}" for name in ours if ours[name] != theirs[name])


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """The instructions of one model, and what they were counted by."""

    instructions: Instructions
    by: CountedBy


@dataclass(slots=True, kw_only=True)
class VirtualMeasurement:
    """What was measured of one model, growing while the session runs."""

    bundle: Bundle
    counted: Counted | None = None
    operators: OperatorCounts | None = None
    predictions: Predictions | SeveralPredictions | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualSession:
    """One call of the bench on a virtual phone.

    Attributes:
        device: the virtual phone's name.
        context: what it says of itself.
        facts: runner and engine, as `native_install` gives them, and how programs were run.
        started_utc: ISO 8601.
        measurements: one a model.
        interrupted: whether it was stopped before its end.
    """

    device: str
    context: DeviceContext
    facts: Mapping[str, str | bool]
    started_utc: str
    measurements: tuple[VirtualMeasurement, ...]
    interrupted: bool = False
    concerns: tuple[str, ...] = field(default=("emulated: instructions are exact, times mean nothing",))


def count_instructions(
    phone: Phone, bundle: Bundle | StreamBundle, plan: RunPlan, facts: Mapping[str, str | bool]
) -> Counted:
    """The instructions of one model on a virtual phone with a runner, proven on its golden outputs first.

    Args:
        phone: connected, with its runner.
        bundle: the model; of a stream, an inference is one hop.
        plan: its threads must be 1.
        facts: of the runner, as `native_install.install_runner` gives them.

    Raises:
        BenchError: more than one thread was asked for, or the phone does not count.
        GoldenMismatchError: the phone computes another function.
        DeviceError: the phone or the runner failed.
    """
    if plan.threads != 1:
        raise BenchError(
            f"instructions are counted for one thread, not {plan.threads}: which thread works how long is chance; "
            "leave --threads out"
        )
    properties = {name: _property(phone, name) for name in ("emulator.version", "emulator.cpu", "counter.sha256")}
    missing = [name for name, value in properties.items() if not value]
    if missing:
        raise BenchError(
            f"{phone.serial} does not count instructions (no property tkd.{missing[0]}); it is no virtual phone"
        )
    counted, seen = run_instructions(phone, bundle, plan)
    by = CountedBy(
        engine_sha256=str(facts["engine_sha256"]),
        runner_sha256=str(facts["runner_sha256"]),
        emulator=properties["emulator.version"],
        emulated_cpu=properties["emulator.cpu"],
        counter_sha256=properties["counter.sha256"],
        processor_sha256=str(seen.hello["processor_sha256"]),
        delegate=str(seen.hello["delegate"]),
        threads=plan.threads,
    )
    return Counted(instructions=counted, by=by)


def measure_virtual(
    name: str,
    phone: Phone,
    bundles: Sequence[Bundle],
    plan: RunPlan,
    facts: Mapping[str, str | bool],
    step: Callable[[], None],
    *,
    ticking: tuple[str, ...] = (),
) -> VirtualSession:
    """Counts and scores the models; also after Ctrl-C what there is. A model that fails is left out of what follows.

    Args:
        name: of the device.
        phone: connected, with its runner.
        bundles: the models.
        plan: threads (1) and the time-out are used.
        facts: of the runner.
        step: called after each process.
        ticking: what starts the runner that counts operators; () counts none.

    Raises:
        BenchError: there are no models, two of one name, or more than one thread was asked for.
    """
    names = [bundle.name for bundle in bundles]
    if not names or len(set(names)) < len(names):
        raise BenchError(f"models {', '.join(names) or '(none)'}; expected at least one, each name once")
    started, found, interrupted = utc_now(), [VirtualMeasurement(bundle=bundle) for bundle in bundles], False

    def attempt(one: VirtualMeasurement, stage: Callable[[VirtualMeasurement], None]) -> None:
        if one.failure is None:
            try:
                stage(one)
            except GoldenMismatchError as error:
                one.failure = Failure(kind="golden", message=str(error))
            except DeviceError as error:
                one.failure = Failure(kind="device", message=str(error))
        step()

    def count(one: VirtualMeasurement) -> None:
        one.counted = count_instructions(phone, one.bundle, plan, facts)

    def divide(one: VirtualMeasurement) -> None:
        usual = phone.runner
        phone.use_runner(ticking)
        try:
            one.operators = run_operators(phone, one.bundle, plan)
        finally:
            phone.use_runner(usual)

    def predict(one: VirtualMeasurement) -> None:
        one.predictions = run_predictions(phone, one.bundle, plan)

    way, context = _property(phone, "emulator.way"), phone.context()
    try:
        for stage in (count, *((divide,) if ticking else ()), predict):
            for one in found:
                attempt(one, stage)
    except KeyboardInterrupt:
        interrupted = True
    return VirtualSession(
        device=name,
        context=context,
        facts={**facts, "way": way},
        started_utc=started,
        measurements=tuple(found),
        interrupted=interrupted,
    )


def document(session: VirtualSession) -> dict[str, Any]:
    """The session as JSON values."""
    return {
        "format": FORMAT,
        "title": TITLE,
        "emulated": True,
        "device": session.device,
        "context": {**asdict(session.context), "stands_for": f"{session.device}: {TITLE}"},
        "runner": dict(session.facts),
        "started_utc": session.started_utc,
        "interrupted": session.interrupted,
        "concerns": list(session.concerns),
        "measurements": [
            {
                "model": one.bundle.name,
                "student": one.bundle.student,
                "precision": one.bundle.precision,
                "sha256": one.bundle.sha256,
                "size_bytes": one.bundle.model.stat().st_size,
                "synthetic": one.bundle.synthetic,
                "instructions": {**asdict(one.counted.instructions), "counted_by": asdict(one.counted.by)}
                if one.counted
                else None,
                "operators": asdict(one.operators) if one.operators else None,
                "predictions": asdict(one.predictions) if one.predictions else None,
                "failure": asdict(one.failure) if one.failure else None,
            }
            for one in session.measurements
        ],
    }


def table(session: VirtualSession) -> list[str]:
    """The session for people, line by line."""
    head = f"{'model':<32} {'an inference':>14} {'first':>14} {'init':>14} {'size':>10}  accuracy"
    lines = [f"{session.device} ({TITLE}): {session.context.model}, {session.context.fingerprint}", "", head]
    lines += [_model_line(one) for one in session.measurements]
    lines += ["", *_ratio_lines(session.measurements)]
    counted = [one.counted for one in session.measurements if one.counted]
    if counted:
        by = counted[0].by
        lines.append(
            f"counted by {by.emulator}, -cpu {by.emulated_cpu}, engine {by.engine_sha256[:12]}, "
            f"runner {by.runner_sha256[:12]}, processor {by.processor_sha256[:12]}, one thread: "
            "counts are comparable only where all of these are equal"
        )
    lines += session.concerns[1:]  # the first one is the title's
    for one in session.measurements:
        if one.operators and one.counted:
            lines += ["", one.bundle.name, *operator_lines(one.operators, one.counted.instructions.inference)]
    if any(one.bundle.synthetic and one.predictions for one in session.measurements):
        lines.append("* SYNTHETIC data: this accuracy says nothing about recorded audio")
    lines += [
        f"{one.bundle.name} failed ({one.failure.kind}): {one.failure.message}"
        for one in session.measurements
        if one.failure
    ]
    if session.interrupted:
        lines.append("interrupted: what is missing was not measured")
    return lines


def _model_line(one: VirtualMeasurement) -> str:
    counts = one.counted.instructions if one.counted else None
    cells = [f"{value:,}" for value in (counts.inference, counts.first, counts.init)] if counts else ["–"] * 3
    size = f"{one.bundle.model.stat().st_size / 1e3:.1f} kB"
    return f"{one.bundle.name:<32} {cells[0]:>14} {cells[1]:>14} {cells[2]:>14} {size:>10}  {_accuracy(one)}"


def _accuracy(one: VirtualMeasurement) -> str:
    star = " *" if one.bundle.synthetic else ""
    if one.predictions is None:
        return "–"
    if isinstance(one.predictions, SeveralPredictions):
        return f"mAP {mean_precision(one.predictions).value:.3f}{star}"
    right = one.predictions.right
    low, high = stats.wilson(sum(right), len(right))
    return f"{sum(right) / len(right):.1%}{star} ({low:.1%} – {high:.1%}, {len(right)} clips)"


def _ratio_lines(measurements: Sequence[VirtualMeasurement]) -> list[str]:
    """Each model's instructions against the float32 model of its student; exact, so there is no interval."""
    floats = {one.bundle.student: one for one in measurements if one.bundle.precision == "float32"}
    lines = []
    for one in measurements:
        baseline = floats.get(one.bundle.student)
        if baseline is None or baseline is one or not (one.counted and baseline.counted):
            continue
        differences = one.counted.by.differences(baseline.counted.by)
        ratio = one.counted.instructions.inference / baseline.counted.instructions.inference
        lines.append(
            f"{one.bundle.name} against float32: not comparable ({'; '.join(differences)})"
            if differences
            else f"{one.bundle.name} against float32: {ratio:.3f} × the instructions"
        )
    return lines


def _property(phone: Phone, name: str) -> str:
    return phone.run(("getprop", f"tkd.{name}"), _GETPROP_S).stdout.strip()
