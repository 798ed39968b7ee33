"""One thing that is wrong with a data set on disk: what readers collect and `tkd-data check` lists.

Comes before `tkd.data.fsd50k` and `tkd.data.folder`, which find disagreements, and `tkd.data.check`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong.

    Attributes:
        kind: a few words, the same for all faults of one kind.
        path: the file, class or speaker, relative to the data folder.
        detail: what was seen and what was expected.
    """

    kind: str
    path: str
    detail: str
