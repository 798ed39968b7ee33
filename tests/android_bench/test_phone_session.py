"""Measuring on a phone: the command, the transports and the daemon are real, the phone's runner is a script."""

import json
import os
import re
import shutil
import signal
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from android_bench.adb import choose
from android_bench.adb.phone import Phone
from android_bench.cli import main
from android_bench.session_file import read_blocks, read_session
from converters.bundle import write_bundle
from tests.android_bench.bench_toys import toy_contents
from tests.android_bench.phone_toys import DENIED, PIXEL_BATTERY, PIXEL_PROPERTIES
from tests.android_bench.scripted_phone import QUICK, bench

JOURNAL = Path("out/blocks.jsonl")


@pytest.fixture
def words(exports):
    return ["--exports", exports, "--output", "out", "--blocks", "3", *QUICK]


def session():
    return read_session(Path("out/session.json"))


def when(happens, act) -> threading.Thread:
    """Calls `act` in a thread as soon as `happens` says so."""

    def watch():
        for _ in range(12_000):
            if happens():
                act()
                return
            time.sleep(0.05)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def test_a_phone_is_measured_and_left_clean(scripted, words, capsys):
    with scripted.daemon() as daemon:
        code = bench(daemon, "--device", "pixel1", *words)
    printed = capsys.readouterr()

    assert code == 0
    assert printed.out.startswith("pixel1 · scripted (free clocks): Pixel, 4 CPUs, 1 thread on big cores (mask c)")
    assert "in a shell process, not in an app" in " ".join(printed.out.split())
    assert scripted.names() == ["runner"]
    measured = session()
    assert [len(item.blocks) for item in measured.measurements] == [3, 3]
    assert all(item.memory and item.predictions for item in measured.measurements)
    assert (measured.plan.core_mask, measured.runner["cores"], measured.rejected) == ("c", "big", ())
    assert json.loads(Path("out/session.json").read_text())["name"] == "pixel1 · scripted (free clocks)"
    assert "# pixel1 · scripted (free clocks), 2" in Path("out/report.md").read_text()


def test_a_phone_that_is_low_rejects_every_round_with_its_reason(scripted, words, capsys):
    scripted.write("recorded/battery", PIXEL_BATTERY.replace("level: 87", "level: 9"))
    with scripted.daemon() as daemon:
        code = bench(daemon, *words)
    out = " ".join(capsys.readouterr().out.split())

    assert code == 3
    assert re.search(r"REJECTED: round 3 after [0-9.]+ s: battery at 9 %, expected 25 % or more", out)
    assert "not clean: 3 of 3 rounds were rejected: the device was not fit for them" in out
    assert session().dirty == ("free clocks", "low battery", "rounds rejected")
    assert [len(item.blocks) for item in session().measurements] == [0, 0]
    assert [json.loads(line)["record"] for line in JOURNAL.read_text().splitlines()] == ["rejected"] * 3
    assert read_blocks(JOURNAL) == []


def test_a_phone_that_slows_down_in_mid_session_rejects_the_rounds_after(scripted, words, capsys):
    scripted.trouble(2, f"cp {scripted.root}/lines/slow {scripted.root}/lines/probe")
    (scripted.root / "bin/cp").symlink_to(shutil.which("cp"))
    scripted.probe(2_600_000)
    (scripted.root / "lines/probe").rename(scripted.root / "lines/slow")
    scripted.probe(2_000_000)
    with scripted.daemon() as daemon:
        code = bench(daemon, *words)

    assert code == 3
    assert [block.probe_ns for block in read_blocks(JOURNAL)] == [2_000_000] * 2
    assert [each.index for each in session().rejected] == [1, 2]
    assert "took 1.30 × as long as at its best (2.60 ms, 2.00 ms)" in session().rejected[0].reasons[0]


def test_rounds_that_were_slow_before_the_phone_became_faster_are_told(scripted, words):
    scripted.trouble(2, f"cp {scripted.root}/lines/fast {scripted.root}/lines/probe")
    (scripted.root / "bin/cp").symlink_to(shutil.which("cp"))
    scripted.probe(2_000_000)
    (scripted.root / "lines/probe").rename(scripted.root / "lines/fast")
    scripted.probe(2_600_000)
    with scripted.daemon() as daemon:
        assert bench(daemon, *words) == 0

    assert "round 1: a fixed piece of work was faster later in the session; it was throttled or busy" in (
        session().concerns
    )


