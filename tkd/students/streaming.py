"""A student hop by hop: the same weights as over a whole clip, and states that the caller carries on.

    hop (1, frames, channels) ──►┌──────────┐──► logits (1, classes)
    past_… of the hop before ───►│ contexts │──► next_…, which is past_… of the next hop
                                 │   head   │
                                 └──────────┘
    The head sees the contexts of the last `window_frames` frames, as it saw those of a training clip.

Before this: the students that give a `stream_rule`. After this: `tkd.export.streams`.
Source: Rybakov et al. 2020, "Streaming Keyword Spotting on Mobile Devices", arXiv 2005.06720, section 3, with the
states outside the network.
Tested in `tests/tkd/students/test_streaming.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tkd.audio.features import FeatureConfig
from tkd.errors import SettingsError
from tkd.students.causal import Carried
from tkd.students.student import AttentiveStudent, Student
from tkd.students.table import STUDENTS, find_student


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings:
    """What a stream of one student is.

    Attributes:
        hop_frames: feature frames of one hop, a multiple of the student's `frames_per_context`.
        window_frames: feature frames whose contexts the head pools; of a recurrence, which has a memory instead, 0.
    """

    hop_frames: int
    window_frames: int


class StreamingStudent(nn.Module):
    """A student that is given one hop and the states of the hop before, and gives logits and its own states.

    Attributes:
        settings: hop and window.
        state_shapes: of every state by its name, channels last, in the order of `forward`'s arguments; all start as
            zeros.

    Args:
        student: any that streams; it is copied, and put into evaluation mode.
        name: its name in the table, for messages.
        channels: of a feature frame.
        clip_frames: frames of a training clip; the window of a network that pools.
        hop_frames: frames of a hop; 0 takes the smallest.

    Raises:
        SettingsError: the student cannot stream, or the hop is no multiple of its strides.
    """

    def __init__(self, student: Student, *, name: str, channels: int, clip_frames: int, hop_frames: int = 0) -> None:
        super().__init__()
        rule = student.stream_rule()
        if rule is None:
            raise SettingsError(why_not(student, name))
        hop_frames = hop_frames or rule.frames_per_context
        if hop_frames < 1 or hop_frames % rule.frames_per_context:
            raise SettingsError(
                f"{name} gives one context for {rule.frames_per_context} frames, and a hop of {hop_frames} does not "
                f"divide into them; expected a multiple of {rule.frames_per_context} frames"
            )
        window = clip_frames // rule.frames_per_context * rule.frames_per_context if rule.pools else 0
        if rule.pools and window < hop_frames:
            raise SettingsError(
                f"a hop of {hop_frames} frames is longer than the window of {window} frames that {name} pools; "
                f"expected at most {window}"
            )
        self.settings = StreamSettings(hop_frames=hop_frames, window_frames=window)
        self.student = copy.deepcopy(student).eval()
        self.contexts_before = Carried() if rule.pools else None
        self._kept_contexts = (window - hop_frames) // rule.frames_per_context
        self._carried: dict[str, Carried] = {
            each_name.removeprefix("student.").removesuffix(".before").replace(".", "_"): each
            for each_name, each in self.named_modules()
            if isinstance(each, Carried)
        }
        for each in self._carried.values():
            each.is_streaming = True
        self.state_shapes: Mapping[str, tuple[int, ...]] = self._dry_run(channels)

    @property
    def past_names(self) -> tuple[str, ...]:
        """Names of the states that come in."""
        return tuple(f"past_{name}" for name in self.state_shapes)

    @property
    def next_names(self) -> tuple[str, ...]:
        """Names of the states that go out, in the same order."""
        return tuple(f"next_{name}" for name in self.state_shapes)

    def initial_states(self) -> tuple[Tensor, ...]:
        """The states before the first hop: zeros."""
        return tuple(torch.zeros(shape) for shape in self.state_shapes.values())

    def forward(self, hop: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Logits of shape (1, classes), and the states for the next hop.

        Args:
            hop: features, shape (1, hop_frames, channels).
            states: those that the hop before gave, or `initial_states`.
        """
        for name, state in zip(self.state_shapes, states, strict=True):
            self._carried[name].state = state
        logits = self._logits(hop)
        return (logits, *(self._given(name) for name in self.state_shapes))

    def _logits(self, hop: Tensor) -> Tensor:
        contexts = self.student.contexts(hop)
        if self.contexts_before is not None:
            contexts = _windowed(self.contexts_before, contexts, self._kept_contexts)
        logits: Tensor = self.student.head(contexts)
        return logits

    def _given(self, name: str) -> Tensor:
        state = self._carried[name].state
        assert state is not None, name
        return state

    def _dry_run(self, channels: int) -> dict[str, tuple[int, ...]]:
        """The shapes of the states, seen on one hop of zeros; of layers that keep nothing there are none."""
        with torch.no_grad():
            self._logits(torch.zeros(1, self.settings.hop_frames, channels))
        return {name: tuple(each.state.shape) for name, each in self._carried.items() if each.state is not None}


