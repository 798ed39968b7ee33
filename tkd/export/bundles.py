"""From a checkpoint to bundles: convert, score every stage on the same clips, hold the gates, write.

    checkpoint ──► torch ──► ONNX ──► TFLite float32 ──► float16, dynamic, int8
                     └─────────┴── scored on ──┴────────────┘        evaluation pack and whole test split

Before this: `tkd.export.choose` and `tkd.export.material`. After this: `android_bench` measures the bundles.
Tested in `tests/tkd/export/test_bundles.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from converters.bundle import Bundle, write_bundle
from converters.bundle_contents import BundleContents, EvaluationPack, Precision
from converters.calibration import Method
from converters.errors import GateFailedError
from converters.metadata import Card
from converters.parity import ParityGates, ParityReport, StageComparison, check_gates
from converters.parity import compare as compare_outputs
from converters.pipeline import Conversion, ConversionRequest, TfliteFile, convert
from converters.report import mixture_document, render_report, report_document, shares_document
from converters.request import Backend
from converters.runners import TfliteModel, run_onnx
from converters.runtimes import DEFAULT_RUNTIME, Runtime
from converters.tune import Tuner
from tkd.audio.features import FeatureConfig
from tkd.checkpoint import load_student
from tkd.evaluate import SHORT_NAMES, MultiLabelScores, Scores, metric_of, predict, score_any
from tkd.export.choose import Choice
from tkd.export.feeding import Feeding, FrontEndPlace, InputKind, feeding_of
from tkd.export.material import Material
from tkd.provenance import git_state, synthetic_words, tool_versions
from tkd.scoring.bootstrap import Comparison, compare
from tkd.scoring.clips import group_of
from tkd.students import Student, find_student

Prove = Callable[[BundleContents], Mapping[str, Any]]
"""Runs a file elsewhere before it is written: what `ops.device_engine` of its bundle says; raises where it must not."""

TOOLS = ("torch", "onnx", "onnxruntime", "ai-edge-litert", "flatbuffers", "numpy", "librosa")
_GOLDEN_CLIPS = 4
OUTSIDE = "front end outside"
"""What the stages are called in which a file with its front end inside is held against torch with it outside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """The bounds that an export has to keep.

    Attributes:
        parity: bounds between the stages.
        max_accuracy_drop: largest loss from torch to any file on the whole test split, in percent points: of top-1
            accuracy, or of mean average precision where clips have several labels.
    """

    parity: ParityGates = dataclasses.field(default_factory=ParityGates)
    max_accuracy_drop: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which files an export makes, and how; the float32 bundle is written in any case.

    Attributes:
        precisions: besides float32.
        keep_float: regular expressions; operators of the int8 file that match one compute in float.
        method: how calibration chooses ranges.
        tuner: the device to find the fastest way of lowering for; None takes the usual one.
        input: what the files are fed; for `waveform` the front end is inside them, in float32.
        backend: what writes the files.
        backend_python: the interpreter of the environment that has it; None takes this one.
        runtime: what runs the files for parity, scores and golden vectors.
    """

    precisions: tuple[Precision, ...] = ()
    keep_float: tuple[str, ...] = ()
    method: Method = "minmax"
    tuner: Tuner | None = None
    input: InputKind = "features"
    backend: Backend = "direct"
    backend_python: Path | None = None
    runtime: Runtime = DEFAULT_RUNTIME


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One form of the model and its scores.

    Attributes:
        name: `torch`, `onnx`, or the precision of a file.
        pack: on the evaluation pack.
        test: on the whole test split.
        paired: against torch on the same clips of the test split; None for torch, and where clips have several labels.
    """

    name: str
    pack: Scores | MultiLabelScores
    test: Scores | MultiLabelScores
    paired: Comparison | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What an export made.

    Attributes:
        bundles: on disk, float32 first.
        conversion: files, parity, int8 proof, seconds.
        stages: scores of each form.
        material: what they were scored on.
        against_outside: each file against the student behind the front end outside, on the evaluation pack; empty
            where the front end is outside anyway.
    """

    bundles: tuple[Bundle, ...]
    conversion: Conversion
    stages: tuple[Stage, ...]
    material: Material
    against_outside: tuple[StageComparison, ...] = ()


def export_student(
    choice: Choice,
    material: Material,
    gates: Gates,
    output: Path,
    wanted: Wanted,
    *,
    force: bool = False,
    prove: Prove = lambda _contents: {},
) -> Export:
    """Converts a checkpoint's student and writes its bundles.

    Args:
        choice: the checkpoint.
        material: what to calibrate and score on.
        gates: bounds to keep.
        output: folder that the bundles go into.
        wanted: which files.
        force: overwrite a bundle that was made from something else.
        prove: asked for each file before any is written.

    Raises:
        ConversionError: the network cannot be converted.
        GateFailedError: a bound is not kept; nothing is written then.
        BundleError: something stands in the way of a bundle.
    """
    student = load_student(choice.checkpoint)
    plain = predict(student, material.test.inputs)
    scale = input_scale(student, material)
    material = material.scaled(scale)
    feeding = feeding_of(wanted.input, FeatureConfig.from_dict(choice.checkpoint.spec.features), material)
    pack = material.test.at(material.pack)
    parity_gates = _parity_gates(gates, material)
    conversion = convert(
        ConversionRequest(
            module=student,
            front=feeding.front,
            example=feeding.inputs(material.test.at([0])),
            precisions=wanted.precisions,
            calibration=feeding.inputs(material.calibration) if "int8" in wanted.precisions else None,
            method=wanted.method,
            keep_float=wanted.keep_float,
            tuner=wanted.tuner,
            check=feeding.inputs(pack),
            gates=parity_gates,
            advises=True,
            card=card_of(choice, feeding),
            input_name=feeding.kind,
            output_name="logits",
            backend=wanted.backend,
            backend_python=wanted.backend_python,
            runtime=wanted.runtime,
        )
    )
    files = list(conversion.files.values())
    logits = {"torch": plain, "onnx": feeding.run(lambda part: run_onnx(conversion.onnx, part), material.test)}
    logits |= {
        file.precision: feeding.run(TfliteModel(file.content, runtime=wanted.runtime).run, material.test)
        for file in files
    }
    outside = () if feeding.front is None else _against_outside(logits, material, parity_gates)
    stages = tuple(
        _stage(name, values, plain, material, choice.checkpoint.spec.labels) for name, values in logits.items()
    )
    _check_accuracy(stages, gates.max_accuracy_drop)
    made = _Made(choice=choice, material=material, feeding=feeding, conversion=conversion, stages=stages)
    contents = [_contents(file, made, outside) for file in files]
    contents = [dataclasses.replace(each, ops={**each.ops, "device_engine": dict(prove(each))}) for each in contents]
    bundles = tuple(write_bundle(output / each.name, each, force=force) for each in contents)
    return Export(bundles=bundles, conversion=conversion, stages=stages, material=material, against_outside=outside)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """What every bundle of an export tells of."""

    choice: Choice
    material: Material
    feeding: Feeding
    conversion: Conversion
    stages: tuple[Stage, ...]


def _against_outside(
    logits: Mapping[str, np.ndarray], material: Material, gates: ParityGates
) -> tuple[StageComparison, ...]:
    """Each file, which computes the front end itself, against torch behind the front end outside.

    Raises:
        GateFailedError: a file computes another front end.
    """
    places = list(material.pack)
    found = tuple(
        compare_outputs(f"{OUTSIDE} → {name}", logits["torch"][places], values[places])
        for name, values in logits.items()
        if name not in ("torch", "onnx")
    )
    check_gates(ParityReport(stages=found, inputs="the evaluation pack"), gates)
    return found


def _parity_gates(gates: Gates, material: Material) -> ParityGates:
    """The bounds between stages; with several labels a clip the largest logit decides nothing, so it has no bound."""
    several = metric_of(material.test.labels) != "accuracy"
    return dataclasses.replace(gates.parity, int8_top1_agreement=0.0) if several else gates.parity


def input_scale(student: Student, material: Material) -> Tensor:
    """What features are divided by before the model gets them, shape (channels,): the size of each channel.

    Ones where the student's first layer cannot absorb it.
    """
    size = material.calibration.inputs.abs().amax(dim=(0, 1)).clamp_min(1e-6)
    # Rounded to what `model.json` holds, so that a reader of that file computes the same.
    size = torch.tensor([round(value, 9) for value in size.tolist()])
    return size if student.absorb_input_scale(size) else torch.ones_like(size)


def accuracy_table(stages: tuple[Stage, ...]) -> dict[str, Any]:
    """Scores of every stage as a bundle's document holds them."""
    return {
        "evaluation_pack": {
            "clips": stages[0].pack.total,
            **{stage.name: stage.pack.to_dict() for stage in stages},
        },
        "test_split": {"clips": stages[0].test.total, **{stage.name: stage.test.to_dict() for stage in stages}},
        "against_torch": {stage.name: dataclasses.asdict(stage.paired) for stage in stages if stage.paired is not None},
    }


