"""Recurrent layers written out step by step in elementary operators, before the graph is rewritten and lowered.

The product of the input with its weights is taken once for all steps; only the product with the state stays inside.

    X ── W, biases ──► rows (time, batch, gates) ─┬─ row 0 ─┬─ row 1 ─┬─ …
                                                  ▼         ▼         ▼
                                        state ─► cell ───► cell ───► cell ─► Y, Y_h

The steps are alike, so that `converters.lowering.outline` can store one of them.
Source of the equations: ONNX's operators GRU, LSTM and RNN, https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from converters.errors import ConversionError
from converters.graph import Array, Graph, Node

Shape = tuple[int, ...]


def write_out_recurrences(graph: Graph) -> Graph:
    """The graph with every GRU, LSTM and RNN node written out over its fixed number of steps.

    Raises:
        ConversionError: a layer has computed weights, lengths of its own for each sequence, or activations that no
            row of the lowering has.
    """
    if not any(node.op in _CELLS for node in graph.nodes):
        return graph
    nodes: list[Node] = []
    drafts = []
    for node in graph.nodes:
        if node.op in _CELLS:
            draft = _Draft(node.name)
            _write_out(graph, node, draft)
            nodes += draft.nodes
            drafts.append(draft)
        else:
            nodes.append(node)
    constants = {name: array for draft in drafts for name, array in draft.constants.items()}
    shapes = {name: shape for draft in drafts for name, shape in draft.shapes.items()}
    return graph.with_nodes(nodes, constants, shapes)


@dataclass(slots=True)
class _Draft:
    """Nodes in the making, all named after the layer that they replace."""

    layer: str
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)

    def constant(self, label: str, array: Array) -> str:
        """The name of a constant of the layer; the same for all steps, which give the same label."""
        name = f"{self.layer}/{label}"
        if name not in self.constants:
            self.constants[name] = np.ascontiguousarray(array)
            self.shapes[name] = array.shape
        return name

    def make(self, op: str, inputs: Sequence[str], label: str, shape: Shape, **attributes: Any) -> str:
        return self.make_all(op, inputs, [label], [shape], **attributes)[0]

    def make_all(
        self, op: str, inputs: Sequence[str], labels: Sequence[str], shapes: Sequence[Shape], **attributes: Any
    ) -> list[str]:
        names = [f"{self.layer}/{label}" for label in labels]
        self._add(op, inputs, names, shapes, attributes)
        return names

    def finish(self, op: str, inputs: Sequence[str], output: str, shape: Shape, **attributes: Any) -> None:
        """A node that makes an output of the layer, under the name that the rest of the graph reads."""
        if output:
            self._add(op, inputs, [output], [shape], attributes)

    def _add(
        self, op: str, inputs: Sequence[str], names: Sequence[str], shapes: Sequence[Shape], attributes: dict[str, Any]
    ) -> None:
        self.shapes.update(zip(names, shapes, strict=True))
        self.nodes.append(Node(op=op, name=names[0], inputs=tuple(inputs), outputs=tuple(names), attributes=attributes))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Direction:
    """The weights of a layer in one direction, gates in the order in which the cell splits them.

    Attributes:
        label: `forward` or `backward`.
        input: shape (gates × units, inputs).
        state: shape (gates × units, units).
        input_bias: of the rows, shape (gates × units,).
        state_bias: of what the state gives, shape (gates × units,).
        peepholes: shape (3, units), of the gates i, f and o; None for a cell without.
        activations: ONNX names, as the layer lists them.
        resets_before: of a GRU, whether the state is reset before its product (`linear_before_reset` = 0).
    """

    label: str
    input: Array
    state: Array
    input_bias: Array
    state_bias: Array
    peepholes: Array | None
    activations: tuple[str, ...]
    resets_before: bool

    @property
    def units(self) -> int:
        return int(self.state.shape[1])


_Cell = Callable[[_Draft, _Direction, str, str, "list[str]", Shape], "list[str]"]
"""(draft, weights, label, row, states, shape of a state) to the next states, the one that comes out first."""


def _gru(draft: _Draft, layer: _Direction, label: str, row: str, states: list[str], shape: Shape) -> list[str]:
    """r, z = σ(row + R h); n = tanh(row_n + r ⊙ (R_n h + c)), or tanh(row_n + R_n (r ⊙ h) + c); h ← n + z ⊙ (h − n)."""
    state, gate = states[0], layer.activations[0]
    units = layer.units
    parts = [f"{label}/{name}" for name in ("row_r", "row_z", "row_n")]
    row_r, row_z, row_n = draft.make_all("Split", [row], parts, [shape] * 3, axis=1)
    names = ("r", "z") if layer.resets_before else ("r", "z", "n")
    from_state = _parts(draft, layer, label, state, names, shape)
    reset = _sum_activated(draft, gate, f"{label}/r", row_r, from_state[0], shape)
    update = _sum_activated(draft, gate, f"{label}/z", row_z, from_state[1], shape)
    if layer.resets_before:
        kept = draft.make("Mul", [reset, state], f"{label}/kept", shape)
        admitted = _product(draft, layer, f"{label}/state_n", kept, slice(2 * units, 3 * units), shape)
    else:
        admitted = draft.make("Mul", [reset, from_state[2]], f"{label}/kept", shape)
    candidate = _sum_activated(draft, layer.activations[1], f"{label}/n", row_n, admitted, shape)
    change = draft.make("Sub", [state, candidate], f"{label}/change", shape)
    share = draft.make("Mul", [update, change], f"{label}/share", shape)
    return [draft.make("Add", [candidate, share], f"{label}/state", shape)]


def _lstm(draft: _Draft, layer: _Direction, label: str, row: str, states: list[str], shape: Shape) -> list[str]:
    """i, f = σ(… + p ⊙ c); c ← f ⊙ c + i ⊙ g(…); o = σ(… + p ⊙ c); h ← o ⊙ h(c)."""
    state, memory = states
    gate, squash, emitted = layer.activations
    whole = slice(0, 4 * layer.units)
    product = _product(draft, layer, f"{label}/state_gates", state, whole, shape)
    gates = draft.make("Add", [row, product], f"{label}/gates", (shape[0], 4 * layer.units))
    parts = [f"{label}/{name}" for name in ("sum_i", "sum_f", "sum_o", "sum_g")]
    admit, forget, emit, candidate = draft.make_all("Split", [gates], parts, [shape] * 4, axis=1)

    def seen(index: int, name: str, total: str, memory: str) -> str:
        if layer.peepholes is None:
            return draft.make(gate, [total], f"{label}/{name}", shape)
        known = draft.constants.get(memory)
        if known is not None:
            looked = draft.constant(f"{label}/peep_{name}", layer.peepholes[index][None] * known)
            return _sum_activated(draft, gate, f"{label}/{name}", total, looked, shape)
        factor = draft.constant(f"{layer.label}/peephole_{name}", layer.peepholes[index][None])
        looked = draft.make("Mul", [factor, memory], f"{label}/peep_{name}", shape)
        return _sum_activated(draft, gate, f"{label}/{name}", total, looked, shape)

    admit, forget = seen(0, "i", admit, memory), seen(1, "f", forget, memory)
    squashed = draft.make(squash, [candidate], f"{label}/g", shape)
    new = draft.make("Mul", [admit, squashed], f"{label}/new", shape)
    old = draft.make("Mul", [forget, memory], f"{label}/old", shape)
    memory = draft.make("Add", [old, new], f"{label}/memory", shape)
    emit = seen(2, "o", emit, memory)
    shown = draft.make(emitted, [memory], f"{label}/shown", shape)
    return [draft.make("Mul", [emit, shown], f"{label}/state", shape), memory]


def _rnn(draft: _Draft, layer: _Direction, label: str, row: str, states: list[str], shape: Shape) -> list[str]:
    product = _product(draft, layer, f"{label}/state_gates", states[0], slice(0, layer.units), shape)
    return [_sum_activated(draft, layer.activations[0], f"{label}/state", row, product, shape)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _CellRow:
    """One row of the table of cells.

    Attributes:
        cell: writes one step.
        order: for each gate in the order of our cell, its place in ONNX's.
        activations: ONNX's defaults.
        states: how many states there are.
    """

    cell: _Cell
    order: tuple[int, ...]
    activations: tuple[str, ...]
    states: int = 1


_CELLS = {
    "GRU": _CellRow(cell=_gru, order=(1, 0, 2), activations=("Sigmoid", "Tanh")),
    "LSTM": _CellRow(cell=_lstm, order=(0, 2, 1, 3), activations=("Sigmoid", "Tanh", "Tanh"), states=2),
    "RNN": _CellRow(cell=_rnn, order=(0,), activations=("Tanh",)),
}
RECURRENT_OPERATORS = tuple(_CELLS)
_ACTIVATIONS = ("Sigmoid", "Tanh", "Relu")
_PEEPHOLE_ORDER = (0, 2, 1)  # ours is i, f, o; ONNX's i, o, f


def _write_out(graph: Graph, node: Node, draft: _Draft) -> None:
    layers = _directions(graph, node)
    source, batch_first = node.inputs[0], bool(node.attributes.get("layout", 0))
    time, batch, width = graph.shapes[source]
    if batch_first:
        time, batch = batch, time
        source = draft.make("Transpose", [source], "time_first", (time, batch, width), perm=[1, 0, 2])
    row = _CELLS[node.op]
    outputs: list[list[str]] = []
    last: list[list[str]] = []
    for index, layer in enumerate(layers):
        states = [
            _initial(graph, node, draft, layer, 5 + place, index, batch, batch_first) for place in range(row.states)
        ]
        rows = _rows(draft, layer, source, time, batch)
        made = [""] * time
        order = range(time) if layer.label == "forward" else reversed(range(time))
        for step in order:
            label = f"{layer.label}/step{step}"
            states = row.cell(draft, layer, label, rows[step], states, (batch, layer.units))
            made[step] = states[0]
        outputs.append(made)
        last.append(states)
    _join_outputs(node, draft, outputs, (time, batch, layers[0].units), batch_first)
    for place in range(row.states):
        states = [each[place] for each in last]
        _join_states(node, draft, 1 + place, states, (batch, layers[0].units), batch_first)


def _directions(graph: Graph, node: Node) -> list[_Direction]:
    row = _CELLS[node.op]
    name = node.attributes.get("direction", "forward")
    labels = {"forward": ("forward",), "reverse": ("backward",), "bidirectional": ("forward", "backward")}[name]
    given = [graph.constants.get(each) if each else None for each in node.inputs]
    weights, recurrent = given[1], given[2]
    if weights is None or recurrent is None:
        raise _refused(graph, node, "its weights are computed, not constant")
    if any(each and array is None for each, array in zip(node.inputs[3:5], given[3:5], strict=False)):
        raise _refused(graph, node, "its bias or its sequence lengths are computed, not constant")
    bias = given[3] if len(given) > 3 else None
    lengths = given[4] if len(given) > 4 else None
    time = graph.shapes[node.inputs[0]][1 if node.attributes.get("layout", 0) else 0]
    if lengths is not None and not np.all(lengths == time):
        raise _refused(graph, node, f"sequences of the lengths {lengths.tolist()} in {time} steps")
    peepholes = given[7] if len(given) > 7 else None
    if len(node.inputs) > 7 and node.inputs[7] and peepholes is None:
        raise _refused(graph, node, "its peepholes are computed, not constant")
    if node.attributes.get("clip") or node.attributes.get("input_forget", 0):
        raise _refused(graph, node, "clip and input_forget have no lowering")
    activations = tuple(node.attributes.get("activations", row.activations * len(labels)))
    unknown = sorted(set(activations) - set(_ACTIVATIONS))
    if unknown:
        raise _refused(graph, node, f"the activations {', '.join(unknown)}; {', '.join(_ACTIVATIONS)} are supported")
    resets_before = node.op == "GRU" and not node.attributes.get("linear_before_reset", 0)
    return [
        _direction(row, label, [weights[i], recurrent[i]], None if bias is None else bias[i],
                   None if peepholes is None else peepholes[i],
                   activations[i * len(row.activations) : (i + 1) * len(row.activations)], resets_before)
        for i, label in enumerate(labels)
    ]  # fmt: skip


def _direction(
    row: _CellRow,
    label: str,
    matrices: list[Array],
    bias: Array | None,
    peepholes: Array | None,
    activations: tuple[str, ...],
    resets_before: bool,
) -> _Direction:
    gates, units = len(row.order), matrices[1].shape[1]

    def ordered(array: Array) -> Array:
        parts = array.reshape(gates, units, *array.shape[1:])
        return np.concatenate([parts[place] for place in row.order])

    both = np.zeros(2 * gates * units, np.float32) if bias is None else bias
    input_bias, state_bias = (ordered(each).copy() for each in np.split(both, 2))
    # What is added to the same sum is added once, to the rows; only a GRU's candidate keeps a bias of its own inside.
    apart = slice(2 * units, 3 * units) if len(row.order) == 3 else slice(0, 0)
    moved = state_bias.copy()
    moved[apart] = 0
    looks = None if peepholes is None else peepholes.reshape(3, units)[list(_PEEPHOLE_ORDER)]
    return _Direction(
        label=label,
        input=ordered(matrices[0]),
        state=ordered(matrices[1]),
        input_bias=input_bias + moved,
        state_bias=state_bias - moved,
        peepholes=looks,
        activations=activations,
        resets_before=resets_before,
    )


def _rows(draft: _Draft, layer: _Direction, source: str, time: int, batch: int) -> list[str]:
    """What the input gives to every step, each of shape (batch, gates × units)."""
    label, width = layer.label, len(layer.input)
    weights = draft.constant(f"{label}/input_weights", layer.input.T)
    bias = draft.constant(f"{label}/input_bias", layer.input_bias)
    product = draft.make("MatMul", [source, weights], f"{label}/product", (time, batch, width))
    total = draft.make("Add", [product, bias], f"{label}/rows", (time, batch, width))
    parts = [f"{label}/step{step}/row_with_time" for step in range(time)]
    rows = draft.make_all("Split", [total], parts, [(1, batch, width)] * time, axis=0)
    return [
        draft.make("Squeeze", [row], f"{label}/step{step}/row", (batch, width), axes=[0])
        for step, row in enumerate(rows)
    ]


def _product(draft: _Draft, layer: _Direction, label: str, state: str, rows: slice, shape: Shape) -> str:
    """R h + c for some of the gates, shape (batch, those gates × units); a constant where h is the first state."""
    if state in draft.constants:
        known = draft.constants[state] @ layer.state[rows].T + layer.state_bias[rows]
        return draft.constant(label, known.astype(np.float32))
    part = f"{layer.label}/{{}}_{rows.start}_{rows.stop}"
    weights = draft.constant(part.format("state_weights"), layer.state[rows])
    bias = draft.constant(part.format("state_bias"), layer.state_bias[rows])
    return draft.make("Gemm", [state, weights, bias], label, (shape[0], rows.stop - rows.start), transB=1)


def _parts(draft: _Draft, layer: _Direction, label: str, state: str, names: Sequence[str], shape: Shape) -> list[str]:
    """R h + c of the first gates, one value for each, shape (batch, units)."""
    product = _product(draft, layer, f"{label}/state_gates", state, slice(0, len(names) * layer.units), shape)
    labels = [f"{label}/state_{name}" for name in names]
    known = draft.constants.get(product)
    if known is not None:
        return [draft.constant(each, part) for each, part in zip(labels, np.split(known, len(names), 1), strict=True)]
    return draft.make_all("Split", [product], labels, [shape] * len(names), axis=1)


def _sum_activated(draft: _Draft, activation: str, label: str, one: str, other: str, shape: Shape) -> str:
    total = draft.make("Add", [one, other], f"{label}_sum", shape)
    return draft.make(activation, [total], label, shape)


def _initial(
    graph: Graph, node: Node, draft: _Draft, layer: _Direction, place: int, index: int, batch: int, batch_first: bool
) -> str:
    """The first state of a direction, shape (batch, units): zeros where the layer is given none."""
    given = node.inputs[place] if len(node.inputs) > place else ""
    if not given:
        return draft.constant(f"{layer.label}/initial_{place}", np.zeros((batch, layer.units), np.float32))
    known = graph.constants.get(given)
    if known is None:
        raise _refused(graph, node, "its first state is computed, not constant")
    return draft.constant(f"{layer.label}/initial_{place}", known[:, index] if batch_first else known[index])


def _join_outputs(
    node: Node, draft: _Draft, outputs: list[list[str]], sizes: tuple[int, int, int], batch_first: bool
) -> None:
    """Y, shape (time, directions, batch, units), or (batch, time, directions, units)."""
    if not node.outputs or not node.outputs[0]:
        return
    time, batch, units = sizes
    # One direction after the other within each step: a single CONCATENATION puts everything where it belongs.
    pieces = [
        draft.make("Unsqueeze", [state], f"{state.removeprefix(draft.layer + '/')}/in_time", (1, 1, batch, units),
                   axes=[0, 1])
        for step in zip(*outputs, strict=True) for state in step
    ]  # fmt: skip
    count = len(outputs)
    shape = (time, count, batch, units)
    if count == 1 and not batch_first:
        draft.finish("Concat", pieces, node.outputs[0], shape, axis=0)
        return
    joined = draft.make("Concat", pieces, "joined", (time * count, 1, batch, units), axis=0)
    if not batch_first:
        target = draft.constant("joined_shape", np.array(shape, np.int64))
        draft.finish("Reshape", [joined, target], node.outputs[0], shape)
        return
    target = draft.constant("joined_shape", np.array(shape, np.int64))
    inner = draft.make("Reshape", [joined, target], "joined_by_time", shape)
    draft.finish("Transpose", [inner], node.outputs[0], (batch, time, count, units), perm=[2, 0, 1, 3])


def _join_states(
    node: Node, draft: _Draft, place: int, states: list[str], sizes: tuple[int, int], batch_first: bool
) -> None:
    """Y_h or Y_c, shape (directions, batch, units), or (batch, directions, units)."""
    if len(node.outputs) <= place or not node.outputs[place]:
        return
    axis = 1 if batch_first else 0
    shape = list(sizes)
    shape.insert(axis, 1)
    pieces = [
        draft.make("Unsqueeze", [state], f"last_{place}_{index}", tuple(shape), axes=[axis])
        for index, state in enumerate(states)
    ]
    shape[axis] = len(states)
    draft.finish("Concat", pieces, node.outputs[place], tuple(shape), axis=axis)


def _refused(graph: Graph, node: Node, reason: str) -> ConversionError:
    shapes = ", ".join(str(list(graph.shapes[name])) for name in node.inputs if name)
    return ConversionError(f"{node.op} node '{node.name}' cannot be converted: {reason} (input shapes {shapes})")
