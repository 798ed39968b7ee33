"""The Kotlin module of a bundle: complete, filled in, never over someone's work, and compiled where a compiler is."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from converters.bundle import Bundle
from converters.command_line import ExitCode
from converters.files import sha256_of
from converters.metadata import read_metadata
from converters.parity import ParityGates
from converters.runners import run_tflite
from converters.stream_bundle import StreamBundle
from converters.stream_runners import TfliteStream
from tests.tkd.conftest import silent
from tkd.audio.features import FEATURES
from tkd.checkpoint import read_checkpoint, write_checkpoint
from tkd.cli.export import main
from tkd.errors import SettingsError
from tkd.export.android import write_module
from tkd.export.bundles import Gates, Wanted, export_student
from tkd.export.choose import Choice
from tkd.export.material import Amounts, load_material
from tkd.export.streams import export_stream
from tkd.students import build_student

LOOSE = Gates(parity=ParityGates(int8_sqnr_db=15.0, int8_top1_agreement=0.0), max_accuracy_drop=100.0)
STAND_INS = Path(__file__).parent / "android_stand_ins"
JUNIT = [Path("/usr/share/java") / name for name in ("junit4.jar", "hamcrest-core.jar")]
SOURCES = "src/main/kotlin/tkd/keywords"


def _bundles(trained_run: Path, corpus: Path, output: Path, wanted: Wanted) -> tuple[Bundle, ...]:
    choice = Choice(checkpoint=read_checkpoint(trained_run / "student.safetensors"), reason="as told")
    amounts = Amounts(calibration=48, pack=24)
    material = load_material(corpus, choice.checkpoint.spec, FEATURES["tcresnet-paper"], amounts, silent)
    return export_student(choice, material, LOOSE, output, wanted).bundles


@pytest.fixture(scope="module")
def bundles(trained_run: Path, spoken_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    output = tmp_path_factory.mktemp("exports")
    made = _bundles(trained_run, spoken_corpus, output, Wanted(precisions=("int8",), input="waveform"))
    features = _bundles(trained_run, spoken_corpus, output, Wanted())
    return {bundle.precision: bundle for bundle in made} | {"features": features[0]}


@pytest.fixture(scope="module")
def streams(
    trained_run: Path, spoken_corpus: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, StreamBundle]:
    """LSTM-P, whose int8 form has float logits, with weights that nobody trained."""
    folder = tmp_path_factory.mktemp("streams")
    like = read_checkpoint(trained_run / "student.safetensors").spec
    torch.manual_seed(0)
    student = build_student("lstm-p-reduced", 20, len(like.labels))
    spec = replace(like, name="lstm-p-reduced", features=FEATURES["kws-streaming"].to_dict())
    write_checkpoint(folder / "student.safetensors", spec, student.state_dict())
    choice = Choice(checkpoint=read_checkpoint(folder / "student.safetensors"), reason="as told")
    amounts = Amounts(calibration=12, pack=12)
    material = load_material(spoken_corpus, spec, FEATURES["kws-streaming"], amounts, silent)
    wanted = Wanted(precisions=("int8",), input="waveform")
    return {each.precision: each for each in export_stream(choice, material, LOOSE, folder, wanted).bundles}


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_streams_file_says_by_itself_how_it_goes_on(streams: dict[str, StreamBundle], precision: str) -> None:
    told = read_metadata(streams[precision].model)
    assert told is not None
    assert told.labels == streams[precision].labels
    assert "Run hop by hop" in told.description
    assert told.documents["front_end.json"]["in_graph"]
    states = {(each["past"], each["next"]) for each in told.documents["stream.json"]["states"]}
    assert states == {(each.past.name, each.output) for each in streams[precision].states}


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_module_of_a_stream_knows_its_states_by_name_and_its_hop(
    streams: dict[str, StreamBundle], precision: str, tmp_path: Path
) -> None:
    bundle = streams[precision]
    write_module(tmp_path / "module", bundle)

    settings = (tmp_path / "module" / SOURCES / "Settings.kt").read_text(encoding="utf-8")
    facts = dict(re.findall(r"const val (\w+) = (\S+)", settings))
    assert facts["HOP_SAMPLES"] == str(bundle.hop.samples) == "320"
    assert facts["WARM_UP_HOPS"] == "0"
    assert facts["SMOOTHED_HOPS"] == "5"
    assert facts["GOLDEN_SHARE"] == {"float32": "0.0001f", "int8": "0.02f"}[precision]
    assert float(facts["THRESHOLD"].rstrip("f")) == round(bundle.document["accuracy"]["threshold"], 3)
    told = re.findall(r'StateFacts\("(\w+)", "(\w+)", bytes = (\d+), zero = (-?\d+)\)', settings)
    assert {(past, following) for past, following, _, _ in told} == {
        (each.past.name, each.output) for each in bundle.states
    }
    stored = TfliteStream(bundle.model)
    sizes = {each.name: np.zeros(each.shape, each.dtype).nbytes for each in stored.past.values()}
    assert {past: int(size) for past, _, size, _ in told} == sizes
    hops, logits = bundle.golden()
    golden = tmp_path / "module/src/androidTest/assets"
    assert (golden / "golden_input.bin").read_bytes() == hops.tobytes()
    assert (golden / "golden_output.bin").read_bytes() == logits.tobytes()
    assert not (tmp_path / "module" / SOURCES / "Window.kt").exists()
    readme = (tmp_path / "module" / "README.md").read_text(encoding="utf-8")
    assert f"each hop of 320 samples once, on one thread, with {len(bundle.states)} states" in readme


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_module_holds_the_model_its_facts_and_its_golden_vectors(
    bundles: dict[str, Bundle], precision: str, tmp_path: Path
) -> None:
    bundle = bundles[precision]
    write_module(tmp_path / "module", bundle)

    module = tmp_path / "module"
    assert sha256_of(module / "src/main/assets/keywords.tflite") == bundle.sha256
    golden_input, golden_output = bundle.golden()
    assert (module / "src/androidTest/assets/golden_input.bin").read_bytes() == golden_input.tobytes()
    assert (module / "src/androidTest/assets/golden_output.bin").read_bytes() == golden_output.tobytes()
    settings = (module / SOURCES / "Settings.kt").read_text(encoding="utf-8")
    facts = dict(re.findall(r"const val (\w+) = (\S+)", settings))
    assert (facts["SAMPLE_RATE_HZ"], facts["SAMPLES"], facts["HOP_SAMPLES"]) == ("16000", "16000", "4000")
    assert (facts["OUTPUT_IS_INT8"], facts["OUTPUT_BYTES"]) == (
        ("true", "1") if precision == "int8" else ("false", "4")
    )
    assert float(facts["OUTPUT_SCALE"][:-1]) == (bundle.outputs[0].scale or 1.0)
    assert float(facts["FROM_INT16"][:-1]) == 1 / 32_768
    assert 'listOf("_silence_", "_unknown_", "yes"' in settings


def test_nothing_is_left_to_fill_in_and_synthetic_speech_is_named(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    write_module(tmp_path / "module", bundles["int8"])
    texts = {
        path.name: path.read_text(encoding="utf-8")
        for path in (tmp_path / "module").rglob("*")
        if path.suffix in (".kt", ".kts", ".md", ".xml", ".in")
    }
    assert len(texts) == 13
    assert not [name for name, text in texts.items() if re.search(r"@[A-Z0-9_]+@", text)]
    assert "SYNTHETIC" in texts["README.md"]
    assert "SYNTHETIC" in texts["Settings.kt"]


def test_one_in_a_hundred_wrong_keywords_reaches_the_threshold(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    bundle = bundles["float32"]
    write_module(tmp_path / "module", bundle)
    settings = (tmp_path / "module" / SOURCES / "Settings.kt").read_text(encoding="utf-8")
    (threshold,) = re.findall(r"const val THRESHOLD = (\S+)f", settings)
    pack = bundle.evaluation()
    powers = np.exp(run_tflite(bundle.model, pack.inputs).astype(np.float64))
    wrong = powers / powers.sum(axis=1, keepdims=True)
    wrong[np.arange(len(wrong)), pack.labels] = 0
    assert (wrong[:, 2:].max(axis=1) > float(threshold)).mean() <= 0.05  # one clip of the 24 may
    assert 0.5 <= float(threshold) < 1


def test_a_module_is_written_anew_but_never_over_someones_work(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    module = tmp_path / "module"
    write_module(module, bundles["float32"])
    write_module(module, bundles["int8"])
    edited = module / SOURCES / "Detector.kt"
    edited.write_text(edited.read_text() + "// mine\n")
    with pytest.raises(
        SettingsError, match=r"was edited since it was written \(src/main/.*Detector.kt\); give --force"
    ):
        write_module(module, bundles["int8"])
    assert edited.read_text().endswith("// mine\n")
    write_module(module, bundles["int8"], force=True)
    assert not edited.read_text().endswith("// mine\n")


@pytest.mark.parametrize("there", [{}, {"module.json": "{"}, {"module.json": '{"format": "other/1", "files": {}}'}])
def test_a_folder_that_is_no_module_is_left_alone_even_by_force(
    bundles: dict[str, Bundle], tmp_path: Path, there: dict[str, str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    for name, text in there.items():
        (tmp_path / "mine" / name).write_text(text)
    with pytest.raises(SettingsError, match="give another folder"):
        write_module(tmp_path / "mine", bundles["int8"], force=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_a_bundle_that_takes_features_is_refused(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"takes features; .* give --input waveform"):
        write_module(tmp_path / "module", bundles["features"])
    assert not (tmp_path / "module").exists()


def test_the_command_says_it_before_it_works(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = ["--student", "tcresnet", "--runs", str(trained_run.parent), "--output", str(tmp_path / "exports")]
    assert main([*told, "--android", str(tmp_path / "module")]) == ExitCode.USAGE
    assert "give --input waveform with it" in capsys.readouterr().err
    (tmp_path / "mine").mkdir()
    assert main([*told, "--input", "waveform", "--android", str(tmp_path / "mine")]) == ExitCode.USAGE
    assert "is there and is no module of ours" in capsys.readouterr().err
    assert not (tmp_path / "exports").exists()


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which("kotlinc") and shutil.which("javac") and all(path.exists() for path in JUNIT)),
    reason="needs Debian's kotlin, a JDK and junit4",
)
@pytest.mark.parametrize(("form", "tests"), [("whole", ("Detector", "Window")), ("stream", ("Detector", "States"))])
def test_the_module_compiles_and_its_own_tests_pass(
    bundles: dict[str, Bundle], streams: dict[str, StreamBundle], form: str, tests: tuple[str, ...], tmp_path: Path
) -> None:
    write_module(tmp_path / "module", {"whole": bundles["int8"], "stream": streams["int8"]}[form])
    junit = ":".join(map(str, JUNIT))
    stand_ins, compiled = tmp_path / "stand_ins", tmp_path / "module.jar"

    def run(*command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("javac", "-cp", junit, "-d", str(stand_ins), *map(str, STAND_INS.rglob("*.java")))
    sources = sorted(map(str, (tmp_path / "module" / "src").rglob("*.kt")))
    run("kotlinc", *sources, "-cp", f"{stand_ins}:{junit}", "-include-runtime", "-d", str(compiled))
    names = [f"tkd.keywords.{name}Test" for name in tests]
    seen = run("java", "-cp", f"{compiled}:{stand_ins}:{junit}", "org.junit.runner.JUnitCore", *names)
    assert {"whole": "OK (5 tests)", "stream": "OK (8 tests)"}[form] in seen
