"""Streams on this computer: states carried on by the runner, and what is made of the times."""

from __future__ import annotations

import json
from array import array
from pathlib import Path

import numpy as np
import pytest

from android_bench.cli import main
from android_bench.errors import BenchError
from android_bench.host_engine import sustained
from android_bench.host_runner import main as runner_main
from android_bench.protocol import RunnerExit
from android_bench.stream_session import (
    HopTimes,
    StreamMeasurement,
    cpu_seconds_per_hour,
    instructions_per_second,
    minutes_of,
    real_time_factor,
    table,
)
from converters.bundle import find_bundles
from converters.stream_bundle import StreamBundle
from tests.android_bench.stream_toys import HOPS, toy_stream_model, write_toy_stream


@pytest.fixture
def toy(tmp_path: Path) -> StreamBundle:
    return write_toy_stream(tmp_path / "exports")


def golden(bundle: StreamBundle) -> list[str]:
    return [f"golden_input={bundle.folder}/golden_hops.npy", f"golden_output={bundle.folder}/golden_logits.npy"]


def said(capsys: pytest.CaptureFixture[str]) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_golden_hops_hold_only_with_states_carried_on_from_zeros(toy, capsys):
    code = runner_main([f"model={toy.model}", "stages=golden,latency", *golden(toy), "warmup_ms=0", "min_timed_ms=0"])
    lines = said(capsys)

    assert code == 0
    assert (lines[1]["states"], lines[3]["ok"], lines[3]["examples"]) == (1, True, HOPS)
    assert lines[5]["cpu_ns"] > 0


def test_golden_logits_of_single_hops_are_refused(toy, tmp_path, capsys):
    hops, _ = toy.golden()
    np.save(tmp_path / "alone.npy", 2 * hops.mean(axis=1))  # what each hop would give without a past

    code = runner_main(
        [f"model={toy.model}", "stages=golden,latency", golden(toy)[0], f"golden_output={tmp_path}/alone.npy"]
    )

    assert code == RunnerExit.GOLDEN
    assert "this device computes another function" in said(capsys)[-1]["message"]


def test_a_wider_bound_is_told_and_kept(toy, tmp_path, capsys):
    np.save(tmp_path / "near.npy", toy.golden()[1] * np.float32(1.01))
    words = [f"model={toy.model}", "stages=golden,latency", golden(toy)[0], f"golden_output={tmp_path}/near.npy"]

    assert runner_main([*words, "golden_bound_ppm=20000", "min_timed_ms=0", "warmup_ms=0"]) == 0
    assert said(capsys)[3]["bound"] == 0.02
    assert runner_main(words) == RunnerExit.GOLDEN
    assert runner_main([*words, "golden_bound_ppm=-1"]) == RunnerExit.ARGUMENTS


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (toy_stream_model(next_name="next_other"), "state 'sum' comes in and never goes out: no output next_sum"),
        (toy_stream_model(hop_name="past_hop"), "state 'hop' comes in and never goes out"),
    ],
)
def test_a_state_without_its_other_end_is_refused(toy, tmp_path, capsys, model, message):
    (tmp_path / "odd.tflite").write_bytes(model)

    code = runner_main([f"model={tmp_path}/odd.tflite", "stages=golden,latency", *golden(toy)])

    assert code == RunnerExit.INIT
    assert message in said(capsys)[-1]["message"]


def test_a_stream_answers_no_clips(toy, capsys):
    code = runner_main([f"model={toy.model}", "stages=eval", f"eval_inputs={toy.folder}/golden_hops.npy"])

    assert code == RunnerExit.EVAL
    assert "the model has 1 states: it hears hops, and eval feeds clips" in said(capsys)[-1]["message"]


