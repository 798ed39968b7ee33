"""Whole conversions: TC-ResNet8 as the first real net, and every kind of bad input."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from converters.errors import ConversionError, GateFailedError
from converters.parity import INT8_STAGE, ParityGates
from converters.pipeline import ConversionRequest, convert
from converters.report import render_report, report_document
from converters.runners import run_tflite, run_torch
from converters.to_onnx import to_onnx
from tests.converters.toys import inputs
from tkd.students import build_student

FEATURES = (1, 98, 40)


def features(examples, seed):
    """Smooth noise with coefficients of falling size, as MFCC have them; shape (examples, 98, 40)."""
    rng = np.random.default_rng(seed)
    rough = rng.standard_normal((examples, 102, 40))
    smooth = sum(rough[:, start : start + 98] for start in range(5)) / 5
    return (smooth * (8 * np.exp(-np.arange(40) / 12) + 0.5)).astype(np.float32)


@pytest.fixture(scope="module")
def network():
    """TC-ResNet8 whose normalisations hold the statistics of its inputs, as training leaves them."""
    torch.manual_seed(0)
    net = build_student("tcresnet8", 40, 12)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.momentum = None
    with torch.no_grad():
        net(torch.from_numpy(features(128, 7)))
    return net.eval()


@pytest.fixture(scope="module")
def request_(network):
    return ConversionRequest(
        module=network,
        example=np.zeros(FEATURES, np.float32),
        calibration=features(128, 1),
        check=features(64, 2),
        gates=ParityGates(int8_top1_agreement=0.8),  # untrained: the logits of a clip hardly differ
        input_name="features",
        output_name="logits",
    )


@pytest.fixture(scope="module")
def conversion(request_):
    return convert(request_)


def test_tcresnet8_has_16_operators_one_reshape_and_no_transpose(conversion):
    expected = {"CONV_2D": 10, "ADD": 3, "RESHAPE": 1, "MEAN": 1, "FULLY_CONNECTED": 1}
    assert expected == conversion.float32.operators
    assert expected == conversion.int8.operators


def test_tcresnet8_in_float_is_the_torch_module(conversion, network):
    clips = features(16, 3)
    expected = run_torch(network, clips)
    assert np.abs(expected - run_tflite(conversion.float32.content, clips)).max() < 1e-4 * np.abs(expected).max()
    assert ["torch → onnx", "onnx → float32", INT8_STAGE] == [each.stage for each in conversion.parity.stages]


def test_tcresnet8_in_int8_keeps_its_logits_on_clips_it_was_not_calibrated_on(conversion):
    assert conversion.parity.stage(INT8_STAGE).sqnr_db > 30.0


def test_tcresnet8_is_all_int8(conversion):
    report = conversion.quantization
    assert (1.0, 1.0, 1.0) == (report.shares.operators, report.shares.macs, report.shares.weight_bytes)
    assert 1_521_984 + 48 * 12 == sum(row.macs for row in report.operators)
    assert report.layers == tuple(sorted(report.layers, key=lambda layer: layer.sqnr_db))
    assert 16 == len(report.layers)


def test_the_files_keep_the_shapes_and_names_of_the_module(conversion):
    for file, dtype in ((conversion.float32, "float32"), (conversion.int8, "int8")):
        assert ("features", FEATURES, dtype) == (file.input.name, file.input.shape, file.input.dtype)
        assert ("logits", (1, 12), dtype) == (file.output.name, file.output.shape, file.output.dtype)
    assert {"ADD": 2, "CONV_2D": 3, "FULLY_CONNECTED": 4, "MEAN": 2, "RESHAPE": 1} == conversion.int8.op_versions


def test_the_same_request_gives_the_same_bytes(conversion, request_):
    again = convert(request_)
    assert conversion.onnx == again.onnx
    assert conversion.float32.content == again.float32.content
    assert conversion.int8.content == again.int8.content


def test_an_onnx_model_of_another_origin_converts_without_its_module(conversion):
    again = convert(ConversionRequest(onnx=conversion.onnx, example=np.zeros(FEATURES, np.float32)))
    assert again.int8 is None
    assert again.quantization is None
    assert conversion.float32.content == again.float32.content
    assert "the example and 8 inputs of noise" == again.parity.inputs


@pytest.mark.slow
def test_the_newer_exporter_writes_a_graph_that_converts_to_the_same_operators(network, conversion):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(network, (torch.zeros(FEATURES),), dynamo=True, opset_version=18, verbose=False)
    again = convert(
        ConversionRequest(onnx=program.model_proto.SerializeToString(), example=np.zeros(FEATURES, np.float32))
    )
    assert conversion.float32.operators == again.float32.operators


def test_the_report_tells_files_parity_shares_and_worst_layers(conversion):
    text = render_report(conversion, title="tcresnet8")
    assert text.startswith("# tcresnet8\n")
    assert "100% of the operators, 100% of the multiply-accumulates and 100% of the weight bytes are int8." in text
    assert "Calibrated on 128 clips, ranges by minmax, weights rounded compensated." in text
    assert "| float32 → int8 | 64 |" in text
    assert conversion.quantization.layers[0].tensor in text
    assert "That is few" not in text


def test_the_document_is_json_without_nan(conversion):
    document = report_document(conversion)
    assert "tkd.conversion/1" == document["format"]
    assert document == json.loads(json.dumps(document, allow_nan=False))


def test_a_report_of_few_clips_says_so_and_an_exact_stage_is_called_exact():
    clips = inputs((1, 6), 4)
    few = convert(ConversionRequest(module=nn.ReLU(), example=clips[:1], calibration=clips, gates=None))
    text = render_report(few, title="toy")
    assert "That is few: 100 clips or more give steadier ranges." in text
    assert "| torch → onnx | 4 | 0 | 0 | exact | 100.0% |" in text
    assert report_document(few)["parity"]["stages"][0]["sqnr_db"] is None


def test_a_gate_that_fails_names_the_layers_that_lose_most():
    clips = inputs((1, 12), 32)
    request = ConversionRequest(
        module=nn.Sequential(nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 3)),
        example=clips[:1],
        calibration=clips,
        gates=ParityGates(int8_sqnr_db=90.0),
    )
    with pytest.raises(
        GateFailedError, match=r"SQNR in dB is .*, the bound is 90; calibrated on 32 clips by minmax; worst"
    ):
        convert(request)


GOOD = inputs((1, 6), 8)


def broken(value):
    clips = GOOD.copy()
    clips[3, 2] = value
    return clips


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"module": None}, "give either a module or an ONNX model"),
        ({"onnx": b"x"}, "give either a module or an ONNX model"),
        ({"example": GOOD}, r"the example has shape \(8, 6\); expected \(1, \*axes\)"),
        ({"example": GOOD[0]}, r"the example has shape \(6,\)"),
        ({"example": broken(np.nan)[3:4]}, "example clip 0 has a value that is NaN"),
        ({"calibration": broken(np.nan)}, "calibration clip 3 has a value that is NaN or infinite; leave it out"),
        ({"calibration": broken(np.inf)}, "calibration clip 3 has a value that is NaN or infinite"),
        ({"calibration": GOOD[:, :5]}, r"calibration has shape \(8, 5\); expected \(clips, 6\)"),
        ({"calibration": GOOD[:0]}, "calibration is empty; give at least one clip"),
        ({"calibration": np.ones((8, 6), np.float32)}, "every value of the calibration clips is 1.0: no range"),
        ({"calibration": np.ones((8, 6), np.int16)}, "calibration has dtype int16; expected floating-point"),
        ({"check": GOOD[:0]}, "check is empty"),
        ({"precisions": ("int8",)}, "int8 needs calibration clips; give some, or ask for float16 or dynamic"),
        ({"precisions": ("fp8",)}, "no precision is called 'fp8';"),
        ({"keep_float": ("CONV",)}, "keep_float is about operators of the int8 file"),
        ({"method": "entropy"}, "no calibration method is called 'entropy'; known: minmax, percentile, mse"),
        ({"input_name": "same", "output_name": "same"}, "input and output are called 'same' and 'same'"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused_at_birth(fields, message):
    with pytest.raises(ConversionError, match=message):
        ConversionRequest(**{"module": nn.ReLU(), "example": GOOD[:1], **fields})


class Gru(nn.Module):
    """A recurrent classifier of rows, small; its matrix of the input and its head are no part of the recurrence."""

    def __init__(self):
        super().__init__()
        self.gru, self.head = nn.GRU(10, 16, batch_first=True), nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.gru(x)[0][:, -1])


def test_a_recurrent_network_keeps_int8_weights_and_says_that_its_data_are_float():
    torch.manual_seed(3)
    clips = inputs((1, 12, 10), 64) / 2
    seen = convert(ConversionRequest(module=Gru(), example=clips[:1], calibration=clips, gates=None))
    assert "recurrence" == seen.mixture.choices[0].family
    assert seen.parity.stage(INT8_STAGE).sqnr_db > 30.0
    assert (1.0, 1.0) == (seen.int8.shares.macs, seen.int8.shares.weight_bytes)
    assert "in float: recurrence" in render_report(seen, title="gru")


def test_a_network_that_decides_from_a_value_is_refused_with_the_line_that_does():
    class Deciding(nn.Module):
        def forward(self, x):
            return x * 2 if x.sum() > 0 else x

    with pytest.raises(ConversionError, match=r"test_pipeline.py, line \d+ decides from the value of a tensor"):
        convert(ConversionRequest(module=Deciding(), example=GOOD[:1]))


def test_all_in_float_is_no_int8_file_unless_the_share_is_waived():
    request = {"module": nn.Linear(6, 3), "example": GOOD[:1], "calibration": GOOD, "keep_float": (".",)}
    with pytest.raises(GateFailedError, match=r"share of multiply-accumulates that are int8 is 0, the bound is 0\.5"):
        convert(ConversionRequest(**request))
    waived = convert(ConversionRequest(**request, gates=ParityGates(int8_macs=0.0)))
    assert 0.0 == waived.int8.shares.macs


@pytest.mark.parametrize("precision", ["float16", "dynamic"])
def test_precisions_of_weights_need_no_clips(precision):
    seen = convert(ConversionRequest(module=nn.Linear(6, 3), example=GOOD[:1], precisions=(precision,)))
    assert ["float32", precision] == list(seen.files)
    assert seen.mixture is None


def test_an_example_of_another_shape_than_the_onnx_model_is_refused():
    model = to_onnx(nn.Linear(3, 2), torch.zeros(1, 3)).SerializeToString()
    with pytest.raises(ConversionError, match=r"input 'input' has shape \(1, 3\); the example has \(1, 6\)"):
        convert(ConversionRequest(onnx=model, example=GOOD[:1]))


def test_weights_that_are_not_finite_are_refused():
    module = nn.Linear(6, 2)
    with torch.no_grad():
        module.weight[0, 0] = float("nan")
    with pytest.raises(ConversionError, match="torch → onnx: an output is NaN or infinite; check the weights"):
        convert(ConversionRequest(module=module, example=GOOD[:1]))
