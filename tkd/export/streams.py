"""From a checkpoint to streams: a stateful model in TFLite, proved over sequences of hops, and scored on whole clips.

    checkpoint ──► student ──► StreamingStudent ──► ONNX ──► TFLite float32 ──► dynamic, int8
                      └────────────── every clip: whole, and hop by hop ─────────────┘

Before this: `tkd.export.choose` and `tkd.export.material`. After this: `tkd.scoring.listening` and `android_bench`.
Tested in `tests/tkd/cli/test_streaming.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converters.errors import GateFailedError
from converters.report import mixture_document, shares_document
from converters.stream_bundle import StateSpec, StreamBundle, StreamContents, StreamHop, write_stream_bundle
from converters.stream_runners import NEXT, PAST, TfliteStream
from converters.streams import StreamConversion, StreamFile, StreamRequest, convert_stream
from tkd.audio.features import FeatureConfig
from tkd.checkpoint import load_student
from tkd.errors import SettingsError
from tkd.evaluate import predict
from tkd.export.bundles import TOOLS, Gates, Wanted, front_end_document, input_scale, parents_document
from tkd.export.choose import Choice
from tkd.export.material import Material
from tkd.provenance import git_state, tool_versions
from tkd.students.macs import count_macs
from tkd.students.streaming import StreamingStudent, check_front_end, count_hop_macs, hops_of_clips

_CLIPS_OF_A_SEQUENCE = 3
_CHECK_SEQUENCES = 8
_GOLDEN_SECONDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamScores:
    """Accuracy on the clips of the evaluation pack, 0 to 1.

    Attributes:
        whole: of the student on whole clips.
        reset: of the stream after the last hop of each clip, with states of zero before it.
        carried: the same with the states that the clip before left over, as in use.
    """

    whole: float
    reset: float
    carried: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamExport:
    """What an export of streams made.

    Attributes:
        bundles: on disk, float32 first.
        conversion: files and parity.
        scores: of every file by precision.
        hop_macs: multiply-accumulates of one hop.
        clip_macs: of the whole window, which a network without states would need for each hop.
    """

    bundles: tuple[StreamBundle, ...]
    conversion: StreamConversion
    scores: Mapping[str, StreamScores]
    hop_macs: int
    clip_macs: int


def export_stream(
    choice: Choice,
    material: Material,
    gates: Gates,
    output: Path,
    wanted: Wanted,
    *,
    hop_frames: int = 0,
    force: bool = False,
) -> StreamExport:
    """Converts a checkpoint's student to streams and writes their bundles.

    Args:
        choice: the checkpoint.
        material: what to calibrate and score on.
        gates: bounds to keep; the loss of accuracy is held on the evaluation pack, from the whole clip to the stream.
        output: folder that the bundles go into.
        wanted: which files.
        hop_frames: frames of a hop; 0 takes the fewest that the strides allow.
        force: overwrite a bundle that was made from something else.

    Raises:
        SettingsError: the student cannot stream, or not with this hop or front end; or clips have several labels, or
            float16 is wanted.
        ConversionError: the network cannot be converted.
        GateFailedError: a bound is not kept; nothing is written then.
        BundleError: something stands in the way of a bundle.
    """
    spec = choice.checkpoint.spec
    config = FeatureConfig.from_dict(spec.features)
    check_front_end(config, spec.name)
    if material.test.labels.ndim > 1:
        raise SettingsError(
            "a stream is scored by the answer after the last hop of each clip, and these clips have several labels; "
            "export the student without --streaming"
        )
    if "float16" in wanted.precisions:
        raise SettingsError("a stream has no float16 form; take --int8 or --dynamic, or leave --fp16 out")
    student = load_student(choice.checkpoint)
    clip_frames = material.test.inputs.shape[1]
    pack = material.test.at(material.pack)
    whole = float((predict(student, pack.inputs).argmax(axis=1) == pack.labels).mean())
    material = material.scaled(input_scale(student, material))
    streaming = StreamingStudent(
        student, name=spec.name, channels=config.channels, clip_frames=clip_frames, hop_frames=hop_frames
    )
    hop = streaming.settings.hop_frames
    conversion = convert_stream(
        StreamRequest(
            module=streaming,
            states=streaming.state_shapes,
            check=sequences_of(material.test.at(material.pack).inputs.numpy(), hop)[:_CHECK_SEQUENCES],
            calibration=sequences_of(material.calibration.inputs.numpy(), hop),
            precisions=wanted.precisions,
            method=wanted.method,
            keep_float=wanted.keep_float,
            gates=gates.parity,
        )
    )
    fed = material.test.at(material.pack)
    scores = {
        precision: _scores(file, hops_of_clips(fed.inputs.numpy(), hop), fed.labels, whole)
        for precision, file in conversion.files.items()
    }
    _check_accuracy(scores, gates.max_accuracy_drop)
    contents = [
        _contents(file, choice, material, conversion, scores, streaming, config) for file in conversion.files.values()
    ]
    return StreamExport(
        bundles=tuple(write_stream_bundle(output / each.name, each, force=force) for each in contents),
        conversion=conversion,
        scores=scores,
        hop_macs=count_hop_macs(streaming, config.channels),
        clip_macs=count_macs(student, frames=clip_frames, channels=config.channels),
    )


def sequences_of(clips: np.ndarray, hop_frames: int) -> np.ndarray:
    """Sequences of three clips each, so that states are seen that one clip leaves to the next.

    >>> sequences_of(np.zeros((7, 98, 40), np.float32), 8).shape
    (2, 36, 8, 40)
    """
    together = min(_CLIPS_OF_A_SEQUENCE, len(clips))
    hops = hops_of_clips(clips[: len(clips) // together * together], hop_frames)
    return hops.reshape(len(hops) // together, -1, *hops.shape[2:])


def _scores(file: StreamFile, hops: np.ndarray, labels: np.ndarray, whole: float) -> StreamScores:
    stream = TfliteStream(file.content)
    right = {True: 0, False: 0}
    for resets in (True, False):
        stream.reset()
        for clip, label in zip(hops, labels, strict=True):
            if resets:
                stream.reset()
            right[resets] += int(stream.run(clip)[-1].argmax() == label)
    return StreamScores(whole=whole, reset=right[True] / len(labels), carried=right[False] / len(labels))


def _check_accuracy(scores: Mapping[str, StreamScores], max_drop: float) -> None:
    for precision, each in scores.items():
        drop = 100 * (each.whole - each.reset)
        if drop > max_drop:
            raise GateFailedError(
                stage=f"whole clip → {precision} stream",
                measure="loss of accuracy in points on the clips of the evaluation pack",
                seen=drop,
                bound=max_drop,
                advice="try --dynamic, keep operators in float with --keep-float, or allow more with "
                "--max-accuracy-drop",
            )


def _contents(
    file: StreamFile,
    choice: Choice,
    material: Material,
    conversion: StreamConversion,
    scores: Mapping[str, StreamScores],
    streaming: StreamingStudent,
    config: FeatureConfig,
) -> StreamContents:
    spec = choice.checkpoint.spec
    settings = streaming.settings
    stream = TfliteStream(file.content)
    hop_s = settings.hop_frames * config.hop_ms / 1000
    sequence = hops_of_clips(material.test.at(material.pack[: _GOLDEN_SECONDS + 1]).inputs.numpy(), settings.hop_frames)
    golden = stream.hop.quantize(sequence.reshape(-1, *sequence.shape[2:])[: max(1, int(_GOLDEN_SECONDS / hop_s))])
    logits = np.concatenate([stream.step(golden[i : i + 1]) for i in range(len(golden))])
    ops: dict[str, Any] = {
        "by_type": dict(file.operators),
        "versions": dict(file.op_versions),
        "int8_share": shares_document(file.shares),
    }
    if file.precision == "int8" and conversion.mixture is not None:
        ops["mixture"] = mixture_document(conversion.mixture)
    smallest = streaming.student.stream_rule()
    assert smallest is not None
    return StreamContents(
        name=f"{spec.name}-stream-{file.precision}",
        student=spec.name,
        precision=file.precision,
        model=file.content,
        onnx=conversion.onnx,
        features=file.hop,
        logits=file.logits,
        states=tuple(
            StateSpec(name=name, past=state, output=NEXT + state.name.removeprefix(PAST))
            for name, state in file.states.items()
        ),
        hop=StreamHop(
            frames=settings.hop_frames,
            smallest_frames=smallest.frames_per_context,
            samples=settings.hop_frames * config.hop_length,
            window_frames=settings.window_frames,
            sample_rate_hz=config.sample_rate_hz,
        ),
        labels=spec.labels,
        front_end=front_end_document(choice, material),
        ops=ops,
        parity={
            "inputs": conversion.parity.inputs,
            "stages": [
                {
                    "stage": each.stage,
                    "hops": each.examples,
                    "relative_error": each.relative_error,
                    "sqnr_db": min(each.sqnr_db, 999.0),
                    "top1_agreement": each.top1_agreement,
                }
                for each in conversion.parity.stages
            ],
        },
        accuracy={"clips": len(material.pack), **_scores_document(scores[file.precision])},
        calibration=material.calibration_record() if file.precision == "int8" else {},
        parents=parents_document(choice),
        tools=tool_versions(TOOLS),
        git=git_state(),
        data={
            **material.description,
            "synthetic": bool(material.description["synthetic"] or spec.synthetic),
            "trained_on_synthetic": spec.synthetic,
        },
        golden_hops=golden,
        golden_logits=logits,
    )


def _scores_document(scores: StreamScores) -> dict[str, float]:
    return {"whole_clip": scores.whole, "stream_reset": scores.reset, "stream_carried_on": scores.carried}
