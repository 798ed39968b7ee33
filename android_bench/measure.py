"""A session: all models in interleaved blocks, then their memory, then their accuracy.

    blocks of two models    A B | B A | A B | …        what drifts, drifts for both
    of three                A B C | C B A | A B C | …
    on a phone              gate A B | gate B A | …    a round is measured when the phone is fit for it, or not at all

After `android_bench.runner`, before `android_bench.summary`. Nothing is printed here: the caller's functions are told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from android_bench.device import Device, utc_now
from android_bench.errors import BenchError, DeviceError, GoldenMismatchError
from android_bench.gates import Answer, Limits
from android_bench.records import (
    Block,
    DeviceState,
    Failure,
    Measurement,
    Model,
    Rejection,
    RunPlan,
    Session,
    StageScore,
)
from android_bench.runner import BlockPlace, RunnerFacts, run_block, run_memory, run_predictions
from converters.bundle import Bundle


@dataclass(frozen=True, slots=True, kw_only=True)
class Watcher:
    """Who is told while a session runs.

    Attributes:
        keep: called with each block as it ends.
        step: called after each process.
        rejected: told of each round that was not measured.
        now: the time, ISO 8601 in UTC.
    """

    keep: Callable[[Block], None] = lambda _block: None
    step: Callable[[], None] = lambda: None
    rejected: Callable[[Rejection], None] = lambda _rejection: None
    now: Callable[[], str] = utc_now


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a session stands on besides its models and its plan.

    Attributes:
        gate: asked before each round; None lets every round pass.
        runner: which runner and engine were put on the device.
        concerns: what makes the numbers less than clean, known before the first block.
        dirty: the same in a word or two each, for the session's name.
        done: blocks of an earlier part of this session, whole rounds; they are not measured again.
        enough: told how many rounds were tried and what was found so far; True ends the blocks, and the session's plan
            then says how many rounds there were.
        stages: what follows the blocks.
    """

    gate: Callable[[], Answer] | None = None
    runner: Mapping[str, str | bool] = field(default_factory=dict)
    concerns: tuple[str, ...] = ()
    dirty: tuple[str, ...] = ()
    done: tuple[Block, ...] = ()
    enough: Callable[[int, Sequence[Measurement]], bool] = lambda _rounds, _found: False
    stages: tuple[Literal["memory", "accuracy"], ...] = ("memory", "accuracy")


def steps(bundles: Sequence[Bundle], plan: RunPlan) -> int:
    """How many processes a session of these models takes at most."""
    return len(bundles) * (plan.blocks + 2)


def block_order(models: int, blocks: int) -> Iterator[tuple[int, int]]:
    """(model, index) of each block: forwards in even rounds, backwards in odd ones.

    >>> list(block_order(2, 2))
    [(0, 0), (1, 0), (1, 1), (0, 1)]
    """
    for index in range(blocks):
        forwards = range(models)
        for model in forwards if index % 2 == 0 else reversed(forwards):
            yield model, index


def measure(
    device_name: str,
    device: Device,
    bundles: Sequence[Bundle],
    plan: RunPlan,
    watcher: Watcher | None = None,
    setting: Setting | None = None,
) -> Session:
    """Measures the models and returns what was found, also after Ctrl-C (`interrupted`) and after failures.

    A model that fails is left out of what follows; the others go on. A device that has gone fails all of them.

    Raises:
        BenchError: there are no models, or two of one name.
    """
    if not bundles:
        raise BenchError("no models to measure")
    return _Work(device_name, device, bundles, plan, watcher or Watcher(), setting or Setting()).session()


