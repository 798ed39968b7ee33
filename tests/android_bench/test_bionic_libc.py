"""The runner for Android, built without the NDK, on Android's own libc.so: no stand-in.

Wants PyPI's `emulite`, which brings that libc and an emulator of Android's userland (90 MB, so not among the tests'
own packages), and for the model an Android build of the engine in the user's cache. Its times are no latency.
"""

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from android_bench import native_build
from android_bench.elf import read_elf
from android_bench.engine import cache_folder, cached_engines
from android_bench.native_build import TOOLCHAINS, build
from android_bench.runner import parse_lines

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("emulite") is None, reason="emulite is not installed (pip install emulite)"),
]
HERE = Path(__file__).parent
CPU_FOLDER = "/sys/devices/system/cpu"
BARE = [pytest.param(row, id=row.name) for row in TOOLCHAINS if row.target == "bionic" and row.bare]


@pytest.fixture
def android(tmp_path) -> Path:
    """The files of the emulated system, with a processor of four cores."""
    spec = find_spec("emulite")
    assert spec is not None
    assert spec.origin is not None
    root = tmp_path / "android"
    shutil.copytree(Path(spec.origin).parent / "rootfs" / "android", root)
    for name, text in (("kernel_max", "3"), ("possible", "0-3"), ("present", "0-3")):
        (tmp_path / name).write_text(text + "\n")
    return root


def run(android: Path, program: Path, *words: str, files: dict[str, Path] | None = None):
    """Exit code and lines of the runner."""
    nodes = {f"{CPU_FOLDER}/{name}": android.parent / name for name in ("kernel_max", "possible", "present")}
    mapped = [f"{guest}={host}" for guest, host in {**nodes, **(files or {})}.items()]
    command = [sys.executable, "-W", "ignore", HERE / "android_userland.py", android, program, *mapped, "--", *words]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    lines = [line for line in result.stdout.splitlines() if line.startswith('{"event"')]
    assert lines, result.stderr[-2000:]
    return result.returncode, parse_lines("\n".join(lines))


@pytest.mark.parametrize("row", BARE)
def test_it_starts_speaks_and_ends_on_androids_own_libc(android, tmp_path, row):
    if row.find({"PATH": "/usr/bin:/bin:/usr/local/bin"}) is None:
        pytest.skip(f"{row.package} is not here")
    program = build("bionic", tmp_path / "cache", toolchains=[row]).path

    refused, told = run(android, program, "stages=nap")
    code, lines = run(android, program, "stages=probe")

    assert (refused, told[0]["stage"]) == (2, "arguments")
    assert (code, [line["event"] for line in lines]) == (0, ["hello", "probe", "done"])
    assert lines[0]["runner"] == "native-bionic"
    assert len(lines[0]["processor_sha256"]) == 64


@pytest.mark.parametrize("row", BARE)
def test_it_links_with_androids_own_libraries_too(android, tmp_path, row, monkeypatch):
    if row.find({"PATH": "/usr/bin:/bin:/usr/local/bin"}) is None:
        pytest.skip(f"{row.package} is not here")
    real = tuple(str(android / "system/lib64" / name) for name in ("libc.so", "libdl.so"))
    monkeypatch.setattr(native_build, "_stub_libraries", lambda _command, _folder: real)

    program = read_elf(build("bionic", tmp_path / "cache", toolchains=[row]).path.read_bytes())

    assert (program.needed, program.libc) == (("libc.so", "libdl.so"), "bionic")


@pytest.mark.parametrize("which", [0, 1])
def test_a_model_is_proven_with_androids_own_build_of_the_engine(android, tmp_path, bundles, which):
    engines = cached_engines(cache_folder(), ["bionic"])
    if not engines:
        pytest.skip("no Android build of the engine is in the cache (tkd-bench engine import FILE)")
    shutil.copyfile(engines[0].path, android / "system/lib64" / engines[0].path.name)
    bundle = bundles[which]
    there = {
        "model": bundle.model,
        "golden_input": bundle.folder / "golden_input.npy",
        "golden_output": bundle.folder / "golden_output.npy",
        "eval_inputs": bundle.folder / "eval_inputs.npy",
    }
    program = build("bionic", tmp_path / "cache").path

    words = [f"{key}=/data/local/tmp/{key}" for key in there]
    files = {f"/data/local/tmp/{key}": path for key, path in there.items()}
    code, lines = run(android, program, f"engine={engines[0].path.name}", "stages=golden,eval", *words, files=files)
    by_event = {line["event"]: line for line in lines}

    assert code == 0
    assert by_event["golden"]["ok"] is True
    assert by_event["init"]["delegated_nodes"] >= 1
    assert len(by_event["eval"]["outputs"]) == len(bundle.evaluation().ids)
