"""The probability that an app asks of a keyword, from clips in which it was not said.

Before `tkd.export.android` and `tkd.export.streams`. Tested in `tests/tkd/export/test_android.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FALSE_ALARMS = 0.01
"""Share of clips that reach the threshold with a keyword that is not theirs."""
_LEAST, _MOST = 0.5, 0.999


def threshold_of(logits: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> float:
    """The probability that 1 % of the clips reach for a keyword that is not theirs, each by itself; 0.5 at least.

    Args:
        logits: shape (clips, classes).
        labels: class indices (clips,), or for several labels a clip zeros and ones (clips, classes).
        names: of the classes; those that begin with `_` are no keywords.
    """
    logits = logits.astype(np.float64)
    if labels.ndim == 2:
        probabilities, is_right = 1 / (1 + np.exp(-logits)), labels > 0
    else:
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = powers / powers.sum(axis=1, keepdims=True)
        is_right = np.eye(len(names), dtype=bool)[labels]
    is_keyword = np.array([not name.startswith("_") for name in names])
    wrong = np.where(is_right | ~is_keyword, 0.0, probabilities).max(axis=1)
    return float(np.clip(np.ceil(1000 * np.quantile(wrong, 1 - FALSE_ALARMS)) / 1000, _LEAST, _MOST))
