"""From logits after every hop to detections, and how many are right: what an always-on keyword spotter is judged by.

    logits ─► posteriors ─► mean of the last hops ─► above the threshold, not within the refractory time ─► detections
                                                                                                     │
    keywords at known times ──────────────── within the tolerance: a hit; else a false alarm ◄───────┘

Swept over thresholds this gives false alarms an hour against the share of keywords missed.
Pure functions of numbers; `tkd.scoring.listening` calls them. Tested in `tests/tkd/scoring/test_alarms.py`.

Source: posterior smoothing as in Chen et al. 2014, "Small-footprint keyword spotting using deep neural networks",
section 2.3; there each class is smoothed and a word of several parts joined, here a class is a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tkd.data.stream import Word
from tkd.errors import SettingsError
from tkd.scoring.detection import Floats, log_posteriors

_THRESHOLDS = np.concatenate([np.arange(0.05, 0.9, 0.05), np.arange(0.9, 0.99, 0.01), [0.99, 0.995, 0.999]])


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmSettings:
    """How posteriors become detections, and detections hits.

    Attributes:
        smoothing_s: posteriors are averaged over this time; at least one hop is.
        refractory_s: after a detection, none is made for this time.
        tolerance_s: how long after a word has sounded it may be detected and count. A window of one second still
            holds a word 0.75 s after it ended.

    Raises:
        SettingsError: a time is negative.
    """

    smoothing_s: float = 0.1
    refractory_s: float = 1.0
    tolerance_s: float = 0.75

    def __post_init__(self) -> None:
        if min(self.smoothing_s, self.refractory_s, self.tolerance_s) < 0:
            raise SettingsError(
                f"smoothing, refractory time and tolerance are {self.smoothing_s:g}, {self.refractory_s:g} and "
                f"{self.tolerance_s:g} s; expected 0 or more"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """One alarm.

    Attributes:
        time_s: when its hop was complete, from the start of the recording.
        label: index of the class.
        score: the smoothed posterior.
    """

    time_s: float
    label: int
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What one threshold gives.

    Attributes:
        threshold: of the smoothed posterior.
        keywords: that sounded.
        hits: of them, those that were detected in time, each once.
        false_alarms: detections of no keyword that sounds, or of another; and second detections of one.
        false_alarms_per_hour: of the recording.
        delays_s: of each hit, from the end of the word to the detection; negative where it came before the end.
    """

    threshold: float
    keywords: int
    hits: int
    false_alarms: int
    false_alarms_per_hour: float
    delays_s: tuple[float, ...]

    @property
    def miss_rate(self) -> float:
        """Share of keywords that were not detected, 0 to 1."""
        return 1 - self.hits / self.keywords


def smoothed_posteriors(logits: NDArray[np.float32], hop_s: float, smoothing_s: float) -> Floats:
    """Softmax of logits of shape (hops, classes), averaged over the hops of the last `smoothing_s`; same shape.

    The first hops are averaged over what there is.
    """
    posteriors = np.exp(log_posteriors(logits))
    # A row with a NaN is no answer; it detects nothing.
    posteriors = np.nan_to_num(posteriors, nan=0.0)
    width = max(1, round(smoothing_s / hop_s))
    sums = np.cumsum(np.vstack([np.zeros((1, posteriors.shape[1])), posteriors]), axis=0)
    ends = np.arange(1, len(posteriors) + 1)
    starts = np.maximum(ends - width, 0)
    return np.asarray((sums[ends] - sums[starts]) / (ends - starts)[:, None])


def detect(
    posteriors: Floats, keywords: Sequence[int], threshold: float, *, hop_s: float, refractory_s: float, start_s: float
) -> list[Detection]:
    """The detections of a stream, in order.

    Args:
        posteriors: smoothed, shape (hops, classes).
        keywords: indices of the classes that raise an alarm.
        threshold: that the most likely keyword has to reach.
        hop_s: from hop to hop.
        refractory_s: time after a detection without another.
        start_s: when the first hop is complete.
    """
    best = posteriors[:, list(keywords)]
    found: list[Detection] = []
    deaf_until_s = -np.inf
    for hop in np.flatnonzero(best.max(axis=1) >= threshold):
        time_s = start_s + float(hop) * hop_s
        if time_s < deaf_until_s:
            continue
        place = int(best[hop].argmax())
        found.append(Detection(time_s=time_s, label=keywords[place], score=float(best[hop, place])))
        deaf_until_s = time_s + refractory_s
    return found


def judge(
    detections: Sequence[Detection],
    words: Sequence[Word],
    labels: Sequence[str],
    *,
    threshold: float,
    tolerance_s: float,
    seconds: float,
) -> Operation:
    """How many detections are right.

    A detection hits the first keyword of its class that is not hit yet, from the word's begin until `tolerance_s`
    after its end.

    Args:
        detections: in order.
        words: what sounded.
        labels: class names in the order of the logits.
        threshold: that the detections were made with.
        tolerance_s: see `AlarmSettings`.
        seconds: length of the recording.

    Raises:
        SettingsError: no keyword that the model knows sounds.
    """
    spoken = [word for word in words if word.is_keyword and word.word in labels]
    if not spoken:
        raise SettingsError("none of the model's keywords sounds in the recording; make a stream with keywords")
    hit: dict[int, float] = {}
    alarms = 0
    for detection in detections:
        place = next(
            (
                number
                for number, word in enumerate(spoken)
                if number not in hit
                and word.word == labels[detection.label]
                and word.start_s <= detection.time_s <= word.end_s + tolerance_s
            ),
            None,
        )
        if place is None:
            alarms += 1
        else:
            hit[place] = detection.time_s - spoken[place].end_s
    return Operation(
        threshold=threshold,
        keywords=len(spoken),
        hits=len(hit),
        false_alarms=alarms,
        false_alarms_per_hour=3600 * alarms / seconds,
        delays_s=tuple(hit.values()),
    )


def sweep(
    logits: NDArray[np.float32],
    words: Sequence[Word],
    labels: Sequence[str],
    settings: AlarmSettings,
    *,
    hop_s: float,
    start_s: float,
    seconds: float,
) -> tuple[Operation, ...]:
    """What every threshold gives, from the laxest to the strictest; arguments as for `detect` and `judge`."""
    posteriors = smoothed_posteriors(logits, hop_s, settings.smoothing_s)
    spoken = {word.word for word in words if word.is_keyword}
    keywords = [place for place, label in enumerate(labels) if label in spoken or not label.startswith("_")]
    operations = []
    for threshold in _THRESHOLDS.round(4).tolist():
        detections = detect(
            posteriors, keywords, threshold, hop_s=hop_s, refractory_s=settings.refractory_s, start_s=start_s
        )
        operations.append(
            judge(detections, words, labels, threshold=threshold, tolerance_s=settings.tolerance_s, seconds=seconds)
        )
    return tuple(operations)


def operation_at(operations: Sequence[Operation], false_alarms_per_hour: float) -> Operation | None:
    """The threshold that misses least with no more false alarms an hour than that; None where none keeps to it."""
    kept = [each for each in operations if each.false_alarms_per_hour <= false_alarms_per_hour]
    return min(kept, key=lambda each: (each.miss_rate, each.false_alarms_per_hour), default=None)
