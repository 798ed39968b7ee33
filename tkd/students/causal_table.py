"""The rows of the causal students: published networks with the same weights to learn, whose convolutions see the past.

Half of `tkd.students.table`. Nothing is published of these; counts and MACs are held against the networks in
`tests/tkd/students`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tkd.students.bcresnet import BcResNet
from tkd.students.dscnn import DsCnn, DsCnnPlan
from tkd.students.student import Student, StudentSpec
from tkd.students.tcresnet import TcResNet, TcResNetPlan

_SOURCE = "Ours: causal forms, which stream (docs/streaming.md)"


def _row(
    name: str,
    title: str,
    features: str,
    build: Callable[[int, int], Student],
    *,
    trainable: int,
    with_statistics: int,
    macs: int,
) -> StudentSpec:
    return StudentSpec(
        name=name,
        title=f"{title}, causal",
        source=_SOURCE,
        features=features,
        build=build,
        trainable_parameters=trainable,
        parameters_with_statistics=with_statistics,
        macs_of_one_second=macs,
        published_count="none",
        published_parameters="",
        accuracies=(),
    )


def _tcresnet(stem: int, *blocks: int) -> Callable[[int, int], Student]:
    return partial(TcResNet, plan=TcResNetPlan(stem=stem, blocks=blocks, is_causal=True))


def _bcresnet(width: int) -> Callable[[int, int], Student]:
    return partial(BcResNet, width=width, is_causal=True)


def _dscnn(
    channels: int, separable_layers: int, strides: tuple[tuple[int, int], tuple[int, int]]
) -> Callable[[int, int], Student]:
    plan = DsCnnPlan(channels=channels, separable_layers=separable_layers, strides=strides, is_causal=True)
    return partial(DsCnn, plan=plan)


_KWS_TCRESNET = partial(
    TcResNet,
    plan=TcResNetPlan(stem=50, blocks=(50, 50, 50, 50, 72, 72), dropout=0.2, has_bias=True, is_causal=True),
)
_MLPERF = partial(
    DsCnn,
    plan=DsCnnPlan(
        channels=64, separable_layers=4, strides=((2, 2), (1, 1)), norm_momentum=0.01, norm_has_scale=True,
        dropouts=(0.2, 0.4), is_causal=True,
    ),
)  # fmt: skip

CAUSAL_ROWS: tuple[StudentSpec, ...] = (
    _row("tcresnet8-causal", "TC-ResNet8", "tcresnet-paper", _tcresnet(16, 24, 32, 48),
         trainable=65_168, with_statistics=65_824, macs=1_469_568),
    _row("tcresnet8-1.5-causal", "TC-ResNet8-1.5", "tcresnet-paper", _tcresnet(24, 36, 48, 72),
         trainable=144_264, with_statistics=145_248, macs=3_164_976),
    _row("tcresnet14-causal", "TC-ResNet14", "tcresnet-paper", _tcresnet(16, 24, 24, 32, 32, 48, 48),
         trainable=135_856, with_statistics=136_928, macs=2_917_632),
    _row("tcresnet14-1.5-causal", "TC-ResNet14-1.5", "tcresnet-paper", _tcresnet(24, 36, 36, 48, 48, 72, 72),
         trainable=303_000, with_statistics=304_608, macs=6_423_120),
    _row("tcresnet-kws-causal", "TC-ResNet", "kws-streaming-tcresnet", _KWS_TCRESNET,
         trainable=365_274, with_statistics=366_894, macs=13_338_096),
    _row("bcresnet1-causal", "BC-ResNet-1", "bcresnet-causal", _bcresnet(8),
         trainable=9_232, with_statistics=11_648, macs=2_408_440),
    _row("bcresnet1.5-causal", "BC-ResNet-1.5", "bcresnet-causal", _bcresnet(12),
         trainable=17_154, with_statistics=20_778, macs=4_471_140),
    _row("bcresnet2-causal", "BC-ResNet-2", "bcresnet-causal", _bcresnet(16),
         trainable=27_284, with_statistics=32_116, macs=7_106_160),
    _row("bcresnet3-causal", "BC-ResNet-3", "bcresnet-causal", _bcresnet(24),
         trainable=54_168, with_statistics=61_416, macs=14_093_160),
    _row("bcresnet6-causal", "BC-ResNet-6", "bcresnet-causal", _bcresnet(48),
         trainable=187_812, with_statistics=202_308, macs=48_789_840),
    _row("bcresnet8-causal", "BC-ResNet-8", "bcresnet-causal", _bcresnet(64),
         trainable=321_068, with_statistics=340_396, macs=83_367_360),
    _row("ds-cnn-s-causal", "DS-CNN-S", "ds-cnn", _dscnn(64, 4, ((2, 2), (1, 1))),
         trainable=23_180, with_statistics=24_332, macs=2_550_528),
    _row("ds-cnn-m-causal", "DS-CNN-M", "ds-cnn", _dscnn(172, 4, ((2, 1), (2, 2))),
         trainable=136_580, with_statistics=139_676, macs=9_124_944),
    _row("ds-cnn-l-causal", "DS-CNN-L", "ds-cnn", _dscnn(276, 5, ((2, 1), (2, 2))),
         trainable=413_736, with_statistics=419_808, macs=26_250_912),
    _row("ds-cnn-mlperf-causal", "DS-CNN", "mlperf-tiny", _MLPERF,
         trainable=23_756, with_statistics=24_908, macs=2_550_528),
)  # fmt: skip
