"""Activations moved into the operator before them, where TFLite's options have a place for one."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from converters.lowering.operators import ACTIVATIONS, OPERATORS
from converters.lowering.records import Model, Operator


def fuse_activations(model: Model) -> Model:
    """The model with every RELU and RELU6 that alone reads a fusing operator's output made part of it.

    CONV_2D ─► a ─► RELU ─► b        CONV_2D (fused RELU) ─► b
    """
    reads = Counter(name for operator in model.operators for name in operator.inputs)
    reads.update(model.outputs)
    maker: dict[str, int] = {}
    operators: list[Operator] = []
    gone: set[str] = set()
    for operator in model.operators:
        before = operators[maker[operator.inputs[0]]] if operator.inputs and operator.inputs[0] in maker else None
        if (
            operator.code in ACTIVATIONS
            and before is not None
            and reads[operator.inputs[0]] == 1
            and OPERATORS[before.code].fuses_activation
            and before.options.get("fusedActivationFunction") == "NONE"
        ):
            gone.add(operator.inputs[0])
            options = {**before.options, "fusedActivationFunction": ACTIVATIONS[operator.code]}
            place = maker[operator.inputs[0]]
            operators[place] = replace(before, outputs=operator.outputs, options=options)
            maker[operator.outputs[0]] = place
        else:
            maker.update(dict.fromkeys(operator.outputs, len(operators)))
            operators.append(operator)
    tensors = {name: tensor for name, tensor in model.tensors.items() if name not in gone}
    return replace(model, operators=tuple(operators), tensors=tensors)
