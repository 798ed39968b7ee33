"""A phone over both transports: commands, files, and what it says of itself."""

import hashlib
import random
import shutil
import threading

import pytest

from android_bench.errors import DeviceError, DeviceTimeoutError, RefusedError


def sh(script: str) -> tuple[str, str, str]:
    return ("sh", "-c", script)


def test_a_command_gives_its_code_and_both_streams(phone):
    result = phone.run(sh("echo out; echo err >&2; exit 7"), 10)

    assert (result.exit_code, result.stdout_bytes, result.stderr_bytes) == (7, b"out\n", b"err\n")
    assert result.seconds > 0


def test_every_byte_comes_back_as_it_was_printed(phone):
    octal = "".join(f"\\{byte:03o}" for byte in range(256))

    result = phone.run(sh(f"printf '{octal}'; printf 'no newline' >&2"), 10)

    assert result.stdout_bytes == bytes(range(256))
    assert result.stderr_bytes == b"no newline"


@pytest.mark.parametrize("code", [0, 1, 2, 127, 128, 255])
def test_exit_codes_come_back(phone, code):
    assert phone.run(sh(f"exit {code}"), 10).exit_code == code


@pytest.mark.slow
def test_all_exit_codes_come_back(phone):
    assert [phone.run(sh(f"exit {code}"), 10).exit_code for code in range(256)] == list(range(256))


def test_a_command_that_is_not_there_says_so(phone):
    result = phone.run(("/nowhere/runner", "a=b"), 10)

    assert result.exit_code == 127
    assert "runner" in result.stderr


def test_words_arrive_as_they_were_given(phone):
    words = ["a b", "c'd", '"e"', "$HOME", "`f`", "ü→音", "*", "-n", ""]

    result = phone.run(("printf", "%s|", *words), 10)

    assert result.stdout == "|".join(words) + "|"


def test_standard_input_is_empty(phone):
    assert phone.run(("cat",), 10).stdout_bytes == b""


def test_ten_megabytes_of_output_come_whole(phone):
    result = phone.run(sh("yes | head -c 10000000; echo end >&2"), 60)

    assert result.stdout_bytes == b"y\n" * 5_000_000
    assert result.stderr_bytes == b"end\n"


@pytest.mark.slow
def test_five_hundred_commands_in_a_row(phone):
    before = phone.connections

    outputs = [phone.run(("echo", str(number)), 10).stdout for number in range(500)]

    assert outputs == [f"{number}\n" for number in range(500)]
    assert phone.connections <= before + 1


def test_threads_take_turns(phone):
    outputs: dict[int, str] = {}

    def work(number: int) -> None:
        outputs[number] = phone.run(sh(f"echo {number}; sleep 0.02; echo {number}"), 30).stdout

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert outputs == {number: f"{number}\n{number}\n" for number in range(8)}


def test_a_command_that_takes_too_long_is_ended_with_its_children(phone, shared_toy):
    witness = shared_toy.root / "data/local/tmp/witness"
    script = "(sleep 5; echo alive > /data/local/tmp/witness) & sleep 60"
    phone.facts()

    with pytest.raises(DeviceTimeoutError, match=r"took longer than 2 s and was ended"):
        phone.run(sh(script), 2)
    assert phone.run(("sleep", "4"), 20).exit_code == 0
    assert not witness.exists()


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 3_000_000])
def test_files_of_every_size_arrive_whole_and_come_back(phone, shared_toy, tmp_path, size):
    local = tmp_path / "data.bin"
    local.write_bytes(random.Random(size).randbytes(size))

    remote = phone.push(local)
    phone.pull(remote, tmp_path / "back.bin")

    assert remote.startswith("/data/local/tmp/tkd/")
    assert shared_toy.files.host_path(remote).read_bytes() == local.read_bytes()
    assert (tmp_path / "back.bin").read_bytes() == local.read_bytes()


@pytest.mark.slow
def test_fifty_megabytes_arrive_whole_and_come_back(phone, tmp_path):
    local = tmp_path / "large.bin"
    local.write_bytes(random.Random(50).randbytes(50_000_000))

    phone.pull(phone.push(local), tmp_path / "back.bin")

    assert (tmp_path / "back.bin").read_bytes() == local.read_bytes()


