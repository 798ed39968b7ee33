"""Rewriting of the ONNX graph before it is lowered: what one operator can do is not left to two.

Pad (zeros) ─► Conv                 Conv with those pads
Conv ─► BatchNormalization          Conv with scaled weights and another bias
Gemm ─► BatchNormalization          the same for Gemm
MatMul ─► Add (constant)            Gemm
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from converters.graph import Array, Graph, Node

_Pair = Callable[[Graph, Node, Node], "tuple[Node, dict[str, Array]] | None"]


def rewrite(graph: Graph) -> Graph:
    """The graph with every pair of the table above merged, until none is left."""
    while True:
        merged = _merge_one_round(graph)
        if merged is None:
            return graph
        graph = merged


def _merge_one_round(graph: Graph) -> Graph | None:
    consumers = graph.consumers()
    public = {value for _, value in graph.outputs}
    nodes: list[Node] = []
    constants: dict[str, Array] = {}
    taken: set[int] = set()
    for node in graph.nodes:
        readers = consumers.get(node.outputs[0], [])
        follower = readers[0] if len(readers) == 1 and node.outputs[0] not in public else None
        merge = None if follower is None or id(node) in taken else _PAIRS.get((node.op, follower.op))
        result = merge(graph, node, follower) if merge and follower is not None else None
        if result is not None and follower is not None:
            nodes.append(result[0])
            constants.update(result[1])
            taken.update((id(node), id(follower)))
        elif id(node) not in taken:
            nodes.append(node)
    return graph.with_nodes(_sorted(nodes), constants) if taken else None


def _pad_conv(graph: Graph, pad: Node, conv: Node) -> tuple[Node, dict[str, Array]] | None:
    amounts = graph.constants.get(pad.inputs[1]) if pad.inputs[0] not in conv.inputs[1:] else None
    fill = graph.constants.get(pad.inputs[2], np.ones(1)) if len(pad.inputs) > 2 and pad.inputs[2] else np.zeros(1)
    has_axes = len(pad.inputs) > 3 and pad.inputs[3]
    zeros = pad.attributes.get("mode", "constant") == "constant" and not np.any(fill)
    if amounts is None or has_axes or not zeros or conv.attributes.get("auto_pad", "NOTSET") != "NOTSET":
        return None
    rank = len(amounts) // 2
    before, after = amounts[:rank], amounts[rank:]
    if amounts.min(initial=0) < 0 or before[:2].any() or after[:2].any():
        return None
    own = np.array(conv.attributes.get("pads", [0] * (2 * (rank - 2))))
    pads = (own + np.concatenate([before[2:], after[2:]])).tolist()
    merged = replace(conv, inputs=(pad.inputs[0], *conv.inputs[1:]), attributes={**conv.attributes, "pads": pads})
    return merged, {}


def _conv_norm(graph: Graph, conv: Node, norm: Node) -> tuple[Node, dict[str, Array]] | None:
    weights, bias = _weights_and_bias(graph, conv)
    if weights is None or bias is None:
        return None
    scale, shift = normalization_factors(graph.constants, norm)
    scaled = weights * scale.reshape(-1, *[1] * (weights.ndim - 1))
    return _with_weights(conv, norm, scaled, bias * scale + shift, conv.attributes)


def _gemm_norm(graph: Graph, gemm: Node, norm: Node) -> tuple[Node, dict[str, Array]] | None:
    weights, bias = _weights_and_bias(graph, gemm)
    plain = all(gemm.attributes.get(name, 1.0) == 1.0 for name in ("alpha", "beta"))
    if weights is None or bias is None or not plain or gemm.attributes.get("transA", 0):
        return None
    scale, shift = normalization_factors(graph.constants, norm)
    rows = weights if gemm.attributes.get("transB", 0) else weights.T
    return _with_weights(gemm, norm, rows * scale[:, None], bias * scale + shift, {"transB": 1})


def _matmul_add(graph: Graph, matmul: Node, add: Node) -> tuple[Node, dict[str, Array]] | None:
    weights = graph.constants.get(matmul.inputs[1])
    bias = graph.constants.get(next((name for name in add.inputs if name != matmul.outputs[0]), ""))
    if weights is None or bias is None or weights.ndim != 2 or len(matmul.inputs) > 2:
        return None
    is_row = bias.size == 1 or (bias.size == bias.shape[-1] == weights.shape[1])
    if not is_row or graph.shapes[add.outputs[0]] != graph.shapes[matmul.outputs[0]]:
        return None
    name = f"{add.outputs[0]}/bias"
    merged = replace(matmul, inputs=(*matmul.inputs, name), outputs=add.outputs)
    return merged, {name: np.broadcast_to(bias.reshape(-1), weights.shape[1:]).astype(np.float32)}


_PAIRS: dict[tuple[str, str], _Pair] = {
    ("Pad", "Conv"): _pad_conv,
    ("Conv", "BatchNormalization"): _conv_norm,
    ("Gemm", "BatchNormalization"): _gemm_norm,
    ("MatMul", "Add"): _matmul_add,
}


def normalization_factors(constants: Mapping[str, Array], norm: Node) -> tuple[Array, Array]:
    """(scale, shift) for each channel of a BatchNormalization node: y = scale · x + shift; float32.

    Computed in float64, so that folding costs no accuracy.
    """
    gamma, beta, mean, variance = (constants[name].astype(np.float64) for name in norm.inputs[1:5])
    scale = gamma / np.sqrt(variance + norm.attributes.get("epsilon", 1e-5))
    return scale.astype(np.float32), (beta - mean * scale).astype(np.float32)


def _weights_and_bias(graph: Graph, node: Node) -> tuple[Array | None, Array | None]:
    weights = graph.constants.get(node.inputs[1])
    if len(node.inputs) > 2 and node.inputs[2]:
        return weights, graph.constants.get(node.inputs[2])
    return weights, np.zeros(1, dtype=np.float32)


def _with_weights(
    node: Node, follower: Node, weights: Array, bias: Array, attributes: Mapping[str, object]
) -> tuple[Node, dict[str, Array]]:
    names = (f"{follower.outputs[0]}/weights", f"{follower.outputs[0]}/bias")
    merged = Node(
        op=node.op,
        name=node.name,
        inputs=(node.inputs[0], *names),
        outputs=follower.outputs,
        attributes=attributes,
    )
    return merged, {names[0]: weights.astype(np.float32), names[1]: bias.astype(np.float32)}


def _sorted(nodes: list[Node]) -> list[Node]:
    """The nodes in the order of the data: a merged node stands where its first half was, which may be too early.

    Each node comes as early as its place in the list and its inputs allow: the steps of a recurrence stay apart.
    """
    makers = {name: place for place, node in enumerate(nodes) for name in node.outputs}
    waits = [{makers[name] for name in node.inputs if name in makers} for node in nodes]
    readers: list[list[int]] = [[] for _ in nodes]
    for place, sources in enumerate(waits):
        for source in sources:
            readers[source].append(place)
    ready = [place for place, sources in enumerate(waits) if not sources]
    heapq.heapify(ready)
    ordered: list[Node] = []
    while ready:
        place = heapq.heappop(ready)
        ordered.append(nodes[place])
        for reader in readers[place]:
            waits[reader].discard(place)
            if not waits[reader]:
                heapq.heappush(ready, reader)
    assert len(ordered) == len(nodes), "the graph has a cycle"
    return ordered
