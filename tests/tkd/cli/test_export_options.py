"""Options of `tkd-export` that do not go together: a sentence, not silence. Purpose of `tkd/cli/export_options.py`."""

from __future__ import annotations

import pytest

from converters.errors import ConversionError
from tkd.cli.export import main
from tkd.cli.export_options import check_options, export_parser

REFUSED = {
    "--int8": "--keep-float RNN",
    "--onnx": "--calibration clips.npz",
    "give --streaming": "--hop-frames 2",
    "--input waveform": "--android app",
    "one way only": "--tune --backend onnx-tf",
    "derives a stream": "--onnx a.onnx --streaming",
    "has the input it has": "--onnx a.onnx --input waveform",
    "--student exclude": "--onnx a.onnx --student tcresnet8",
    "--checkpoint exclude": "--onnx a.onnx --checkpoint a.safetensors",
    "--data exclude": "--onnx a.onnx --data speech",
    "needs its inputs": "--onnx a.onnx --int8",
    "leave --tune out": "--streaming --tune",
    "leave --backend onnx-tf": "--streaming --backend onnx-tf",
    "leave --runtime tensorflow": "--streaming --runtime tensorflow",
    "tkd-bench stream": "--streaming --engine-check require",
    "records audio": "--onnx a.onnx --android app",
}


@pytest.mark.parametrize(("sentence", "argv"), REFUSED.items(), ids=REFUSED.values())
def test_a_combination_without_a_meaning_is_refused(sentence, argv):
    with pytest.raises(ConversionError, match=sentence):
        check_options(export_parser().parse_args(argv.split()))


@pytest.mark.parametrize(
    "argv",
    [
        "--student tcresnet --int8 --keep-float ^CONV",
        "--student lstm-p --streaming --int8 --hop-frames 4",
        "--student tcresnet8 --input waveform --android app",
        "--student lstm-p --streaming --input waveform --android app",
        "--student tcresnet8-causal --streaming --input waveform",
        "--onnx a.onnx --int8 --calibration clips.npz --tune --engine-check require",
        "--student tcresnet --backend onnx-tf --runtime tensorflow",
    ],
)
def test_combinations_of_the_documents_are_taken(argv):
    check_options(export_parser().parse_args(argv.split()))


def test_the_command_says_so_and_writes_nothing(tmp_path, capsys):
    assert main(["--student", "lstm-p", "--streaming", "--tune", "--output", str(tmp_path / "out")]) == 2
    assert "streams are lowered in one way only" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
