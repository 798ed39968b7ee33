"""Toy networks that exercise one row of the lowering each, and the data they are fed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Toy(nn.Module):
    """A module whose forward is any function of the input and the layers given by name."""

    def __init__(self, forward: Callable[..., Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self._forward = forward
        self.layers = nn.ModuleDict(layers)

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(x, **self.layers)


def normalised(channels: int, dims: int = 1) -> nn.Module:
    """A batch normalisation with statistics that are not the identity."""
    norm: nn.Module = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d}[dims](channels)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.uniform_(-0.5, 0.5)
        norm.running_mean.uniform_(-0.5, 0.5)
        norm.running_var.uniform_(0.5, 1.5)
    return norm


MAP_1D = (1, 6, 21)
MAP_2D = (1, 4, 10, 7)
ROW = (1, 12)


def inputs(shape: tuple[int, ...], examples: int, seed: int = 0) -> np.ndarray:
    """Noise whose channels differ in size, as features do; float32, shape (examples, *shape[1:])."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((examples, *shape[1:])).astype(np.float32) * 2.0


# name of the toy: (ONNX operator it is about, input shape, module)
TOYS: dict[str, tuple[str, tuple[int, ...], Callable[[], nn.Module]]] = {
    "conv over time": ("Conv", MAP_1D, lambda: nn.Conv1d(6, 5, 3)),
    "conv over time, same padding": ("Conv", MAP_1D, lambda: nn.Conv1d(6, 5, 3, padding=1)),
    "conv over time, stride 2": ("Conv", MAP_1D, lambda: nn.Conv1d(6, 5, 9, stride=2, padding=4)),
    "conv over time, padding of no rule": ("Conv", MAP_1D, lambda: nn.Conv1d(6, 5, 3, stride=2, padding=2)),
    "conv over time, causal": (
        "Conv",
        MAP_1D,
        lambda: Toy(lambda x, conv: conv(F.pad(x, (4, 0))), conv=nn.Conv1d(6, 5, 3, dilation=2)),
    ),
    "conv over time, dilated": ("Conv", MAP_1D, lambda: nn.Conv1d(6, 5, 3, dilation=3, padding=3)),
    "conv over time, depthwise": ("Conv", MAP_1D, lambda: nn.Conv1d(6, 6, 5, groups=6, padding=2)),
    "conv over time, depthwise and dilated": (
        "Conv",
        MAP_1D,
        lambda: nn.Conv1d(6, 6, 3, groups=6, padding=2, dilation=2),
    ),
    "conv over time, two filters a channel": ("Conv", MAP_1D, lambda: nn.Conv1d(6, 12, 5, groups=6, padding=2)),
    "conv over time, grouped": ("Conv", MAP_1D, lambda: nn.Conv1d(6, 8, 3, groups=2, padding=1)),
    "conv over an image": ("Conv", MAP_2D, lambda: nn.Conv2d(4, 6, (3, 5), stride=(2, 1), padding=(1, 2))),
    "conv over an image, depthwise": ("Conv", MAP_2D, lambda: nn.Conv2d(4, 4, 3, groups=4, padding=1, bias=False)),
    "conv of one channel": ("Conv", (1, 1, 10, 7), lambda: nn.Conv2d(1, 6, 3, padding=1)),
    "conv and norm and relu": (
        "Conv",
        MAP_1D,
        lambda: nn.Sequential(nn.Conv1d(6, 5, 3, bias=False), normalised(5), nn.ReLU()),
    ),
    "conv and relu6": ("Clip", MAP_1D, lambda: nn.Sequential(nn.Conv1d(6, 5, 3), nn.ReLU6())),
    "norm alone": ("BatchNormalization", MAP_1D, lambda: normalised(6)),
    "norm of an image": ("BatchNormalization", MAP_2D, lambda: normalised(4, 2)),
    "logarithm": ("Log", MAP_1D, lambda: Toy(lambda x: (x * x + 4.0).log())),
    "root": ("Sqrt", MAP_1D, lambda: Toy(lambda x: (x * x + 0.5).sqrt())),
    "linear": ("Gemm", ROW, lambda: nn.Linear(12, 5)),
    "linear and norm": ("Gemm", ROW, lambda: nn.Sequential(nn.Linear(12, 5), normalised(5, 0), nn.ReLU())),
    "linear without bias": ("MatMul", ROW, lambda: nn.Linear(12, 5, bias=False)),
    "linear on every frame": ("MatMul", (1, 9, 12), lambda: nn.Linear(12, 5)),
    "flatten and linear": (
        "Flatten",
        MAP_2D,
        lambda: nn.Sequential(nn.Conv2d(4, 3, 3), nn.Flatten(), nn.Linear(3 * 8 * 5, 5)),
    ),
    "flatten of a map": ("Flatten", MAP_2D, lambda: nn.Sequential(nn.Conv2d(4, 3, 3), nn.Flatten())),
    "reshape that mixes axes": (
        "Reshape",
        MAP_1D,
        lambda: Toy(lambda x, conv: conv(x.reshape(1, 14, 9)), conv=nn.Conv1d(14, 3, 3)),
    ),
    "unsqueeze, conv, squeeze": (
        "Unsqueeze",
        MAP_1D,
        lambda: Toy(lambda x, conv: conv(x.unsqueeze(1)).squeeze(2), conv=nn.Conv2d(1, 3, (6, 3))),
    ),
    "squeeze": (
        "Squeeze",
        MAP_1D,
        lambda: Toy(lambda x, conv: conv(x.unsqueeze(2)).squeeze(2), conv=nn.Conv2d(6, 3, (1, 3))),
    ),
    "transpose to the output": (
        "Transpose",
        MAP_1D,
        lambda: Toy(lambda x, conv: conv(x).transpose(1, 2), conv=nn.Conv1d(6, 5, 3)),
    ),
    "conv, transpose, conv": (
        "Transpose",
        (1, 8, 8),
        lambda: Toy(
            lambda x, conv, other: other(conv(x).transpose(1, 2)), conv=nn.Conv1d(8, 6, 3), other=nn.Conv1d(6, 4, 3)
        ),
    ),
    "residual sum": (
        "Add",
        MAP_1D,
        lambda: Toy(lambda x, conv: torch.relu(conv(x) + x), conv=nn.Conv1d(6, 6, 3, padding=1)),
    ),
    "sum with a constant row": (
        "Add",
        MAP_1D,
        lambda: Toy(lambda x, conv: conv(x) + torch.arange(5.0).reshape(5, 1), conv=nn.Conv1d(6, 5, 3)),
    ),
    "sum of map and pooled map": (
        "Add",
        MAP_2D,
        lambda: Toy(lambda x, conv: conv(x) + conv(x).mean(dim=2, keepdim=True), conv=nn.Conv2d(4, 4, 3, padding=1)),
    ),
    "difference": ("Sub", MAP_1D, lambda: Toy(lambda x, conv: conv(x) - x, conv=nn.Conv1d(6, 6, 3, padding=1))),
    "product with a gate": (
        "Mul",
        MAP_1D,
        lambda: Toy(lambda x, conv: x * torch.sigmoid(conv(x)), conv=nn.Conv1d(6, 6, 3, padding=1)),
    ),
    "quotient by a constant": (
        "Div",
        MAP_1D,
        lambda: Toy(lambda x, conv: conv(x) / torch.arange(1.0, 6.0).reshape(5, 1), conv=nn.Conv1d(6, 5, 3)),
    ),
    "mean over time": ("ReduceMean", MAP_1D, lambda: Toy(lambda x, conv: conv(x).mean(dim=2), conv=nn.Conv1d(6, 5, 3))),
    "mean over channels, kept": (
        "ReduceMean",
        MAP_2D,
        lambda: Toy(lambda x, conv: conv(x).mean(dim=1, keepdim=True), conv=nn.Conv2d(4, 5, 3)),
    ),
    "global average pool": (
        "GlobalAveragePool",
        MAP_2D,
        lambda: nn.Sequential(nn.Conv2d(4, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)),
    ),
    "average pool": ("AveragePool", MAP_2D, lambda: nn.AvgPool2d((3, 2), stride=2)),
    "average pool of the whole map": ("AveragePool", MAP_2D, lambda: nn.AvgPool2d((10, 7))),
    "average pool over time, zeros counted": ("AveragePool", MAP_1D, lambda: nn.AvgPool1d(3, stride=2, padding=1)),
    "average pool, zeros left out": (
        "AveragePool",
        MAP_1D,
        lambda: nn.AvgPool1d(3, stride=1, padding=1, count_include_pad=False),
    ),
    "max pool": ("MaxPool", MAP_2D, lambda: nn.MaxPool2d(2)),
    "max pool over time, padded": ("MaxPool", MAP_1D, lambda: nn.MaxPool1d(3, stride=2, padding=1)),
    "pad of a map": ("Pad", MAP_1D, lambda: Toy(lambda x: F.pad(x, (2, 1)))),
    "pad of channels": (
        "Pad",
        MAP_1D,
        lambda: Toy(lambda x, conv: F.pad(conv(x), (1, 0, 0, 3)), conv=nn.Conv1d(6, 5, 3)),
    ),
    "concat of channels": (
        "Concat",
        MAP_1D,
        lambda: Toy(
            lambda x, conv, other: torch.cat([conv(x), x, other(x) * 3], dim=1),
            conv=nn.Conv1d(6, 5, 3, padding=1),
            other=nn.Conv1d(6, 4, 1),
        ),
    ),
    "concat with a sigmoid": (
        "Concat",
        MAP_1D,
        lambda: Toy(lambda x, conv: torch.cat([torch.sigmoid(conv(x)), x], dim=2), conv=nn.Conv1d(6, 6, 3)),
    ),
    "concat with a sigmoid in another layout": (
        "Concat",
        MAP_1D,
        lambda: Toy(
            lambda x, linear: torch.cat([torch.sigmoid(x).transpose(1, 2), linear(x.transpose(1, 2))], dim=2),
            linear=nn.Linear(6, 4),
        ),
    ),
    "parts of one size": (
        "Split",
        MAP_1D,
        lambda: Toy(
            lambda x, conv: torch.cat([part * 2 ** (i - 1) for i, part in enumerate(conv(x).split(2, 1))], 1),
            conv=nn.Conv1d(6, 6, 3),
        ),
    ),
    "parts of two sizes": (
        "Split",
        MAP_1D,
        lambda: Toy(
            lambda x, conv: torch.cat(torch.split_with_sizes(conv(x), [1, 4], 1)[::-1], 1), conv=nn.Conv1d(6, 5, 3)
        ),
    ),
    "part of an axis that has no place": (
        "Slice",
        MAP_1D,
        lambda: Toy(lambda x, conv: conv(x).unsqueeze(1)[:, :, 1:4], conv=nn.Conv1d(6, 5, 3)),
    ),
    "every third step": ("Slice", MAP_1D, lambda: Toy(lambda x, conv: conv(x)[:, 1:4, 2::3], conv=nn.Conv1d(6, 5, 3))),
    "one step": ("Gather", MAP_1D, lambda: Toy(lambda x, conv: conv(x)[:, :, -2], conv=nn.Conv1d(6, 5, 3))),
    "some channels": (
        "Gather",
        MAP_1D,
        lambda: Toy(lambda x, conv: conv(x)[:, torch.tensor([3, 0, 3])], conv=nn.Conv1d(6, 5, 3)),
    ),
    "one of the parts of a concatenation": (
        "Gather",
        MAP_1D,
        lambda: Toy(
            lambda x, conv: torch.cat([conv(x).mean(1, keepdim=True), x[:, :1, :19]], 1)[:, 0], conv=nn.Conv1d(6, 5, 3)
        ),
    ),
    "enlarged, bilinear": (
        "Resize",
        MAP_2D,
        lambda: Toy(
            lambda x, conv: F.interpolate(conv(x), scale_factor=2, mode="bilinear", align_corners=False),
            conv=nn.Conv2d(4, 3, 3),
        ),
    ),
    "resized, bilinear with corners": (
        "Resize",
        MAP_2D,
        lambda: Toy(lambda x: F.interpolate(x, size=(15, 5), mode="bilinear", align_corners=True)),
    ),
    "enlarged, nearest": ("Resize", MAP_2D, lambda: nn.Upsample(scale_factor=(3, 2), mode="nearest")),
    "enlarged with its axes exchanged": (
        "Resize",
        (1, 8, 7),
        lambda: Toy(
            lambda x, conv: F.interpolate(conv(x.transpose(1, 2)[:, None]), scale_factor=2, mode="bilinear"),
            conv=nn.Conv2d(1, 3, 3),
        ),
    ),
    "conv whose axes are exchanged": (
        "Conv",
        (1, 9, 8),
        lambda: Toy(
            lambda x, conv, pool, other: other(pool(conv(x.transpose(1, 2)[:, None]))).mean(2),
            conv=nn.Conv2d(1, 4, (3, 5), stride=(2, 1), padding=(1, 2)),
            pool=nn.MaxPool2d((1, 2)),
            other=nn.Conv2d(4, 4, (3, 1), groups=4, padding=(2, 0), dilation=(2, 1)),
        ),
    ),
    "product of two values": (
        "MatMul",
        MAP_1D,
        lambda: Toy(lambda x, conv: conv(x) @ x.transpose(1, 2)[:, :19], conv=nn.Conv1d(6, 5, 3)),
    ),
    "product of a value that lies transposed": (
        "MatMul",
        (1, 9, 6),
        lambda: Toy(lambda x, linear: linear(x)[:, :2] @ x.transpose(1, 2), linear=nn.Linear(6, 6)),
    ),
    "map whose channels are joined with frequencies": (
        "Reshape",
        MAP_2D,
        lambda: Toy(
            lambda x, conv, linear: linear(torch.relu(conv(x).transpose(1, 2).flatten(2)).mean(1)),
            conv=nn.Conv2d(4, 3, 3),
            linear=nn.Linear(15, 4),
        ),
    ),
    "joined map read by a conv": (
        "Reshape",
        MAP_2D,
        lambda: Toy(
            lambda x, conv, other: other(conv(x).transpose(1, 2).flatten(2).transpose(1, 2)),
            conv=nn.Conv2d(4, 3, 3),
            other=nn.Conv1d(15, 4, 3),
        ),
    ),
    "joined map read by two": (
        "Reshape",
        MAP_2D,
        lambda: Toy(
            lambda x, conv, linear: linear(conv(x).flatten(2)) + conv(x).flatten(2)[:, :, :4],
            conv=nn.Conv2d(4, 3, 3),
            linear=nn.Linear(40, 4),
        ),
    ),
    "relu": ("Relu", MAP_1D, nn.ReLU),
    "relu read twice": (
        "Relu",
        MAP_1D,
        lambda: Toy(lambda x, conv: torch.relu(conv(x)) + conv(x), conv=nn.Conv1d(6, 5, 3)),
    ),
    "relu6 alone": ("Clip", MAP_1D, nn.ReLU6),
    "clip": ("Clip", MAP_1D, lambda: nn.Hardtanh(-1.5, 2.0)),
    "clip from below": ("Clip", MAP_1D, lambda: Toy(lambda x: x.clamp(min=-0.5))),
    "sigmoid": ("Sigmoid", MAP_1D, nn.Sigmoid),
    "tanh": ("Tanh", MAP_1D, nn.Tanh),
    "softmax of logits": ("Softmax", ROW, lambda: nn.Sequential(nn.Linear(12, 5), nn.Softmax(dim=1))),
    "softmax over channels": ("Softmax", MAP_1D, lambda: nn.Sequential(nn.Conv1d(6, 5, 3), nn.Softmax(dim=1))),
    "softmax over time": ("Softmax", MAP_1D, lambda: nn.Sequential(nn.Conv1d(6, 5, 3), nn.Softmax(dim=2))),
    "hard swish": ("HardSwish", MAP_1D, nn.Hardswish),
    "hard sigmoid": ("HardSigmoid", MAP_1D, nn.Hardsigmoid),
    "leaky relu": ("LeakyRelu", MAP_1D, lambda: nn.LeakyReLU(0.1)),
}
