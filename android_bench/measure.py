"""A session: all models in interleaved blocks, then their memory, then their accuracy.

    blocks of two models    A B | B A | A B | …        what drifts, drifts for both
    of three                A B C | C B A | A B C | …

After `android_bench.runner`, before `android_bench.summary`. Nothing is printed here: the caller's functions are told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version

from android_bench.device import Device, utc_now
from android_bench.errors import BenchError, DeviceError, GoldenMismatchError
from android_bench.records import Block, DeviceState, Failure, Measurement, Model, RunPlan, Session
from android_bench.runner import BlockPlace, RunnerFacts, run_block, run_memory, run_predictions
from converters.bundle import Bundle


@dataclass(frozen=True, slots=True, kw_only=True)
class Watcher:
    """Who is told while a session runs.

    Attributes:
        keep: called with each block as it ends.
        step: called after each process.
        now: the time, ISO 8601 in UTC.
    """

    keep: Callable[[Block], None] = lambda _block: None
    step: Callable[[], None] = lambda: None
    now: Callable[[], str] = utc_now


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
    device_name: str, device: Device, bundles: Sequence[Bundle], plan: RunPlan, watcher: Watcher | None = None
) -> Session:
    """Measures the models and returns what was found, also after Ctrl-C (`interrupted`) and after failures.

    A model that fails is left out of what follows; the others go on.

    Raises:
        BenchError: there are no models, or two of one name.
    """
    if not bundles:
        raise BenchError("no models to measure")
    return _Work(device_name, device, bundles, plan, watcher or Watcher()).session()


class _Work:
    """The session while it grows."""

    def __init__(
        self, device_name: str, device: Device, bundles: Sequence[Bundle], plan: RunPlan, watcher: Watcher
    ) -> None:
        self._device_name, self._device, self._bundles = device_name, device, bundles
        self._plan, self._watcher = plan, watcher
        self._found = [Measurement(model=_model(bundle)) for bundle in bundles]
        self._facts = RunnerFacts()
        self._order = 0

    def session(self) -> Session:
        started, before = self._watcher.now(), self._device.state()
        self._snapshot(started, before=before)  # refuses two models of one name before time is spent
        interrupted = False
        try:
            for model, index in block_order(len(self._bundles), self._plan.blocks):
                self._attempt(model, partial(self._block, model, index))
            for model in range(len(self._bundles)):
                self._attempt(model, partial(self._memory, model))
            for model in range(len(self._bundles)):
                self._attempt(model, partial(self._predictions, model))
        except KeyboardInterrupt:
            interrupted = True
        return replace(self._snapshot(started, before=before), interrupted=interrupted)

    def _snapshot(self, started: str, before: DeviceState) -> Session:
        runner = dict(self._facts.hello)
        if self._facts.init:
            runner["invoke_path"] = self._facts.init["invoke_path"]
        runner.pop("event", None)
        return Session(
            device=self._device_name,
            context=self._device.context(),
            plan=self._plan,
            runner=runner,
            started_utc=started,
            finished_utc=self._watcher.now(),
            before=before,
            after=self._device.state(),
            measurements=tuple(self._found),
            concerns=self._device.concerns(before),
            tool={"name": "tkd-bench", "version": _version()},
        )

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
            load_1min=self._device.state().load_1min,
        )
        self._order += 1
        block, self._facts = run_block(self._device, self._bundles[model], self._plan, place)
        self._watcher.keep(block)
        found = self._found[model]
        notes = found.notes if found.blocks else found.notes + _notes(self._facts)
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
    )


def _notes(facts: RunnerFacts) -> tuple[str, ...]:
    if facts.hello["delegate"] == "xnnpack" and facts.init["delegated_nodes"] == 0:
        return ("XNNPACK took no part of this model: it runs on the slower built-in kernels",)
    return ()


def _version() -> str:
    try:
        return version("tkd")
    except PackageNotFoundError:
        return "not installed"
