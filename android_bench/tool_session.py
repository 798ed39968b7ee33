"""A session with TensorFlow's `benchmark_model`: proof, interleaved blocks, accuracy; then its table and its document.

The order is that of `android_bench.measure`; the records are its own, because the tool keeps no samples.
After `android_bench.benchmark_model`; `android_bench.cli` prints and saves what is made here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from android_bench import stats
from android_bench.benchmark_model import (
    Tool,
    ToolOutput,
    get_to_know,
    prove_golden,
    run_tool_block,
    run_tool_predictions,
)
from android_bench.device import Device, utc_now
from android_bench.errors import DeviceError, GoldenMismatchError
from android_bench.gates import Answer
from android_bench.measure import block_order
from android_bench.records import DeviceContext, Failure, Predictions, Rejection, RunPlan
from android_bench.report import duration
from converters.bundle import Bundle
from converters.files import sha256_of

FORMAT = "tkd.benchmark_model/1"
_UNPROVEN = "this benchmark_model cannot write outputs: neither its function nor its accuracy was checked"
_SEVERAL_LABELS = "accuracy: clips with several labels each are scored by our own runner only"


@dataclass(slots=True, kw_only=True)
class ToolMeasurement:
    """What was measured of one model, growing while the session runs.

    Attributes:
        bundle: the model.
        blocks: by index, one per process.
        proven: whether the golden outputs were reproduced; False when the tool cannot tell.
        predictions: answers for the evaluation pack.
        failure: why it was not measured to the end.
        notes: remarks.
    """

    bundle: Bundle
    blocks: dict[int, ToolOutput] = field(default_factory=dict)
    proven: bool = False
    predictions: Predictions | None = None
    failure: Failure | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSession:
    """One call of the bench with the tool."""

    device: str
    context: DeviceContext
    plan: RunPlan
    tool_name: str
    tool_sha256: str
    started_utc: str
    concerns: tuple[str, ...]
    measurements: tuple[ToolMeasurement, ...]
    interrupted: bool
    rejected: tuple[Rejection, ...] = ()

    @property
    def many_rejected(self) -> bool:
        """Whether over a quarter of the rounds were rejected."""
        return 4 * len(self.rejected) > self.plan.blocks


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolWatcher:
    """Who is asked and told while a session runs.

    Attributes:
        gate: asked before each round; None lets every round pass.
        keep: called with the model's name, the index and the block as it ends.
        step: called after each process of a block, and after each model's accuracy.
        rejected: told of each round that was not measured.
    """

    gate: Callable[[], Answer] | None = None
    keep: Callable[[str, int, ToolOutput], None] = lambda _name, _index, _block: None
    step: Callable[[], None] = lambda: None
    rejected: Callable[[Rejection], None] = lambda _rejection: None


def measure_with_tool(
    name: str,
    device: Device,
    path: Path,
    bundles: Sequence[Bundle],
    plan: RunPlan,
    watcher: ToolWatcher | None = None,
    concerns: Sequence[str] = (),
) -> ToolSession:
    """Measures the models; also after Ctrl-C what there is. A model that fails is left out of what follows.

    Args:
        name: of the device.
        device: where the tool runs.
        path: the tool built for it.
        bundles: the models.
        plan: as for the other runners.
        watcher: who is asked and told.
        concerns: what makes the numbers less than clean, known before.

    Raises:
        DeviceError: the device cannot be asked how it is.
    """
    watcher = watcher or ToolWatcher()
    started, found, interrupted = utc_now(), [ToolMeasurement(bundle=bundle) for bundle in bundles], False
    rejections: list[Rejection] = []
    known = (*device.concerns(device.state()), *concerns)
    tool: Tool | None = None

    def attempt(one: ToolMeasurement, stage: Callable[[ToolMeasurement], None]) -> None:
        if one.failure is None:
            try:
                stage(one)
            except GoldenMismatchError as error:
                one.failure = Failure(kind="golden", message=str(error))
            except DeviceError as error:
                one.failure = Failure(kind="device", message=str(error))

    def prove(one: ToolMeasurement) -> None:
        nonlocal tool
        tool = tool or get_to_know(device, path, one.bundle, plan)
        one.notes += tool.notes
        one.proven = prove_golden(device, tool, one.bundle, plan)
        if not one.proven:
            one.notes.append(_UNPROVEN)

    def predict(one: ToolMeasurement) -> None:
        assert tool is not None, "a model that was not proven has failed"
        if one.proven and one.bundle.evaluation().labels.ndim == 1:
            one.predictions = run_tool_predictions(device, tool, one.bundle, plan)
        elif one.proven:
            one.notes.append(_SEVERAL_LABELS)

    def block(index: int) -> Callable[[ToolMeasurement], None]:
        def measured(one: ToolMeasurement) -> None:
            assert tool is not None, "a model that was not proven has failed"
            one.blocks[index] = run_tool_block(device, tool, one.bundle, plan)
            watcher.keep(one.bundle.name, index, one.blocks[index])

        return measured

    def is_fit(index: int) -> bool:
        if watcher.gate is None or all(one.failure for one in found):
            return True
        try:
            answer = watcher.gate()
        except DeviceError as error:
            for one in found:
                one.failure = one.failure or Failure(kind="device", message=str(error))
            return False
        if answer.reasons:
            waited_s = round(answer.waited_s, 1)
            rejections.append(Rejection(index=index, reasons=answer.reasons, waited_s=waited_s, at_utc=utc_now()))
            watcher.rejected(rejections[-1])
        return not answer.reasons

    try:
        for one in found:
            attempt(one, prove)
        fit: dict[int, bool] = {}
        for model, index in block_order(len(found), plan.blocks):
            if index not in fit:
                fit[index] = is_fit(index)
            if fit[index]:
                attempt(found[model], block(index))
            watcher.step()
        for one in found:
            attempt(one, predict)
            watcher.step()
    except KeyboardInterrupt:
        interrupted = True
    return ToolSession(
        device=name,
        context=device.context(),
        plan=plan,
        tool_name=path.name,
        tool_sha256=sha256_of(path),
        started_utc=started,
        concerns=known,
        measurements=tuple(found),
        interrupted=interrupted,
        rejected=tuple(rejections),
    )


def document(session: ToolSession) -> dict[str, Any]:
    """The session as JSON values; durations in µs as the tool printed them."""
    measurements = [
        {
            "model": one.bundle.name,
            "sha256": one.bundle.sha256,
            "synthetic": one.bundle.synthetic,
            "proven": one.proven,
            "blocks": [{"index": index, **asdict(block)} for index, block in sorted(one.blocks.items())],
            "predictions": asdict(one.predictions) if one.predictions else None,
            "failure": asdict(one.failure) if one.failure else None,
            "notes": one.notes,
        }
        for one in session.measurements
    ]
    head = {
        "format": FORMAT,
        "device": session.device,
        "context": asdict(session.context),
        "plan": asdict(session.plan),
        "runner": {"runner": "benchmark_model", "file": session.tool_name, "sha256": session.tool_sha256},
        "started_utc": session.started_utc,
        "interrupted": session.interrupted,
        "concerns": list(session.concerns),
        "rejected": [asdict(each) for each in session.rejected],
    }
    return {**head, "measurements": measurements}


def table(session: ToolSession) -> list[str]:
    """The session for people, line by line."""
    context = session.context
    lines = [
        f"{session.device}: {context.model}, {session.plan.threads} thread(s), runner benchmark_model "
        f"({session.tool_name}, sha256 {session.tool_sha256[:12]}), which keeps no samples · {context.stands_for}",
        "",
        f"{'model':<32} {'time':>10} {'95 % interval':>23} {'first':>10} {'init':>10}  accuracy",
    ]
    lines += [_model_line(one) for one in session.measurements]
    lines += ["", *_ratio_lines(session.measurements)]
    lines.append("time: the median of the blocks' medians where this tool prints medians, else of their averages")
    if any(one.bundle.synthetic and one.predictions for one in session.measurements):
        lines.append("* SYNTHETIC data: this accuracy says nothing about recorded audio")
    if session.interrupted:
        lines.append("INTERRUPTED: finished blocks are kept, the rest was not measured")
    lines += [f"not clean: {concern}" for concern in session.concerns]
    lines += [
        f"REJECTED: round {each.index + 1} after {each.waited_s:g} s: {'; '.join(each.reasons)}"
        for each in session.rejected
    ]
    for one in session.measurements:
        lines += [f"{one.bundle.name}: {note}" for note in one.notes]
        if one.failure:
            lines.append(f"{one.bundle.name} failed ({one.failure.kind}): {one.failure.message}")
    return lines


def _model_line(one: ToolMeasurement) -> str:
    blocks = list(one.blocks.values())
    if not blocks:
        return f"{one.bundle.name:<32} {'–':>10}"
    values = [block.value_us for block in blocks]
    interval = stats.median_interval(values)
    firsts = [block.first_us for block in blocks if block.first_us is not None]
    return (
        f"{one.bundle.name:<32} {duration(stats.median(values) / 1e3):>10} "
        f"{f'{duration(interval[0] / 1e3)} – {duration(interval[1] / 1e3)}' if interval else 'unclear':>23} "
        f"{duration(stats.median(firsts) / 1e3) if firsts else '–':>10} "
        f"{duration(stats.median([block.init_us for block in blocks]) / 1e3):>10}  {_accuracy(one)}"
    )


def _accuracy(one: ToolMeasurement) -> str:
    if one.predictions is None:
        return "–"
    right = one.predictions.right
    interval = stats.wilson(sum(right), len(right))
    star = " *" if one.bundle.synthetic else ""
    return f"{sum(right) / len(right):.1%}{star} ({interval[0]:.1%} – {interval[1]:.1%})"


def _ratio_lines(measurements: Sequence[ToolMeasurement]) -> list[str]:
    """Each model's time against the float32 model of its student, block by block."""
    floats = {one.bundle.student: one for one in measurements if one.bundle.precision == "float32"}
    lines = []
    for one in measurements:
        baseline = floats.get(one.bundle.student)
        if baseline is None or baseline is one:
            continue
        shared = sorted(one.blocks.keys() & baseline.blocks.keys())
        if shared:
            new, old = ([each.blocks[i].value_us for i in shared] for each in (one, baseline))
            ratio = stats.latency_ratio(new, old)
            seen = f"{ratio.interval[0]:.3f} – {ratio.interval[1]:.3f}" if ratio.interval else "unclear"
            lines.append(f"{one.bundle.name} against float32: {ratio.estimate:.3f} × ({seen}, {len(shared)} pairs)")
    return lines
