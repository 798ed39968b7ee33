"""One model to score, whatever it is stored as: checkpoint, bundle, ONNX or TFLite file.

Before this: `tkd.checkpoint` and `converters.bundle` read files. After this: `tkd.scoring.clips` feeds the models.
Tested in `tests/tkd/scoring/test_models.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from converters.bundle import Bundle, read_bundle
from converters.bundle_contents import EvaluationPack
from converters.bundle_folder import DOCUMENT
from converters.files import sha256_of
from converters.runners import TfliteModel, run_onnx
from converters.runtimes import DEFAULT_RUNTIME, Runtime
from tkd.audio.features import FeatureConfig, find_features
from tkd.checkpoint import CheckpointSpec, load_student, read_checkpoint
from tkd.data.speech_commands import TWELVE_LABELS
from tkd.errors import CheckpointError, SettingsError
from tkd.evaluate import predict

Logits = Callable[[np.ndarray], np.ndarray]
"""From inputs (clips, frames, channels) or (clips, samples), real units, to logits (clips, classes), float32."""

_NAMES: dict[Runtime, str] = {
    "ai-edge-litert": "LiteRT",
    "tensorflow": "TensorFlow Lite",
    "tflite-runtime": "tflite-runtime",
}
_SUFFIXES = (".onnx", ".tflite")


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioInput:
    """The clips that a model with its front end inside takes.

    Attributes:
        samples: their length, no other.
        sample_rate_hz: samples per second.
    """

    samples: int
    sample_rate_hz: int

    def __str__(self) -> str:
        return f"{self.samples} samples at {self.sample_rate_hz} Hz"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """A model that can be scored.

    Attributes:
        name: unique among the models of one call.
        path: what was named.
        sha256: of the weights' file.
        parent_sha256: of the checkpoint that it was made from; its own for a checkpoint, empty where unknown.
        runtime: what computes it: `PyTorch`, `ONNX Runtime`, `LiteRT` or another that runs TFLite files.
        precision: float32, int8 …; empty where the file does not say.
        labels: class names in the order of the logits.
        features: the front end in front of it; None when that is inside its graph.
        audio: what it is fed then; None where its front end is outside.
        channel_scale: what features are divided by before the model gets them, shape (channels,), float32.
        run: computes the logits.
        trained_on: what it was trained or exported with: folder, silence protocol, seed; empty where unknown.
        trained_on_synthetic: whether on synthetic speech; None where unknown.
        pack: its evaluation pack, real units (see `fed`), when it lies in a bundle.
        checkpoint: its header, when it is a checkpoint.
    """

    name: str
    path: Path
    sha256: str
    parent_sha256: str
    runtime: str
    precision: str
    labels: tuple[str, ...]
    features: FeatureConfig | None
    channel_scale: np.ndarray | None
    run: Logits
    trained_on: Mapping[str, Any]
    trained_on_synthetic: bool | None
    pack: EvaluationPack | None = None
    checkpoint: CheckpointSpec | None = None
    audio: AudioInput | None = None

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Logits, shape (clips, classes), of unscaled features of shape (clips, frames, channels)."""
        return self.run(features if self.channel_scale is None else features / self.channel_scale)


def open_models(
    paths: Sequence[Path], *, features: str = "", labels: Sequence[str] = (), runtime: Runtime = DEFAULT_RUNTIME
) -> list[Model]:
    """The models at `paths`, each under a name of its own; arguments and errors as for `open_model`."""
    models = [open_model(path, features=features, labels=labels, runtime=runtime) for path in paths]
    seen = [model.name for model in models]
    return [
        dataclasses.replace(model, name=str(model.path)) if seen.count(model.name) > 1 else model for model in models
    ]


