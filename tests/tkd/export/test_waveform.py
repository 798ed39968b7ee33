"""Waveform in, label out: the front end in the file, the same answers as with the front end outside."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from android_bench.device import HostDevice
from android_bench.measure import measure
from android_bench.records import RunPlan
from converters.errors import ConversionError, GateFailedError
from converters.metadata import read_metadata
from converters.parity import ParityGates
from converters.pipeline import ConversionRequest, convert
from converters.runners import run_tflite
from tests.tkd.conftest import silent
from tkd.audio.features import FEATURES, FeatureConfig, FrontEnd
from tkd.audio.graph_front_end import GraphFrontEnd
from tkd.checkpoint import STARTERS, load_student, read_checkpoint
from tkd.errors import SettingsError
from tkd.evaluate import predict
from tkd.export.bundles import Export, Gates, Wanted, export_student
from tkd.export.choose import Choice
from tkd.export.feeding import feeding_of
from tkd.export.material import Amounts, Material, load_material
from tkd.scoring.clips import choose_clips, logits_of
from tkd.scoring.models import AudioInput, open_model

LOOSE = Gates(parity=ParityGates(int8_sqnr_db=15.0, int8_top1_agreement=0.0), max_accuracy_drop=100.0)
WAVEFORM = Wanted(precisions=("int8",), input="waveform")


@pytest.fixture(scope="module")
def choice(trained_run: Path) -> Choice:
    return Choice(checkpoint=read_checkpoint(trained_run / "student.safetensors"), reason="as told")


@pytest.fixture(scope="module")
def material(choice: Choice, spoken_corpus: Path) -> Material:
    amounts = Amounts(calibration=48, pack=24)
    return load_material(spoken_corpus, choice.checkpoint.spec, FEATURES["tcresnet-paper"], amounts, silent)


@pytest.fixture(scope="module")
def export(choice: Choice, material: Material, tmp_path_factory: pytest.TempPathFactory) -> Export:
    return export_student(choice, material, LOOSE, tmp_path_factory.mktemp("exports"), WAVEFORM)


def test_both_bundles_take_one_second_of_audio_and_say_so(export: Export) -> None:
    assert [bundle.name for bundle in export.bundles] == ["tcresnet8-waveform-float32", "tcresnet8-waveform-int8"]
    for bundle in export.bundles:
        assert (bundle.inputs[0].name, bundle.inputs[0].shape, bundle.inputs[0].dtype) == (
            "waveform", (1, 16_000), "float32",
        )  # fmt: skip
        front_end = bundle.document["front_end"]
        assert (front_end["in_graph"], front_end["n_mfcc"]) == (True, 40)
        assert front_end["input"] == {
            "sample_rate_hz": 16_000, "samples": 16_000, "channels": 1, "full_scale": 1.0, "from_int16": 1 / 32_768,
        }  # fmt: skip
    assert export.bundles[1].outputs[0].dtype == "int8"


def test_the_logits_are_those_of_the_front_end_outside(export: Export, choice: Choice, material: Material) -> None:
    pack = material.test.at(material.pack)
    expected = predict(load_student(choice.checkpoint), pack.inputs)
    waveforms = pack.waveforms.astype(np.float32) / 32_768

    seen = run_tflite(export.bundles[0].model, waveforms)

    assert np.abs(seen - expected).max() < 1e-4 * max(1.0, np.abs(expected).max())
    float32, int8 = export.against_outside
    assert (float32.stage, int8.stage) == ("front end outside → float32", "front end outside → int8")
    assert float32.max_abs_error == pytest.approx(np.abs(seen - expected).max(), rel=1e-3)
    recorded = export.bundles[1].document["parity"]["against_front_end_outside"]
    assert [each["sqnr_db"] for each in recorded] == [float32.sqnr_db, int8.sqnr_db]


def test_golden_inputs_and_pack_are_waveforms(export: Export, material: Material) -> None:
    bundle = export.bundles[1]
    golden_input, golden_output = bundle.golden()
    assert golden_input.shape == (4, 16_000)
    assert np.array_equal(bundle.outputs[0].quantize(run_tflite(bundle.model, golden_input)), golden_output)
    pack = bundle.evaluation()
    assert np.array_equal(np.rint(pack.inputs * 32_768), material.test.at(material.pack).waveforms)


def test_the_file_alone_says_what_audio_it_takes(export: Export) -> None:
    seen = read_metadata(export.bundles[1].model)
    assert seen is not None
    assert seen.input["dimension_names"] == ["batch", "samples"]
    assert seen.input["description"] == "mono audio at 16000 Hz: 16-bit samples divided by 32768"
    assert seen.input["content"] == {
        "content_properties_type": 4, "content_properties": {"sample_rate": 16_000, "channels": 1},
    }  # fmt: skip
    assert seen.channel_scale == ()
    assert seen.documents["front_end.json"] == export.bundles[1].document["front_end"]


def test_the_report_says_where_the_front_end_is(export: Export) -> None:
    report = (export.bundles[1].folder / "report.md").read_text(encoding="utf-8")
    assert "the front end is in the graph, in float32" in report
    assert "- front end outside → int8: largest error" in report


def test_a_file_with_another_front_end_breaks_the_gate(choice: Choice, material: Material, tmp_path: Path) -> None:
    # Features of other clips than the waveforms': what a front end that is not the student's would give.
    other = replace(material, test=replace(material.test, inputs=material.test.inputs.flip(0)))
    with pytest.raises(GateFailedError, match="front end outside → float32"):
        export_student(choice, other, LOOSE, tmp_path / "exports", Wanted(input="waveform"))
    assert not (tmp_path / "exports").exists()


def test_a_front_end_for_another_rate_than_the_clips_is_refused(material: Material) -> None:
    config = replace(FEATURES["tcresnet-paper"], sample_rate_hz=8_000, mel_high_hz=3_800)
    with pytest.raises(SettingsError, match="for 8000 Hz and the clips have 16000 Hz; export with --input features"):
        feeding_of("waveform", config, material)


def test_the_bench_proves_and_scores_it_on_this_computer(export: Export, material: Material) -> None:
    plan = RunPlan(blocks=1, warmup_ms=1, min_timed_ms=1, min_runs=1)
    session = measure("host", HostDevice(), list(export.bundles), plan)
    for measurement, bundle in zip(session.measurements, export.bundles, strict=True):
        assert measurement.failure is None
        right = sum(measurement.predictions.right)  # type: ignore[union-attr]
        assert right == bundle.document["accuracy"]["evaluation_pack"][bundle.precision]["correct"]


def test_it_is_scored_on_any_data_of_its_length(export: Export, choice: Choice, spoken_corpus: Path) -> None:
    models = [open_model(choice.checkpoint.path), open_model(export.bundles[0].folder)]
    clips = choose_clips(models, spoken_corpus, "validation", None, silent)
    outside, inside = logits_of(models, clips, silent)
    assert np.abs(outside - inside).max() < 1e-4 * max(1.0, np.abs(outside).max())


@pytest.mark.parametrize(
    "audio", [AudioInput(samples=8_000, sample_rate_hz=8_000), AudioInput(samples=32_000, sample_rate_hz=16_000)]
)
def test_data_of_another_rate_or_length_are_refused(export: Export, spoken_corpus: Path, audio: AudioInput) -> None:
    model = replace(open_model(export.bundles[0].folder), audio=audio)
    clips = choose_clips([model], spoken_corpus, "validation", None, silent)
    with pytest.raises(SettingsError, match=f"takes clips of {audio}; the data set's have 16000 samples at 16000 Hz"):
        logits_of([model], clips, silent)


def test_a_waveform_longer_than_the_model_is_refused_by_the_file_itself(export: Export) -> None:
    with pytest.raises(ConversionError, match=r"16001|\(1, 16000\)"):
        run_tflite(export.bundles[0].model, np.zeros((1, 16_001), np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(STARTERS.glob("*.safetensors")), ids=lambda path: path.stem)
def test_every_starter_gives_the_same_logits_with_its_front_end_inside(path: Path) -> None:
    checkpoint = read_checkpoint(path)
    student, config = load_student(checkpoint), FeatureConfig.from_dict(checkpoint.spec.features)
    rng = np.random.default_rng(0)
    time_s = np.arange(16_000) / 16_000
    tones = [np.sin(2 * np.pi * pitch * time_s * (1 + time_s)) * np.hanning(16_000) for pitch in (90, 210, 1_300)]
    clips = np.float32(0.2 * np.array(tones) + 0.002 * rng.standard_normal((3, 16_000)))
    expected = predict(student, FrontEnd(config)(torch.from_numpy(clips)))

    made = convert(ConversionRequest(module=student, front=GraphFrontEnd(config, 16_000), example=clips[:1]))

    assert np.abs(run_tflite(made.float32.content, clips) - expected).max() < 1e-4 * max(1.0, np.abs(expected).max())
