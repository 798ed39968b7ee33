"""`tkd-bench` as its users meet it: what it prints, what it saves, and every exit code."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from android_bench.cli import main
from android_bench.session_file import read_blocks, read_session
from converters.bundle import write_bundle
from tests.android_bench.bench_toys import toy_contents

QUICK = ("--blocks", "2", "--warmup-ms", "1", "--min-timed-ms", "1", "-q")
NO_SERVER = "tcp:127.0.0.1:1"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Every test runs in an empty folder, with no adb server in reach."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADB_SERVER_SOCKET", NO_SERVER)


def test_measuring_prints_the_table_and_saves_everything(exports, capsys):
    code = main(["--device", "host", "--exports", str(exports), "--output", "out", *QUICK])
    printed = capsys.readouterr()

    assert code == 0
    assert "not a phone" in printed.out
    assert "SYNTHETIC" in printed.out
    assert "toy-int8 time" in printed.out
    assert "unclear" in printed.out
    assert printed.err == ""
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "blocks.jsonl",
        "report.md",
        "session.json",
        "start.json",
    ]
    session = read_session(Path("out/session.json"))
    assert [item.model.name for item in session.measurements] == ["toy-float32", "toy-int8"]
    assert sorted(block.order for block in read_blocks(Path("out/blocks.jsonl"))) == [0, 1, 2, 3]
    assert session.measurements[1].predictions.right.count(True) >= 25


def test_json_on_stdout_is_nothing_but_json(exports, capsys):
    code = main([str(exports / "toy-int8"), "--json", "-", *QUICK])
    record = json.loads(capsys.readouterr().out)

    assert (code, record["format"], record["device"]) == (0, "tkd.bench/1", "host")
    (folder,) = Path("runs/bench").iterdir()
    assert folder.name.endswith("Z-host")
    assert (folder / "session.json").is_file()


def test_verbose_tells_of_each_block(exports, capsys):
    main([str(exports / "toy-int8"), *QUICK[:-1], "-v"])

    assert "toy-int8, block 2: median" in capsys.readouterr().err


def test_without_models_the_command_that_makes_one_is_shown(capsys):
    assert main(["--device", "host"]) == 2
    assert "no models in exports/; make some with: tkd-export --student tcresnet --int8\n" in capsys.readouterr().err
    assert list(Path().iterdir()) == []


def test_an_unknown_device_shows_the_nearest_and_all(capsys):
    assert main(["--device", "pixel"]) == 2
    assert "no device is called 'pixel'; did you mean 'pixel1'? known: host, mi5, pixel1" in capsys.readouterr().err


def test_a_command_that_is_mistyped_is_told_from_a_model(capsys):
    assert main(["doctr"]) == 2
    assert "no bundle and no command is called 'doctr'; did you mean 'doctor'?" in capsys.readouterr().err
    Path("doctr").mkdir()
    assert main(["doctr"]) == 2
    assert "doctr is no bundle: it has no model.json" in capsys.readouterr().err


def test_without_a_phone_what_is_attached_is_said(exports, capsys):
    code = main(["--device", "pixel1", "--exports", str(exports)])
    error = capsys.readouterr().err

    assert code == 4
    assert "no pixel1 (Google Pixel 1) is attached. Seen: no adb server at 127.0.0.1:1" in error
    assert "Without a phone: tkd-bench --device host" in error
    assert list(Path().iterdir()) == []


def test_an_altered_model_is_not_measured(exports, tmp_path, capsys):
    folder = shutil.copytree(exports / "toy-int8", tmp_path / "exports/toy-int8")
    with (folder / "model.tflite").open("ab") as stream:
        stream.write(b"x")

    assert main(["--device", "host"]) == 2
    assert "model.tflite was altered after the export: sha256" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_a_model_that_computes_something_else_gets_no_latency(tmp_path, capsys):
    wrong = toy_contents(quantized=True)
    wrong = toy_contents(quantized=True, golden_output=wrong.golden_output + np.int8(3))
    write_bundle(tmp_path / "exports/toy-int8", wrong)

    code = main(["--output", "out", *QUICK])
    printed = capsys.readouterr()

    assert code == 1
    assert "FAILED: toy-int8: the outputs differ from the golden ones by 3 lsb, expected at most 1" in " ".join(
        printed.out.split()
    )
    assert read_session(Path("out/session.json")).measurements[0].blocks == ()


def test_an_engine_that_refuses_a_model_is_device_trouble(tmp_path, capsys):
    write_bundle(tmp_path / "exports/toy-int8", toy_contents(quantized=True, model=b"not a model"))

    assert main(list(QUICK)) == 4
    assert "the engine refused" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--blocks", "0"], "blocks is 0; expected 1 to 1000"),
        (["--threads", "99"], "threads is 99; expected 1 to 64"),
        (["nowhere"], "nowhere is no bundle: it has no model.json"),
        (["--output", "full"], "full is not empty; expected a new folder for --output"),
    ],
)
def test_wrong_usage_says_what_was_expected(exports, capsys, words, message):
    Path("full").mkdir()
    Path("full/thesis").write_text("mine")

    assert main(["--exports", str(exports), *words]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == ["full"]


@pytest.mark.parametrize("module", ["scipy", "ai_edge_litert"])
def test_a_missing_extra_is_named_with_its_command(exports, capsys, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)

    assert main(["--exports", str(exports)]) == 2
    assert f"{module} is not installed; in a checkout of the project: pip install '.[bench]'" in capsys.readouterr().err


def test_help_needs_no_extra_and_lists_the_exit_codes(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)

    with pytest.raises(SystemExit) as caught:
        main(["--help"])

    assert caught.value.code == 0
    assert "exit codes:" in capsys.readouterr().out


def test_ctrl_c_keeps_the_finished_blocks(exports):
    words = ["--exports", str(exports), "--output", "out", "--blocks", "1000", *QUICK[2:]]
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    process = subprocess.Popen(
        [sys.executable, "-m", "android_bench.cli", *words], env=environment, stdout=subprocess.PIPE, text=True
    )
    journal = Path("out/blocks.jsonl")
    for _ in range(300):
        if journal.exists() and journal.read_text().count("\n") >= 2:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)

    session = read_session(Path("out/session.json"))
    assert process.returncode == 130
    assert "INTERRUPTED" in out
    assert session.interrupted
    assert sum(len(item.blocks) for item in session.measurements) == len(read_blocks(journal)) >= 2


def test_devices_lists_what_can_be_measured_on(capsys):
    assert main(["devices"]) == 0

    out = capsys.readouterr().out
    assert "host           this computer    ready" in out
    assert "pixel1         Google Pixel 1   not attached" in out
    assert "no adb server at 127.0.0.1:1" in out


def test_devices_as_json(capsys):
    assert main(["devices", "--json"]) == 0

    record = json.loads(capsys.readouterr().out)
    assert [item["name"] for item in record["known"]] == [
        "host",
        "mi5",
        "pixel1",
        "virtual-mi5",
        "virtual-pixel1",
    ]
    assert record["attached"]["phones"] == []


def test_doctor_says_what_makes_this_computer_less_than_fit(capsys):
    assert main(["doctor"]) == 0

    out = capsys.readouterr().out
    assert "good  scipy" in out
    assert "reading the clock costs" in out
