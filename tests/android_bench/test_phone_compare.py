"""Comparing on a phone: the command, the transports and the daemon are real, the phone's runner is a script."""

import re
from pathlib import Path

import pytest

from android_bench.cli import main
from android_bench.session_file import read_session
from android_bench.verdict_file import read_gate
from tests.android_bench.phone_toys import PIXEL_BATTERY, PIXEL_PROPERTIES
from tests.android_bench.scripted_phone import QUICK


@pytest.fixture
def words(exports):
    model = str(exports / "toy-int8")
    return ["--baseline", model, "--candidate", model, "--output", "out", "--pairs", "6", *QUICK]


def compare(daemon, words) -> int:
    return main(["compare", "--connect", f"127.0.0.1:{daemon.port}", *words])


def test_two_models_are_compared_on_a_phone_that_is_left_clean(scripted, words, capsys) -> None:
    with scripted.daemon() as daemon:
        code = compare(daemon, [*words, "--device", "pixel1"])
    gate = read_gate(Path("out/compare.json"))
    judged = gate.judgements[0]

    # The script plays one recorded block again and again: no noise at all is no answer.
    assert (3, "INCONCLUSIVE") == (code, judged.verdict)
    assert "the clock is too coarse to show any noise" in judged.reasons[0]
    assert ("pixel1", "phone", "c") == (judged.device.name, judged.device.kind, judged.device.facts["core_mask"])
    assert "pixel1 · scripted (free clocks)" in capsys.readouterr().out
    assert scripted.names() == ["runner"]
    assert 12 == read_session(Path("out/session.json")).plan.blocks


def test_a_phone_that_is_unfit_all_along_is_no_answer_and_says_why(scripted, words) -> None:
    scripted.write("recorded/battery", PIXEL_BATTERY.replace("level: 87", "level: 9"))
    with scripted.daemon() as daemon:
        code = compare(daemon, words)
    judged = read_gate(Path("out/compare.json")).judgements[0]

    assert (3, "INCONCLUSIVE") == (code, judged.verdict)
    assert re.match(r"12 rounds were rejected .* battery at 9 %", judged.reasons[0])


def test_an_emulator_has_no_latency_to_compare(scripted, words) -> None:
    scripted.write("recorded/getprop", f"{PIXEL_PROPERTIES}[ro.kernel.qemu]: [1]\n")
    with scripted.daemon() as daemon:
        code = compare(daemon, words)
    judged = read_gate(Path("out/compare.json")).judgements[0]

    assert (4, "device") == (code, judged.failure.kind)
    assert "is emulated: its times are no latency" in judged.reasons[0]


def test_a_phone_that_goes_away_is_trouble_and_keeps_what_there_was(scripted, words) -> None:
    scripted.trouble(6, "exit 1")
    with scripted.daemon() as daemon:
        code = compare(daemon, words)
    judged = read_gate(Path("out/compare.json")).judgements[0]

    assert (4, "device") == (code, judged.failure.kind)
    assert 5 == sum(len(each.blocks) for each in read_session(Path("out/session.json")).measurements)


def test_a_phone_that_is_not_there_is_trouble(scripted, words) -> None:
    with scripted.daemon() as daemon:
        port = daemon.port
    assert 4 == main(["compare", "--connect", f"127.0.0.1:{port}", *words])
    judged = read_gate(Path("out/compare.json")).judgements[0]
    assert ("auto (not reached)", "device") == (judged.device.title, judged.failure.kind)