def test_without_gates_the_name_says_so(scripted, words):
    scripted.write("recorded/battery", PIXEL_BATTERY.replace("level: 87", "level: 9"))
    with scripted.daemon() as daemon:
        code = bench(daemon, *words, "--no-gates")

    assert code == 0
    assert session().dirty == ("no gates", "free clocks", "low battery")


def test_ctrl_c_leaves_the_phone_clean_and_the_session_goes_on(scripted, words, exports, capsys):
    marker = scripted.root / "sleeping"
    scripted.trouble(4, f"echo $$ > {marker}; sleep 300")
    with scripted.daemon() as daemon:
        stopper = when(marker.exists, lambda: os.kill(os.getpid(), signal.SIGINT))
        first = bench(daemon, *words)
        stopper.join(10)
        kept, names = read_blocks(JOURNAL), scripted.names()
        interrupted = session()
        with pytest.raises(ProcessLookupError):  # what slept on the phone was ended
            os.kill(int(marker.read_text()), 0)
        scripted.trouble(0, "")
        second = main(["--resume", "out", "-q"])

    assert (first, len(kept), names, interrupted.interrupted) == (130, 3, ["runner"], True)
    assert second == 0
    assert scripted.starts == 4 + 2 + 2  # rounds two and three; the first one was whole
    whole = session()
    assert sorted((block.bundle, block.index) for item in whole.measurements for block in item.blocks) == [
        (name, index) for name in ("toy-float32", "toy-int8") for index in range(3)
    ]
    orders = [block.order for item in whole.measurements for block in item.blocks]
    assert len(set(orders)) == 6
    assert any("2 of 6 blocks are older" in concern for concern in whole.concerns)
    assert scripted.names() == ["runner"]


def test_a_phone_that_restarts_loses_nothing_that_was_measured(scripted, words, capsys, monkeypatch):
    monkeypatch.setattr(choose, "Phone", partial(Phone, patience_s=0.2))  # it does not come back while we wait
    marker = scripted.root / "sleeping"
    scripted.trouble(4, f"echo > {marker}; sleep 300")
    running = scripted.daemon()
    daemon = running.__enter__()
    port = daemon.port
    stopper = when(marker.exists, lambda: running.__exit__(None, None, None))
    code = bench(daemon, *words[:-1])
    stopper.join(30)
    printed = capsys.readouterr()
    kept = len(read_blocks(JOURNAL))

    assert (code, kept) == (4, 3)
    assert "go on with: tkd-bench --resume out" in printed.err
    assert "was not cleaned up, the next session does it" in printed.err
    assert {item.failure.kind for item in session().measurements} == {"device"}
    scripted.trouble(0, "")
    with scripted.daemon(port=port):
        assert main(["--resume", "out", "-q"]) == 0
    assert [len(item.blocks) for item in session().measurements] == [3, 3]
    assert scripted.names() == ["runner"]


def test_a_runner_that_is_killed_is_an_error_and_the_other_model_goes_on(scripted, words, capsys):
    scripted.trouble(3, "kill -9 $$")
    with scripted.daemon() as daemon:
        code = bench(daemon, *words)
    out = " ".join(capsys.readouterr().out.split())

    assert code == 4
    assert "exit code 137): it was ended by signal 9: something killed it, or it ran out of memory" in out
    well, failed = session().measurements
    assert (len(well.blocks), well.failure, len(failed.blocks)) == (3, None, 1)
    assert len(read_blocks(JOURNAL)) == 4
    assert scripted.names() == ["runner"]


def test_a_full_disk_is_an_error_that_leaves_nothing(scripted, words, capsys):
    make = shutil.which("mkdir")
    full = "if [ -d $ROOT/data/local/tmp/tkd ]; then echo mkdir: No space left on device >&2; exit 1; fi"
    scripted.without("mkdir")
    scripted.script("mkdir", f'{full}; exec {make} "$@"')  # the runner fits, the models do not
    with scripted.daemon() as daemon:
        code = bench(daemon, *words)
    out = " ".join(capsys.readouterr().out.split())

    assert code == 4
    assert out.count("No space left on device") == 2
    assert scripted.starts == 0
    assert scripted.names() == ["runner"]


