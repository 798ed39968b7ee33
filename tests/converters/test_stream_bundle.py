"""A stream on disk: written whole, read with every hash checked, and never taken for a bundle of clips."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from converters.bundle import find_bundles, read_bundle
from converters.bundle_contents import TensorSpec
from converters.errors import BundleError
from converters.stream_bundle import (
    StateSpec,
    StreamContents,
    StreamHop,
    find_stream_bundles,
    read_stream_bundle,
    write_stream_bundle,
)


def contents(**changes: object) -> StreamContents:
    features = TensorSpec(name="features", shape=(1, 8, 40), dtype="float32")
    past = TensorSpec(name="past_ring", shape=(1, 1, 7, 16), dtype="float32")
    made = StreamContents(
        name="toy-stream-float32", student="toy", precision="float32", model=b"model", onnx=b"onnx",
        input=features, logits=TensorSpec(name="logits", shape=(1, 2), dtype="float32"),
        states=(StateSpec(name="ring", past=past, output="next_ring"),),
        hop=StreamHop(frames=8, smallest_frames=8, samples=1280, window_frames=96, sample_rate_hz=16_000),
        labels=("yes", "no"), front_end={"in_graph": False}, ops={}, parity={}, accuracy={}, calibration={},
        parents={"checkpoint_sha256": "a"}, tools={}, git={}, data={"synthetic": True},
        golden_hops=np.zeros((3, 8, 40), np.float32), golden_logits=np.zeros((3, 2), np.float32),
    )  # fmt: skip
    return dataclasses.replace(made, **changes)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    written = write_stream_bundle(tmp_path / "toy-stream-float32", contents())
    seen = read_stream_bundle(tmp_path / "toy-stream-float32")
    assert (written.states, written.hop, written.sha256) == (seen.states, seen.hop, seen.sha256)
    assert (80.0, 12) == (seen.hop.milliseconds, seen.hop.warm_up_hops)
    assert seen.document["states"][0] == {
        "name": "ring", "input": contents().states[0].past.to_json(), "output": "next_ring", "initial": 0.0,
    }  # fmt: skip


def test_a_stream_is_no_bundle_of_clips_and_is_passed_over_there(tmp_path: Path) -> None:
    write_stream_bundle(tmp_path / "toy-stream-float32", contents())
    assert find_bundles(tmp_path) == []
    assert ["toy-stream-float32"] == [each.name for each in find_stream_bundles(tmp_path)]
    with pytest.raises(BundleError, match=r"holds a stream, .* give it to tkd-eval --stream or tkd-bench stream"):
        read_bundle(tmp_path / "toy-stream-float32")
    document = tmp_path / "toy-stream-float32" / "model.json"
    document.write_text(document.read_text("utf-8").replace("tkd.stream/1", "tkd.bundle/1"), "utf-8")
    with pytest.raises(BundleError, match=r"holds a model of whole clips, no stream; export one with tkd-export"):
        read_stream_bundle(tmp_path / "toy-stream-float32")


def test_an_altered_stream_is_refused(tmp_path: Path) -> None:
    folder = write_stream_bundle(tmp_path / "toy", contents()).folder
    (folder / "model.tflite").write_bytes(b"other")
    with pytest.raises(BundleError, match=r"model\.tflite was altered after the export"):
        read_stream_bundle(folder)


def test_a_document_without_its_states_is_damaged(tmp_path: Path) -> None:
    folder = write_stream_bundle(tmp_path / "toy", contents()).folder
    document = json.loads((folder / "model.json").read_text("utf-8"))
    del document["states"]
    (folder / "model.json").write_text(json.dumps(document), "utf-8")
    with pytest.raises(BundleError, match=r"is damaged \(KeyError\('states'\)\)"):
        read_stream_bundle(folder)


def test_a_stream_from_something_else_is_overwritten_only_by_force(tmp_path: Path) -> None:
    write_stream_bundle(tmp_path / "toy", contents())
    other = contents(parents={"checkpoint_sha256": "b"})
    with pytest.raises(BundleError, match="was made from something else"):
        write_stream_bundle(tmp_path / "toy", other)
    assert {"checkpoint_sha256": "b"} == write_stream_bundle(tmp_path / "toy", other, force=True).document["parents"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"golden_hops": np.zeros((3, 4, 40), np.float32)}, r"golden_hops is float32 of shape \[3, 4, 40\]"),
        ({"golden_logits": np.zeros((2, 2), np.float32)}, "3 golden hops and 2 golden logits"),
        ({"states": ()}, "a stream of 0 states"),
        ({"data": {}}, r"data\.synthetic is None"),
    ],
)
def test_contents_that_could_not_be_read_are_not_written(changes: dict[str, object], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        contents(**changes)


def test_a_hop_that_does_not_divide_into_the_strides_is_refused() -> None:
    with pytest.raises(BundleError, match="a hop of 12 frames does not divide into strides of 8 frames"):
        StreamHop(frames=12, smallest_frames=8, samples=1920, window_frames=96, sample_rate_hz=16_000)