@pytest.mark.parametrize("name", ["Modell ü→音.tflite", 'it\'s $5; `x` & "y".bin', "-rf", "日本語"])
def test_names_of_every_kind_arrive(phone, shared_toy, tmp_path, name):
    (tmp_path / name).write_bytes(b"content")

    remote = phone.push(tmp_path / name)

    assert remote.endswith(f"/{name}")
    assert shared_toy.files.host_path(remote).read_bytes() == b"content"


@pytest.mark.parametrize("name", ["a\nb", ".hidden"])
def test_names_that_no_phone_should_see_are_refused(phone, tmp_path, name):
    (tmp_path / name).write_bytes(b"")

    with pytest.raises(DeviceError, match="is no name for a file on a phone"):
        phone.push(tmp_path / name)


def test_a_command_that_is_too_long_for_the_phone_is_refused_before_it_is_sent(toy):
    with toy.daemon(max_data=4096) as daemon:  # as phones before Android 7
        phone = toy.phone(daemon.port)

        with pytest.raises(DeviceError, match=r"a command of \d+ bytes; 127\.0\.0\.1:\d+ takes at most 4096"):
            phone.run(("echo", "x" * 4096), 10)
        assert phone.run(("echo", "x" * 3000), 10).stdout == "x" * 3000 + "\n"


def test_a_program_stays_executable(phone, tmp_path):
    program = tmp_path / "runner"
    program.write_text("#!/bin/sh\necho ran with $1\n")
    program.chmod(0o755)

    assert phone.run((phone.push(program), "x=1"), 10).stdout == "ran with x=1\n"


def test_files_that_belong_together_lie_in_one_folder(phone, shared_toy, tmp_path):
    for name in ("engine.so", "runner"):
        (tmp_path / name).write_text(name)

    folder = phone.push_files({"libengine.so": tmp_path / "engine.so", "runner": tmp_path / "runner"})

    assert sorted(path.name for path in shared_toy.files.host_path(folder).iterdir()) == ["libengine.so", "runner"]


def test_a_missing_file_is_named(phone, tmp_path):
    with pytest.raises(RefusedError, match=r"refused to read /data/local/tmp/none: .*No such file"):
        phone.pull("/data/local/tmp/none", tmp_path / "x")
    assert list(tmp_path.iterdir()) == []
    assert phone.run(("true",), 10).exit_code == 0


def test_it_says_what_it_is(phone):
    facts, context = phone.facts(), phone.context()

    assert (facts.model, facts.device, facts.android, facts.sdk, facts.abi) == (
        "Pixel", "sailfish", "10", 29, "arm64-v8a",
    )  # fmt: skip
    assert [(group.cpus, group.max_khz, group.mask) for group in facts.clusters] == [
        ((0, 1), 1_593_600, "3"),
        ((2, 3), 2_150_400, "c"),
    ]
    assert {"sha256sum", "md5sum", "taskset", "timeout", "dumpsys", "getprop"} == set(facts.tools)
    assert facts.soc == "Qualcomm Technologies, Inc MSM8996pro"
    assert (context.kind, context.cpu_count, context.max_frequency_khz) == ("phone", 4, 2_150_400)
    assert context.stands_for == "wall-clock time on Pixel, Android 10, in a shell process, not in an app"


def test_its_state_is_read_in_one_command(phone):
    state = phone.state()

    assert (state.load_1min, state.battery_percent, state.battery_c, state.plugged) == (1.52, 87, 25.1, "usb")
    assert (state.thermal_status, state.screen, state.stays_awake) == ("none", "on", 3)
    assert state.frequency_khz == {f"cpu{cpu}": 307_200 for cpu in range(4)}
    assert state.temperature_c == {
        "thermal_zone0 battery": 25.1,
        "thermal_zone1 tsens_tz_sensor1": 31.2,
        "thermalservice fps_therm_adc": 26.5,
    }
    assert phone.concerns(state) == ("clock governor sched: clocks move with the load, as on any stock phone",)


def test_a_phone_that_throttles_or_lies_about_it_is_noted(toy):
    def said(text: str) -> tuple[str, ...]:
        toy.write("recorded/thermalservice", text)
        return phone.concerns(phone.state())

    with toy.daemon() as daemon:
        phone = toy.phone(daemon.port)
        hot = said("IsStatusOverride: false\nThermal Status: 3\n")
        lying = said("IsStatusOverride: true\nThermal Status: 0\n")

    assert "thermal status severe: it is throttling; let it cool down" in hot
    assert "the thermal status was set by hand: undo it with: adb shell cmd thermalservice reset" in lying