def _stage(name: str, logits: np.ndarray, plain: np.ndarray, material: Material, labels: tuple[str, ...]) -> Stage:
    places, truth = list(material.pack), material.test.labels
    paired = None
    if name != "torch" and metric_of(truth) == "accuracy":
        right, expected = logits.argmax(axis=1) == truth, plain.argmax(axis=1) == truth
        paired = compare(right, expected, [group_of(clip) for clip in material.test.ids])
    return Stage(
        name=name,
        pack=score_any(logits[places], material.test.labels[places], labels),
        test=score_any(logits, material.test.labels, labels),
        paired=paired,
    )


def _check_accuracy(stages: tuple[Stage, ...], max_drop: float) -> None:
    first = stages[0]
    for each in stages[1:]:
        drop = 100 * (first.test.value - each.test.value)
        if drop > max_drop:
            what = {"accuracy": "top-1 accuracy"}.get(first.test.metric, SHORT_NAMES[first.test.metric])
            raise GateFailedError(
                stage=f"{first.name} → {each.name}",
                measure=f"loss of {what} in points on the {first.test.total} clips of the test split",
                seen=drop,
                bound=max_drop,
                advice="try more --calibration-clips or --ranges mse, keep operators in float with --keep-float, "
                "or allow more with --max-accuracy-drop",
            )


