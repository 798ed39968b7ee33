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
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from tkd.attention import layer_first_row, rollout_first_row
from tkd.audio.features import FEATURES, FrontEnd
from tkd.augment import mask_features
from tkd.errors import SettingsError, TeacherError

if TYPE_CHECKING:
    from collections.abc import Iterator

_STEM_FEATURES = "bcresnet"
_MASK_FRAMES = 8
_MASK_BANDS = 12
_POSITION_GROUPS = 8
_UNUSED_WEIGHTS = {"masked_spec_embed"}  # stands for masked frames, and none are masked here
# wav2vec 2.0's kernels and strides (arXiv 2006.11477, section 4.2), a frame every 20 ms, with 64 channels for its 512.
_RAW_STEM = {
    "conv_dim": (64,) * 7,
    "conv_kernel": (10, 3, 3, 3, 3, 2, 2),
    "conv_stride": (5, 2, 2, 2, 2, 2, 2),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherConfig:
    """What the teacher is made of.

    Attributes:
        checkpoint: a folder or name that `transformers` can load, for example `facebook/wav2vec2-large-xlsr-53`, or
            the `teacher.safetensors` of a run, whose training goes on; empty makes the small teacher from scratch, and
            the sizes below apply to it only.
        as_is: the `teacher.safetensors` in `checkpoint` teaches without further training.
        freeze_feature_encoder: keeps the waveform convolutions of a loaded checkpoint as they are.
        frozen_layers: of the transformer layers, that many from the first on are kept as they are too.
        stem: of the small teacher: `log-mel` energies in place of the waveform convolutions, which is ours and trains
            in minutes, or wav2vec 2.0's seven convolutions over the `waveform`, reduced to 64 channels.
        layers: transformer layers.
        hidden: width of a context vector.
        heads: attention heads a layer.
        feed_forward: width inside a layer.
        dropout: share of values dropped at the end of each layer's two halves in training.
    """

    checkpoint: str = ""
    as_is: bool = False
    freeze_feature_encoder: bool = True
    frozen_layers: int = 0
    stem: Literal["log-mel", "waveform"] = "log-mel"
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
        if not self.checkpoint and self.hidden % _POSITION_GROUPS:
            raise SettingsError(f"teacher.hidden: expected a multiple of {_POSITION_GROUPS}, saw {self.hidden}")
        if not 0 <= self.dropout < 1:
            raise SettingsError(f"teacher.dropout: expected a share in [0, 1), saw {self.dropout}")
        if self.frozen_layers < 0:
            raise SettingsError(f"teacher.frozen_layers: expected 0 or more, saw {self.frozen_layers}")
        if self.frozen_layers and not self.checkpoint:
            raise SettingsError("teacher.frozen_layers: a teacher from scratch learns all of them; leave it out")
        if self.as_is and not self.is_from_a_run:
            raise SettingsError(
                f"teacher.as_is: expected the teacher.safetensors of a run in teacher.checkpoint, "
                f"saw '{self.checkpoint}'"
            )

    @property
    def is_from_a_run(self) -> bool:
        """Whether the checkpoint is one of ours, and not of `transformers`."""
        return self.checkpoint.endswith(".safetensors")


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

    def frames(self, samples: int) -> int:
        """Frames of a clip; 0 where it is shorter than one window."""
        return (FEATURES[_STEM_FEATURES].frames(samples) + 3) // 4  # two strides of 2, each rounding up


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

    def attend(self, waveforms: Tensor, *, layer: int | None = None) -> tuple[Tensor, Tensor]:
        """(attention, logits) in one pass, in evaluation mode (dropout would thin the maps) and without gradients.

        Args:
            waveforms: shape (batch, samples) in [-1, 1].
            layer: takes the attention of this layer alone; None rolls it out over all.

        Returns:
            Attention as c₁ sees it, shape (batch, frames), rows summing to 1; logits of shape (batch, classes).

        Raises:
            TeacherError: the encoder gives no attention maps, has no such layer, or the clips are too short for it.
        """
        self.check_length(waveforms.shape[1])
        layers = len(_attention_layers(self.encoder))
        if layer is not None and not -layers <= layer < layers:
            raise TeacherError(f"the teacher has {layers} layers, {-layers} to {layers - 1}; saw layer {layer}")
        was_training = self.training
        self.eval()
        try:
            with torch.inference_mode(), self._attention_maps() as maps:
                logits = self(waveforms)
        finally:
            self.train(was_training)
        return (rollout_first_row(maps) if layer is None else layer_first_row(maps, layer)), logits

    def check_length(self, samples: int) -> None:
        """Nothing, for clips that the teacher can look around in.

        Raises:
            TeacherError: a clip is shorter than two frames of the teacher: its attention could say nothing of time.
        """
        frames = self.frames(samples)
        if frames < 2:
            raise TeacherError(
                f"clips of {samples} samples are too short for this teacher: it sees {max(frames, 0)} frames in them "
                "and needs at least 2; give longer clips, or another teacher"
            )

    def frames(self, samples: int) -> int:
        """Frames of a clip; below 1 where it is shorter than the receptive field of one."""
        feature_extractor = self.encoder.feature_extractor
        if isinstance(feature_extractor, LogMelStem):
            return feature_extractor.frames(samples)
        return int(self.encoder._get_feat_extract_output_lengths(samples))  # type: ignore[operator]

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
    teacher = Teacher(_load_encoder(config.checkpoint), classes)
    freeze(teacher, config)
    return teacher


def freeze(teacher: Teacher, config: TeacherConfig) -> None:
    """Excludes from training what the settings keep as it is.

    Raises:
        TeacherError: there are fewer layers than are to be frozen.
    """
    layers = _transformer_layers(teacher.encoder)
    if config.frozen_layers > len(layers):
        raise TeacherError(f"teacher.frozen_layers: {config.frozen_layers} of {len(layers)} layers; give fewer")
    frozen: list[nn.Module] = list(layers[: config.frozen_layers])
    if config.freeze_feature_encoder:
        frozen.append(teacher.encoder.feature_extractor)  # type: ignore[arg-type]
    for module in frozen:
        for parameter in module.parameters():
            parameter.requires_grad_(False)


def rebuild_teacher(stored: dict[str, Any], classes: int) -> Teacher:
    """An untrained teacher of the same shape as one in a checkpoint, without reading its original folder.

    Args:
        stored: what the checkpoint says of its teacher: the fields of `TeacherConfig`, and `encoder_config`.
        classes: number of labels.
    """
    known = dict(stored)
    encoder_config = known.pop("encoder_config")
    config = TeacherConfig(**known)
    if not config.checkpoint:
        return Teacher(_small_encoder(config), classes)
    from transformers import AutoConfig, AutoModel

    known = dict(encoder_config)
    model_type = known.pop("model_type")
    restored = AutoConfig.for_model(model_type, **known)
    return Teacher(AutoModel.from_config(restored, attn_implementation="eager"), classes)


def _small_encoder(config: TeacherConfig) -> nn.Module:
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    # The log-mel stem takes the place of the convolutions, of which only their channels are then asked.
    convolutions = _RAW_STEM if config.stem == "waveform" else {**_RAW_STEM, "conv_dim": (config.hidden,) * 7}
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
        num_conv_pos_embedding_groups=_POSITION_GROUPS,
        **convolutions,
        attn_implementation="eager",
    )
    encoder = Wav2Vec2Model(shape)
    if config.stem == "log-mel":
        encoder.feature_extractor = LogMelStem(config.hidden)
    return encoder  # type: ignore[no-any-return]


