"""The ratio of two models that were measured in different sessions: anchored by a third, or widened by an assumption.

    anchored      both sessions hold one same file: (candidate / anchor) / (baseline / anchor), pairs in each session
    two sessions  nothing in common: what changes between sessions cannot be seen, so it is assumed

Before `android_bench.recorded`. Pure functions of records.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from android_bench import judge, pairs
from android_bench.records import Measurement, Session
from android_bench.stats import CONFIDENCE
from android_bench.verdict import Look

# How much two sessions of one model may differ by themselves: an assumption, wide on purpose.
DRIFT = 0.10

Floats = NDArray[np.float64]
Ends = tuple[float, float, float]


def anchor(sessions: Sequence[Session], arms: Sequence[Measurement]) -> str | None:
    """The SHA-256 of a model that both sessions measured beside the two that are compared; None without one."""
    compared = {arm.model.sha256 for arm in arms}
    held = [
        [each.model.sha256 for each in session.measurements if each.blocks and each.model.sha256 not in compared]
        for session in sessions
    ]
    return next((sha256 for sha256 in held[0] if sha256 in held[1]), None)


def anchored_look(sessions: Sequence[Session], arms: Sequence[Measurement], sha256: str, max_slowdown: float) -> Look:
    """The look at two models through the one that both sessions hold.

    Source: Zou and Donner 2008, Statistics in Medicine 27:1693–1702, for the interval of a difference of estimates.
    """
    old, new = (_log_ratio(session, arm, sha256) for session, arm in zip(sessions, arms, strict=True))
    count = min(_shared(session, arm, sha256) for session, arm in zip(sessions, arms, strict=True))
    if isinstance(old, float) or isinstance(new, float):
        middles = [each if isinstance(each, float) else each[1] for each in (old, new)]
        return _look(count, middles[1] - middles[0], None, max_slowdown)
    middle = new[1] - old[1]
    low = middle - math.hypot(new[1] - new[0], old[2] - old[1])
    high = middle + math.hypot(new[2] - new[1], old[1] - old[0])
    return _look(count, middle, (low, high), max_slowdown)


def unanchored_look(baseline: Sequence[float], candidate: Sequence[float], max_slowdown: float) -> Look:
    """The look at blocks of two sessions with nothing in common, widened by `DRIFT` to both sides.

    The interval inverts the Mann–Whitney test on logarithms.

    Source: Hodges and Lehmann 1963; Lehmann, Nonparametrics, section 2.6.
    """
    old, new = np.log(baseline), np.log(candidate)
    differences = np.sort((new[:, None] - old[None, :]).ravel())
    count = min(len(old), len(new))
    middle = float(np.median(differences))
    spread = math.sqrt(len(old) * len(new) * (len(old) + len(new) + 1) / 12)
    skipped = math.floor(len(differences) / 2 - scipy_stats.norm.ppf((1 + CONFIDENCE) / 2) * spread - 0.5)
    if count < pairs.least_pairs(CONFIDENCE) or skipped < 0 or differences[skipped] >= differences[-1 - skipped]:
        return _look(count, middle, None, max_slowdown)
    wide = math.log1p(DRIFT)
    ends = (float(differences[skipped]) - wide, float(differences[-1 - skipped]) + wide)
    return _look(count, middle, ends, max_slowdown, wide)


def _log_ratio(session: Session, arm: Measurement, sha256: str) -> Ends | float:
    """Lower end, estimate and upper end of ln(arm / anchor); the estimate alone where there is no interval."""
    logs = _logs(session, arm, sha256)
    walsh = pairs.walsh_averages(logs)
    ends = pairs.interval(walsh, len(logs), CONFIDENCE)
    middle = float(pairs.estimate(walsh))
    return middle if ends is None or ends[0] >= ends[1] else (float(ends[0]), middle, float(ends[1]))


def _logs(session: Session, arm: Measurement, sha256: str) -> Floats:
    other = next(each for each in session.measurements if each.model.sha256 == sha256)
    new, old = ({block.index: block.value_ns(session.plan.statistic) for block in each.blocks} for each in (arm, other))
    shared = sorted(new.keys() & old.keys())
    return judge.log_ratios([new[index] for index in shared], [old[index] for index in shared])


def _shared(session: Session, arm: Measurement, sha256: str) -> int:
    return len(_logs(session, arm, sha256))


def _look(
    count: int, middle: float, ends: tuple[float, float] | None, max_slowdown: float, assumed: float = 0.0
) -> Look:
    p_slower = None
    if ends:
        error = (ends[1] - ends[0] - 2 * assumed) / (2 * float(scipy_stats.norm.ppf((1 + CONFIDENCE) / 2)))
        p_slower = float(scipy_stats.norm.sf((middle - assumed - math.log1p(max_slowdown)) / error))
    return Look(
        pairs=count,
        confidence=CONFIDENCE,
        ratio=math.exp(middle),
        interval=(math.exp(ends[0]), math.exp(ends[1])) if ends else None,
        p_slower=p_slower,
    )
