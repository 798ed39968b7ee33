"""What every student has in common: contexts before temporal pooling, and a head after it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRule:
    """How a student that sees the past alone can be run hop by hop.

    Attributes:
        frames_per_context: feature frames for which one context comes out: the product of the strides over time.
            A hop is a multiple of it.
        pools: whether the head reads a window of contexts; False where it reads the last one.
    """

    frames_per_context: int
    pools: bool


class Student(nn.Module, ABC):
    """A classifier of feature sequences, in two halves that temporal distillation can reach between.

    features (batch, frames, channels) ──contexts──► (batch, time, context_channels) ──head──► (batch, classes)
    """

    context_channels: int
    """Channels of one context vector; the length of the query that distillation learns."""

    @abstractmethod
    def contexts(self, features: Tensor) -> Tensor:
        """The last representation that still has a time axis.

        Args:
            features: shape (batch, frames, channels), as the student's front end gives them.

        Returns:
            Shape (batch, time, context_channels); `time` is at most `frames`.
        """

    @abstractmethod
    def head(self, contexts: Tensor) -> Tensor:
        """Logits, shape (batch, classes), from contexts of shape (batch, time, context_channels)."""

    def stream_rule(self) -> StreamRule | None:
        """How this network streams; None where a context depends on frames after it, or the head on all of them."""
        return None

    def absorb_input_scale(self, scale: Tensor) -> bool:
        """Changes the first layer so that features divided by `scale` give the logits that features gave before.

        An int8 input has one step size for all channels; features whose channels differ in size lose their small
        ones in it. Dividing each channel by its own size first costs nothing where the first layer can absorb it.

        Args:
            scale: one positive number a feature channel, shape (channels,).

        Returns:
            Whether that was done; False where the first layer shares its weights among channels.
        """
        del scale
        return False

    def forward(self, features: Tensor) -> Tensor:
        """Logits, shape (batch, classes), of features of shape (batch, frames, channels)."""
        return self.head(self.contexts(features))


class AttentiveStudent(Student, ABC):
    """A student that attends over time itself, so that distillation can match its own attention."""

    @abstractmethod
    def own_attention(self, contexts: Tensor) -> Tensor:
        """How much the head takes from each time step.

        Args:
            contexts: what `contexts` gave, shape (batch, time, context_channels); a training step has them already.

        Returns:
            Shape (batch, time), not negative, each row summing to 1.
        """


class GatedStudent(Student, ABC):
    """A student with forget gates, whose initial bias decides how long it remembers before it has learnt anything."""

    @abstractmethod
    def set_forget_bias(self, bias: float) -> None:
        """Makes the bias of every forget gate `bias`.

        TensorFlow's default is 1. At 4 a step keeps 98 % of the memory instead of 73 %, which clips of several
        seconds need: with 1 a network learns where to look and does not carry what it saw to the end.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """A published score.

    Attributes:
        percent: of clips labelled correctly.
        data: the data set and its number of classes, for example `v1-12` for Speech Commands v1, 12 classes.
        silence: what the silence class of the test is: `zeros`, or the `noise` of the official test archive.
            Scores under the two are not comparable.
    """

    percent: float
    data: Literal["v1-12", "v2-12"]
    silence: Literal["zeros", "noise"]

    def __str__(self) -> str:
        version, classes = self.data.split("-")
        return f"{self.percent:g} % (Speech Commands {version}, {classes} classes, silence as {self.silence})"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentSpec:
    """One row of the table of students.

    Attributes:
        name: as on the command line.
        title: as in the paper.
        source: author, year and arXiv number.
        features: name of the published front end, a key of `tkd.audio.features.FEATURES`.
        build: makes the network for a number of input channels and of classes.
        trainable_parameters: with 12 classes.
        parameters_with_statistics: the same plus the moving means and variances of batch normalisation.
        macs_of_one_second: multiply-accumulates of one second at that front end, as `tkd.students.macs` counts them.
        published_count: which of the two counts the paper prints; `either` where they are the same, `none` where
            the network is in no paper.
        published_parameters: the figure as the paper prints it.
        accuracies: what the paper reports; empty where it reports none.
    """

    name: str
    title: str
    source: str
    features: str
    build: Callable[[int, int], Student]
    trainable_parameters: int
    parameters_with_statistics: int
    macs_of_one_second: int
    published_count: Literal["trainable", "with statistics", "either", "none"]
    published_parameters: str
    accuracies: tuple[Accuracy, ...]


def count_parameters(module: nn.Module) -> tuple[int, int]:
    """(trainable parameters, the same plus the statistics of batch normalisation).

    PyTorch's batch counter (`num_batches_tracked`) is a training aid of its own and belongs to neither count.
    """
    trainable = sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
    statistics = sum(
        buffer.numel() for name, buffer in module.named_buffers() if name.endswith(("running_mean", "running_var"))
    )
    return trainable, trainable + statistics
