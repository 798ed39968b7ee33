"""The same batch through PyTorch, ONNX Runtime and TFLite; parity and every accuracy are computed from these.

One example at a time, one thread, as on the phone. Outputs are float32: integers are dequantized.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from converters.bundle import TensorSpec
from converters.errors import ConversionError
from converters.runtimes import DEFAULT_RUNTIME, Runtime, make_interpreter

if TYPE_CHECKING:
    import torch

_FEWEST_INFERENCES = 5

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]


def run_torch(module: torch.nn.Module, inputs: Array) -> Floats:
    """The module's outputs in evaluation mode.

    Args:
        module: one tensor in, one out; its training flag is put back afterwards.
        inputs: float32, shape (examples, *axes); each example goes through alone, as (1, *axes).

    Returns:
        Shape (examples, *output axes).
    """
    import torch

    with evaluating(module):
        return np.concatenate([module(torch.from_numpy(example)).numpy() for example in _examples(inputs)])


@contextmanager
def evaluating(module: torch.nn.Module) -> Iterator[None]:
    """Inside the block, the module is in evaluation mode, without gradients, on one thread; then all is put back.

    One example is too little work to share: on a busy machine, threads that wait for each other cost a hundredfold.
    """
    import torch

    modes = [(part, part.training) for part in module.modules()]
    threads = torch.get_num_threads()
    module.eval()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_num_threads(threads)
        for part, was_training in modes:
            part.training = was_training


def check_clips(name: str, clips: Array, axes: tuple[int, ...]) -> None:
    """Raises ConversionError unless `clips`, called `name`, are finite floats of shape (clips, *axes), at least one."""
    if clips.dtype.kind != "f":
        raise ConversionError(f"{name} has dtype {clips.dtype}; expected floating-point features")
    if clips.shape[1:] != axes:
        raise ConversionError(f"{name} has shape {clips.shape}; expected (clips, {', '.join(map(str, axes))})")
    if len(clips) == 0:
        raise ConversionError(f"{name} is empty; give at least one clip (128 or more for calibration)")
    if not np.isfinite(clips).all():
        broken = int(np.flatnonzero(~np.isfinite(clips).reshape(len(clips), -1).all(axis=1))[0])
        raise ConversionError(f"{name} clip {broken} has a value that is NaN or infinite; leave it out")


def run_onnx(content: bytes, inputs: Array) -> Floats:
    """The outputs of an ONNX model in ONNX Runtime; shapes as for `run_torch`.

    Raises:
        ConversionError: ONNX Runtime refuses the model or the input.
    """
    import onnxruntime

    refusals: tuple[type[Exception], ...] = (RuntimeError, ValueError, *onnxruntime_errors())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        outputs = [session.run(None, {name: example})[0] for example in _examples(inputs)]
    except refusals as cause:
        raise ConversionError(f"ONNX Runtime cannot run the model: {cause}") from cause
    return np.concatenate(outputs).astype(np.float32)


def run_tflite(model: bytes | Path, inputs: Array) -> Floats:
    """The outputs of a TFLite file in LiteRT with XNNPACK; real numbers in and out, shapes as for `run_torch`.

    Raises:
        ConversionError: the file cannot be read, or LiteRT refuses it or the input.
    """
    return TfliteModel(model).run(inputs)


class TfliteModel:
    """A TFLite file loaded in a runtime, LiteRT unless told otherwise, on one thread.

    Args:
        model: the file's bytes or its path.
        keeps_all: keep every intermediate tensor for `trace`; XNNPACK is left out then, as it keeps them to itself.
        only_time: any number of inputs and outputs, for `TfliteTimer` alone.
        runtime: what runs it.
        has_states: several inputs and outputs. Examples are then a structured array with a field for each input,
            and outputs are those of the model's first output.

    Raises:
        ConversionError: the file cannot be read, the runtime is missing or refuses it.
    """

    def __init__(
        self,
        model: bytes | Path,
        *,
        keeps_all: bool = False,
        only_time: bool = False,
        has_states: bool = False,
        runtime: Runtime = DEFAULT_RUNTIME,
    ) -> None:
        content = model.read_bytes() if isinstance(model, Path) else model
        self._runtime = runtime
        try:
            with without_notices():
                self._interpreter = make_interpreter(runtime, content, keeps_all=keeps_all)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as cause:
            raise ConversionError(f"{runtime} refuses the model ({len(content):,} bytes): {cause}") from cause
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        if only_time:
            return
        if (len(inputs) != 1 or len(outputs) != 1) and not has_states:
            raise ConversionError(
                f"the model has {len(inputs)} inputs and {len(outputs)} outputs; expected one of each"
            )
        self._places = {str(each["name"]): int(each["index"]) for each in (*inputs, *outputs)}
        self.inputs = tuple(map(_spec, inputs))
        self.outputs = tuple(map(_spec, outputs))
        self.input, self.output = self.inputs[0], self.outputs[0]

    def run(self, inputs: Array) -> Floats:
        """Outputs in real units, float32, shape (examples, *output axes), of inputs in real units."""
        return self.output.dequantize(self.run_stored(self._stored(inputs)))

    def run_stored(self, inputs: Array) -> Array:
        """Outputs in the model's own dtype of inputs in the model's own dtype."""
        return np.concatenate([self._invoke(example).copy() for example in _examples(inputs)])

    def trace(self, inputs: Array, names: Sequence[str]) -> Iterator[dict[str, Floats]]:
        """The named tensors after each example, in real units; needs `keeps_all`."""
        details = {detail["name"]: detail for detail in self._interpreter.get_tensor_details()}
        kept = [(name, details[name]["index"], *details[name]["quantization"]) for name in names]
        for example in _examples(self._stored(inputs)):
            self._invoke(example)
            yield {
                name: _real(self._interpreter.get_tensor(index), scale, zero_point)
                for name, index, scale, zero_point in kept
            }

    def step(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Every output by its name, from every input by its name, all in the model's own dtypes."""
        try:
            for name, fed in feeds.items():
                self._interpreter.set_tensor(self._places[name], fed)
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as cause:
            shapes = ", ".join(str(fed.shape) for fed in feeds.values())
            raise ConversionError(f"{self._runtime} cannot run the model on shape {shapes}: {cause}") from cause
        return {spec.name: self._interpreter.get_tensor(self._places[spec.name]) for spec in self.outputs}

    def _stored(self, inputs: Array) -> Array:
        """Inputs in real units as the model's own dtypes."""
        if inputs.dtype.names is None:
            return self.input.quantize(inputs)
        stored = np.empty(len(inputs), [(spec.name, spec.dtype, spec.shape[1:]) for spec in self.inputs])
        for spec in self.inputs:
            stored[spec.name] = spec.quantize(inputs[spec.name])
        return stored

    def _invoke(self, example: Array) -> Array:
        names = example.dtype.names
        feeds = {self.input.name: example} if names is None else {name: example[name] for name in names}
        return self.step(feeds)[self.output.name]


