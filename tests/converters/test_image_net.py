"""An image network: dilated depthwise convolutions, ReLU6, bilinear enlargement, concatenation."""

from __future__ import annotations

import numpy as np
import torch

from converters.parity import INT8_STAGE
from converters.pipeline import ConversionRequest, convert
from tests.converters.mmnet import PARAMETERS, MmNet


def images(count: int) -> np.ndarray:
    """Smooth pictures, shape (count, 3, 64, 64)."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.random((count, 3, 9, 9)).astype(np.float32))
    return torch.nn.functional.interpolate(coarse, size=(64, 64), mode="bilinear", align_corners=True).numpy()


def test_an_encoder_and_decoder_converts_with_parity_and_moves_its_two_ends_alone():
    torch.manual_seed(0)
    network, fed = MmNet(), images(24)
    assert PARAMETERS == sum(parameter.numel() for parameter in network.parameters())
    network(torch.from_numpy(fed))  # statistics of the pictures, not of nothing
    conversion = convert(
        ConversionRequest(
            module=network.eval(), example=fed[:1], calibration=fed, check=fed[:8], rounding="nearest", gates=None
        )
    )
    stages = {stage.stage: stage for stage in conversion.parity.stages}
    assert stages["torch → onnx"].relative_error < 1e-4
    assert stages["onnx → float32"].relative_error < 1e-4
    assert stages[INT8_STAGE].sqnr_db > 20.0
    counts = conversion.float32.operators
    assert (2, 4, 0) == (counts["TRANSPOSE"], counts["RESIZE_BILINEAR"], counts.get("RELU6", 0))
    assert len(conversion.float32.content) < 1.1 * 4 * PARAMETERS
