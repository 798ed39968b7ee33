"""From a checkpoint to streams: a stateful model in TFLite, proved over sequences of hops, and scored on whole clips.

    checkpoint ──► student ──► StreamingStudent ──► ONNX ──► TFLite float32 ──► dynamic, int8
                      └────────────── every clip: whole, and hop by hop ─────────────┘

Before this: `tkd.export.choose` and `tkd.export.material`. After this: `tkd.scoring.listening` and `android_bench`.
Tested in `tests/tkd/cli/test_streaming.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from converters.errors import GateFailedError
from converters.metadata import Card
from converters.report import mixture_document, shares_document
from converters.stream_bundle import StateSpec, StreamBundle, StreamContents, StreamHop, write_stream_bundle
from converters.stream_runners import NEXT, PAST, TfliteStream
from converters.streams import Front, StreamConversion, StreamFile, StreamRequest, convert_stream
from tkd.audio.features import FeatureConfig
from tkd.audio.streaming_front_end import AUDIO, AudioStream, StreamingFrontEnd
from tkd.audio.wav import as_floats
from tkd.checkpoint import load_student
from tkd.errors import SettingsError
from tkd.evaluate import predict
from tkd.export.bundles import TOOLS, Gates, Wanted, card_of, input_scale, parents_document
from tkd.export.choose import Choice
from tkd.export.feeding import FrontEndPlace
from tkd.export.material import Material, Split
from tkd.export.threshold import threshold_of
from tkd.provenance import git_state, tool_versions
from tkd.students.macs import count_macs
from tkd.students.streaming import StreamingStudent, check_front_end, count_hop_macs, hops_of_audio, hops_of_clips

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
        threshold: the probability that one in a hundred clips reaches for a keyword that is not its own, carried on.
    """

    whole: float
    reset: float
    carried: float
    threshold: float


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
    feeding = _hop_feeding(wanted, config, streaming, material)
    fed = material.test.at(material.pack)
    conversion = convert_stream(
        StreamRequest(
            module=streaming,
            states=streaming.state_shapes,
            check=sequences_of(feeding.hops(fed))[:_CHECK_SEQUENCES],
            calibration=sequences_of(hops_of_clips(material.calibration.inputs.numpy(), feeding.frames)),
            front=_front_of(feeding, streaming, config.channels),
            precisions=wanted.precisions,
            method=wanted.method,
            keep_float=wanted.keep_float,
            gates=gates.parity,
            card=_card(choice, feeding, streaming),
        )
    )
    scores = {
        precision: _scores(file, feeding.hops(fed), fed.labels, spec.labels, whole)
        for precision, file in conversion.files.items()
    }
    _check_accuracy(scores, gates.max_accuracy_drop)
    contents = [
        _contents(file, choice, material, conversion, scores, streaming, feeding) for file in conversion.files.values()
    ]
    return StreamExport(
        bundles=tuple(write_stream_bundle(output / each.name, each, force=force) for each in contents),
        conversion=conversion,
        scores=scores,
        hop_macs=count_hop_macs(streaming, config.channels),
        clip_macs=count_macs(student, frames=clip_frames, channels=config.channels),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HopFeeding(FrontEndPlace):
    """How clips become hops.

    Attributes:
        frames: of a hop.
        front: the front end hop by hop; None where the app computes it.
    """

    frames: int
    front: StreamingFrontEnd | None

    @property
    def samples(self) -> int:
        """Of audio in a hop; 0 where features are fed."""
        return 0 if self.front is None else self.front.samples

    def hops(self, split: Split) -> np.ndarray:
        """Float32, shape (clips, hops, frames, channels), or of audio (clips, hops, samples); a rest is left out."""
        if self.front is None:
            return hops_of_clips(split.inputs.numpy(), self.frames)
        return hops_of_audio(as_floats(split.waveforms), self.front.samples)


def _hop_feeding(wanted: Wanted, config: FeatureConfig, streaming: StreamingStudent, material: Material) -> HopFeeding:
    frames, scale = streaming.settings.hop_frames, material.channel_scale
    return HopFeeding(
        frames=frames,
        config=config,
        channel_scale=tuple(round(value, 9) for value in scale.tolist()),
        front=StreamingFrontEnd(config, frames, scale).eval() if wanted.input == "waveform" else None,
    )


def _card(choice: Choice, feeding: HopFeeding, streaming: StreamingStudent) -> Card:
    """What the files say of themselves: as whole networks do, and how they go on from hop to hop."""
    hop = {
        "frames": feeding.frames,
        "window_frames": streaming.settings.window_frames,
        "states": [{"past": f"{PAST}{name}", "next": f"{NEXT}{name}"} for name in _states_of(feeding, streaming)],
    }
    card = card_of(choice, feeding)
    return replace(
        card,
        description=f"{card.description} Run hop by hop: states go round as stream.json says, and begin as zeros.",
        documents={**card.documents, "stream.json": hop},
    )


def _states_of(feeding: HopFeeding, streaming: StreamingStudent) -> tuple[str, ...]:
    return ((AUDIO,) if feeding.front is not None else ()) + tuple(streaming.state_shapes)


def _front_of(feeding: HopFeeding, streaming: StreamingStudent, channels: int) -> Front | None:
    front = feeding.front
    if front is None:
        return None
    return Front(
        module=front,
        whole=AudioStream(front, streaming),
        state=(AUDIO, (1, front.kept)),
        hop=(1, feeding.frames, channels),
    )


def sequences_of(hops: np.ndarray) -> np.ndarray:
    """The hops of clips, (clips, hops, …), as sequences of three clips each: states are seen that a clip leaves behind.

    >>> sequences_of(np.zeros((7, 12, 8, 40), np.float32)).shape
    (2, 36, 8, 40)
    """
    together = min(_CLIPS_OF_A_SEQUENCE, len(hops))
    whole = hops[: len(hops) // together * together]
    return whole.reshape(len(whole) // together, -1, *whole.shape[2:])


def _scores(file: StreamFile, hops: np.ndarray, labels: np.ndarray, names: Sequence[str], whole: float) -> StreamScores:
    stream = TfliteStream(file.content)
    logits: dict[bool, np.ndarray] = {}
    for resets in (True, False):
        stream.reset()
        last = []
        for clip in hops:
            if resets:
                stream.reset()
            last.append(stream.run(clip)[-1])
        logits[resets] = np.stack(last)
    right = {resets: float((each.argmax(axis=1) == labels).mean()) for resets, each in logits.items()}
    threshold = threshold_of(logits[False], labels, names)
    return StreamScores(whole=whole, reset=right[True], carried=right[False], threshold=threshold)


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
    feeding: HopFeeding,
) -> StreamContents:
    spec, config = choice.checkpoint.spec, feeding.config
    settings = streaming.settings
    stream = TfliteStream(file.content)
    hop_s = settings.hop_frames * config.hop_ms / 1000
    sequence = feeding.hops(material.test.at(material.pack[: _GOLDEN_SECONDS + 1]))
    golden = stream.hop.quantize(sequence.reshape(-1, *sequence.shape[2:])[: max(1, int(_GOLDEN_SECONDS / hop_s))])
    logits = np.concatenate([stream.step(golden[i : i + 1]) for i in range(len(golden))])
    ops: dict[str, Any] = {
        "by_type": dict(file.operators),
        "versions": dict(file.op_versions),
        "macs": file.shares.total_macs,
        "int8_share": shares_document(file.shares),
    }
    if file.precision == "int8" and conversion.mixture is not None:
        ops["mixture"] = mixture_document(conversion.mixture)
    smallest = streaming.student.stream_rule()
    assert smallest is not None
    return StreamContents(
        name=f"{spec.name}{'' if feeding.front is None else '-waveform'}-stream-{file.precision}",
        student=spec.name,
        precision=file.precision,
        model=file.content,
        onnx=conversion.onnx,
        input=file.hop,
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
        front_end=feeding.document(),
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
    return {
        "whole_clip": scores.whole,
        "stream_reset": scores.reset,
        "stream_carried_on": scores.carried,
        "threshold": scores.threshold,
    }
