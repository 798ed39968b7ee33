import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.bundle_contents import EvaluationPack
from tests.tkd.scoring.conftest import Exported, silent
from tkd.audio.features import FEATURES
from tkd.data.speech_commands import TWELVE_LABELS
from tkd.errors import DataError, SettingsError
from tkd.scoring.clips import choose_clips, logits_of
from tkd.scoring.models import AudioInput, Model, open_model


def _model(**changes: Any) -> Model:
    values: dict[str, Any] = {
        "name": "mine", "path": Path("mine"), "sha256": "", "parent_sha256": "", "runtime": "LiteRT", "precision": "",
        "labels": TWELVE_LABELS, "features": FEATURES["tcresnet-paper"], "channel_scale": None,
        "run": lambda inputs: np.zeros((len(inputs), 12), np.float32), "trained_on": {}, "trained_on_synthetic": None,
    } | changes  # fmt: skip
    return Model(**values)


def _pack(ids: tuple[str, ...] = ("yes/a_nohash_0.wav", "_background_noise_/rain.wav@3")) -> EvaluationPack:
    return EvaluationPack(inputs=np.zeros((2, 98, 40), np.float32), labels=np.array([2, 0]), ids=ids)


def test_silence_has_no_speaker_and_each_clip_of_it_is_a_group_of_its_own(small_corpus: Path) -> None:
    clips = choose_clips([_model()], small_corpus, None, None, silent)

    silence = [place for place, label in enumerate(clips.labels) if label == 0]
    assert (clips.people, clips.silent, len(clips.ids)) == (1, len(silence), 12)
    assert [clips.speakers[place] for place in silence] == [clips.ids[place] for place in silence]
    assert set(clips.speakers) - {clips.ids[place] for place in silence} == {"00000005"}


def test_a_pack_names_its_speakers_in_its_ids() -> None:
    clips = choose_clips([_model(pack=_pack(), trained_on={"silence": "zeros"})], None, None, None, silent)
    assert clips.speakers == ("a", "_background_noise_/rain.wav@3")
    assert (clips.people, clips.silent, clips.source, clips.protocol["silence"]) == (1, 1, "evaluation pack", "zeros")


@pytest.mark.parametrize(("told", "trained", "expected"), [
    (None, {}, "noise"), (None, {"silence": "zeros"}, "zeros"), ("noise", {"silence": "zeros"}, "noise"),
])  # fmt: skip
def test_the_silence_protocol_is_the_told_one_or_that_of_the_training(
    told: Any, trained: dict[str, Any], expected: str, small_corpus: Path
) -> None:
    clips = choose_clips([_model(trained_on=trained)], small_corpus, "test", told, silent)
    assert clips.protocol["silence"] == expected
    assert clips.ids[-1].startswith("_silence_/zeros" if expected == "zeros" else "_background_noise_")


def test_a_checkpoint_is_scored_on_its_own_data_and_so_are_the_bundles_beside_it(exported: Exported) -> None:
    models = [open_model(exported.int8), open_model(exported.checkpoint)]
    clips = choose_clips(models, None, None, None, silent)
    assert (clips.source, clips.protocol["folder"]) == ("data set", str(exported.corpus))


def test_a_label_that_the_data_set_lacks_is_named(small_corpus: Path) -> None:
    with pytest.raises(DataError, match="class 'tortoise' has no clips in split 'test'"):
        choose_clips([_model(labels=("yes", "tortoise"))], small_corpus, None, None, silent)


def test_an_empty_split_is_refused(small_corpus: Path) -> None:
    (small_corpus / "testing_list.txt").write_text("")
    with pytest.raises(DataError, match="class 'yes' has no clips in split 'test'"):
        choose_clips([_model()], small_corpus, None, None, silent)


def test_models_of_other_labels_cannot_be_compared(small_corpus: Path) -> None:
    for labels, message in ((("yes", "cat"), "differ in"), (TWELVE_LABELS[::-1], "have them in another order")):
        with pytest.raises(SettingsError, match=f"have different labels \\({message}"):
            choose_clips([_model(), _model(labels=labels)], small_corpus, None, None, silent)


def test_packs_of_other_clips_cannot_be_compared() -> None:
    other = _pack(("yes/b_nohash_0.wav", "_background_noise_/rain.wav@3"))
    with pytest.raises(SettingsError, match="hold different clips, so their scores cannot be compared"):
        choose_clips([_model(pack=_pack()), _model(pack=other)], None, None, None, silent)


def test_a_model_without_pack_or_data_says_what_it_needs() -> None:
    with pytest.raises(SettingsError, match="has no evaluation pack; name a data set with --data"):
        choose_clips([_model(pack=_pack()), _model()], None, None, None, silent)


@pytest.mark.parametrize(("split", "silence"), [("train", None), (None, "zeros")])
def test_a_pack_cannot_be_of_another_split_or_protocol(split: str | None, silence: Any) -> None:
    with pytest.raises(SettingsError, match="an evaluation pack is fixed and of the test split"):
        choose_clips([_model(pack=_pack())], None, split, silence, silent)


def test_a_pack_of_several_labels_keeps_them_and_each_clip_is_a_group_of_its_own() -> None:
    several = np.eye(2, 12, dtype=np.float32)
    clips = choose_clips([_model(pack=dataclasses.replace(_pack(), labels=several))], None, None, None, silent)
    assert clips.is_multi_label
    assert (clips.labels == several).all()
    assert clips.speakers == clips.ids


def test_a_front_end_inside_the_graph_is_scored_on_its_pack_and_on_audio_of_its_length(small_corpus: Path) -> None:
    model = _model(features=None, pack=_pack(), audio=AudioInput(samples=16_000, sample_rate_hz=16_000))

    (on_pack,) = logits_of([model], choose_clips([model], None, None, None, silent), silent)
    (on_data,) = logits_of([model], choose_clips([model], small_corpus, None, None, silent), silent)

    assert (on_pack.shape, on_data.shape) == ((2, 12), (12, 12))


def test_each_front_end_is_computed_once_and_each_model_gets_its_own_scale(
    small_corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []

    def run(inputs: np.ndarray) -> np.ndarray:
        seen.append(inputs)
        return np.zeros((len(inputs), 12), np.float32)

    scale = np.linspace(1, 2, 40, dtype=np.float32)
    models = [_model(run=run), _model(run=run, channel_scale=scale)]
    logits_of(models, choose_clips(models, small_corpus, None, None, silent), silent)

    assert (seen[1] == seen[0] / scale).all()
