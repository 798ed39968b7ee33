"""Sub-spectral normalisation taken into the depthwise convolution before it, band by band.

Each band of rows (frequencies) of a map has its own scale and offset. As a product and a sum with constants that is
two more passes over the map, and in int8 two more roundings. A convolution has one set of weights for all rows, but
one convolution for each band can have the band's scale in its weights and the band's offset as its bias:

    x ─ Conv ─ Mul ─ Add ─┬──────────────── Add ─ Relu          x ─┬─ rows of band 1 ─ Conv ─ Add ─ Relu ─┬─ Concat
                          └─ mean of rows ─ … ─┘                   ├─ rows of band 2 ─ Conv ─ Add ─ Relu ─┤
                                                                   └─ Conv over all rows ─ … ─┘ (each Add)

The mean over all rows is linear too: a depthwise convolution with as many taps as x has rows. And where x itself is
added (a residual block), it is one more in the middle tap.
Bands are copied in one piece each as long as rows lie outermost, so the map is kept rows first.
A stream's map has as many columns as its hop has frames. With a few of them, what every further operator costs is more
than the two passes: float files leave those as they are.
Source of what is folded: Chang et al. 2021, "SubSpectral Normalization for Neural Audio Data Processing",
arXiv 2103.13620, equation 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from converters.graph import Array, Graph, Node

_ROWS = 2  # the axis of rows in (batch, channels, rows, columns)
_MOST_BANDS = 8
_MOST_ROWS = 64
FEW_COLUMNS = 4
"""With one column folding takes 37 % more instructions for BC-ResNet-1 and 7 % for BC-ResNet-6 (emulated), with four
9 and 1 %, with eight 3 and 0 %, with sixteen 2 % fewer and as many."""


def has_few_columns(graph: Graph) -> bool:
    """Whether a convolution that may be folded has so few columns that float files leave it as it is."""
    return any(_columns(graph, node) <= FEW_COLUMNS for node in graph.nodes if _is_over_rows(graph, node))


def fold_bands(graph: Graph, more_than: int = 0) -> Graph:
    """The graph with every depthwise convolution over rows and its normalisation by band merged.

    Args:
        graph: in ONNX's terms.
        more_than: maps with no more columns than this stay as they are.
    """
    consumers = graph.consumers()
    public = {value for _, value in graph.outputs}
    written: dict[int, list[Node]] = {}
    draft = _Draft()
    for node in graph.nodes:
        found = _find(graph, consumers, public, node)
        if found is not None and _columns(graph, node) > more_than:
            written |= {id(each): [] for each in found.all_nodes()}
            written |= _write(graph, draft, found)
    if not written:
        return graph
    nodes = [new for node in graph.nodes for new in written.get(id(node), [node])]
    return graph.with_nodes(nodes, draft.constants, draft.shapes)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Normalised:
    """A depthwise convolution over rows with its normalisation, and the sums behind it.

    Attributes:
        conv: kernel (taps, 1).
        middle: the nodes that vanish: Mul and Add with a constant for each channel and row.
        mean: ReduceMean over the rows; None where nothing takes it.
        sums: Add of something that is alike in all rows, and maybe Add of the convolution's own input, and Relu.
        scale: of each row, shape (rows, channels).
        offset: the same.
    """

    conv: Node
    middle: tuple[Node, ...]
    mean: Node | None
    sums: tuple[Node, ...]
    scale: Array
    offset: Array

    def all_nodes(self) -> list[Node]:
        return [self.conv, *self.middle, *([] if self.mean is None else [self.mean]), *self.sums]


@dataclass(slots=True)
class _Draft:
    """Values in the making."""

    constants: dict[str, Array] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def constant(self, name: str, array: Array) -> str:
        self.constants[name] = array
        return name

    def make(
        self, op: str, inputs: tuple[str, ...], name: str, shape: tuple[int, ...], output: str = "", **attributes: Any
    ) -> Node:
        self.shapes[output or name] = shape
        return Node(op=op, name=name, inputs=inputs, outputs=(output or name,), attributes=attributes)


def _find(graph: Graph, consumers: Mapping[str, list[Node]], public: set[str], conv: Node) -> _Normalised | None:
    """What starts with this convolution; None where it starts nothing of the kind."""

    def only_reader(node: Node, op: str) -> Node | None:
        readers = consumers.get(node.outputs[0], [])
        return readers[0] if len(readers) == 1 and readers[0].op == op and node.outputs[0] not in public else None

    factor = only_reader(conv, "Mul") if _is_over_rows(graph, conv) else None
    term = None if factor is None else only_reader(factor, "Add")
    if factor is None or term is None or term.outputs[0] in public:
        return None
    scale, offset = _by_row(graph, factor, conv), _by_row(graph, term, factor)
    if scale is None or offset is None or len(_runs(scale, offset)) > _MOST_BANDS:
        return None
    readers = consumers.get(term.outputs[0], [])
    mean = next((node for node in readers if _is_mean_of_rows(graph, node)), None)
    others = [node for node in readers if node is not mean]
    if len(others) != 1 or not _adds_alike_rows(graph, others[0], term):
        return None
    sums = [others[0]]
    residual = only_reader(sums[0], "Add")
    if residual is not None and _adds_input(graph, residual, conv):
        sums.append(residual)
    relu = only_reader(sums[-1], "Relu")
    if relu is not None:
        sums.append(relu)
    return _Normalised(conv=conv, middle=(factor, term), mean=mean, sums=tuple(sums), scale=scale, offset=offset)


def _columns(graph: Graph, conv: Node) -> int:
    return graph.shapes[conv.outputs[0]][3]


def _is_over_rows(graph: Graph, conv: Node) -> bool:
    """Whether a node is a depthwise convolution of at most 64 rows whose taps lie in one column."""
    if conv.op != "Conv" or len(graph.shapes[conv.inputs[0]]) != 4 or conv.inputs[1] not in graph.constants:
        return False
    if any(name and name not in graph.constants for name in conv.inputs[2:]):
        return False
    shape, kernel, given = graph.shapes[conv.inputs[0]], graph.shapes[conv.inputs[1]], conv.attributes
    is_depthwise = given.get("group", 1) == shape[1] == kernel[0] and kernel[1] == 1
    is_plain = given.get("auto_pad", "NOTSET") == "NOTSET" and given.get("dilations", [1, 1])[0] == 1
    pads, strides = given.get("pads", [0] * 4), given.get("strides", [1, 1])
    in_column = kernel[3] == 1 and pads[1] == pads[3] == 0 and strides[1] == 1
    return is_depthwise and is_plain and in_column and shape[_ROWS] <= _MOST_ROWS


def _by_row(graph: Graph, node: Node, before: Node) -> Array | None:
    """The constant of a Mul or Add, shape (rows, channels); None where it is computed or differs along columns."""
    name = next((name for name in node.inputs if name != before.outputs[0]), "")
    shape = graph.shapes[node.outputs[0]]
    constant = graph.constants.get(name)
    if constant is None or shape != graph.shapes[before.outputs[0]] or (constant.ndim and constant.shape[-1] != 1):
        return None
    wide: Array = np.broadcast_to(constant, (*shape[:3], 1))[0, :, :, 0].T.astype(np.float64)
    return wide


def _is_mean_of_rows(graph: Graph, node: Node) -> bool:
    if node.op != "ReduceMean" or not node.attributes.get("keepdims", 1):
        return False
    axes = node.attributes.get("axes")
    if axes is None and len(node.inputs) > 1:
        axes = graph.constants.get(node.inputs[1])
    return axes is not None and [int(axis) % 4 for axis in axes] == [_ROWS]


def _adds_alike_rows(graph: Graph, node: Node, term: Node) -> bool:
    """Whether a node adds something computed that is one row."""
    other = [name for name in node.inputs if name != term.outputs[0]]
    if node.op != "Add" or len(other) != 1 or other[0] in graph.constants:
        return False
    shape = graph.shapes[term.outputs[0]]
    return graph.shapes[other[0]] == (*shape[:_ROWS], 1, *shape[_ROWS + 1 :])


def _adds_input(graph: Graph, node: Node, conv: Node) -> bool:
    """Whether a node adds what the convolution reads, row by row."""
    top, bottom = (conv.attributes.get("pads", [0] * 4)[place] for place in (0, 2))
    taps = graph.shapes[conv.inputs[1]][2]
    keeps_rows = conv.attributes.get("strides", [1, 1])[0] == 1 and top + bottom == taps - 1
    return keeps_rows and conv.inputs[0] in node.inputs and top < taps


def _runs(scale: Array, offset: Array) -> list[tuple[int, int]]:
    """(first, one past the last) of the rows that are alike."""
    both = np.concatenate([scale, offset], axis=1)
    starts = [0, *(np.flatnonzero((both[1:] != both[:-1]).any(axis=1)) + 1).tolist()]
    return list(zip(starts, [*starts[1:], len(both)], strict=True))


def _write(graph: Graph, draft: _Draft, found: _Normalised) -> dict[int, list[Node]]:
    """The nodes in the place of the convolution and of the last sum, by the identity of those."""
    conv, sums = found.conv, found.sums
    kernel = graph.constants[conv.inputs[1]][:, 0, :, 0].astype(np.float64)
    has_bias = len(conv.inputs) > 2 and conv.inputs[2]
    bias = graph.constants[conv.inputs[2]].astype(np.float64) if has_bias else np.zeros(len(kernel))
    weights = kernel * found.scale[:, :, None]  # (rows, channels, taps)
    biases = bias * found.scale + found.offset
    first = [] if found.mean is None else [_mean(graph, draft, found, weights, biases)]
    if any(node.op == "Add" for node in sums[1:]):
        weights[:, :, conv.attributes["pads"][0]] += 1.0
    alike = next(name for name in sums[0].inputs if name != found.middle[1].outputs[0])
    last: list[Node] = []
    parts = []
    for start, end in _runs(found.scale, found.offset):
        nodes = _band(graph, draft, found, (start, end), weights[start], biases[start])
        first += nodes
        shape = draft.shapes[nodes[-1].outputs[0]]
        last.append(draft.make("Add", (nodes[-1].outputs[0], alike), f"{sums[0].outputs[0]}/{start}", shape))
        if sums[-1].op == "Relu":
            last.append(draft.make("Relu", last[-1].outputs, f"{sums[-1].outputs[0]}/{start}", shape))
        parts.append(last[-1].outputs[0])
    output = sums[-1].outputs[0]
    joined = draft.make("Concat", tuple(parts), f"{sums[-1].name}/bands", graph.shapes[output], output, axis=_ROWS)
    return {id(conv): first, id(sums[-1]): [*last, joined]}


def _band(
    graph: Graph, draft: _Draft, found: _Normalised, rows: tuple[int, int], weights: Array, bias: Array
) -> list[Node]:
    """The convolution of one band, and what takes its rows out of the map: (channels, taps) weights, one bias each."""
    conv, source = found.conv, found.conv.inputs[0]
    shape = graph.shapes[source]
    name = f"{found.middle[1].outputs[0]}/{rows[0]}"
    stride, before = conv.attributes.get("strides", [1, 1])[0], conv.attributes.get("pads", [0] * 4)[0]
    start, end = rows[0] * stride - before, (rows[1] - 1) * stride - before + weights.shape[1]
    top, bottom = max(-start, 0), max(end - shape[_ROWS], 0)
    if rows[1] - rows[0] == 1:
        # Taps that would only see zeros are left out.
        weights, start, end, top, bottom = weights[:, top : weights.shape[1] - bottom], start + top, end - bottom, 0, 0
    nodes = []
    if (start + top, end - bottom) != (0, shape[_ROWS]):
        bounds = [
            draft.constant(f"{name}/{label}", np.array([value], np.int64))
            for label, value in (("from", start + top), ("to", end - bottom), ("axis", _ROWS))
        ]
        part = (*shape[:_ROWS], end - bottom - start - top, shape[3])
        nodes.append(draft.make("Slice", (source, *bounds), f"{name}/rows", part))
        source = nodes[0].outputs[0]
    constants = (
        draft.constant(f"{name}/weights", weights[:, None, :, None].astype(np.float32)),
        draft.constant(f"{name}/bias", bias.astype(np.float32)),
    )
    attributes = _depthwise(shape[1], [stride, 1], [top, 0, bottom, 0])
    made = (*shape[:_ROWS], rows[1] - rows[0], shape[3])
    nodes.append(draft.make("Conv", (source, *constants), name, made, **attributes))
    return nodes


def _mean(graph: Graph, draft: _Draft, found: _Normalised, weights: Array, biases: Array) -> Node:
    """The mean over all rows of the normalised map, as one depthwise convolution over all rows of its source."""
    assert found.mean is not None
    conv, source = found.conv, found.conv.inputs[0]
    shape = graph.shapes[source]
    stride, before = conv.attributes.get("strides", [1, 1])[0], conv.attributes.get("pads", [0] * 4)[0]
    taps = np.zeros((shape[1], shape[_ROWS]))
    for row, own in enumerate(weights / len(weights)):
        for tap in range(own.shape[1]):
            place = row * stride - before + tap
            if 0 <= place < shape[_ROWS]:
                taps[:, place] += own[:, tap]
    output = found.mean.outputs[0]
    constants = (
        draft.constant(f"{output}/weights", taps[:, None, :, None].astype(np.float32)),
        draft.constant(f"{output}/bias", biases.mean(axis=0).astype(np.float32)),
    )
    attributes = _depthwise(shape[1], [1, 1], [0] * 4)
    return draft.make("Conv", (source, *constants), found.mean.name, graph.shapes[output], output, **attributes)


def _depthwise(channels: int, strides: list[int], pads: list[int]) -> dict[str, Any]:
    return {"group": channels, "strides": strides, "pads": pads, "dilations": [1, 1]}
