"""PyTorch to ONNX: the first step of a conversion; `converters.graph` reads what it makes."""

from __future__ import annotations

import io
import os
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import onnx

from converters.errors import ConversionError
from converters.onnx_file import read_model
from converters.runners import evaluating

if TYPE_CHECKING:
    import torch

OPSET = 17
"""Every operator that the lowering reads exists at this opset in its present form, and both exporters write it."""


def to_onnx(
    module: torch.nn.Module,
    example: torch.Tensor,
    *,
    input_name: str = "input",
    output_name: str = "output",
    opset: int = OPSET,
) -> onnx.ModelProto:
    """The ONNX model of one forward pass, with the static shapes of `example`.

    The TorchScript exporter does the work (a tenth of a second, against three seconds for the newer one).
    It records one pass: whatever the module decides from shapes becomes a constant, which static shapes want.

    Args:
        module: any network with one tensor in and one tensor out; its training flag is put back afterwards.
        example: an input of the shape that the model is to have; float32.
        input_name: the name of the graph's input.
        output_name: the name of the graph's output.
        opset: of ONNX's own operators; functions that the module defines keep theirs.

    Raises:
        ConversionError: the module does not run on `example`, or has no ONNX form.
    """
    return to_onnx_of_several(module, (example,), input_names=(input_name,), output_names=(output_name,), opset=opset)


def to_onnx_of_several(
    module: torch.nn.Module,
    examples: tuple[torch.Tensor, ...],
    *,
    input_names: Sequence[str],
    output_names: Sequence[str],
    opset: int = OPSET,
) -> onnx.ModelProto:
    """The same for a network with several tensors in and out, such as one that carries states on.

    Args:
        module: gives one tensor for one output name, else a tuple of as many as there are names.
        examples: one tensor for each input.
        input_names: of the graph's inputs.
        output_names: of the graph's outputs.
        opset: as `to_onnx` takes it.

    Raises:
        ConversionError: the module does not run on the examples, or has no ONNX form.
    """
    import torch

    parameter = next(iter(module.parameters()), None)
    if parameter is not None and parameter.device.type != "cpu":
        raise ConversionError(f"the module is on {parameter.device}; move it first: module.cpu()")
    written = io.BytesIO()
    try:
        with evaluating(module), warnings.catch_warnings():
            if len(output_names) == 1:
                _check_output(module, *examples)
            # The exporter warns that it is the older one and that lengths are recorded as they are. Both are meant.
            warnings.simplefilter("ignore")
            with _recorded_faithfully():
                torch.onnx.export(
                    module,
                    examples,
                    written,  # type: ignore[arg-type]  # a stream is fine with this exporter
                    dynamo=False,
                    opset_version=opset,
                    input_names=list(input_names),
                    output_names=list(output_names),
                )
    except (RuntimeError, ValueError, TypeError, IndexError) as cause:
        shape = tuple(examples[0].shape)
        raise ConversionError(
            f"{type(module).__name__} has no ONNX form for an input of shape {shape}: {cause}"
        ) from cause
    return _with_functions(read_model(written.getvalue()), module)


@runtime_checkable
class DefinesFunctions(Protocol):
    """A part of a network that exports an operator of its own, and says in standard ones what that operator does."""

    def onnx_functions(self) -> Sequence[onnx.FunctionProto]:
        """The functions that its operators call."""
        ...


def _with_functions(model: onnx.ModelProto, module: torch.nn.Module) -> onnx.ModelProto:
    """The model with the functions that its parts define, each once, so that any runtime can run it."""
    known: dict[tuple[str, str], onnx.FunctionProto] = {}
    for part in module.modules():
        if isinstance(part, DefinesFunctions):
            known.update({(function.domain, function.name): function for function in part.onnx_functions()})
    model.functions.extend(known.values())
    return model


def _check_output(module: torch.nn.Module, example: torch.Tensor) -> None:
    import torch

    output = module(example)
    if not isinstance(output, torch.Tensor):
        raise ConversionError(
            f"{type(module).__name__} returns {type(output).__name__}; a convertible module returns one tensor: "
            "wrap it in a module whose forward returns the logits alone"
        )


@contextmanager
def _recorded_faithfully() -> Iterator[None]:
    """Inside the block, a recorded pass knows lengths as integers, and no value decides where it goes.

    The exporter would record the arithmetic on lengths too, and wrongly: Python's `-5 // 2` is -3, the graph's Div
    makes it -2, so that a padding computed by rounding up is one step short.
    Of a branch that a value decides, only the side taken would be recorded.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    lengths = (torch.Tensor.shape.__get__, torch.Tensor.size, torch.Tensor.numel, torch.Tensor.nelement)  # type: ignore[attr-defined]

    class Faithful(TorchFunctionMode):
        def __torch_function__(
            self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            if function is torch.Tensor.__bool__ and torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
                place = traceback.extract_stack(limit=2)[0]
                # The exporter reads its own constants (dropout's flag, for one): that is no branch of the network.
                if "torch/onnx/" not in place.filename.replace(os.sep, "/"):
                    raise ConversionError(
                        f"{place.filename}, line {place.lineno} decides from the value of a tensor; "
                        "a converted network does the same for every input: use torch.where"
                    )
            result = function(*args, **(kwargs or {}))
            if function not in lengths:
                return result
            return torch.Size(int(length) for length in result) if isinstance(result, tuple) else int(result)

    with Faithful():
        yield
