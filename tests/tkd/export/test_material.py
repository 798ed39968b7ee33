from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tkd.conftest import silent
from tkd.audio.features import FEATURES
from tkd.checkpoint import CheckpointSpec, read_checkpoint
from tkd.data.speech_commands import TWELVE_LABELS
from tkd.errors import DataError
from tkd.export.material import Amounts, Material, find_data, load_material, stratified


def loaded(trained_run: Path, spoken_corpus: Path) -> Material:
    spec = read_checkpoint(trained_run / "student.safetensors").spec
    return load_material(spoken_corpus, spec, FEATURES["tcresnet-paper"], Amounts(calibration=36, pack=24), silent)


@settings(max_examples=60, deadline=None)
@given(labels=st.lists(st.integers(0, 4), min_size=1, max_size=60), wanted=st.integers(1, 80), seed=st.integers(0, 9))
def test_a_stratified_sample_is_as_even_as_the_classes_allow(labels: list[int], wanted: int, seed: int) -> None:
    places = stratified(labels, wanted, seed)
    assert len(places) == min(wanted, len(labels)) == len(set(places))
    assert list(places) == sorted(places)
    taken, there = Counter(labels[place] for place in places), Counter(labels)
    fullest = max(taken.values())
    assert all(taken[label] >= min(there[label], fullest - 1) for label in there)


def test_a_sample_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    labels = [0, 1, 2] * 40
    assert stratified(labels, 30, 1) == stratified(labels, 30, 1)
    assert stratified(labels, 30, 1) != stratified(labels, 30, 2)


def test_calibration_comes_from_training_speakers_and_the_pack_from_others(
    trained_run: Path, spoken_corpus: Path
) -> None:
    material = loaded(trained_run, spoken_corpus)
    pack = material.test.at(material.pack)
    speakers = [
        {name.split("/")[1].split("_")[0] for name in ids if not name.startswith("_background_noise_")}
        for ids in (material.calibration.ids, pack.ids)
    ]
    assert not speakers[0] & speakers[1]
    assert (len(material.calibration.ids), len(pack.ids)) == (36, 24)
    assert material.calibration.inputs.shape == (36, 98, 40)


def test_the_calibration_record_names_its_clips_and_says_synthetic(trained_run: Path, spoken_corpus: Path) -> None:
    record = loaded(trained_run, spoken_corpus).calibration_record()
    assert (record["synthetic"], record["split"], record["clips"], len(record["clip_ids"])) == (True, "train", 36, 36)


def test_scaled_material_remembers_what_it_was_divided_by(trained_run: Path, spoken_corpus: Path) -> None:
    material = loaded(trained_run, spoken_corpus)
    scale = torch.linspace(1, 4, 40)
    scaled = material.scaled(scale)
    assert torch.allclose(scaled.test.inputs * scale, material.test.inputs, atol=1e-4)
    assert torch.equal(scaled.channel_scale, scale)


def test_a_folder_that_was_told_wins_over_the_checkpoints(tmp_path: Path) -> None:
    spec = CheckpointSpec(kind="student", name="x", labels=TWELVE_LABELS, data={"folder": str(tmp_path)})
    assert find_data(spec, tmp_path / "told", silent) == tmp_path / "told"
    assert find_data(spec, None, silent) == tmp_path


def test_recorded_speech_that_is_not_there_has_to_be_named(tmp_path: Path) -> None:
    data = {"folder": str(tmp_path / "gone"), "synthetic": False}
    spec = CheckpointSpec(kind="student", name="x", labels=TWELVE_LABELS, data=data)
    with pytest.raises(DataError, match="which is not there; give the folder of the data set with --data"):
        find_data(spec, None, silent)


def test_synthetic_speech_that_is_not_there_is_spoken_again_into_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("tkd.export.material._SPOKEN_CLIPS", 500)
    data = {"folder": str(tmp_path / "gone"), "synthetic": True, "recipe": {"settings": {"seed": 4}}}
    spec = CheckpointSpec(kind="student", name="x", labels=TWELVE_LABELS, data=data)
    folder = find_data(spec, None, silent)
    made_at = (folder / "synthetic.json").stat().st_mtime_ns
    assert folder.parent == tmp_path / "cache" / "tkd"
    assert find_data(spec, None, silent) == folder
    assert (folder / "synthetic.json").stat().st_mtime_ns == made_at
