"""A float network in front of another one, in one file: what turns raw input into what the other was calibrated for.

    input ─► front, float32 in every file ─► (QUANTIZE where the body's input is int8) ─► body ─► output

The body is calibrated, quantized and mixed as if it were alone; its int8 tensors are the same with and without a front.
Between `converters.lowering`, which makes both models, and the writer.
Tested in `tests/converters/test_float_front.py`.
"""

from __future__ import annotations

from dataclasses import replace

from converters.lowering.records import Model, Operator, Tensor

_PREFIX = "front/"


def put_in_front(front: Model, body: Model) -> Model:
    """One model that computes `body` of what `front` computes.

    Args:
        front: float32 and flat; its first output has the shape of the body's first input.
        body: flat, of any precision. Further inputs and outputs of both stay inputs and outputs, under their names.
    """
    assert len(front.parts()) == len(body.parts()) == 1, "steps are called once the whole model is there"
    made, wanted = front.outputs[0], body.tensors[body.inputs[0]]
    assert front.tensors[made].shape == wanted.shape, (front.tensors[made].shape, wanted.shape)
    assert wanted.name not in front.inputs, f"front and body both have an input '{wanted.name}'"
    is_float = wanted.dtype == "float32"
    public = {*front.inputs, *front.outputs[1:]}
    names = {name: name if name in public else f"{_PREFIX}{name}" for name in front.tensors}
    if is_float:
        names[made] = wanted.name
    operators = [_renamed(operator, names) for operator in front.operators]
    if not is_float:
        operators.append(Operator(code="QUANTIZE", inputs=(names[made],), outputs=(wanted.name,)))
    tensors: dict[str, Tensor] = {}
    for name, tensor in front.tensors.items():
        tensors[names[name]] = replace(tensor, name=names[name])
    assert not (set(tensors) - {wanted.name}) & set(body.tensors), "a name of the body starts as those of the front do"
    return Model(
        tensors=tensors | dict(body.tensors),
        operators=(*operators, *body.operators),
        inputs=(*front.inputs, *body.inputs[1:]),
        outputs=(*body.outputs, *(names[name] for name in front.outputs[1:])),
    )


def _renamed(operator: Operator, names: dict[str, str]) -> Operator:
    return replace(
        operator,
        inputs=tuple(names[name] for name in operator.inputs),
        outputs=tuple(names[name] for name in operator.outputs),
        node=f"/{_PREFIX}{operator.node.lstrip('/')}",
    )
