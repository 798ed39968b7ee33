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
    NoOutputError,
    Tool,
    UnknownFlagError,
    get_to_know,
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
from tests.android_bench.phone_toys import PIXEL_BATTERY
from tests.android_bench.scripted_phone import bench
from tests.android_bench.tool_texts import (
    ALL_SAME,
    LITERT_2,
    LOGCAT,
    NO_WARMUP,
    NO_WARMUP_PERCENTILES,
    R1_13,
    R1_15,
    R2_4,
    R2_18,
    R2_21,
)

PRETENDER = """\
#!{python}
import json, sys
flags = dict(word[2:].split("=", 1) for word in sys.argv[1:])
known = {known!r}
unknown = [word for word in sys.argv[1:] if word[2:].split("=")[0] not in known and {warn}]
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

    def made(text=R2_18, *, known=KNOWN, code=0, off=0, stream="stdout", warn=True) -> Path:
        path = tmp_path / "benchmark_model"
        fields = {"python": f"{sys.executable} -IS", "answers": str(tmp_path / "answers.json"), "known": known}
        path.write_text(PRETENDER.format(**fields, code=code, off=off, stream=stream, text=text, warn=warn))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return made


@pytest.mark.parametrize(
    ("text", "init", "first", "warmups", "count", "avg", "value"),
    [
        pytest.param(R1_13, 896, None, 215, 459, 2177.1, 2177.1, id="r1.13"),
        pytest.param(R2_4, 17187, 3512391, 1, 50, 2.95034e6, 2.95034e6, id="r2.4"),
        pytest.param(R1_15, 1203, None, 61, 400, 2480.31, 2480.31, id="r1.15"),
        pytest.param(R2_18, 119515, 87112, 9, 1000, 63743.2, 51891, id="r2.18"),
        pytest.param(R2_21, 52687, 19105, 35, 70, 14290.9, 14110, id="r2.21"),
        pytest.param(LOGCAT, 4310, 9120, 31, 60, 8120.5, 8101, id="logcat of the app"),
        pytest.param(LITERT_2, 4520, 1873, 260, 500, 1902.4, 1880, id="LiteRT 2"),
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


def test_the_memory_of_litert_2_is_read_from_its_own_summary():
    seen = parse_output(LITERT_2)

    assert (seen.init_mb, seen.overall_mb, seen.peak_mb) == (3.25, 4.5, 12.75)
    silent = LITERT_2.replace("Peak memory:          12.75 MB", "Peak memory usage not available.")
    assert parse_output(silent).peak_mb is None


def test_no_warm_up_is_none_and_a_single_value_has_no_spread():
    seen = parse_output(NO_WARMUP)
    assert parse_output(NO_WARMUP_PERCENTILES).warmup is None
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
    assert run_tool_block(HostDevice(), Tool(path=tool(R1_13, stream=stream)), bundles[0], PLAN).timed.count == 459


def test_a_tool_that_fails_says_why(tool, bundles):
    with pytest.raises(RunnerError, match=r"failed on toy-float32 \(exit code 1\): .*Failed to allocate tensors"):
        run_tool_block(HostDevice(), Tool(path=tool(code=1)), bundles[0], PLAN)


@pytest.mark.parametrize("which", [0, 1])
def test_outputs_and_predictions_come_through_files(tool, bundles, which):
    bundle = bundles[which]
    inputs = bundle.evaluation().inputs
    expected = outputs_of(bundle.model.read_bytes(), inputs)

    seen = run_tool_outputs(HostDevice(), Tool(path=tool(NO_WARMUP)), bundle, PLAN, inputs[:3])

    assert seen.dtype == expected.dtype
    assert np.array_equal(seen, expected[:3])


def test_the_golden_outputs_are_proven_first(tool, bundles):
    assert prove_golden(HostDevice(), Tool(path=tool()), bundles[1], PLAN)
    with pytest.raises(GoldenMismatchError, match="differ from the golden ones by 2 lsb, expected at most 1"):
        prove_golden(HostDevice(), Tool(path=tool(off=2)), bundles[1], PLAN)


def test_a_tool_that_cannot_write_outputs_proves_nothing_and_any_other_unknown_flag_is_an_error(tool, bundles):
    assert not prove_golden(HostDevice(), Tool(path=tool(known=KNOWN[:-1])), bundles[0], PLAN)
    with pytest.raises(UnknownFlagError, match="--use_xnnpack=true"):
        prove_golden(
            HostDevice(), Tool(path=tool(known=[name for name in KNOWN if name != "use_xnnpack"])), bundles[0], PLAN
        )


def test_a_tool_that_passes_over_flags_in_silence_and_writes_nothing_proves_nothing(tool, bundles):
    silent = Tool(path=tool(R1_13, known=KNOWN[:-1], warn=False))

    assert not prove_golden(HostDevice(), silent, bundles[0], PLAN)
    with pytest.raises(NoOutputError, match="wrote no output for toy-float32; a newer one does"):
        run_tool_predictions(HostDevice(), silent, bundles[0], PLAN)


def test_flags_that_can_be_done_without_are_left_out_with_a_note(tool, bundles):
    seen = get_to_know(HostDevice(), tool(known=[name for name in KNOWN if name != "use_xnnpack"]), bundles[0], PLAN)

    assert seen.lacks == {"use_xnnpack"}
    assert seen.notes == (
        "this benchmark_model does not know --use_xnnpack: its own default decides whether XNNPACK runs",
    )
    assert run_tool_block(HostDevice(), seen, bundles[0], PLAN).timed.count == 1000
    with pytest.raises(UnknownFlagError, match="--num_threads=1"):
        get_to_know(HostDevice(), tool(known=[name for name in KNOWN if name != "num_threads"]), bundles[0], PLAN)


def test_more_clips_than_go_into_one_command_keep_their_order(tool, bundles):
    pack = bundles[1].evaluation().inputs
    many = np.concatenate([pack, pack[::-1], pack])

    seen = run_tool_outputs(HostDevice(), Tool(path=tool()), bundles[1], PLAN, many)

    assert np.array_equal(seen, outputs_of(bundles[1].model.read_bytes(), many))


def test_an_output_of_another_size_is_an_error(tool, bundles):
    bundle = bundles[1]
    wrong = replace(bundle, outputs=(replace(bundle.outputs[0], shape=(1, 4)),))

    with pytest.raises(RunnerError, match="wrote 90 bytes of output for 30 clips of toy-int8, expected 120"):
        run_tool_predictions(HostDevice(), Tool(path=tool()), wrong, PLAN)


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


def test_on_a_phone_the_tool_is_pushed_gated_scored_and_taken_away(tool, scripted, exports, capsys):
    words = ["--runner", "benchmark_model", "--runner-path", tool(), exports / "toy-int8", "--blocks", "2"]
    with scripted.daemon() as daemon:
        code = bench(daemon, "--device", "pixel1", *words, "--output", "out", "--gate-wait-s", "0", "-q")
        out = capsys.readouterr().out
        scripted.write("recorded/battery", PIXEL_BATTERY.replace("level: 87", "level: 9"))
        low = bench(daemon, "--device", "pixel1", *words, "--output", "low", "--gate-wait-s", "0", "-q")
    saved = json.loads(Path("out/benchmark_model.json").read_text())
    journal = [json.loads(line) for line in Path("out/blocks.jsonl").read_text().splitlines()]

    assert (code, low) == (0, 3)
    assert "wall-clock time on Pixel, Android 10, in a shell process, not in an app" in out
    assert (saved["plan"]["core_mask"], saved["measurements"][0]["proven"]) == ("c", True)
    assert len(saved["measurements"][0]["predictions"]["predicted"]) == 30
    assert [(line["record"], line["index"]) for line in journal] == [("block", 0), ("block", 1)]
    assert "REJECTED: round 1 after 0" in capsys.readouterr().out
    assert scripted.names() == []


def test_a_tool_for_another_processor_is_refused_before_a_phone_is_asked(exports, capsys):
    words = ["--device", "pixel1", "--runner", "benchmark_model", "--exports", str(exports), "--runner-path"]

    assert main([*words, sys.executable]) == 2
    assert "expected android_aarch64's benchmark_model for a phone" in capsys.readouterr().err


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
