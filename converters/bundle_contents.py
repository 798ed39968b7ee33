"""What a bundle holds: records that are checked at birth, so that what is written can be read.

`converters.pipeline` and `tkd.export` fill them; `converters.bundle` puts them on disk and passes them on by name.
Arrays are in the model's own dtype, ready to feed: example `i` of an array is fed as `array[i : i + 1]`.
Tested in `tests/converters/test_bundle.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from converters.errors import BundleError

_QUANTIZED_DTYPES = ("int8", "uint8", "int16")
_PLAIN_DTYPES = ("float32", "int32", "int64")

Array = NDArray[Any]
Precision = Literal["float32", "float16", "dynamic", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One input or output of a model.

    Attributes:
        name: the tensor's name in the file.
        shape: its axes, the batch axis (always 1) first.
        dtype: numpy's name of its type: float32, int32, int64, int8, uint8 or int16.
        scale: real units per step of a quantized tensor, > 0; None for the plain types.
        zero_point: the integer that stands for 0.0; None for the plain types.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None

    def __post_init__(self) -> None:
        if not self.shape or self.shape[0] != 1 or any(axis < 1 for axis in self.shape):
            raise BundleError(
                f"tensor '{self.name}' has shape {list(self.shape)}; expected fixed axes of at least 1, batch 1 first"
            )
        if self.dtype in _QUANTIZED_DTYPES:
            if self.scale is None or self.zero_point is None or not (math.isfinite(self.scale) and self.scale > 0):
                raise BundleError(
                    f"tensor '{self.name}' is {self.dtype} with scale {self.scale} and zero point {self.zero_point}; "
                    "expected a positive scale and an integer zero point"
                )
        elif self.dtype not in _PLAIN_DTYPES:
            known = ", ".join(_PLAIN_DTYPES + _QUANTIZED_DTYPES)
            raise BundleError(f"tensor '{self.name}' has dtype '{self.dtype}'; expected one of {known}")
        elif self.scale is not None or self.zero_point is not None:
            raise BundleError(f"tensor '{self.name}' is {self.dtype} and has a scale; expected none")

    def quantize(self, values: Array) -> Array:
        """`values` (any shape, real units) as this tensor's dtype: ties to even as in XNNPACK, saturating.

        Raises:
            BundleError: a value is NaN, which no integer can stand for.
        """
        if self.scale is None or self.zero_point is None:
            return values.astype(self.dtype)
        if np.isnan(values).any():
            raise BundleError(f"cannot quantize for tensor '{self.name}': seen NaN, expected numbers")
        limits = np.iinfo(self.dtype)
        steps = np.rint(values.astype(np.float64) / self.scale) + self.zero_point
        return cast("Array", np.clip(steps, limits.min, limits.max).astype(self.dtype))

    def dequantize(self, array: Array) -> NDArray[np.float32]:
        """`array` (any shape, this tensor's dtype) in real units, float32."""
        if self.scale is None or self.zero_point is None:
            return array.astype(np.float32)
        return ((array.astype(np.float64) - self.zero_point) * self.scale).astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        """This record as plain JSON values."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "scale": self.scale,
            "zero_point": self.zero_point,
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EvaluationPack:
    """The clips that torch, ONNX, TFLite and the device are all scored on.

    Attributes:
        inputs: shape (clips, *axes of one input), in the model's own dtype.
        labels: shape (clips,), class indices, or (clips, classes), multi-hot.
        ids: one name per clip, without line breaks.
    """

    inputs: Array
    labels: Array
    ids: tuple[str, ...]

    def __post_init__(self) -> None:
        counts = (len(self.inputs), len(self.labels), len(self.ids))
        if len(set(counts)) != 1 or counts[0] == 0:
            raise BundleError(
                f"the evaluation pack has {counts[0]} inputs, {counts[1]} labels and {counts[2]} ids; "
                "expected the same number of each, at least 1"
            )
        if self.labels.ndim not in (1, 2) or (self.labels.ndim == 1 and self.labels.dtype.kind not in "iu"):
            raise BundleError(
                f"evaluation labels are {self.labels.dtype} of shape {list(self.labels.shape)}; "
                "expected integers (clips,) or multi-hot (clips, classes)"
            )
        if any(not name or "\n" in name or "\r" in name for name in self.ids):
            raise BundleError("an evaluation id is empty or holds a line break; expected one line per clip")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BundleContents:
    """Everything that a bundle is written from; checked at birth, so that what is written can be read.

    Attributes:
        name: the bundle's name, `<student>-<precision>` by custom; also its folder's name.
        student: the student's name, for example tcresnet8.
        precision: float32, float16, dynamic or int8.
        model: the content of model.tflite.
        onnx: the content of model.onnx.
        inputs: the model's inputs; this version of the format holds exactly one.
        outputs: the model's outputs; this version of the format holds exactly one.
        labels: class names in the order of the logits.
        front_end: every parameter of the front end, and whether it is inside the graph.
        ops: operators by type and precision; the shares of ops and of MACs that are int8.
        parity: the difference of each stage from the stage before it.
        accuracy: {"evaluation_pack": {"clips": n, "torch": {"correct", "total", "interval"}, …}, "test_split": {…}}.
        calibration: data set, split and clip list hash; empty for a float model.
        parents: what this was made from (checkpoint sha256, teacher, data); decides what may overwrite what.
        tools: versions of the tools that made it.
        git: commit and dirty flag.
        data: the data behind the model and the pack; `synthetic` is true or false and every table shows it.
        golden_input: shape (examples, *axes of one input), in the model's own dtype.
        golden_output: shape (examples, *axes of one output), what the host runtime computed from golden_input.
        evaluation: the evaluation pack.
        report_markdown: the text of report.md.
        report: the content of report.json.
    """

    name: str
    student: str
    precision: str
    model: bytes
    onnx: bytes
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    labels: tuple[str, ...]
    front_end: Mapping[str, Any]
    ops: Mapping[str, Any]
    parity: Mapping[str, Any]
    accuracy: Mapping[str, Any]
    calibration: Mapping[str, Any]
    parents: Mapping[str, Any]
    tools: Mapping[str, Any]
    git: Mapping[str, Any]
    data: Mapping[str, Any]
    golden_input: Array
    golden_output: Array
    evaluation: EvaluationPack
    report_markdown: str
    report: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name or self.name.startswith("."):
            raise BundleError(f"a bundle cannot be called '{self.name}'; expected a plain folder name")
        if not self.model or not self.onnx:
            raise BundleError(f"bundle '{self.name}' has an empty model.tflite or model.onnx")
        check_labels(self.labels)
        check_synthetic(self.data)
        check_arrays(
            only_tensor(self.inputs, "inputs"),
            only_tensor(self.outputs, "outputs"),
            self.golden_input,
            self.golden_output,
            self.evaluation.inputs,
        )
        check_classes(len(self.labels), self.evaluation.labels)


def check_arrays(
    model_input: TensorSpec, model_output: TensorSpec, golden_input: Array, golden_output: Array, eval_inputs: Array
) -> None:
    """Raises BundleError unless the arrays have the shapes and dtypes that the specs promise."""
    for name, array, spec in (
        ("golden_input", golden_input, model_input),
        ("golden_output", golden_output, model_output),
        ("eval_inputs", eval_inputs, model_input),
    ):
        expected = spec.shape[1:]
        if array.ndim != len(spec.shape) or array.shape[1:] != expected or array.dtype != np.dtype(spec.dtype):
            raise BundleError(
                f"{name} is {array.dtype} of shape {list(array.shape)}; "
                f"expected {spec.dtype} of shape {['n', *expected]} as tensor '{spec.name}' says"
            )
    if not len(golden_input) == len(golden_output) > 0:
        raise BundleError(
            f"golden_input has {len(golden_input)} examples and golden_output {len(golden_output)}; "
            "expected the same number, at least 1"
        )


def check_classes(classes: int, labels: Array) -> None:
    """Raises BundleError when evaluation labels name a class that the model does not have."""
    if labels.ndim == 2 and labels.shape[1] != classes:
        raise BundleError(f"evaluation labels have {labels.shape[1]} classes, the model {classes}")
    if labels.ndim == 1 and not (labels.min() >= 0 and labels.max() < classes):
        raise BundleError(f"evaluation labels run from {labels.min()} to {labels.max()}; expected 0 to {classes - 1}")


def check_labels(labels: Sequence[str]) -> None:
    """Raises BundleError unless there is at least one label and each is one line of text."""
    if not labels or any(not isinstance(label, str) or not label or "\n" in label for label in labels):
        raise BundleError(f"labels are {list(labels)!r}; expected at least one, each one line of text")


def check_synthetic(data: Mapping[str, Any]) -> None:
    """Raises BundleError unless `data` says whether it is synthetic."""
    if not isinstance(data.get("synthetic"), bool):
        raise BundleError(f"data.synthetic is {data.get('synthetic')!r}; expected true or false: tables show it")


def only_tensor(specs: Sequence[TensorSpec], what: str) -> TensorSpec:
    """The one spec of `specs`; BundleError when there are none or several."""
    if len(specs) != 1:
        raise BundleError(f"the model has {len(specs)} {what}; a bundle holds models with exactly one")
    return specs[0]