class _Work:
    """The session while it grows."""

    def __init__(
        self,
        device_name: str,
        device: Device,
        bundles: Sequence[Bundle],
        plan: RunPlan,
        watcher: Watcher,
        setting: Setting,
    ) -> None:
        self._device_name, self._device, self._bundles = device_name, device, bundles
        self._plan, self._watcher, self._setting = plan, watcher, setting
        self._found = [
            Measurement(
                model=_model(bundle), blocks=tuple(block for block in setting.done if block.bundle == bundle.name)
            )
            for bundle in bundles
        ]
        self._facts = RunnerFacts()
        self._order = 1 + max((block.order for block in setting.done), default=-1)
        self._rejected: list[Rejection] = []
        self._probe_ns: int | None = None
        self._context = device.context()
        self._state = device.state()

    def session(self) -> Session:
        started, before = self._watcher.now(), self._state
        self._snapshot(started, before=before)  # refuses two models of one name before time is spent
        interrupted = False
        try:
            for index in range(self._plan.blocks):
                self._round(index)
                if self._setting.enough(index + 1, self._found):
                    self._plan = replace(self._plan, blocks=index + 1)
                    break
            stages = {"memory": self._memory, "accuracy": self._predictions}
            for stage in self._setting.stages:
                for model in range(len(self._bundles)):
                    self._attempt(model, partial(stages[stage], model))
        except KeyboardInterrupt:
            interrupted = True
        if any(found.failure is None or found.failure.kind != "device" for found in self._found):
            with suppress(DeviceError):  # it has gone, and its last state is the one before the last round
                self._state = self._device.state()
        return replace(self._snapshot(started, before=before), interrupted=interrupted)

    def _snapshot(self, started: str, before: DeviceState) -> Session:
        runner = {**self._setting.runner, **self._facts.hello}
        if self._facts.init:
            runner["invoke_path"] = self._facts.init["invoke_path"]
        runner.pop("event", None)
        many = 4 * len(self._rejected) > self._plan.blocks
        rejected = f"{len(self._rejected)} of {self._plan.blocks} rounds were rejected: the device was not fit for them"
        concerns = (
            *self._device.concerns(before),
            *self._setting.concerns,
            *((rejected,) if many else ()),
            *_slow_rounds(self._found),
        )
        return Session(
            device=self._device_name,
            context=self._context,
            plan=self._plan,
            runner=runner,
            started_utc=started,
            finished_utc=self._watcher.now(),
            before=before,
            after=self._state,
            measurements=tuple(self._found),
            concerns=concerns,
            tool={"name": "tkd-bench", "version": tool_version()},
            rejected=tuple(self._rejected),
            dirty=(*self._setting.dirty, *(("rounds rejected",) if many else ())),
        )

    def _round(self, index: int) -> None:
        """One block of each model, unless the gate stays closed."""
        done = {block.bundle for block in self._setting.done if block.index == index}
        order = [model for model, at in block_order(len(self._bundles), index + 1) if at == index]
        left = [model for model in order if self._bundles[model].name not in done]
        if any(self._found[model].failure is None for model in left) and not self._is_fit(index):
            left = []
        for model in order:
            if model in left:
                self._attempt(model, partial(self._block, model, index))
            else:
                self._watcher.step()

    def _is_fit(self, index: int) -> bool:
        """Whether the device is fit for this round; one that has gone fails every model."""
        try:
            if self._setting.gate is None:
                self._state = self._device.state()
                return True
            answer = self._setting.gate()
        except DeviceError as error:
            for model, found in enumerate(self._found):
                if found.failure is None:
                    self._fail(model, Failure(kind="device", message=str(error)))
            return False
        self._state, self._probe_ns = answer.state, answer.probe_ns
        if answer.reasons:
            rejection = Rejection(
                index=index, reasons=answer.reasons, waited_s=round(answer.waited_s, 1), at_utc=self._watcher.now()
            )
            self._rejected.append(rejection)
            self._watcher.rejected(rejection)
        return not answer.reasons

    def _attempt(self, model: int, stage: Callable[[], Measurement]) -> None:
        if self._found[model].failure is None:
            try:
                self._found[model] = stage()
            except GoldenMismatchError as error:
                self._fail(model, Failure(kind="golden", message=str(error)))
            except DeviceError as error:
                self._fail(model, Failure(kind="device", message=str(error)))
        self._watcher.step()

    def _fail(self, model: int, failure: Failure) -> None:
        self._found[model] = replace(self._found[model], failure=failure)

    def _block(self, model: int, index: int) -> Measurement:
        place = BlockPlace(
            index=index,
            order=self._order,
            started_utc=self._watcher.now(),
            load_1min=self._state.load_1min,
            probe_ns=self._probe_ns,
        )
        self._order += 1
        block, self._facts = run_block(self._device, self._bundles[model], self._plan, place)
        self._watcher.keep(block)
        found = self._found[model]
        notes = found.notes + tuple(note for note in _notes(self._facts) if note not in found.notes)
        return replace(found, blocks=(*found.blocks, block), notes=notes)

    def _memory(self, model: int) -> Measurement:
        return replace(self._found[model], memory=run_memory(self._device, self._bundles[model], self._plan))

    def _predictions(self, model: int) -> Measurement:
        found, bundle = self._found[model], self._bundles[model]
        return replace(found, predictions=run_predictions(self._device, bundle, self._plan))


def _model(bundle: Bundle) -> Model:
    return Model(
        name=bundle.name,
        student=bundle.student,
        precision=bundle.precision,
        sha256=bundle.sha256,
        size_bytes=bundle.model.stat().st_size,
        synthetic=bundle.synthetic,
        parents=dict(bundle.document["parents"]),
        stages=tuple(_stages(bundle)),
    )


def _stages(bundle: Bundle) -> Iterator[StageScore]:
    """The export's own scores on the evaluation pack; of the TFLite files only this bundle's."""
    scores = bundle.document["accuracy"].get("evaluation_pack", {})
    for stage, name in (("torch", "torch"), ("onnx", "onnx"), (bundle.precision, "tflite")):
        score = scores.get(stage, {})
        metric = score.get("metric", "accuracy")
        if metric in score:
            interval = score.get("interval_95")
            yield StageScore(
                name=name,
                metric=metric,
                value=float(score[metric]),
                interval=(float(interval[0]), float(interval[1])) if interval else None,
                total=int(score["total"]),
            )


def _notes(facts: RunnerFacts) -> tuple[str, ...]:
    if facts.hello["delegate"] == "xnnpack" and facts.init["delegated_nodes"] == 0:
        return ("XNNPACK took no part of this model: it runs on the slower built-in kernels",)
    return ()


def _slow_rounds(found: Sequence[Measurement]) -> tuple[str, ...]:
    """Rounds that were measured before the device was at its best, as the probes of later rounds have shown."""
    probes = {block.index: block.probe_ns for item in found for block in item.blocks if block.probe_ns is not None}
    if not probes:
        return ()
    best = min(probes.values())
    slow = [str(index + 1) for index in sorted(probes) if probes[index] > Limits().slowdown * best]
    if not slow:
        return ()
    return (
        f"round {', '.join(slow)}: a fixed piece of work was faster later in the session; it was throttled or busy",
    )


def tool_version() -> str:
    """The version of this toolkit, for what it writes."""
    try:
        return version("tkd")
    except PackageNotFoundError:
        return "not installed"
