"""The second route as far as it goes without TensorFlow; the rest is in tests/tensorflow_route."""

import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from converters.command_line import ExitCode
from converters.errors import ConversionError
from converters.metadata import Card, read_metadata
from converters.pipeline import ConversionRequest, convert
from converters.tensorflow_route import worker
from converters.tensorflow_route.proof import files_of, layers_of, mixture_of
from converters.tensorflow_route.route import check_packages, convert_with_tensorflow
from converters.to_onnx import to_onnx
from tests.converters.toys import inputs
from tkd.cli.export import main
from tkd.students import build_student

SHAPE = (1, 6, 21)


def network() -> nn.Module:
    return nn.Sequential(nn.Conv1d(6, 8, 3), nn.ReLU(), nn.Conv1d(8, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(68, 4))


def onnx_model() -> bytes:
    import torch

    content: bytes = to_onnx(network(), torch.zeros(SHAPE)).SerializeToString()
    return content


@pytest.fixture
def python(tmp_path: Path) -> Any:
    """Makes a program that stands for a Python with TensorFlow: `-P worker.py FOLDER` runs the given shell lines."""

    def made(lines: str, missing: str = "[]") -> Path:
        program = tmp_path / "python"
        program.write_text(f"#!/bin/sh\nif [ \"$3\" = --check ]; then echo '{missing}'; exit 0; fi\n{lines}\n")
        os.chmod(program, program.stat().st_mode | stat.S_IXUSR)  # noqa: PTH101
        return program

    return made


def answer(step: str = "null", refusals: str = "{}") -> str:
    text = f'{{"step": {step}, "refusals": {refusals}, "seconds": {{}}, "versions": {{}}}}'
    return f"echo '{text}' > \"$3/answer.json\""


@pytest.mark.parametrize(
    ("lines", "limit_s", "message"),
    [
        (answer('"int8"') + "; kill -SEGV $$", 60, "ended by SIGSEGV, making the int8 file"),
        ("echo one >&2; echo two >&2; exit 3", 60, r"exit code 3: one \| two"),
        (answer(refusals='{"saved_model": "Pad"}'), 60, "cannot make a SavedModel of this model: Pad"),
        ("exec sleep 600", 0.5, "TensorFlow was stopped after 0.5 s"),
    ],
)
def test_what_ends_tensorflow_is_told_with_the_step(python: Any, lines: str, limit_s: float, message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        convert_with_tensorflow(onnx_model(), SHAPE, ["float32"], None, python=python(lines), time_limit_s=limit_s)


def test_missing_packages_are_named_with_the_way_to_get_them(python: Any) -> None:
    with pytest.raises(ConversionError, match=r"lacks tensorflow, onnx_tf, .*make setup-tensorflow"):
        check_packages(python("", missing='["tensorflow", "onnx_tf"]'))


@pytest.mark.parametrize("program", ["/nowhere/python", "/bin/true"])
def test_what_is_no_python_is_refused(program: str) -> None:
    with pytest.raises(ConversionError, match=f"{program} is no Python"):
        check_packages(Path(program))


def test_the_command_refuses_a_missing_backend_before_any_work(python: Any, capsys: pytest.CaptureFixture[str]) -> None:
    program = python("", missing='["onnx_tf"]')
    words = ["--student", "tcresnet", "--backend", "onnx-tf", "--backend-python", str(program)]
    assert main(words) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert f"{program} lacks onnx_tf" in captured.err
    assert captured.out == ""


def test_a_model_of_another_shape_is_refused(python: Any) -> None:
    with pytest.raises(ConversionError, match=r"has shape \[1, 6, 21\]; the example has \[1, 6, 22\]"):
        convert_with_tensorflow(onnx_model(), (1, 6, 22), ["float32"], None, python=python(""))


def test_an_operator_of_the_network_s_own_that_onnx_tf_cannot_read_is_named(python: Any) -> None:
    import torch

    student = build_student("lstm-p-reduced", 20, 12)
    content = to_onnx(student, torch.zeros(1, 49, 20), opset=11).SerializeToString()
    with pytest.raises(ConversionError, match="the network's own operator PeepholeLstm is defined in a later one"):
        convert_with_tensorflow(content, (1, 49, 20), ["float32"], None, python=python(""))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backend": "onnx-tf", "keep_float": ("CONV",)}, "decides by itself what stays float"),
        ({"backend": "onnx-tf", "method": "mse"}, "minmax ranges only, not mse"),
        ({"backend": "onnxtf"}, "did you mean 'onnx-tf'"),
        ({"backend_python": Path("python3")}, "python3 is for the backend onnx-tf"),
        ({"runtime": "tensorflw"}, "did you mean 'tensorflow'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], message: str) -> None:
    clips = inputs(SHAPE, 4)
    with pytest.raises(ConversionError, match=message):
        ConversionRequest(module=network(), example=clips[:1], calibration=clips, **settings)


def test_the_proof_of_a_foreign_file_is_that_of_our_own() -> None:
    clips = inputs(SHAPE, 32)
    ours = convert(ConversionRequest(module=network(), example=clips[:1], calibration=clips, gates=None))
    assert ours.int8 is not None
    contents = {precision: file.content for precision, file in ours.files.items()}
    files = files_of(contents, Card(name="toy"))
    for precision, file in ours.files.items():
        assert (dict(file.operators), file.shares) == (dict(files[precision].operators), files[precision].shares)
        metadata = read_metadata(files[precision].content)
        assert metadata is not None
        assert metadata.name == "toy"
    report = layers_of(files, clips, calibration_clips=32)
    assert [each.operator for each in report.layers].count("CONV_2D") == 2
    assert all(each.alone_us is None and each.sqnr_db > 10 for each in report.layers)
    assert mixture_of(ours.int8.content).choices == ()


def test_what_tensorflow_leaves_in_float_is_counted() -> None:
    clips = inputs(SHAPE, 32)
    request = ConversionRequest(
        module=network(), example=clips[:1], calibration=clips, keep_float=("FULLY_CONNECTED",), gates=None
    )
    made = convert(request).int8
    assert made is not None
    (choice,) = mixture_of(made.content).choices
    assert (choice.operators, choice.reason) == (1, "TensorFlow has no int8 form of FULLY_CONNECTED×1")


def test_a_reason_is_the_line_that_tells() -> None:
    told = worker.reason_of(KeyError("in user code:\n\n    File x\n    KeyError: 'rows'\n"))
    assert told.startswith("KeyError: ")
    assert worker.reason_of(RuntimeError("\nfirst\nloc(x): error: 'tfl.rfft2d' op is no good\nlast")) == (
        "RuntimeError: loc(x): error: 'tfl.rfft2d' op is no good"
    )
    assert worker.reason_of(ValueError()) == "ValueError: without a message"


def test_steps_after_a_refused_one_go_on_unless_it_was_the_first(tmp_path: Path) -> None:
    def refuse() -> None:
        raise ValueError("no")

    def go() -> str:
        return "noted"

    worker.carry_out(tmp_path, [("saved_model", go), ("float32", refuse), ("int8", go)], {}, (ValueError,))
    text = (tmp_path / "answer.json").read_text()
    assert '"refusals": {"float32": "ValueError: no"}' in text
    assert '"notes": {"saved_model": "noted", "int8": "noted"}' in text
    worker.carry_out(tmp_path, [("saved_model", refuse), ("float32", go)], {}, (ValueError,))
    assert '"notes": {}' in (tmp_path / "answer.json").read_text()


def test_shapes_left_open_take_the_length_of_the_example(python: Any, tmp_path: Path) -> None:
    import onnx

    model = onnx.load_from_string(onnx_model())
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    program = python(f'cp "$3/model.onnx" {tmp_path}/seen.onnx; touch "$3/float32.tflite"; {answer()}')
    convert_with_tensorflow(model.SerializeToString(), SHAPE, ["float32"], np.zeros(SHAPE), python=program)
    seen = onnx.load(tmp_path / "seen.onnx").graph.input[0].type.tensor_type.shape.dim
    assert [axis.dim_value for axis in seen] == list(SHAPE)
