"""onnx2tf and litert-torch at work, in an environment of their own; started by `benchmarks.converters`.

    python -m benchmarks.converter_peers onnx2tf|litert-torch FOLDER…

Folders, answers and their meaning are those of `converters.tensorflow_route.worker`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from converters.tensorflow_route.worker import Step, carry_out, put, quieten, reason_of, tflite_of

REFUSALS = (Exception,)  # any error of a peer is a row of the table


def main(peer: str, folders: Sequence[Path]) -> int:
    """Converts what lies in each folder."""
    quieten()
    start = time.perf_counter()
    load = {"onnx2tf": _onnx2tf, "litert-torch": _litert_torch}[peer]
    steps, packages = load()
    facts = {"versions": {name: version(name) for name in packages}, "import_seconds": time.perf_counter() - start}
    for folder in folders:
        carry_out(folder, steps(folder, json.loads((folder / "request.json").read_text())), facts, REFUSALS)
    return 0


def _onnx2tf() -> tuple[Any, Sequence[str]]:
    import numpy as np
    import onnx2tf
    import tensorflow as tf

    def steps(folder: Path, request: dict[str, Any]) -> Iterator[Step]:
        saved = folder / "saved_model"
        clips = np.load(folder / "calibration.npy")
        # It takes every model to begin with channels first and guesses from there. What it makes of a network that
        # moves axes first can be refused or wrong, so it gets the network from its first layer on before all else.
        ways = {
            "from the first layer on": ("model-cut.onnx", {}),
            "the input as it is": ("model.onnx", {"keep_shape_absolutely_input_names": [request["input"]]}),
        }

        def convert() -> str:
            reasons = []
            for way, (model, settings) in ways.items():
                try:
                    onnx2tf.convert(
                        input_onnx_file_path=str(folder / model),
                        output_folder_path=str(saved),
                        # Without it a recurrence becomes a WHILE, which is slower and which int8 cannot calibrate.
                        enable_rnn_unroll=True,
                        output_signaturedefs=True,  # writes the SavedModel
                        non_verbose=True,
                        verbosity="error",
                        **settings,
                    )
                    made = saved / f"{Path(model).stem}_float32.tflite"
                    fed = _check(made, clips, folder)
                    np.save(folder / "fed.npy", fed)
                    put(made.read_bytes(), folder / "float32.tflite")
                    return way
                except (Exception, SystemExit) as cause:  # noqa: BLE001 - then the next way
                    reasons.append(f"{way}: {_onnx2tf_reason(cause)}")
            raise ValueError("; ".join(reasons))

        yield "float32", convert
        yield "int8", lambda: put(tflite_of(tf, saved, "int8", folder / "fed.npy"), folder / "int8.tflite")

    return steps, ("onnx2tf", "tensorflow", "onnx")


def _check(file: Path, clips: Any, folder: Path) -> Any:
    """The calibration clips in the layout that the file takes; ValueError where it computes something else."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(file), num_threads=1)
    interpreter.allocate_tensors()
    given, answer = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    shape = [int(length) for length in given["shape"][1:]]

    def laid(several: Any) -> Any:
        axes = [length for length in shape if length > 1]
        turned = several if axes == list(several.shape[1:]) else several.transpose(0, 2, 1)
        return np.ascontiguousarray(turned).reshape(len(several), *shape)

    for clip, expected in zip(laid(np.load(folder / "check.npy")[:4]), np.load(folder / "torch.npy"), strict=False):
        interpreter.set_tensor(given["index"], clip[None])
        interpreter.invoke()
        error = float(np.abs(interpreter.get_tensor(answer["index"])[0] - expected).max())
        if error > 1e-2 * np.abs(expected).max():
            raise ValueError(f"the file computes something else: logits are off by {error:.2g}")
    return laid(clips)


def _onnx2tf_reason(cause: BaseException) -> str:
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    # Keras names the layer first and says what is wrong in the next paragraph.
    told = lines[1] if len(lines) > 1 and lines[0].startswith("Exception encountered") else "".join(lines[:1])
    return f"{type(cause).__name__}: {told.partition(' for ')[0]}"[:160]


def _litert_torch() -> tuple[Any, Sequence[str]]:
    import litert_torch
    import numpy as np
    import torch
    from ai_edge_quantizer import quantizer as quantizer_module
    from ai_edge_quantizer import recipe
    from litert_torch.quantize import pt2e_quantizer, quant_config
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    from tkd.students import build_student

    torch.set_num_threads(1)

    def steps(folder: Path, _request: dict[str, Any]) -> Iterator[Step]:
        clips = torch.from_numpy(np.load(folder / "calibration.npy"))
        example = (clips[:1].contiguous(),)

        def student() -> torch.nn.Module:
            stored = torch.load(folder / "student.pt", weights_only=True)
            network = build_student(stored["name"], stored["channels"], stored["classes"])
            network.load_state_dict(stored["state"])
            return network.eval()

        def convert() -> None:
            litert_torch.convert(student(), example).export(str(folder / "float32.partial"))
            (folder / "float32.partial").rename(folder / "float32.tflite")

        def by_pt2e() -> None:
            settings = pt2e_quantizer.get_symmetric_quantization_config(is_per_channel=True)
            quantizer = pt2e_quantizer.PT2EQuantizer().set_global(settings)
            prepared = prepare_pt2e(torch.export.export(student(), example).module(), quantizer)
            for clip in clips:
                prepared(clip[None])
            quantized = convert_pt2e(prepared, fold_quantize=False)
            written = litert_torch.convert(
                quantized, example, quant_config=quant_config.QuantConfig(pt2e_quantizer=quantizer)
            )
            written.export(str(folder / "int8.partial"))

        def by_quantizer() -> None:
            made = quantizer_module.Quantizer(str(folder / "float32.tflite"), recipe.static_wi8_ai8())
            data = {"serving_default": [{"args_0": clip[None].numpy()} for clip in clips]}
            quantized = made.quantize(made.calibrate(data, num_threads=1))
            (folder / "int8.partial").write_bytes(quantized.quantized_model)

        def quantize() -> str:
            try:
                by_pt2e()
                note = "PT2E"
            except Exception as cause:  # noqa: BLE001 - whatever stops the first way, the second is tried
                by_quantizer()
                note = f"ai-edge-quantizer (PT2E: {reason_of(cause)})"
            (folder / "int8.partial").rename(folder / "int8.tflite")
            return note

        yield "float32", convert
        yield "int8", quantize

    return steps, ("litert-torch", "torch", "torchao", "ai-edge-litert")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], [Path(word) for word in sys.argv[2:]]))
