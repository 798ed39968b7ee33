"""The phones' engine without a phone: what it computes and refuses, and what it says where it cannot be asked."""

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from android_bench import engine_check
from android_bench.engine_check import Proof, find_engine_check
from android_bench.errors import GoldenMismatchError, MissingToolError, RunnerError
from android_bench.native_install import Installation
from tests.android_bench.arm64_phone import NEEDS_ARM64


def proof_of(bundle, **changes):
    golden_input, golden_output = bundle.golden()
    fields = {
        "name": bundle.name,
        "precision": bundle.precision,
        "model": bundle.model.read_bytes(),
        "inputs": bundle.inputs,
        "outputs": bundle.outputs,
        "golden_input": golden_input,
        "golden_output": golden_output,
    }
    return Proof(**(fields | changes))


def with_operator_version(model: bytes, version: int) -> bytes:
    loaded = schema.ModelT.InitFromPackedBuf(model, 0)
    for code in loaded.operatorCodes:
        code.version = version
    builder = flatbuffers.Builder(1024)
    builder.Finish(loaded.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.fixture(scope="module")
def engine(cache):
    return find_engine_check(cache)


class TestUnderEmulation:
    pytestmark = NEEDS_ARM64

    def test_it_computes_what_this_computer_computes(self, engine, bundles):
        answers = [engine.prove(proof_of(bundle)) for bundle in bundles]

        assert [(each.unit, each.bound) for each in answers] == [("relative", 1e-4), ("lsb", 1.0)]
        assert all(each.max_error <= each.bound for each in answers)
        assert answers[0].engine.startswith("TensorFlow Lite 2.")

    def test_an_operator_of_a_later_version_is_refused_in_the_engines_words(self, engine, bundles):
        model = with_operator_version(bundles[0].model.read_bytes(), 99)

        with pytest.raises(RunnerError, match=r"FULLY_CONNECTED.*version '99'"):
            engine.prove(proof_of(bundles[0], model=model))

    def test_another_function_is_a_mismatch(self, engine, bundles):
        wrong = proof_of(bundles[1], golden_output=bundles[1].golden()[1] + np.int8(2))

        with pytest.raises(GoldenMismatchError, match="toy-int8: the outputs differ"):
            engine.prove(wrong)


def test_without_an_emulator_it_says_what_to_install(tmp_path):
    with pytest.raises(MissingToolError, match=r"qemu-aarch64 is not here\. .*apt-get install qemu-user"):
        find_engine_check(tmp_path, which=lambda _: None)


def test_without_an_engine_it_says_how_to_get_it(tmp_path):
    with pytest.raises(MissingToolError, match="get it with: tkd-bench engine fetch"):
        find_engine_check(tmp_path, which=lambda _: "/bin/true")


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo Exec format error >&2; exit 126", r"exit code 126\): Exec format error"),
        ("exit 0", r"exit code 0\): it said nothing"),
        ("echo hello", "does not run under emulation here: line 1 of the runner is no JSON"),
    ],
)
def test_an_emulator_that_does_not_start_the_runner_is_none(tmp_path, monkeypatch, script, message):
    emulator = tmp_path / "qemu"
    emulator.write_text(f"#!/bin/sh\n{script}\n")
    emulator.chmod(0o755)
    installed = Installation(command=("runner",), facts={"engine_sha256": "e" * 64})
    monkeypatch.setattr(engine_check, "install_runner", lambda *_: installed)

    with pytest.raises(MissingToolError, match=message):
        find_engine_check(tmp_path, which=lambda _: str(emulator))
