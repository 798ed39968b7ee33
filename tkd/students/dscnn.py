"""DS-CNN: a convolution over time and frequency, then depthwise-separable ones.

Source: Zhang et al. 2017, "Hello Edge", arXiv 1711.07128, table 5, in the form of TC-ResNet's published code
(arXiv 1904.03814); and MLPerf Tiny's reference network (Banbury et al. 2021, arXiv 2106.07597).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from tkd.students.causal import CausalSameConv2d
from tkd.students.student import StreamRule, Student
from tkd.students.tensorflow_layers import TF_EPSILON, SameConv2d, initialise_glorot


@dataclass(frozen=True, slots=True, kw_only=True)
class DsCnnPlan:
    """What tells one DS-CNN from another.

    Attributes:
        channels: of every layer.
        separable_layers: number of depthwise-separable convolutions.
        strides: (time, frequency) of the first convolution and of the first separable one; 1 everywhere else.
        norm_momentum: of batch normalisation, in PyTorch's convention.
        norm_has_scale: whether batch normalisation learns a scale beside its offset.
        dropouts: shares dropped in training after the first convolution and before pooling.
        is_causal: whether convolutions see past frames alone, so that the network can stream; the papers' do not.
    """

    channels: int
    separable_layers: int
    strides: tuple[tuple[int, int], tuple[int, int]]
    norm_momentum: float = 0.04
    norm_has_scale: bool = False
    dropouts: tuple[float, float] = (0.0, 0.0)
    is_causal: bool = False


class DsCnn(Student):
    """A DS-CNN of any plan; the head pools over time.

    Args:
        channels_in: channels of a feature frame (10 MFCC in the papers), here an axis that is convolved over.
        classes: number of labels.
        plan: the network's shape.
    """

    def __init__(self, channels_in: int, classes: int, plan: DsCnnPlan) -> None:
        super().__init__()
        del channels_in  # a convolution over frequency fits any number of them
        channels = plan.channels
        self.plan = plan
        convolution = CausalSameConv2d if plan.is_causal else SameConv2d
        stem = convolution(1, channels, (10, 4), stride=plan.strides[0])
        layers: list[nn.Module] = [stem, _norm(plan), nn.ReLU(), nn.Dropout(plan.dropouts[0])]
        for index in range(plan.separable_layers):
            stride = plan.strides[1] if index == 0 else (1, 1)
            layers += [convolution(channels, channels, 3, stride=stride, groups=channels), _norm(plan), nn.ReLU()]
            layers += [nn.Conv2d(channels, channels, 1), _norm(plan), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.context_channels = channels
        self.dropout = nn.Dropout(plan.dropouts[1])
        self.classifier = nn.Linear(channels, classes)
        initialise_glorot(self)

    def contexts(self, features: Tensor) -> Tensor:
        """The map before global average pooling, averaged over frequency; time is divided by the strides."""
        maps: Tensor = self.dropout(self.layers(features[:, None]))
        return maps.mean(dim=3).transpose(1, 2)

    def stream_rule(self) -> StreamRule | None:
        """The strides over time of the first two convolutions."""
        (first, _), (second, _) = self.plan.strides
        return StreamRule(frames_per_context=first * second, pools=True) if self.plan.is_causal else None

    def head(self, contexts: Tensor) -> Tensor:
        """Logits of the contexts' mean over time."""
        logits: Tensor = self.classifier(contexts.mean(dim=1))
        return logits


def _norm(plan: DsCnnPlan) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(plan.channels, eps=TF_EPSILON, momentum=plan.norm_momentum)
    if not plan.norm_has_scale:
        # slim's default. A frozen scale of 1 is counted and trained by nobody, and exports like any other.
        norm.weight.requires_grad_(False)
    return norm
