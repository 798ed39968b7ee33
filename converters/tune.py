"""The fastest way to lower one network on one device: tried, not guessed.

Each choice of `converters.lowering.choices` is turned by itself, the file that comes out is held against the ONNX
model, and what passes is measured in turns with the file as it is. What is faster beyond doubt is kept, and the next
choice is tried beside it. Tested in `tests/converters/test_tune.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from converters.errors import GateFailedError
from converters.latency import Ratio, latency_ratios
from converters.lowering.choices import Choices
from converters.runners import Array

Measure = Callable[[Mapping[str, bytes], Array], Mapping[str, Ratio]]
"""Files by name and one clip, (1, *axes), to each file against the first one."""
Make = Callable[[Choices], bytes]
"""The file of one way to lower the network; GateFailedError where it computes something else."""

_BLOCKS = 31
_LEAST_GAIN = 0.98
_AS_IT_IS = "as it is"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuner:
    """What to tune for.

    Attributes:
        device: as reports call it, such as `host` or `virtual-pixel1`.
        metric: `latency`, or `instructions, emulated`.
        measure: asks the device.
    """

    device: str
    metric: str
    measure: Measure


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One alternative.

    Attributes:
        choice: such as `steps=flat`.
        beside: what was turned before it.
        size_bytes: of its file; 0 where none came about.
        ratio: against the file as it was then; None where it was not measured.
        outcome: `kept`, or why not.
    """

    choice: str
    beside: str
    size_bytes: int
    ratio: Ratio | None
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What was tried, and what is kept.

    Attributes:
        device: where.
        metric: of what.
        precision: of the files that were measured.
        trials: in order.
        chosen: the way that is taken.
    """

    device: str
    metric: str
    precision: str
    trials: tuple[Tried, ...]
    chosen: Choices

    def sentence(self) -> str:
        """One line for people."""
        measured = sum(each.ratio is not None for each in self.trials)
        return (
            f"tuned for {self.metric} of the {self.precision} file on {self.device}: {measured} alternatives measured; "
            f"taken: {self.chosen.words()}"
        )


def host_tuner() -> Tuner:
    """Latency on this computer, one thread."""
    return Tuner(
        device="host", metric="latency", measure=lambda files, clip: latency_ratios(files, clip, blocks=_BLOCKS)
    )


def tune(tuner: Tuner, make: Make, clip: Array, precision: str, start: Choices) -> Tuning:
    """Turns every choice once, and keeps what is at least 2 % faster beyond doubt.

    Args:
        tuner: the device.
        make: the file of a way.
        clip: float32, shape (1, *axes).
        precision: of the files, for the report.
        start: the way to begin with.

    Raises:
        GateFailedError: the way to begin with computes something else.
    """
    chosen, best = start, make(start)
    trials: list[Tried] = []
    seen = {best}
    names = [name for name, _ in start.alternatives()]
    for name in names:
        candidate = dict(chosen.alternatives()).get(name)
        if candidate is None:
            continue
        beside = chosen.words()
        try:
            content = make(candidate)
        except GateFailedError as refusal:
            trials.append(Tried(choice=name, beside=beside, size_bytes=0, ratio=None, outcome=f"fails: {refusal}"))
            continue
        if content in seen:
            trials.append(_unmeasured(name, beside, content, "changes nothing in this network"))
            continue
        seen.add(content)
        ratio = tuner.measure({_AS_IT_IS: best, name: content}, clip).get(name)
        if ratio is None:
            trials.append(_unmeasured(name, beside, content, f"{tuner.device} gave no measurement"))
            continue
        is_faster = ratio.ratio <= _LEAST_GAIN and ratio.high < 1
        outcome = "kept" if is_faster else "no gain of 2 % beyond doubt" if ratio.ratio < 1 else "not faster"
        trials.append(Tried(choice=name, beside=beside, size_bytes=len(content), ratio=ratio, outcome=outcome))
        if is_faster:
            chosen, best = candidate, content
    return Tuning(device=tuner.device, metric=tuner.metric, precision=precision, trials=tuple(trials), chosen=chosen)


def _unmeasured(name: str, beside: str, content: bytes, outcome: str) -> Tried:
    return Tried(choice=name, beside=beside, size_bytes=len(content), ratio=None, outcome=outcome)