def test_pushing_again_sends_nothing(toy, tmp_path):
    local = tmp_path / "model.tflite"
    local.write_bytes(b"x" * 100_000)
    with toy.daemon() as daemon:
        sent: list[int] = []
        for _ in range(2):  # a second session, too
            phone = toy.phone(daemon.port, advance=lambda name, count, total: sent.append(count))
            phone.push(local)
            phone.push(local)
            phone.close()

        assert sent == [100_000]


def test_a_file_that_was_altered_on_the_phone_is_sent_again(toy, tmp_path):
    local = tmp_path / "model.tflite"
    local.write_bytes(b"right")
    with toy.daemon() as daemon:
        phone = toy.phone(daemon.port)
        remote = phone.push(local)
        phone.close()
        toy.files.host_path(remote).write_bytes(b"wrong")

        assert toy.phone(daemon.port).push(local) == remote
        assert toy.files.host_path(remote).read_bytes() == b"right"


def test_a_file_that_changed_here_is_another_file_there(toy, tmp_path):
    local = tmp_path / "model.tflite"
    with toy.daemon() as daemon:
        phone = toy.phone(daemon.port)
        local.write_bytes(b"first")
        first = phone.push(local)
        local.write_bytes(b"second one")
        second = phone.push(local)

    assert first != second
    assert toy.files.host_path(first).read_bytes() == b"first"
    assert toy.files.host_path(second).read_bytes() == b"second one"


@pytest.mark.parametrize("tools", [("sha256sum",), ("sha256sum", "md5sum")])
def test_old_phones_prove_files_by_other_means(toy, tmp_path, tools):
    local = tmp_path / "model.tflite"
    local.write_bytes(random.Random(1).randbytes(200_000))
    toy.without(*tools)
    with toy.daemon(features=frozenset()) as daemon:
        remote = toy.phone(daemon.port).push(local)
        sent: list[int] = []
        toy.phone(daemon.port, advance=lambda name, count, total: sent.append(count)).push(local)

    assert toy.files.host_path(remote).read_bytes() == local.read_bytes()
    assert sent == []


def test_a_file_that_arrives_damaged_is_never_given_its_name(toy, tmp_path):
    local = tmp_path / "model.tflite"
    local.write_bytes(b"right")
    toy.without("sha256sum")
    toy.script("sha256sum", f"echo {hashlib.sha256(b'wrong').hexdigest()}")
    with toy.daemon() as daemon, pytest.raises(DeviceError, match=r"model\.tflite arrived damaged on .*, twice"):
        toy.phone(daemon.port).push(local)

    assert list(toy.ours.rglob("*")) == []


def test_what_an_earlier_call_left_unfinished_is_removed(toy, tmp_path):
    toy.write("data/local/tmp/tkd/0123/model.tflite.part", "half")
    toy.write("data/local/tmp/mine.part", "not ours")
    (tmp_path / "a").write_bytes(b"a")
    with toy.daemon() as daemon:
        toy.phone(daemon.port).push(tmp_path / "a")

    assert list(toy.ours.rglob("*.part")) == []
    assert (toy.root / "data/local/tmp/mine.part").exists()


def test_a_push_that_could_not_be_cleared_up_is_cleared_up_later(toy, tmp_path):
    local = tmp_path / "model.tflite"
    local.write_bytes(b"whole")
    with toy.daemon() as daemon:
        phone = toy.phone(daemon.port)
        phone.push_files({"other": local})
        toy.without("mv", "rm")  # as if the link had died between the last byte and the new name
        toy.script("mv", "exit 1")
        with pytest.raises(DeviceError, match=r"renaming model\.tflite\.part on .* failed"):
            phone.push(local)
        left = [path.name for path in toy.ours.rglob("*.part")]
        for tool in ("mv", "rm"):
            (toy.root / "bin" / tool).unlink(missing_ok=True)
            (toy.root / "bin" / tool).symlink_to(shutil.which(tool))
        phone.tidy([f"{phone.folder}/{path.name}" for path in toy.ours.iterdir()])
        tidied = sorted(path.name for path in toy.ours.rglob("*") if path.is_file())
        again = phone.push(local)

    assert left == ["model.tflite.part"]
    assert tidied == ["other"]
    assert toy.files.host_path(again).read_bytes() == b"whole"
