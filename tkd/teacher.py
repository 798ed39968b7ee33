"""The teacher: a wav2vec 2.0 encoder with a classifier on its first context vector c₁, and its attention.

Source: Choi et al. 2022, arXiv 2110.14131, figure 1 (classifier on c₁, attention rolled out over all layers);
Baevski et al. 2020, arXiv 2006.11477 (wav2vec 2.0); Conneau et al. 2021, arXiv 2006.13979 (XLSR-53).
Two teachers come through the same code: any Wav2Vec2, XLS-R or HuBERT checkpoint of `transformers`,
and a small one from scratch whose waveform convolutions are replaced by a log-mel stem. That stem is a deviation
from the paper, made so that a teacher can be trained in minutes on a processor.
Before this: `tkd.audio`. After this: `tkd.attention` rolls out, `tkd.train` trains and caches.
Tested in `tests/tkd/test_teacher.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tkd.attention import rollout_first_row
from tkd.audio.features import FEATURES, FrontEnd
from tkd.augment import mask_features
from tkd.errors import SettingsError, TeacherError

if TYPE_CHECKING:
    from collections.abc import Iterator

_STEM_FEATURES = "bcresnet"
_MASK_FRAMES = 8
_MASK_BANDS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherConfig:
    """What the teacher is made of.

    Attributes:
        checkpoint: a folder or name that `transformers` can load, for example `facebook/wav2vec2-large-xlsr-53`;
            empty makes the small teacher from scratch, and the sizes below apply to it only.
        freeze_feature_encoder: keeps the waveform convolutions of a loaded checkpoint as they are.
        layers: transformer layers.
        hidden: width of a context vector.
        heads: attention heads a layer.
        feed_forward: width inside a layer.
        dropout: share of values dropped at the end of each layer's two halves in training.
    """

    checkpoint: str = ""
    freeze_feature_encoder: bool = True
    layers: int = 4
    hidden: int = 128
    heads: int = 4
    feed_forward: int = 512
    dropout: float = 0.05

    def __post_init__(self) -> None:
        if min(self.layers, self.hidden, self.heads, self.feed_forward) < 1 or self.hidden % self.heads:
            raise SettingsError(
                f"teacher: sizes must be positive and hidden ({self.hidden}) a multiple of heads ({self.heads})"
            )


class LogMelStem(nn.Module):
    """Log-mel energies and two convolutions in place of wav2vec 2.0's seven over the waveform.

    Shapes: (batch, samples) to (batch, hidden, frames), one frame every 40 ms.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        features = FEATURES[_STEM_FEATURES]
        self.front_end = FrontEnd(features)
        self.norm = nn.LayerNorm(features.channels)
        self.convolutions = nn.Sequential(
            *_convolution(features.channels, hidden, 5, stride=2),
            *_convolution(hidden, hidden, 3, stride=1),
            *_convolution(hidden, hidden, 3, stride=2),
        )

    def forward(self, waveforms: Tensor) -> Tensor:
        """Maps of shape (batch, hidden, frames); in training, stretches of time and of mel bands are masked."""
        energies: Tensor = self.norm(self.front_end(waveforms))
        if self.training:
            energies = mask_features(energies, max_frames=_MASK_FRAMES, max_bands=_MASK_BANDS)
        maps: Tensor = self.convolutions(energies.transpose(1, 2))
        return maps


