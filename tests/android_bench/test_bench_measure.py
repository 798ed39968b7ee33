"""A session: interleaved, in the right order, and whole after failures and Ctrl-C."""

import pytest

from android_bench.errors import BenchError, RecordError
from android_bench.measure import Watcher, block_order, measure, steps
from android_bench.records import RunPlan
from android_bench.summary import comparisons, summarize
from tests.android_bench.bench_toys import FakeDevice, good_lines, text_of

PLAN = RunPlan(blocks=6)


def name_of(call) -> str:
    return "int8" if "int8" in call["model"] else "float32"


def failing(exit_code, *, model="int8", stages="golden,latency"):
    """A device on which one model fails in one stage."""

    def answer(arguments):
        if model in arguments["model"] and arguments["stages"] == stages:
            return exit_code, "", "it broke"
        return 0, text_of(good_lines(arguments)), ""

    return FakeDevice(answer)


def test_two_models_alternate_so_that_drift_hits_both():
    order = [model for model, _ in block_order(2, 4)]

    assert order == [0, 1, 1, 0, 0, 1, 1, 0]


@pytest.mark.parametrize("models", [1, 2, 3, 5])
def test_every_model_gets_every_block_once(models):
    assert sorted(block_order(models, 4)) == [(model, index) for model in range(models) for index in range(4)]


def test_latency_comes_first_then_memory_then_accuracy(bundles):
    device = FakeDevice()
    told = []
    watcher = Watcher(keep=lambda block: told.append(block.order), step=lambda: told.append("step"))

    session = measure("host", device, bundles, PLAN, watcher)

    stages = [call["stages"] for call in device.calls]
    assert stages == ["golden,latency"] * 12 + ["memory"] * 2 + ["golden,eval"] * 2
    assert [name_of(call) for call in device.calls[:4]] == ["float32", "int8", "int8", "float32"]
    assert told.count("step") == len(device.calls) == steps(bundles, PLAN)
    assert [order for order in told if order != "step"] == list(range(12))
    assert [len(item.blocks) for item in session.measurements] == [6, 6]
    assert session.runner["invoke_path"] == "wrapper"
    assert not session.interrupted


def test_the_int8_model_is_compared_with_its_float32_twin(bundles):
    session = measure("host", FakeDevice(), bundles, PLAN)

    (comparison,) = comparisons(session)
    assert (comparison.candidate, comparison.baseline) == ("toy-int8", "toy-float32")
    assert comparison.latency.estimate == pytest.approx(0.8)
    assert comparison.latency.interval == pytest.approx((0.8, 0.8))
    assert (comparison.accuracy.difference, comparison.notes) == (0.0, ())


def test_few_blocks_leave_the_ratio_unclear(bundles):
    (comparison,) = comparisons(measure("host", FakeDevice(), bundles, RunPlan(blocks=5)))

    assert comparison.latency.interval is None
    assert comparison.notes == ("latency: 5 pairs of blocks, a 95 % interval needs 6",)


def test_the_metrics_are_those_of_the_samples(bundles):
    summary = summarize(measure("host", FakeDevice(), bundles[:1], PLAN).measurements[0])

    assert summary.latency.median_ms == pytest.approx(0.010)
    assert summary.latency.avg_ms == pytest.approx(0.010)
    assert (summary.latency.min_ms, summary.latency.max_ms) == pytest.approx((0.009, 0.011))
    assert summary.latency.init_ms == pytest.approx(1.0)
    assert summary.latency.first_inference_ms == pytest.approx(0.050)
    assert summary.latency.average_warm_up_ms == pytest.approx(0.010)
    assert (summary.memory.init_footprint_kb, summary.memory.model_peak_kb) == (400, 1000)
    assert (summary.runs, summary.warmup_runs, summary.blocks) == (18, 18, 6)


@pytest.mark.parametrize(("exit_code", "kind"), [(5, "golden"), (6, "device")])
def test_a_model_that_fails_is_left_out_and_the_others_go_on(bundles, exit_code, kind):
    device = failing(exit_code)

    session = measure("host", device, bundles, PLAN)

    well, failed = session.measurements
    assert (len(well.blocks), well.failure) == (6, None)
    assert (well.memory is None, well.predictions is None) == (False, False)
    assert (failed.blocks, failed.failure.kind) == ((), kind)
    assert [name_of(call) for call in device.calls].count("int8") == 1


def test_a_failure_after_the_blocks_keeps_the_blocks(bundles):
    session = measure("host", failing(7, stages="memory"), bundles, PLAN)

    failed = session.measurements[1]
    assert (len(failed.blocks), failed.memory, failed.predictions) == (6, None, None)
    assert failed.failure.kind == "device"


def test_an_interruption_keeps_what_was_finished(bundles):
    device = FakeDevice()

    def interrupted(arguments):
        if len(device.calls) == 4:
            raise KeyboardInterrupt
        return 0, text_of(good_lines(arguments)), ""

    device.answer = interrupted
    kept = []
    session = measure("host", device, bundles, PLAN, Watcher(keep=kept.append))

    assert session.interrupted
    assert [len(item.blocks) for item in session.measurements] == [1, 2]
    assert len(kept) == 3


def test_a_model_that_the_delegate_refuses_says_so(bundles):
    def answer(arguments):
        lines = good_lines(arguments)
        lines[1]["delegated_nodes"] = 0
        return 0, text_of(lines), ""

    session = measure("host", FakeDevice(answer), bundles[:1], PLAN)

    assert session.measurements[0].notes == (
        "XNNPACK took no part of this model: it runs on the slower built-in kernels",
    )


def test_nothing_to_measure_is_an_error():
    with pytest.raises(BenchError, match="no models to measure"):
        measure("host", FakeDevice(), [], PLAN)


def test_two_models_of_one_name_are_refused_before_time_is_spent(bundles):
    device = FakeDevice()

    with pytest.raises(RecordError, match="models of one name: toy-float32"):
        measure("host", device, [bundles[0], bundles[0]], PLAN)

    assert device.calls == []
