"""Lowering of Resize, of images: bilinear, or to the nearest neighbour."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from converters.graph import Node
from converters.lowering.builder import Builder
from converters.lowering.layout import CHANNELS_LAST, FLIPPED, shape_in

_LINEAR = {
    "align_corners": {"alignCorners": True, "halfPixelCenters": False},
    "asymmetric": {"alignCorners": False, "halfPixelCenters": False},
    "half_pixel": {"alignCorners": False, "halfPixelCenters": True},
}
"""TFLite's two flags for each way of ONNX to place the output's pixels over the input's."""


def lower_resize(builder: Builder, node: Node) -> None:
    """Resize of the two spatial axes; PyTorch's interpolate, in the modes bilinear and nearest."""
    source, output = node.inputs[0], node.outputs[0]
    before, after = builder.shape(source), builder.shape(output)
    if len(before) != 4 or before[:2] != after[:2]:
        raise builder.unsupported(node, f"from {list(before)} to {list(after)}; only height and width can be resized")
    mode, placing = _mode(builder, node, before[2:], after[2:])
    layout = FLIPPED[4] if not builder.lies_in(source, CHANNELS_LAST[4]) and builder.lies_in(source, FLIPPED[4]) else (
        CHANNELS_LAST[4])  # fmt: skip
    size = np.array(shape_in(layout, after)[1:3], dtype=np.int32)
    inputs = (builder.read(source, layout), builder.constant("size", size))
    code = "RESIZE_BILINEAR" if mode == "linear" else "RESIZE_NEAREST_NEIGHBOR"
    builder.emit(code, inputs, output, layout, _LINEAR[placing])


def _mode(builder: Builder, node: Node, before: Sequence[int], after: Sequence[int]) -> tuple[str, str]:
    mode = node.attributes.get("mode", "nearest")
    placing = node.attributes.get("coordinate_transformation_mode", "half_pixel")
    if mode not in ("linear", "nearest") or node.attributes.get("antialias", 0) or node.attributes.get("axes"):
        raise builder.unsupported(node, f"mode '{mode}'; bilinear and nearest without antialiasing are supported")
    # PyTorch's own name differs from half_pixel for an output of one pixel only.
    if placing == "pytorch_half_pixel" and min(after) > 1:
        placing = "half_pixel"
    if mode == "linear" and placing in _LINEAR:
        return mode, placing
    # Enlarged by a whole number, every pixel is repeated, whichever way the centres are placed and rounded.
    repeats = all(new % old == 0 for old, new in zip(before, after, strict=True))
    rounding = node.attributes.get("nearest_mode", "round_prefer_floor")
    is_floor = placing == "asymmetric" and rounding == "floor"
    is_centred = placing == "half_pixel" and rounding in ("round_prefer_floor", "round_prefer_ceil")
    if mode == "nearest" and repeats and (is_floor or is_centred):
        return mode, "asymmetric"
    raise builder.unsupported(
        node, f"mode '{mode}' with pixels placed as '{placing}' and '{rounding}' from {list(before)} to {list(after)}"
    )