def _load_encoder(checkpoint: str) -> nn.Module:
    from transformers import AutoModel

    if "/" not in checkpoint and not Path(checkpoint).exists():
        raise TeacherError(f"teacher.checkpoint: '{checkpoint}' is neither a folder nor a name like 'owner/model'")
    try:
        encoder, seen = AutoModel.from_pretrained(
            checkpoint, attn_implementation="eager", dtype=torch.float32, output_loading_info=True
        )
    except Exception as cause:  # what a damaged folder raises depends on the part that is damaged
        first_line = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        raise TeacherError(f"teacher.checkpoint: '{checkpoint}' cannot be loaded: {first_line}") from cause
    missing = sorted(set(seen["missing_keys"]) - _UNUSED_WEIGHTS)
    if missing:  # chance would fill them, and what is frozen would stay so
        raise TeacherError(
            f"teacher.checkpoint: '{checkpoint}' lacks {len(missing)} of the weights that its config.json asks for, "
            f"such as {missing[0]}"
        )
    if not _attention_layers(encoder):
        raise TeacherError(f"teacher.checkpoint: '{checkpoint}' has no transformer layers with attention")
    encoder.config.apply_spec_augment = False
    encoder.config.layerdrop = 0.0
    return encoder  # type: ignore[no-any-return]


def _attention_layers(encoder: nn.Module) -> Sequence[nn.Module]:
    """The attention module of each transformer layer, first layer first; empty when there is none."""
    layers = _transformer_layers(encoder)
    return [layer.attention for layer in layers if isinstance(getattr(layer, "attention", None), nn.Module)]  # type: ignore[misc]


def _transformer_layers(encoder: nn.Module) -> Sequence[nn.Module]:
    return list(getattr(getattr(encoder, "encoder", None), "layers", ()))
