"""The engine's cache: fetching through pip, importing of every kind, and damage."""

import json
import stat
import sys
import zipfile
from dataclasses import replace

import pytest

from android_bench import engine as engine_module
from android_bench.cli import main
from android_bench.elf import X86_64
from android_bench.engine import DOWNLOAD, PIN, cached_engines, fetch_engine, find_engine, import_engine
from android_bench.errors import BenchError, MissingToolError
from converters.files import sha256_of
from tests.android_bench.elf_toys import elf_library

ANDROID = elf_library(needed=("libm.so", "libdl.so", "liblog.so", "libc.so"))


def archive(path, **members):
    with zipfile.ZipFile(path, "w") as opened:
        for name, content in members.items():
            opened.writestr(name.replace("__", "/"), content)
    return path


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def wheel(tmp_path):
    """A wheel as the pinned one, with another engine inside."""
    path = tmp_path / PIN.wheel
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("ai_edge_litert/__init__.py", "")
        opened.writestr(PIN.member, elf_library())
    return path


@pytest.fixture
def pinned(wheel, monkeypatch):
    """The same, pinned."""
    monkeypatch.setattr(engine_module, "PIN", replace(PIN, wheel_sha256=sha256_of(wheel)))
    return wheel


def test_the_pinned_wheel_is_taken_and_checked(cache, pinned):
    engine = import_engine(cache, pinned)

    assert (engine.libc, engine.pinned, engine.source) == ("glibc", True, PIN.wheel)
    assert engine.path.read_bytes() == elf_library()
    assert engine.path.name == "libLiteRtRuntimeCApi.so"
    assert engine.path.stat().st_mode & stat.S_IXUSR
    assert find_engine(cache) == engine


def test_a_damaged_pinned_wheel_is_refused_and_nothing_is_kept(cache, wheel):
    with pytest.raises(BenchError, match="expected 131d1c12dedc…: it is damaged or altered"):
        import_engine(cache, wheel)

    assert cached_engines(cache) == []


@pytest.mark.parametrize("kind", ["so", "aar", "jar"])
def test_an_android_build_is_taken_from_any_container_and_comes_first(cache, pinned, tmp_path, kind):
    import_engine(cache, pinned)
    file = tmp_path / f"libtensorflowlite_jni.{kind}"
    if kind == "so":
        file.write_bytes(ANDROID)
    else:
        archive(
            file,
            **{"jni__x86_64__libtensorflowlite_jni.so": elf_library(machine=X86_64, needed=("libc.so",))},
            **{"jni__arm64-v8a__libother.so": b"", "jni__arm64-v8a__libtensorflowlite_jni.so": ANDROID},
        )

    engine = import_engine(cache, file)

    assert (engine.libc, engine.pinned, engine.path.read_bytes()) == ("bionic", False, ANDROID)
    assert [each.libc for each in cached_engines(cache)] == ["bionic", "glibc"]
    assert find_engine(cache) == engine
    assert find_engine(cache, ["glibc"]).libc == "glibc"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello", "engine.bin: it is no 64-bit ELF file"),
        (elf_library(machine=X86_64), r"it is for machine 62, not arm64 \(183\)"),
        (elf_library(names=("LiteRtCreate",)), "it has no TfLite C API"),
        (elf_library(needed=("libm.so.6",)), "linked with neither glibc nor Android's libc"),
    ],
)
def test_what_is_no_engine_is_refused(cache, tmp_path, content, message):
    file = tmp_path / "engine.bin"
    file.write_bytes(content)

    with pytest.raises(BenchError, match=message):
        import_engine(cache, file)

    assert cached_engines(cache) == []


def test_an_archive_without_an_engine_is_refused(cache, tmp_path):
    with pytest.raises(BenchError, match="it holds no library of that name; expected an arm64 library"):
        import_engine(cache, archive(tmp_path / "empty.aar", **{"classes.jar": b""}))


def test_a_cut_off_archive_is_refused(cache, tmp_path):
    file = archive(tmp_path / "cut.aar", **{"libLiteRt.so": ANDROID})
    content = bytearray(file.read_bytes())
    content[60:70] = b"damaged!!!"
    file.write_bytes(content)

    with pytest.raises(BenchError, match=r"cannot read .*cut\.aar.*get it again"):
        import_engine(cache, file)


def test_a_damaged_cache_names_what_to_do(cache, pinned):
    engine = import_engine(cache, pinned)
    engine.path.write_bytes(b"x")

    with pytest.raises(MissingToolError, match=r"has sha256 2d711642b726…, expected .*get it again with"):
        find_engine(cache)

    (engine.path.parent / "engine.json").write_text("{}")
    with pytest.raises(MissingToolError, match="cannot be read"):
        find_engine(cache)


def test_no_engine_names_the_file_to_bring(cache):
    with pytest.raises(MissingToolError, match=rf"tkd-bench engine fetch \(without network bring {PIN.wheel}"):
        find_engine(cache)


def test_fetching_goes_through_the_users_pip(cache, pinned, tmp_path):
    script = tmp_path / "pip.py"
    script.write_text(
        "import pathlib, shutil, sys\n"
        f"pathlib.Path({str(tmp_path / 'words')!r}).write_text(' '.join(sys.argv[1:]))\n"
        f"shutil.copy({str(pinned)!r}, sys.argv[-1])\n"
    )

    engine = fetch_engine(cache, pip=(sys.executable, str(script)))

    assert engine.pinned
    assert "pip " + (tmp_path / "words").read_text().rpartition(" --dest ")[0] == DOWNLOAD


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("import sys; sys.exit('noise\\nERROR: no route to any index')", "ERROR: no route to any index"),
        ("", "it brought another file"),
    ],
)
def test_offline_the_error_names_the_file_and_both_commands(cache, tmp_path, script, reason):
    (tmp_path / "pip.py").write_text(script)

    with pytest.raises(MissingToolError) as caught:
        fetch_engine(cache, pip=(sys.executable, str(tmp_path / "pip.py")))

    for part in (reason, PIN.wheel, DOWNLOAD, "tkd-bench engine import"):
        assert part in str(caught.value)


def test_the_command_imports_and_shows(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    library = tmp_path / "libtensorflowlite_jni.so"
    library.write_bytes(ANDROID)

    assert main(["engine", "show"]) == 0
    assert "no engine in" in capsys.readouterr().out
    assert main(["engine", "import", str(library)]) == 0
    assert "bionic: libtensorflowlite_jni.so from libtensorflowlite_jni.so (not the tested" in capsys.readouterr().out
    assert main(["engine", "show", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["format"], [each["libc"] for each in shown["engines"]]) == ("tkd.engines/1", ["bionic"])


def test_the_command_refuses_what_is_not_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))

    assert main(["engine", "import", str(tmp_path / "nothing.aar")]) == 2
    assert "there is no file" in capsys.readouterr().err
