"""ONNX to TFLite through onnx-tf and TensorFlow's converter, in a process of its own.

    python -P worker.py --check      prints what is missing, as a JSON list
    python -P worker.py FOLDER…      each holds request.json, model.onnx, perhaps calibration.npy;
                                     each gets <precision>.tflite and answer.json

Started by `converters.tensorflow_route.route`, perhaps with a Python that has TensorFlow and not this project: nothing
of the project is imported here. A process of its own also because TensorFlow can abort on a model.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("tensorflow", "tf-keras", "onnx-tf", "onnx", "numpy")
_MODULES = ("tensorflow", "tf_keras", "onnx", "onnx_tf")
_LONGEST_REASON = 300

Step = tuple[str, Callable[[], str | None]]
"""A name, and what does it; a text that comes back is kept as a note."""


def main(folders: Sequence[Path]) -> int:
    """Converts what lies in each folder; 0 with an answer, also where that is a refusal."""
    quieten()
    start = time.perf_counter()
    stand_in()
    import onnx_tf.backend
    import tensorflow

    facts = {"versions": {name: version(name) for name in PACKAGES}, "import_seconds": time.perf_counter() - start}
    refusals = (*_refusals(), *tensorflow_refusals(tensorflow))
    for folder in folders:
        carry_out(folder, _steps(folder, onnx_tf.backend, tensorflow), facts, refusals)
    return 0


def quieten() -> None:
    """Settings that TensorFlow reads when it is imported: no notices, no GPU, and the Keras that onnx-tf knows."""
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")


def carry_out(
    folder: Path, steps: Iterable[Step], facts: dict[str, Any], refusals: tuple[type[Exception], ...]
) -> None:
    """Runs the steps in turn and writes answer.json before each, so that a crash says where it happened.

    A step that is refused is written down with its reason; where the first one is, the others are left out.
    """
    answer: dict[str, Any] = {**facts, "refusals": {}, "notes": {}, "seconds": {}, "cpu_seconds": {}}
    for step, make in steps:
        write_answer(folder, {**answer, "step": step})
        start, cpu = time.perf_counter(), time.process_time()
        try:
            note = make()
        except refusals as cause:
            answer["refusals"][step] = reason_of(cause)
            if not answer["seconds"]:
                break
        else:
            answer["seconds"][step] = time.perf_counter() - start
            answer["cpu_seconds"][step] = time.process_time() - cpu
            if note:
                answer["notes"][step] = note
    write_answer(folder, {**answer, "step": None})


def write_answer(folder: Path, answer: dict[str, Any]) -> None:
    """Writes answer.json, whole or not at all."""
    partial = folder / "answer.partial"
    partial.write_text(json.dumps(answer), encoding="utf-8")
    partial.rename(folder / "answer.json")


def put(content: bytes, path: Path) -> None:
    """Writes a file, whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    partial.rename(path)


def _steps(folder: Path, backend: Any, tf: Any) -> Iterator[Step]:
    import onnx

    saved = folder / "saved_model"

    def save() -> None:
        model = onnx.load(folder / "model.onnx")
        for node in model.graph.node:
            # An optional input that is left out may be named '' at the end; onnx-tf looks for a tensor of that name.
            while node.input and not node.input[-1]:
                del node.input[-1]
        backend.prepare(model, auto_cast=True).export_graph(str(saved))

    yield "saved_model", save
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    for precision in request["precisions"]:

        def write(precision: str = precision) -> None:
            put(tflite_of(tf, saved, precision, folder / "calibration.npy"), folder / f"{precision}.tflite")

        yield precision, write