def _convolution(channels_in: int, channels_out: int, kernel_size: int, *, stride: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv1d(channels_in, channels_out, kernel_size, stride=stride, padding=kernel_size // 2, bias=False)
    return convolution, nn.BatchNorm1d(channels_out), nn.GELU()


class Teacher(nn.Module):
    """A transformer encoder, a linear classifier on c₁, and access to the attention of every layer.

    Args:
        encoder: a model of `transformers` with `encoder.layers[i].attention`, loaded with eager attention.
        classes: number of labels.
    """

    def __init__(self, encoder: nn.Module, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.classifier = nn.Linear(encoder.config.hidden_size, classes)  # type: ignore[union-attr, arg-type]

    def forward(self, waveforms: Tensor) -> Tensor:
        """Logits, shape (batch, classes), of waveforms of shape (batch, samples) in [-1, 1]."""
        logits: Tensor = self.classifier(self.encoder(waveforms).last_hidden_state[:, 0])
        return logits

    def attend(self, waveforms: Tensor) -> tuple[Tensor, Tensor]:
        """(attention, logits) in one pass, in evaluation mode (dropout would thin the maps) and without gradients.

        Returns:
            Attention rolled out over all layers as c₁ sees it, shape (batch, frames), rows summing to 1;
            logits of shape (batch, classes).

        Raises:
            TeacherError: the encoder gives no attention maps.
        """
        was_training = self.training
        self.eval()
        try:
            with torch.inference_mode(), self._attention_maps() as maps:
                logits = self(waveforms)
        finally:
            self.train(was_training)
        return rollout_first_row(maps), logits

    @contextmanager
    def _attention_maps(self) -> Iterator[list[Tensor]]:
        """A list that fills with one map a layer, (batch, heads, frames, frames), while the encoder runs.

        Hooks, because `output_attentions` gives None for some encoders of transformers 5.
        """
        maps: list[Tensor] = []

        def keep(_module: nn.Module, _inputs: Any, outputs: Any) -> None:
            weights = outputs[1] if isinstance(outputs, tuple) and len(outputs) > 1 else None
            if weights is None:
                raise TeacherError(
                    "the teacher gives no attention maps: load it with eager attention (attn_implementation='eager')"
                )
            maps.append(weights)

        handles = [layer.register_forward_hook(keep) for layer in _attention_layers(self.encoder)]
        try:
            yield maps
        finally:
            for handle in handles:
                handle.remove()


def build_teacher(config: TeacherConfig, classes: int) -> Teacher:
    """A teacher ready to be trained: from a checkpoint of `transformers`, or the small one from scratch.

    Raises:
        TeacherError: the checkpoint cannot be loaded or has no transformer layers with attention.
    """
    if not config.checkpoint:
        return Teacher(_small_encoder(config), classes)
    encoder = _load_encoder(config.checkpoint)
    if config.freeze_feature_encoder:
        for parameter in encoder.feature_extractor.parameters():  # type: ignore[union-attr]
            parameter.requires_grad_(False)
    return Teacher(encoder, classes)


def rebuild_teacher(config: TeacherConfig, encoder_config: dict[str, Any], classes: int) -> Teacher:
    """An untrained teacher of the same shape as one in a checkpoint, without reading its original folder."""
    if not config.checkpoint:
        return Teacher(_small_encoder(config), classes)
    from transformers import AutoConfig, AutoModel

    known = dict(encoder_config)
    model_type = known.pop("model_type")
    restored = AutoConfig.for_model(model_type, **known)
    return Teacher(AutoModel.from_config(restored, attn_implementation="eager"), classes)


def _small_encoder(config: TeacherConfig) -> nn.Module:
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    shape = Wav2Vec2Config(
        hidden_size=config.hidden,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=config.feed_forward,
        hidden_dropout=config.dropout,
        attention_dropout=0.0,  # on a processor its random numbers cost as much as the matrix products
        activation_dropout=0.0,
        feat_proj_dropout=0.0,
        layerdrop=0.0,  # a dropped layer would be missing from the rollout
        apply_spec_augment=False,
        mask_time_prob=0.0,
        mask_feature_prob=0.0,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=8,
        conv_dim=(config.hidden,),
        conv_kernel=(3,),
        conv_stride=(2,),
        attn_implementation="eager",
    )
    encoder = Wav2Vec2Model(shape)
    encoder.feature_extractor = LogMelStem(config.hidden)
    return encoder  # type: ignore[no-any-return]


def _load_encoder(checkpoint: str) -> nn.Module:
    from transformers import AutoModel

    if "/" not in checkpoint and not Path(checkpoint).exists():
        raise TeacherError(f"teacher.checkpoint: '{checkpoint}' is neither a folder nor a name like 'owner/model'")
    try:
        encoder = AutoModel.from_pretrained(checkpoint, attn_implementation="eager")
    except (OSError, ValueError) as cause:
        first_line = str(cause).strip().splitlines()[0]
        raise TeacherError(f"teacher.checkpoint: '{checkpoint}' cannot be loaded: {first_line}") from cause
    if not _attention_layers(encoder):
        raise TeacherError(f"teacher.checkpoint: '{checkpoint}' has no transformer layers with attention")
    encoder.config.apply_spec_augment = False
    encoder.config.layerdrop = 0.0
    return encoder  # type: ignore[no-any-return]


def _attention_layers(encoder: nn.Module) -> Sequence[nn.Module]:
    """The attention module of each transformer layer, first layer first; empty when there is none."""
    layers = getattr(getattr(encoder, "encoder", None), "layers", ())
    return [layer.attention for layer in layers if isinstance(getattr(layer, "attention", None), nn.Module)]
