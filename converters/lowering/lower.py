"""The table of ONNX operators, and the lowering of a whole graph with it.

To add an operator, add a row (and, where it needs one, a function in the file of its family).
"""

from __future__ import annotations

from collections.abc import Callable

from converters.errors import ConversionError
from converters.graph import Graph, Node
from converters.lowering import dense, elementwise, resize, shapes, slices, windows
from converters.lowering.bands import FEW_COLUMNS, fold_bands
from converters.lowering.builder import Builder
from converters.lowering.choices import Choices
from converters.lowering.fuse import fuse_activations
from converters.lowering.order import pass_order
from converters.lowering.records import Model
from converters.lowering.recurrent import RECURRENT_OPERATORS, write_out_recurrences
from converters.lowering.rewrite import rewrite

LOWERINGS: dict[str, Callable[[Builder, Node], None]] = {
    "Add": elementwise.arithmetic("ADD"),
    "AveragePool": windows.lower_average_pool,
    "BatchNormalization": elementwise.lower_batch_normalization,
    "Clip": elementwise.lower_clip,
    "Concat": shapes.lower_concat,
    "Conv": windows.lower_conv,
    "Div": elementwise.lower_div,
    "Flatten": shapes.lower_reshape,
    "Gather": slices.lower_gather,
    "Gemm": dense.lower_gemm,
    "GlobalAveragePool": shapes.lower_global_average_pool,
    "HardSigmoid": elementwise.lower_hard_sigmoid,
    "HardSwish": elementwise.activation("HARD_SWISH"),
    "LeakyRelu": elementwise.lower_leaky_relu,
    "Log": elementwise.activation("LOG"),
    "MatMul": dense.lower_matmul,
    "MaxPool": windows.lower_max_pool,
    "Mul": elementwise.arithmetic("MUL"),
    "Pad": windows.lower_pad,
    "ReduceMean": shapes.lower_reduce_mean,
    "Relu": elementwise.activation("RELU"),
    "Reshape": shapes.lower_reshape,
    "Resize": resize.lower_resize,
    "Sigmoid": elementwise.activation("LOGISTIC"),
    "Slice": slices.lower_slice,
    "Softmax": elementwise.lower_softmax,
    "Split": slices.lower_split,
    "Sqrt": elementwise.activation("SQRT"),
    "Squeeze": shapes.lower_squeeze,
    "Sub": elementwise.arithmetic("SUB"),
    "Tanh": elementwise.activation("TANH"),
    "Transpose": shapes.lower_transpose,
    "Unsqueeze": shapes.lower_unsqueeze,
}


def lower(graph: Graph, choices: Choices = Choices()) -> Model:  # noqa: B008 - frozen
    """The float32 TFLite model of a graph, flat.

    Args:
        graph: static shapes throughout.
        choices: where there is more than one way.

    Raises:
        ConversionError: an operator is in no row of the table, or is used in a way that has no TFLite form.
    """
    unknown = [node for node in graph.nodes if node.op not in LOWERINGS and node.op not in RECURRENT_OPERATORS]
    if unknown:
        raise ConversionError(_unknown_operators(graph, unknown))
    rewritten = rewrite(write_out_recurrences(graph))
    folded = fold_bands(rewritten, more_than=FEW_COLUMNS if choices.bands == "fitting" else 0)
    rows_first = folded is not rewritten and choices.bands != "apart"
    if choices.bands in ("fitting", "folded"):
        rewritten = folded
    builder = Builder(rewritten, choices, rows_first=rows_first)
    for node in rewritten.nodes:
        builder.begin(node)
        LOWERINGS[node.op](builder, node)
        pass_order(builder, node)
    return fuse_activations(builder.finish())


def _unknown_operators(graph: Graph, unknown: list[Node]) -> str:
    first = unknown[0]
    shapes_seen = ", ".join(str(list(graph.shapes[name])) for name in first.inputs if name)
    others = sorted({node.op for node in unknown} - {first.op})
    also = f"; also without a lowering: {', '.join(others)}" if others else ""
    return (
        f"no lowering for {first.op} (node '{first.name}', input shapes {shapes_seen}){also}; "
        f"supported: {', '.join(sorted([*LOWERINGS, *RECURRENT_OPERATORS]))}"
    )
