"""Channels that lie in another order than ONNX has them, until weights take the order up.

A map that is flattened keeps TFLite's order of bytes; the matrix that reads it gets its columns permuted instead.

    map (1, channels, time, bands) ─Transpose, Reshape─► (1, time, channels · bands) ─► MatMul
    bytes in TFLite: time, bands, channels                                              columns in that order

What may stand between the two leaves the order of that axis alone: other shapes, sums over other axes, activations.
Where anything else reads the value, it is brought into ONNX's order by a TRANSPOSE as before.
"""

from __future__ import annotations

import numpy as np

from converters.graph import Node
from converters.lowering.builder import Builder
from converters.lowering.records import Array

_KEEPING = ("Relu", "LeakyRelu", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid")


def can_absorb(builder: Builder, value: str, axis: int) -> bool:
    """Whether all that reads `value` can take up another order of its elements along `axis`."""
    if builder.is_output(value):
        return False
    return all(_absorbs(builder, reader, value, axis) for reader in builder.readers(value))


def pass_order(builder: Builder, node: Node) -> None:
    """Carries the order of a node's input over to its output, which `can_absorb` has looked at."""
    order = builder.order(node.inputs[0]) if node.inputs and node.inputs[0] else None
    if order is not None and node.op not in ("Gemm", "MatMul", "Conv"):
        builder.set_order(node.outputs[0], order)


def in_order(order: Array | None, weights: Array, axis: int) -> Array:
    """Weights whose `axis` runs over a value of that order."""
    return weights if order is None else np.take(weights, order, axis=axis)


def _absorbs(builder: Builder, node: Node, value: str, axis: int) -> bool:
    rank = len(builder.shape(value))
    match node.op:
        case "Gemm" | "MatMul":
            is_matrix = node.inputs[0] == value and len(node.inputs) > 1 and node.inputs[1] in builder.graph.constants
            return is_matrix and axis == rank - 1 and len(builder.shape(node.inputs[1])) == 2
        case "Conv":
            return node.inputs[0] == value and axis == 1 and node.attributes.get("group", 1) == 1
        case "Transpose":
            permutation = list(node.attributes.get("perm", reversed(range(rank))))
            return can_absorb(builder, node.outputs[0], permutation.index(axis))
        case "ReduceMean":
            kept = builder.shape(node.outputs[0])
            axes = _reduced(builder, node, rank)
            if axes is None or axis in axes:
                return False
            shifted = axis if len(kept) == rank else axis - sum(other < axis for other in axes)
            return can_absorb(builder, node.outputs[0], shifted)
        case name if name in _KEEPING:
            return can_absorb(builder, node.outputs[0], axis)
    return False


def _reduced(builder: Builder, node: Node, rank: int) -> list[int] | None:
    given = node.attributes.get("axes")
    if given is None and len(node.inputs) > 1 and node.inputs[1]:
        given = builder.constant_value(node.inputs[1])
    return None if given is None else [int(axis) % rank for axis in given]
