"""`tkd-bench compare` and `tkd-bench selftest` from argv to exit code, on a device with noise of a known kind."""

import json
import shutil

import pytest

from android_bench import cli_selftest, device
from android_bench.cli import main
from android_bench.errors import DeviceError
from android_bench.session_file import read_blocks, read_session, samples_sha256
from android_bench.verdict_file import read_gate
from converters.bundle import write_bundle
from tests.android_bench.bench_toys import toy_contents
from tests.android_bench.pair_toys import NoisyDevice


@pytest.fixture
def models(tmp_path, monkeypatch):
    """Two bundles of one name, in folders that say which is which; the cache and the current folder are empty."""
    for part in ("baseline", "candidate"):
        write_bundle(tmp_path / part / "toy-int8", toy_contents(quantized=True))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return tmp_path


def on(monkeypatch, ratio, later=None, **changes) -> NoisyDevice:
    made = NoisyDevice(ratio, later, **changes)
    monkeypatch.setattr(device, "HostDevice", made)
    return made


def compare(models, *words) -> int:
    pair = ("--baseline", models / "baseline" / "toy-int8", "--candidate", models / "candidate" / "toy-int8")
    return main(["compare", *map(str, (*pair, "--output", models / "out", *words)), "-q"])


@pytest.mark.parametrize(
    ("ratio", "later", "verdict", "code", "rounds", "sessions"),
    [
        (1.0, None, "PASS", 0, 15, 1),
        (0.9, None, "IMPROVED", 0, 15, 1),
        (1.03, None, "INCONCLUSIVE", 3, 30, 1),
        (1.1, None, "REGRESSION", 1, 15, 2),
        (1.1, 1.0, "INCONCLUSIVE", 3, 15, 2),
    ],
)
def test_two_models_are_compared(models, monkeypatch, capsys, ratio, later, verdict, code, rounds, sessions) -> None:
    made = on(monkeypatch, ratio, later)
    assert code == compare(models)
    gate = read_gate(models / "out" / "compare.json")
    judged = gate.judgements[0]
    assert (verdict, code, sessions) == (judged.verdict, gate.exit_code, made.sessions)
    assert f"{verdict}: toy-int8 on host · python" in capsys.readouterr().out
    recorded = read_session(models / "out" / "session.json")
    assert rounds == recorded.plan.blocks
    assert samples_sha256(recorded) == judged.latency.sessions[0].samples_sha256
    assert 2 * rounds == len(judged.latency.sessions[0].blocks) == len(read_blocks(models / "out" / "blocks.jsonl"))
    order = [(block.arm, block.pair) for block in judged.latency.sessions[0].blocks[:4]]
    assert [("baseline", 0), ("candidate", 0), ("candidate", 1), ("baseline", 1)] == order
    assert (sessions == 2) is (models / "out" / "confirmation.json").exists()
    assert (models / "out" / "report.md").read_text("utf-8").startswith(f"# {verdict}")


@pytest.mark.parametrize(
    ("words", "ratio", "code"),
    [
        (("--inconclusive", "pass"), 1.03, 0),
        (("--inconclusive", "fail"), 1.03, 1),
        (("--report-only",), 1.1, 0),
        (("--max-slowdown", "20"), 1.1, 0),
        (("--min-effect-us", "50"), 1.1, 0),
    ],
)
def test_options_decide_what_a_verdict_ends_in(models, monkeypatch, words, ratio, code) -> None:
    on(monkeypatch, ratio)
    assert code == compare(models, *words)


def test_json_on_stdout_is_the_document(models, monkeypatch, capsys) -> None:
    on(monkeypatch, 1.0)
    assert 0 == compare(models, "--json", "-")
    document = json.loads(capsys.readouterr().out)
    assert ("tkd.compare/1", "PASS", 0) == tuple(document[key] for key in ("format", "verdict", "exit_code"))


def test_folders_of_bundles_are_compared_by_name(models, monkeypatch, capsys) -> None:
    on(monkeypatch, 1.0)
    write_bundle(models / "baseline" / "toy-float32", toy_contents(quantized=False))
    write_bundle(models / "candidate" / "toy-float32", toy_contents(quantized=False))
    write_bundle(models / "candidate" / "new", toy_contents(quantized=True, name="new"))
    words = ("--baseline", models / "baseline", "--candidate", models / "candidate", "--output", models / "out")
    assert 0 == main(["compare", *map(str, words), "-q"])
    names = [judged.candidate.name for judged in read_gate(models / "out" / "compare.json").judgements]
    assert ["toy-float32", "toy-int8"] == names
    assert "only one side has them: new" in capsys.readouterr().err


