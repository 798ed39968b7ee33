"""TensorFlow's benchmark_model: every vintage of its output, and how it is driven.

The tool itself is not here: PRETENDER is a test double, a script that takes the tool's flags, answers what the host
runtime had computed for the same bytes, and prints recorded texts.
"""

import json
import stat
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from android_bench.benchmark_model import (
    UnknownFlagError,
    parse_output,
    prove_golden,
    run_tool_block,
    run_tool_outputs,
    run_tool_predictions,
)
from android_bench.cli import main
from android_bench.device import HostDevice
from android_bench.errors import GoldenMismatchError, RunnerError
from android_bench.records import RunPlan
from tests.android_bench.bench_toys import outputs_of

R1_13 = """\
STARTING!
Min num runs: [50]
Num threads: [1]
Graph: [mobilenet.tflite]
Loaded model mobilenet.tflite
resolved reporter
Initialized session in 0.896ms
Running benchmark for at least 1 iterations and at least 0.5 seconds
count=215 first=12231 curr=2106 min=2065 max=12231 avg=2331.42 std=746

Running benchmark for at least 100 iterations and at least 1 seconds
count=459 first=2143 curr=2101 min=2056 max=2656 avg=2177.1 std=124

Average inference timings in us: Warmup: 2331.42, Init: 896, no stats: 2177.1
"""
R2_4 = """\
STARTING!
Loaded model /data/local/tmp/model.tflite
The input model file size (MB): 16.9008
Initialized session in 17.187ms.
Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
count=1 curr=3512391

Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
count=50 first=2990275 curr=2913402 min=2727568 max=3189954 avg=2.95034e+06 std=109798

Inference timings in us: Init: 17187, First inference: 3512391, Warmup (avg): 3.51239e+06, Inference (avg): 2.95034e+06
Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE.
Peak memory footprint (MB): init=4.92969 overall=138.809
"""
R2_18 = """\
INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Graph: [model.tflite]
INFO: Use xnnpack: [1]
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
INFO: The input model file size (MB): 24.6229
INFO: Initialized session in 119.515ms.
INFO: Running benchmark for at least 5 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
INFO: count=9 first=87112 curr=51629 min=51629 max=87112 avg=58147.4 std=11478 p5=51629 median=51962 p95=87112

INFO: Running benchmark for at least 1000 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
INFO: count=1000 first=52162 curr=49785 min=49088 max=686105 avg=63743.2 std=60716 p5=49620 median=51891 p95=68628

INFO: Inference timings in us: Init: 119515, First inference: 87112, Warmup (avg): 58147.4, Inference (avg): 63743.2
INFO: Memory footprint delta from the start of the tool (MB): init=55.4961 overall=56.5
INFO: Overall peak memory footprint (MB) via periodic monitoring: 61.25
"""
ALL_SAME = R2_18.replace(
    "count=1000 first=52162 curr=49785 min=49088 max=686105 avg=63743.2 std=60716", "count=7 curr=12(all same)"
).replace("p5=49620 median=51891 p95=68628", "p5=12 median=12 p95=12")
NO_WARMUP = R2_18.replace(
    "count=9 first=87112 curr=51629 min=51629 max=87112 avg=58147.4 std=11478 p5=51629 median=51962 p95=87112",
    "count=0",
)

PRETENDER = """\
#!{python}
import json, sys
flags = dict(word[2:].split("=", 1) for word in sys.argv[1:])
known = {known!r}
unknown = [word for word in sys.argv[1:] if word[2:].split("=")[0] not in known]
if unknown:
    print("WARN: Unconsumed cmdline flags:", *unknown)
if {code}:
    sys.exit("ERROR: Failed to allocate tensors!")
if "output_filepath" in flags and "output_filepath" in known:
    name, path = flags["input_layer_value_files"].rsplit(":", 1)
    assert (name, flags["input_layer"], flags["input_layer_shape"]) == ("features", "features", "1,8")
    answer = json.load(open({answers!r}))[open(path, "rb").read().hex()]
    output = bytes((byte + {off}) % 256 for byte in bytes.fromhex(answer))
    open(flags["output_filepath"], "wb").write(output)
sys.{stream}.write({text!r})
"""
KNOWN = (
    *("graph", "num_threads", "use_xnnpack", "warmup_runs", "warmup_min_secs", "num_runs", "min_secs", "max_secs"),
    *("input_layer", "input_layer_shape", "input_layer_value_files", "output_filepath"),
)
PLAN = RunPlan(blocks=6, timeout_s=60)