class TfliteTimer:
    """The time of one inference of a model that holds its input already.

    Args:
        model: loaded.
        example: in the model's own dtype, shape of its input; None feeds noise.
    """

    def __init__(self, model: TfliteModel, example: Array | None) -> None:
        self._interpreter = model._interpreter
        rng = np.random.default_rng(0)
        for detail in self._interpreter.get_input_details():
            noise = rng.uniform(-1.0, 1.0, detail["shape"]) * (1.0 if detail["dtype"] == np.float32 else 100.0)
            self._interpreter.set_tensor(detail["index"], noise.astype(detail["dtype"]) if example is None else example)
        self._interpreter.invoke()

    def seconds(self, at_least_s: float, clock: Callable[[], float]) -> float:
        """Median seconds of one inference, over as many as `at_least_s` takes and five at least.

        An interruption by other work then counts once, and does not pass for the time of all.
        """
        start = last = clock()
        times: list[float] = []
        while last - start < at_least_s or len(times) < _FEWEST_INFERENCES:
            self._interpreter.invoke()
            now = clock()
            times.append(now - last)
            last = now
        return float(np.median(times))


def _examples(inputs: Array) -> Iterator[Array]:
    for index in range(len(inputs)):
        yield np.ascontiguousarray(inputs[index : index + 1])


def _spec(detail: dict[str, Any]) -> TensorSpec:
    scale, zero_point = detail["quantization"]
    is_quantized = scale != 0
    return TensorSpec(
        name=str(detail["name"]),
        shape=tuple(int(length) for length in detail["shape"]),
        dtype=np.dtype(detail["dtype"]).name,
        scale=float(scale) if is_quantized else None,
        zero_point=int(zero_point) if is_quantized else None,
    )


def _real(stored: Array, scale: float, zero_point: int) -> Floats:
    if stored.dtype == np.float32:
        return stored
    return (stored.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)


def onnxruntime_errors() -> tuple[type[Exception], ...]:
    """ONNX Runtime's own errors, which have no common public ancestor but Exception."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return (
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NotImplemented,
        state.RuntimeException,
    )


@contextmanager
def without_notices() -> Iterator[None]:
    """Keeps LiteRT's `INFO:` lines off stderr, where they would run into a progress bar; anything else passes on.

    LiteRT writes them from C++, past Python's `sys.stderr`.
    """
    try:
        stderr = os.dup(2)
    except OSError:  # a process without stderr has nothing to keep clean
        yield
        return
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            caught.seek(0)
            rest = [line for line in caught.read().splitlines(keepends=True) if not line.startswith(b"INFO: ")]
            os.write(2, b"".join(rest))
