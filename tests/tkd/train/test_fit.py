import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tkd.augment import AugmentConfig
from tkd.errors import CheckpointError, TkdError
from tkd.train.batches import Batch, Batches, ClipStore
from tkd.train.config import FitConfig
from tkd.train.fit import Fitted, Objective, Place, fit, learning_rate
from tkd.train.log import RunLog

CONFIG = FitConfig(steps=24, batch_size=8, learning_rate=1e-2, validate_every=6)


class Toy(Objective):
    """Learns the sign of a clip's mean; dropout makes it depend on the random state."""

    def __init__(self, fail_at: int = -1, poison_at: int = -1) -> None:
        torch.manual_seed(0)
        self.module = nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))
        self.calls = 0
        self._fail_at = fail_at
        self._poison_at = poison_at

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        self.calls += 1
        if self.calls == self._fail_at:
            raise KeyboardInterrupt
        loss = F.cross_entropy(self.module(batch.inputs), batch.labels)
        return {"loss": loss * float("nan") if self.calls == self._poison_at else loss}

    def validate(self) -> float:
        self.module.eval()
        data = store()
        return float((self.module(data.clips(slice(None))).argmax(dim=1) == data.labels).float().mean())


def store() -> ClipStore:
    waveforms = torch.randint(-9000, 9000, (40, 16), generator=torch.Generator().manual_seed(3), dtype=torch.int16)
    labels = (waveforms.float().mean(dim=1) > 0).long()
    return ClipStore(waveforms=waveforms, labels=labels, sample_rate_hz=16_000, noise=None)


def run(folder: Path, objective: Toy, config: FitConfig = CONFIG, digest: str = "d") -> Fitted:
    batches = Batches(store(), AugmentConfig(max_shift_ms=0), config.batch_size, 1, lambda clips: clips)
    with RunLog(folder) as log:
        place = Place(state_path=folder / "state.pt", stage="toy", log=log, digest=digest, advance=lambda _steps: None)
        return fit(objective, batches, config, 1, place)


def test_an_interrupted_run_ends_bit_for_bit_like_an_unbroken_one(tmp_path: Path) -> None:
    unbroken = run(tmp_path / "a", Toy())
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b", Toy(fail_at=16))
    resumed = run(tmp_path / "b", Toy())
    assert (resumed.accuracy, resumed.step) == (unbroken.accuracy, unbroken.step)
    assert all(torch.equal(resumed.state[name], unbroken.state[name]) for name in unbroken.state)


def test_a_resumed_run_does_only_what_is_left(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Toy(fail_at=16))
    rest = Toy()
    run(tmp_path, rest)
    assert rest.calls == 24 - 12


def test_training_learns_and_the_best_weights_on_validation_are_kept(tmp_path: Path) -> None:
    fitted = run(tmp_path, Toy(), replace(CONFIG, steps=300, validate_every=20))
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    validations = [line["validation_accuracy"] for line in log if "validation_accuracy" in line]
    assert fitted.accuracy == pytest.approx(max(validations), abs=1e-6)
    assert fitted.accuracy > 0.8
    assert list((tmp_path / "tensorboard").iterdir())


def test_a_loss_that_is_not_a_number_stops_with_the_step_and_the_clips(tmp_path: Path) -> None:
    with pytest.raises(TkdError, match=r"toy: the loss is nan at step 4; clips \["):
        run(tmp_path, Toy(poison_at=5))


def test_a_state_of_other_settings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Toy(fail_at=16))
    with pytest.raises(CheckpointError, match="was made with other settings"):
        run(tmp_path, Toy(), digest="other")


def test_a_damaged_state_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.pt").write_bytes(b"not a state")
    with pytest.raises(CheckpointError, match="--restart begins anew"):
        run(tmp_path, Toy())


def test_the_learning_rate_warms_up_and_falls_to_zero() -> None:
    config = FitConfig(steps=100, learning_rate=1.0, warmup_share=0.1)
    rates = [learning_rate(config, step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == 1.0
    assert rates[100] == pytest.approx(0.0, abs=1e-12)
    assert all(later <= earlier for earlier, later in itertools.pairwise(rates[9:]))
