"""Measures two models for a verdict: pairs in one session, and a fresh session where they say REGRESSION.

    open the device ── A B | B A | … 15 pairs ── decided? ── 15 more ── memory, accuracy ── close
    open it again   ── A B | B A | … 15 pairs ── close                  only to confirm a REGRESSION

After `android_bench.measure` and `android_bench.virtual_session`, before `android_bench.compare`, which judges.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from android_bench.adb.phone import Phone
from android_bench.compare import arm_name, decided, side_of, wants_confirmation
from android_bench.counted import counted_device, judge_counts
from android_bench.device import Device
from android_bench.measure import Setting, Watcher, measure
from android_bench.records import Measurement, RunPlan, Session
from android_bench.verdict import GateSettings, Judgement
from android_bench.virtual_session import document, measure_virtual
from converters.bundle import Bundle


class Ready(Protocol):
    """A device that is ready to be measured."""

    @property
    def device(self) -> Device:
        """Which one."""

    @property
    def plan(self) -> RunPlan:
        """How, with its cores."""

    @property
    def setting(self) -> Setting:
        """What the session stands on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The two models: the one that stands, and the one that may replace it."""

    baseline: Bundle
    candidate: Bundle

    def arms(self) -> tuple[Bundle, Bundle]:
        """Both under names that tell them apart in one session."""
        return _named(self.baseline, arm_name(self.baseline, "baseline")), _named(
            self.candidate, arm_name(self.candidate, "candidate")
        )


def measure_pair(
    name: str,
    pair: Pair,
    opened: Callable[[], AbstractContextManager[Ready]],
    settings: GateSettings,
    comparisons: int,
    watcher: Callable[[str], Watcher],
) -> tuple[Session, Session | None]:
    """The session of a pair, and the fresh one that confirms or not, where the first one is a regression.

    Args:
        name: of the device.
        pair: the models.
        opened: makes the device ready; called again for the fresh session.
        settings: what is allowed, and how many pairs.
        comparisons: of the whole gate.
        watcher: who is told while `session` and `confirmation` run, by that name.

    Raises:
        DeviceError: the device cannot be made ready.
    """

    def enough(rounds: int, found: Sequence[Measurement]) -> bool:
        if any(each.failure for each in found):
            return True
        return rounds == settings.pairs and decided(found, statistic, settings, comparisons)

    with opened() as ready:
        statistic = ready.plan.statistic
        plan = replace(ready.plan, blocks=2 * settings.pairs)
        setting = replace(ready.setting, enough=enough)
        session = measure(name, ready.device, pair.arms(), plan, watcher("session"), setting)
    failed = any(each.failure for each in session.measurements)
    if session.interrupted or failed or not wants_confirmation(session, settings):
        return session, None
    with opened() as ready:
        plan = replace(ready.plan, blocks=settings.pairs)
        setting = replace(ready.setting, stages=())
        return session, measure(name, ready.device, pair.arms(), plan, watcher("confirmation"), setting)


def count_pair(
    name: str,
    pair: Pair,
    phone: Phone,
    facts: Mapping[str, str | bool],
    settings: GateSettings,
    step: Callable[[], None],
) -> tuple[Judgement, dict[str, Any]]:
    """The judgement of a pair on a virtual phone, exact, and the document of what was counted."""
    session = measure_virtual(name, phone, pair.arms(), RunPlan(), facts, step)
    counted = document(session)
    old, new = counted["measurements"]
    device = counted_device(counted, new)
    return judge_counts(side_of(pair.baseline), side_of(pair.candidate), device, (old, new), settings), counted


def _named(bundle: Bundle, name: str) -> Bundle:
    return replace(bundle, document={**bundle.document, "name": name})
