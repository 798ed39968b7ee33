"""A TFLite model as frozen records: what the lowering makes, the quantizer rewrites and the writer packs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Quantization:
    """Affine quantization: real = scale · (stored − zero_point).

    Attributes:
        scales: float32, one value, or one for each index along `axis`.
        zero_points: int64, as many as scales.
        axis: the axis along which scales differ; 0 where there is one scale.
    """

    scales: Array
    zero_points: Array
    axis: int = 0

    def quantize(self, values: Array, bits: int = 8) -> Array:
        """Integers nearest to `values`, saturated to `bits`; the array's shape stays."""
        limit = 1 << (bits - 1)
        stored = np.rint(values / self._along(self.scales, values.ndim)) + self._along(self.zero_points, values.ndim)
        integers: Array = np.clip(stored, -limit, limit - 1).astype(np.int8 if bits == 8 else np.int32)
        return integers

    def dequantize(self, stored: Array) -> Array:
        """The real values of `stored`, float32."""
        centred = stored.astype(np.float64) - self._along(self.zero_points, stored.ndim)
        return (centred * self._along(self.scales, stored.ndim)).astype(np.float32)

    def _along(self, values: Array, rank: int) -> Array:
        if values.size == 1:
            return values.reshape(())
        return values.reshape([-1 if axis == self.axis else 1 for axis in range(rank)])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tensor:
    """One tensor of a TFLite model.

    Attributes:
        name: unique in the model.
        shape: static.
        dtype: float32, int8 or int32.
        data: the content of a constant; None for what is computed.
        quantization: of an integer tensor that stands for reals.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    data: Array | None = None
    quantization: Quantization | None = None

    @property
    def content(self) -> Array:
        """The data of a constant."""
        assert self.data is not None, f"{self.name} is computed"
        return self.data


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Operator:
    """One operator of a TFLite model.

    Attributes:
        code: TFLite's name, a key of `converters.lowering.operators.OPERATORS`.
        inputs: names of tensors.
        outputs: names of tensors.
        options: the fields of its options table in TFLite's schema; enumerations by their names.
        node: the path of the ONNX node that it comes from, such as `/gru/GRU/forward/step3/state_gates`; the file
            has it in the names of the tensors. Empty for operators that stand for no node.
    """

    code: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    node: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """A TFLite model: one subgraph, and the steps that it calls once `converters.lowering.outline` has found any.

    Attributes:
        tensors: by name.
        operators: in the order of execution.
        inputs: names of tensors.
        outputs: names of tensors.
        steps: subgraphs called by IF; the first has index 1 in the file. Empty in a flat model.
        states: of a model that is run hop by hop, (input, output) of each state: whoever runs it gives the output of
            one hop as the input of the next. Empty for a model without a memory.
    """

    tensors: Mapping[str, Tensor]
    operators: tuple[Operator, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    steps: tuple[Model, ...] = ()
    states: tuple[tuple[str, str], ...] = ()

    def parts(self) -> tuple[Model, ...]:
        """Every subgraph of the file, this one first."""
        return (self, *self.steps)

    def counts(self) -> dict[str, int]:
        """How many operators the file stores of each code, the most frequent first."""
        codes = Counter(operator.code for part in self.parts() for operator in part.operators)
        return dict(codes.most_common())

    def activations(self) -> tuple[str, ...]:
        """Names of the tensors that are computed or come from outside."""
        made = [name for operator in self.operators for name in operator.outputs]
        return (*self.inputs, *made)
