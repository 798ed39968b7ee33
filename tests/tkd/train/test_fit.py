import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tkd.augment import AugmentConfig
from tkd.errors import CheckpointError, TkdError
from tkd.evaluate import Metric
from tkd.train.batches import Batch, Batches, ClipStore
from tkd.train.config import FitConfig
from tkd.train.fit import Fitted, Objective, Place, fit, learning_rate, make_optimiser
from tkd.train.log import RunLog

CONFIG = FitConfig(steps=24, batch_size=8, learning_rate=1e-2, validate_every=6)


class Toy(Objective):
    """Learns the sign of a clip's mean; dropout makes it depend on the random state."""

    def __init__(self, fail_at: int = -1, poison_at: int = -1) -> None:
        torch.manual_seed(0)
        self.module = nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))
        self.metric: Metric = "accuracy"
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


@pytest.mark.parametrize("config", [
    CONFIG,
    replace(CONFIG, optimiser="adam", schedule="exponential", final_rate=1e-3, weight_decay=1e-4),
    replace(CONFIG, optimiser="sgd", schedule="step", step_starts=(8, 14), step_rates=(1e-3, 1e-4), clip_norm=0.0),
    replace(CONFIG, optimiser="sgd", schedule="linear", decays="everything"),
], ids=["adamw", "adam", "sgd", "sgd-everything"])  # fmt: skip
def test_an_interrupted_run_ends_bit_for_bit_like_an_unbroken_one(config: FitConfig, tmp_path: Path) -> None:
    unbroken = run(tmp_path / "a", Toy(), config)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b", Toy(fail_at=16), config)
    resumed = run(tmp_path / "b", Toy(), config)
    assert (resumed.value, resumed.step) == (unbroken.value, unbroken.step)
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
    assert fitted.value == pytest.approx(max(validations), abs=1e-6)
    assert fitted.value > 0.8
    assert list((tmp_path / "tensorboard").iterdir())


def test_a_loss_that_is_not_a_number_stops_with_the_step_and_the_clips(tmp_path: Path) -> None:
    with pytest.raises(TkdError, match=r"toy: the loss is nan at step 4; clips \["):
        run(tmp_path, Toy(poison_at=5))


def test_a_log_that_was_cut_goes_on_with_whole_lines(tmp_path: Path) -> None:
    run(tmp_path, Toy())
    log = tmp_path / "log.jsonl"
    whole = log.read_text()
    log.write_text(whole + '{"time_s": 17953')
    with RunLog(tmp_path) as lines:
        lines.write("student", 1, {"loss": 0.5})
    text = log.read_text()
    assert text.startswith(whole)
    assert json.loads(text[len(whole) :])["loss"] == 0.5


def test_a_state_of_other_settings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Toy(fail_at=16))
    with pytest.raises(CheckpointError, match="was made with other settings"):
        run(tmp_path, Toy(), digest="other")


def test_a_damaged_state_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.pt").write_bytes(b"not a state")
    with pytest.raises(CheckpointError, match=r"is damaged \(.*\); delete it and --resume"):
        run(tmp_path, Toy())
    torch.save([1, 2], tmp_path / "state.pt")
    with pytest.raises(CheckpointError, match=r"is damaged \(.*\); delete it and --resume"):
        run(tmp_path, Toy())


def test_the_learning_rate_warms_up_and_falls_to_zero() -> None:
    config = FitConfig(steps=100, learning_rate=1.0, warmup_share=0.1)
    rates = [learning_rate(config, step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == 1.0
    assert rates[100] == pytest.approx(0.0, abs=1e-12)
    assert all(later <= earlier for earlier, later in itertools.pairwise(rates[9:]))


@pytest.mark.parametrize(("schedule", "expected"), [
    ({"schedule": "linear", "final_rate": 0.5}, [1.0, 0.875, 0.75, 0.625, 0.5]),
    ({"schedule": "cosine", "final_rate": 0.5}, [1.0, 0.9268, 0.75, 0.5732, 0.5]),
    ({"schedule": "exponential", "final_rate": 0.0625}, [1.0, 0.5, 0.25, 0.125, 0.0625]),
    ({"schedule": "constant"}, [1.0, 1.0, 1.0, 1.0, 1.0]),
    ({"schedule": "step", "step_starts": (20, 60), "step_rates": (0.1, 0.01)}, [1.0, 0.1, 0.1, 0.01, 0.01]),
])  # fmt: skip
def test_a_schedule_takes_the_rate_where_it_says(schedule: dict[str, Any], expected: list[float]) -> None:
    config = FitConfig(steps=80, learning_rate=1.0, warmup_share=0.0, **schedule)
    assert [learning_rate(config, step) for step in range(0, 81, 20)] == pytest.approx(expected, abs=1e-4)


def test_a_warm_up_comes_before_any_schedule() -> None:
    config = FitConfig(steps=100, learning_rate=1.0, warmup_share=0.1, schedule="constant")
    assert [learning_rate(config, step) for step in (0, 4, 9, 10, 99)] == pytest.approx([0.1, 0.5, 1.0, 1.0, 1.0])


def one_step(tmp_path: Path, config: FitConfig) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A toy's parameters before and after a step from a gradient of zero."""

    class Still(Toy):
        def losses(self, batch: Batch) -> dict[str, Tensor]:
            loss: Tensor = 0.0 * super().losses(batch)["loss"]
            return {"loss": loss}

    toy = Still()
    for parameter in toy.module.parameters():
        nn.init.ones_(parameter)
    before = {name: value.clone() for name, value in toy.module.named_parameters()}
    run(tmp_path, toy, config)
    return before, dict(toy.module.named_parameters())


@pytest.mark.parametrize(("decays", "expected"), [("weights", 1.0), ("everything", 0.95)])
def test_weight_decay_reaches_biases_and_norms_only_where_it_is_asked_to(
    decays: Literal["weights", "everything"], expected: float, tmp_path: Path
) -> None:
    config = FitConfig(
        steps=1, batch_size=8, optimiser="sgd", learning_rate=0.1, weight_decay=0.5, decays=decays,
        schedule="constant", warmup_share=0.0,
    )  # fmt: skip
    before, after = one_step(tmp_path, config)
    assert {name for name, value in before.items() if value.ndim > 1} == {"0.weight", "3.weight"}
    for value in after.values():
        wanted = 0.95 if value.ndim > 1 else expected
        torch.testing.assert_close(value.detach(), torch.full_like(value, wanted))


def test_momentum_descends_as_polyak_says(tmp_path: Path) -> None:
    module = nn.Linear(1, 1, bias=False)
    optimiser = make_optimiser(module, FitConfig(steps=1, optimiser="sgd", momentum=0.9, weight_decay=0.0))
    nn.init.zeros_(module.weight)
    for _ in range(3):
        module.weight.grad = torch.ones_like(module.weight)
        optimiser.step()
    assert module.weight.item() == pytest.approx(-1e-3 * (1 + 1.9 + 2.71))


def test_a_norm_of_zero_clips_nothing(tmp_path: Path) -> None:
    config = replace(CONFIG, steps=2, optimiser="sgd", weight_decay=0.0)
    clipped = run(tmp_path / "clipped", Toy(), replace(config, clip_norm=1e-6))
    free = run(tmp_path / "free", Toy(), replace(config, clip_norm=0.0))
    huge = run(tmp_path / "huge", Toy(), replace(config, clip_norm=1e9))
    assert torch.equal(free.state["0.weight"], huge.state["0.weight"])
    assert not torch.equal(free.state["0.weight"], clipped.state["0.weight"])
