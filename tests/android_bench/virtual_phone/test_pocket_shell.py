"""A virtual phone's own shell: as `sh` where it knows the grammar, and clear where it does not."""

import asyncio
import shlex
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from android_bench.adb.readings import FACTS_SCRIPT, STATE_SCRIPT, facts_from, state_from
from android_bench.virtual_phone.script import ScriptError, parse
from tests.android_bench.pocket_toys import Pocket

LIKE_SH = [
    "echo a  b; echo 'c  d' \"e  f\"",
    'x=1; y="$x 2"; echo $y; echo "$y"',
    "x='a  b'; for w in $x c; do echo [$w]; done",
    "for w in; do echo never; done; echo $?",
    "true && echo yes || echo no; false && echo yes || echo no",
    "! true; echo $?; ! false; echo $?",
    "if false; then echo 1; elif true; then echo 2; else echo 3; fi",
    "if false; then echo 1; fi; echo $?",
    'f() { echo $# "$1" "$2"; }; f a \'b c\'; f',
    "f() { for w; do echo [$w]; done; }; f a 'b c' ''",
    'i=; while [ "$i" != xxx ]; do i=${i}x; echo $i; done',
    'i=; until [ "$i" = xx ]; do i=${i}x; done; echo $i',
    "sh -c 'echo $0 $1 \"$2\" $#' name one 'two  words'",
    "sh -c 'exit 9'; echo $?; exit 3; echo never",
    "{ echo out; echo err >&2; } 2>/dev/null",
    "echo one | cat; printf 'a\\nb\\nc\\n' | grep -E 'a|c' | wc -l",
    "printf '%s-%s\\n' a b; printf '%d %%\\n' 3",
    '[ -n "" ]; echo $?; [ 3 -lt 10 ] && echo less; [ a = b ] || echo differ; [ ! -e /nowhere ] && echo not',
    "set_by=1; echo ${set_by}x$set_by",
    'echo a\\ b "c\\"d" \'e"f\' # a comment',
    "echo one \\\n two",
    "x=5; echo \"$x\"'$x'$x",
    "exec echo replaced; echo never",
    "false; echo $?; nothing_such 2>/dev/null; echo $?",
    "{ echo a; echo b; } | head -n 1",
    "command -v nothing_such || echo none",
    "shift_it() { shift; echo \"$@\"; }; shift_it a b 'c d'",
    "cat </dev/null; echo $?",
    "timeout 5 echo in time",
]


@pytest.fixture(scope="module")
def still_pocket(tmp_path_factory):
    """A phone that no test changes."""
    return Pocket(tmp_path_factory.mktemp("still") / "pocket")


@pytest.mark.parametrize("script", LIKE_SH)
def test_scripts_do_what_sh_does(still_pocket, script):
    expected = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=20)

    assert still_pocket(script) == (expected.returncode, expected.stdout, expected.stderr)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=12), max_size=4))
def test_quoted_words_arrive_as_they_were(still_pocket, words):
    _, out, _ = still_pocket(f"for w in {shlex.join(words)}; do printf '%s|' \"$w\"; done")

    assert out == "".join(f"{word}|" for word in words)


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("ab'\"\\$(){}|&;<>!*?[] \n#12=-if do"), max_size=40))
def test_any_text_is_parsed_or_refused(text):
    with suppress(ScriptError):
        assert isinstance(parse(text), tuple)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo $(id)", "'$(id)' is not among what this virtual phone's shell knows"),
        ("echo `id`", "substitution of commands is not among"),
        ("sleep 1 &", "'&' is not among"),
        ("if true; then echo", "expected 'fi', not end of the script"),
        ("echo 'open", "a quote ' is never closed"),
        ("| cat", "unexpected '|'"),
        ("echo >", "'>' wants a place"),
        ("fi", "unexpected 'fi'"),
    ],
)
def test_what_it_does_not_know_it_says(pocket, script, message):
    code, out, err = pocket(script)

    assert (code, out) == (2, "")
    assert err.startswith("sh: ")
    assert message in err


def test_it_answers_what_a_phone_is_asked(pocket):
    code, out, err = pocket(shlex.join(("sh", "-c", FACTS_SCRIPT)))
    facts = facts_from(out, err)

    assert code == 0
    assert (facts.model, facts.device, facts.android, facts.abi) == ("Pixel", "sailfish", "10", "arm64-v8a")
    assert [(group.cpus, group.max_khz) for group in facts.clusters] == [((0, 1), 1_593_600), ((2, 3), 2_150_400)]
    assert "asimddp" not in facts.cpu_features
    assert facts.soc == "Qualcomm Technologies, Inc MSM8996pro"
    assert facts.tools == ("sha256sum", "md5sum", "taskset", "timeout", "dumpsys", "getprop")


