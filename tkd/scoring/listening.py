"""A model that listens to minutes of sound, hop by hop, as it does in use; and what its alarms are worth.

    stream.wav ─► features ─► hops ─► stream (states carried on) ─► logits after every hop ─► tkd.scoring.alarms

Takes the bundle of a stream, or a checkpoint, whose student is run hop by hop in PyTorch.
Before this: `tkd.data.stream` made the sound. After this: `tkd.cli.listen` prints, `tkd.scoring.det_plot` draws.
Tested in `tests/tkd/cli/test_streaming.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from converters.bundle_folder import is_stream
from converters.stream_bundle import read_stream_bundle
from converters.stream_runners import TfliteStream, run_torch_stream
from tkd.audio.features import FeatureConfig, FrontEnd
from tkd.audio.wav import as_floats, read_wav
from tkd.checkpoint import load_student, read_checkpoint
from tkd.data.stream import RECORDING, Word, read_stream
from tkd.errors import CheckpointError, SettingsError
from tkd.scoring.alarms import AlarmSettings, Operation, operation_at, sweep
from tkd.students.streaming import StreamingStudent, check_front_end, hops_of_audio, hops_of_clips

FORMAT = "tkd.listening/1"
_PIECE_S = 20
_INT16 = 32_768


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Listener:
    """A model that can be fed hop by hop.

    Attributes:
        name: of the bundle or the student.
        sha256: of the weights' file.
        runtime: `LiteRT` or `PyTorch`.
        precision: float32, dynamic or int8.
        labels: class names in the order of the logits.
        features: the front end.
        channel_scale: what features are divided by, shape (channels,).
        hop_frames: frames of a hop.
        takes_audio: whether a hop is audio, with the front end in the graph.
        listen: from hops of a whole recording, (hops, frames, channels) or (hops, samples), to logits, (hops, classes).
        trained_on_synthetic: whether on synthetic speech.
    """

    name: str
    sha256: str
    runtime: str
    precision: str
    labels: tuple[str, ...]
    features: FeatureConfig
    channel_scale: np.ndarray
    hop_frames: int
    takes_audio: bool
    listen: Callable[[np.ndarray], np.ndarray]
    trained_on_synthetic: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Listening:
    """What a model made of a recording.

    Attributes:
        listener: the model.
        words: what sounded.
        manifest: of the recording.
        settings: how posteriors became detections.
        operations: what every threshold gives, the laxest first.
        hops: that were fed.
        seconds_left_out: of audio at the end, which filled no hop.
    """

    listener: Listener
    words: tuple[Word, ...]
    manifest: dict[str, Any]
    settings: AlarmSettings
    operations: tuple[Operation, ...]
    hops: int
    seconds_left_out: float

    @property
    def synthetic(self) -> bool:
        """Whether the recording or the model's training is synthetic speech."""
        return bool(self.manifest["synthetic"] or self.listener.trained_on_synthetic)


def open_listener(path: Path, hop_frames: int = 0) -> Listener:
    """The model at `path`.

    Args:
        path: the folder of a stream's bundle, or a checkpoint of a student that streams.
        hop_frames: of a checkpoint's hop; 0 takes the smallest. A bundle has its own.

    Raises:
        BundleError, CheckpointError: the file or folder is neither, or damaged.
        SettingsError: the student cannot stream, or a hop is given for a bundle.
    """
    if not path.is_dir():
        return _of_checkpoint(path, hop_frames)
    if not is_stream(path):
        raise SettingsError(
            f"{path} holds no stream; export one with tkd-export --streaming, or give a checkpoint of a student"
        )
    bundle = read_stream_bundle(path)
    if hop_frames not in (0, bundle.hop.frames):
        raise SettingsError(
            f"the stream at {path} has hops of {bundle.hop.frames} frames, not {hop_frames}; export another with "
            "tkd-export --streaming --hop-frames"
        )
    front_end = dict(bundle.document["front_end"])
    scale = np.asarray(front_end.pop("channel_scale", 1.0), np.float32)
    for name in ("in_graph", "input"):
        front_end.pop(name, None)
    return Listener(
        name=bundle.name,
        sha256=bundle.sha256,
        runtime="LiteRT",
        precision=bundle.precision,
        labels=bundle.labels,
        features=FeatureConfig.from_dict(front_end),
        channel_scale=scale,
        hop_frames=bundle.hop.frames,
        takes_audio=bundle.takes_audio,
        listen=TfliteStream(bundle.model).run,
        trained_on_synthetic=bool(bundle.document["data"]["trained_on_synthetic"]),
    )