def open_model(
    path: Path, *, features: str = "", labels: Sequence[str] = (), runtime: Runtime = DEFAULT_RUNTIME
) -> Model:
    """The model at `path`.

    Args:
        path: a bundle's folder, an `.onnx` or `.tflite` file, or else a checkpoint.
        features: name of the front end of a file that lies in no bundle.
        labels: class names of such a file; without them it has the twelve of Speech Commands.
        runtime: what runs TFLite files.

    Raises:
        CheckpointError: the checkpoint is missing, damaged, or a teacher's.
        BundleError: the bundle is incomplete, altered or damaged.
        ConversionError: the runtime is missing, or it or ONNX Runtime refuses the file.
        SettingsError: it lies in no bundle and `features` is empty or in no table.
    """
    if path.is_dir():
        return _of_bundle(read_bundle(path), path, ".tflite", runtime)
    if path.suffix not in _SUFFIXES:
        return _of_checkpoint(path)
    if not path.is_file():
        raise SettingsError(
            f"there is no file {path}; give a checkpoint, a bundle's folder, or an .onnx or .tflite file"
        )
    if path.stem == "model" and (path.parent / DOCUMENT).is_file():
        return _of_bundle(read_bundle(path.parent), path, path.suffix, runtime)
    return _of_bare_file(path, features, tuple(labels) or TWELVE_LABELS, runtime)


def _of_checkpoint(path: Path) -> Model:
    checkpoint = read_checkpoint(path)
    spec = checkpoint.spec
    if spec.kind != "student":
        raise CheckpointError(f"{path} holds a {spec.kind}; expected a student, a bundle, or an .onnx or .tflite file")
    features = FeatureConfig.from_dict(spec.features)
    student = load_student(checkpoint)
    return Model(
        name=spec.name,
        path=path,
        sha256=checkpoint.sha256,
        parent_sha256=checkpoint.sha256,
        runtime="PyTorch",
        precision="float32",
        labels=spec.labels,
        features=features,
        channel_scale=None,
        run=lambda inputs: predict(student, torch.from_numpy(inputs)),
        trained_on=spec.data,
        trained_on_synthetic=spec.synthetic,
        checkpoint=spec,
    )


def _of_bundle(bundle: Bundle, path: Path, suffix: str, runtime: Runtime) -> Model:
    file = bundle.folder / f"model{suffix}"
    front_end = dict(bundle.document["front_end"])
    in_graph = bool(front_end.pop("in_graph", False))
    scale = front_end.pop("channel_scale", None)
    pack = bundle.evaluation()
    # An ONNX file is in float32 also beside an int8 one, whose pack is in integers.
    real = EvaluationPack(inputs=bundle.inputs[0].dequantize(pack.inputs), labels=pack.labels, ids=pack.ids)
    return Model(
        name=bundle.name if suffix == ".tflite" else f"{bundle.name}/{file.name}",
        path=path,
        sha256=sha256_of(file),
        parent_sha256=str(bundle.document["parents"].get("checkpoint_sha256") or ""),
        runtime=_runtime_name(file, runtime),
        precision=bundle.precision if suffix == ".tflite" else "float32",
        labels=bundle.labels,
        features=None if in_graph else FeatureConfig.from_dict(front_end),
        channel_scale=None if scale is None else np.asarray(scale, np.float32),
        run=_runner(file, runtime),
        trained_on=bundle.document["data"],
        trained_on_synthetic=bundle.document["data"].get("trained_on_synthetic"),
        pack=real,
        audio=_audio(bundle) if in_graph else None,
    )


def _audio(bundle: Bundle) -> AudioInput:
    given = bundle.document["front_end"].get("input")
    try:
        return AudioInput(samples=int(given["samples"]), sample_rate_hz=int(given["sample_rate_hz"]))
    except (KeyError, TypeError, ValueError) as cause:
        raise SettingsError(
            f"{bundle.folder} has its front end inside the graph and does not say what audio it takes "
            f"(front_end.input is {given!r}); export the model again"
        ) from cause


def _of_bare_file(path: Path, features: str, labels: tuple[str, ...], runtime: Runtime) -> Model:
    if not features:
        raise SettingsError(
            f"{path} lies in no bundle, so its front end is unknown; name the bundle's folder, "
            "or the front end with --features"
        )
    return Model(
        name=path.name,
        path=path,
        sha256=sha256_of(path),
        parent_sha256="",
        runtime=_runtime_name(path, runtime),
        precision="",
        labels=labels,
        features=find_features(features),
        channel_scale=None,
        run=_runner(path, runtime),
        trained_on={},
        trained_on_synthetic=None,
    )


def _runtime_name(file: Path, runtime: Runtime) -> str:
    return _NAMES[runtime] if file.suffix == ".tflite" else "ONNX Runtime"


def _runner(file: Path, runtime: Runtime) -> Logits:
    if file.suffix == ".tflite":
        return TfliteModel(file, runtime=runtime).run
    content = file.read_bytes()
    return lambda inputs: run_onnx(content, inputs)