def test_it_says_how_it_is(pocket):
    _, out, err = pocket(shlex.join(("sh", "-c", STATE_SCRIPT)))
    state = state_from(out, err, "2026-01-01T00:00:00Z")

    assert (state.battery_percent, state.battery_c, state.plugged, state.screen) == (87, 25.1, "usb", "on")
    assert (state.thermal_status, state.stays_awake, state.cpus_online) == ("none", 3, "0-3")
    assert state.frequency_khz["cpu3"] == 2_150_400


@pytest.mark.parametrize(
    "script",
    [
        "echo x > /system/x",
        "echo x > /proc/cpuinfo",
        "rm -rf /system",
        "rm -f /proc/cpuinfo",
        "mkdir -p /vendor",
        "mv /proc/cpuinfo /data/local/tmp/c",
        "echo x > /data/local/tmp/../../../etc",
        "rm -rf /data/local/tmp/../../..",
        "rmdir /data/local/tmp",
        "cp /proc/cpuinfo /sys/x",
        "chmod 777 /proc/cpuinfo",
    ],
)
def test_it_writes_where_android_lets_a_shell_write_and_nowhere_else(pocket, script):
    before = _listing(pocket.folders.place)

    code, _, err = pocket(script)

    assert code != 0
    assert "Permission denied" in err
    assert _listing(pocket.folders.place) == before


def test_no_command_reads_past_the_phone(pocket, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("do not tell")
    (pocket.folders.root / "data/local/tmp/link").symlink_to(secret)

    for path in ("/data/local/tmp/link", f"/../../{secret}", str(secret)):
        code, out, err = pocket(f"cat {path}")
        assert (code, out) == (1, "")
        assert err


def test_files_are_made_moved_hashed_and_removed(pocket):
    script = (
        "cd /data/local/tmp && mkdir -p tkd/a && printf 'hello' > tkd/a/x.part && mv -f tkd/a/x.part tkd/a/x && "
        "sha256sum < tkd/a/x && [ -f tkd/a/x ] && ls tkd/* && printf ' again' >> tkd/a/x && cat tkd/a/x && "
        "rm -f tkd/*/*.part && rm -r tkd && [ ! -e tkd ]"
    )

    code, out, err = pocket(script)

    assert (code, err) == (0, "")
    digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert out == f"{digest}  -\nx\nhello again"


def test_an_arm64_program_goes_to_the_emulator_by_its_path(pocket):
    pocket("printf x > /data/local/tmp/prog")

    assert pocket("/data/local/tmp/prog a")[0] == 126
    assert pocket("cd /data/local/tmp; chmod 755 prog; taskset c ./prog 'a b'; echo $?")[1] == (
        "ran /data/local/tmp/prog a b\n7\n"
    )
    assert pocket("/data/local/tmp/none")[0] == 127
    assert pocket("none")[2] == "sh: none: not found (this virtual phone has few commands)\n"


@pytest.mark.parametrize("mask", ["0", "10", "x", "1ffffffffffffffffff"])
def test_a_mask_of_processors_that_are_not_there_is_refused(pocket, mask):
    assert pocket(f"taskset {mask} true") == (1, "", f"taskset: bad mask '{mask}'\n")


def test_a_command_is_ended_by_its_number(pocket):
    async def story() -> tuple[int, tuple[int, str, str]]:
        long = asyncio.create_task(pocket.run("while true; do sleep 0.01; done"))
        await asyncio.sleep(0.05)
        killed = await pocket.run("kill -9 -4001")
        return (await long)[0], killed

    assert asyncio.run(story()) == (137, (0, "", ""))
    assert pocket("kill 999")[2] == "kill: 999: No such process\n"


def test_a_loop_without_end_can_be_cut_off(pocket):
    async def story() -> None:
        async with asyncio.timeout(0.2):
            await pocket.run("while true; do :; done")

    with pytest.raises(TimeoutError):
        asyncio.run(story())


def test_a_function_that_calls_itself_comes_to_an_end(pocket):
    code, _, err = pocket("f() { f; }; f")

    assert code == 2
    assert "called itself too often" in err


def test_a_shell_without_a_command_reads_lines(pocket):
    code, out, err = pocket("", b"cd /data\npwd\nif\necho after\nexit 4\necho never\n")

    assert (code, out) == (4, "/data\nafter\n")
    assert "sh: " in err


def _listing(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path): path.read_bytes() if path.is_file() and not path.is_symlink() else None for path in folder.rglob("*")
    }