def _of_checkpoint(path: Path, hop_frames: int) -> Listener:
    checkpoint = read_checkpoint(path)
    spec = checkpoint.spec
    if spec.kind != "student":
        raise CheckpointError(f"{path} holds a {spec.kind}; expected a student, or the bundle of a stream")
    config = FeatureConfig.from_dict(spec.features)
    check_front_end(config, spec.name)
    streaming = StreamingStudent(
        load_student(checkpoint),
        name=spec.name,
        channels=config.channels,
        clip_frames=config.frames(round(float(spec.data.get("clip_seconds", 1.0)) * config.sample_rate_hz)),
        hop_frames=hop_frames,
    )
    return Listener(
        name=spec.name,
        sha256=checkpoint.sha256,
        runtime="PyTorch",
        precision="float32",
        labels=spec.labels,
        features=config,
        channel_scale=np.ones(config.channels, np.float32),
        hop_frames=streaming.settings.hop_frames,
        takes_audio=False,
        listen=lambda hops: run_torch_stream(streaming, hops, streaming.state_shapes),
        trained_on_synthetic=bool(spec.synthetic),
    )


def listen(listener: Listener, folder: Path, settings: AlarmSettings) -> Listening:
    """What the model makes of the stream in `folder`.

    Raises:
        DataError: the folder holds no stream.
        AudioError: the recording has another sample rate than the model's front end, or is shorter than a hop.
        SettingsError: none of the model's keywords sounds.
    """
    manifest, words = read_stream(folder)
    config = listener.features
    samples = read_wav(folder / RECORDING, sample_rate_hz=config.sample_rate_hz)
    hop_s = listener.hop_frames * config.hop_ms / 1000
    if listener.takes_audio:
        hops = hops_of_audio(as_floats(samples)[None], listener.hop_frames * config.hop_length)[0]
        start_s = hop_s
    else:
        features = features_of_recording(samples, config) / listener.channel_scale
        hops = hops_of_clips(features[None], listener.hop_frames)[0]
        # A hop is complete with the last sample of its last window.
        start_s = hop_s + (config.window_ms - config.hop_ms) / 1000
    if not len(hops):
        raise SettingsError(
            f"{folder / RECORDING} has {len(samples)} samples, less than a hop of {listener.hop_frames} frames; "
            "make a longer stream"
        )
    logits = listener.listen(hops)
    seconds = len(samples) / config.sample_rate_hz
    return Listening(
        listener=listener,
        words=words,
        manifest=manifest,
        settings=settings,
        operations=sweep(logits, words, listener.labels, settings, hop_s=hop_s, start_s=start_s, seconds=seconds),
        hops=len(hops),
        seconds_left_out=max(0.0, seconds - start_s - (len(hops) - 1) * hop_s),
    )


def features_of_recording(samples: NDArray[np.int16], config: FeatureConfig) -> NDArray[np.float32]:
    """Features of a recording of any length, shape (frames, channels), computed in pieces of 20 s.

    Frames that are not centred depend on their own samples alone, so that pieces give what the whole would.
    """
    front_end = FrontEnd(config)
    hop, window = config.hop_length, config.window_length
    frames_of_piece = _PIECE_S * config.sample_rate_hz // hop
    total = config.frames(len(samples))
    pieces = []
    for first in range(0, total, frames_of_piece):
        count = min(frames_of_piece, total - first)
        piece = samples[first * hop : (first + count - 1) * hop + window]
        waveform = torch.from_numpy(piece.astype(np.float32) / _INT16)[None]
        with torch.no_grad():
            pieces.append(front_end(waveform)[0].numpy())
    return np.concatenate(pieces) if pieces else np.zeros((0, config.channels), np.float32)


def listening_document(results: list[Listening], false_alarms_per_hour: float) -> dict[str, Any]:
    """Everything that was found, as plain JSON values."""
    first = results[0]
    return {
        "format": FORMAT,
        "synthetic": any(each.synthetic for each in results),
        "stream": {key: first.manifest[key] for key in ("settings", "synthetic", "seconds", "words")},
        "settings": {
            "smoothing_s": first.settings.smoothing_s,
            "refractory_s": first.settings.refractory_s,
            "tolerance_s": first.settings.tolerance_s,
            "false_alarms_per_hour": false_alarms_per_hour,
        },
        "models": [
            {
                "name": each.listener.name,
                "sha256": each.listener.sha256,
                "runtime": each.listener.runtime,
                "precision": each.listener.precision,
                "hop_frames": each.listener.hop_frames,
                "hops": each.hops,
                "seconds_left_out": round(each.seconds_left_out, 4),
                "at_bound": _operation(operation_at(each.operations, false_alarms_per_hour)),
                "det": [_operation(operation) for operation in each.operations],
            }
            for each in results
        ],
    }


def delay_percentiles(operation: Operation) -> tuple[float, float] | None:
    """Median and 95th percentile of the detection delay in seconds; None without a hit."""
    if not operation.delays_s:
        return None
    median, high = np.percentile(operation.delays_s, [50, 95])
    return float(median), float(high)


def _operation(operation: Operation | None) -> dict[str, Any] | None:
    if operation is None:
        return None
    delays = delay_percentiles(operation)
    return {
        "threshold": operation.threshold,
        "keywords": operation.keywords,
        "hits": operation.hits,
        "miss_rate": round(operation.miss_rate, 6),
        "false_alarms": operation.false_alarms,
        "false_alarms_per_hour": round(operation.false_alarms_per_hour, 4),
        "delay_s": None if delays is None else {"median": round(delays[0], 4), "p95": round(delays[1], 4)},
    }
