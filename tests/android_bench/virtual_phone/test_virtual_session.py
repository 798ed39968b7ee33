"""A session on a virtual phone: exact, equal in every launch and in both ways, and never called latency."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from android_bench.adb.choose import Wish, find_phone
from android_bench.cli import main
from android_bench.errors import BenchError, MissingToolError
from android_bench.native_install import install_runner
from android_bench.profiles import load_profile
from android_bench.records import Instructions, Predictions, RunPlan
from android_bench.virtual_phones import switched_on
from android_bench.virtual_session import CountedBy, count_instructions, document, measure_virtual, table
from tests.android_bench.pocket_toys import NEEDS_RUNNER

PLAN = RunPlan(timeout_s=120)
BY = CountedBy(
    engine_sha256="e",
    runner_sha256="r",
    emulator="qemu 7.2",
    emulated_cpu="cortex-a57",
    counter_sha256="c",
    processor_sha256="p",
    delegate="xnnpack",
    threads=1,
)


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> dict[str, str]:
    """The environment of a user with a key of their own, and no adb server."""
    home = tmp_path_factory.mktemp("user")
    return {
        "PATH": os.environ["PATH"],
        "ANDROID_USER_HOME": str(home / ".android"),
        "XDG_RUNTIME_DIR": str(home),
        "ANDROID_ADB_SERVER_PORT": "1",
    }


OPTIONS = ("--cores", "little", "--per-op")


def launch(cache, keys, bundles, name="virtual-pixel1", way=None, shell="pocket"):
    """What each model was counted at, on a phone that was switched on for it."""
    with (
        switched_on(name, cache, keys, way=way, shell=shell) as there,
        find_phone(Wish(profile=load_profile(name), connect=there.address), keys) as phone,
    ):
        installed = install_runner(phone, cache, ("glibc",))
        phone.use_runner(installed.command)
        return [count_instructions(phone, bundle, PLAN, installed.facts) for bundle in bundles]


@pytest.fixture(scope="module")
def installed(cache, keys):
    """A virtual Pixel 1 with its runner, and the facts of it."""
    with (
        switched_on("virtual-mi5", cache, keys) as there,
        find_phone(Wish(connect=there.address), keys) as phone,
    ):
        made = install_runner(phone, cache, ("glibc",))
        phone.use_runner(made.command)
        yield phone, made.facts


@pytest.mark.usefixtures("needs")
class TestWithEmulator:
    pytestmark = NEEDS_RUNNER

    @pytest.fixture
    def needs(self, cache):
        return cache

    def test_both_ways_count_the_same_instructions(self, cache, keys, bundles):
        try:
            enclosed = launch(cache, keys, bundles, way="enclosed")
        except MissingToolError as fault:
            pytest.skip(f"no namespaces here: {fault}")

        assert launch(cache, keys, bundles, way="overlaid") == enclosed

    def test_both_shells_count_the_same_instructions(self, cache, keys, bundles):
        try:
            system = launch(cache, keys, bundles, shell="system")
        except MissingToolError as fault:
            pytest.skip(str(fault))

        assert launch(cache, keys, bundles, shell="pocket") == system

    def test_launches_elsewhere_and_with_another_environment_count_the_same(
        self, cache, keys, bundles, tmp_path, monkeypatch
    ):
        first = launch(cache, keys, bundles)
        other = tmp_path / "some other cache with a long name"
        shutil.copytree(cache / "engines", other / "engines")
        shutil.copytree(cache / "native", other / "native")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("LANG", "C" * 3000)

        assert launch(other, keys, bundles) == first
        assert first[0].instructions.inference != first[1].instructions.inference

    def test_phones_tell_their_processors_apart(self, cache, keys, bundles):
        pixel, mi5 = (launch(cache, keys, bundles[:1], name)[0] for name in ("virtual-pixel1", "virtual-mi5"))

        [difference] = pixel.by.differences(mi5.by)
        assert difference.startswith("processor_sha256: ")

    def test_a_session_has_proof_counts_and_accuracy_and_no_time(self, installed, bundles):
        phone, facts = installed
        steps = []

        session = measure_virtual("virtual-mi5", phone, bundles, PLAN, facts, lambda: steps.append(1))
        lines, record = table(session), document(session)

        assert len(steps) == 4
        assert [one.failure for one in session.measurements] == [None, None]
        assert [len(one.predictions.ids) for one in session.measurements] == [
            len(bundle.evaluation().ids) for bundle in bundles
        ]
        assert lines[0].startswith("virtual-mi5 (emulated, instructions, not latency): MI 5")
        assert not [word for word in ("latency", " ms", "µs", "wall") if any(word in line for line in lines[1:])]
        assert record["emulated"] is True
        counts = record["measurements"][0]["instructions"]
        assert counts["inference"] == session.measurements[0].counted.instructions.inference
        assert counts["counted_by"]["emulated_cpu"] == "cortex-a57"
        json.dumps(record, allow_nan=False)

    def test_a_model_that_computes_something_else_fails_and_the_other_goes_on(self, installed, bundles, tmp_path):
        phone, facts = installed
        folder = shutil.copytree(bundles[1].folder, tmp_path / "wrong")
        np.save(folder / "golden_output.npy", bundles[1].golden()[1] + np.int8(2))
        wrong = replace(bundles[1], folder=folder)

        session = measure_virtual("virtual-mi5", phone, [bundles[0], wrong], PLAN, facts, lambda: None)
        good, bad = session.measurements

        assert good.failure is None
        assert good.counted
        assert bad.failure.kind == "golden"
        assert bad.counted is None
        assert "–" in table(session)[4]

    def test_a_phone_that_dies_in_mid_session_leaves_what_was_counted(self, cache, keys, bundles):
        served = subprocess.Popen(
            [sys.executable, "-m", "android_bench.cli", "phone", "serve", "virtual-pixel1"],
            env={**os.environ, **keys, "XDG_CACHE_HOME": str(cache.parent)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        with served:
            address = served.stdout.readline().split()[3].rstrip(",")
            with find_phone(Wish(connect=address), keys) as phone:
                made = install_runner(phone, cache, ("glibc",))
                phone.use_runner(made.command)
                session = measure_virtual("virtual-pixel1", phone, bundles, PLAN, made.facts, served.kill)
        first, second = session.measurements

        assert first.counted
        assert (first.failure.kind, second.failure.kind, second.counted) == ("device", "device", None)
        assert first.predictions is None
        assert f"{first.bundle.name} failed (device): " in "\n".join(table(session))

    def test_more_threads_are_refused(self, installed, bundles):
        phone, facts = installed

        with pytest.raises(BenchError, match="counted for one thread, not 2"):
            count_instructions(phone, bundles[0], replace(PLAN, threads=2), facts)

    def test_the_bench_does_it_all(self, cache, keys, exports, tmp_path, monkeypatch, capsys):
        for name, value in keys.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent))
        monkeypatch.chdir(tmp_path)

        code = main(
            ["--device", "virtual-pixel1", "--exports", str(exports), "--output", "out", "--json", "-", *OPTIONS]
        )

        record = json.loads(capsys.readouterr().out)
        assert code == 0
        assert record == json.loads(Path("out/instructions.json").read_text())
        assert record["title"] == "emulated, instructions, not latency"
        assert record["runner"]["way"] in ("enclosed", "overlaid")
        assert "emulated" in Path("out/report.txt").read_text()
        assert "--cores changed nothing: every core counts the same" in record["concerns"]
        operators = record["measurements"][0]["operators"]
        assert operators["whole"] == operators["beside"] + sum(each["instructions"] for each in operators["operators"])
        assert "the engine and its profiler" in Path("out/report.txt").read_text()
        assert main(["doctor", "--device", "virtual-pixel1"]) == 0
        assert "Pixel (sailfish)" in capsys.readouterr().out


def test_counts_by_other_means_are_not_compared():
    assert BY.differences(BY) == ()
    assert BY.differences(replace(BY, emulator="qemu 8.2", processor_sha256="q")) == (
        "emulator: qemu 7.2 and qemu 8.2",
        "processor_sha256: p and q",
    )


def test_a_table_does_not_compare_what_cannot_be_compared(bundles):
    from android_bench.records import DeviceContext
    from android_bench.virtual_session import Counted, VirtualMeasurement, VirtualSession

    counts = Instructions(init=3, first=2, inference=1000, runs=5)
    answers = Predictions(ids=("a", "b"), predicted=(0, 1), expected=(0, 0))
    context = DeviceContext(
        kind="phone",
        model="Pixel",
        fingerprint="f",
        cpu_count=4,
        max_frequency_khz=1,
        clocks_locked="unknown",
        memory_total_kb=1,
        stands_for="",
    )
    measurements = tuple(
        VirtualMeasurement(
            bundle=bundle,
            counted=Counted(instructions=counts, by=replace(BY, emulator=bundle.name)),
            predictions=answers,
        )
        for bundle in bundles
    )
    session = VirtualSession(
        device="virtual-pixel1",
        context=context,
        facts={},
        started_utc="2026-01-01T00:00:00Z",
        measurements=measurements,
        interrupted=True,
    )

    text = "\n".join(table(session))

    assert "against float32: not comparable (emulator: " in text
    assert "50.0%" in text
    assert "interrupted: what is missing was not measured" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--threads", "2"], "virtual-pixel1 counts instructions, exactly for one thread only; leave --threads out"),
        (
            ["--runner", "benchmark_model", "--runner-path", "x"],
            "virtual-pixel1 counts the instructions of our own runner; leave --runner out",
        ),
        (["--cores", "10"], "--cores 10: virtual-pixel1 has CPUs 0 to 3"),
        (["--cores", "biggest"], "--cores biggest: expected big, little"),
    ],
)
def test_what_a_virtual_phone_does_not_do_it_says(exports, capsys, words, message):
    assert main(["--device", "virtual-pixel1", "--exports", str(exports), *words]) == 2
    assert message in capsys.readouterr().err


def test_a_dry_run_says_what_would_be_done_and_switches_nothing_on(exports, cache, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent))

    try:
        code = main(["--device", "virtual-pixel1", "--exports", str(exports), "--dry-run", "--per-op"])
    finally:
        seen = capsys.readouterr()
    if code == 4:
        pytest.skip(f"no runner for arm64 here: {seen.err}")

    lines = seen.out.splitlines()
    assert code == 0
    assert [line.partition("stages=")[2].split()[0] for line in lines if "stages=" in line] == [
        *("golden,count",) * 2,
        *("golden,operators",) * 2,
        *("golden,eval",) * 2,
    ]
    assert any(line.startswith("push ") and line.endswith("/runner") for line in lines)
    assert not (cache / "virtual" / "virtual-pixel1" / "state.json").exists()


@pytest.mark.parametrize("device", ["host", "pixel1"])
def test_operators_are_counted_on_virtual_phones_only(exports, capsys, device):
    assert main(["--device", device, "--exports", str(exports), "--per-op"]) == 2
    assert f"{device} has none to count: take a virtual phone" in capsys.readouterr().err
