"""Going on with a session: only with the same models on the same device, and never with half a round."""

from dataclasses import replace

import pytest

from android_bench.errors import BenchError, RecordError
from android_bench.measure import Setting, Watcher, measure
from android_bench.records import RunPlan
from android_bench.session_file import append_block
from android_bench.session_start import (
    SessionStart,
    check_bundles,
    differences,
    read_start,
    whole_rounds,
    write_start,
)
from tests.android_bench.bench_toys import FakeDevice

PLAN = RunPlan(blocks=4)


def start_of(bundles) -> SessionStart:
    context = FakeDevice().context()
    return SessionStart(
        device="pixel1",
        serial="FA6A",
        model=context.model,
        fingerprint=context.fingerprint,
        cores="little",
        plan=replace(PLAN, core_mask="3"),
        folders=tuple(str(bundle.folder) for bundle in bundles),
        sha256={bundle.name: bundle.sha256 for bundle in bundles},
        runner={"engine_sha256": "e" * 64, "engine_pinned": True},
        started_utc="2026-01-01T00:00:00Z",
    )


def test_a_start_is_read_back_equal(bundles, tmp_path):
    write_start(tmp_path, start_of(bundles))

    assert read_start(tmp_path) == start_of(bundles)


def test_the_phones_own_number_decides_where_both_parts_know_it(bundles):
    start = replace(start_of(bundles), serial_number="FA6A")
    now = replace(FakeDevice().context(), serial="192.168.1.20:5555", serial_number="FA6A")

    assert not [line for line in differences(start, now, start.runner) if "phone" in line]
    assert "the phone was FA6A and is FA6B" in differences(start, replace(now, serial_number="FA6B"), start.runner)
    assert "the phone was FA6A and is 192.168.1.20:5555" in differences(start_of(bundles), now, start.runner)
    assert start.names == ("FA6A",)
    assert replace(start, serial="192.168.1.20:5555").names == ("192.168.1.20:5555", "FA6A")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no session to resume in"),
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"format": "tkd.bench_start/9"}', "is not of format 'tkd.bench_start/1'"),
        ('{"format": "tkd.bench_start/1"}', "is damaged"),
    ],
)
def test_a_start_that_cannot_be_is_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "start.json").write_text(content)

    with pytest.raises(RecordError, match=message):
        read_start(tmp_path)


def test_only_the_same_models_go_on(bundles):
    start = start_of(bundles)

    check_bundles(start, list(reversed(bundles)))
    with pytest.raises(BenchError, match="cannot resume: toy-int8 is not the model"):
        check_bundles(start, bundles[:1])


def test_what_changed_is_listed(bundles):
    start = start_of(bundles)
    same = replace(FakeDevice().context(), serial="FA6A")

    assert differences(start, same, start.runner) == []
    assert differences(start, replace(same, serial="FB7B"), {**start.runner, "engine_sha256": "f" * 64}) == [
        "the phone was FA6A and is FB7B",
        f"the engine_sha256 was {'e' * 64} and is {'f' * 64}",
    ]


def test_a_session_goes_on_after_its_last_whole_round(bundles, tmp_path):
    start = replace(start_of(bundles), plan=PLAN)
    journal = tmp_path / "blocks.jsonl"
    whole = measure("pixel1", FakeDevice(), bundles, PLAN)
    blocks = sorted((block for item in whole.measurements for block in item.blocks), key=lambda block: block.order)
    for block in blocks[:5]:
        append_block(journal, block)

    done = whole_rounds(tmp_path, start)
    device, kept = FakeDevice(), []
    resumed = measure("pixel1", device, bundles, PLAN, Watcher(keep=kept.append), Setting(done=done))

    assert [block.order for block in sorted(done, key=lambda block: block.order)] == [0, 1, 2, 3]
    assert [(block.bundle, block.index) for block in kept] == [
        ("toy-float32", 2),
        ("toy-int8", 2),
        ("toy-int8", 3),
        ("toy-float32", 3),
    ]
    assert [block.order for block in kept] == [4, 5, 6, 7]
    assert [len(item.blocks) for item in resumed.measurements] == [4, 4]
    assert [call["stages"] for call in device.calls] == ["golden,latency"] * 4 + ["memory"] * 2 + ["golden,eval"] * 2


def test_a_round_that_was_measured_twice_counts_once_and_by_its_later_blocks(bundles, tmp_path):
    start = replace(start_of(bundles), plan=PLAN)
    for session in range(2):
        for item in measure("pixel1", FakeDevice(), bundles, PLAN).measurements:
            append_block(tmp_path / "blocks.jsonl", replace(item.blocks[0], order=10 * session))

    done = whole_rounds(tmp_path, start)

    assert [(block.index, block.order) for block in done] == [(0, 10), (0, 10)]


def test_a_session_without_a_block_begins_at_its_first(bundles, tmp_path):
    assert whole_rounds(tmp_path, start_of(bundles)) == ()
