"""The daemon as Debian's adb sees it: a client that is not ours."""

import random
from collections.abc import Iterator

import pytest

from tests.android_bench.phone_toys import AdbServer, ToyPhone, adb_server


@pytest.fixture(scope="module")
def phone(tmp_path_factory) -> ToyPhone:
    root = tmp_path_factory.mktemp("debian") / "phone"
    root.mkdir()
    return ToyPhone(root)


@pytest.fixture(scope="module")
def adb(phone) -> Iterator[AdbServer]:
    with adb_server(phone) as server, phone.daemon() as daemon:
        server.connect(daemon.port)
        yield server


def test_it_is_listed_by_its_names(adb):
    listed = adb("devices", "-l").stdout.decode()

    assert "product:sailfish model:Pixel device:sailfish" in listed


@pytest.mark.parametrize("code", [0, 1, 77, 255])
def test_commands_have_exit_codes_and_two_streams(adb, code):
    result = adb("shell", f"echo out; echo err >&2; exit {code}", check=False)

    assert (result.returncode, result.stdout, result.stderr) == (code, b"out\n", b"err\n")


def test_output_is_binary_safe(adb):
    octal = "".join(f"\\{byte:03o}" for byte in range(256))

    assert adb("exec-out", f"printf '{octal}'").stdout == bytes(range(256))
    assert adb("shell", f"printf '{octal}'").stdout == bytes(range(256))


def test_standard_input_reaches_the_command(adb):
    import subprocess

    result = subprocess.run(
        ["adb", "shell", "cat; echo end"], env=adb.environment, input=b"typed\n", capture_output=True, timeout=30
    )

    assert result.stdout == b"typed\nend\n"


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537])
def test_files_go_both_ways(adb, phone, tmp_path, size):
    local = tmp_path / "ü→音.bin"
    local.write_bytes(random.Random(size).randbytes(size))

    adb("push", str(local), "/data/local/tmp/ü→音.bin")
    adb("pull", "/data/local/tmp/ü→音.bin", str(tmp_path / "back"))

    assert (phone.root / "data/local/tmp/ü→音.bin").read_bytes() == local.read_bytes()
    assert (tmp_path / "back").read_bytes() == local.read_bytes()


@pytest.mark.slow
def test_fifty_megabytes_go_both_ways(adb, phone, tmp_path):
    local = tmp_path / "large"
    local.write_bytes(random.Random(0).randbytes(50_000_000))

    adb("push", str(local), "/sdcard/large")
    adb("pull", "/sdcard/large", str(tmp_path / "back"))

    assert (tmp_path / "back").read_bytes() == local.read_bytes()


def test_folders_are_listed(adb, phone):
    phone.write("sdcard/Music/a.wav", "abc")

    listed = adb("ls", "/sdcard/Music").stdout.decode()

    assert "a.wav" in listed
    assert "00000003" in listed


@pytest.mark.parametrize("path", ["/system/bin/sh", "/data/local/x", "/data/local/tmp/../../../etc/x", "/sdcard"])
def test_files_are_written_in_two_places_only(adb, tmp_path, path):
    (tmp_path / "x").write_bytes(b"x")

    result = adb("push", str(tmp_path / "x"), path, check=False)

    assert result.returncode == 1 or path == "/sdcard"  # a folder: adb puts the file into it


def test_an_older_phone_has_no_exit_codes(phone):
    with adb_server(phone) as server, phone.daemon(features=frozenset()) as daemon:
        server.connect(daemon.port)
        result = server("shell", "echo out; exit 7", check=False)

    assert (result.returncode, result.stdout) == (0, b"out\n")


def test_a_stranger_stays_unauthorized(phone):
    with adb_server(phone) as server, phone.daemon(known_keys=()) as daemon:
        server("connect", f"127.0.0.1:{daemon.port}", check=False)

        assert b"unauthorized" in server("devices").stdout
        assert server("shell", "true", check=False).returncode == 1