def card_of(choice: Choice, feeding: FrontEndPlace) -> Card:
    """What the files say of themselves: labels, front end, provenance."""
    spec = choice.checkpoint.spec
    kind = " Trained on SYNTHETIC speech." if spec.synthetic else ""
    return Card(
        name=spec.name,
        description=f"{find_student(spec.name).title}, {len(spec.labels)} classes.{kind}",
        labels=spec.labels,
        axes=feeding.axes,
        input_description=feeding.description,
        output_description="logits",
        channel_scale=() if feeding.samples else feeding.channel_scale,
        sample_rate_hz=feeding.config.sample_rate_hz if feeding.samples else 0,
        documents={
            "front_end.json": feeding.document(),
            "provenance.json": {
                "parents": parents_document(choice),
                "tools": tool_versions(TOOLS),
                "git": git_state(),
                "trained_on_synthetic": spec.synthetic,
            },
        },
    )


def parents_document(choice: Choice) -> dict[str, Any]:
    """What a bundle says that it was made from."""
    spec = choice.checkpoint.spec
    return {
        "checkpoint_sha256": choice.checkpoint.sha256,
        **spec.teaching,
        "trained_on": spec.data.get("name"),
    }


def _contents(file: TfliteFile, made: _Made, outside: tuple[StageComparison, ...]) -> BundleContents:
    choice, material, conversion = made.choice, made.material, made.conversion
    spec = choice.checkpoint.spec
    model = TfliteModel(file.content, runtime=conversion.runtime)
    pack = material.test.at(material.pack)
    fed = file.input.quantize(made.feeding.inputs(pack))
    golden = fed[:_GOLDEN_CLIPS]
    accuracy = accuracy_table(made.stages)
    document = report_document(conversion)
    if outside:
        document["parity"]["against_front_end_outside"] = [dataclasses.asdict(each) for each in outside]
    student = made.feeding.name_of(spec.name)
    name = f"{student}-{file.precision}"
    return BundleContents(
        name=name,
        student=student,
        precision=file.precision,
        model=file.content,
        onnx=conversion.onnx,
        inputs=(file.input,),
        outputs=(file.output,),
        labels=spec.labels,
        front_end=made.feeding.document(),
        ops=_ops(file, conversion),
        parity=document["parity"],
        accuracy=accuracy,
        calibration=material.calibration_record() if file.precision == "int8" else {},
        parents=parents_document(choice),
        tools={**tool_versions(TOOLS), **_backend_tools(conversion)},
        git=git_state(),
        data={
            **material.description,
            "synthetic": bool(material.description["synthetic"] or spec.synthetic),
            "trained_on_synthetic": spec.synthetic,
        },
        golden_input=golden,
        golden_output=model.run_stored(golden),
        evaluation=EvaluationPack(inputs=fed, labels=pack.labels, ids=pack.ids),
        report_markdown=_model_card(name, made, accuracy, outside),
        report={"accuracy": accuracy, **document},
    )


