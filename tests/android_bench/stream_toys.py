"""A toy stream: a running sum of what it hears, written without a framework, and its bundle."""

from pathlib import Path

import numpy as np

from converters.bundle_contents import TensorSpec
from converters.lowering.records import Model, Operator, Tensor
from converters.lowering.writer import write_model
from converters.stream_bundle import StateSpec, StreamBundle, StreamContents, StreamHop, write_stream_bundle

CHANNELS = 4
HOPS = 12


def toy_stream_model(next_name: str = "next_sum", hop_name: str = "features") -> bytes:
    """next_sum = past_sum + the hop's frames together; logits = 2 · next_sum."""
    tensors = {
        hop_name: Tensor(name=hop_name, shape=(1, 2, CHANNELS)),
        "past_sum": Tensor(name="past_sum", shape=(1, CHANNELS)),
        "axes": Tensor(name="axes", shape=(1,), dtype="int32", data=np.array([1], np.int32)),
        "two": Tensor(name="two", shape=(1, CHANNELS), data=np.full((1, CHANNELS), 2, np.float32)),
        "mean": Tensor(name="mean", shape=(1, CHANNELS)),
        next_name: Tensor(name=next_name, shape=(1, CHANNELS)),
        "logits": Tensor(name="logits", shape=(1, CHANNELS)),
    }
    none = {"fusedActivationFunction": "NONE"}
    operators = (
        Operator(code="MEAN", inputs=(hop_name, "axes"), outputs=("mean",), options={"keepDims": False}),
        Operator(code="ADD", inputs=("mean", "past_sum"), outputs=(next_name,), options=none),
        Operator(code="MUL", inputs=(next_name, "two"), outputs=("logits",), options=none),
    )
    model = Model(
        tensors=tensors, operators=operators, inputs=(hop_name, "past_sum"), outputs=("logits", next_name),
        states=(("past_sum", next_name),),
    )  # fmt: skip
    return write_model(model, description="toy stream")


def write_toy_stream(folder: Path, *, precision: str = "float32") -> StreamBundle:
    """The bundle of the toy: hops of 20 ms."""
    hops = np.random.default_rng(0).standard_normal((HOPS, 2, CHANNELS)).astype(np.float32)
    past = TensorSpec(name="past_sum", shape=(1, CHANNELS), dtype="float32")
    contents = StreamContents(
        name=f"toy-stream-{precision}", student="toy", precision=precision, model=toy_stream_model(), onnx=b"onnx",
        input=TensorSpec(name="features", shape=(1, 2, CHANNELS), dtype="float32"),
        logits=TensorSpec(name="logits", shape=(1, CHANNELS), dtype="float32"),
        states=(StateSpec(name="sum", past=past, output="next_sum"),),
        hop=StreamHop(frames=2, smallest_frames=1, samples=320, window_frames=0, sample_rate_hz=16_000),
        labels=("a", "b", "c", "d"), front_end={}, ops={}, parity={}, accuracy={}, calibration={}, parents={},
        tools={}, git={}, data={"synthetic": True},
        golden_hops=hops, golden_logits=2 * np.cumsum(hops.mean(axis=1), axis=0, dtype=np.float32),
    )  # fmt: skip
    return write_stream_bundle(folder / contents.name, contents)
