"""Measures forms of the front end as TFLite operators: time on this computer, instructions on a virtual phone.

The tables of docs/front-end.md come from:  python -m benchmarks.front_end --device virtual-pixel1
Every form computes the same features of the same second; TC-ResNet8 in float32 is the unit.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

from converters.bundle import Bundle
from converters.float_front import put_in_front
from converters.graph import read_graph
from converters.lowering.lower import lower
from converters.lowering.operators import OPERATORS, OperatorRow
from converters.lowering.records import Model, Operator
from converters.lowering.records import Tensor as LiteTensor
from converters.lowering.writer import write_model
from converters.runners import Floats, TfliteModel, TfliteTimer
from converters.to_onnx import to_onnx
from tkd.audio import graph_front_end, split_dft
from tkd.audio.features import FeatureConfig, FrontEnd, find_features
from tkd.audio.graph_front_end import GraphFrontEnd
from tkd.students import build_student

SAMPLES, ROUNDS, ROUND_S = 16_000, 31, 0.004
UNIT = "TC-ResNet8, float32"


class MatrixFrontEnd(nn.Module):
    """The DFT as one matrix of the bins that mel hears; frames by a convolution's stride, or copied side by side."""

    def __init__(self, config: FeatureConfig, *, copies_frames: bool) -> None:
        super().__init__()
        outside, self.config, self.copies_frames = FrontEnd(config).double(), config, copies_frames
        length = config.window_length
        heard = torch.nonzero(outside.mel.amax(dim=1) > 1e-9).flatten()
        angles = -2 * torch.pi * torch.outer(heard.double(), torch.arange(length).double()) / config.n_fft
        matrix = torch.cat([angles.cos(), angles.sin()]) * outside.window
        self.chunk = int(np.gcd(length, config.hop_length))
        kernel = matrix.reshape(len(matrix), length // self.chunk, self.chunk).transpose(1, 2)
        self.kernel, self.matrix = (nn.Parameter(each.float().contiguous()) for each in (kernel, matrix.T))
        self.tail = Tail(config, outside.mel[heard])
        self.frames = config.frames(SAMPLES)

    def forward(self, waveform: Tensor) -> Tensor:
        """Features, shape (1, frames, channels), of one second, shape (1, samples)."""
        if self.copies_frames:
            parts = copied_frames(waveform, self.config) @ self.matrix
        else:
            used = self.config.window_length + self.config.hop_length * (self.frames - 1)
            chunks = waveform[:, :used].reshape(1, -1, self.chunk).transpose(1, 2)
            stride = self.config.hop_length // self.chunk
            parts = nn.functional.conv1d(chunks, self.kernel, stride=stride).transpose(1, 2)
        real, imaginary = parts.chunk(2, dim=2)
        return self.tail(real * real + imaginary * imaginary)


class Tail(nn.Module):
    """From |X|² of some bins to features."""

    def __init__(self, config: FeatureConfig, mel: Tensor) -> None:
        super().__init__()
        self.config = config
        self.mel, self.dct = nn.Parameter(mel.float()), nn.Parameter(FrontEnd(config).dct)

    def forward(self, squares: Tensor) -> Tensor:
        """Features, shape (1, frames, channels), of |X|², shape (1, frames, bins)."""
        bands = (squares.sqrt() if self.config.power == 1 else squares) @ self.mel
        floor = self.config.log_floor
        log_mel = (bands + floor if self.config.log_floor_is_added else bands.clamp(min=floor)).log()
        return log_mel @ self.dct if self.config.n_mfcc else log_mel


def copied_frames(waveform: Tensor, config: FeatureConfig) -> Tensor:
    """Every frame by itself, shape (1, frames, window): slices of hops, side by side."""
    frames, hop = config.frames(SAMPLES), config.hop_length
    hops = waveform[:, : SAMPLES // hop * hop].reshape(1, -1, hop)
    taps = -(-config.window_length // hop)
    return torch.cat([hops[:, tap : tap + frames] for tap in range(taps)], dim=2)[:, :, : config.window_length]


class WindowedFrames(nn.Module):
    """What an FFT is fed: windowed frames with zeros behind, shape (1, frames, n_fft)."""

    def __init__(self, config: FeatureConfig) -> None:
        super().__init__()
        self.config, self.window = config, nn.Parameter(FrontEnd(config).window)

    def forward(self, waveform: Tensor) -> Tensor:
        """The frames of one second, shape (1, samples)."""
        zeros = self.config.n_fft - self.config.window_length
        return nn.functional.pad(copied_frames(waveform, self.config) * self.window, (0, zeros))


def lowered(module: nn.Module, example: Floats, input_name: str = "input") -> Model:
    """The TFLite model of a module."""
    return lower(read_graph(to_onnx(module.eval(), torch.from_numpy(example), input_name=input_name)))


def file_of(module: nn.Module, example: Floats) -> bytes:
    """The TFLite file of a module."""
    return write_model(lowered(module, example), description="benchmark")


def with_rfft(config: FeatureConfig, clip: Floats) -> bytes:
    """The front end around TFLite's own RFFT2D, which no lowering of ours emits."""
    frames, bins = config.frames(SAMPLES), config.n_fft // 2 + 1
    head = lowered(WindowedFrames(config), clip)
    shapes = {
        "rfft/rows": (frames, 1, config.n_fft),
        "rfft/spectrum": (frames, 1, bins),
        "rfft/size": (frames, 1, bins),
    }
    tensors = {name: LiteTensor(name=name, shape=shape) for name, shape in shapes.items()}
    tensors["rfft/spectrum"] = replace(tensors["rfft/spectrum"], dtype="complex64")
    tensors["rfft/squares"] = LiteTensor(name="rfft/squares", shape=(1, frames, bins))
    tensors["rfft/flat"] = LiteTensor(name="rfft/flat", shape=(1, frames, bins))
    constants = {
        "rfft/rows_shape": shapes["rfft/rows"],
        "rfft/fft_length": (1, config.n_fft),
        "rfft/flat_shape": (1, frames, bins),
    }
    for name, values in constants.items():
        data = np.array(values, np.int32)
        tensors[name] = LiteTensor(name=name, shape=data.shape, dtype="int32", data=data)
    operators = (
        Operator(code="RESHAPE", inputs=(head.outputs[0], "rfft/rows_shape"), outputs=("rfft/rows",),
                 options={"newShape": list(shapes["rfft/rows"])}),
        Operator(code="RFFT2D", inputs=("rfft/rows", "rfft/fft_length"), outputs=("rfft/spectrum",)),
        Operator(code="COMPLEX_ABS", inputs=("rfft/spectrum",), outputs=("rfft/size",)),
        Operator(code="RESHAPE", inputs=("rfft/size", "rfft/flat_shape"), outputs=("rfft/flat",),
                 options={"newShape": [1, frames, bins]}),
        Operator(code="MUL", inputs=("rfft/flat", "rfft/flat"), outputs=("rfft/squares",),
                 options={"fusedActivationFunction": "NONE"}),
    )  # fmt: skip
    front = replace(
        head, tensors={**head.tensors, **tensors}, operators=(*head.operators, *operators), outputs=("rfft/squares",)
    )
    tail = lowered(Tail(config, FrontEnd(config).mel), np.ones((1, frames, bins), np.float32), "spectrum")
    rows = {"RFFT2D": OperatorRow(options="Rfft2dOptions"), "COMPLEX_ABS": OperatorRow()}
    with patch.dict(OPERATORS, rows):
        return write_model(put_in_front(front, tail), description="benchmark")


def split_form(config: FeatureConfig, clip: Floats, *, columns: int | None = None, mel_parts: int = 4) -> bytes:
    """The shipped form, or it with other columns of the DFT or other parts of mel."""

    def chosen(*arguments: Any) -> split_dft.SplitDft:
        return split_dft.split_dft(*arguments, columns)

    with patch.object(graph_front_end, "split_dft", chosen), patch.object(graph_front_end, "_MEL_PARTS", mel_parts):
        return file_of(GraphFrontEnd(config, SAMPLES), clip)


def forms(config: FeatureConfig, clip: Floats) -> dict[str, bytes]:
    """Every form's file by its name; the shipped one first."""
    made: dict[str, Callable[[], bytes]] = {"split, as shipped": lambda: split_form(config, clip)}
    if not config.is_centred:
        made["matrix, frames copied"] = lambda: file_of(MatrixFrontEnd(config, copies_frames=True), clip)
        made["matrix, framed by stride"] = lambda: file_of(MatrixFrontEnd(config, copies_frames=False), clip)
        made["RFFT2D"] = lambda: with_rfft(config, clip)
    for columns in (4, 8, 16, 32):
        made[f"split, {columns} columns"] = lambda columns=columns: split_form(config, clip, columns=columns)
    for parts in (1, 2, 8):
        name = "one matrix" if parts == 1 else f"{parts} parts"
        made[f"split, mel in {name}"] = lambda parts=parts: split_form(config, clip, mel_parts=parts)
    return {name: make() for name, make in made.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Time relative to the unit: median and quartiles over the rounds; and the file's size."""

    ratio: float
    low: float
    high: float
    size_bytes: int


def costs(files: Mapping[str, bytes]) -> dict[str, Cost]:
    """Each file's time against the first one's, in turns, one thread."""
    timers = {}
    for name, content in files.items():
        model = TfliteModel(content)
        timers[name] = TfliteTimer(model, np.full((1, *model.input.shape[1:]), 0.1, np.float32))
    seen = np.array([
        [timer.seconds(ROUND_S, time.perf_counter) for timer in timers.values()] for _ in range(ROUNDS + 1)
    ])[1:]  # fmt: skip
    ratios = seen / seen[:, :1]
    return {
        name: Cost(ratio=float(middle), low=float(low), high=float(high), size_bytes=len(files[name]))
        for name, (low, middle, high) in zip(files, np.quantile(ratios, [0.25, 0.5, 0.75], axis=0).T, strict=True)
    }


def instructions(files: Mapping[str, bytes], device: str) -> dict[str, int]:
    """Instructions of one inference of each file on a virtual phone: emulated, exact, no latency."""
    from android_bench.cli_virtual import connected
    from android_bench.engine import cache_folder
    from android_bench.native_install import install_runner
    from android_bench.profiles import load_profile
    from android_bench.records import RunPlan
    from android_bench.virtual_session import count_instructions

    found = {}
    with connected(load_profile(device)) as phone, tempfile.TemporaryDirectory() as place:
        installed = install_runner(phone, cache_folder(), ("glibc",))
        phone.use_runner(installed.command)
        for index, (name, content) in enumerate(files.items()):
            folder = Path(place) / str(index)
            folder.mkdir()
            (folder / "model.tflite").write_bytes(content)
            model = TfliteModel(content)
            golden = np.random.default_rng(0).normal(0, 0.1, (1, *model.input.shape[1:])).astype(np.float32)
            np.save(folder / "golden_input.npy", golden)
            np.save(folder / "golden_output.npy", model.run_stored(golden))
            bundle = cast("Bundle", SimpleNamespace(name=name, folder=folder, model=folder / "model.tflite"))
            found[name] = count_instructions(phone, bundle, RunPlan(threads=1), installed.facts).instructions.inference
    return found


def table(seen: Mapping[str, Cost], counted: Mapping[str, int]) -> Iterable[str]:
    """The results as Markdown."""
    yield "| form | time ÷ TC-ResNet8 | quartiles | instructions, emulated | ÷ TC-ResNet8 | bytes |"
    yield "|---|---:|---|---:|---:|---:|"
    for name, cost in seen.items():
        cells = [f"{counted[name]:,}", f"{counted[name] / counted[UNIT]:.2f}"] if counted else ["", ""]
        quartiles = f"{cost.low:.2f} – {cost.high:.2f}"
        yield f"| {name} | {cost.ratio:.2f} | {quartiles} | {cells[0]} | {cells[1]} | {cost.size_bytes:,} |"


def main() -> None:
    """Prints a table for each front end."""
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("features", nargs="*", default=["tcresnet-paper"], help="names of front ends")
    made.add_argument("--device", default="", help="a virtual phone to count instructions on, such as virtual-pixel1")
    made.add_argument("--shipped", action="store_true", help="only the form that is shipped")
    arguments = made.parse_args()
    clip = np.random.default_rng(0).normal(0, 0.1, (1, SAMPLES)).astype(np.float32)
    student = file_of(build_student("tcresnet8", 40, 12), np.ones((1, 98, 40), np.float32))
    for name in arguments.features:
        config = find_features(name)
        found = {"split, as shipped": split_form(config, clip)} if arguments.shipped else forms(config, clip)
        files = {UNIT: student, **found}
        counted = instructions(files, arguments.device) if arguments.device else {}
        print(f"\n{name}\n\n" + "\n".join(table(costs(files), counted)), flush=True)


if __name__ == "__main__":
    main()
