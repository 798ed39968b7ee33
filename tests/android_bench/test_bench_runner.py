"""Reading a runner: good lines become records, everything else an error that says what was said."""

from dataclasses import replace

import pytest

from android_bench.device import CommandResult
from android_bench.errors import DeviceError, GoldenMismatchError, RecordError, RunnerError
from android_bench.records import Instructions, OperatorTime, RunPlan
from android_bench.runner import (
    BlockPlace,
    golden_bound_ppm,
    parse_counts,
    parse_lines,
    run_block,
    run_instructions,
    run_memory,
    run_predictions,
    run_profile,
)
from tests.android_bench.bench_toys import CLASSES, HEAD_LINES, FakeDevice, good_lines, text_of

PLAN = RunPlan(blocks=2)
PLACE = BlockPlace(index=1, order=3, started_utc="2026-01-01T00:00:00Z", load_1min=0.5)


def scripted(change) -> FakeDevice:
    """A device whose runner says the right lines after `change` was made to them."""

    def answer(arguments):
        lines = good_lines(arguments)
        changed = change(lines)
        return 0, text_of(changed if isinstance(changed, list) else lines), ""

    return FakeDevice(answer)


def test_a_block_carries_every_sample_and_its_place(bundles):
    device = FakeDevice()

    block, facts = run_block(device, bundles[0], PLAN, PLACE)

    assert block.samples_ns == (9_000, 10_000, 11_000)
    assert (block.bundle, block.index, block.order, block.median_ns) == (bundles[0].name, 1, 3, 10_000)
    assert (block.init_ns, block.first_ns, block.warmup_runs) == (1_000_000, 50_000, 3)
    assert facts.hello["engine"] == "a fake 1.0"
    assert device.calls[0]["stages"] == "golden,latency"
    assert device.calls[0]["warmup_ms"] == "500"
    assert device.calls[0]["golden_bound_ppm"] == "100"


@pytest.mark.parametrize(
    ("precision", "bound_ppm"), [("float32", 100), ("float16", 100), ("dynamic", 10_000), ("int8", 10_000)]
)
def test_float_data_that_meet_int8_weights_may_be_a_step_off(bundles, precision, bound_ppm):
    floating, int8 = bundles
    bundle = replace(floating, document={**floating.document, "precision": precision})

    assert golden_bound_ppm(bundle) == bound_ppm
    assert golden_bound_ppm(int8) == 100


def test_memory_is_read_in_a_process_of_its_own(bundles):
    device = FakeDevice()

    memory = run_memory(device, bundles[0], PLAN)

    assert (memory.model_kb, device.calls[0]["stages"]) == (1000, "memory")


def test_predictions_are_the_largest_outputs_in_order(bundles):
    seen = run_predictions(FakeDevice(), bundles[0], PLAN)

    assert seen.predicted == tuple(clip % CLASSES for clip in range(30))
    assert seen.ids == bundles[0].evaluation().ids
    assert seen.expected == tuple(bundles[0].evaluation().labels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[0].update(protocol=2), "the runner speaks protocol 2, expected 1"),
        (lambda lines: lines[0].pop("engine"), r"line 1 of the runner \(hello\) lacks engine"),
        (lambda lines: lines[1].update(event="nap"), "line 2 of the runner has event 'nap'; known: hello"),
        (lambda lines: lines[:-1], "said hello, init, first, golden, warmup, samples for toy-.*; expected .* done"),
        (lambda lines: [lines[0], *lines], "said hello, hello, init"),
        (lambda lines: lines[5].update(ns=[]), "impossible block for toy-.*: .* no samples"),
        (lambda lines: lines[5].update(ns=[0]), "has a sample of 0 ns"),
        (lambda lines: lines[5].update(ns="fast"), "impossible block"),
        (lambda lines: lines[1].update(init_ns=0), "a time of 0 ns or less"),
    ],
)
def test_lines_out_of_turn_are_refused(bundles, change, message):
    with pytest.raises(RunnerError, match=message):
        run_block(scripted(change), bundles[0], PLAN, PLACE)


@pytest.mark.parametrize("text", ["not json", "[1]", '{"event":"samp'])
def test_a_line_that_is_no_object_is_shown(text):
    with pytest.raises(RunnerError, match="line 1 of the runner"):
        parse_lines(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines.pop(-2), "answered 20 clips of toy-.*; expected 30 rows of 3 numbers"),
        (lambda lines: lines[4]["outputs"].__setitem__(0, [1.0]), "expected 30 rows of 3 numbers"),
        (lambda lines: lines[5].update(first=21), "skipped from clip 20 to clip 21"),
    ],
)
def test_predictions_that_are_not_all_there_are_refused(bundles, change, message):
    with pytest.raises(RunnerError, match=message):
        run_predictions(scripted(change), bundles[0], PLAN)


def test_memory_readings_of_zero_are_refused(bundles):
    with pytest.raises(RunnerError, match="impossible memory readings"):
        run_memory(scripted(lambda lines: lines[3].update(init_kb=0)), bundles[0], PLAN)


