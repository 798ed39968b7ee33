"""Detections from posteriors, and how many of them are right."""

from __future__ import annotations

import numpy as np
import pytest

from tkd.data.stream import Word
from tkd.errors import SettingsError
from tkd.scoring.alarms import AlarmSettings, Detection, detect, judge, operation_at, smoothed_posteriors, sweep

LABELS = ("_silence_", "yes", "no")
HOP_S = 0.1


def word(start_s: float, name: str = "yes", *, is_keyword: bool = True) -> Word:
    return Word(start_s=start_s, end_s=start_s + 0.5, word=name, is_keyword=is_keyword)


def logits_with(peaks: dict[int, int], hops: int = 100) -> np.ndarray:
    """Silence, but for the classes that are certain at some hops."""
    logits = np.zeros((hops, 3), np.float32)
    logits[:, 0] = 10
    for hop, label in peaks.items():
        logits[hop] = 0
        logits[hop, label] = 20
    return logits


def test_smoothing_averages_over_the_hops_of_its_time_and_over_what_there_is_at_first() -> None:
    posteriors = smoothed_posteriors(logits_with({0: 1, 10: 1}), HOP_S, smoothing_s=0.4)
    assert posteriors[[0, 1, 3, 4], 1] == pytest.approx([1, 0.5, 0.25, 0], abs=1e-4)
    assert posteriors[[9, 10, 13, 14], 1] == pytest.approx([0, 0.25, 0.25, 0], abs=1e-4)


def test_a_hop_whose_logits_are_nan_detects_nothing() -> None:
    logits = logits_with({})
    logits[5] = np.nan
    assert not smoothed_posteriors(logits, HOP_S, smoothing_s=0.0)[5].any()


def test_after_a_detection_none_follows_within_the_refractory_time() -> None:
    posteriors = smoothed_posteriors(logits_with({10: 1, 11: 1, 15: 2, 21: 2}), HOP_S, smoothing_s=0.0)
    found = detect(posteriors, [1, 2], 0.9, hop_s=HOP_S, refractory_s=1.0, start_s=0.12)
    assert [(round(each.time_s, 2), each.label) for each in found] == [(1.12, 1), (2.22, 2)]


def test_a_detection_hits_its_own_word_once_and_in_time() -> None:
    words = [word(1.0), word(5.0, "no"), word(8.0, "cat", is_keyword=False)]
    times = {1.4: 1, 2.0: 1, 5.9: 1, 6.3: 2, 8.2: 1}
    seen = judge(
        [Detection(time_s=time_s, label=label, score=1.0) for time_s, label in times.items()],
        words, LABELS, threshold=0.5, tolerance_s=0.75, seconds=1800,
    )  # fmt: skip
    # 1.4 hits; 2.0 is a second detection; 5.9 is another word; 6.3 comes too late; 8.2 is no keyword.
    assert (2, 1, 4) == (seen.keywords, seen.hits, seen.false_alarms)
    assert (0.5, 8.0) == (seen.miss_rate, seen.false_alarms_per_hour)
    assert seen.delays_s == pytest.approx((-0.1,))


def test_a_perfect_model_misses_nothing_without_a_false_alarm() -> None:
    peaks = {17: 1, 57: 2}
    operations = sweep(
        logits_with(peaks), [word(1.2), word(5.2, "no")], LABELS, AlarmSettings(smoothing_s=0.0),
        hop_s=HOP_S, start_s=HOP_S, seconds=10,
    )  # fmt: skip
    assert all((each.hits, each.false_alarms) == (2, 0) for each in operations)
    best = operation_at(operations, 0)
    assert best is not None
    assert best.miss_rate == 0


def test_a_model_that_answers_one_keyword_always_has_false_alarms_at_every_threshold() -> None:
    logits = logits_with(dict.fromkeys(range(100), 1))
    operations = sweep(
        logits, [word(1.0)], LABELS, AlarmSettings(smoothing_s=0.0), hop_s=HOP_S, start_s=HOP_S, seconds=10
    )
    assert operation_at(operations, 100) is None
    assert all(each.false_alarms >= 8 for each in operations)


def test_false_alarms_never_rise_with_the_threshold_when_there_is_no_refractory_time() -> None:
    rng = np.random.default_rng(0)
    operations = sweep(
        3 * rng.standard_normal((600, 3)).astype(np.float32), [word(1.0)], LABELS,
        AlarmSettings(smoothing_s=0.3, refractory_s=0.0), hop_s=HOP_S, start_s=HOP_S, seconds=60,
    )  # fmt: skip
    alarms = [each.false_alarms for each in operations]
    assert alarms == sorted(alarms, reverse=True)
    assert alarms[0] > alarms[-1]


def test_a_recording_without_a_keyword_of_the_model_is_refused() -> None:
    with pytest.raises(SettingsError, match="none of the model's keywords sounds"):
        judge([], [word(1.0, "cat")], LABELS, threshold=0.5, tolerance_s=0.5, seconds=10)


def test_negative_times_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"are 0\.1, -1 and 0\.75 s; expected 0 or more"):
        AlarmSettings(refractory_s=-1)
