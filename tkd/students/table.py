"""The table of students. To add one, add a row (and a file, when the family is new).

Scores of the baselines are those that TC-ResNet's table copies from the original papers; of kws_streaming's networks
those that later papers quote. Counts and MACs are held against the networks in `tests/tkd/students`.
"""

from __future__ import annotations

from functools import partial

from converters.command_line import did_you_mean
from tkd.errors import SettingsError
from tkd.students.att_rnn import AttRnn
from tkd.students.bcresnet import BcResNet
from tkd.students.causal_table import CAUSAL_ROWS
from tkd.students.cnn import Cnn1, Cnn2
from tkd.students.crnn import Crnn
from tkd.students.dscnn import DsCnn, DsCnnPlan
from tkd.students.lstm_p import LstmP
from tkd.students.res import Res
from tkd.students.resnet2d import ResNet2d8
from tkd.students.student import Accuracy, GatedStudent, Student, StudentSpec
from tkd.students.tcresnet import TcResNet, TcResNetPlan

_TCRESNET = "Choi et al. 2019, arXiv 1904.03814"
_KWS_STREAMING = "Rybakov et al. 2020, arXiv 2005.06720"
_BCRESNET = "Kim et al. 2021, arXiv 2106.04140"
_HELLO_EDGE = "Zhang et al. 2017, arXiv 1711.07128"
_MLPERF = "Banbury et al. 2021, arXiv 2106.07597"
_SAINATH = "Sainath and Parada 2015, Interspeech"
_TANG = "Tang and Lin 2018, arXiv 1710.10361"
_REDUCED = "Ours: kws_streaming's recurrent networks, reduced"


def _v1(percent: float) -> Accuracy:
    return Accuracy(percent=percent, data="v1-12", silence="zeros")


def _v2(percent: float) -> Accuracy:
    return Accuracy(percent=percent, data="v2-12", silence="zeros")


def _bcresnet(v1_percent: float, v2_percent: float) -> tuple[Accuracy, Accuracy]:
    """BC-ResNet's two scores, on the official test archives."""
    return (
        Accuracy(percent=v1_percent, data="v1-12", silence="noise"),
        Accuracy(percent=v2_percent, data="v2-12", silence="noise"),
    )