def test_a_baseline_that_is_gone_is_no_answer(models, monkeypatch, capsys) -> None:
    on(monkeypatch, 1.0)
    shutil.rmtree(models / "baseline")
    assert 3 == compare(models)
    assert "no baseline at" in capsys.readouterr().err
    assert not (models / "out").exists()


def test_an_empty_folder_of_baselines_is_no_answer(models, monkeypatch, capsys) -> None:
    on(monkeypatch, 1.0)
    (models / "nothing").mkdir()
    words = ("--baseline", models / "nothing", "--candidate", models / "candidate")
    assert 3 == main(["compare", *map(str, words)])
    assert "it holds no bundles" in capsys.readouterr().err


def test_an_altered_baseline_is_refused(models, monkeypatch, capsys) -> None:
    on(monkeypatch, 1.0)
    path = models / "baseline" / "toy-int8" / "model.tflite"
    path.write_bytes(path.read_bytes() + b"x")
    assert 2 == compare(models)
    assert "model.tflite" in capsys.readouterr().err
    assert not (models / "out").exists()


def test_a_device_that_fails_is_trouble_and_no_verdict(models, monkeypatch) -> None:
    made = on(monkeypatch, 1.0)
    calls = []

    def answer(arguments):
        calls.append(arguments)
        if len(calls) > 7:
            raise DeviceError("it is gone")
        return made._answer(arguments)

    made.answer = answer
    assert 4 == compare(models)
    judged = read_gate(models / "out" / "compare.json").judgements[0]
    assert ("INCONCLUSIVE", "device") == (judged.verdict, judged.failure.kind)
    assert 7 == len(read_blocks(models / "out" / "blocks.jsonl"))


def test_a_device_that_cannot_be_reached_costs_the_others_nothing(models, monkeypatch) -> None:
    on(monkeypatch, 1.0)
    for name, value in {"ADB_SERVER_SOCKET": "tcp:127.0.0.1:1", "HOME": str(models)}.items():
        monkeypatch.setenv(name, value)
    assert 4 == compare(models, "--device", "host", "--device", "pixel1")
    good, bad = read_gate(models / "out" / "compare.json").judgements
    assert ("PASS", "host", None) == (good.verdict, good.device.name, good.failure)
    assert ("INCONCLUSIVE", "pixel1", "device") == (bad.verdict, bad.device.name, bad.failure.kind)
    assert (models / "out" / "1-host" / "session.json").exists()
    assert good.latency.sessions[0].path == "1-host/session.json"


def test_a_candidate_that_computes_something_else_is_a_no(models, monkeypatch) -> None:
    made = on(monkeypatch, 1.0)

    def answer(arguments):
        if "candidate" in arguments["model"]:
            return 5, "", "golden mismatch"
        return made._answer(arguments)

    made.answer = answer
    assert 1 == compare(models)


