"""What goes into a conversion and what comes out of it; `converters.pipeline` leads from the one to the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from converters.advice import Advice
from converters.bundle_contents import PRECISIONS, Precision, TensorSpec
from converters.calibration import METHODS, Method
from converters.command_line import did_you_mean
from converters.errors import ConversionError
from converters.latency import Ratio
from converters.lowering.choices import Choices
from converters.metadata import Card
from converters.mixture import Mixture
from converters.parity import ParityGates, ParityReport
from converters.quant_report import QuantReport, Shares
from converters.rounding import ROUNDINGS, Rounding
from converters.runners import Array, check_clips
from converters.runtimes import DEFAULT_RUNTIME, Runtime, check_runtime
from converters.tune import Tuner, Tuning

if TYPE_CHECKING:
    import torch

_MARGIN_DB = 2.0
_SOUND_MARGIN_DB = 0.3

Backend = Literal["direct", "onnx-tf"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ConversionRequest:
    """What is to be converted, and what it has to stand.

    Attributes:
        module: a network with one tensor in and one out; or None, and `onnx` is given.
        onnx: an ONNX model's bytes; or None, and `module` is given.
        front: computes the module's input from what the file gets, in float32 in every file; None for nothing.
        example: float32, shape (1, *axes): the shape that the file will have.
        precisions: of the files, besides float32, which is always made; None for int8 where there is calibration.
        calibration: float32, shape (clips, *axes), as the file gets them in use; int8 needs it.
        method: how calibration chooses ranges.
        rounding: how weights become int8: `compensated` makes up for the error of each at the layer's output,
            `nearest` takes each by itself.
        keep_float: regular expressions; operators of the int8 file that match one compute in float32. They are tried
            against `TYPE name`, such as `CONV_2D /neck/Conv_output_0`.
        goal_db: below this SQNR of the whole file, families of operators are taken out of int8; None takes 2 dB more
            than the gate.
        check: float32, shape (inputs, *axes), for parity; None takes the first 64 clips of `calibration`,
            or noise where there is none.
        gates: bounds of parity; None measures and lets everything pass.
        advises: also find out which operators of the int8 file are worth keeping in float, which takes some seconds.
        choices: where the lowering has more than one way.
        tuner: what to find the fastest way for, beginning with `choices`; None takes `choices` as they are.
        card: what every file says of itself; None for no metadata.
        input_name: of the model's input; an ONNX model keeps its own.
        output_name: of the model's output; an ONNX model keeps its own.
        backend: what writes the files: our own lowering, or onnx-tf and TensorFlow, which takes `minmax` ranges, rounds
            to the nearest level and decides by itself what stays float.
        backend_python: the interpreter of an environment that has TensorFlow; None takes this one.
        runtime: what runs the files for parity and latency.
    """

    module: torch.nn.Module | None = None
    onnx: bytes | None = None
    front: torch.nn.Module | None = None
    example: Array
    precisions: tuple[Precision, ...] | None = None
    calibration: Array | None = None
    method: Method = "minmax"
    rounding: Rounding = "compensated"
    keep_float: tuple[str, ...] = ()
    goal_db: float | None = None
    check: Array | None = None
    gates: ParityGates | None = field(default_factory=ParityGates)
    advises: bool = False
    choices: Choices = field(default_factory=Choices)
    tuner: Tuner | None = None
    card: Card | None = None
    input_name: str = "input"
    output_name: str = "output"
    backend: Backend = "direct"
    backend_python: Path | None = None
    runtime: Runtime = DEFAULT_RUNTIME

    def __post_init__(self) -> None:
        if (self.module is None) == (self.onnx is None):
            raise ConversionError("give either a module or an ONNX model to convert, not both and not neither")
        if self.front is not None and self.module is None:
            raise ConversionError("a front goes with a module; put it into the ONNX model instead")
        if self.example.ndim < 2 or len(self.example) != 1:
            raise ConversionError(f"the example has shape {self.example.shape}; expected (1, *axes): one input")
        if self.method not in METHODS:
            raise ConversionError(f"no calibration method is called '{self.method}'; known: {', '.join(METHODS)}")
        if self.rounding not in ROUNDINGS:
            raise ConversionError(f"no rounding is called '{self.rounding}'; known: {', '.join(ROUNDINGS)}")
        for precision in self.precisions or ():
            if precision not in PRECISIONS:
                raise ConversionError(did_you_mean(precision, PRECISIONS, "precision"))
        if not self.input_name or not self.output_name or self.input_name == self.output_name:
            raise ConversionError(f"input and output are called '{self.input_name}' and '{self.output_name}'")
        self._check_backend()
        self._check_clips()

    def _check_backend(self) -> None:
        check_runtime(self.runtime)
        if self.backend not in BACKENDS:
            raise ConversionError(did_you_mean(self.backend, BACKENDS, "backend"))
        if self.backend == "direct":
            if self.backend_python is not None:
                raise ConversionError(f"{self.backend_python} is for the backend onnx-tf; direct runs in this Python")
            return
        if self.keep_float:
            raise ConversionError("the backend onnx-tf decides by itself what stays float; leave --keep-float out")
        if self.method != "minmax":
            raise ConversionError(f"the backend onnx-tf knows minmax ranges only, not {self.method}")
        if self.tuner is not None:
            raise ConversionError("the backend onnx-tf lowers in one way only; leave --tune out")

    def _check_clips(self) -> None:
        check_clips("example", self.example, self.example.shape[1:])
        for name, clips in (("calibration", self.calibration), ("check", self.check)):
            if clips is not None:
                check_clips(name, clips, self.example.shape[1:])
        if self.calibration is None and "int8" in self.wanted:
            raise ConversionError("int8 needs calibration clips; give some, or ask for float16 or dynamic")
        if self.calibration is not None and self.calibration.min() == self.calibration.max():
            raise ConversionError(
                f"every value of the calibration clips is {self.calibration.min()}: no range can be learnt from them; "
                "calibrate on real clips of the data set"
            )
        if self.keep_float and "int8" not in self.wanted:
            raise ConversionError("keep_float is about operators of the int8 file, and none was asked for")

    @property
    def whole(self) -> torch.nn.Module | None:
        """What the file computes: the module behind its front; None for an ONNX model."""
        if self.front is None or self.module is None:
            return self.module
        from torch import nn

        return nn.Sequential(self.front, self.module)

    @property
    def wanted(self) -> tuple[Precision, ...]:
        """The precisions of the files that are made, float32 first."""
        usual: tuple[Precision, ...] = () if self.calibration is None else ("int8",)
        asked = usual if self.precisions is None else self.precisions
        return tuple(each for each in PRECISIONS if each == "float32" or each in asked)

    @property
    def goal(self) -> float:
        """The SQNR below which operators are taken out of int8, in dB."""
        if self.goal_db is not None:
            return self.goal_db
        return (self.gates or ParityGates()).int8_sqnr_db + _MARGIN_DB

    @property
    def sound_db(self) -> float:
        """The SQNR on calibration clips from which the int8 file can be expected to pass its gate, in dB."""
        return self.goal - _MARGIN_DB + _SOUND_MARGIN_DB


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TfliteFile:
    """One TFLite file and what it says of itself.

    Attributes:
        precision: float32, float16, dynamic or int8.
        content: its bytes.
        input: name, shape, dtype, scale and zero point.
        output: the same of the output.
        operators: how many of each TFLite name.
        op_versions: the highest operator version that the file asks an engine for, by TFLite name.
        shares: how much of it is int8, a float front included.
    """

    precision: Precision
    content: bytes
    input: TensorSpec
    output: TensorSpec
    operators: Mapping[str, int]
    op_versions: Mapping[str, int]
    shares: Shares


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Conversion:
    """The result of one conversion.

    Attributes:
        onnx: the ONNX model.
        files: by precision, float32 first.
        parity: every stage against the one before, or against float32.
        quantization: what the int8 file costs, layer by layer; None without one.
        mixture: which operators of the int8 file are not int8, and why; None without one.
        advice: which others are worth keeping in float; None where not asked for.
        tuning: which ways of lowering were tried; None where not asked for.
        latency: of each file against float32, on this computer, by precision.
        seconds: wall time of each step, by name.
        backend: what wrote the files.
        runtime: what ran them for parity and latency.
        tools: versions of what a backend of another process is made of, by package; empty for our own.
    """

    onnx: bytes
    files: Mapping[Precision, TfliteFile]
    parity: ParityReport
    quantization: QuantReport | None
    mixture: Mixture | None
    advice: Advice | None
    tuning: Tuning | None
    latency: Mapping[str, Ratio]
    seconds: Mapping[str, float]
    backend: Backend = "direct"
    runtime: Runtime = DEFAULT_RUNTIME
    tools: Mapping[str, str] = field(default_factory=dict)

    @property
    def float32(self) -> TfliteFile:
        """The float file, which every conversion makes."""
        return self.files["float32"]

    @property
    def int8(self) -> TfliteFile | None:
        """The int8 file; None where none was asked for."""
        return self.files.get("int8")
