from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import HubertConfig, HubertModel, Wav2Vec2Config, Wav2Vec2Model

from tkd.errors import SettingsError, TeacherError
from tkd.settings import to_table
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
    rebuilt = rebuild_teacher({**to_table(config), "encoder_config": teacher.encoder.config.to_dict()}, 12).eval()
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


@pytest.mark.parametrize("damage", ["weights", "settings"])
def test_a_checkpoint_folder_that_is_damaged_is_named(tmp_path: Path, damage: str) -> None:
    folder = Path(saved(tmp_path, "wav2vec2"))
    if damage == "weights":
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
    else:
        text = (folder / "config.json").read_text()
        (folder / "config.json").write_text(text.replace('"hidden_size": 32', '"hidden_size": "many"'))
    with pytest.raises(TeacherError, match="cannot be loaded: "):
        build_teacher(TeacherConfig(checkpoint=str(folder)), 12)


@pytest.mark.parametrize(("name", "is_refused"), [("layers.1.attention.k_proj.weight", True), ("masked_spec", False)])
def test_weights_that_a_checkpoint_lacks_are_not_left_to_chance(tmp_path: Path, name: str, is_refused: bool) -> None:
    weights = Path(saved(tmp_path, "wav2vec2")) / "model.safetensors"
    save_file({key: value for key, value in load_file(weights).items() if name not in key}, weights, {"format": "pt"})
    config = TeacherConfig(checkpoint=str(weights.parent))
    if is_refused:
        with pytest.raises(TeacherError, match=r"lacks 1 of the weights .* such as encoder.layers.1.attention.k_proj"):
            build_teacher(config, 12)
    else:
        build_teacher(config, 12)


def test_a_checkpoint_in_half_precision_is_read_as_float32(tmp_path: Path) -> None:
    Wav2Vec2Model(Wav2Vec2Config(**TINY)).half().save_pretrained(tmp_path / "half")
    teacher = build_teacher(TeacherConfig(checkpoint=str(tmp_path / "half")), 12)
    assert {each.dtype for each in teacher.parameters()} == {torch.float32}
    assert teacher.attend(torch.randn(1, 16_000))[1].shape == (1, 12)


def test_a_model_without_transformer_layers_is_refused(tmp_path: Path) -> None:
    class Plain(nn.Module):
        pass

    from tkd.teacher import _attention_layers

    assert _attention_layers(Plain()) == []


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"hidden \(30\) a multiple of heads \(4\)"):
        TeacherConfig(hidden=30)


def test_a_single_layer_is_the_first_row_of_its_map_and_the_rollout_is_another() -> None:
    teacher = build_teacher(SMALL, 12).eval()
    clips = torch.randn(2, 16_000)
    with torch.no_grad(), teacher._attention_maps() as maps:
        teacher(clips)
    assert torch.allclose(teacher.attend(clips, layer=1)[0], maps[1].mean(dim=1)[:, 0])
    assert torch.equal(teacher.attend(clips, layer=-1)[0], teacher.attend(clips, layer=1)[0])
    assert not torch.allclose(teacher.attend(clips)[0], teacher.attend(clips, layer=1)[0])


@pytest.mark.parametrize("layer", [2, -3])
def test_a_layer_that_is_not_there_is_named(layer: int) -> None:
    with pytest.raises(TeacherError, match=f"the teacher has 2 layers, -2 to 1; saw layer {layer}"):
        build_teacher(SMALL, 12).attend(torch.randn(1, 16_000), layer=layer)


def test_the_waveform_stem_steps_by_20_ms_as_wav2vec_does() -> None:
    teacher = build_teacher(TeacherConfig(layers=1, hidden=32, heads=2, feed_forward=64, stem="waveform"), 12)
    assert teacher.frames(16_000) == 49
    attention, logits = teacher.attend(torch.randn(2, 16_000))
    assert (attention.shape, logits.shape) == ((2, 49), (2, 12))


@pytest.mark.parametrize(("stem", "samples"), [("log-mel", 500), ("waveform", 399), ("waveform", 400)])
def test_a_clip_shorter_than_two_frames_is_refused(stem: str, samples: int) -> None:
    teacher = build_teacher(TeacherConfig(layers=1, hidden=32, heads=2, feed_forward=64, stem=stem), 12)
    with pytest.raises(TeacherError, match=f"clips of {samples} samples are too short for this teacher: it sees [01]"):
        teacher.attend(torch.randn(1, samples))


@pytest.mark.parametrize("samples", [16_000, 15_999, 12_345])
@pytest.mark.parametrize("stem", ["log-mel", "waveform"])
def test_the_number_of_frames_is_known_beforehand(stem: str, samples: int) -> None:
    teacher = build_teacher(TeacherConfig(layers=1, hidden=32, heads=2, feed_forward=64, stem=stem), 12)
    assert teacher.attend(torch.randn(1, samples))[0].shape[1] == teacher.frames(samples)


def test_transformer_layers_can_be_kept_as_they_are(tmp_path: Path) -> None:
    folder = saved(tmp_path, "hubert")
    teacher = build_teacher(TeacherConfig(checkpoint=folder, frozen_layers=1), 12)
    first, second = teacher.encoder.encoder.layers
    assert not any(p.requires_grad for p in first.parameters())
    assert all(p.requires_grad for p in second.parameters())
    with pytest.raises(TeacherError, match="3 of 2 layers; give fewer"):
        build_teacher(TeacherConfig(checkpoint=folder, frozen_layers=3), 12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"as_is": True}, "expected the teacher.safetensors of a run in teacher.checkpoint, saw ''"),
        ({"as_is": True, "checkpoint": "owner/model"}, "saw 'owner/model'"),
        ({"frozen_layers": -1}, "frozen_layers: expected 0 or more"),
        ({"frozen_layers": 1}, "a teacher from scratch learns all of them"),
        ({"hidden": 36}, "teacher.hidden: expected a multiple of 8, saw 36"),
        ({"dropout": 1.0}, r"teacher.dropout: expected a share in \[0, 1\), saw 1.0"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        TeacherConfig(**settings)
