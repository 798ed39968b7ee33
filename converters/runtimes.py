"""The runtimes that can run a TFLite file on this computer: a table of modules that have the same interpreter.

Used by `converters.runners`. Tested in `tests/converters/test_runtimes.py`.
"""

from __future__ import annotations

import importlib
import os
import warnings
from typing import Any, Literal, get_args

from converters.command_line import did_you_mean
from converters.errors import ConversionError

Runtime = Literal["ai-edge-litert", "tensorflow", "tflite-runtime"]
RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)
DEFAULT_RUNTIME: Runtime = "ai-edge-litert"

# The module of each, and how that module calls the interpreter and the choice of kernels.
_PLACES: dict[Runtime, tuple[str, str, str]] = {
    "ai-edge-litert": ("ai_edge_litert.interpreter", "Interpreter", "OpResolverType"),
    "tensorflow": ("tensorflow", "lite.Interpreter", "lite.experimental.OpResolverType"),
    "tflite-runtime": ("tflite_runtime.interpreter", "Interpreter", "OpResolverType"),
}


def make_interpreter(runtime: Runtime, content: bytes, *, keeps_all: bool) -> Any:
    """An interpreter on one thread, with XNNPACK unless every tensor is to be kept.

    Args:
        runtime: a row of the table.
        content: of a TFLite file.
        keeps_all: keep intermediate tensors; XNNPACK is left out then, as it keeps them to itself.

    Raises:
        ConversionError: no runtime is called so, or it is not installed, or does not load beside what is.
        ValueError, RuntimeError: it refuses the file.
    """
    interpreter, resolver = _load(runtime)
    plain, usual = resolver.BUILTIN_WITHOUT_DEFAULT_DELEGATES, resolver.AUTO
    with warnings.catch_warnings():
        # TensorFlow announces that its interpreter will move to ai-edge-litert, which is the default here.
        warnings.simplefilter("ignore")
        return interpreter(
            model_content=content,
            num_threads=1,
            experimental_preserve_all_tensors=keeps_all,
            experimental_op_resolver_type=plain if keeps_all else usual,
        )


def check_runtime(runtime: str) -> None:
    """Raises ConversionError unless `runtime` is in the table and can be loaded."""
    if runtime not in RUNTIMES:
        raise ConversionError(did_you_mean(runtime, RUNTIMES, "runtime"))
    _load(runtime)


def _load(runtime: Runtime) -> tuple[Any, Any]:
    module, *places = _PLACES[runtime]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = importlib.import_module(module)
            return _inside(found, places[0]), _inside(found, places[1])
    except ModuleNotFoundError as cause:
        if (cause.name or "").partition(".")[0] != module.partition(".")[0]:
            raise
        raise ConversionError(f"the runtime {runtime} is not installed; {_advice(runtime)}") from cause
    except (ImportError, AttributeError) as cause:
        # tflite-runtime 2.14 is built for numpy 1.
        raise ConversionError(f"the runtime {runtime} does not load here ({cause}); {_advice(runtime)}") from cause


def _inside(module: Any, path: str) -> Any:
    for name in path.split("."):
        module = getattr(module, name)
    return module


def _advice(runtime: Runtime) -> str:
    if runtime == DEFAULT_RUNTIME:
        return "in a checkout of the project: pip install '.[export]'"
    return "in a checkout of the project: make setup-tensorflow, and use the commands in .venv-tensorflow/bin"
