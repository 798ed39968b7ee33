"""The host runner: its arguments, its loops under a fake clock, and its stages as real processes."""

import json
import re
import shutil
import subprocess
import sys
from array import array

import numpy as np
import pytest

from android_bench.host_engine import StageError, overheads, timed, warm_up
from android_bench.host_runner import main, parse
from android_bench.protocol import FIELDS_OF_EVENT, RunnerExit, compare_golden
from tests.android_bench.bench_toys import CLASSES, outputs_of

QUICK = ("warmup_ms=1", "min_timed_ms=1", "min_runs=5", "max_runs=50")


def golden(bundle) -> tuple[str, ...]:
    return tuple(f"{name}={bundle.folder / name}.npy" for name in ("golden_input", "golden_output"))


def started(*words):
    command = [sys.executable, "-m", "android_bench.host_runner", *words]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return result.returncode, [json.loads(line) for line in result.stdout.splitlines()]


class Clock:
    """A clock that moves by `step_ns` whenever it is read."""

    def __init__(self, step_ns: int) -> None:
        self.now_ns, self.step_ns = 0, step_ns

    def __call__(self) -> int:
        self.now_ns += self.step_ns
        return self.now_ns


@pytest.mark.parametrize("which", [0, 1])
def test_golden_and_latency_speak_the_protocol_in_order(bundles, which):
    bundle = bundles[which]

    code, lines = started(f"model={bundle.model}", "stages=golden,latency", *golden(bundle), *QUICK)

    assert code == 0
    assert [line["event"] for line in lines] == ["hello", "init", "first", "golden", "warmup", "samples", "done"]
    for line in lines:
        assert set(FIELDS_OF_EVENT[line["event"]]) <= line.keys()
    hello, init, _, proof, warmup, samples, _ = lines
    assert (hello["protocol"], hello["runner"], hello["threads"], hello["delegate"]) == (1, "python", 1, "xnnpack")
    assert init["delegated_nodes"] == 1
    assert (proof["ok"], proof["examples"], proof["max_error"]) == (True, 4, 0.0)
    assert warmup["runs"] >= 1
    assert 5 <= len(samples["ns"]) <= 50
    assert min(samples["ns"]) > 0


def test_memory_grows_from_start_to_peak(bundles):
    code, lines = started(f"model={bundles[0].model}", "stages=memory", *golden(bundles[0]))
    memory = lines[3]

    assert code == 0
    assert 0 < memory["start_kb"] <= memory["init_kb"] <= memory["peak_kb"]


def test_eval_gives_every_output(bundles):
    bundle = bundles[1]
    code, lines = started(f"model={bundle.model}", "stages=eval", f"eval_inputs={bundle.folder}/eval_inputs.npy")
    rows = [row for line in lines if line["event"] == "eval" for row in line["outputs"]]

    assert code == 0
    assert np.array(rows).shape == (30, CLASSES)
    assert rows == outputs_of(bundle.model.read_bytes(), bundle.evaluation().inputs).tolist()


def test_a_model_that_computes_something_else_is_stopped_before_it_is_timed(bundles, tmp_path, capsys):
    wrong = tmp_path / "wrong.npy"
    np.save(wrong, bundles[1].golden()[1] + np.int8(2))

    code = main([f"model={bundles[1].model}", "stages=golden,latency", golden(bundles[1])[0], f"golden_output={wrong}"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    assert code == RunnerExit.GOLDEN == 5
    assert [line["event"] for line in lines][-2:] == ["golden", "error"]
    assert (lines[-2]["ok"], lines[-2]["max_error"]) == (False, 2.0)
    assert "differ from the golden ones by 2 lsb, expected at most 1" in lines[-1]["message"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["threads"], "seen 'threads', expected key=value"),
        (["model="], "expected key=value"),
        (["model=a", "speed=1"], "unknown argument 'speed'; known: model, stages"),
        (["model=a", "model=b"], "given twice"),
        (["model=a"], "missing argument: stages"),
        (["model=a", "stages=eval"], "stages=eval needs eval_inputs="),
        (["model=a", "stages=latency"], "stages=latency needs golden_input= and golden_output="),
        (["model=a", "stages=nap"], "expected some of golden,latency,memory,eval"),
        (["model=a", "stages=eval,eval"], "each once"),
        (["model=a", "stages=memory,golden"], "memory is measured in a process of its own"),
        (["model=a", "stages=eval", "eval_inputs=b", "threads=two"], "threads=two: expected a whole number"),
        (["model=a", "stages=eval", "eval_inputs=b", "threads=0"], "threads=0: expected 1 to 64"),
        (["model=a", "stages=eval", "eval_inputs=b", "delegate=gpu"], "expected xnnpack or none"),
        (["model=a", "stages=eval", "eval_inputs=b", "min_runs=5", "max_runs=4"], "min_runs=5 max_runs=4"),
        (["model=a", "stages=eval", "eval_inputs=b", "warmup_ms=-1"], "at least 0"),
        (["model=a", "stages=eval", "eval_inputs=b", "golden_bound_ppm=-1"], "expected 0 to 1000000"),
    ],
)
def test_wrong_arguments_are_errors(words, message):
    with pytest.raises(StageError, match=message) as caught:
        parse(words)

    assert caught.value.exit_code == RunnerExit.ARGUMENTS


