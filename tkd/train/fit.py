"""One optimisation, from step 0 or from a saved state, to the best weights on validation.

Bit-for-bit resumable: batches depend on the step alone, dropout is re-seeded at each step, and the state holds
weights, optimiser and the best so far.
Before this: `tkd.train.batches`. After this: `tkd.train.run`.
Tested in `tests/tkd/train/test_fit.py`.
"""

from __future__ import annotations

import math
import pickle
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from converters.command_line import Advance
from converters.files import whole_file
from tkd.errors import CheckpointError, TkdError
from tkd.evaluate import Metric
from tkd.train.batches import Batch, Batches, mix_seeds
from tkd.train.config import FitConfig
from tkd.train.log import RunLog
from tkd.train.processes import ALONE, Processes, share_batch_norms

_LOG_EVERY = 50


class Objective(ABC):
    """What is optimised: a module, its loss on a batch, and how good it is."""

    module: nn.Module
    """Everything that has gradients or statistics; its state is what is saved."""

    metric: Metric
    """What `validate` answers in."""

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Scalars by name; `loss` is the one that is minimised."""

    @abstractmethod
    def validate(self) -> float:
        """The metric on the validation split, in [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """The end of an optimisation.

    Attributes:
        state: the module's weights at the best validation.
        value: that validation's, in [0, 1], by the objective's metric.
        step: at which it was.
    """

    state: dict[str, Tensor]
    value: float
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an optimisation keeps its state and its log.

    Attributes:
        state_path: the file to resume from.
        stage: its name in the log.
        log: of the run; None in all processes but the first.
        digest: of the settings; a state with another digest is refused.
        advance: called with the number of steps done.
        processes: those that share the work; only the first writes.
    """

    state_path: Path
    stage: str
    log: RunLog | None
    digest: str
    advance: Advance
    processes: Processes = ALONE

    def write(self, step: int, values: dict[str, Any]) -> None:
        """Appends to the log, where there is one."""
        if self.log is not None:
            self.log.write(self.stage, step, values)


def fit(objective: Objective, batches: Batches, config: FitConfig, seed: int, place: Place) -> Fitted:
    """The best weights on validation after `config.steps` updates.

    Continues from `place.state_path` when that file is there; it is written at each validation, whole, so that an
    interrupted run loses at most the steps since the last one.

    Raises:
        CheckpointError: the state is damaged or of other settings.
        TkdError: the loss is not finite; the message names the step.
    """
    module = objective.module.to(place.processes.device)
    share_batch_norms(module, place.processes)
    optimiser = make_optimiser(module, config)
    progress = _Progress(objective, optimiser, place)
    first = progress.resume()
    place.advance(first)
    module.train()
    for step, batch in enumerate(batches.run(first, config.steps), start=first):
        _update(objective, optimiser, batch, config, seed, step, place)
        place.advance(1)
        if (step + 1) % config.validate_every == 0 or step + 1 == config.steps:
            progress.validated(step + 1, objective)
            module.train()
            progress.save(step + 1)
    return progress.best()


def learning_rate(config: FitConfig, step: int) -> float:
    """The rate of one step: a linear warm-up, then the schedule.

    kws_streaming's `exp` is `exponential` here: rate·(final/rate)^(share of the steps done).
    """
    warmup = max(1 if config.warmup_share else 0, round(config.warmup_share * config.steps))
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    first, final = config.learning_rate, config.final_rate
    share = (step - warmup) / max(1, config.steps - warmup)
    match config.schedule:
        case "cosine":
            return final + (first - final) * 0.5 * (1.0 + math.cos(math.pi * share))
        case "linear":
            return first + (final - first) * share
        case "exponential":
            return first * math.exp(math.log(final / first) * share)
        case "step":
            begun = sum(start <= step for start in config.step_starts)
            return (first, *config.step_rates)[begun]
        case "constant":
            return first


def make_optimiser(module: nn.Module, config: FitConfig) -> torch.optim.Optimizer:
    """The optimiser of the settings; what `decays` leaves out (biases, norms, queries) is a group of its own."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    decayed = [p for p in trained if p.ndim > 1 or config.decays == "everything"]
    left_alone = [p for p in trained if p.ndim <= 1 and config.decays == "weights"]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": left_alone, "weight_decay": 0.0},
    ]
    match config.optimiser:
        case "adamw":
            return torch.optim.AdamW(groups, lr=config.learning_rate)
        case "adam":
            return torch.optim.Adam(groups, lr=config.learning_rate)
        case "sgd":
            return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum)


