"""Lowering of matrix products with constant weights: Gemm and MatMul become FULLY_CONNECTED."""

from __future__ import annotations

import numpy as np

from converters.graph import Node
from converters.lowering.builder import Builder
from converters.lowering.layout import natural
from converters.lowering.records import Array


def lower_gemm(builder: Builder, node: Node) -> None:
    """Gemm, alpha · A · B + beta · C with A computed, B and C constant."""
    if node.attributes.get("transA", 0):
        raise builder.unsupported(node, "its first operand is transposed")
    weights = builder.constant_value(node.inputs[1])
    bias = builder.constant_value(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else np.zeros(1)
    if weights is None or bias is None:
        raise builder.unsupported(node, "its weights or bias are computed, not constant")
    rows = weights if node.attributes.get("transB", 0) else weights.T
    rows = rows * np.float32(node.attributes.get("alpha", 1.0))
    bias = np.broadcast_to(bias * node.attributes.get("beta", 1.0), (1, len(rows))).reshape(-1)
    _fully_connected(builder, node, rows, bias)


def lower_matmul(builder: Builder, node: Node) -> None:
    """MatMul with a constant matrix on the right, and the bias that `rewrite` may have given it."""
    weights = builder.constant_value(node.inputs[1])
    if weights is None or weights.ndim != 2:
        raise builder.unsupported(node, "only a constant matrix on the right is supported")
    bias = builder.constant_value(node.inputs[2]) if len(node.inputs) > 2 else np.zeros(weights.shape[1])
    assert bias is not None, "only rewrite gives a MatMul a third input, a constant"
    _fully_connected(builder, node, weights.T, bias)


def _fully_connected(builder: Builder, node: Node, rows: Array, bias: Array) -> None:
    output = node.outputs[0]
    rank = len(builder.shape(output))
    source = builder.read(node.inputs[0], natural(rank))
    columns = builder.columns(node.inputs[0])
    if columns is not None:
        rows = rows[:, columns]
    inputs = (
        source,
        builder.constant(node.inputs[1], rows),
        builder.constant(f"{output}/bias", bias.astype(np.float32)),
    )
    options = {"fusedActivationFunction": "NONE", "keepNumDims": rank > 2}
    builder.emit("FULLY_CONNECTED", inputs, output, natural(rank), options)