STUDENTS: dict[str, StudentSpec] = {
    spec.name: spec
    for spec in (
        StudentSpec(
            name="tcresnet8", title="TC-ResNet8", source=_TCRESNET, features="tcresnet-paper",
            build=partial(TcResNet, plan=TcResNetPlan(stem=16, blocks=(24, 32, 48))),
            trainable_parameters=65_168, parameters_with_statistics=65_824, macs_of_one_second=1_522_560,
            published_count="with statistics", published_parameters="66K", accuracies=(_v1(96.1),),
        ),
        StudentSpec(
            name="tcresnet8-1.5", title="TC-ResNet8-1.5", source=_TCRESNET, features="tcresnet-paper",
            build=partial(TcResNet, plan=TcResNetPlan(stem=24, blocks=(36, 48, 72))),
            trainable_parameters=144_264, parameters_with_statistics=145_248, macs_of_one_second=3_284_208,
            published_count="with statistics", published_parameters="145K", accuracies=(_v1(96.2),),
        ),
        StudentSpec(
            name="tcresnet14", title="TC-ResNet14", source=_TCRESNET, features="tcresnet-paper",
            build=partial(TcResNet, plan=TcResNetPlan(stem=16, blocks=(24, 24, 32, 32, 48, 48))),
            trainable_parameters=135_856, parameters_with_statistics=136_928, macs_of_one_second=3_030_528,
            published_count="with statistics", published_parameters="137K", accuracies=(_v1(96.2),),
        ),
        StudentSpec(
            name="tcresnet14-1.5", title="TC-ResNet14-1.5", source=_TCRESNET, features="tcresnet-paper",
            build=partial(TcResNet, plan=TcResNetPlan(stem=24, blocks=(36, 36, 48, 48, 72, 72))),
            trainable_parameters=303_000, parameters_with_statistics=304_608, macs_of_one_second=6_677_136,
            published_count="with statistics", published_parameters="305K", accuracies=(_v1(96.6),),
        ),
        StudentSpec(
            name="2d-resnet8", title="2D-ResNet8", source=_TCRESNET, features="tcresnet-paper",
            build=partial(ResNet2d8, pool=1),
            trainable_parameters=65_149, parameters_with_statistics=65_819, macs_of_one_second=17_872_176,
            published_count="with statistics", published_parameters="66K", accuracies=(_v1(96.1),),
        ),
        StudentSpec(
            name="2d-resnet8-pool", title="2D-ResNet8-Pool", source=_TCRESNET, features="tcresnet-paper",
            build=partial(ResNet2d8, pool=4),
            trainable_parameters=65_149, parameters_with_statistics=65_819, macs_of_one_second=1_974_960,
            published_count="with statistics", published_parameters="66K", accuracies=(_v1(94.9),),
        ),
        # Nothing is published for Att-RNN in this configuration; its ancestor's scores are of another network.
        StudentSpec(
            name="tcresnet-kws", title="TC-ResNet", source=_KWS_STREAMING,
            features="kws-streaming-tcresnet",
            build=partial(
                TcResNet,
                plan=TcResNetPlan(stem=50, blocks=(50, 50, 50, 50, 72, 72), dropout=0.2, has_bias=True),
            ),
            trainable_parameters=365_274, parameters_with_statistics=366_894, macs_of_one_second=13_514_064,
            published_count="trainable", published_parameters="365K", accuracies=(_v2(97.4),),
        ),
        StudentSpec(
            name="lstm-p", title="LSTM-P", source=_KWS_STREAMING, features="kws-streaming",
            build=LstmP,
            trainable_parameters=545_912, parameters_with_statistics=545_912, macs_of_one_second=26_462_400,
            published_count="either", published_parameters="545K", accuracies=(_v1(96.9), _v2(97.5)),
        ),
        StudentSpec(
            name="crnn", title="CRNN", source=_KWS_STREAMING, features="kws-streaming",
            build=Crnn,
            trainable_parameters=467_772, parameters_with_statistics=467_772, macs_of_one_second=19_740_640,
            published_count="either", published_parameters="467K", accuracies=(_v1(97.0), _v2(97.5)),
        ),
        StudentSpec(
            name="att-rnn", title="Att-RNN", source=_KWS_STREAMING, features="kws-streaming",
            build=partial(AttRnn, heads=1, dropout=0.1),
            trainable_parameters=496_497, parameters_with_statistics=496_519, macs_of_one_second=20_227_664,
            published_count="with statistics", published_parameters="", accuracies=(),
        ),
        StudentSpec(
            name="mhatt-rnn", title="MHAtt-RNN", source=_KWS_STREAMING, features="kws-streaming-mhatt",
            build=partial(AttRnn, heads=4, dropout=0.2),
            trainable_parameters=743_025, parameters_with_statistics=743_047, macs_of_one_second=20_548_688,
            published_count="with statistics", published_parameters="743K", accuracies=(_v1(97.2), _v2(98.0)),
        ),
        StudentSpec(
            name="bcresnet1", title="BC-ResNet-1", source=_BCRESNET, features="bcresnet",
            build=partial(BcResNet, width=8),
            trainable_parameters=9_232, parameters_with_statistics=11_648, macs_of_one_second=2_482_156,
            published_count="trainable", published_parameters="9.2K", accuracies=_bcresnet(96.6, 96.9),
        ),
        StudentSpec(
            name="bcresnet1.5", title="BC-ResNet-1.5", source=_BCRESNET, features="bcresnet",
            build=partial(BcResNet, width=12),
            trainable_parameters=17_154, parameters_with_statistics=20_778, macs_of_one_second=4_607_994,
            published_count="trainable", published_parameters="17.2K", accuracies=_bcresnet(97.2, 97.6),
        ),
        StudentSpec(
            name="bcresnet2", title="BC-ResNet-2", source=_BCRESNET, features="bcresnet",
            build=partial(BcResNet, width=16),
            trainable_parameters=27_284, parameters_with_statistics=32_116, macs_of_one_second=7_323_672,
            published_count="trainable", published_parameters="27.3K", accuracies=_bcresnet(97.3, 97.8),
        ),
        StudentSpec(
            name="bcresnet3", title="BC-ResNet-3", source=_BCRESNET, features="bcresnet",
            build=partial(BcResNet, width=24),
            trainable_parameters=54_168, parameters_with_statistics=61_416, macs_of_one_second=14_524_548,
            published_count="trainable", published_parameters="54.2K", accuracies=_bcresnet(97.6, 98.2),
        ),
        StudentSpec(
            name="bcresnet6", title="BC-ResNet-6", source=_BCRESNET, features="bcresnet",
            build=partial(BcResNet, width=48),
            trainable_parameters=187_812, parameters_with_statistics=202_308, macs_of_one_second=50_283_336,
            published_count="trainable", published_parameters="188K", accuracies=_bcresnet(97.9, 98.6),
        ),
        StudentSpec(
            name="bcresnet8", title="BC-ResNet-8", source=_BCRESNET, features="bcresnet",
            build=partial(BcResNet, width=64),
            trainable_parameters=321_068, parameters_with_statistics=340_396, macs_of_one_second=85_919_328,
            published_count="trainable", published_parameters="321K", accuracies=_bcresnet(98.0, 98.7),
        ),
        StudentSpec(
            name="ds-cnn-s", title="DS-CNN-S", source=_HELLO_EDGE, features="ds-cnn",
            build=partial(DsCnn, plan=DsCnnPlan(channels=64, separable_layers=4, strides=((2, 2), (1, 1)))),
            trainable_parameters=23_180, parameters_with_statistics=24_332, macs_of_one_second=2_656_768,
            published_count="with statistics", published_parameters="24K", accuracies=(_v1(94.4),),
        ),
        StudentSpec(
            name="ds-cnn-m", title="DS-CNN-M", source=_HELLO_EDGE, features="ds-cnn",
            build=partial(DsCnn, plan=DsCnnPlan(channels=172, separable_layers=4, strides=((2, 1), (2, 2)))),
            trainable_parameters=136_580, parameters_with_statistics=139_676, macs_of_one_second=9_816_384,
            published_count="with statistics", published_parameters="140K", accuracies=(_v1(94.9),),
        ),
        StudentSpec(
            name="ds-cnn-l", title="DS-CNN-L", source=_HELLO_EDGE, features="ds-cnn",
            build=partial(DsCnn, plan=DsCnnPlan(channels=276, separable_layers=5, strides=((2, 1), (2, 2)))),
            trainable_parameters=413_736, parameters_with_statistics=419_808, macs_of_one_second=28_327_812,
            published_count="with statistics", published_parameters="420K", accuracies=(_v1(95.4),),
        ),
        StudentSpec(
            name="ds-cnn-mlperf", title="DS-CNN", source=_MLPERF, features="mlperf-tiny",
            build=partial(
                DsCnn,
                plan=DsCnnPlan(
                    channels=64, separable_layers=4, strides=((2, 2), (1, 1)),
                    norm_momentum=0.01, norm_has_scale=True, dropouts=(0.2, 0.4),
                ),
            ),
            trainable_parameters=23_756, parameters_with_statistics=24_908, macs_of_one_second=2_656_768,
            published_count="with statistics", published_parameters="24,908",
            accuracies=(Accuracy(percent=92.0, data="v2-12", silence="noise"),),  # "about", in its README
        ),
        StudentSpec(
            name="cnn-1", title="CNN-1", source=_SAINATH, features="cnn-baseline",
            build=Cnn1,
            trainable_parameters=523_776, parameters_with_statistics=523_776, macs_of_one_second=38_012_416,
            published_count="either", published_parameters="524K", accuracies=(_v1(90.7),),
        ),
        StudentSpec(
            name="cnn-2", title="CNN-2", source=_SAINATH, features="cnn-baseline",
            build=Cnn2,
            trainable_parameters=148_496, parameters_with_statistics=148_496, macs_of_one_second=731_792,
            published_count="either", published_parameters="148K", accuracies=(_v1(84.6),),
        ),
        StudentSpec(
            name="res8", title="Res8", source=_TANG, features="tcresnet-paper",
            build=partial(Res, channels=45, layers=6, pool=(4, 3), is_dilated=False),
            trainable_parameters=110_295, parameters_with_statistics=110_835, macs_of_one_second=396_341_640,
            published_count="with statistics", published_parameters="111K", accuracies=(_v1(94.1),),
        ),
        StudentSpec(
            name="res8-narrow", title="Res8-Narrow", source=_TANG, features="tcresnet-paper",
            build=partial(Res, channels=19, layers=6, pool=(4, 3), is_dilated=False),
            trainable_parameters=19_893, parameters_with_statistics=20_121, macs_of_one_second=71_043_888,
            published_count="with statistics", published_parameters="20K", accuracies=(_v1(90.1),),
        ),
        StudentSpec(
            name="res15", title="Res15", source=_TANG, features="tcresnet-paper",
            build=partial(Res, channels=45, layers=13, pool=(1, 1), is_dilated=True),
            trainable_parameters=237_870, parameters_with_statistics=239_040, macs_of_one_second=930_334_140,
            published_count="with statistics", published_parameters="239K", accuracies=(_v1(95.8),),
        ),
        StudentSpec(
            name="res15-narrow", title="Res15-Narrow", source=_TANG, features="tcresnet-paper",
            build=partial(Res, channels=19, layers=13, pool=(1, 1), is_dilated=True),
            trainable_parameters=42_636, parameters_with_statistics=43_130, macs_of_one_second=166_239_588,
            published_count="with statistics", published_parameters="43K", accuracies=(_v1(94.0),),
        ),
        # Ours: the recurrent students of the paper at a size that a grid of many trainings can afford on a processor.
        StudentSpec(
            name="lstm-p-reduced", title="LSTM-P, reduced", source=_REDUCED, features="kws-streaming",
            build=partial(LstmP, units=160, projected=80),
            trainable_parameters=78_892, parameters_with_statistics=78_892, macs_of_one_second=3_764_160,
            published_count="none", published_parameters="", accuracies=(),
        ),
        StudentSpec(
            name="crnn-reduced", title="CRNN, reduced", source=_REDUCED, features="kws-streaming",
            build=partial(Crnn, units=96),
            trainable_parameters=154_492, parameters_with_statistics=154_492, macs_of_one_second=7_171_040,
            published_count="none", published_parameters="", accuracies=(),
        ),
        StudentSpec(
            name="att-rnn-reduced", title="Att-RNN, reduced", source=_REDUCED, features="kws-streaming",
            build=partial(AttRnn, heads=1, dropout=0.1, units=64),
            trainable_parameters=134_897, parameters_with_statistics=134_919, macs_of_one_second=5_330_768,
            published_count="none", published_parameters="", accuracies=(),
        ),
        StudentSpec(
            name="mhatt-rnn-reduced", title="MHAtt-RNN, reduced", source=_REDUCED, features="kws-streaming-mhatt",
            build=partial(AttRnn, heads=4, dropout=0.2, units=64),
            trainable_parameters=209_009, parameters_with_statistics=209_031, macs_of_one_second=5_442_128,
            published_count="none", published_parameters="", accuracies=(),
        ),
        *CAUSAL_ROWS,
    )
}  # fmt: skip

ALIASES = {"tcresnet": "tcresnet8"}


def find_student(name: str) -> StudentSpec:
    """The row of a student by its name or alias.

    Raises:
        SettingsError: no student has this name; the message shows the nearest one.
    """
    known = ALIASES.get(name, name)
    if known not in STUDENTS:
        raise SettingsError(did_you_mean(name, [*STUDENTS, *ALIASES], "student"))
    return STUDENTS[known]


def build_student(name: str, channels_in: int, classes: int, *, forget_bias: float | None = None) -> Student:
    """A freshly initialised student.

    Args:
        name: a name or alias of the table.
        channels_in: channels of its feature frames.
        classes: number of labels.
        forget_bias: of the forget gates; None leaves the published one.

    Raises:
        SettingsError: no student has this name, its kernels do not fit the channels, or it has no forget gate and
            `forget_bias` is given.
    """
    student = find_student(name).build(channels_in, classes)
    if forget_bias is not None:
        if not isinstance(student, GatedStudent):
            raise SettingsError(f"{name} has no forget gate: leave student.forget_bias out, or take lstm-p")
        student.set_forget_bias(forget_bias)
    return student