def test_ctrl_c_keeps_what_there_is(models, monkeypatch) -> None:
    made = on(monkeypatch, 1.0)
    calls = []

    def answer(arguments):
        calls.append(arguments)
        if len(calls) == 21:
            raise KeyboardInterrupt
        return made._answer(arguments)

    made.answer = answer
    assert 130 == compare(models)
    gate = read_gate(models / "out" / "compare.json")
    assert gate.interrupted
    assert 20 == len(read_session(models / "out" / "session.json").measurements[0].blocks) * 2
    assert "INTERRUPTED" in (models / "out" / "report.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compare"], "expected --baseline BUNDLE and --candidate BUNDLE"),
        (["compare", "--baseline", "a"], "expected --baseline BUNDLE and --candidate BUNDLE"),
        (["compare", "a.json"], "1 recorded results; expected two"),
        (["compare", "a.json", "b.json", "--device", "host"], "without --baseline, --candidate and --device"),
        (
            ["compare", "--baseline", "a", "--candidate", "b", "--device", "host", "--device", "mi5", "--serial", "x"],
            "choose one phone",
        ),
        (["compare", "--baseline", "a", "--candidate", "b", "--inconclusive", "maybe"], "invalid choice: 'maybe'"),
    ],
)
def test_wrong_usage_is_told(capsys, words, message) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--allow", "speed=1"), "--allow speed=1: expected METRIC=PERCENT or METRIC=any"),
        (("--allow", "size=much"), "--allow size=much: expected METRIC=PERCENT or METRIC=any"),
        (("--max-slowdown", "0"), "max_slowdown is 0.0; expected above 0 and below 1"),
        (("--pairs", "5"), "pairs is 5; expected 6 to 200 (under 6 there is no interval)"),
        (("--threads", "0"), "threads is 0; expected 1 to 64"),
        (("--device", "virtual-pixel1", "--threads", "2"), "counts instructions, exactly for one thread only"),
        (("--device", "pixel9"), "no device is called 'pixel9'"),
        (("--device", "host", "--serial", "x"), "--serial and --connect name a phone"),
    ],
)
def test_wrong_settings_are_told_before_anything_is_measured(models, monkeypatch, capsys, words, message) -> None:
    made = on(monkeypatch, 1.0)
    assert 2 == compare(models, *words)
    assert message in capsys.readouterr().err
    assert 0 == made.sessions
    assert not (models / "out").exists()


def test_unequal_numbers_of_models_are_told(models, capsys) -> None:
    assert 2 == compare(models, "--baseline", models / "baseline" / "toy-int8")
    assert "2 baselines and 1 candidates" in capsys.readouterr().err


@pytest.fixture
def selftest_models(models, monkeypatch):
    """Toys in the place of the package's own models: `more` is what the device finds slower."""
    for name, macs in (("plain", 100), ("more", 110)):
        write_bundle(models / "selftest" / name, toy_contents(quantized=True, ops={"macs": macs}))
    monkeypatch.setattr(cli_selftest, "_MODELS", models / "selftest")
    return models


def selftest(models, monkeypatch, plain, more, **changes) -> int:
    made = on(monkeypatch, 1.0, **changes)
    original = made._answer

    def answer(arguments):
        made._ratios = (plain, plain) if "plain" in arguments["model"] else (more, more)
        return original({**arguments, "model": f"candidate {arguments['model']}"})

    made.answer = answer
    return main(["selftest", "--output", str(models / "proof"), "-q"])


def test_a_selftest_is_kept_and_shown_with_the_next_verdict(selftest_models, monkeypatch, capsys) -> None:
    assert 0 == selftest(selftest_models, monkeypatch, 1.0, 1.1)
    assert "passed: verdicts on this device can pass and can fail" in capsys.readouterr().out
    on(monkeypatch, 1.0)
    assert 0 == compare(selftest_models)
    kept = read_gate(selftest_models / "out" / "compare.json").judgements[0].self_test
    assert (True, 0.1) == (kept.passed, kept.extra_work)
    assert 0.08 < kept.seen_work < 0.12
    assert f"self-test on this device: passed on {kept.finished_utc[:10]}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "noise", "code", "message"),
    [
        (1.0, 0.01, 1, "FAILED: more work went unseen"),
        (1.1, 0.2, 3, "no answer: this device is too noisy"),
    ],
)
def test_a_selftest_that_sees_nothing_fails(selftest_models, monkeypatch, capsys, more, noise, code, message) -> None:
    assert code == selftest(selftest_models, monkeypatch, 1.0, more, noise=noise)
    assert message in capsys.readouterr().out
    on(monkeypatch, 1.0)
    compare(selftest_models)
    assert "self-test on this device: FAILED" in capsys.readouterr().out


def test_without_a_selftest_a_verdict_says_so(models, monkeypatch, capsys) -> None:
    on(monkeypatch, 1.0)
    compare(models)
    assert "no self-test on this device yet: tkd-bench selftest --device host" in capsys.readouterr().out


def test_a_damaged_selftest_costs_no_verdict(selftest_models, monkeypatch, capsys) -> None:
    selftest(selftest_models, monkeypatch, 1.0, 1.1)
    kept = next((selftest_models / "cache" / "tkd" / "selftests").iterdir())
    kept.write_text("{", "utf-8")
    on(monkeypatch, 1.0)
    assert 0 == compare(selftest_models)
    assert "run tkd-bench selftest again" in capsys.readouterr().out.replace("\n", " ")
