"""The native runner on arm64, under emulation: the whole way from an exported student to records.

What these tests need is named when it is missing: a compiler for arm64, QEMU's user emulation, the engine.
"""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from android_bench.engine import PIN, cache_folder, cached_engines, fetch_engine
from android_bench.errors import GoldenMismatchError, MissingToolError, RunnerError
from android_bench.native_build import SOURCES, TOOLCHAINS, build
from android_bench.native_install import install_runner, loader_libraries, ticking_runner
from android_bench.records import RunPlan
from android_bench.runner import (
    BlockPlace,
    parse_lines,
    run_block,
    run_instructions,
    run_memory,
    run_operators,
    run_predictions,
    run_profile,
)
from tests.android_bench.arm64_machine import SYSROOT, Arm64Machine
from tests.android_bench.bench_toys import outputs_of
from tests.android_bench.stream_toys import write_toy_stream

QUICK = RunPlan(warmup_ms=1, min_timed_ms=1, min_runs=5, max_runs=50, memory_runs=3, timeout_s=120)
PLACE = BlockPlace(index=0, order=0, started_utc="2026-01-01T00:00:00Z", load_1min=0.0)
# The static build of the emulator takes no plugins; for everything else either will do.
EMULATORS = [name for name in ("qemu-aarch64", "qemu-aarch64-static") if shutil.which(name)]

