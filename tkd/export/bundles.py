"""From a checkpoint to bundles: convert, score every stage on the same clips, hold the gates, write.

    checkpoint ──► torch ──► ONNX ──► TFLite float32 ──► float16, dynamic, int8
                     └─────────┴── scored on ──┴────────────┘        evaluation pack and whole test split

Before this: `tkd.export.choose` and `tkd.export.material`. After this: `android_bench` measures the bundles.
Tested in `tests/tkd/export/test_bundles.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
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
from converters.parity import ParityGates
from converters.pipeline import Conversion, ConversionRequest, TfliteFile, convert
from converters.report import mixture_document, render_report, report_document, shares_document
from converters.runners import TfliteModel, run_onnx
from tkd.audio.features import FeatureConfig
from tkd.checkpoint import load_student
from tkd.evaluate import SHORT_NAMES, MultiLabelScores, Scores, metric_of, predict, score_any
from tkd.export.choose import Choice
from tkd.export.material import Material
from tkd.provenance import git_state, synthetic_words, tool_versions
from tkd.scoring.bootstrap import Comparison, compare
from tkd.scoring.clips import group_of
from tkd.students import Student, find_student

TOOLS = ("torch", "onnx", "onnxruntime", "ai-edge-litert", "flatbuffers", "numpy", "librosa")
_GOLDEN_CLIPS = 4


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
    """

    precisions: tuple[Precision, ...] = ()
    keep_float: tuple[str, ...] = ()
    method: Method = "minmax"


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
    """

    bundles: tuple[Bundle, ...]
    conversion: Conversion
    stages: tuple[Stage, ...]
    material: Material


def export_student(
    choice: Choice, material: Material, gates: Gates, output: Path, wanted: Wanted, *, force: bool = False
) -> Export:
    """Converts a checkpoint's student and writes its bundles.

    Args:
        choice: the checkpoint.
        material: what to calibrate and score on.
        gates: bounds to keep.
        output: folder that the bundles go into.
        wanted: which files.
        force: overwrite a bundle that was made from something else.

    Raises:
        ConversionError: the network cannot be converted.
        GateFailedError: a bound is not kept; nothing is written then.
        BundleError: something stands in the way of a bundle.
    """
    student = load_student(choice.checkpoint)
    plain = predict(student, material.test.inputs)
    scale = input_scale(student, material)
    material = material.scaled(scale)
    inputs = material.test.inputs.numpy()
    needs_clips = "int8" in wanted.precisions
    conversion = convert(
        ConversionRequest(
            module=student,
            example=inputs[:1],
            precisions=wanted.precisions,
            calibration=material.calibration.inputs.numpy() if needs_clips else None,
            method=wanted.method,
            keep_float=wanted.keep_float,
            check=inputs[list(material.pack)],
            gates=_parity_gates(gates, material),
            advises=True,
            card=_card(choice, material),
            input_name="features",
            output_name="logits",
        )
    )
    files = list(conversion.files.values())
    logits = {"torch": plain, "onnx": run_onnx(conversion.onnx, inputs)}
    logits |= {file.precision: TfliteModel(file.content).run(inputs) for file in files}
    stages = tuple(
        _stage(name, values, plain, material, choice.checkpoint.spec.labels) for name, values in logits.items()
    )
    _check_accuracy(stages, gates.max_accuracy_drop)
    contents = [_contents(file, choice, material, conversion, stages) for file in files]
    bundles = tuple(write_bundle(output / each.name, each, force=force) for each in contents)
    return Export(bundles=bundles, conversion=conversion, stages=stages, material=material)


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


def _card(choice: Choice, material: Material) -> Card:
    """What the files say of themselves: labels, front end, provenance."""
    spec = choice.checkpoint.spec
    kind = " Trained on SYNTHETIC speech." if spec.synthetic else ""
    return Card(
        name=spec.name,
        description=f"{find_student(spec.name).title}, {len(spec.labels)} classes.{kind}",
        labels=spec.labels,
        axes=("batch", "frames", "channels"),
        input_description="features as front_end.json says, each channel divided by its channel_scale",
        output_description="logits",
        channel_scale=tuple(front_end_document(choice, material)["channel_scale"]),
        documents={
            "front_end.json": front_end_document(choice, material),
            "provenance.json": {
                "parents": parents_document(choice),
                "tools": tool_versions(TOOLS),
                "git": git_state(),
                "trained_on_synthetic": spec.synthetic,
            },
        },
    )


def front_end_document(choice: Choice, material: Material) -> dict[str, Any]:
    """Every parameter of the front end, and what features are divided by, as a bundle's document holds them."""
    return {
        "in_graph": False,
        **FeatureConfig.from_dict(choice.checkpoint.spec.features).to_dict(),
        "channel_scale": [round(value, 9) for value in material.channel_scale.tolist()],
    }


def parents_document(choice: Choice) -> dict[str, Any]:
    """What a bundle says that it was made from."""
    spec = choice.checkpoint.spec
    return {
        "checkpoint_sha256": choice.checkpoint.sha256,
        "teacher_sha256": spec.parents.get("teacher_sha256"),
        "lambda": spec.parents.get("lambda"),
        "trained_on": spec.data.get("name"),
    }


def _contents(
    file: TfliteFile, choice: Choice, material: Material, conversion: Conversion, stages: tuple[Stage, ...]
) -> BundleContents:
    spec = choice.checkpoint.spec
    model = TfliteModel(file.content)
    pack = material.test.at(material.pack)
    fed = file.input.quantize(pack.inputs.numpy())
    golden = fed[:_GOLDEN_CLIPS]
    accuracy = accuracy_table(stages)
    name = f"{spec.name}-{file.precision}"
    return BundleContents(
        name=name,
        student=spec.name,
        precision=file.precision,
        model=file.content,
        onnx=conversion.onnx,
        inputs=(file.input,),
        outputs=(file.output,),
        labels=spec.labels,
        front_end=front_end_document(choice, material),
        ops=_ops(file, conversion),
        parity=report_document(conversion)["parity"],
        accuracy=accuracy,
        calibration=material.calibration_record() if file.precision == "int8" else {},
        parents=parents_document(choice),
        tools=tool_versions(TOOLS),
        git=git_state(),
        data={
            **material.description,
            "synthetic": bool(material.description["synthetic"] or spec.synthetic),
            "trained_on_synthetic": spec.synthetic,
        },
        golden_input=golden,
        golden_output=model.run_stored(golden),
        evaluation=EvaluationPack(inputs=fed, labels=pack.labels, ids=pack.ids),
        report_markdown=_model_card(name, choice, material, accuracy, stages, conversion),
        report={"accuracy": accuracy, **report_document(conversion)},
    )


def _ops(file: TfliteFile, conversion: Conversion) -> dict[str, Any]:
    """Operators of one file by type, the versions it asks for, the shares that are int8, and for int8 what is not."""
    ops: dict[str, Any] = {
        "by_type": dict(file.operators),
        "versions": dict(file.op_versions),
        "int8_share": shares_document(file.shares),
    }
    if file.precision == "int8" and conversion.mixture is not None:
        ops["mixture"] = mixture_document(conversion.mixture)
    return ops


def _model_card(
    name: str,
    choice: Choice,
    material: Material,
    accuracy: Mapping[str, Any],
    stages: tuple[Stage, ...],
    conversion: Conversion,
) -> str:
    """What the model is and how good every stage is, then the conversion: files, parity, the int8 proof."""
    title, _, rest = render_report(conversion, title=name).partition("\n")
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
