"""Several devices in one call: real processes, real transports; the phones' runner is a script."""

import json
import os
import signal
from dataclasses import asdict
from pathlib import Path

import pytest

from android_bench import native_build
from android_bench.cli import main
from android_bench.engine import cache_folder, import_engine
from android_bench.errors import BenchError
from android_bench.session_file import read_blocks, read_session
from android_bench.several import targets_of, worst
from converters.files import sha256_of
from tests.android_bench.elf_toys import elf_library
from tests.android_bench.phone_toys import PIXEL_PROPERTIES
from tests.android_bench.scripted_phone import QUICK, ScriptedPhone
from tests.android_bench.test_phone_session import when

MI5 = PIXEL_PROPERTIES.replace("sailfish", "gemini").replace("[Pixel]", "[MI 5]")


@pytest.fixture
def phones(tmp_path, monkeypatch):
    """A Pixel 1 and a Mi 5 that know one computer's key, and a cache from which each process installs the script."""
    made = []
    for name, properties in (("pixel", PIXEL_PROPERTIES), ("mi5", MI5)):
        (tmp_path / name).mkdir()
        made.append(ScriptedPhone(tmp_path / name))
        made[-1].write("recorded/getprop", properties)
    made[1].keys = made[0].keys
    for name, value in {
        "ADB_SERVER_SOCKET": "tcp:127.0.0.1:1",
        "ANDROID_SERIAL": "a-phone-that-is-not-meant",
        "HOME": str(made[0].home),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "XDG_RUNTIME_DIR": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    (tmp_path / "libtensorflowlite_jni.so").write_bytes(elf_library(needed=("libm.so", "libdl.so", "libc.so")))
    import_engine(cache_folder(), tmp_path / "libtensorflowlite_jni.so")
    keep_script(made[0].local_runner)
    return made


def keep_script(script: Path) -> None:
    """Puts the script into the cache as if it had been built."""
    source_sha256 = native_build._source_sha256(native_build.TARGETS["bionic"])
    folder = cache_folder() / "native" / f"bionic-{source_sha256[:16]}"
    folder.mkdir(parents=True)
    runner = folder / "runner"
    runner.write_bytes(script.read_bytes())
    runner.chmod(0o755)
    build = native_build.NativeBuild(
        path=runner,
        target="bionic",
        toolchain="a script",
        compiler="none",
        sha256=sha256_of(runner),
        source_sha256=source_sha256,
        seconds=0,
    )
    record = {"format": native_build.FORMAT, **asdict(build), "path": "runner"}
    (folder / "build.json").write_text(json.dumps(record))


def connect(*daemons):
    return [word for daemon in daemons for word in ("--connect", f"127.0.0.1:{daemon.port}")]


def test_two_phones_are_measured_at_once_with_a_document_each_and_one_table(phones, exports, capsys):
    with phones[0].daemon() as one, phones[1].daemon() as two:
        code = main([*connect(one, two), "--exports", str(exports), "--output", "out", "--blocks", "2", *QUICK])
    out = capsys.readouterr().out
    labels = [f"127.0.0.1_{daemon.port}" for daemon in (one, two)]

    assert code == 0
    assert [line.split()[:2] for line in out.splitlines() if line.startswith("toy-")] == [
        [model, label] for model in ("toy-float32", "toy-int8") for label in labels
    ]
    assert "wall-clock time on MI 5, Android 10, in a shell process, not in an app" in " ".join(out.split())
    record = json.loads(Path("out/devices.json").read_text())
    assert record["format"] == "tkd.bench_devices/1"
    assert [each["exit_code"] for each in record["devices"]] == [0, 0]
    for label in labels:
        session = read_session(Path("out") / label / "session.json")
        assert [len(item.blocks) for item in session.measurements] == [2, 2]
    assert "| toy-int8 | " in Path("out/report.md").read_text()
    assert [phone.names() for phone in phones] == [["libtensorflowlite_jni.so", "runner"]] * 2


def test_one_phone_by_two_addresses_is_measured_once(phones, exports, capsys):
    for phone in phones:
        phone.write("recorded/getprop", PIXEL_PROPERTIES + "[ro.serialno]: [FA6AB0302345]\n")
    phones[0].trouble(1, "sleep 8")
    phones[1].trouble(1, "sleep 8")
    with phones[0].daemon() as one, phones[1].daemon() as two:
        code = main([*connect(one, two), "--exports", str(exports), "--output", "out", "--blocks", "1", *QUICK])

    assert code == 4
    assert ": FA6AB0302345 is in use by another tkd-bench" in " ".join(capsys.readouterr().out.split())
    assert sorted(each["exit_code"] for each in json.loads(Path("out/devices.json").read_text())["devices"]) == [0, 4]


def test_ctrl_c_ends_all_of_them_and_the_session_goes_on(phones, exports, capsys):
    markers = []
    for phone in phones:
        markers.append(phone.root / "sleeping")
        phone.trouble(4, f"echo > {markers[-1]}; sleep 300")
    with phones[0].daemon() as one, phones[1].daemon() as two:
        words = [*connect(one, two), "--exports", str(exports), "--output", "out", "--blocks", "3", *QUICK[:-1]]
        asleep = lambda: all(marker.exists() for marker in markers)  # noqa: E731
        stopper = when(asleep, lambda: os.kill(os.getpid(), signal.SIGINT))
        first = main(words)
        stopper.join(30)
        printed = capsys.readouterr()
        kept = [len(read_blocks(path)) for path in sorted(Path("out").glob("*/blocks.jsonl"))]
        names = [phone.names() for phone in phones]
        for phone in phones:
            phone.trouble(0, "")
        second = main(["--resume", "out", "-q"])
        again = main(["--resume", "out", "-q"])

    assert (first, kept) == (130, [3, 3])
    assert names == [["libtensorflowlite_jni.so", "runner"]] * 2
    assert printed.err.rstrip().endswith("go on with: tkd-bench --resume out")
    assert "INTERRUPTED: finished blocks are kept" in printed.out
    assert (second, again) == (0, 2)
    for path in Path("out").glob("*/session.json"):
        assert [len(item.blocks) for item in read_session(path).measurements] == [3, 3]
    assert "nothing is left to do in out" in capsys.readouterr().err


def test_a_device_that_is_not_there_costs_the_others_nothing(phones, exports, capsys):
    words = ["--device", "mi5", "--device", "host", "--exports", str(exports), "--blocks", "1", *QUICK, "--json", "-"]
    code = main(words)
    printed = capsys.readouterr()
    record = json.loads(printed.out)

    assert code == 4
    assert [(each["label"], each["exit_code"]) for each in record["devices"]] == [("mi5", 4), ("host", 0)]
    assert "no mi5 (Xiaomi Mi 5) is attached" in record["devices"][0]["error"]
    assert record["devices"][1]["session"]["format"] == "tkd.bench/1"
    assert "mi5   tkd-bench: no mi5" in printed.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--device", "pixel1", "--device", "pixel"], "no device is called 'pixel'; did you mean 'pixel1'?"),
        (["--device", "pixel1", "--device", "mi5", "--serial", "A"], "--serial A beside 2 devices (pixel1, mi5)"),
        (["--device", "pixel1", "--device", "mi5", "--threads", "0"], "threads is 0; expected 1 to 64"),
        (["--device", "host", "--serial", "A", "--serial", "B"], "--device host this computer; give one of them"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_begins(phones, exports, capsys, words, message):
    assert main([*words, "--exports", str(exports)]) == 2
    assert message in capsys.readouterr().err
    assert list(Path().iterdir()) == []


def test_dry_run_shows_every_device(phones, exports, capsys):
    assert main(["--device", "host", "--device", "mi5", "--exports", str(exports), "--dry-run", "--blocks", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()

    assert [line for line in lines if line.startswith("#")] == ["# host", "# mi5"]
    assert lines[-1].startswith("taskset c /data/local/tmp/tkd/")


def test_a_damaged_record_of_devices_is_refused(tmp_path, capsys):
    (tmp_path / "devices.json").write_text('{"format": "tkd.bench_devices/9", "devices": [], "words": []}')
    assert main(["--resume", str(tmp_path)]) == 2
    assert "has format 'tkd.bench_devices/9', expected 'tkd.bench_devices/1'" in capsys.readouterr().err
    (tmp_path / "devices.json").write_text("{")
    assert main(["--resume", str(tmp_path)]) == 2
    assert "devices.json is damaged" in capsys.readouterr().err


def test_the_same_device_twice_is_one():
    assert [target.options for target in targets_of(["mi5", "mi5"], [], [])] == [("--device", "mi5")]
    assert [target.label for target in targets_of(["pixel1"], ["A", "B"], [])] == ["pixel1-A", "pixel1-B"]
    with pytest.raises(BenchError, match="which one is meant"):
        targets_of(["pixel1", "mi5"], ["A"], [])


@pytest.mark.parametrize(
    ("codes", "expected"), [([0, 3], 3), ([3, 4, 0], 4), ([4, 1], 1), ([1, 130], 130), ([0, 70], 70), ([0, 9], 70)]
)
def test_the_worst_result_is_the_answer(codes, expected):
    assert worst(codes) == expected