def _update(
    objective: Objective,
    optimiser: torch.optim.Optimizer,
    batch: Batch,
    config: FitConfig,
    seed: int,
    step: int,
    place: Place,
) -> None:
    processes = place.processes
    # Dropout of this step: a process of its own masks for its own clips, the first as if it were alone.
    torch.manual_seed(mix_seeds(seed, step, 2, processes.rank) if processes.rank else mix_seeds(seed, step, 2))
    rate = learning_rate(config, step)
    for group in optimiser.param_groups:
        group["lr"] = rate
    mine, part = processes.share(batch)
    with torch.autocast(processes.device.type, dtype=torch.bfloat16, enabled=config.precision == "bfloat16"):
        losses = objective.losses(mine)
    loss = losses["loss"]
    # Weighted by the share of clips, so that the sums are those of the whole batch.
    seen = processes.total(torch.stack([value.detach().float() * part for value in losses.values()]))
    values = dict(zip(losses, seen.tolist(), strict=True))
    if not math.isfinite(values["loss"]):
        raise TkdError(
            f"{place.stage}: the loss is {values['loss']} at step {step}; "
            f"clips {batch.index[:5].tolist()} … of the training split; lower learning_rate or check the data"
        )
    optimiser.zero_grad(set_to_none=True)
    (loss * part).backward()  # type: ignore[no-untyped-call]
    processes.sum_gradients(objective.module)
    norm = nn.utils.clip_grad_norm_(objective.module.parameters(), config.clip_norm or math.inf)
    optimiser.step()
    if step % _LOG_EVERY == 0:
        rounded = {name: round(value, 6) for name, value in values.items()}
        place.write(step, {**rounded, "learning_rate": rate, "gradient_norm": round(norm.item(), 4)})


class _Progress:
    """The state of one optimisation, in memory and on disk."""

    def __init__(self, objective: Objective, optimiser: torch.optim.Optimizer, place: Place) -> None:
        self._module = objective.module
        self._metric = objective.metric
        self._optimiser = optimiser
        self._place = place
        self._best: dict[str, Any] = {"value": -1.0, "step": 0, "state": {}}

    def resume(self) -> int:
        """The step to continue from; 0 where nothing was saved."""
        path = self._place.state_path
        if not path.exists():
            return 0
        try:
            saved = torch.load(path, weights_only=True, map_location="cpu")  # loading puts it where the module is
            if saved["digest"] != self._place.digest:
                raise CheckpointError(f"{path} was made with other settings; --restart begins anew")
            self._module.load_state_dict(saved["module"])
            self._optimiser.load_state_dict(saved["optimiser"])
            self._best = saved["best"]
            return int(saved["step"])
        except (RuntimeError, EOFError, KeyError, TypeError, ValueError, OSError, pickle.UnpicklingError) as cause:
            # What torch advises in its message is for files that one trusts.
            raise CheckpointError(
                f"{path} is damaged ({type(cause).__name__}); delete it and --resume to train this stage again"
            ) from cause

    def validated(self, step: int, objective: Objective) -> None:
        """Keeps the weights when they are the best so far; the first process looks for all."""
        processes = self._place.processes
        value = processes.of_first(objective.validate() if processes.is_first else 0.0)
        self._place.write(step, {f"validation_{self._metric}": round(value, 6)})
        if value > self._best["value"]:
            state = {name: tensor.detach().cpu().clone() for name, tensor in self._module.state_dict().items()}
            self._best = {"value": value, "step": step, "state": state}

    def save(self, step: int) -> None:
        """Writes the state, whole or not at all; the first process does."""
        if not self._place.processes.is_first:
            return
        with whole_file(self._place.state_path) as partial:
            torch.save(
                {
                    "digest": self._place.digest,
                    "step": step,
                    "module": self._module.state_dict(),
                    "optimiser": self._optimiser.state_dict(),
                    "best": self._best,
                },
                partial,
            )

    def best(self) -> Fitted:
        """The best weights so far."""
        return Fitted(state=self._best["state"], value=self._best["value"], step=self._best["step"])