def tflite_of(tf: Any, saved: Path, precision: str, calibration: Path) -> bytes:
    """The TFLite file of a SavedModel.

    Args:
        tf: the module tensorflow.
        saved: folder of the SavedModel, one input and one output.
        precision: float32, float16, dynamic or int8; int8 keeps in float what TensorFlow has no int8 form of.
        calibration: an .npy file, shape (clips, *axes), for int8.
    """
    import numpy as np

    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved))
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision == "int8":
        clips = np.load(calibration, mmap_mode="r", allow_pickle=False)
        converter.representative_dataset = lambda: ([np.array(clips[at : at + 1])] for at in range(len(clips)))
        kinds = tf.lite.OpsSet
        converter.target_spec.supported_ops = [kinds.TFLITE_BUILTINS_INT8, kinds.TFLITE_BUILTINS]
        converter.inference_input_type = tf.int8
        converter.inference_output_type = tf.int8
    content: bytes = converter.convert()
    return content


def stand_in() -> None:
    """Makes what onnx-tf 1.10 imports and present packages no longer have.

    onnx-tf was last released in 2022. `onnx.mapping` has gone from onnx since. TensorFlow Addons, installed with it,
    ended in 2024 and does not import beside a present Keras; TensorFlow Probability serves one operator, which draws
    random numbers and has no form in TFLite.
    """
    import numpy as np
    import onnx

    if not hasattr(onnx, "mapping"):
        helper = onnx.helper
        table = {
            kind: np.dtype(helper.tensor_dtype_to_np_dtype(kind))
            for kind in helper.get_all_tensor_dtypes()
            if kind <= onnx.TensorProto.BFLOAT16
        }
        storage = {kind: helper.tensor_dtype_to_storage_tensor_dtype(kind) for kind in table}
        mapping: Any = types.ModuleType("onnx.mapping")
        mapping.TENSOR_TYPE_TO_NP_TYPE = table
        mapping.NP_TYPE_TO_TENSOR_TYPE = {dtype: kind for kind, dtype in reversed(table.items())}
        mapping.TENSOR_TYPE_TO_STORAGE_TENSOR_TYPE = storage
        mapping.STORAGE_TENSOR_TYPE_TO_FIELD = {
            kind: helper.tensor_dtype_to_field(kind) for kind in set(storage.values())
        }
        onnx.mapping = helper.mapping = sys.modules["onnx.mapping"] = mapping
    addons: Any = types.ModuleType("tensorflow_addons")
    addons.seq2seq = types.SimpleNamespace(hardmax=_hardmax)
    probability: Any = types.ModuleType("tensorflow_probability")
    probability.distributions = types.SimpleNamespace(Bernoulli=_no_bernoulli)
    sys.modules |= {"tensorflow_addons": addons, "tensorflow_probability": probability}


def _hardmax(logits: Any) -> Any:
    """One at the largest entry of each row, zero elsewhere."""
    import tensorflow as tf

    return tf.one_hot(tf.argmax(logits, axis=1), tf.shape(logits)[1], dtype=logits.dtype)


def _no_bernoulli(**_: Any) -> Any:
    raise NotImplementedError("Bernoulli draws random numbers, and TFLite has no such operator")


def _refusals() -> tuple[type[Exception], ...]:
    """What onnx-tf raises on a model that it cannot convert: it has no error of its own."""
    from onnx.backend.test.runner import BackendIsNotSupposedToImplementIt

    return (ArithmeticError, AssertionError, AttributeError, LookupError, NameError, RuntimeError, TypeError,
            ValueError, BackendIsNotSupposedToImplementIt)  # fmt: skip


def tensorflow_refusals(tf: Any) -> tuple[type[Exception], ...]:
    """TensorFlow's own errors."""
    from tensorflow.lite.python.convert import ConverterError

    return (ConverterError, tf.errors.OpError)


def reason_of(cause: BaseException) -> str:
    """The telling line of an error, with the kind of error before it."""
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    telling = [line for line in lines if any(word in line for word in ("error:", "Error:", "not implemented"))]
    text = (telling or lines or ["without a message"])[-1 if telling else 0]
    name = type(cause).__name__.removeprefix("Multiline").removeprefix("Message")
    text = text.removeprefix(f"{name}: ")
    return f"{name}: {text}"[:_LONGEST_REASON]


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        print(json.dumps([name for name in _MODULES if importlib.util.find_spec(name) is None]))  # noqa: T201
        sys.exit()
    sys.exit(main([Path(word) for word in sys.argv[1:]]))