pytestmark = [
    pytest.mark.skipif(not EMULATORS, reason="qemu-aarch64 is not here (Debian: qemu-user)"),
    pytest.mark.skipif(not SYSROOT.is_dir(), reason="no arm64 libraries (Debian: libstdc++6-arm64-cross)"),
    pytest.mark.skipif(not shutil.which("aarch64-linux-gnu-gcc"), reason="no gcc-aarch64-linux-gnu is here"),
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """A cache with the pinned engine: a copy of the user's, or fetched through pip."""
    folder = tmp_path_factory.mktemp("cache")
    ours = [engine for engine in cached_engines(cache_folder(), ["glibc"]) if engine.pinned]
    if ours:
        shutil.copytree(ours[0].path.parent, folder / "engines" / "glibc")
        return folder
    try:
        fetch_engine(folder)
    except MissingToolError as fault:
        pytest.skip(f"no engine for arm64: {fault}")
    return folder


@pytest.fixture(scope="module")
def machine(cache, tmp_path_factory) -> Arm64Machine:
    """An emulated phone with the runner on it."""
    phone = Arm64Machine(tmp_path_factory.mktemp("phone"), EMULATORS[0])
    phone.runner = install_runner(phone, cache).command
    return phone


@pytest.fixture(scope="module")
def counting(machine, cache) -> Arm64Machine:
    """The same, under an emulator that counts instructions."""
    if "qemu-aarch64" not in EMULATORS:
        pytest.skip("qemu-aarch64 with plugins is not here (Debian: qemu-user)")
    counter = build("counter", cache)
    phone = Arm64Machine(machine.folder, "qemu-aarch64", "-plugin", f"file={counter.path}")
    phone.runner = machine.runner
    return phone


@pytest.fixture(scope="module")
def ticking(counting, cache) -> Arm64Machine:
    """The same, with the runner that counts operators."""
    phone = Arm64Machine(counting.folder)
    phone.emulator = counting.emulator
    phone.runner = ticking_runner(phone, cache, counting.runner)
    return phone


@pytest.fixture(scope="module")
def students(tmp_path_factory):
    """TC-ResNet8 from the packaged starter checkpoint, float32 and int8, exported over a small synthetic corpus."""
    pytest.importorskip("torch")
    pytest.importorskip("espeakng_loader")
    from converters.parity import ParityGates
    from tests.tkd.conftest import CORPUS_SETTINGS, silent
    from tkd.audio.features import FEATURES
    from tkd.data.synth import make_corpus
    from tkd.export.bundles import Gates, Wanted, export_student
    from tkd.export.choose import choose_checkpoint
    from tkd.export.material import Amounts, load_material

    folder = tmp_path_factory.mktemp("starter")
    make_corpus(folder / "corpus", CORPUS_SETTINGS, jobs=2, advance=lambda _: None)
    choice = choose_checkpoint("tcresnet8", None, folder / "no-runs")
    amounts = Amounts(calibration=128)
    material = load_material(folder / "corpus", choice.checkpoint.spec, FEATURES["tcresnet-paper"], amounts, silent)
    gates = Gates(parity=ParityGates(int8_sqnr_db=15.0, int8_top1_agreement=0.0), max_accuracy_drop=100.0)
    return export_student(choice, material, gates, folder / "exports", Wanted(precisions=("int8",))).bundles


def rows_of(machine: Arm64Machine, bundle, delegate: str) -> np.ndarray:
    """What the device answered for the evaluation pack, shape (clips, classes)."""
    arguments = {
        "model": machine.push(bundle.model),
        "stages": "eval",
        "eval_inputs": machine.push(bundle.folder / "eval_inputs.npy"),
        "delegate": delegate,
    }
    result = machine.run((*machine.runner, *(f"{key}={value}" for key, value in arguments.items())), 120)
    assert (
        result.exit_code,
        result.stderr.replace("INFO: Created TensorFlow Lite XNNPACK delegate for CPU.", "").strip(),
    ) == (0, "")
    return np.array([row for line in parse_lines(result.stdout) if line["event"] == "eval" for row in line["outputs"]])


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("delegate", ["xnnpack", "none"])
def test_a_student_answers_its_whole_pack_as_on_the_host(machine, students, which, delegate):
    bundle = students[which]
    expected = outputs_of(bundle.model.read_bytes(), bundle.evaluation().inputs)

    seen = rows_of(machine, bundle, delegate)
    error = np.abs(seen - expected.astype(np.float64)).max()

    assert seen.shape == expected.shape
    assert error <= (1 if bundle.precision == "int8" else 1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("which", [0, 1])
def test_a_student_becomes_a_block_with_proof_and_samples(machine, students, which):
    block, facts = run_block(machine, students[which], QUICK, PLACE)

    assert facts.hello["runner"] == "native-glibc"
    assert "libLiteRtRuntimeCApi.so" in facts.hello["engine"]
    assert len(facts.hello["processor_sha256"]) == 64
    assert facts.init["delegated_nodes"] == 1
    assert 5 <= len(block.samples_ns) <= 50
    assert block.golden_error <= (1 if block.golden_unit == "lsb" else 1e-4)


def test_predictions_and_memory_come_from_the_same_runner(machine, students):
    bundle = students[1]
    pack = bundle.evaluation()

    predictions = run_predictions(machine, bundle, QUICK)
    memory = run_memory(machine, bundle, QUICK)

    assert predictions.predicted == tuple(outputs_of(bundle.model.read_bytes(), pack.inputs).argmax(axis=1))
    assert predictions.ids == pack.ids
    assert 0 < memory.start_kb <= memory.init_kb <= memory.peak_kb


def test_a_profile_has_a_row_per_operator(machine, students):
    rows = run_profile(machine, students[1], QUICK)

    assert sum("Convolution" in row.name for row in rows) >= 9
    assert {row.calls for row in rows} == {rows[0].calls}


def test_instructions_are_the_same_in_every_launch_and_fewer_in_int8(counting, students):
    counts = [[run_instructions(counting, bundle, QUICK)[0] for bundle in students] for _ in range(2)]
    float32, int8 = counts[0]

    assert counts[0] == counts[1]
    assert int8.inference < float32.inference < float32.init
    assert int8.runs == 5


def test_instructions_of_operators_add_up_to_those_of_the_inference(counting, ticking, students):
    counts = [run_operators(ticking, bundle, QUICK) for bundle in (*students, students[0])]
    inference = [run_instructions(counting, bundle, QUICK)[0].inference for bundle in students]

    assert counts[0] == counts[2]
    for seen, whole in zip(counts, inference, strict=False):
        inside = sum(each.instructions for each in seen.operators)
        assert seen.whole == inside + seen.beside > whole
        assert inside == pytest.approx(whole, rel=0.01)
        assert sum("Convolution" in each.name for each in seen.operators) >= 9


def test_an_emulator_without_the_plugin_is_an_error(machine, bundles):
    with pytest.raises(RunnerError, match="counted by the build with -DTKD_TICKS"):
        run_operators(machine, bundles[0], QUICK)
    with pytest.raises(RunnerError, match="expected 1, 1 and 5: was it started with the plugin counter"):
        run_instructions(machine, bundles[0], QUICK)


def test_a_model_that_computes_something_else_is_a_golden_mismatch(machine, bundles, tmp_path):
    folder = shutil.copytree(bundles[1].folder, tmp_path / "wrong")
    np.save(folder / "golden_output.npy", bundles[1].golden()[1] + np.int8(2))

    with pytest.raises(GoldenMismatchError, match="differ from the golden ones by 2 lsb"):
        run_block(machine, replace(bundles[1], folder=folder), QUICK, PLACE)


def test_a_core_mask_is_where_the_runner_runs(machine, bundles):
    block, facts = run_block(machine, bundles[0], replace(QUICK, core_mask="1"), PLACE)

    assert facts.hello["affinity"] == "1"
    assert block.samples_ns


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x1c\0\0\0TFL3" + bytes(64)])
def test_what_is_no_model_is_refused_by_the_real_engine(machine, bundles, tmp_path, content):
    folder = shutil.copytree(bundles[0].folder, tmp_path / "damaged")
    (folder / "model.tflite").write_bytes(content)

    with pytest.raises(RunnerError, match=r"exit code 4\): the engine refused .*model\.tflite: \w+"):
        run_block(machine, replace(bundles[0], folder=folder), QUICK, PLACE)


def test_an_installation_names_what_it_is_and_carries_its_loader(machine, cache, tmp_path):
    installed = install_runner(Arm64Machine(tmp_path, EMULATORS[0]), cache)

    assert installed.command[0].endswith("/ld-linux-aarch64.so.1")
    assert installed.facts["engine_source"] == PIN.wheel
    assert (installed.facts["engine_libc"], installed.facts["engine_pinned"]) == ("glibc", True)
    assert {"libc.so.6", "libstdc++.so.6", "libgcc_s.so.1", "runner"} <= {path.name for path in tmp_path.iterdir()}


def test_missing_arm64_libraries_name_their_packages(cache, tmp_path):
    engine = cached_engines(cache)[0]

    with pytest.raises(MissingToolError, match="Debian and Ubuntu have it in: libc6-arm64-cross"):
        loader_libraries(engine, tmp_path, folders=[tmp_path])


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=row.name) for row in TOOLCHAINS if row.target == "bionic" and row.bare]
)
def test_androids_build_runs_with_a_stand_in_for_its_libc(machine, cache, bundles, tmp_path, row):
    """No phone and no bionic are here: stand_in_libc.c gives its start and errno over glibc, the rest is glibc's."""
    if row.find({"PATH": shutil.os.environ["PATH"]}) is None:
        pytest.skip(f"{row.package} is not here")
    runner = build("bionic", tmp_path / "cache", toolchains=[row]).path
    stand_in = Path(__file__).parent / "stand_in_libc.c"
    for name in ("libc.so", "libdl.so"):
        command = ["aarch64-linux-gnu-gcc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(tmp_path / name)]
        subprocess.run([*command, str(stand_in)], check=True, timeout=60)
    loader, option, folders, _, engine = machine.runner
    phone = Arm64Machine(machine.folder, EMULATORS[0])
    phone.runner = (loader, option, f"{tmp_path}:{folders}", str(runner), engine)

    block, facts = run_block(phone, bundles[1], QUICK, PLACE)

    assert facts.hello["runner"] == "native-bionic"
    assert block.golden_error <= 1


def test_the_sources_need_no_header_of_a_framework():
    includes = {line for path in SOURCES.glob("*.[ch]") for line in path.read_text().splitlines() if "#include" in line}

    assert not [line for line in includes if "tensorflow" in line or "litert" in line]


def test_a_stream_is_proven_hop_by_hop_and_one_hop_is_counted(counting, tmp_path):
    counted, facts = run_instructions(counting, write_toy_stream(tmp_path), QUICK)

    assert counted.inference > 0
    assert facts.init["states"] == 1
