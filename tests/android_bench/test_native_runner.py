"""The native runner by itself: built with sanitizers, over a stand-in engine, on good input and on hostile input."""

import io
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from android_bench.native_build import SOURCES
from android_bench.protocol import FIELDS_OF_EVENT, RunnerExit
from android_bench.runner import parse_lines

HERE = Path(__file__).parent
SANITIZED = ("-std=c11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined")
QUICK = ("warmup_ms=0", "min_timed_ms=0", "min_runs=5", "max_runs=9")
KINDS = ("float32", "int8")


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the runner and the stand-in engine, both with address and undefined-behaviour sanitizers."""
    if not shutil.which("cc"):
        pytest.skip("no C compiler (cc) is here")
    folder = tmp_path_factory.mktemp("sanitized")
    strict = (*SANITIZED, "-fno-sanitize-recover=all")
    commands = (
        ("cc", *strict, "-o", folder / "runner", SOURCES / "runner.c", "-ldl"),
        ("cc", *strict, "-rdynamic", "-DTKD_TICKS", "-o", folder / "runner-ticks", SOURCES / "runner.c", "-ldl"),
        ("cc", *strict, "-fPIC", "-shared", "-o", folder / "engine.so", HERE / "stub_engine.c", "-lm"),
    )
    for command in commands:
        result = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if "cannot find -lasan" in result.stderr or "libasan" in result.stderr:
            pytest.skip("this C compiler has no sanitizers")
        assert result.stderr == ""
    return folder


class Case:
    """A model of one line, its golden arrays and its evaluation pack."""

    def __init__(self, folder: Path, built: Path, kind: str = "float32", options: str = "") -> None:
        self.folder, self.built = folder, built
        self.model = folder / "model.tflite"
        self.model.write_text(f"stub {kind} 8 3 {options}\n")
        values = np.random.default_rng(5).uniform(-9, 9, (70, 8)).astype(kind)
        rows = [[row[c::3].astype(np.float32).sum() for c in range(3)] for row in values]
        self.expected = np.array(rows).astype(kind)
        np.save(folder / "golden_input.npy", values[:4])
        np.save(folder / "golden_output.npy", self.expected[:4])
        np.save(folder / "eval_inputs.npy", values)

    def words(self, stages: str, *more: str) -> list[str]:
        arrays = [f"{name}={self.folder / name}.npy" for name in ("golden_input", "golden_output", "eval_inputs")]
        words = (f"engine={self.built}/engine.so", f"model={self.model}", f"stages={stages}", *arrays, *QUICK, *more)
        return list({word.split("=")[0]: word for word in words}.values())  # a later word replaces an earlier one

    def run(self, stages: str, *more: str, program: str = "runner"):
        return run(self.built, self.words(stages, *more), program)


def run(built: Path, words, program="runner"):
    """Exit code and lines of one process; a sanitizer's complaint fails the test."""
    result = subprocess.run([built / program, *words], capture_output=True, timeout=60)
    stderr = result.stderr.decode("utf-8", "replace")
    assert "Sanitizer" not in stderr, stderr
    assert "runtime error" not in stderr, stderr
    assert result.returncode in set(RunnerExit)
    lines = parse_lines(result.stdout.decode("utf-8"))
    assert (lines[-1]["event"] == "done") == (result.returncode == 0)
    return result.returncode, lines


@pytest.fixture
def case(tmp_path, built) -> Case:
    return Case(tmp_path, built)


def test_the_probe_needs_no_model_and_times_equal_pieces(built):
    code, lines = run(built, ["stages=probe"])

    assert (code, [line["event"] for line in lines]) == (0, ["hello", "probe", "done"])
    assert (lines[0]["engine"], len(lines[1]["ns"])) == ("none", 40)
    assert min(lines[1]["ns"]) > 0
    assert run(built, ["stages=probe,golden"])[1][-1]["message"].endswith("each once, or probe alone")


