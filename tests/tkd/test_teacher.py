from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import HubertConfig, HubertModel, Wav2Vec2Config, Wav2Vec2Model

from tkd.errors import SettingsError, TeacherError
from tkd.teacher import Teacher, TeacherConfig, build_teacher, rebuild_teacher

SMALL = TeacherConfig(layers=2, hidden=32, heads=2, feed_forward=64)
TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "conv_dim": (16, 16),
    "conv_kernel": (10, 8),
    "conv_stride": (40, 8),
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
    "num_feat_extract_layers": 2,
}


def saved(tmp_path: Path, kind: str) -> str:
    """A randomly initialised encoder in the layout that `transformers` saves pretrained ones in."""
    encoder = Wav2Vec2Model(Wav2Vec2Config(**TINY)) if kind == "wav2vec2" else HubertModel(HubertConfig(**TINY))
    encoder.save_pretrained(tmp_path / kind)
    return str(tmp_path / kind)


def test_the_small_teacher_attends_in_steps_of_40_ms() -> None:
    attention, logits = build_teacher(SMALL, 12).attend(torch.randn(3, 16_000))
    assert (attention.shape, logits.shape) == ((3, 26), (3, 12))
    assert torch.allclose(attention.sum(dim=1), torch.ones(3), atol=1e-5)


def test_attention_is_the_same_whether_the_teacher_was_in_training_or_not() -> None:
    teacher = build_teacher(SMALL, 12)
    clips = torch.randn(2, 16_000)
    in_training, _ = teacher.train().attend(clips)
    at_rest, _ = teacher.eval().attend(clips)
    assert torch.equal(in_training, at_rest)


def test_the_classifier_reads_the_first_context_vector_only() -> None:
    teacher = build_teacher(SMALL, 12).eval()
    clips = torch.randn(2, 16_000)
    first = teacher.encoder(clips).last_hidden_state[:, 0]
    assert torch.allclose(teacher(clips), teacher.classifier(first))


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert"])
def test_a_checkpoint_folder_of_transformers_loads_through_the_same_code(tmp_path: Path, kind: str) -> None:
    teacher = build_teacher(TeacherConfig(checkpoint=saved(tmp_path, kind)), 12)
    attention, logits = teacher.attend(torch.randn(2, 16_000))
    assert logits.shape == (2, 12)
    assert torch.allclose(attention.sum(dim=1), torch.ones(2), atol=1e-5)


def test_the_feature_encoder_of_a_checkpoint_is_frozen_unless_told_otherwise(tmp_path: Path) -> None:
    folder = saved(tmp_path, "wav2vec2")
    frozen = build_teacher(TeacherConfig(checkpoint=folder), 12)
    free = build_teacher(TeacherConfig(checkpoint=folder, freeze_feature_encoder=False), 12)
    assert not any(p.requires_grad for p in frozen.encoder.feature_extractor.parameters())
    assert all(p.requires_grad for p in free.encoder.feature_extractor.parameters())


def test_a_teacher_is_rebuilt_without_its_original_folder(tmp_path: Path) -> None:
    config = TeacherConfig(checkpoint=saved(tmp_path, "wav2vec2"))
    teacher = build_teacher(config, 12).eval()
    rebuilt = rebuild_teacher(config, teacher.encoder.config.to_dict(), 12).eval()
    rebuilt.load_state_dict(teacher.state_dict())
    clips = torch.randn(2, 16_000)
    assert torch.equal(rebuilt.attend(clips)[0], teacher.attend(clips)[0])


def test_a_teacher_without_attention_maps_is_refused() -> None:
    encoder = Wav2Vec2Model(Wav2Vec2Config(**TINY, attn_implementation="sdpa"))
    with pytest.raises(TeacherError, match="gives no attention maps: load it with eager attention"):
        Teacher(encoder, 12).attend(torch.randn(1, 16_000))


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [("nowhere", "is neither a folder nor a name like 'owner/model'"), ("{folder}", "cannot be loaded")],
)
def test_a_checkpoint_that_cannot_be_loaded_is_named(tmp_path: Path, checkpoint: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(TeacherError) as caught:
        build_teacher(TeacherConfig(checkpoint=checkpoint.format(folder=tmp_path / "empty")), 12)
    assert message in str(caught.value)


def test_a_model_without_transformer_layers_is_refused(tmp_path: Path) -> None:
    class Plain(nn.Module):
        pass

    from tkd.teacher import _attention_layers

    assert _attention_layers(Plain()) == []


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"hidden \(30\) a multiple of heads \(4\)"):
        TeacherConfig(hidden=30)
