"""Lowering of matrix products: Gemm and MatMul become FULLY_CONNECTED, or BATCH_MATMUL where both are computed."""

from __future__ import annotations

import numpy as np

from converters.graph import Node
from converters.lowering.builder import Builder
from converters.lowering.layout import Layout, natural
from converters.lowering.order import in_order
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
    alpha, beta = node.attributes.get("alpha", 1.0), node.attributes.get("beta", 1.0)
    bias = np.broadcast_to(bias * beta, (1, len(rows))).reshape(-1)
    _fully_connected(builder, node, rows, bias, alpha)


def lower_matmul(builder: Builder, node: Node) -> None:
    """MatMul: with a constant matrix on the right FULLY_CONNECTED, of two computed values BATCH_MATMUL."""
    weights = builder.constant_value(node.inputs[1])
    if weights is None:
        _batch_matmul(builder, node)
        return
    if weights.ndim != 2 or len(builder.shape(node.inputs[0])) < 2:
        raise builder.unsupported(node, "of constants, only a matrix on the right of rows is supported")
    bias = builder.constant_value(node.inputs[2]) if len(node.inputs) > 2 else np.zeros(weights.shape[1])
    assert bias is not None, "only rewrite gives a MatMul a third input, a constant"
    _fully_connected(builder, node, weights.T, bias)


def _batch_matmul(builder: Builder, node: Node) -> None:
    """A product of two computed values; where the right one lies transposed, TFLite multiplies it as it lies."""
    left, right = node.inputs
    ranks = [len(builder.shape(name)) for name in node.inputs]
    rank = len(builder.shape(node.outputs[0]))
    if min(ranks) < 2 or ranks != [rank, rank] or builder.shape(left)[:-2] != builder.shape(right)[:-2]:
        raise builder.unsupported(node, "two computed operands must have the same leading axes")
    if builder.constant_value(left) is not None:
        raise builder.unsupported(node, "a constant on the left of a computed operand is not supported")
    swapped = (*range(rank - 2), rank - 1, rank - 2)
    transposes = not builder.lies_in(right, natural(rank)) and builder.lies_in(right, swapped)
    tensor = builder.read(right, swapped if transposes else natural(rank))
    inputs = (builder.read(left, natural(rank)), tensor)
    builder.emit("BATCH_MATMUL", inputs, node.outputs[0], natural(rank), {"adjX": False, "adjY": transposes})


def _fully_connected(builder: Builder, node: Node, rows: Array, bias: Array, factor: float = 1.0) -> None:
    """FULLY_CONNECTED with the matrix `rows` times `factor`; many steps of a recurrence may share one ONNX matrix."""
    output = node.outputs[0]
    layout = _rows_layout(builder, node.inputs[0])
    order = builder.order(node.inputs[0])
    how = f"rows of {rows.strides} times {factor}" + ("" if order is None else f" for {node.inputs[0]}")
    inputs = (
        builder.read(node.inputs[0], layout),
        builder.derived(node.inputs[1], how, lambda: in_order(order, rows * np.float32(factor), 1)),
        builder.constant(f"{output}/bias", bias.astype(np.float32)),
    )
    options = {"fusedActivationFunction": "NONE", "keepNumDims": len(layout) > 2}
    builder.emit("FULLY_CONNECTED", inputs, output, layout, options)


def _rows_layout(builder: Builder, source: str) -> Layout:
    """How a matrix reads rows: as two axes where one alone is longer than one, unless all lie ready as they are."""
    shape = builder.shape(source)
    usual = natural(len(shape))
    long = [axis for axis, length in enumerate(shape[:-1]) if length > 1]
    is_ready = builder.has(source, usual) and long == [len(shape) - 2]
    if len(shape) == 2 or len(long) > 1 or is_ready:
        return usual
    return (long[0] if long else 0, len(shape) - 1)
