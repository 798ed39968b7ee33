from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from benchmarks.converter_table import table
from benchmarks.converters import from_first_layer
from converters.runners import run_onnx, run_torch
from converters.to_onnx import to_onnx

HEADER = {
    "machine": "x86_64, avx2, 2 processors",
    "python": "3.11",
    "torch": "2.13",
    "peers": {"onnx-tf": "1.10.0", "ai-edge-litert": "2.1.0"},
    "runtime": "ai-edge-litert 2.3.0",
    "date": "2026-11-21",
}


def file(**changes: Any) -> dict[str, Any]:
    seen = {"bytes": 2048, "operators": 16, "transposes": 0, "max_error": 3e-6, "sqnr_db": 39.94, "note": ""}
    return {**seen, **changes}


def row(files: dict[str, Any], **changes: Any) -> dict[str, Any]:
    seconds = {"float32": 0.08, "with int8": 0.31}
    return {"files": files, "seconds": seconds, "is_trained": True, "versions": {}, **changes}


def page(rows: dict[tuple[str, str], Any], us: dict[str, list[float]]) -> list[str]:
    latencies = {("tcresnet8", "int8"): {"us": us}}
    return table(rows, latencies, HEADER).splitlines()


def test_a_file_that_is_faster_in_every_round_is_called_faster() -> None:
    rounds = [10.0, 11.0, 9.0, 10.5, 10.2, 9.7, 10.1, 9.9]
    rows = {("tcresnet8", "ours"): row({"float32": file(), "int8": file()})}
    lines = page(rows, {"ours": rounds, "onnx-tf": [2 * each for each in rounds]})
    assert "| tcresnet8 | int8 | 10.1 | 0.50 [0.50, 0.50] | – | – | faster |" in lines


def test_the_fastest_peer_decides_and_a_slower_file_is_called_slower() -> None:
    rounds = [10.0, 11.0, 9.0, 10.5, 10.2, 9.7, 10.1, 9.9]
    rows = {("tcresnet8", "ours"): row({"float32": file(), "int8": file()})}
    peers = {"onnx-tf": [2 * each for each in rounds], "litert-torch": [0.8 * each for each in rounds]}
    line = next(line for line in page(rows, {"ours": rounds, **peers}) if line.startswith("| tcresnet8 | int8"))
    assert line.endswith("| 1.25 [1.25, 1.25] | slower |")


def test_a_refusal_is_a_row_with_its_reason_and_its_networks() -> None:
    refused = {"refused": "RuntimeError: GRU | not supported"}
    rows = {
        ("crnn", "onnx-tf"): row({"float32": refused, "int8": refused}),
        ("att-rnn", "onnx-tf"): row({"float32": refused, "int8": refused}),
    }
    lines = page(rows, {})
    assert "| onnx-tf | float32 | crnn, att-rnn | `RuntimeError: GRU / not supported` |" in lines


def test_an_untrained_network_has_no_star_and_a_missing_file_a_dash() -> None:
    rows = {
        ("cnn-1", "ours"): row({"float32": file(), "int8": file()}, is_trained=False),
        ("cnn-1", "onnx-tf"): row({"float32": file(), "int8": {"refused": "crashed"}}, is_trained=False),
    }
    lines = page(rows, {})
    assert "| cnn-1 | 39.9 | – |  |  |" in lines
    assert "| cnn-1 | 2 · 16 (0) / 2 · 16 (0) | 2 · 16 (0) / – |  |  |" in lines


def test_a_model_from_its_first_layer_on_takes_what_that_layer_reads() -> None:
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(4, 3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.conv(x.transpose(1, 2)))

    network, clips = Turned(), np.random.default_rng(0).standard_normal((2, 9, 4)).astype(np.float32)
    whole = to_onnx(network, torch.zeros(1, 9, 4)).SerializeToString()
    cut = from_first_layer(whole)
    assert [axis.dim_value for axis in onnx.load_from_string(cut).graph.input[0].type.tensor_type.shape.dim] == [
        1,
        4,
        9,
    ]
    seen = run_onnx(cut, np.ascontiguousarray(clips.transpose(0, 2, 1)))
    assert np.allclose(run_torch(network, clips), seen, atol=1e-6)
