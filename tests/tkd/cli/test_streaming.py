"""From a checkpoint to a stream on disk, to alarms in minutes of sound: the commands, and what they refuse."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from converters.stream_bundle import read_stream_bundle
from converters.stream_runners import TfliteStream
from tests.tkd.scoring.conftest import student_spec
from tkd.audio.features import FEATURES
from tkd.audio.wav import write_wav
from tkd.checkpoint import write_checkpoint
from tkd.cli.data import main as data_main
from tkd.cli.evaluate import main as evaluate_main
from tkd.cli.export import main as export_main
from tkd.scoring.listening import features_of_recording, open_listener
from tkd.students import build_student
from tkd.students.streaming import hops_of_audio, hops_of_clips

LOOSE = ["--min-sqnr-db", "0", "--min-agreement", "0", "--max-accuracy-drop", "100"]


@dataclass(frozen=True)
class Streamed:
    """An untrained causal student, its streams, and half a minute of sound; read only."""

    checkpoint: Path
    exports: Path
    sound: Path
    document: dict


def checkpoint_of(folder: Path, corpus: Path, name: str, features: str = "tcresnet-paper") -> Path:
    torch.manual_seed(0)
    spec = student_spec(
        name=name,
        features=FEATURES[features].to_dict(),
        data={"folder": str(corpus), "name": "noise", "synthetic": False, "silence": "noise"},
    )
    student = build_student(name, FEATURES[features].channels, len(spec.labels))
    write_checkpoint(folder / f"{name}.safetensors", spec, student.state_dict())
    return folder / f"{name}.safetensors"


@pytest.fixture(scope="module")
def streamed(spoken_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Streamed:
    folder = tmp_path_factory.mktemp("streamed")
    path = checkpoint_of(folder, spoken_corpus, "tcresnet8-causal")
    exports, out = folder / "exports", folder / "export.json"
    words = ["--checkpoint", str(path), "--streaming", "--int8", "--output", str(exports), "--json", str(out), *LOOSE]
    sound = folder / "sound"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        assert export_main([*words, "--quiet", "--calibration-clips", "60", "--evaluation-clips", "30"]) == 0
        assert data_main(["stream", "--data", str(spoken_corpus), "--out", str(sound), "--minutes", "0.5"]) == 0
    return Streamed(path, exports, sound, json.loads(out.read_text()))


def test_a_student_becomes_streams_that_a_listener_hears_with(
    streamed: Streamed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [streamed.exports / f"tcresnet8-causal-stream-{each}" for each in ("float32", "int8")]
    bundles = [read_stream_bundle(folder) for folder in folders]
    for bundle in bundles:
        hops, expected = bundle.golden()
        stream = TfliteStream(bundle.model)
        assert np.array_equal(expected, np.concatenate([stream.step(hops[i : i + 1]) for i in range(len(hops))]))
        assert len(hops) * bundle.hop.milliseconds == pytest.approx(3000, abs=bundle.hop.milliseconds)
    assert ("int8", "int8") == (bundles[1].input.dtype, bundles[1].states[3].past.dtype)
    assert streamed.document["hop"] == {"frames": 8, "smallest_frames": 8, "milliseconds": 80.0}
    assert streamed.document["macs"]["of_a_hop"] * 12 < 1.05 * streamed.document["macs"]["of_a_whole_clip"]

    capsys.readouterr()
    words = [*map(str, folders), str(streamed.checkpoint), "--stream", str(streamed.sound)]
    assert evaluate_main([*words, "--json", "-", "--output", str(tmp_path / "scores")]) == 0
    document = json.loads(capsys.readouterr().out)
    assert ["LiteRT", "LiteRT", "PyTorch"] == [each["runtime"] for each in document["models"]]
    assert {374} == {each["hops"] for each in document["models"]}
    assert (tmp_path / "scores" / "det.png").read_bytes().startswith(b"\x89PNG")
    float32, _, torch_model = document["models"]
    assert float32["det"] == torch_model["det"]


def test_hops_of_a_bundle_give_what_the_checkpoint_gives_on_the_same_sound(streamed: Streamed) -> None:
    bundle = open_listener(streamed.exports / "tcresnet8-causal-stream-float32")
    plain = open_listener(streamed.checkpoint)
    features = np.random.default_rng(0).standard_normal((1000 // 8, 8, 40)).astype(np.float32)
    expected = plain.listen(features)
    seen = bundle.listen(features / bundle.channel_scale)
    assert np.abs(seen - expected).max() < 1e-4 * np.abs(expected).max()


def test_audio_in_gives_what_features_in_give_and_hears_a_stream(
    streamed: Streamed, spoken_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--checkpoint", str(streamed.checkpoint), "--streaming", "--int8", "--input", "waveform"]
    clips = ["--calibration-clips", "60", "--evaluation-clips", "30", "--data", str(spoken_corpus)]
    assert export_main([*words, *clips, "--output", str(tmp_path / "exports"), *LOOSE, "--quiet"]) == 0
    folders = [tmp_path / "exports" / f"tcresnet8-causal-waveform-stream-{each}" for each in ("float32", "int8")]
    bundle = read_stream_bundle(folders[0])
    assert ((1, 1280), "float32") == (bundle.input.shape, read_stream_bundle(folders[1]).input.dtype)
    assert {state.name: state.past.shape for state in bundle.states}["audio"] == (1, 320)
    assert bundle.document["front_end"]["input"]["samples"] == 1280

    samples = np.random.default_rng(0).integers(-9000, 9000, 40 * 1280).astype(np.int16)
    plain = open_listener(streamed.checkpoint)
    behind_silence = np.concatenate([np.zeros(320, np.int16), samples])
    expected = plain.listen(hops_of_clips(features_of_recording(behind_silence, plain.features)[None], 8)[0])
    seen = open_listener(folders[0]).listen(hops_of_audio(samples[None] / np.float32(32768), 1280)[0])
    # The window of 12 hops still holds the first frames, which are silence in part, until it has moved on.
    assert np.abs(seen - expected)[14:].max() < 1e-3 * np.abs(expected).max()

    capsys.readouterr()
    assert evaluate_main([*map(str, folders), "--stream", str(streamed.sound), "--json", "-"]) == 0
    assert [375, 375] == [each["hops"] for each in json.loads(capsys.readouterr().out)["models"]]


def test_features_in_pieces_are_those_of_the_whole() -> None:
    config = FEATURES["tcresnet-paper"]
    samples = np.random.default_rng(0).integers(-9000, 9000, 45 * 16_000).astype(np.int16)
    features = features_of_recording(samples, config)
    assert features.shape == (config.frames(len(samples)), 40)
    tail = features_of_recording(samples[20 * 16_000 :], config)
    assert np.allclose(features[2000:], tail, atol=1e-4)


def test_a_hop_that_does_not_divide_into_the_strides_is_refused_and_nothing_is_written(
    small_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = checkpoint_of(tmp_path, small_corpus, "tcresnet8-causal")
    words = ["--checkpoint", str(path), "--streaming", "--hop-frames", "12", "--output", str(tmp_path / "exports")]
    assert export_main([*words, "--quiet"]) == 2
    assert "one context for 8 frames, and a hop of 12 does not divide into them" in capsys.readouterr().err
    assert not (tmp_path / "exports").exists()


@pytest.mark.parametrize(
    ("name", "features", "message"),
    [
        ("tcresnet8", "tcresnet-paper", "so it cannot stream: tcresnet8-causal streams"),
        ("bcresnet1-causal", "bcresnet", "front end of this bcresnet1-causal centres its frames"),
    ],
)
def test_a_student_that_cannot_stream_is_refused_with_what_does(
    small_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, features: str, message: str
) -> None:
    path = checkpoint_of(tmp_path, small_corpus, name, features)
    assert export_main(["--checkpoint", str(path), "--streaming", "--output", str(tmp_path / "out"), "--quiet"]) == 2
    assert message in capsys.readouterr().err


def test_sound_at_another_rate_is_refused(
    streamed: Streamed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(streamed.sound, tmp_path / "sound")
    write_wav(tmp_path / "sound" / "stream.wav", np.ones(80_000, np.int16), sample_rate_hz=8_000)
    assert evaluate_main([str(streamed.checkpoint), "--stream", str(tmp_path / "sound")]) == 2
    assert "8000 Hz; expected 16000 Hz; resample it first" in capsys.readouterr().err


def test_sound_that_ends_inside_a_hop_leaves_its_rest_out_and_says_so(
    streamed: Streamed, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate_main([str(streamed.checkpoint), "--stream", str(streamed.sound)]) == 0
    # 30 s are 374 hops of 80 ms behind a window of 30 ms, and 60 ms.
    assert "the last 60 ms of the recording fill no hop and were left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "there is no checkpoint nowhere"),
        (["."], "holds no stream; export one with tkd-export --streaming"),
    ],
)
def test_what_is_no_stream_is_refused(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate_main([*words, "--stream", "data"]) == 2
    assert message in capsys.readouterr().err


def test_the_hop_of_a_bundle_is_its_own(streamed: Streamed, capsys: pytest.CaptureFixture[str]) -> None:
    folder = streamed.exports / "tcresnet8-causal-stream-float32"
    assert evaluate_main([str(folder), "--stream", str(streamed.sound), "--hop-frames", "16"]) == 2
    assert "has hops of 8 frames, not 16" in capsys.readouterr().err


def test_what_has_no_streaming_form_is_refused(
    small_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = checkpoint_of(tmp_path, small_corpus, "lstm-p-reduced", "kws-streaming")
    words = ["--checkpoint", str(path), "--streaming", "--fp16", "--output", str(tmp_path / "out"), "--quiet"]
    assert export_main(words) == 2
    assert "a stream has no float16 form; take --int8 or --dynamic" in capsys.readouterr().err
    assert export_main(["--onnx", "model.onnx", "--streaming"]) == 2
    assert "an ONNX model is converted as it is" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_hop_without_a_stream_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert export_main(["--student", "lstm-p", "--hop-frames", "2"]) == 2
    assert "give --streaming too" in capsys.readouterr().err