def _backend_tools(conversion: Conversion) -> dict[str, str]:
    """Versions of the packages of a second backend, which can stand in an environment of its own."""
    return {f"{conversion.backend}/{name}": found for name, found in conversion.tools.items()}


def _ops(file: TfliteFile, conversion: Conversion) -> dict[str, Any]:
    """Operators of one file by type, the versions it asks for, the shares that are int8, and for int8 what is not."""
    ops: dict[str, Any] = {
        "by_type": dict(file.operators),
        "versions": dict(file.op_versions),
        "macs": file.shares.total_macs,
        "int8_share": shares_document(file.shares),
    }
    if conversion.tuning is not None:
        ops["tuning"] = dataclasses.asdict(conversion.tuning)
    if file.precision == "int8" and conversion.mixture is not None:
        ops["mixture"] = mixture_document(conversion.mixture)
    return ops


def _model_card(name: str, made: _Made, accuracy: Mapping[str, Any], outside: tuple[StageComparison, ...]) -> str:
    """What the model is and how good every stage is, then the conversion: files, parity, the int8 proof."""
    choice, material, stages = made.choice, made.material, made.stages
    inside = "; the front end is in the graph, in float32, and what is said of int8 is of the student behind it"
    inside = inside if outside else ""
    title, _, rest = render_report(made.conversion, title=name).partition("\n")
    synthetic = material.description["synthetic"] or choice.checkpoint.spec.synthetic
    metric = accuracy["test_split"]["torch"]["metric"]
    paired = {each.name: paired_words(each.paired) for each in stages if each.paired is not None}
    lines = [
        title,
        "",
        f"- {choice.sentence()}",
        f"- data: {material.description['name']}"
        + (f" — **{synthetic_words(material.description)}**" if synthetic else ""),
        f"- protocol: {material.description['protocol']}",
        f"- scored by: {SHORT_NAMES[metric]}",
        f"- input: {made.feeding.description}{inside}",
        *(f"- {outside_words(each)}" for each in outside),
        "",
        "| stage | evaluation pack | 95 % interval | whole test split | 95 % interval | points to torch, paired |",
        "|---|---:|---|---:|---|---|",
    ]
    for stage in (key for key in accuracy["test_split"] if key != "clips"):
        cells = []
        for where in ("evaluation_pack", "test_split"):
            scored = accuracy[where][stage]
            interval = scored["interval_95"]
            ends = "–" if interval is None else " – ".join(f"{100 * end:.1f}" for end in interval)
            cells += [f"{100 * scored[metric]:.2f} % of {scored['total']}", ends]
        cells.append(paired.get(stage, ""))
        lines.append(f"| {stage} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", rest.strip(), ""])


def paired_words(paired: Comparison) -> str:
    """The difference to torch in points, with its interval by speaker where the draws say one."""
    interval = "" if paired.interval is None else " [{:+.2f}, {:+.2f}]".format(*(100 * end for end in paired.interval))
    return f"{100 * paired.difference:+.2f}{interval}"


def outside_words(seen: StageComparison) -> str:
    """How far a file with its front end inside is from the student behind the front end outside."""
    return (
        f"{seen.stage}: largest error {seen.max_abs_error:.1e} ({seen.relative_error:.1e} of the largest logit), "
        f"{seen.sqnr_db:.0f} dB, {seen.top1_agreement:.1%} the same answer"
    )
