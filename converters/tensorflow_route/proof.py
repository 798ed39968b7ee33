"""What TensorFlow's files say of themselves, in the records of the first route: operators, int8 shares, layers.

Between `converters.tensorflow_route.route`, which makes the files, and `converters.pipeline`, which holds them to the
same gates as its own. Tested in `tests/converters/test_tensorflow_route.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from converters.bundle_contents import Precision
from converters.metadata import BUFFER, Card, metadata_buffer, with_files
from converters.mixture import Choice, Mixture
from converters.quant_report import QuantReport, precision_of, report_foreign, shares_of
from converters.request import TfliteFile
from converters.runners import Array, TfliteModel
from converters.tflite_file import add_metadata, read_tflite

_BRIDGES = ("QUANTIZE", "DEQUANTIZE")


def files_of(contents: Mapping[Precision, bytes], card: Card | None) -> dict[Precision, TfliteFile]:
    """The files with the metadata of `card`, and what is in them."""
    return {precision: _file(precision, content, card) for precision, content in contents.items()}


def mixture_of(content: bytes) -> Mixture:
    """Which operators of an int8 file TensorFlow left in float."""
    model, _ = read_tflite(content)
    left = [each for each in model.operators if each.code not in _BRIDGES and precision_of(each, model) != "int8"]
    if not left:
        return Mixture(plan={}, choices=())
    kinds = ", ".join(f"{code}×{count}" for code, count in Counter(each.code for each in left).most_common())
    reason = f"TensorFlow has no int8 form of {kinds}"
    choice = Choice(family="as TensorFlow decides", operators=len(left), reason=reason, sqnr_db=None)
    return Mixture(plan={each.outputs[0]: "float32" for each in left}, choices=(choice,))


def layers_of(files: Mapping[Precision, TfliteFile], clips: Array, calibration_clips: int) -> QuantReport:
    """The error of each tensor that the float32 and the int8 file have in common, over `clips`."""
    float_model, _ = read_tflite(files["float32"].content)
    int8_model, _ = read_tflite(files["int8"].content)
    return report_foreign(
        int8_model,
        float_model,
        files["float32"].content,
        files["int8"].content,
        clips,
        calibration_clips=calibration_clips,
    )


def _file(precision: Precision, content: bytes, card: Card | None) -> TfliteFile:
    model, versions = read_tflite(content)
    if card is not None:
        loaded = TfliteModel(content)
        buffer = metadata_buffer(card, [loaded.input.name], [loaded.output.name])
        content = with_files(add_metadata(content, BUFFER, buffer), card)
    loaded = TfliteModel(content)
    return TfliteFile(
        precision=precision,
        content=content,
        input=loaded.input,
        output=loaded.output,
        operators=model.counts(),
        op_versions=versions,
        shares=shares_of(model),
    )