@pytest.fixture
def tool(tmp_path, bundles):
    """Makes the double: `tool(text)`; see PRETENDER."""
    answers = {}
    for bundle in bundles:
        inputs = np.concatenate([bundle.golden()[0], bundle.evaluation().inputs])
        outputs = outputs_of(bundle.model.read_bytes(), inputs)
        answers |= {one.tobytes().hex(): two.tobytes().hex() for one, two in zip(inputs, outputs, strict=True)}
    (tmp_path / "answers.json").write_text(json.dumps(answers))

    def made(text=R2_18, *, known=KNOWN, code=0, off=0, stream="stdout") -> Path:
        path = tmp_path / "benchmark_model"
        fields = {"python": f"{sys.executable} -IS", "answers": str(tmp_path / "answers.json"), "known": known}
        path.write_text(PRETENDER.format(**fields, code=code, off=off, stream=stream, text=text))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return made


@pytest.mark.parametrize(
    ("text", "init", "first", "warmups", "count", "avg", "value"),
    [
        pytest.param(R1_13, 896, None, 215, 459, 2177.1, 2177.1, id="r1.13"),
        pytest.param(R2_4, 17187, 3512391, 1, 50, 2.95034e6, 2.95034e6, id="r2.4"),
        pytest.param(R2_18, 119515, 87112, 9, 1000, 63743.2, 51891, id="r2.18"),
        pytest.param(ALL_SAME, 119515, 87112, 9, 7, 12, 12, id="all same"),
        pytest.param(R2_18.replace("INFO: ", ""), 119515, 87112, 9, 1000, 63743.2, 51891, id="without INFO"),
        pytest.param(R2_18.replace("\n", "\r\n"), 119515, 87112, 9, 1000, 63743.2, 51891, id="CR LF of a terminal"),
    ],
)
def test_every_vintage_is_read(text, init, first, warmups, count, avg, value):
    seen = parse_output(text)

    assert (seen.init_us, seen.first_us) == (init, first)
    assert (seen.warmup.count, seen.timed.count) == (warmups, count)
    assert (seen.timed.avg_us, seen.value_us) == (avg, value)


def test_memory_is_read_where_it_is_printed():
    new, old, oldest = (parse_output(text) for text in (R2_18, R2_4, R1_13))

    assert (new.init_mb, new.overall_mb, new.peak_mb) == (55.4961, 56.5, 61.25)
    assert (old.init_mb, old.overall_mb, old.peak_mb) == (4.92969, 138.809, None)
    assert (oldest.init_mb, oldest.overall_mb, oldest.peak_mb) == (None, None, None)


def test_no_warm_up_is_none_and_a_single_value_has_no_spread():
    seen = parse_output(NO_WARMUP)
    single = parse_output(R2_4).warmup

    assert seen.warmup is None
    assert (single.min_us, single.max_us, single.std_us) == (3512391, 3512391, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "printed 0 lines with count=, expected two"),
        (R2_18.replace("count=9 ", "runs=9 "), "printed 1 lines with count="),
        (R2_18 + "count=3 curr=1\n", "printed 3 lines with count="),
        (R2_18.replace("count=1000 ", "count=0\nrest: "), r"timed no inference \(count=0\)"),
        (R2_18.replace(" avg=63743.2", ""), "lacks avg"),
        (R2_18.replace("timings", "times"), "did not reach its end"),
        ("INFO: Failed to load model\n", "Failed to load model"),
    ],
)
def test_an_output_that_is_not_whole_is_an_error(text, message):
    with pytest.raises(RunnerError, match=message):
        parse_output(text)


def test_an_unknown_flag_is_an_error_although_the_tool_goes_on():
    with pytest.raises(UnknownFlagError, match="does not know --warmup_mins_secs=1 --x"):
        parse_output("WARN: Unconsumed cmdline flags: --warmup_mins_secs=1 --x\n" + R2_18)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_block_is_read_from_either_stream(tool, bundles, stream):
    assert run_tool_block(HostDevice(), tool(R1_13, stream=stream), bundles[0], PLAN).timed.count == 459


