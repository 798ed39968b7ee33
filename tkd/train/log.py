"""The log of a run: one JSON line a record in `log.jsonl`, and the same numbers for TensorBoard.

Tested in `tests/tkd/train/test_run.py`.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from converters.files import drop_cut_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class RunLog:
    """An append-only log; a line is on disk when `write` returns.

    Args:
        folder: of the run; `log.jsonl` and `tensorboard/` go there.
    """

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        lines = folder / "log.jsonl"
        drop_cut_line(lines)
        self._lines = lines.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder / "tensorboard"))

    def write(self, stage: str, step: int, values: dict[str, Any]) -> None:
        """Appends `values` of a stage at a step; numbers also become TensorBoard scalars."""
        record = {"time_s": round(time.time(), 3), "stage": stage, "step": step, **values}
        self._lines.write(json.dumps(record) + "\n")
        self._lines.flush()
        for name, value in values.items():
            if isinstance(value, int | float):
                self._board.add_scalar(f"{stage}/{name}", value, step)

    def show(self, name: str, figure: Figure) -> None:
        """Adds a picture to TensorBoard."""
        self._board.add_figure(name, figure, close=False)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()
        self._board.close()