def _windowed(before: Carried, contexts: Tensor, kept: int) -> Tensor:
    """The contexts of the window that ends with these, shape (batch, time, channels)."""
    joined = before.join(contexts.transpose(1, 2), kept, axis=2)
    return joined.transpose(1, 2)


def why_not(student: Student, name: str) -> str:
    """Why a student cannot stream, what streams in its place, and what running it over and over costs."""
    if isinstance(student, AttentiveStudent):
        reason = f"{name} reads its clip in both directions and attends over all of it"
        instead = "lstm-p, crnn and the -causal students stream"
    else:
        reason = f"{name} answers for a frame only when it has seen frames after it"
        causal = f"{name}-causal"
        instead = f"{causal} streams" if causal in STUDENTS else "lstm-p, crnn and the -causal students stream"
    macs = find_student(name).macs_of_one_second
    return (
        f"{reason}, so it cannot stream: {instead}. It can be run on the whole last second again and again, which "
        f"costs {macs / 1e6:.1f} M multiply-accumulates each time, {20 * macs / 1e6:.0f} M a second at 50 ms"
    )


def count_hop_macs(streaming: StreamingStudent, channels: int) -> int:
    """Multiply-accumulates of one hop, counted as `tkd.students.macs` counts those of a clip."""
    hop = torch.zeros(1, streaming.settings.hop_frames, channels)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        streaming(hop, *streaming.initial_states())
    return int(counter.get_total_flops()) // 2


def check_front_end(config: FeatureConfig, name: str) -> None:
    """Raises SettingsError where features of a frame depend on audio that a stream has not heard yet."""
    if config.is_centred:
        raise SettingsError(
            f"the front end of this {name} centres its frames: each needs half a window of audio to come, and the "
            "first a mirror of it; train it with a front end that is not centred (features of the -causal students)"
        )


def hops_of_clips(clips: NDArray[np.float32], hop_frames: int) -> NDArray[np.float32]:
    """Clips, shape (clips, frames, channels), as hops, (clips, hops, hop_frames, channels); a rest is left out.

    >>> hops_of_clips(np.zeros((2, 98, 40), np.float32), 8).shape
    (2, 12, 8, 40)
    """
    hops = clips.shape[1] // hop_frames
    whole = clips[:, : hops * hop_frames]
    return np.ascontiguousarray(whole.reshape(len(clips), hops, hop_frames, clips.shape[2]))


def hops_of_audio(clips: NDArray[np.float32], samples: int) -> NDArray[np.float32]:
    """Clips of audio, shape (clips, samples), as hops, (clips, hops, samples of a hop); a rest is left out.

    >>> hops_of_audio(np.zeros((2, 16_000), np.float32), 1280).shape
    (2, 12, 1280)
    """
    hops = clips.shape[1] // samples
    return np.ascontiguousarray(clips[:, : hops * samples].reshape(len(clips), hops, samples))