@pytest.mark.parametrize("kind", KINDS)
def test_golden_and_latency_speak_the_protocol_of_the_python_runner(tmp_path, built, kind):
    code, lines = Case(tmp_path, built, kind).run("golden,latency", "threads=2")

    assert code == 0
    assert [line["event"] for line in lines] == ["hello", "init", "first", "golden", "warmup", "samples", "done"]
    hello, init, first, proof, warmup, samples, done = lines
    assert (hello["runner"], hello["threads"], hello["delegate"]) == ("native-glibc", 2, "xnnpack")
    assert hello["engine"] == "TensorFlow Lite 0.0.0-stub (engine.so)"
    assert (init["nodes"], init["delegated_nodes"], init["invoke_path"]) == (3, 1, "c_api")
    assert init["input"] == {"shape": [1, 8], "dtype": kind}
    assert init["output"] == {"shape": [1, 3], "dtype": kind}
    assert (proof["ok"], proof["examples"]) == (True, 4)
    assert (warmup["runs"], len(samples["ns"])) == (1, 5)
    assert min(samples["ns"]) > 0
    assert samples["wall_ns"] >= sum(samples["ns"])
    assert done["wall_ns"] > init["init_ns"] > 0
    assert first["first_ns"] > 0


def test_the_timed_loop_ends_when_its_room_is_full(case):
    _, lines = case.run("latency", "min_timed_ms=3600000")
    samples = lines[4]

    assert samples["event"] == "samples"
    assert len(samples["ns"]) == 9


@pytest.mark.parametrize("kind", KINDS)
def test_eval_gives_every_output_in_lines_of_64(tmp_path, built, kind):
    case = Case(tmp_path, built, kind)

    code, lines = case.run("eval")

    assert code == 0
    assert [line["event"] for line in lines] == ["hello", "init", "eval", "eval", "done"]
    assert [line["first"] for line in lines[2:4]] == [0, 64]
    rows = [row for line in lines[2:4] for row in line["outputs"]]
    assert np.array_equal(np.array(rows, dtype=kind), case.expected)


def test_memory_count_operators_and_profile_have_lines_of_their_own(case):
    memory = case.run("memory")[1][3]
    counted = case.run("golden,count", "count_runs=7")[1][4]
    operators = case.run("golden,operators", program="runner-ticks")[1][4]
    profile = case.run("profile")[1][3]

    assert 0 < memory["start_kb"] <= memory["init_kb"] <= memory["peak_kb"]
    assert counted == {"event": "counted", "runs": 7}
    assert operators == {
        "event": "operators",
        "ops": [{"name": "SUM", "index": 0, "subgraph": 0, "calls": 1, "row": 0}],
    }
    assert profile["runs"] == 5
    assert [(op["name"], op["index"], op["calls"]) for op in profile["ops"]] == [("SUM", 0, 5)]


def test_a_model_that_computes_something_else_is_stopped_before_it_is_timed(case):
    np.save(case.folder / "golden_output.npy", case.expected[:4] * np.float32(1.001))

    code, lines = case.run("golden,latency")

    assert code == RunnerExit.GOLDEN == 5
    assert [line["event"] for line in lines][-2:] == ["golden", "error"]
    assert (lines[-2]["ok"], lines[-2]["unit"]) == (False, "relative")
    assert lines[-2]["max_error"] == pytest.approx(1e-3, rel=1e-2)
    assert "this device computes another function" in lines[-1]["message"]


def test_a_floating_output_may_be_as_far_off_as_it_is_told(case):
    np.save(case.folder / "golden_output.npy", case.expected[:4] * np.float32(1.001))

    code, lines = case.run("golden", "golden_bound_ppm=2000")

    assert (code, lines[3]["ok"], lines[3]["bound"]) == (0, True, 0.002)
    assert case.run("golden", "golden_bound_ppm=500")[0] == RunnerExit.GOLDEN