def test_errors_are_lines_too(capsys):
    assert main(["speed=1"]) == 2

    seen = capsys.readouterr()
    assert json.loads(seen.out)["event"] == "error"
    assert "host_runner: arguments: unknown argument 'speed'" in seen.err


@pytest.mark.parametrize(
    ("damage", "code", "message"),
    [
        (lambda folder: (folder / "model.tflite").unlink(), 3, "no model at"),
        (lambda folder: (folder / "model.tflite").write_bytes(b"not a model"), 4, "the engine refused"),
        (lambda folder: (folder / "golden_input.npy").unlink(), 3, "cannot read"),
        (lambda folder: (folder / "golden_input.npy").write_bytes(b"x"), 3, "cannot read"),
        (
            lambda folder: np.save(folder / "golden_input.npy", np.zeros((2, 9))),
            3,
            r"float64 of shape \[2, 9\]; the mod",
        ),
    ],
)
def test_files_that_cannot_be_used_have_codes_of_their_own(bundles, tmp_path, capsys, damage, code, message):
    folder = shutil.copytree(bundles[0].folder, tmp_path / "toy")
    damage(folder)
    arrays = [f"{name}={folder / name}.npy" for name in ("golden_input", "golden_output")]

    seen = main([f"model={folder}/model.tflite", "stages=golden", *arrays])

    assert seen == code
    error = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert error["event"] == "error"
    assert re.search(message, error["message"])


def test_the_timed_loop_keeps_every_sample_and_stops_when_it_has_enough():
    calls = []
    samples = array("q", bytes(8 * 100))

    count, wall_ns = timed(lambda: calls.append(1), Clock(10), samples, min_runs=3, min_ns=75)

    # Two readings per run, 10 ns apart: run n ends at 20 n after the start.
    assert (count, len(calls), wall_ns) == (4, 4, 80)
    assert samples[:count].tolist() == [10] * 4


def test_the_timed_loop_makes_its_least_number_of_runs_and_never_outgrows_its_room():
    assert timed(lambda: None, Clock(1000), array("q", bytes(800)), min_runs=7, min_ns=1)[0] == 7
    assert timed(lambda: None, Clock(1), array("q", bytes(8 * 9)), min_runs=1, min_ns=10**9)[0] == 9


def test_warm_up_runs_at_least_once():
    assert warm_up(lambda: None, Clock(10), at_least_ns=0) == (1, 10)
    assert warm_up(lambda: None, Clock(10), at_least_ns=30) == (3, 30)


def test_overheads_are_what_the_clock_costs():
    assert overheads(Clock(7)) == (7, 7)


@pytest.mark.parametrize(
    ("seen", "expected", "ok", "error"),
    [
        (np.array([[1.0, 2.0]], np.float32), np.array([[1.0, 2.0]], np.float32), True, 0.0),
        (np.array([[1.0, 2.0003]], np.float32), np.array([[1.0, 2.0]], np.float32), False, 1.5e-4),
        (np.array([[np.nan, 2.0]], np.float32), np.array([[1.0, 2.0]], np.float32), False, 1e300),
        (np.array([[0.0]], np.float32), np.array([[0.0]], np.float32), True, 0.0),
        (np.array([[127]], np.int8), np.array([[-128]], np.int8), False, 255.0),
        (np.array([[5]], np.int8), np.array([[6]], np.int8), True, 1.0),
    ],
)
def test_golden_outputs_are_held_to_their_bound(seen, expected, ok, error):
    verdict = compare_golden(seen, expected)

    assert verdict["ok"] is ok
    assert verdict["max_error"] == pytest.approx(error, rel=1e-2)


def test_golden_outputs_may_have_a_bound_of_their_own():
    seen, expected = np.array([[1.0, 2.01]], np.float32), np.array([[1.0, 2.0]], np.float32)

    assert compare_golden(seen, expected, 10_000) | {"max_error": None} == {
        "ok": True, "examples": 1, "max_error": None, "bound": 0.01, "unit": "relative",
    }  # fmt: skip
    assert compare_golden(seen, expected, 1_000)["ok"] is False