def test_a_tool_that_fails_says_why(tool, bundles):
    with pytest.raises(RunnerError, match=r"failed on toy-float32 \(exit code 1\): .*Failed to allocate tensors"):
        run_tool_block(HostDevice(), tool(code=1), bundles[0], PLAN)


@pytest.mark.parametrize("which", [0, 1])
def test_outputs_and_predictions_come_through_files(tool, bundles, which):
    bundle = bundles[which]
    inputs = bundle.evaluation().inputs
    expected = outputs_of(bundle.model.read_bytes(), inputs)

    seen = run_tool_outputs(HostDevice(), tool(NO_WARMUP), bundle, PLAN, inputs[:3])

    assert seen.dtype == expected.dtype
    assert np.array_equal(seen, expected[:3])


def test_the_golden_outputs_are_proven_first(tool, bundles):
    assert prove_golden(HostDevice(), tool(), bundles[1], PLAN)
    with pytest.raises(GoldenMismatchError, match="differ from the golden ones by 2 lsb, expected at most 1"):
        prove_golden(HostDevice(), tool(off=2), bundles[1], PLAN)


def test_a_tool_that_cannot_write_outputs_proves_nothing_and_any_other_unknown_flag_is_an_error(tool, bundles):
    assert not prove_golden(HostDevice(), tool(known=KNOWN[:-1]), bundles[0], PLAN)
    with pytest.raises(UnknownFlagError, match="--use_xnnpack=true"):
        prove_golden(HostDevice(), tool(known=[name for name in KNOWN if name != "use_xnnpack"]), bundles[0], PLAN)


def test_an_output_of_another_size_is_an_error(tool, bundles):
    bundle = bundles[1]
    wrong = replace(bundle, outputs=(replace(bundle.outputs[0], shape=(1, 4)),))

    with pytest.raises(RunnerError, match="wrote 3 bytes of output for toy-int8, expected 4"):
        run_tool_predictions(HostDevice(), tool(), wrong, PLAN)


def few_clips(bundle):
    """The bundle with three clips in its pack, as every clip is a process."""
    pack = bundle.evaluation()
    small = replace(pack, inputs=pack.inputs[:3], labels=pack.labels[:3], ids=pack.ids[:3])
    return type(
        "Few", (), {"evaluation": lambda self: small, "__getattr__": lambda self, name: getattr(bundle, name)}
    )()


def test_the_command_measures_with_the_tool(tool, exports, tmp_path, capsys, monkeypatch):
    from android_bench import cli_measure

    found = cli_measure.chosen_bundles
    monkeypatch.setattr(cli_measure, "chosen_bundles", lambda arguments: [few_clips(one) for one in found(arguments)])
    words = ["--runner", "benchmark_model", "--runner-path", str(tool()), "--exports", str(exports), "--blocks", "6"]

    code = main([*words, "--output", str(tmp_path / "out")])
    out = capsys.readouterr().out
    saved = json.loads((tmp_path / "out" / "benchmark_model.json").read_text())

    assert code == 0
    assert "runner benchmark_model" in out
    assert "keeps no samples" in out
    assert "toy-int8 against float32: 1.000 × (1.000 – 1.000, 6 pairs)" in out
    assert saved["format"] == "tkd.benchmark_model/1"
    assert [len(one["blocks"]) for one in saved["measurements"]] == [6, 6]
    assert [one["proven"] for one in saved["measurements"]] == [True, True]
    assert saved["measurements"][0]["blocks"][0]["timed"]["median_us"] == 51891
    assert len(saved["measurements"][1]["predictions"]["predicted"]) == 3


def test_a_tool_that_computes_something_else_is_the_answer_no(tool, exports, tmp_path, capsys):
    words = ["--runner", "benchmark_model", "--runner-path", str(tool(off=9)), "--exports", str(exports)]

    assert main([*words, "--blocks", "1", "--output", str(tmp_path / "out")]) == 1
    assert "toy-int8 failed (golden)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--runner", "benchmark_model"], "go together"),
        (["--runner-path", "/bin/true"], "go together"),
        (["--runner", "benchmark_model", "--runner-path", "/nowhere"], "/nowhere is no program"),
    ],
)
def test_wrong_usage_is_exit_2(exports, capsys, words, message):
    try:
        code = main([*words, "--exports", str(exports)])
    except SystemExit as end:
        code = end.code

    assert code == 2
    assert message in capsys.readouterr().err