@pytest.mark.parametrize(
    ("off_by", "code"),
    [(1, 0), (2, 5)],
)
def test_an_int8_output_may_be_off_by_one_step(tmp_path, built, off_by, code):
    case = Case(tmp_path, built, "int8")
    np.save(case.folder / "golden_output.npy", case.expected[:4] + np.int8(off_by))

    assert case.run("golden")[0] == code


def test_an_output_that_is_no_number_is_never_within_bounds(tmp_path, built):
    code, lines = Case(tmp_path, built, options="nan=2").run("golden")
    assert (code, lines[-2]["ok"], lines[-2]["max_error"]) == (5, False, 1e300)

    code, lines = Case(tmp_path, built, options="nan=66").run("eval")
    assert (code, lines[-1]["message"]) == (8, "the output for clip 65 is not a finite number")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["threads"], "seen 'threads', expected key=value"),
        (["model="], "seen 'model=', expected key=value"),
        (["=x"], "unknown argument ''"),
        (["speed=1"], "unknown argument 'speed'"),
        (["engine=a", "engine=b"], "argument 'engine' is given twice"),
        ([], "missing argument: stages"),
        (["stages=eval"], "missing argument: engine"),
        (["engine=a", "model=b"], "missing argument: stages"),
        (["engine=a", "model=b", "stages=eval"], "stages=eval needs eval_inputs="),
        (["engine=a", "model=b", "stages=latency"], "stages=latency needs golden_input= and golden_output="),
        (["engine=a", "model=b", "stages=nap"], "expected some of golden,latency,memory,eval"),
        (["engine=a", "model=b", "stages=,"], "expected some of golden"),
        (["engine=a", "model=b", "stages=eval,eval"], "each once"),
        (["engine=a", "model=b", "stages=memory,golden"], "memory and profile are measured in a process of their own"),
        (["engine=a", "model=b", "stages=count,eval"], "count and operators go with golden only"),
        (["engine=a", "model=b", "stages=operators"], "counted by the build with -DTKD_TICKS -rdynamic"),
        (["golden_bound_ppm=1000001"], "expected a whole number from 0 to 1000000"),
        (["threads=two"], "threads=two: expected a whole number from 1 to 64"),
        (["threads=0"], "threads=0: expected a whole number from 1 to 64"),
        (["warmup_ms=-1"], "warmup_ms=-1: expected a whole number"),
        (["max_runs=99999999999999999999999"], "expected a whole number from 1 to 10000000"),
        (["engine=a", "model=b", "stages=eval", "eval_inputs=c", "delegate=gpu"], "expected xnnpack or none"),
        (["engine=a", "model=b", "stages=eval", "eval_inputs=c", "min_runs=5", "max_runs=4"], "min_runs <= max_runs"),
    ],
)
def test_wrong_arguments_are_errors(built, words, message):
    code, lines = run(built, words)

    assert code == RunnerExit.ARGUMENTS
    assert (len(lines), lines[0]["stage"]) == (1, "arguments")
    assert message in lines[0]["message"]


@pytest.mark.parametrize("words", [["stages=count,operators"], ["stages=operators", "threads=2"]])
def test_operators_are_counted_alone_on_one_thread(built, words):
    code, lines = run(built, ["engine=a", "model=b", *words], "runner-ticks")

    assert (code, lines[0]["message"]) == (2, "count and operators go with golden only, and with threads=1")


def npy(array) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


