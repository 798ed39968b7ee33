"""One run by several processes: each takes its share of every batch, and all hold the same weights.

    torchrun --nproc_per_node 2 -m tkd.cli.train CONFIG.toml
    accelerate launch --multi_gpu --num_processes 2 -m tkd.cli.train CONFIG.toml    (on CPUs too)

        batch of a step ──┬── rank 0: clips 0, 2, 4 … ──► gradient ──┐
        (seed and step)   └── rank 1: clips 1, 3, 5 … ──► gradient ──┴─► weighted mean ──► the same update everywhere

Several processes give the model that one gives, up to rounding, where no dropout is drawn; Adam makes whole steps of
that rounding in weights whose gradient is zero, such as a bias before a batch norm. Batch norms take their
statistics over the clips of all processes, in both directions, like torch's SyncBatchNorm, which has no CPU form.
Dropout differs: each process draws its own masks.
Rank 0 alone writes files and prints. Accelerate starts the processes: gloo on a CPU, NCCL where CUDA is available.
Tested with gloo on a CPU only; on a GPU the same code is used, with `precision` as the settings say.
Before this: the environment that `torchrun` sets. After this: `tkd.train.run`, `.stages`, `.fit`.
Tested in `tests/tkd/train/test_processes.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tkd.errors import SettingsError
from tkd.train.batches import Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """This process among those of a run.

    Attributes:
        rank: from 0.
        count: of processes.
        device: what this one computes on.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def wait(self) -> None:
        """Returns when every process is here."""
        if self.count > 1:
            dist.barrier()

    @contextmanager
    def first_goes_ahead(self) -> Iterator[None]:
        """The block is run by rank 0 first, then by the others, which find the files that it wrote."""
        if not self.is_first:
            self.wait()
        yield
        if self.is_first:
            self.wait()

    def share(self, batch: Batch) -> tuple[Batch, float]:
        """This process's clips of a batch, on its device, and which part of the batch they are, in (0, 1].

        Raises:
            SettingsError: there are fewer clips than processes.
        """
        clips = len(batch.index)
        if clips < self.count:
            raise SettingsError(f"a batch has {clips} clips and there are {self.count} processes; raise batch_size")
        mine = slice(self.rank, None, self.count)
        shared = replace(
            batch,
            inputs=batch.inputs[mine].to(self.device),
            labels=batch.labels[mine].to(self.device),
            index=batch.index[mine],
            shift_samples=batch.shift_samples[mine],
        )
        return shared, len(shared.index) / clips

    def total(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all processes, in place."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def sum_gradients(self, module: nn.Module) -> None:
        """Adds up the gradients of all processes, in one message; a parameter without one in any process keeps none."""
        if self.count == 1:
            return
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        present = torch.tensor([float(each.grad is not None) for each in trained], device=self.device)
        grads = [torch.zeros_like(each) if each.grad is None else each.grad for each in trained]
        flat = self.total(torch.cat([present, *(grad.float().flatten() for grad in grads)]))
        offset = len(trained)
        for place, parameter in enumerate(trained):
            summed = flat[offset : offset + parameter.numel()].view_as(parameter).to(parameter)
            parameter.grad = summed.clone() if flat[place] else None
            offset += parameter.numel()

    def of_first(self, value: float) -> float:
        """The number that rank 0 holds."""
        if self.count == 1:
            return value
        held = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(held, src=0)
        return float(held.item())


ALONE = Processes()
"""A single process on the CPU."""


@contextmanager
def open_processes() -> Iterator[Processes]:
    """This process among those that `torchrun` started; alone where it was started by itself."""
    has_gpu = torch.cuda.is_available()
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes(device=torch.device("cuda" if has_gpu else "cpu"))
        return
    from accelerate import PartialState

    state = PartialState(cpu=not has_gpu)
    try:
        yield Processes(rank=state.process_index, count=state.num_processes, device=state.device)
    finally:
        state.destroy_process_group()


def share_batch_norms(module: nn.Module, processes: Processes) -> None:
    """Makes every batch norm of a module take its statistics over all processes; names and weights stay."""
    if processes.count == 1:
        return
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, _BatchNorm):
                setattr(parent, name, _SharedBatchNorm(child))


class _SharedBatchNorm(_BatchNorm):
    """A batch norm over the clips of all processes.

    Two passes (mean, then variance about it), since E[x²] − E[x]² loses too many digits in float32.

    Args:
        plain: what it replaces; weights and running statistics are the same tensors.
    """

    def __init__(self, plain: _BatchNorm) -> None:
        super().__init__(plain.num_features, eps=plain.eps, momentum=plain.momentum, affine=plain.affine)
        self.weight, self.bias = plain.weight, plain.bias
        self.running_mean, self.running_var = plain.running_mean, plain.running_var
        self.num_batches_tracked = plain.num_batches_tracked
        self.track_running_stats = plain.track_running_stats
        self.training = plain.training

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002, ARG002 - torch's name; the plain one had checked
        return

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """`input` of shape (batch, channels, …), normalised."""
        if not self.training:
            return super().forward(input)
        axes = [axis for axis in range(input.ndim) if axis != 1]
        shape = [1, -1, *[1] * (input.ndim - 2)]
        wide = input.float()
        ones = torch.full((1,), wide.numel() / wide.shape[1], device=wide.device)
        sums = _sum_over_processes(torch.cat([wide.sum(dim=axes), ones]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = wide - mean.view(shape)
        variance = _sum_over_processes(centred.square().sum(dim=axes)) / count
        self._track(mean.detach(), variance.detach() * count / (count - 1))
        normal = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            normal = normal * self.weight.view(shape) + self.bias.view(shape)
        return normal.to(input.dtype)

    def _track(self, mean: Tensor, variance: Tensor) -> None:
        if not self.track_running_stats or self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), share)
        self.running_var.lerp_(variance.to(self.running_var), share)


class _SumOverProcesses(torch.autograd.Function):
    """A sum over processes; the gradient of the total loss by it is the sum of their gradients."""

    @staticmethod
    def forward(_context: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


def _sum_over_processes(values: Tensor) -> Tensor:
    summed: Tensor = _SumOverProcesses.apply(values)  # type: ignore[no-untyped-call]
    return summed