def test_hops_of_another_shape_are_refused(toy, tmp_path, capsys):
    np.save(tmp_path / "long.npy", np.zeros((3, 4, 4), np.float32))

    code = runner_main([f"model={toy.model}", "stages=golden,latency", f"golden_input={tmp_path}/long.npy",
                        golden(toy)[1]])  # fmt: skip

    assert code == RunnerExit.READING
    assert "long.npy is float32 of shape [3, 4, 4]; the model has float32 of shape [1, 2, 4]" in str(said(capsys)[-1])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stages=golden,sustain", "hop_us=5000", "sustain_ms=4"], "is shorter than one hop"),
        (["stages=sustain,latency"], "sustain goes with golden only"),
    ],
)
def test_a_pace_that_makes_no_sense_is_refused(toy, capsys, words, message):
    assert runner_main([f"model={toy.model}", *words, *golden(toy)]) == RunnerExit.ARGUMENTS
    assert message in said(capsys)[-1]["message"]


class Clock:
    """A clock that only sleep and work move on."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)


def test_hops_wait_for_their_time_and_a_late_one_is_counted_and_made_up_for():
    clock, samples = Clock(), array("q", bytes(8 * 5))

    def hop(index: int) -> None:
        clock.now_ns += 25_000 if index == 1 else 2_000

    late, wall_ns = sustained(hop, clock, clock.sleep, samples, 10_000)

    # Hop 1 takes until 35 µs: hop 2, due at 20, ends at 37; hop 3, due at 30, ends at 39 in its time.
    assert samples.tolist() == [2_000, 25_000, 2_000, 2_000, 2_000]
    assert (late, wall_ns) == (2, 42_000)


def test_numbers_of_a_stream_follow_from_its_samples(toy):
    times = HopTimes(samples_ns=(10_000,) * 98 + (50_000, 90_000), cpu_ns=1_200_000, wall_ns=2_000_000)

    assert times.percentiles_us() == {"p50": 10.0, "p95": 10.0, "p99": 50.4}
    assert real_time_factor(times, 20) == pytest.approx(0.0005)
    assert cpu_seconds_per_hour(times, 20) == pytest.approx(3600 * 0.0012 / 2.0)
    counted = StreamMeasurement(bundle=toy, instructions=350_000, counted_by={})
    assert instructions_per_second(counted) == 17_500_000
    assert any("350,000" in line and "17,500,000" in line for line in table("virtual-x", (), [counted]))


def test_the_first_minute_is_held_against_the_last():
    samples = (10_000,) * 3000 + (20_000,) * 3000 + (40_000,) * 3000
    minutes = minutes_of(HopTimes(samples_ns=samples, cpu_ns=1, wall_ns=1, late=0), hop_ms=20)

    assert (minutes.first_us, minutes.last_us, minutes.minutes) == (10.0, 40.0, 3.0)


def test_no_hops_are_no_measurement():
    with pytest.raises(BenchError, match="0 hops in 1 ns"):
        HopTimes(samples_ns=(), cpu_ns=0, wall_ns=1)


def test_streams_of_a_folder_are_measured_and_every_sample_is_kept(toy, tmp_path, capsys):
    out = tmp_path / "streams.json"
    assert main(["stream", "--exports", str(tmp_path / "exports"), "--sustain-s", "1", "--json", str(out)]) == 0
    document = json.loads(out.read_text())

    assert (document["format"], document["emulated"]) == ("tkd.stream-bench/1", False)
    (seen,) = document["streams"]
    assert (seen["model"], seen["hop_ms"], seen["states"]) == ("toy-stream-float32", 20.0, 1)
    assert len(seen["sustained"]["samples_ns"]) == 50
    assert seen["busy"]["p50_us"] <= seen["busy"]["p95_us"] <= seen["busy"]["p99_us"]
    printed = capsys.readouterr().out
    assert "toy-stream-float32" in printed
    assert "in the first minute" in printed
    assert find_bundles(tmp_path / "exports") == []


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--exports", "nowhere"], 2, "no streams in nowhere/; make some with: tkd-export --student lstm-p"),
        (["--sustain-s", "-1"], 2, "--sustain-s is -1; expected 0 to 1800"),
        (["TOY", "--device", "virtual-pixel1", "--sustain-s", "5"], 2, "its times mean nothing"),
    ],
)
def test_what_cannot_be_measured_is_refused(toy, capsys, words, code, message):
    words = [str(toy.folder) if word == "TOY" else word for word in words]
    try:
        seen = main(["stream", *words])
    except SystemExit as ended:
        seen = ended.code
    assert seen == code
    assert message in capsys.readouterr().err