FLOATS = np.zeros((4, 8), np.float32)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"", "it is no .npy file"),
        (b"\x93NUMPY\x01\x00\xff\xff", "it is no .npy file"),
        (b"\x93NUMPY\x01\x00\xff\xff{'descr': '<f4'", "its .npy header is cut off"),
        (b"\x93NUMPY\x07\x00" + npy(FLOATS)[8:], ".npy version 7, expected 1 or 2"),
        (npy(FLOATS)[:-1], "it holds 127 bytes of data, its shape says 128"),
        (npy(FLOATS) + b"x", "it holds 129 bytes of data, its shape says 128"),
        (npy(FLOATS.astype(np.float64)), "the model has float32 of shape [1, 8]"),
        (npy(FLOATS.astype(">f4")), "the model has float32 of shape [1, 8]"),
        (npy(np.asfortranarray(FLOATS)), "it is not in C order"),
        (npy(np.zeros((4, 9), np.float32)), "(4, 9)"),
        (npy(np.zeros(8, np.float32)), "(8,)"),
        (npy(np.zeros((1,) * 30, np.float32)), "the model has float32 of shape [1, 8]"),
        (npy(np.zeros((0, 8), np.float32)), "(0, 8)"),
        (npy(FLOATS).replace(b"(4, 8)", b"(9999999999, 8)"), "the model has float32"),
        (npy(FLOATS).replace(b"(4, 8)", b"(2147483647, 8)"), "its shape says 68719476704"),
        (npy(FLOATS).replace(b"'descr'", b"'which'"), "its .npy header has no 'descr'"),
        (npy(FLOATS[:3]), "3 golden inputs and 4 golden outputs"),
    ],
)
def test_arrays_that_do_not_fit_are_errors(case, content, message):
    array = case.folder / "golden_input.npy"
    array.unlink()
    if content is not None:
        array.write_bytes(content)

    for stages in ("golden", "memory"):
        code, lines = case.run(stages)

        if (stages, message) != ("memory", "3 golden inputs and 4 golden outputs"):
            assert code == RunnerExit.READING == 3
            assert message in lines[-1]["message"]


@pytest.mark.parametrize(
    ("options", "stages", "code", "message"),
    [
        ("inputs=2", "golden", 4, "the model has 2 inputs and 1 outputs; expected one of each"),
        ("batch=4", "golden", 4, "expected a fixed shape with a batch of 1"),
        ("batch=-1", "golden", 4, "expected a fixed shape with a batch of 1"),
        ("type=10", "golden", 4, "the input has TfLite type 10"),
        ("lost=1", "golden", 4, "expected a fixed shape"),
        ("fail=1", "golden", 6, 'an inference failed: node 7 failed: "by request�"'),
        ("fail=7", "latency", 6, "an inference failed"),
        ("fail=3", "eval", 8, "an inference failed"),
    ],
)
def test_models_that_cannot_be_run_have_codes_of_their_own(tmp_path, built, options, stages, code, message):
    seen, lines = Case(tmp_path, built, options=options).run(stages)

    assert seen == code
    assert message in lines[-1]["message"]


def test_a_missing_model_a_missing_engine_and_what_is_neither_are_errors(case):
    def changed(key, value):
        code, lines = case.run("golden", f"{key}={value}")
        return code, lines[-1]["message"]

    assert changed("model", "/nowhere")[0] == 3
    assert changed("model", HERE / "stub_engine.c") == (
        4,
        f"the engine refused {HERE}/stub_engine.c: it is no TFLite model",
    )
    assert changed("engine", "/nowhere.so")[0] == 4
    code, message = changed("engine", "libm.so.6")
    assert (code, "libm.so.6 has no TfLiteVersion: expected the TfLite C API" in message) == (4, True)


def test_names_of_any_bytes_reach_the_reader_as_json(case):
    words = [word for word in case.words("golden") if not word.startswith("model=")]
    command = [str(case.built / "runner").encode(), *(word.encode() for word in words), b'model=\xff"\n\xe2\x82\xac']

    result = subprocess.run(command, capture_output=True, timeout=60)

    assert result.returncode == 3
    message = json.loads(result.stdout.splitlines()[-1])["message"]
    assert message.startswith('no model at �"\n€')


