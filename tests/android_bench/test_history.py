"""A history only grows; a row cut off is no row, and one that is no row is never passed over."""

import dataclasses
import json

import pytest

from android_bench.errors import RecordError
from android_bench.history import append, read_history, rows_of
from tests.android_bench.report_toys import history_rows
from tests.android_bench.verdict_toys import example_gate, example_judgement


def test_rows_are_read_as_they_were_added_and_those_before_them_stay_byte_for_byte(tmp_path) -> None:
    path, rows = tmp_path / "deep" / "history.jsonl", history_rows(4)
    assert 4 == append(path, rows[:4])
    before = path.read_bytes()
    assert 4 == append(path, rows[4:])

    assert path.read_bytes().startswith(before)
    assert rows == read_history(path).rows


def test_a_verdict_is_added_once(tmp_path) -> None:
    path, rows = tmp_path / "history.jsonl", history_rows(2)
    append(path, rows)
    before = path.read_bytes()

    assert 0 == append(path, rows)
    assert before == path.read_bytes()


def test_a_line_cut_off_is_no_row_and_makes_room_for_the_next(tmp_path) -> None:
    path, rows = tmp_path / "history.jsonl", history_rows(2)
    append(path, rows[:2])
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"format": "tkd.history/1", "fini')

    read = read_history(path)
    assert read.is_cut
    assert rows[:2] == read.rows
    append(path, rows[2:3])
    assert rows[:3] == read_history(path).rows
    assert not read_history(path).is_cut


def test_a_row_holds_ratio_interval_and_hashes_of_the_verdict() -> None:
    (row,) = rows_of(example_gate(example_judgement("phone", "REGRESSION")), "c" * 64, "abc")

    assert ("pixel1", "phone", "latency", "REGRESSION", "abc") == (
        row.device,
        row.kind,
        row.metric,
        row.verdict,
        row.commit,
    )
    assert row.ratio == pytest.approx(1.061)
    assert row.interval == pytest.approx((1.049, 1.073))
    assert row.candidate_sha256 != row.baseline_sha256


def test_what_was_not_measured_has_no_ratio() -> None:
    rows = rows_of(example_gate(), "c" * 64)

    assert {row.verdict for row in rows if row.ratio is None} == {"NOT COMPARABLE", "INCONCLUSIVE"}
    assert 8 == len(rows)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nonsense", "line 2, is no row of history"),
        ("[]", "line 2, has format None"),
        ('{"format": "tkd.history/2"}', "line 2, has format 'tkd.history/2', expected 'tkd.history/1'; update"),
        ('{"format": "tkd.history/1"}', "line 2, is no row of history"),
    ],
)
def test_a_complete_line_that_is_no_row_is_named_and_nothing_is_added(tmp_path, line, message) -> None:
    path, rows = tmp_path / "history.jsonl", history_rows(2)
    append(path, rows[:1])
    path.write_text(f"{path.read_text()}{line}\n")
    before = path.read_bytes()

    with pytest.raises(RecordError, match=message):
        read_history(path)
    with pytest.raises(RecordError, match=message):
        append(path, rows[1:])
    assert before == path.read_bytes()


@pytest.mark.parametrize("changes", [{"verdict": "FINE"}, {"ratio": 0.0}, {"ratio": -1.0}])
def test_an_impossible_row_is_refused(changes) -> None:
    with pytest.raises(RecordError, match="a row of history has"):
        dataclasses.replace(history_rows(1)[0], **changes)


def test_rows_are_plain_json_with_their_format(tmp_path) -> None:
    path = tmp_path / "history.jsonl"
    append(path, history_rows(1))

    for line in path.read_text().splitlines():
        assert "tkd.history/1" == json.loads(line)["format"]


def test_a_history_that_is_gone_is_named(tmp_path) -> None:
    with pytest.raises(RecordError, match="no history at"):
        read_history(tmp_path / "history.jsonl")
