"""The whole path on an emulated phone: adb's bytes, the native runner, the real engine. Emulated: no latency."""

import shutil
from pathlib import Path

import pytest

from android_bench.engine import cache_folder, cached_engines, fetch_engine
from android_bench.errors import MissingToolError
from android_bench.session_file import read_session
from tests.android_bench.arm64_phone import NEEDS, Arm64Phone
from tests.android_bench.bench_toys import outputs_of
from tests.android_bench.scripted_phone import bench

pytestmark = NEEDS


@pytest.fixture
def phone(tmp_path, monkeypatch):
    """The phone, a cache with the pinned engine, an empty folder to work in."""
    ours = [engine for engine in cached_engines(cache_folder(), ["glibc"]) if engine.pinned]
    cache = tmp_path / "cache" / "tkd"
    if ours:
        shutil.copytree(ours[0].path.parent, cache / "engines" / "glibc")
    else:
        try:
            fetch_engine(cache)
        except MissingToolError as fault:
            pytest.skip(f"no engine for arm64: {fault}")
    (tmp_path / "phone").mkdir()
    made = Arm64Phone(tmp_path / "phone")
    for name, value in {
        "ADB_SERVER_SOCKET": "tcp:127.0.0.1:1",
        "HOME": str(made.home),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "XDG_RUNTIME_DIR": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return made


def test_float_and_int8_go_the_whole_way(phone, exports, bundles, capsys):
    words = ("--exports", exports, "--output", "out", "--preset", "tcresnet-paper", "--blocks", "1", "-q")
    with phone.daemon() as daemon:
        code = bench(daemon, "--device", "pixel1", *words)
    out = " ".join(capsys.readouterr().out.split())
    session = read_session(Path("out/session.json"))

    assert code == 0
    assert out.startswith("pixel1 · native-glibc (emulated, free clocks): Pixel, 2 CPUs, 1 thread on one-little cores")
    assert "EMULATED Pixel, Android 10: its times are no latency" in out
    assert "not clean: EMULATED" in out
    assert "glibc's build with its own loader" in out
    assert (session.context.emulated, session.runner["affinity"], session.plan.core_mask) == (True, "1", "1")
    assert session.runner["cores_taken"] is True
    for bundle, item in zip(bundles, session.measurements, strict=True):
        (block,) = item.blocks
        expected = outputs_of(bundle.model.read_bytes(), bundle.evaluation().inputs).argmax(axis=1)
        assert item.predictions.predicted == tuple(expected)
        assert (block.warmup_runs, len(block.samples_ns)) == (10, 50)
        assert block.golden_error <= (1 if block.golden_unit == "lsb" else 1e-4)
        assert item.memory.peak_kb > 0
    # Runner, engine and libraries stay for the next session; models and what they were asked do not.
    names = {path.name for path in phone.ours.rglob("*") if path.is_file()}
    assert {"runner", "libLiteRtRuntimeCApi.so", "ld-linux-aarch64.so.1", "libc.so.6"} <= names
    assert not [name for name in names if name.endswith((".tflite", ".npy", ".part"))]


@pytest.mark.slow
def test_a_runner_that_is_killed_is_an_error_and_the_phone_is_left_clean(phone, exports, capsys):
    phone.before_runner = "(sleep 2; kill -9 $$) >/dev/null 2>&1 &"
    words = (exports / "toy-int8", "--output", "out", "--blocks", "3", "--warmup-ms", "60000", "--gate-wait-s", "0")
    with phone.daemon() as daemon:
        code = bench(daemon, *words, "-q")
    out = " ".join(capsys.readouterr().out.split())

    assert code == 4
    assert "it was ended by signal 9" in out
    assert not [path for path in phone.ours.rglob("*") if path.suffix in (".tflite", ".npy")]