HOSTILE = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@HOSTILE
@given(data=st.data())
def test_no_array_file_crashes_the_runner(tmp_path_factory, built, data):
    case = Case(tmp_path_factory.mktemp("hostile"), built)
    content = bytearray(npy(FLOATS))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    name = data.draw(st.sampled_from(["golden_input", "golden_output", "eval_inputs"]))
    (case.folder / f"{name}.npy").write_bytes(bytes(content[:cut] if data.draw(st.booleans()) else content))

    code, _ = case.run("golden,eval")

    assert code in (RunnerExit.DONE, RunnerExit.READING, RunnerExit.GOLDEN, RunnerExit.EVAL)


PIECES = st.sampled_from(
    [
        "engine",
        "model",
        "stages",
        "threads",
        "max_runs",
        "=",
        "==",
        ",",
        "golden",
        "latency,",
        "9" * 30,
        "-1",
        "x=",
        "é",
        "%s%n",
    ]
)


@HOSTILE
@given(words=st.lists(st.lists(PIECES, max_size=4).map("".join), max_size=8))
def test_no_argument_crashes_the_runner(built, words):
    code, lines = run(built, words)

    assert code in (RunnerExit.ARGUMENTS, RunnerExit.INIT)
    assert set(FIELDS_OF_EVENT["error"]) <= lines[-1].keys()


def stream_case(tmp_path: Path, built: Path, kind: str = "float32", states: int = 1) -> Case:
    """A model whose state is added to its logits and becomes them: logits are running sums over the hops."""
    case = Case(tmp_path, built, kind, f"states={states}")
    hops = np.random.default_rng(6).integers(-3, 4, (6, 8)).astype(kind)
    sums = np.cumsum([[row[c::3].astype(np.float32).sum() for c in range(3)] for row in hops], axis=0)
    np.save(tmp_path / "golden_input.npy", hops)
    np.save(tmp_path / "golden_output.npy", sums.clip(-128, 127).astype(kind))
    return case


@pytest.mark.parametrize("kind", KINDS)
def test_the_states_of_a_stream_are_carried_from_hop_to_hop_and_begin_as_zeros(tmp_path, built, kind):
    # The first inference has moved the states on before the golden hops are fed: they are put back.
    code, lines = stream_case(tmp_path, built, kind).run("golden,latency")

    assert code == 0
    assert (lines[1]["states"], lines[3]["ok"], lines[3]["examples"]) == (1, True, 6)
    assert lines[5]["cpu_ns"] >= 0


def test_hops_come_at_their_own_pace_and_all_of_them_are_kept(tmp_path, built):
    code, lines = stream_case(tmp_path, built).run("golden,sustain", "hop_us=2000", "sustain_ms=100")

    assert code == 0
    assert [line["event"] for line in lines] == ["hello", "init", "first", "golden", "sustained", "done"]
    sustained = lines[4]
    assert (len(sustained["ns"]), sustained["hop_us"]) == (50, 2000)
    assert sustained["wall_ns"] >= 49 * 2_000_000
    assert 0 <= sustained["late"] <= 50


@pytest.mark.parametrize(
    ("states", "message"),
    [(2, "state 'sum' comes in and never goes out"), (3, "goes out with TfLite type 1 and 16 bytes and comes in with")],
)
def test_a_state_that_does_not_come_back_as_it_was_is_refused(tmp_path, built, states, message):
    code, lines = stream_case(tmp_path, built, states=states).run("golden,latency")

    assert code == RunnerExit.INIT
    assert message in lines[-1]["message"]


def test_a_stream_answers_no_clips(tmp_path, built):
    code, lines = stream_case(tmp_path, built).run("golden,eval")

    assert code == RunnerExit.EVAL
    assert "the model has 1 states: it hears hops" in lines[-1]["message"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("golden,sustain", "hop_us=5000", "sustain_ms=4"), "is shorter than one hop"),
        (("sustain,latency",), "sustain goes with golden only"),
    ],
)
def test_a_pace_that_makes_no_sense_is_refused(tmp_path, built, words, message):
    code, lines = stream_case(tmp_path, built).run(*words)

    assert code == RunnerExit.ARGUMENTS
    assert message in lines[-1]["message"]