def test_a_golden_mismatch_is_an_error_of_its_own(bundles):
    line = text_of([{"event": "error", "stage": "golden", "message": "the outputs differ by 9 lsb"}])

    with pytest.raises(
        GoldenMismatchError, match="toy-float32: the outputs differ by 9 lsb; its time would mean nothing"
    ):
        run_block(FakeDevice(lambda _: (5, line, "")), bundles[0], PLAN, PLACE)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((4, "", "one\ntwo\nthree\nfour\nfive\nsix\n"), "exit code 4.: two | three | four | five | six"),
        ((-9, "", ""), "ended by signal 9: something killed it, or it ran out of memory"),
        ((-11, "", ""), "ended by signal 11: it crashed"),
        ((70, "", ""), "it said nothing"),
        ((3, text_of([{"event": "error", "stage": "reading", "message": "no model at x"}]), "noise"), "no model at x"),
    ],
)
def test_a_runner_that_fails_is_quoted(bundles, answer, message):
    with pytest.raises(DeviceError, match=message):
        run_block(FakeDevice(lambda _: answer), bundles[0], PLAN, PLACE)


COUNTS = "INFO: noise\n" + "".join(
    f"tkd-instructions {line}\n" for line in ("1 0 900", "2 0 80", "3 0 70", "3 1 70", "3 2 70")
)


def counting(stderr_of):
    """A device that counts; `stderr_of` gives what the plugin says after so many warm-ups."""
    golden = good_lines({"stages": "golden", "model": ""})[3]
    lines = [*HEAD_LINES, golden, {"event": "counted", "runs": 3}, {"event": "done", "wall_ns": 1}]
    return FakeDevice(lambda arguments: (0, text_of(lines), stderr_of(int(arguments["count_warmups"]))))


def test_counts_come_from_stderr(bundles):
    device = counting(lambda _: COUNTS)

    seen, facts = run_instructions(device, bundles[0], PLAN)

    assert seen == Instructions(init=900, first=80, inference=70, runs=3)
    assert [call["stages"] for call in device.calls] == ["golden,count"]
    assert facts.hello["engine"] == "a fake 1.0"


def test_inferences_that_differ_are_counted_again_once_more_of_them_have_passed(bundles):
    device = counting(lambda warm_ups: COUNTS.replace("3 0 70", "3 0 75") if warm_ups < 20 else COUNTS)

    assert run_instructions(device, bundles[0], PLAN)[0].inference == 70
    assert len(device.calls) == 2


def test_inferences_that_never_agree_are_an_error(bundles):
    device = counting(lambda _: COUNTS.replace("3 2 70", "3 2 71"))

    with pytest.raises(RunnerError, match=r"equal inferences of .* took \[70, 71\] instructions, after 120 others"):
        run_instructions(device, bundles[0], PLAN)


@pytest.mark.parametrize(
    ("stderr", "message"),
    [
        ("", "counted 0 loads, 0 first and 0 later inferences of toy, expected 1, 1 and 3: was it started with"),
        (COUNTS.replace("3 2 70", ""), "and 2 later inferences"),
        (COUNTS + "tkd-instructions 1 0 900\n", "counted 2 loads"),
    ],
)
def test_counts_that_are_missing_are_errors(stderr, message):
    with pytest.raises(RunnerError, match=message):
        parse_counts(stderr, 3, "toy")


def test_a_profile_has_a_row_per_operator(bundles):
    op = {"name": "CONV_2D", "index": 1, "subgraph": 0, "calls": 4, "total_ns": 4000}
    lines = [*HEAD_LINES, {"event": "profile", "runs": 4, "ops": [op]}, {"event": "done", "wall_ns": 1}]
    device = FakeDevice(lambda arguments: (0, text_of(lines), ""))

    assert run_profile(device, bundles[0], PLAN) == (OperatorTime(name="CONV_2D", index=1, calls=4, total_ns=4000),)

    del op["calls"]
    with pytest.raises(RunnerError, match="impossible profile"):
        run_profile(device, bundles[0], PLAN)


class PinnedDevice(FakeDevice):
    """A device that answers where it ran, and remembers how it was started."""

    def __init__(self, affinity) -> None:
        super().__init__()
        self.affinity, self.words = affinity, ()

    def run(self, command, timeout_s):
        self.words = command
        lines = good_lines(dict(word.split("=", 1) for word in command if "=" in word))
        lines[0] |= {"affinity": self.affinity}
        return CommandResult(exit_code=0, stdout_bytes=text_of(lines).encode(), stderr_bytes=b"", seconds=0.0)


def test_a_core_mask_is_a_prefix_and_its_effect_is_checked(bundles):
    device = PinnedDevice("0c")

    run_block(device, bundles[0], RunPlan(core_mask="c"), PLACE)

    assert device.words[:3] == ("taskset", "c", "runner")
    with pytest.raises(RunnerError, match=r"processors c \(mask\), but ran on 4: are all of them online"):
        run_block(PinnedDevice("4"), bundles[0], RunPlan(core_mask="c"), PLACE)


@pytest.mark.parametrize("mask", ["0", "0x3", "C", "g", " c", "1" * 17])
def test_a_core_mask_is_lower_case_hexadecimal(mask):
    with pytest.raises(RecordError, match="expected hexadecimal digits such as 'c'"):
        RunPlan(core_mask=mask)
