"""Records that cannot be, and sessions on disk: read back equal, every damage named."""

import dataclasses
import json

import pytest

from android_bench.errors import RecordError
from android_bench.measure import measure
from android_bench.records import Block, Failure, Measurement, Memory, Model, Predictions, RunPlan
from android_bench.session_file import append_block, read_blocks, read_session, session_to_json, write_session
from tests.android_bench.bench_toys import FakeDevice

BLOCK = Block(
    bundle="toy",
    index=0,
    order=0,
    started_utc="2026-01-01T00:00:00Z",
    init_ns=1,
    first_ns=1,
    warmup_runs=1,
    warmup_ns=1,
    samples_ns=(3, 1, 2),
    golden_error=0.0,
    golden_unit="lsb",
    load_1min="denied",
)
MODEL = Model(
    name="toy", student="toy", precision="int8", sha256="0" * 64, size_bytes=1, synthetic=False, parents={"a": 1}
)


@pytest.fixture(scope="module")
def session(exports):
    from converters.bundle import find_bundles

    return measure("host", FakeDevice(), find_bundles(exports), RunPlan(blocks=6))


def test_a_session_reads_back_equal(session, tmp_path):
    write_session(tmp_path / "session.json", session)

    assert read_session(tmp_path / "session.json") == session


def test_a_session_carries_format_samples_and_metrics(session):
    record = session_to_json(session)

    assert record["format"] == "tkd.bench/1"
    first = record["measurements"][0]
    assert first["blocks"][0]["samples_ns"] == (9_000, 10_000, 11_000)
    assert first["latency_metrics"]["median_ms"] == pytest.approx(0.01)
    assert first["memory_metrics"]["init_footprint_kb"] == 400
    assert first["misc_metrics"]["num_runs"] == 18
    assert first["model"]["parents"] == {"checkpoint": "c" * 64}
    assert record["context"]["cpuCoreCount"] == 2
    assert record["context"]["cpuMaxFreqHz"] is None
    assert record["comparisons"][0]["latency"]["pairs"] == 6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is damaged .not JSON"),
        ("{}", "has format None, expected 'tkd.bench/1'"),
        ('{"format": "tkd.bench/2"}', "has format 'tkd.bench/2', expected 'tkd.bench/1'; update this toolkit"),
        ('{"format": "tkd.bench/1"}', "is damaged .KeyError"),
        ("[]", "has format None"),
    ],
)
def test_a_damaged_session_is_named(tmp_path, text, message):
    (tmp_path / "session.json").write_text(text)

    with pytest.raises(RecordError, match=message):
        read_session(tmp_path / "session.json")


def test_a_missing_session_is_named(tmp_path):
    with pytest.raises(RecordError, match="no session at"):
        read_session(tmp_path / "nothing.json")


def test_an_impossible_record_in_a_session_is_refused(session, tmp_path):
    record = json.loads(json.dumps(session_to_json(session)))
    record["measurements"][0]["blocks"][0]["samples_ns"] = []
    (tmp_path / "session.json").write_text(json.dumps(record))

    with pytest.raises(RecordError, match="has no samples"):
        read_session(tmp_path / "session.json")


def test_the_journal_keeps_blocks_as_they_end(tmp_path):
    journal = tmp_path / "blocks.jsonl"
    later = dataclasses.replace(BLOCK, index=1, order=1)
    append_block(journal, BLOCK)
    append_block(journal, later)

    assert read_blocks(journal) == [BLOCK, later]


def test_a_line_cut_off_while_it_was_written_is_left_out(tmp_path):
    journal = tmp_path / "blocks.jsonl"
    append_block(journal, BLOCK)
    journal.write_text(journal.read_text() + '{"format": "tkd.bench/1", "bund')

    assert read_blocks(journal) == [BLOCK]


@pytest.mark.parametrize("line", ["nonsense", '{"format": "tkd.bench/1"}'])
def test_a_complete_line_that_is_no_block_is_named(tmp_path, line):
    journal = tmp_path / "blocks.jsonl"
    journal.write_text(line + "\n")

    with pytest.raises(RecordError, match="line 1, is no block"):
        read_blocks(journal)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threads": 0}, "threads is 0; expected 1 to 64"),
        ({"blocks": 0}, "blocks is 0; expected 1 to 1000"),
        ({"warmup_ms": -1}, "must not be negative"),
        ({"min_runs": 0}, "are no range"),
        ({"min_runs": 9, "max_runs": 8}, "runs 9 to 8 are no range"),
        ({"timeout_s": 0}, "must be positive"),
    ],
)
def test_an_impossible_plan_is_refused(changes, message):
    with pytest.raises(RecordError, match=message):
        RunPlan(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples_ns": ()}, "has no samples"),
        ({"samples_ns": (1, -1)}, "a sample of -1 ns"),
        ({"first_ns": 0}, "a time of 0 ns or less"),
        ({"order": -1}, "a negative count"),
    ],
)
def test_an_impossible_block_is_refused(changes, message):
    with pytest.raises(RecordError, match=message):
        dataclasses.replace(BLOCK, **changes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Memory(start_kb=0, init_kb=1, overall_kb=1, peak_kb=1, peak_is_ours=True), "memory readings"),
        (lambda: Predictions(ids=("a",), predicted=(1, 2), expected=(1,)), "unequal counts"),
        (lambda: Failure(kind="bad luck", message=""), "golden or device"),
        (lambda: dataclasses.replace(MODEL, sha256="0"), "expected 64 digits"),
        (lambda: dataclasses.replace(MODEL, size_bytes=0), "has 0 bytes"),
        (lambda: Measurement(model=MODEL, blocks=(dataclasses.replace(BLOCK, bundle="other"),)), "blocks of other"),
    ],
)
def test_other_impossible_records_are_refused(make, message):
    with pytest.raises(RecordError, match=message):
        make()


def test_a_peak_that_may_be_older_than_the_model_is_unclear():
    assert Memory(start_kb=9, init_kb=9, overall_kb=9, peak_kb=99, peak_is_ours=False).model_kb is None
