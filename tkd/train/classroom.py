"""What every student of a run shares: the data as features, and what the teacher left.

Before this: `tkd.train.corpus` and `tkd.train.teaching`. After this: `tkd.train.stages` trains in it.
Tested in `tests/tkd/train/test_run.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from tkd.audio.batched import features_of
from tkd.audio.features import FrontEnd
from tkd.students import StudentSpec
from tkd.train.corpus import Corpus
from tkd.train.objectives import Held
from tkd.train.teaching import Taught


@dataclass(frozen=True, slots=True, kw_only=True)
class Classroom:
    """What every student of a run shares.

    Attributes:
        corpus: the data.
        spec: the student's row in the table.
        front_end: its features.
        held: validation and test split as features.
        prepared: the training split as features, where augmentation leaves the clips as they are; else None.
        taught: what the teacher left.
    """

    corpus: Corpus
    spec: StudentSpec
    front_end: FrontEnd
    held: dict[str, Held]
    prepared: Tensor | None
    taught: Taught


def furnish(
    corpus: Corpus, spec: StudentSpec, front_end: FrontEnd, taught: Taught, *, keeps_waveforms: bool
) -> Classroom:
    """The classroom of a run; `keeps_waveforms` says that training clips are not changed, see `AugmentConfig`."""
    held = {split: _held(corpus, split, front_end) for split in ("validation", "test")}
    prepared = features_of(corpus.stores["train"].waveforms, front_end) if keeps_waveforms else None
    return Classroom(corpus=corpus, spec=spec, front_end=front_end, held=held, prepared=prepared, taught=taught)


def _held(corpus: Corpus, split: str, front_end: FrontEnd) -> Held:
    """A whole split as features, unaugmented; inputs of shape (clips, frames, channels)."""
    store = corpus.stores[split]
    return Held(inputs=features_of(store.waveforms, front_end), labels=store.labels)
