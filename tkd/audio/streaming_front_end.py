"""The front end hop by hop: what of the last window is heard again is carried on.

    past_audio (window − hop samples) ──┐
    audio of one hop ───────────────────┴─► GraphFrontEnd ─► features of one hop
                                        └─► next_audio: the last window − hop samples

A stream begins as if that much silence had been before it: its first frame ends with the first `hop` samples.
After `tkd.audio.graph_front_end`; `tkd.export.streams` puts it in front of a streaming student.
Tested in `tests/tkd/audio/test_streaming_front_end.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tkd.audio.features import FeatureConfig
from tkd.audio.graph_front_end import GraphFrontEnd
from tkd.errors import SettingsError

AUDIO = "audio"
"""The name of its one state."""


class StreamingFrontEnd(nn.Module):
    """Features of one hop of audio, and the audio that the next hop needs.

    Attributes:
        samples: of one hop.
        kept: samples carried on.

    Args:
        config: the front end, whose frames are not centred.
        frames: of one hop, at least 1.
        channel_scale: what each feature channel is divided by, shape (channels,); None for nothing.

    Raises:
        SettingsError: frames are centred, or do not overlap.
    """

    def __init__(self, config: FeatureConfig, frames: int, channel_scale: Tensor | None = None) -> None:
        super().__init__()
        self.samples = frames * config.hop_length
        self.kept = config.window_length - config.hop_length
        if config.is_centred or self.kept < 1:
            raise SettingsError(
                f"a front end with a window of {config.window_length} samples every {config.hop_length}, centred: "
                f"{config.is_centred}, has no form that streams; expected windows that overlap and are not centred"
            )
        self.front = GraphFrontEnd(config, self.kept + self.samples, channel_scale)

    def forward(self, audio: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """(features of shape (1, frames, channels), next past) of audio (1, samples) and past (1, kept), in [-1, 1]."""
        joined = torch.cat([past, audio], dim=1)
        features: Tensor = self.front(joined)
        return features, joined[:, self.samples :]


class AudioStream(nn.Module):
    """A streaming network behind its streaming front end: one hop of audio in, logits out.

    Args:
        front: gives the features of a hop.
        body: takes them and its states, and gives logits and its states.
    """

    def __init__(self, front: StreamingFrontEnd, body: nn.Module) -> None:
        super().__init__()
        self.front, self.body = front, body

    def forward(self, audio: Tensor, past: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Logits, the front end's state, then those of the network."""
        features, following = self.front(audio, past)
        logits, *kept = self.body(features, *states)
        return (logits, following, *kept)