def test_a_session_goes_on_with_the_same_phone_however_it_is_reached(scripted, words, capsys):
    scripted.write("recorded/getprop", PIXEL_PROPERTIES + "[ro.serialno]: [FA6AB0302345]\n")
    scripted.trouble(4, "kill -9 $$")
    with scripted.daemon() as daemon:
        assert bench(daemon, *words) == 4
    with scripted.daemon() as elsewhere:
        there = ["--resume", "out", "--connect", f"127.0.0.1:{elsewhere.port}", "-q"]
        assert main(there) == 0
        assert [len(item.blocks) for item in session().measurements] == [3, 3]
        scripted.write("recorded/getprop", PIXEL_PROPERTIES + "[ro.serialno]: [another]\n")
        assert main(there) == 2
    assert "the phone was FA6AB0302345 and is another" in capsys.readouterr().err


def test_what_cannot_be_resumed_is_refused(scripted, words, tmp_path, capsys):
    with scripted.daemon() as daemon:
        bench(daemon, *words)
        other = toy_contents(quantized=True, name="toy-int8", parents={"checkpoint": "d" * 64})
        write_bundle(tmp_path / "other", other)
        capsys.readouterr()
        refused = [
            (["--resume", "out", tmp_path / "other"], "cannot resume: toy-float32 is not the model that this session"),
            (["--resume", "out", "--device", "host"], "the session in out is of auto, not of host"),
            (["--resume", "nowhere"], "no session to resume in nowhere: start.json cannot be read"),
        ]
        for line, message in refused:
            assert main([*map(str, line), "-q"]) == 2
            assert message in capsys.readouterr().err
        scripted.write("recorded/getprop", PIXEL_PROPERTIES.replace(":10/", ":11/"))
        assert main(["--resume", "out", "-q"]) == 2
        assert "the system was google/sailfish/sailfish:10/" in capsys.readouterr().err
        Path("out/start.json").write_text("{")
        assert main(["--resume", "out", "-q"]) == 2
        assert "out/start.json is damaged" in capsys.readouterr().err
    assert [len(item.blocks) for item in session().measurements] == [3, 3]


def test_cores_that_cannot_be_had_are_refused_or_noted(scripted, words, capsys):
    for cpu in range(4):
        scripted.write(f"sys/devices/system/cpu/cpu{cpu}/cpufreq/cpuinfo_max_freq", DENIED)
    with scripted.daemon() as daemon:
        assert bench(daemon, *words, "--cores", "little") == 2
        assert "which cores are little is not known here; give a mask" in capsys.readouterr().err
        assert bench(daemon, *words, "--cores", "f0") == 2
        assert "mask f0 names cores that a phone with 4 does not have" in capsys.readouterr().err
        assert not Path("out").exists()
        assert bench(daemon, *words) == 0

    assert session().plan.core_mask == ""
    assert any(concern.startswith("any core, the scheduler's choice") for concern in session().concerns)


def test_a_phone_that_cannot_run_it_is_refused_before_anything_is_pushed(scripted, words, capsys):
    scripted.write("recorded/getprop", PIXEL_PROPERTIES.replace("arm64-v8a", "armeabi-v7a"))
    with scripted.daemon() as daemon:
        assert bench(daemon, *words) == 4

    assert "is armeabi-v7a; runner and engine need arm64-v8a, take another phone" in capsys.readouterr().err
    assert not scripted.ours.exists()
    assert not Path("out").exists()


def test_a_preset_is_the_published_protocol(scripted, words, capsys):
    with scripted.daemon() as daemon:
        line = [word for word in words if word not in ("--warmup-ms", "--min-timed-ms", "1")]
        assert bench(daemon, *line, "--preset", "tcresnet-paper") == 0
        out = capsys.readouterr().out
        assert bench(daemon, *words, "--preset", "tcresnet-paper") == 2
        assert "--preset tcresnet-paper fixes --warmup-ms, --min-timed-ms" in capsys.readouterr().err

    plan = session().plan
    assert (plan.core_mask, plan.threads, plan.warmup_runs, plan.min_runs, plan.max_runs) == ("1", 1, 10, 50, 50)
    assert (plan.statistic, plan.warmup_ms, plan.min_timed_ms) == ("mean", 0, 0)
    assert "  mean  " in out
    assert "1 thread on one-little cores (mask 1)" in " ".join(out.split())
